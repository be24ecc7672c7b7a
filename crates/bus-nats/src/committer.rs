//! The worker's announcements: what a write changed, in the stream of commits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_nats::HeaderMap;
use heliograph_bus::{BusError, CommitNumber, Committed};
use heliograph_lifecycle::Failpoint;
use tokio::time::Instant;

use crate::{
    acked::{Outgoing, Unacknowledged},
    codec::{self, ENVELOPE_BYTES},
    core::Core,
    metrics::Published,
};

/// Bytes of changes in one message at most; below the megabyte that servers take by default.
const MESSAGE_BYTES_MAX: usize = 900 << 10;

/// Announces commits. Its callers wait for each before the next, which keeps their order.
#[derive(Debug)]
pub(crate) struct Committer {
    core: Arc<Core>,
    number: AtomicU64,
}

impl Committer {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            number: AtomicU64::new(1),
        }
    }

    /// Announces changes in order; returns the number of the last message, or 0 if there are none.
    pub(crate) async fn commit(&self, events: &[Committed]) -> Result<CommitNumber, BusError> {
        let started = Instant::now();
        let mut last = CommitNumber(0);
        for part in split(events, MESSAGE_BYTES_MAX) {
            last = self.publish(part, started).await?;
            Failpoint::PartAnnounced.reached();
        }
        if !events.is_empty() {
            self.core
                .metrics
                .commit_ack_seconds
                .observe(started.elapsed().as_secs_f64());
        }
        Ok(last)
    }

    async fn publish(
        &self,
        part: &[Committed],
        started: Instant,
    ) -> Result<CommitNumber, BusError> {
        let core = &self.core;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let outgoing = announcement(core, &number.to_string(), part);
        let deadline = started + core.options.publish_deadline;
        match core.acked.publish(&outgoing, deadline).await {
            Ok(sequence) => Ok(CommitNumber(sequence)),
            Err(error) => Err(refusal(part, &error)),
        }
    }
}

/// A batch for the stream of commits; no other of this process has the same `name`.
pub(crate) fn announcement(core: &Core, name: &str, changes: &[Committed]) -> Outgoing {
    Outgoing {
        what: Published::Commits,
        subject: core.names.committed_subject(),
        id: format!("{}-{name}", core.incarnation),
        headers: HeaderMap::new(),
        payload: codec::write_committed(&core.options.node, changes),
    }
}

fn refusal(part: &[Committed], error: &Unacknowledged) -> BusError {
    tracing::warn!(%error, events = part.len(), "failed to announce a commit");
    match error {
        Unacknowledged::TooLarge => BusError::Store(error.to_string()),
        Unacknowledged::Deadline(_) => BusError::Unavailable,
    }
}

/// Parts in order, each within `bytes_max` or a single change.
fn split(events: &[Committed], bytes_max: usize) -> impl Iterator<Item = &[Committed]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|committed| {
            bytes += codec::event_of(committed).json().len() + ENVELOPE_BYTES;
            bytes <= bytes_max
        });
        let count = fitting.count().max(1).min(rest.len());
        let (part, others) = rest.split_at(count);
        rest = others;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use heliograph_bus::conformance::note;

    use super::*;

    #[test]
    fn parts_keep_the_order_and_the_limit() {
        let events: Vec<Committed> = (0..10).map(|n| Committed::Winner(note(n))).collect();
        let one = codec::event_of(&events[0]).json().len() + ENVELOPE_BYTES;
        for (bytes_max, parts) in [(one * 3 + 5, 4), (1, 10), (one * 20, 1)] {
            let split: Vec<&[Committed]> = split(&events, bytes_max).collect();
            assert_eq!(split.len(), parts, "of {bytes_max} bytes");
            assert_eq!(split.concat(), events);
        }
        assert_eq!(split(&[], 100).count(), 0);
    }
}
