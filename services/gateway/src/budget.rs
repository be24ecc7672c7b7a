//! What waits for all clients of a gateway together, bounded whatever each of them may have.

use std::{
    cmp::Reverse,
    sync::{
        Arc, Weak,
        atomic::{AtomicIsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

use crate::outbox::Outbox;

/// Bytes on their way to clients, and whose they are.
///
/// Where they are too many, the client with the most is closed, then the next: who reads keeps what it has.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Below zero for a moment where what is pushed is taken out before it is counted.
    bytes: AtomicIsize,
    bytes_max: isize,
    /// All that are open; those that are gone are swept out when there is no room.
    outboxes: Mutex<Vec<Weak<Outbox>>>,
}

impl Budget {
    /// Of so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicIsize::new(0),
            bytes_max: isize::try_from(bytes_max).unwrap_or(isize::MAX),
            outboxes: Mutex::default(),
        })
    }

    /// Counts an outbox in.
    pub(crate) fn admit(&self, outbox: &Arc<Outbox>) {
        let mut outboxes = self.outboxes.lock();
        if outboxes.len() == outboxes.capacity() {
            outboxes.retain(|outbox| outbox.strong_count() > 0);
            let open = outboxes.len();
            outboxes.reserve(open.max(16));
        }
        outboxes.push(Arc::downgrade(outbox));
    }

    /// Takes bytes of it, and closes whoever has most if they are too many. To be called without a lock on
    /// any outbox.
    pub(crate) fn take(&self, bytes: usize) {
        let bytes = bytes.cast_signed();
        let before = self.bytes.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.bytes_max {
            self.relieve();
        }
    }

    /// Gives bytes back.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes.cast_signed(), Relaxed);
    }

    #[cold]
    fn relieve(&self) {
        // Who comes meanwhile goes on: one is enough.
        let Some(outboxes) = self.outboxes.try_lock() else {
            return;
        };
        // Looked at once, however many are to go.
        let open = outboxes.iter().filter_map(Weak::upgrade);
        let open = open.filter(|outbox| !outbox.is_overflowed());
        let mut open: Vec<(usize, Arc<Outbox>)> =
            open.map(|outbox| (outbox.bytes(), outbox)).collect();
        open.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        for (bytes, outbox) in open {
            if bytes == 0 || self.bytes.load(Relaxed) <= self.bytes_max {
                return;
            }
            outbox.overflow();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outboxes(budget: &Arc<Budget>, count: usize) -> Vec<Arc<Outbox>> {
        let new = |_| Outbox::admitted(1 << 20, None, Some(budget));
        (0..count).map(new).collect()
    }

    #[test]
    fn past_what_all_may_have_the_one_that_has_most_is_closed_and_nobody_else() {
        let budget = Budget::new(10_000);
        let all = outboxes(&budget, 3);
        for (outbox, bytes) in all.iter().zip([1_000, 5_000, 2_000]) {
            outbox.text(vec![b'x'; bytes]);
        }
        assert!(!all.iter().any(|outbox| outbox.is_overflowed()));
        // Whoever it is that brings it past the bound.
        all[0].text(vec![b'x'; 2_000]);
        let closed: Vec<bool> = all.iter().map(|outbox| outbox.is_overflowed()).collect();
        assert_eq!(closed, [false, true, false]);
        assert_eq!(all[1].bytes(), 0, "its memory is free at once");
    }

    #[test]
    fn what_was_taken_out_cut_or_closed_is_given_back() {
        let budget = Budget::new(10_000);
        let mut all = outboxes(&budget, 3);
        for outbox in &all {
            outbox.text(vec![b'x'; 1_000]);
        }
        let mut out = Vec::new();
        all[0].take(&mut out, usize::MAX, || 0);
        all[0].owe(500);
        all[0].owe(100);
        all[0].owe(0);
        all[1].cut(1008, "slow");
        all[1].take(&mut out, usize::MAX, || 0);
        drop(all.pop());
        assert_eq!(budget.bytes.load(Relaxed), 0);
        for _ in 0..1_000 {
            outboxes(&budget, 1);
        }
        let kept = budget.outboxes.lock().len();
        assert!(kept < 100, "{kept} are kept, and two are open");
    }
}
