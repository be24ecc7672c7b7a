//! Slots sorted by position, oldest first: small ones inline, large ones in runs of at most 256.
//!
//! New events are mostly the newest and evicted ones the oldest, so both ends are the cheap ones;
//! in the middle an insertion moves at most one run. 16 bytes beside the slots.

use std::collections::VecDeque;

use crate::entry::{Entries, Entry, Slot};

const INLINE_MAX: usize = 3;
const RUN_MAX: usize = 256;

/// A sorted list of slots.
#[derive(Debug)]
pub(crate) enum List {
    Inline { len: u8, slots: [Slot; INLINE_MAX] },
    Run(Box<Run>),
    Runs(Box<Runs>),
}

/// One run, as a list of its own.
#[derive(Debug)]
pub(crate) struct Run {
    slots: Vec<Slot>,
}

/// Several runs, none of them empty.
#[derive(Debug)]
pub(crate) struct Runs {
    runs: VecDeque<Vec<Slot>>,
    len: usize,
}

/// A place between two slots: what is older lies before it. Good until the list changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    run: usize,
    at: usize,
}

impl Default for List {
    fn default() -> Self {
        Self::Inline {
            len: 0,
            slots: [0; INLINE_MAX],
        }
    }
}

impl List {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline { len, .. } => usize::from(*len),
            Self::Run(run) => run.slots.len(),
            Self::Runs(runs) => runs.len,
        }
    }

    /// Heap memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Inline { .. } => 0,
            Self::Run(run) => size_of::<Run>() + run.slots.capacity() * size_of::<Slot>(),
            Self::Runs(runs) => {
                let slots: usize = runs.runs.iter().map(Vec::capacity).sum();
                size_of::<Runs>()
                    + runs.runs.capacity() * size_of::<Vec<Slot>>()
                    + slots * size_of::<Slot>()
            }
        }
    }

    fn runs(&self) -> usize {
        match self {
            Self::Inline { .. } | Self::Run(_) => 1,
            Self::Runs(runs) => runs.runs.len(),
        }
    }

    fn run(&self, run: usize) -> &[Slot] {
        match self {
            Self::Inline { len, slots } => &slots[..usize::from(*len)],
            Self::Run(run) => &run.slots,
            Self::Runs(runs) => &runs.runs[run],
        }
    }

    pub(crate) fn oldest(&self) -> Option<Slot> {
        self.run(0).first().copied()
    }

    pub(crate) fn newest(&self) -> Option<Slot> {
        self.run(self.runs() - 1).last().copied()
    }

    /// The place before the oldest.
    pub(crate) const fn start() -> Mark {
        Mark { run: 0, at: 0 }
    }

    /// The place after the newest.
    pub(crate) fn end(&self) -> Mark {
        let run = self.runs() - 1;
        Mark {
            run,
            at: self.run(run).len(),
        }
    }

    /// The place after the last entry that `is_older`, which has to hold for the oldest ones up to
    /// some entry and for none after it.
    pub(crate) fn mark(&self, entries: &Entries, is_older: impl Fn(&Entry) -> bool) -> Mark {
        let older = |slot: &Slot| is_older(entries.get(*slot));
        let run = match self {
            Self::Inline { .. } | Self::Run(_) => 0,
            Self::Runs(runs) => runs
                .runs
                .partition_point(|run| run.first().is_some_and(older))
                .saturating_sub(1),
        };
        Mark {
            run,
            at: self.run(run).partition_point(older),
        }
    }

    /// The next older slot; moves the mark past it.
    pub(crate) fn next_older(&self, mark: &mut Mark) -> Option<Slot> {
        if mark.at == 0 {
            mark.run = mark.run.checked_sub(1)?;
            mark.at = self.run(mark.run).len();
        }
        mark.at = mark.at.checked_sub(1)?;
        self.run(mark.run).get(mark.at).copied()
    }

    /// The next newer slot; moves the mark past it.
    pub(crate) fn next_newer(&self, mark: &mut Mark) -> Option<Slot> {
        if mark.at == self.run(mark.run).len() {
            if mark.run + 1 == self.runs() {
                return None;
            }
            *mark = Mark {
                run: mark.run + 1,
                at: 0,
            };
        }
        let slot = self.run(mark.run).get(mark.at).copied();
        mark.at += 1;
        slot
    }

    /// Puts a slot, whose entry is in `entries`, in its place.
    pub(crate) fn insert(&mut self, slot: Slot, entries: &Entries) {
        let position = entries.get(slot).position();
        let newest = self.newest().map(|newest| entries.get(newest).position());
        let mark = if newest.is_none_or(|newest| newest > position) {
            self.end()
        } else {
            self.mark(entries, |entry| entry.position() > position)
        };
        self.insert_at(mark, slot);
    }

    fn insert_at(&mut self, mark: Mark, slot: Slot) {
        match self {
            Self::Inline { len, slots } if usize::from(*len) < INLINE_MAX => {
                slots.copy_within(mark.at..usize::from(*len), mark.at + 1);
                slots[mark.at] = slot;
                *len += 1;
            }
            Self::Inline { slots, .. } => {
                let mut slots = slots.to_vec();
                slots.insert(mark.at, slot);
                *self = Self::Run(Box::new(Run { slots }));
            }
            Self::Run(run) if run.slots.len() < RUN_MAX => run.slots.insert(mark.at, slot),
            Self::Run(run) => {
                let slots = std::mem::take(&mut run.slots);
                let mut runs = Runs {
                    len: slots.len(),
                    runs: VecDeque::from([slots]),
                };
                runs.insert_at(mark, slot);
                *self = Self::Runs(Box::new(runs));
            }
            Self::Runs(runs) => runs.insert_at(mark, slot),
        }
    }

    /// Takes a slot out, whose entry is still in `entries`. Whether it was there.
    pub(crate) fn remove(&mut self, slot: Slot, entries: &Entries) -> bool {
        let mark = if self.oldest() == Some(slot) {
            Self::start()
        } else {
            let position = entries.get(slot).position();
            let mut mark = self.mark(entries, |entry| entry.position() > position);
            if mark.at == self.run(mark.run).len() && mark.run + 1 < self.runs() {
                mark = Mark {
                    run: mark.run + 1,
                    at: 0,
                };
            }
            mark
        };
        let found = self.run(mark.run).get(mark.at) == Some(&slot);
        debug_assert!(
            found,
            "a list holds every slot that was put in and not taken out"
        );
        if found {
            self.remove_at(mark);
        }
        found
    }

    fn remove_at(&mut self, mark: Mark) {
        match self {
            Self::Inline { len, slots } => {
                slots.copy_within(mark.at + 1..usize::from(*len), mark.at);
                *len -= 1;
            }
            Self::Run(run) => {
                run.slots.remove(mark.at);
                // One below the limit, so that a list at the limit doesn't change form each time.
                if run.slots.len() < INLINE_MAX {
                    let mut slots = [0; INLINE_MAX];
                    slots[..run.slots.len()].copy_from_slice(&run.slots);
                    let len = u8::try_from(run.slots.len()).expect("below three");
                    *self = Self::Inline { len, slots };
                }
            }
            Self::Runs(runs) => {
                runs.remove_at(mark);
                if runs.runs.len() == 1
                    && let Some(mut slots) = runs.runs.pop_front()
                {
                    if slots.len() <= RUN_MAX / 2 {
                        slots.shrink_to_fit();
                        *self = Self::Run(Box::new(Run { slots }));
                    } else {
                        runs.runs.push_front(slots);
                    }
                }
            }
        }
    }
}

