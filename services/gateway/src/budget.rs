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
    /// Past it somebody is closed: above `bytes_max` while nobody who could be has anything.
    relieved_past: AtomicIsize,
    /// All that are open; those that are gone are swept out when there is no room.
    outboxes: Mutex<Vec<Weak<Outbox>>>,
}

impl Budget {
    /// Of so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        let bytes_max = isize::try_from(bytes_max).unwrap_or(isize::MAX);
        Arc::new(Self {
            bytes: AtomicIsize::new(0),
            bytes_max,
            relieved_past: AtomicIsize::new(bytes_max),
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
        if before.saturating_add(bytes) > self.relieved_past.load(Relaxed) {
            self.relieve();
        }
    }

    /// Gives bytes back.
    pub(crate) fn give_back(&self, bytes: usize) {
        let bytes = bytes.cast_signed();
        let before = self.bytes.fetch_sub(bytes, Relaxed);
        if before.saturating_sub(bytes) <= self.bytes_max
            && self.relieved_past.load(Relaxed) != self.bytes_max
        {
            self.relieved_past.store(self.bytes_max, Relaxed);
        }
    }

    #[cold]
    fn relieve(&self) {
        // Who comes meanwhile goes on: one is enough.
        let Some(outboxes) = self.outboxes.try_lock() else {
            return;
        };
        // Looked at once, however many are to go.
        let open = outboxes.iter().filter_map(Weak::upgrade);
        let open = open.map(|outbox| (outbox.held(), outbox));
        let mut open: Vec<(usize, Arc<Outbox>)> = open.filter(|(held, _)| *held > 0).collect();
        open.sort_unstable_by_key(|(held, _)| Reverse(*held));
        for (_, outbox) in open {
            if self.bytes.load(Relaxed) <= self.bytes_max {
                return;
            }
            outbox.overflow();
        }
        // What is left belongs to those that close, which takes a moment: not looked at for every frame.
        let left = self.bytes.load(Relaxed);
        if left > self.bytes_max {
            self.relieved_past
                .store(left.saturating_add(self.bytes_max / 64), Relaxed);
        }
    }
}

/// Bytes that lie in memory once, however many clients they wait for: counted until the last one has
/// them.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// To be called without a lock on any outbox.
    pub(crate) fn new(budget: &Arc<Budget>, bytes: usize) -> Arc<Self> {
        budget.take(bytes);
        Arc::new(Self {
            budget: Arc::clone(budget),
            bytes,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::Event;
    use heliograph_testkit::keys::Key;

    use super::*;

    fn outboxes(budget: &Arc<Budget>, count: usize) -> Vec<Arc<Outbox>> {
        let new = |_| Outbox::new(1 << 20, None, budget);
        (0..count).map(new).collect()
    }

    fn closed(all: &[Arc<Outbox>]) -> Vec<bool> {
        all.iter().map(|outbox| outbox.is_overflowed()).collect()
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
        assert_eq!(closed(&all), [false, true, false]);
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
        all[1].owe(300);
        all[1].cut(1008, "slow");
        all[1].take(&mut out, usize::MAX, || 0);
        all[1].owe(0);
        drop(all.pop());
        assert_eq!(budget.bytes.load(Relaxed), 0);
        for _ in 0..1_000 {
            outboxes(&budget, 1);
        }
        let kept = budget.outboxes.lock().len();
        assert!(kept < 100, "{kept} are kept, and two are open");
    }

    fn event(bytes: usize) -> Arc<Event> {
        Arc::new(Key::nth(0).sign(1_700_000_000, 1, &[], &"x".repeat(bytes)))
    }

    fn head() -> Arc<[u8]> {
        Arc::from(&b"[\"EVENT\",\"s\","[..])
    }

    #[test]
    fn an_event_counts_once_until_the_last_of_its_receivers_has_it() {
        let budget = Budget::new(1 << 20);
        let mut all = outboxes(&budget, 1_000);
        let (event, head) = (event(60_000), head());
        let charge = Some(all[0].charge(&event));
        for outbox in &all {
            outbox.live(&head, &event, charge.clone());
        }
        drop(charge);
        assert!(!all.iter().any(|outbox| outbox.is_overflowed()));
        let mut out = Vec::new();
        let last = all.pop().unwrap();
        for outbox in &all {
            out.clear();
            outbox.take(&mut out, usize::MAX, || 0);
        }
        let held = budget.bytes.load(Relaxed);
        assert!((60_000..62_000).contains(&held), "{held} for one of them");
        last.cut(1008, "slow");
        drop(last);
        assert_eq!(budget.bytes.load(Relaxed), 0);
    }

    #[test]
    fn what_the_kernel_has_not_taken_decides_too() {
        let budget = Budget::new(10_000);
        let all = outboxes(&budget, 2);
        all[0].text(vec![b'x'; 3_000]);
        all[1].owe(6_000);
        all[0].text(vec![b'x'; 2_000]);
        assert_eq!(closed(&all), [false, true]);
        let left = budget.bytes.load(Relaxed);
        assert!((5_000..6_000).contains(&left), "{left} are left");
    }

    #[test]
    fn one_that_closes_already_is_left_alone() {
        let budget = Budget::new(10_000);
        let all = outboxes(&budget, 3);
        all[0].text(vec![b'x'; 6_000]);
        all[0].close(1012, "restart");
        all[1].text(vec![b'x'; 3_000]);
        all[2].text(vec![b'x'; 2_000]);
        assert_eq!(closed(&all), [false, true, false]);
        let mut out = Vec::new();
        all[0].take(&mut out, usize::MAX, || 0);
        assert!(out.ends_with(b"restart"), "its close frame goes out");
    }

    #[test]
    fn where_nobody_can_be_closed_it_is_not_tried_for_every_frame_and_again_later() {
        let budget = Budget::new(64_000);
        let all = outboxes(&budget, 2);
        all[0].text(vec![b'x'; 63_900]);
        all[0].close(1012, "restart");
        assert!(budget.relieved_past.load(Relaxed) > 64_000);
        all[1].text(vec![b'x'; 500]);
        assert!(!all[1].is_overflowed(), "not looked at");
        all[0].take(&mut Vec::new(), usize::MAX, || 0);
        all[1].text(vec![b'x'; 63_800]);
        assert!(all[1].is_overflowed(), "there is one again");
        assert_eq!(budget.bytes.load(Relaxed), 0);
    }

    #[test]
    fn whatever_happens_at_once_all_is_given_back() {
        let budget = Budget::new(100_000);
        let all = outboxes(&budget, 4);
        let (event, head) = (event(1_000), head());
        std::thread::scope(|scope| {
            for outbox in &all {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let charge = Some(outbox.charge(&event));
                        for receiver in &all {
                            receiver.live(&head, &event, charge.clone());
                        }
                    }
                });
                scope.spawn(|| {
                    let mut out = Vec::new();
                    for n in 0..2_000 {
                        out.clear();
                        outbox.take(&mut out, 3_000, || 0);
                        outbox.owe(n % 700);
                    }
                    outbox.cut(1008, "slow");
                });
            }
        });
        for outbox in &all {
            outbox.take(&mut Vec::new(), usize::MAX, || 0);
            outbox.owe(0);
        }
        assert_eq!(budget.bytes.load(Relaxed), 0);
    }
}
