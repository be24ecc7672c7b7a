//! REQ → EOSE: each kind of question by one connection, for the time it takes, and by 20, for how many
//! there can be.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;

use super::{Bench, Effect, Figures, Measured, Refusals, Seen, open};
use crate::{
    client::{Answer, Connection},
    work::Questions,
};

/// Connections that ask at a time.
const MANY: u32 = 20;

/// Kinds of questions that are asked after an import, and how many of each: those for kinds that everybody
/// may read, since relays may keep messages to others back.
const CHECKED: [&str; 3] = ["author and kind", "thread", "inbox"];
const CHECKED_MAX: usize = 10;

/// How long one of their answers may take.
const CHECK_MAX: Duration = Duration::from_secs(60);

/// Wrong answers that are told.
const FAULTS_MAX: usize = 3;

pub(super) async fn run(bench: &Bench<'_>, done: &mut impl FnMut(Measured)) {
    for questions in &bench.work.questions {
        for (connections, share) in [(1, 0.5), (MANY, 1.0)] {
            let name = format!("REQ {} ({connections}×)", questions.name);
            if !bench.options.wants(&name) {
                continue;
            }
            let time = Duration::from_secs_f64(bench.sizes.ask_secs * share);
            let asking = ask(bench, questions, connections, time);
            let figures = bench.measure("request", Effect::Reads, asking).await;
            done((
                name,
                figures.map(|figures| with_expected(figures, questions)),
            ));
        }
    }
}

/// Asks a few questions of the kinds that every relay answers alike, each once; says what is wrong with
/// the answers. For a relay that was loaded in another way than by publishing.
///
/// # Errors
///
/// It doesn't answer.
pub(crate) async fn check(bench: &Bench<'_>) -> Result<Vec<String>> {
    let (mut faults, mut asked) = (Vec::new(), 0);
    let mut refusals = Refusals::default();
    let mut connection = Connection::open(bench.relay.address(), false).await?;
    for questions in &bench.work.questions {
        if !CHECKED.contains(&questions.name) {
            continue;
        }
        let known = questions.filters.iter().zip(&questions.expected);
        for (filter, expected) in known.take(CHECKED_MAX) {
            let answer = answer(&mut connection, filter, asked, &mut refusals);
            let found = tokio::time::timeout(CHECK_MAX, answer).await;
            let found = found.context("no answer about what was imported")??;
            asked += 1;
            if found != *expected {
                let name = questions.name;
                faults.push(format!("{name}: {found} rows, {expected} by NIP-01"));
            }
        }
    }
    faults.truncate(FAULTS_MAX);
    Ok(faults)
}

fn with_expected(mut figures: Figures, questions: &Questions) -> Figures {
    figures.expected.clone_from(&questions.expected);
    if figures.rows > 0 {
        let row = figures.server_cpu_secs * 1e6 / figures.rows as f64;
        figures.extra.insert("µs a row".to_owned(), row);
    }
    figures
}

/// Every question once at least, then on in turn until the time is over.
async fn ask(
    bench: &Bench<'_>,
    questions: &Questions,
    connections: u32,
    time: Duration,
) -> Result<Seen> {
    let connections = open(bench, connections, false).await?;
    let count = connections.len();
    let end = Instant::now() + time;
    let askers = connections
        .into_iter()
        .enumerate()
        .map(|(first, connection)| asker(connection, questions, first, count, end));
    let parts = try_join_all(askers).await?;
    let mut seen = Seen::default();
    let mut counts: Vec<Option<u64>> = vec![None; questions.filters.len()];
    for (part, rows) in parts {
        seen.add(part);
        for (nth, rows) in rows {
            match &mut counts[nth] {
                // Another answer to the same question is told as one that can't be right.
                Some(known) if *known != rows => *known = u64::MAX,
                known => *known = Some(rows),
            }
        }
    }
    seen.counts = counts
        .into_iter()
        .map(|count| count.unwrap_or(u64::MAX))
        .collect();
    Ok(seen)
}

/// Asks questions `first`, `first + step`, and so on; returns the rows of each.
async fn asker(
    mut connection: Connection,
    questions: &Questions,
    first: usize,
    step: usize,
    end: Instant,
) -> Result<(Seen, Vec<(usize, u64)>)> {
    let (mut seen, mut rows) = (Seen::default(), Vec::new());
    let count = questions.filters.len();
    let mut nth = first;
    while nth < count || Instant::now() < end {
        let question = nth % count;
        let due = Instant::now();
        let filter = &questions.filters[question];
        let found = answer(&mut connection, filter, seen.operations, &mut seen.refusals).await?;
        seen.latencies.push(due.elapsed());
        seen.operations += 1;
        seen.rows += found;
        rows.push((question, found));
        nth += step;
    }
    rows.sort_unstable();
    rows.dedup();
    seen.traffic(&connection);
    Ok((seen, rows))
}

/// Asks one question and counts its rows. The subscription of the one before is closed with it; names
/// alternate, so that nothing late is taken for an answer.
async fn answer(
    connection: &mut Connection,
    filter: &str,
    asked: u64,
    refusals: &mut Refusals,
) -> Result<u64> {
    let (own, other) = if asked.is_multiple_of(2) {
        ("a", "b")
    } else {
        ("b", "a")
    };
    if asked > 0 {
        connection.queue(format!(r#"["CLOSE","{other}"]"#).as_bytes());
    }
    connection.queue(format!(r#"["REQ","{own}",{filter}]"#).as_bytes());
    let mut rows = 0;
    loop {
        connection.step().await?;
        while let Some(message) = connection.message()? {
            match Answer::parse(message) {
                Answer::Event(subscription) if subscription == own.as_bytes() => rows += 1,
                Answer::Eose(subscription) if subscription == own.as_bytes() => return Ok(rows),
                Answer::Closed(subscription, _) if subscription != own.as_bytes() => {}
                closed @ Answer::Closed(..) => {
                    refusals.note(&closed);
                    return Ok(rows);
                }
                other => refusals.note(&other),
            }
        }
    }
}
