//! A few probes and a sentence about them, instead of a process that watches.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use heliograph_lifecycle::Tasks;
use tokio::sync::watch;

use crate::{
    Metrics, Timing,
    engine::{Engine, Mode},
    link::Wiring,
    socket::CONNECT_TIMEOUT,
};

/// Probes follow each other no slower than this: somebody waits.
const INTERVAL_MAX: Duration = Duration::from_millis(200);

/// What came of a few probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    published: u64,
    publish: String,
    /// Why they weren't all accepted.
    refused: Option<String>,
    accepted: u64,
    deadline: Duration,
    slowest: Duration,
    lost: u64,
    /// Reads by id that found a probe, or found it lost.
    audited: u64,
    readers: Vec<Reader>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reader {
    url: String,
    missing: u64,
    /// Why it had no connection last.
    trouble: Option<String>,
}

/// Publishes, reads, reports.
pub(crate) async fn run(
    wiring: &Wiring,
    probes: u32,
    timing: Timing,
    metrics: Arc<Metrics>,
    tasks: &Tasks,
) -> Report {
    let timing = Timing {
        interval: timing.interval.min(INTERVAL_MAX),
        // At once; what isn't there may come until the deadline.
        audit_after: Duration::ZERO,
        ..timing
    };
    let (_keep, receiver) = watch::channel(timing);
    let mut engine = Engine::start(
        wiring,
        receiver,
        Arc::clone(&metrics),
        Arc::default(),
        Mode::Once,
        tasks,
    );
    // Connections, probes, their delivery, and then reading them again.
    let connecting = CONNECT_TIMEOUT + timing.deadline;
    let patience = connecting + timing.interval * probes + 3 * timing.deadline;
    engine.run_once(u64::from(probes), patience).await;

    let readers = wiring.read.iter().enumerate().map(|(via, target)| Reader {
        url: target.to_string(),
        missing: metrics.missing[via].get(),
        trouble: engine.reader_trouble(via).map(str::to_owned),
    });
    let trouble = engine.publisher_trouble().map(str::to_owned);
    Report {
        published: u64::from(probes),
        publish: wiring.publish.to_string(),
        refused: trouble.or_else(|| engine.book.refusal.clone()),
        accepted: metrics.accepted.get(),
        deadline: timing.deadline,
        slowest: engine.book.slowest,
        lost: metrics.lost.get(),
        audited: metrics.audited.get(),
        readers: readers.collect(),
    }
}

impl Report {
    /// Whether every probe was accepted, came to every reader in time and was found again by each.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems().is_empty()
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let all = self.published;
        if self.accepted < all {
            let why = self.refused.as_deref().unwrap_or("no answer in time");
            let (count, publish) = (all - self.accepted, &self.publish);
            problems.push(format!(
                "{count} of {all} probes weren't accepted by {publish}: {why}"
            ));
        }
        for Reader {
            url,
            missing,
            trouble,
        } in self.readers.iter().filter(|reader| reader.missing > 0)
        {
            let seconds = self.deadline.as_secs_f64();
            let mut problem = format!("{missing} of {all} didn't come to {url} within {seconds} s");
            if let Some(trouble) = trouble {
                write!(problem, " ({trouble})").expect("writing to a string can't fail");
            }
            problems.push(problem);
        }
        if self.lost > 0 {
            problems.push(format!("{} acknowledged probes are lost", self.lost));
        }
        let unread = (self.accepted * self.readers.len() as u64).saturating_sub(self.audited);
        if unread > 0 {
            problems.push(format!("{unread} reads by id weren't answered"));
        }
        problems
    }
}

/// A sentence.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = self.problems();
        if !problems.is_empty() {
            return f.write_str(&problems.join("; "));
        }
        write!(
            f,
            "{} probes through {} came to {} of {} readers within {} ms, and each was found again",
            self.published,
            self.publish,
            self.readers.len(),
            self.readers.len(),
            self.slowest.as_millis(),
        )
    }
}