impl Runs {
    fn insert_at(&mut self, mut mark: Mark, slot: Slot) {
        self.len += 1;
        if self.runs[mark.run].len() < RUN_MAX {
            self.runs[mark.run].insert(mark.at, slot);
            return;
        }
        // At an end a new run begins, so that lists that only grow there stay full.
        if mark.run + 1 == self.runs.len() && mark.at == RUN_MAX {
            self.runs.push_back(new_run(&[slot]));
        } else if mark.run == 0 && mark.at == 0 {
            self.runs.push_front(new_run(&[slot]));
        } else {
            let half = self.runs[mark.run].split_off(RUN_MAX / 2);
            self.runs.insert(mark.run + 1, new_run(&half));
            if mark.at > RUN_MAX / 2 {
                mark = Mark {
                    run: mark.run + 1,
                    at: mark.at - RUN_MAX / 2,
                };
            }
            self.runs[mark.run].insert(mark.at, slot);
        }
    }

    fn remove_at(&mut self, mark: Mark) {
        self.len -= 1;
        self.runs[mark.run].remove(mark.at);
        if self.runs[mark.run].is_empty() {
            self.runs.remove(mark.run);
        }
    }
}

fn new_run(slots: &[Slot]) -> Vec<Slot> {
    let mut run = Vec::with_capacity(RUN_MAX);
    run.extend_from_slice(slots);
    run
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::{EventId, Timestamp};

    use super::*;

    fn entry(time: u64, id: u8) -> Entry {
        let (created_at, id) = (Timestamp::from_secs(time), EventId::new([id; 32]));
        Entry {
            created_at,
            id,
            ..Entry::default()
        }
    }

    fn newest_first(list: &List) -> Vec<Slot> {
        let mut mark = list.end();
        std::iter::from_fn(|| list.next_older(&mut mark)).collect()
    }

    fn oldest_first(list: &List) -> Vec<Slot> {
        let mut mark = List::start();
        std::iter::from_fn(|| list.next_newer(&mut mark)).collect()
    }

    /// Inserts and removes at pseudo-random places and compares with a sorted vector throughout.
    fn check(count: u64, step: u64) {
        let (mut entries, mut list) = (Entries::new(), List::default());
        let mut model: Vec<Slot> = Vec::new();
        for turn in 0..count {
            let slot = entries.insert(entry(turn * step % 1009, u8::try_from(turn % 7).unwrap()));
            if model
                .iter()
                .any(|other| entries.get(*other).position() == entries.get(slot).position())
            {
                continue;
            }
            list.insert(slot, &entries);
            model.push(slot);
            if turn % 5 == 4 {
                let gone = model.remove(usize::try_from(turn * step).unwrap() % model.len());
                assert!(list.remove(gone, &entries));
            }
        }
        model.sort_by_key(|slot| entries.get(*slot).position());
        assert_eq!(newest_first(&list), model);
        assert_eq!(list.len(), model.len());
        for at in [0, model.len() / 3, model.len() - 1] {
            let position = entries.get(model[at]).position();
            let mut mark = list.mark(&entries, |entry| entry.position() > position);
            assert_eq!(list.next_older(&mut mark), model.get(at + 1).copied());
        }
        model.reverse();
        assert_eq!(oldest_first(&list), model);
        while let Some(slot) = model.pop() {
            assert!(list.remove(slot, &entries));
            assert_eq!(list.len(), model.len());
        }
        assert_eq!(list.bytes(), 0, "an empty list holds no memory");
    }

    #[test]
    fn stays_sorted_when_appended() {
        check(1000, 1);
    }

    #[test]
    fn stays_sorted_when_filled_from_the_newest() {
        check(1000, 1008);
    }

    #[test]
    fn stays_sorted_in_any_order() {
        check(3000, 577);
    }

    #[test]
    fn takes_sixteen_bytes() {
        assert_eq!(size_of::<List>(), 16);
    }
}
