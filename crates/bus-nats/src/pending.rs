//! Publishers that wait for receipts, by the id of their event.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hashbrown::HashMap;
use heliograph_bus::{BusError, Receipt};
use heliograph_protocol::EventId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::Metrics;

type Answer = Result<Receipt, BusError>;

/// Everyone who waits. Bounded by whoever lets publishers in.
#[derive(Debug)]
pub(crate) struct Pending {
    by_id: Mutex<HashMap<EventId, Vec<Waiter>>>,
    tickets: AtomicU64,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    answer: oneshot::Sender<Answer>,
}

/// One who waits; no longer, once this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: EventId,
    pub(crate) ticket: u64,
    answer: oneshot::Receiver<Answer>,
    pending: Arc<Pending>,
}

impl Pending {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            by_id: Mutex::default(),
            tickets: AtomicU64::new(0),
            metrics,
        }
    }

    /// Waits for what becomes of `id`. The same event may be waited for several times.
    pub(crate) fn wait(self: &Arc<Self>, id: EventId) -> Waiting {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let waiter = Waiter {
            ticket,
            answer: sender,
        };
        self.by_id.lock().entry(id).or_default().push(waiter);
        self.metrics.pending_receipts.inc();
        Waiting {
            id,
            ticket,
            answer: receiver,
            pending: Arc::clone(self),
        }
    }

    /// Answers everyone who waits for `id`: a receipt says what is stored, whoever published it.
    pub(crate) fn answer_all(&self, id: &EventId, answer: &Answer) {
        let Some(waiters) = self.by_id.lock().remove(id) else {
            self.metrics.receipts_unclaimed.inc();
            return;
        };
        for waiter in waiters {
            // Gone in this moment: nobody to tell.
            drop(waiter.answer.send(answer.clone()));
        }
    }

    /// Answers one who waits, if it still does.
    pub(crate) fn answer_one(&self, id: &EventId, ticket: u64, answer: Answer) {
        if let Some(waiter) = self.take(id, ticket) {
            drop(waiter.answer.send(answer));
        }
    }

    /// Whether this one still waits.
    pub(crate) fn is_waiting(&self, id: &EventId, ticket: u64) -> bool {
        let by_id = self.by_id.lock();
        let waiters = by_id.get(id);
        waiters.is_some_and(|waiters| waiters.iter().any(|waiter| waiter.ticket == ticket))
    }

    /// How many ids are waited for.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    fn take(&self, id: &EventId, ticket: u64) -> Option<Waiter> {
        let mut by_id = self.by_id.lock();
        let waiters = by_id.get_mut(id)?;
        let at = waiters.iter().position(|waiter| waiter.ticket == ticket)?;
        let waiter = waiters.swap_remove(at);
        if waiters.is_empty() {
            by_id.remove(id);
        }
        Some(waiter)
    }
}

impl Waiting {
    /// The answer. Safe to cancel; then nobody waits any more.
    pub(crate) async fn answer(mut self) -> Answer {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            // The sender is only dropped unused with the entry, and the entry by the drop below.
            Err(_dropped) => Err(BusError::Closed),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.pending.take(&self.id, self.ticket));
        self.pending.metrics.pending_receipts.dec();
    }
}

#[cfg(test)]
mod tests {
    use heliograph_bus::CommitNumber;
    use heliograph_protocol::Outcome;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::Side;

    const STORED: Answer = Ok(Receipt {
        outcome: Outcome::Stored,
        commit: CommitNumber(3),
    });

    fn pending() -> Arc<Pending> {
        let metrics = Metrics::register(&mut Registry::default(), Side::All);
        Arc::new(Pending::new(Arc::new(metrics)))
    }

    fn id(n: u8) -> EventId {
        EventId::new([n; 32])
    }

    #[tokio::test]
    async fn a_receipt_answers_everyone_who_waits_for_the_event() {
        let pending = pending();
        let (first, second) = (pending.wait(id(1)), pending.wait(id(1)));
        pending.answer_all(&id(1), &STORED);
        assert_eq!(
            (first.answer().await, second.answer().await),
            (STORED, STORED)
        );
        assert_eq!(pending.len(), 0);
    }

    #[tokio::test]
    async fn a_failed_publish_is_told_to_its_own_publisher_alone() {
        let pending = pending();
        let (first, second) = (pending.wait(id(1)), pending.wait(id(1)));
        pending.answer_one(&id(1), first.ticket, Err(BusError::Unavailable));
        assert_eq!(first.answer().await, Err(BusError::Unavailable));
        assert!(pending.is_waiting(&id(1), second.ticket));
    }

    #[test]
    fn who_stops_waiting_leaves_nothing_behind() {
        let pending = pending();
        let (first, second) = (pending.wait(id(1)), pending.wait(id(2)));
        drop(first);
        assert_eq!(
            (pending.len(), pending.metrics.pending_receipts.get()),
            (1, 1)
        );
        drop(second);
        assert_eq!(
            (pending.len(), pending.metrics.pending_receipts.get()),
            (0, 0)
        );
        pending.answer_all(&id(1), &STORED);
        assert_eq!(pending.metrics.receipts_unclaimed.get(), 1);
    }
}
