//! What the capacity formulas take from a run: figures of the phases, and what only this looks at,
//! memory, disk and statements.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use heliograph_capacity::{
    Figure, Run,
    coefficients::{Cluster, Measured, Question},
};
use heliograph_sandbox::{cluster::Role, cql, disk_usage, wait};
use serde_json::json;

use crate::{
    bed::Bed,
    connection::Connection,
    corpus::Corpus,
    figures::{Sample, Seen, sum},
    options::Options,
    report::Report,
};

/// Connections that are opened to see what they take, each with a home feed.
const CONNECTIONS: usize = 1_000;

/// How long the database may take to write what it holds in memory.
const FLUSH_PATIENCE: Duration = Duration::from_secs(60);

/// How the report and the coefficients call the same questions.
const QUESTIONS: [(&str, &str); 5] = [
    ("by_id", "by id"),
    ("author_kind", "author and kind, limit 20"),
    ("feed", "home feed, 500 authors × 2 kinds, limit 200"),
    ("reactions", "#e, reactions to a note"),
    ("inbox", "#p, notifications, limit 50"),
];

/// What is looked at beside the phases.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    base: [f64; 3],
    connection_gateway: f64,
    subscription_matcher: f64,
    index_event: f64,
    database_event: f64,
}

impl Looks {
    /// Memory of roles that nobody uses, and of connections that are open and silent.
    pub(crate) fn memory(&mut self, bed: &Bed, corpus: &Corpus) -> Result<()> {
        let resident = || -> Result<[f64; 3]> {
            let roles = [Role::Gateway, Role::Ingest, Role::Matcher];
            let mut all = [0.0; 3];
            for (bytes, role) in all.iter_mut().zip(roles) {
                *bytes = bed.resident(role)?.first().copied().unwrap_or_default();
            }
            Ok(all)
        };
        self.base = resident()?;
        let mut open = Vec::with_capacity(CONNECTIONS);
        for nth in 0..CONNECTIONS {
            let mut connection = Connection::open(bed.gateway());
            let filter = json!({"authors": corpus.feed(nth), "kinds": [1, 6], "limit": 0});
            connection.subscribe(&filter.to_string())?;
            open.push(connection);
        }
        bed.idle()?;
        let with = resident()?;
        drop(open);
        let each = |index: usize| (with[index] - self.base[index]).max(0.0) / CONNECTIONS as f64;
        self.connection_gateway = each(0);
        self.subscription_matcher = each(2);
        bed.idle().map(drop)
    }

    /// What an event takes in a matcher's index, and in the database.
    pub(crate) fn events(&mut self, bed: &Bed) -> Result<()> {
        let page = bed.pages(Role::Matcher)?.into_iter().next();
        let page = page.context("there is no matcher")?;
        let events = sum(&page, "heliograph_recent_events");
        self.index_event = sum(&page, "heliograph_recent_index_bytes") / events;
        self.database_event = flushed_bytes(bed)? as f64 / events;
        Ok(())
    }
}

/// Bytes of the cluster's tables on the disk of the first node, with all that it held in memory.
fn flushed_bytes(bed: &Bed) -> Result<u64> {
    let keyspace = bed.cluster_name();
    let (node, pid) = bed
        .first_node()
        .context("the database is somebody else's")?;
    let directory = PathBuf::from(format!("/proc/{pid}/cwd/data/{keyspace}"));
    let tables = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    for table in tables.flatten() {
        let name = table.file_name().to_string_lossy().into_owned();
        let Some((name, _id)) = name.rsplit_once('-') else {
            continue;
        };
        let flush =
            format!("ALTER TABLE {keyspace}.{name} WITH memtable_flush_period_in_ms = 1000");
        cql::execute(node, &flush).with_context(|| flush.clone())?;
    }
    // Written once it has grown and doesn't change any more.
    let mut before = 0;
    let settled = wait::until(FLUSH_PATIENCE, || -> Result<Option<u64>> {
        bed.idle()?;
        let now = disk_usage(&directory);
        let settled = now == before && now > 0;
        before = now;
        Ok(settled.then_some(now))
    })?;
    settled.context("the database doesn't come to rest")
}

