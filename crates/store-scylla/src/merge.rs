//! Merging a batch in memory: what [`rules`] says, event by event, over what is known of the
//! database. No IO: what comes out is a list of things to write and to remove.
//!
//! Within the batch everything is in order, so the outcomes are those of a store that nobody else
//! writes to. Other workers are looked for after the writing (see [`crate::write`]).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use heliograph_policy::RelayUrls;
use heliograph_protocol::{Event, EventId, Outcome};
use heliograph_store::rules::{self, Effect};

use crate::{
    core::{GuardMap, Head},
    key::{AddressKey, Seat},
};

/// What the database says about the events of a batch.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub heads: HashMap<EventId, Head>,
    pub guards: GuardMap,
    pub seats: HashMap<AddressKey, Seat>,
}

/// A request whose targets have to be removed.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub event: Arc<Event>,
    pub effect: Effect,
}

/// What a batch comes to.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// One for each event of the batch.
    pub outcomes: Vec<Outcome>,
    /// New events, less those that others of the batch remove again.
    pub puts: Vec<Arc<Event>>,
    /// New holders of seats.
    pub seats: HashMap<AddressKey, Seat>,
    /// New guards.
    pub guards: GuardMap,
    /// Stored requests, and known ones that an earlier attempt may not have finished.
    pub requests: Vec<Request>,
    /// Events in the database that don't count any more.
    pub removals: HashSet<EventId>,
    /// Guarded events that aren't in the database, as far as a quorum tells: an attempt that was cut
    /// off may have left them with one replica, from which they would spread.
    pub refused: HashMap<EventId, Arc<Event>>,
}

struct Batch<'a> {
    known: Known,
    relay_urls: &'a RelayUrls,
    stored: HashMap<EventId, Arc<Event>>,
    order: Vec<EventId>,
    merged: Merged,
}

/// Merges `events` in order.
pub(crate) fn merge(events: &[Arc<Event>], known: Known, relay_urls: &RelayUrls) -> Merged {
    let mut batch = Batch {
        known,
        relay_urls,
        stored: HashMap::new(),
        order: Vec::new(),
        merged: Merged::default(),
    };
    for event in events {
        let outcome = batch.merge(event);
        batch.merged.outcomes.push(outcome);
    }
    batch.finish()
}

