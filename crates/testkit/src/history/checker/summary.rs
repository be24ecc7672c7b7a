//! What happened, in numbers.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::Duration,
};

use heliograph_protocol::EventId;

use super::log::Log;
use crate::history::{Entry, What};

/// What happened in a history that broke no promise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events that were sent, each once.
    pub published: usize,
    /// Of these, how many got OK true.
    pub acknowledged: usize,
    /// Answers `OK false error:`.
    pub errors: usize,
    /// Other refusals.
    pub refused: usize,
    /// EVENTs without an answer, because the connection broke or the history ends.
    pub unanswered: usize,
    /// Events that came, stored and live.
    pub deliveries: usize,
    /// Of these, how many came after EOSE.
    pub live: usize,
    /// Subscriptions that were still open at the end.
    pub kept: usize,
    /// Subscriptions that the relay ended with CLOSED after EOSE.
    pub closed: usize,
    /// Subscriptions that ended with their connection after EOSE.
    pub disconnected: usize,
    /// Stored parts that ended with EOSE.
    pub whole: usize,
    /// Stored parts that ended with CLOSED.
    pub failed: usize,
    /// The longest wait for an OK, from when the EVENT was due.
    pub longest_ok: Duration,
    /// The longest time without an OK true while one was waited for: how long recovery took.
    pub longest_gap: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (longest_ok, longest_gap) = (self.longest_ok, self.longest_gap);
        write!(
            f,
            "{} events sent, {} acknowledged, {} answers error:, {} refusals, {} unanswered; \
             {} deliveries, {} of them live; subscriptions: {} kept, {} ended by CLOSED, {} by \
             disconnection; answers: {} whole, {} CLOSED; longest wait for OK {longest_ok:.1?}, \
             longest time without any OK true {longest_gap:.1?}",
            self.published,
            self.acknowledged,
            self.errors,
            self.refused,
            self.unanswered,
            self.deliveries,
            self.live,
            self.kept,
            self.closed,
            self.disconnected,
            self.whole,
            self.failed,
        )
    }
}

pub(super) fn summarize(log: &Log<'_>) -> Summary {
    let facts = &log.model.facts;
    let mut summary = Summary {
        published: facts.len(),
        acknowledged: facts.iter().filter(|fact| fact.is_acked()).count(),
        longest_gap: longest_gap(log.entries),
        ..Summary::default()
    };
    for sending in &log.sendings {
        let Some(ok) = sending.ok else {
            summary.unanswered += 1;
            continue;
        };
        let (sent, ok) = (&log.entries[sending.entry], &log.entries[ok]);
        let due = sent.intended.unwrap_or(sent.at);
        summary.longest_ok = summary.longest_ok.max(ok.at.saturating_sub(due));
        match &ok.what {
            What::Ok { accepted: true, .. } => {}
            What::Ok { text, .. } if text.starts_with("error:") => summary.errors += 1,
            _ => summary.refused += 1,
        }
    }
    for sub in &log.subs {
        summary.deliveries += sub.deliveries.len();
        if sub.eose.is_none() {
            summary.failed += usize::from(sub.closed.is_some());
            continue;
        }
        summary.whole += 1;
        summary.live += sub.deliveries.len() - sub.stored();
        summary.kept += usize::from(sub.is_open());
        if sub.close.is_none() {
            summary.closed += usize::from(sub.closed.is_some());
            summary.disconnected += usize::from(sub.closed.is_none() && sub.cut.is_some());
        }
    }
    summary
}

/// The longest time in which somebody waited for an OK and nobody got one that is true.
fn longest_gap(entries: &[Entry]) -> Duration {
    let mut waiting: HashMap<u32, HashSet<EventId>> = HashMap::new();
    let (mut since, mut longest) = (None, Duration::ZERO);
    for entry in entries {
        match &entry.what {
            What::Publish { event } => {
                let waiting = waiting.entry(entry.connection).or_default();
                waiting.insert(*event.id());
                since.get_or_insert(entry.at);
            }
            What::Ok { id, accepted, .. } => {
                if let Some(waiting) = waiting.get_mut(&entry.connection) {
                    waiting.remove(id);
                }
                if *accepted {
                    let begin = since.take().unwrap_or(entry.at);
                    longest = longest.max(entry.at.saturating_sub(begin));
                    if waiting.values().any(|waiting| !waiting.is_empty()) {
                        since = Some(entry.at);
                    }
                }
            }
            What::Disconnected { .. } | What::Left { .. } => {
                waiting.remove(&entry.connection);
            }
            _ => {}
        }
    }
    longest
}
