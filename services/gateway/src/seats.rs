//! What a subscription was sent that beats other events, so that none of these follows (CL-3): versions
//! of addresses, and requests to delete.

use std::{
    cmp::Reverse,
    hash::{BuildHasher, RandomState},
};

use hashbrown::{HashMap, HashSet};
use heliograph_protocol::{Event, EventId, Timestamp, deletion_targets, is_deletable, owners};

/// Targets of requests to delete that are remembered for one answer, of ids and of addresses each.
const DELETED_MAX: usize = 4_096;

/// The best version of each address among the events of a stored part, and what they ask to delete.
/// Addresses are hashed: a `d` value can be as long as an event.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    hasher: RandomState,
    best: HashMap<u64, (Reverse<Timestamp>, EventId)>,
    /// Who asked to delete which id, and by which request.
    deleted: HashMap<u64, EventId>,
    /// Up to when the versions of an address are deleted, and by which request.
    deleted_until: HashMap<u64, (Timestamp, EventId)>,
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
        self.note_deletion(event);
    }

    /// Notes what a request names of its author's (NIP-09), as far as there is room: thousands of
    /// requests that concern this very answer are nobody's history but an attempt to fill memory.
    fn note_deletion(&mut self, request: &Event) {
        let targets = deletion_targets(request);
        let room = DELETED_MAX.saturating_sub(self.deleted.len());
        for target in targets.ids.iter().take(room) {
            let key = self.hasher.hash_one((request.pubkey(), target));
            self.deleted.insert(key, *request.id());
        }
        let room = DELETED_MAX.saturating_sub(self.deleted_until.len());
        for address in targets.addresses.iter().take(room) {
            let until = (request.created_at(), *request.id());
            let known = self.deleted_until.entry(self.hasher.hash_one(address));
            let known = known.or_insert(until);
            *known = until.max(*known);
        }
    }

    /// Whether a better version of the event's address was sent, or a request to delete it.
    pub(crate) fn beat(&self, event: &Event) -> bool {
        if self.best.is_empty() && self.deleted.is_empty() && self.deleted_until.is_empty() {
            return false;
        }
        let address = event.address();
        let address = address.map(|address| self.hasher.hash_one(address));
        let best = address.and_then(|address| self.best.get(&address));
        if best.is_some_and(|best| *best < event.position()) {
            return true;
        }
        // A request to delete requests has no effect (NIP-09).
        if !is_deletable(event.kind()) {
            return false;
        }
        let until = address.and_then(|address| self.deleted_until.get(&address));
        until.is_some_and(|(until, _)| event.created_at() <= *until) || self.is_deleted(event)
    }

    /// Whether its author asked to delete it, or for a gift wrap a recipient (NIP-59).
    fn is_deleted(&self, event: &Event) -> bool {
        if self.deleted.is_empty() {
            return false;
        }
        let asked = |owner| {
            let key = self.hasher.hash_one((owner, event.id()));
            self.deleted.contains_key(&key)
        };
        owners(event).iter().any(asked)
    }

    /// Forgets what wasn't said by these.
    pub(crate) fn keep(&mut self, ids: &HashSet<EventId>) {
        self.best.retain(|_, (_, id)| ids.contains(id));
        self.best.shrink_to_fit();
        self.deleted.retain(|_, id| ids.contains(id));
        self.deleted.shrink_to_fit();
        self.deleted_until.retain(|_, (_, id)| ids.contains(id));
        self.deleted_until.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use heliograph_testkit::keys::Key;

    use super::*;

    /// What is beaten once a request of key 0 at second 50 with this tag has been sent.
    #[track_caller]
    fn check(tag: &[&str], event: &Event, beaten: bool) {
        let mut sent = Seats::default();
        let request = Key::nth(0).sign(50, 5, &[tag], "");
        sent.note(&request);
        assert_eq!(sent.beat(event), beaten, "{tag:?} {}", event.as_str());
        sent.keep(&HashSet::from_iter([*request.id()]));
        assert_eq!(sent.beat(event), beaten, "it is announced later");
        sent.keep(&HashSet::new());
        assert!(!sent.beat(event), "it was announced before");
    }

    #[test]
    fn a_request_beats_the_events_of_its_author_that_it_names() {
        for (author, beaten) in [(0, true), (1, false)] {
            let note = Key::nth(author).note(60, "");
            check(&["e", &note.id().to_hex()], &note, beaten);
        }
        check(&["e", &"0".repeat(64)], &Key::nth(0).note(60, ""), false);
    }

    #[test]
    fn targets_beyond_a_bound_are_not_remembered() {
        let mut sent = Seats::default();
        for request in 0..5_u64 {
            let tags: Vec<[String; 2]> = (0..1_000_u64)
                .map(|n| ["e".to_owned(), format!("{:064x}", request * 1_000 + n)])
                .collect();
            let tags: Vec<[&str; 2]> = tags.iter().map(|tag| [&*tag[0], &*tag[1]]).collect();
            let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
            sent.note(&Key::nth(0).sign(50, 5, &tags, ""));
        }
        assert_eq!(sent.deleted.len(), DELETED_MAX);
    }

    #[test]
    fn a_request_beats_versions_of_an_address_up_to_its_own_time() {
        let address = |author: usize| format!("30023:{}:a", Key::nth(author).hex());
        for (at, beaten) in [(49, true), (50, true), (51, false)] {
            let version = Key::nth(0).sign(at, 30_023, &[&["d", "a"]], "");
            check(&["a", &address(0)], &version, beaten);
        }
        let others = Key::nth(1).sign(49, 30_023, &[&["d", "a"]], "");
        check(&["a", &address(1)], &others, false);
    }

    #[test]
    fn a_recipient_may_delete_a_gift_wrap_and_nobody_a_request() {
        let me = Key::nth(0).hex();
        let wrap = Key::nth(1).sign(49, 1_059, &[&["p", &me]], "");
        check(&["e", &wrap.id().to_hex()], &wrap, true);
        let request = Key::nth(0).sign(49, 5, &[], "");
        check(&["e", &request.id().to_hex()], &request, false);
    }

    #[test]
    fn the_best_version_that_was_sent_beats_the_others() {
        let version = |at: u64| Key::nth(0).sign(at, 0, &[], "");
        let mut sent = Seats::default();
        sent.note(&version(20));
        sent.note(&version(10));
        assert!(sent.beat(&version(19)));
        assert!(!sent.beat(&version(20)), "itself");
        assert!(!sent.beat(&version(21)));
        assert!(!sent.beat(&Key::nth(1).sign(19, 0, &[], "")));
    }
}