impl Batch<'_> {
    fn merge(&mut self, event: &Arc<Event>) -> Outcome {
        debug_assert!(
            !event.kind().is_ephemeral(),
            "ephemeral events are never stored (R01-46)"
        );
        let guarded = self.guarded(event);
        let address = AddressKey::of(event);
        let there =
            self.stored.contains_key(event.id()) || self.known.heads.contains_key(event.id());
        if there {
            if guarded.is_none() && self.holds_seat(event, address.as_ref()) {
                self.finish_request(event);
                return Outcome::Duplicate;
            }
            // What is there and doesn't count is what somebody didn't finish removing, or what has
            // yet to take its seat.
            if guarded.is_some() || self.is_beaten(event, address.as_ref()) {
                self.merged.removals.insert(*event.id());
            }
        }
        let better = match &address {
            Some(address) if rules::takes_seat(guarded) => self.take_seat(event, address, there),
            _ => true,
        };
        if let Some(outcome) = guarded {
            if !there {
                self.refuse(event);
            }
            return outcome;
        }
        if !better {
            return Outcome::Superseded;
        }
        if self.stored.insert(*event.id(), Arc::clone(event)).is_none() {
            self.order.push(*event.id());
        }
        let effect = rules::effect(event, self.relay_urls);
        if effect != Effect::None {
            self.known.guards.add(event, &effect);
            self.merged.guards.add(event, &effect);
            self.add_request(event, effect);
        }
        Outcome::Stored
    }

    fn refuse(&mut self, event: &Arc<Event>) {
        let refused = &mut self.merged.refused;
        refused.insert(*event.id(), Arc::clone(event));
    }

    fn guarded(&self, event: &Event) -> Option<Outcome> {
        self.known.guards.outcome(event, self.relay_urls)
    }

    fn holds_seat(&self, event: &Event, address: Option<&AddressKey>) -> bool {
        address.is_none_or(|address| {
            let seat = self.known.seats.get(address);
            seat.is_some_and(|seat| seat.id == *event.id())
        })
    }

    fn is_beaten(&self, event: &Event, address: Option<&AddressKey>) -> bool {
        let seat = address.and_then(|address| self.known.seats.get(address));
        seat.is_some_and(|seat| seat.beats(event))
    }

    /// Whether the event is the best version so far, now or since an attempt that ended half-way.
    fn take_seat(&mut self, event: &Arc<Event>, address: &AddressKey, there: bool) -> bool {
        let own = Seat::of(event);
        match self.known.seats.get(address) {
            Some(seat) if seat.id == own.id => return !there,
            Some(seat) if seat.position() < own.position() => return false,
            Some(seat) => {
                self.merged.removals.insert(seat.id);
            }
            None => {}
        }
        self.known.seats.insert(address.clone(), own);
        self.merged.seats.insert(address.clone(), own);
        true
    }

    /// A known request may have been cut off between its guards and the removal of its targets.
    fn finish_request(&mut self, event: &Arc<Event>) {
        let head = self.known.heads.get(event.id());
        if head.is_some_and(|head| !head.done) {
            let effect = rules::effect(event, self.relay_urls);
            if effect != Effect::None {
                self.add_request(event, effect);
            }
        }
    }

    fn add_request(&mut self, event: &Arc<Event>, effect: Effect) {
        let known = self
            .merged
            .requests
            .iter()
            .any(|request| request.event.id() == event.id());
        if !known {
            self.merged.requests.push(Request {
                event: Arc::clone(event),
                effect,
            });
        }
    }

    fn finish(mut self) -> Merged {
        for id in std::mem::take(&mut self.order) {
            let Some(event) = self.stored.remove(&id) else {
                continue;
            };
            let address = AddressKey::of(&event);
            let guarded = self.guarded(&event).is_some();
            if !guarded && self.holds_seat(&event, address.as_ref()) {
                self.merged.puts.push(event);
            } else if !self.known.heads.contains_key(&id) {
                // It never reached the database.
                self.merged.removals.remove(&id);
                if guarded {
                    self.refuse(&event);
                }
            }
        }
        for event in &self.merged.puts {
            debug_assert!(
                !self.merged.removals.contains(event.id()),
                "what is removed never comes back"
            );
        }
        self.merged
    }
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::Outcome::{Deleted, Duplicate, Stored, Superseded, Vanished};
    use heliograph_store::conformance::{RELAY_URL, event, relay_urls};

    use super::*;

    fn version(at: u64) -> Arc<Event> {
        event(1, at, 0, &[], "")
    }

    #[track_caller]
    fn check(events: &[&Arc<Event>], known: Known, outcomes: &[Outcome]) -> Merged {
        let events: Vec<_> = events.iter().map(|event| Arc::clone(event)).collect();
        let merged = merge(&events, known, &relay_urls());
        assert_eq!(merged.outcomes, outcomes);
        merged
    }

    fn seated(event: &Event) -> Known {
        let address = AddressKey::of(event).unwrap();
        Known {
            seats: [(address, Seat::of(event))].into(),
            ..Known::default()
        }
    }

    fn there(event: &Event, done: bool) -> Known {
        let mut known = AddressKey::of(event).map_or_else(Known::default, |_| seated(event));
        let head = Head {
            at: event.created_at(),
            expires: None,
            address: AddressKey::of(event),
            done,
        };
        known.heads.insert(*event.id(), head);
        known
    }

    #[test]
    fn only_the_last_version_of_a_batch_is_written() {
        let (first, second) = (version(10), version(20));
        let merged = check(
            &[&first, &second, &first],
            Known::default(),
            &[Stored, Stored, Superseded],
        );
        assert_eq!(merged.puts, [second]);
        assert!(merged.removals.is_empty());
        assert_eq!(merged.seats.len(), 1);
    }

    #[test]
    fn the_version_that_sat_there_is_removed() {
        let (old, new) = (version(10), version(20));
        let merged = check(&[&new], there(&old, false), &[Stored]);
        assert_eq!(merged.removals, [*old.id()].into());
    }

    #[test]
    fn a_version_whose_seat_was_written_but_not_itself_is_stored_again() {
        let new = version(20);
        let merged = check(&[&new], seated(&new), &[Stored]);
        assert_eq!(merged.puts, [new]);
    }

    #[test]
    fn a_version_that_was_written_but_not_seated_is_stored_again() {
        let (old, new) = (version(10), version(20));
        let mut known = there(&new, false);
        known.seats = seated(&old).seats;
        let merged = check(&[&new], known, &[Stored]);
        assert_eq!(merged.puts, [new]);
        assert_eq!(merged.removals, [*old.id()].into());
    }

    #[test]
    fn a_known_loser_is_removed() {
        let (old, new) = (version(10), version(20));
        let mut known = there(&old, false);
        known.seats = seated(&new).seats;
        let merged = check(&[&old], known, &[Superseded]);
        assert_eq!(merged.removals, [*old.id()].into());
    }

    #[test]
    fn a_known_event_that_is_guarded_is_removed() {
        let note = event(1, 10, 1, &[], "");
        let vanish = event(1, 20, 62, &[&["relay", RELAY_URL]], "");
        let mut known = there(&note, false);
        known.guards.add(&vanish, &Effect::Vanish);
        let merged = check(&[&note], known, &[Vanished]);
        assert_eq!(merged.removals, [*note.id()].into());
    }

    #[test]
    fn a_request_is_finished_until_it_is_known_to_be_done() {
        let deletion = event(1, 20, 5, &[&["e", &"0".repeat(64)]], "");
        let merged = check(&[&deletion], there(&deletion, false), &[Duplicate]);
        assert_eq!(merged.requests.len(), 1);
        let merged = check(&[&deletion], there(&deletion, true), &[Duplicate]);
        assert!(merged.requests.is_empty());
    }

    #[test]
    fn what_a_batch_deletes_itself_is_never_written() {
        let note = event(1, 10, 1, &[], "");
        let deletion = event(1, 20, 5, &[&["e", &note.id().to_hex()]], "");
        let merged = check(
            &[&note, &deletion, &note],
            Known::default(),
            &[Stored, Stored, Deleted],
        );
        assert_eq!(merged.puts, [deletion]);
        assert_eq!(merged.guards.0.len(), 1);
        assert!(merged.refused.contains_key(note.id()));
    }

    #[test]
    fn a_guarded_event_that_is_not_there_is_refused_for_good() {
        let note = event(1, 10, 1, &[], "");
        let deletion = event(1, 20, 5, &[&["e", &note.id().to_hex()]], "");
        let mut known = Known::default();
        let effect = rules::effect(&deletion, &relay_urls());
        known.guards.add(&deletion, &effect);
        let merged = check(&[&note], known, &[Deleted]);
        assert!(merged.removals.is_empty());
        assert_eq!(merged.refused.into_values().collect::<Vec<_>>(), [note]);
    }
}