/// All of it, for the file.
///
/// # Errors
///
/// A phase is missing, or in one a question ended with CLOSED or an event got no answer in time.
pub(crate) fn collect(
    report: &Report,
    looks: &Looks,
    options: &Options,
) -> Result<Measured<Cluster>> {
    let of = |phase: &str, figure: &dyn Fn(&Sample) -> f64| -> Result<Figure> {
        let samples = report
            .samples(phase)
            .with_context(|| format!("no phase {phase}"))?;
        samples.iter().try_for_each(|sample| whole(phase, sample))?;
        let figures: Vec<f64> = samples.iter().map(figure).collect();
        Figure::of(&figures).with_context(|| format!("no figures of {phase}"))
    };
    let each = |time: Duration, count: u64| time.as_secs_f64() * 1e6 / count as f64;
    let new = "new events";
    let mut questions = std::collections::BTreeMap::new();
    for (key, name) in QUESTIONS {
        let (recent, archive) = (format!("recent: {name}"), format!("archive: {name}"));
        let question = Question {
            gateway_micros: of(&recent, &|s| each(s.cpu.gateway(), s.seen.count))?,
            matcher_micros: of(&recent, &|s| each(s.cpu.matcher, s.seen.count))?,
            nats_micros: of(&recent, &|s| each(s.cpu.nats, s.seen.count))?,
            archive_gateway_micros: of(&archive, &|s| each(s.cpu.gateway(), s.seen.count))?,
            archive_matcher_micros: of(&archive, &|s| each(s.cpu.matcher, s.seen.count))?,
            archive_statements: of(&archive, &|s| s.statements / s.seen.count as f64)?,
        };
        questions.insert(key.to_owned(), question);
    }
    let figures = Cluster {
        event_gateway_micros: of(new, &|s| each(s.cpu.gateway(), s.seen.count))?,
        event_ingest_micros: of(new, &|s| each(s.cpu.ingest, s.seen.count))?,
        event_matcher_micros: of(new, &|s| each(s.cpu.matcher, s.seen.count))?,
        event_nats_micros: of(new, &|s| each(s.cpu.nats, s.seen.count))?,
        event_statements: of(new, &|s| s.statements / s.seen.count as f64)?,
        delivery_matcher_micros: of("fan-out", &|s| each(s.cpu.matcher, s.seen.received))?,
        questions,
        gateway_base_bytes: Figure::exactly(looks.base[0]),
        ingest_base_bytes: Figure::exactly(looks.base[1]),
        matcher_base_bytes: Figure::exactly(looks.base[2]),
        connection_gateway_bytes: Figure::exactly(looks.connection_gateway.round()),
        subscription_matcher_bytes: Figure::exactly(looks.subscription_matcher.round()),
        index_event_bytes: Figure::exactly(looks.index_event.round()),
        database_event_bytes: Figure::exactly(looks.database_event.round()),
    };
    let run = Run {
        command: options.command.clone(),
        commit: options.commit.clone(),
        date: options.date.clone(),
        machine: report.machine(options),
    };
    Ok(Measured { run, figures })
}

/// Whether everything of a phase was answered: otherwise its figures are those of less work.
fn whole(phase: &str, sample: &Sample) -> Result<()> {
    let Seen { closed, late, .. } = sample.seen;
    ensure!(
        closed == 0,
        "{phase}: {closed} questions ended with CLOSED, so their cost isn't known; ask with fewer --askers or --archive-askers"
    );
    ensure!(
        late == 0,
        "{phase}: {late} events got no answer in time, so their cost isn't known; publish with fewer \
         --publishers or --in-flight"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Cpu, Rows};

    fn sample(seen: Seen) -> Sample {
        Sample {
            seen,
            cpu: Cpu::default(),
            rows: Rows::default(),
            statements: 0.0,
            wall: Duration::ZERO,
            span: Duration::ZERO,
            others: Duration::ZERO,
        }
    }

    #[test]
    fn what_was_not_answered_gives_no_figure() {
        let seen = Seen {
            count: 10,
            superseded: 3,
            ..Seen::default()
        };
        whole("p", &sample(seen)).unwrap();
        let closed = sample(Seen { closed: 1, ..seen });
        let error = whole("p", &closed).unwrap_err().to_string();
        assert!(error.contains("1 questions ended with CLOSED"), "{error}");
        let late = sample(Seen { late: 2, ..seen });
        let error = whole("p", &late).unwrap_err().to_string();
        assert!(error.contains("2 events got no answer"), "{error}");
    }
}
