//! The versions of addresses that a subscription was sent, so that no worse one follows (CL-3).

use std::{
    cmp::Reverse,
    hash::{BuildHasher, RandomState},
};

use hashbrown::{HashMap, HashSet};
use heliograph_protocol::{Event, EventId, Timestamp};

/// The best version of each address among the events of a stored part. Addresses are hashed: a
/// `d` value can be as long as an event.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    hasher: RandomState,
    best: HashMap<u64, (Reverse<Timestamp>, EventId)>,
}

impl Seats {
    /// Notes an event that is sent.
    pub(crate) fn note(&mut self, event: &Event) {
        if let Some(address) = event.address() {
            let position = event.position();
            let best = self.best.entry(self.hasher.hash_one(address));
            let best = best.or_insert(position);
            *best = position.min(*best);
        }
    }

    /// Whether a better version of the event's address was sent.
    pub(crate) fn beat(&self, event: &Event) -> bool {
        if self.best.is_empty() {
            return false;
        }
        let address = event.address();
        let best = address.and_then(|address| self.best.get(&self.hasher.hash_one(address)));
        best.is_some_and(|best| *best < event.position())
    }

    /// Forgets all versions but these.
    pub(crate) fn keep(&mut self, ids: &HashSet<EventId>) {
        self.best.retain(|_, (_, id)| ids.contains(id));
        self.best.shrink_to_fit();
    }
}
