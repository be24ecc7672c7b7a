//! The events delivered lately, in order: what a gateway that lost its matcher gets again here.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use heliograph_bus::{CommitNumber, Place};
use heliograph_protocol::Event;

/// Memory of an entry beside the text of its event, estimated.
const ENTRY_BYTES: usize = 96;

/// Places of repetitions remembered: an event was published again soon after, or a worker died between
/// announcing a batch and acknowledging it. About 8 MiB; past it the oldest are forgotten, and a
/// gateway that goes on from before one of those may get its event twice.
const REPETITIONS_MAX: usize = 262_144;

/// Events with their places, in order.
pub(crate) type Entries = Vec<(Place, Arc<Event>)>;

/// A bounded run of the stream, up to what was applied last.
#[derive(Debug)]
pub(crate) struct Replay {
    entries: VecDeque<(Place, Arc<Event>)>,
    bytes: usize,
    bytes_max: usize,
    /// Every delivered event behind this place is in `entries`.
    floor: Place,
    /// Where the stream announces an event that it has announced before. What memory no longer holds
    /// is read from the stream, which doesn't say so.
    repetitions: BTreeSet<Place>,
}

impl Replay {
    /// Nothing yet. Events of which more than `bytes_max` would be held push the oldest out.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
            floor: Place::default(),
            repetitions: BTreeSet::new(),
        }
    }

    /// What came up to this batch isn't here.
    pub(crate) fn start_after(&mut self, last: CommitNumber) {
        self.floor = Place::end_of(last);
    }

    /// Notes an event that has just been delivered.
    pub(crate) fn push(&mut self, place: Place, event: &Arc<Event>) {
        debug_assert!(place > self.floor, "the stream has an order");
        self.bytes += bytes(event);
        self.entries.push_back((place, Arc::clone(event)));
        while self.bytes > self.bytes_max
            && let Some((place, event)) = self.entries.pop_front()
        {
            self.bytes -= bytes(&event);
            self.floor = place;
        }
    }

    /// Notes a place where the stream repeats an event that was delivered at an earlier one.
    pub(crate) fn note_repetition(&mut self, place: Place) {
        self.repetitions.insert(place);
        if self.repetitions.len() > REPETITIONS_MAX {
            self.repetitions.pop_first();
        }
    }

    /// Whether the stream repeats an event here.
    pub(crate) fn is_repetition(&self, place: Place) -> bool {
        self.repetitions.contains(&place)
    }

    /// At most `count_max` events behind `after`, in order, and whether these are all; `None` if
    /// some of them are no longer here.
    pub(crate) fn after(&self, after: Place, count_max: usize) -> Option<(Entries, bool)> {
        if after < self.floor {
            return None;
        }
        let start = self.entries.partition_point(|(place, _)| *place <= after);
        let left = self.entries.len() - start;
        let entries = self.entries.range(start..).take(count_max).cloned();
        Some((entries.collect(), left <= count_max))
    }
}

fn bytes(event: &Event) -> usize {
    ENTRY_BYTES + event.json().len()
}

#[cfg(test)]
mod tests {
    use heliograph_store::conformance::event;

    use super::*;

    fn place(number: u64, index: u32) -> Place {
        Place {
            number: CommitNumber(number),
            index,
        }
    }

    fn places(found: Option<(Entries, bool)>) -> Option<(Vec<Place>, bool)> {
        found.map(|(entries, all)| (entries.into_iter().map(|(place, _)| place).collect(), all))
    }

    #[test]
    fn gives_what_lies_behind_a_place_in_order() {
        let mut replay = Replay::new(usize::MAX);
        replay.start_after(CommitNumber(4));
        let note = event(1, 10, 1, &[], "");
        for (number, index) in [(5, 0), (5, 1), (7, 0)] {
            replay.push(place(number, index), &note);
        }
        let behind_four = replay.after(Place::end_of(CommitNumber(4)), 2);
        assert_eq!(
            places(behind_four),
            Some((vec![place(5, 0), place(5, 1)], false))
        );
        let within_a_batch = replay.after(place(5, 0), 2);
        assert_eq!(
            places(within_a_batch),
            Some((vec![place(5, 1), place(7, 0)], true))
        );
        let all = replay.after(Place::end_of(CommitNumber(9)), 2);
        assert_eq!(places(all), Some((Vec::new(), true)));
    }

    #[test]
    fn the_oldest_repetitions_are_forgotten() {
        let mut replay = Replay::new(0);
        let last = u64::try_from(REPETITIONS_MAX).unwrap();
        (0..=last).for_each(|number| replay.note_repetition(place(number, 3)));
        assert!(!replay.is_repetition(place(0, 3)));
        assert!(replay.is_repetition(place(1, 3)));
        assert!(replay.is_repetition(place(last, 3)));
        assert!(!replay.is_repetition(place(last, 2)));
        assert_eq!(replay.repetitions.len(), REPETITIONS_MAX);
    }

    #[test]
    fn says_when_it_no_longer_goes_back_far_enough() {
        let note = event(1, 10, 1, &[], "");
        let mut replay = Replay::new(2 * bytes(&note));
        replay.start_after(CommitNumber(2));
        assert_eq!(
            places(replay.after(Place::end_of(CommitNumber(1)), 9)),
            None
        );
        for number in 3..6 {
            replay.push(place(number, 0), &note);
        }
        assert_eq!(
            places(replay.after(Place::end_of(CommitNumber(2)), 9)),
            None
        );
        let behind_the_floor = replay.after(place(3, 0), 9);
        assert_eq!(
            places(behind_the_floor),
            Some((vec![place(4, 0), place(5, 0)], true))
        );
    }
}
