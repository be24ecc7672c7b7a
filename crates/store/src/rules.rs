//! What an event does to others: supersede, delete, vanish (NIP-01, NIP-09, NIP-59, NIP-62).
//!
//! Pure functions that every backend merges by, so that all of them agree. A store keeps three
//! things, and each of them only ever grows towards the same end, whatever the order:
//!
//! - **events**: what is visible, by id;
//! - **guards**, kept for ever, also after the request that made them is gone: `(owner, id)` from an
//!   `e` tag, `(address → newest created_at)` from an `a` tag, `(owner → newest created_at)` from a
//!   request to vanish. [`effect`] says which guards an event makes, [`guarded`] which it meets;
//! - **seats**: per address the best [`Event::position`] of any version seen. Only the version that
//!   holds the seat is visible. The seat stays when that version is deleted, vanishes or is purged,
//!   so that no older version comes back (R09-8, R40-3). A version that arrives after the request
//!   that deleted it takes its seat all the same ([`takes_seat`]): had it come first, it would have
//!   superseded the others, and order must not matter (CL-1).
//!
//! Merging one event, in this order:
//!
//! 1. its id is stored: [`Outcome::Duplicate`], nothing changes;
//! 2. [`guarded`] gives [`Outcome::Deleted`] or [`Outcome::Vanished`]: it is not stored and makes no
//!    guards; unless it vanished, it takes the seat of its address if it is better, and the
//!    version that sat there is removed;
//! 3. the seat of its address is better or the same: [`Outcome::Superseded`], nothing changes;
//! 4. else [`Outcome::Stored`]: the version that sat there is removed, the event takes the seat, its
//!    guards are added, and every stored event that is now [`guarded`] is removed.

use heliograph_policy::RelayUrls;
pub use heliograph_policy::vanish_in_force;
use heliograph_protocol::{Address, Event, EventId, Kind, Outcome, PublicKey, Timestamp};
pub use heliograph_protocol::{DeletionTargets, deletion_targets, is_deletable, owners};

/// The guards that a stored event adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// None: it is no request.
    None,
    /// A deletion request (kind 5): `(author, id)` for every id, whatever its time (R09-3), and
    /// `(address → created_at)` for every address (R09-4).
    Delete(DeletionTargets),
    /// A request to vanish in force here (kind 62): `(author → created_at)` (R62-2).
    Vanish,
}

/// The guards of a store, read by owner or address.
pub trait Guards {
    /// Why a look-up failed.
    type Error;

    /// Whether `owner` asked to delete `id`.
    ///
    /// # Errors
    ///
    /// The guards can't be read.
    fn is_deleted(&self, owner: &PublicKey, id: &EventId) -> Result<bool, Self::Error>;

    /// Versions of `address` up to this `created_at`, inclusive, are deleted.
    ///
    /// # Errors
    ///
    /// The guards can't be read.
    fn deleted_until(&self, address: &Address) -> Result<Option<Timestamp>, Self::Error>;

    /// Events of `owner` up to this `created_at`, inclusive, have vanished.
    ///
    /// # Errors
    ///
    /// The guards can't be read.
    fn vanished_until(&self, owner: &PublicKey) -> Result<Option<Timestamp>, Self::Error>;
}

/// The guards that `event` adds once it is stored.
#[must_use]
pub fn effect(event: &Event, relay_urls: &RelayUrls) -> Effect {
    match event.kind() {
        Kind::DELETION => Effect::Delete(deletion_targets(event)),
        Kind::VANISH if vanish_in_force(event, relay_urls) => Effect::Vanish,
        _ => Effect::None,
    }
}

/// Whether the guard `(owner → until)`, of one of the event's [`owners`], removes the event.
///
/// A request to vanish that is in force falls only to a newer one of its author, so that the newest
/// stays; several of one second all stay.
#[must_use]
pub fn vanishes(event: &Event, until: Timestamp, relay_urls: &RelayUrls) -> bool {
    if vanish_in_force(event, relay_urls) {
        event.created_at() < until
    } else {
        event.created_at() <= until
    }
}

/// Whether a guard removes or refuses `event`: `Deleted` before `Vanished`, `None` if no guard does.
///
/// # Errors
///
/// Those of `guards`.
pub fn guarded<G: Guards>(
    event: &Event,
    guards: &G,
    relay_urls: &RelayUrls,
) -> Result<Option<Outcome>, G::Error> {
    let owners = owners(event);
    if is_deletable(event.kind()) {
        for owner in &owners {
            if guards.is_deleted(owner, event.id())? {
                return Ok(Some(Outcome::Deleted));
            }
        }
        if let Some(address) = event.address()
            && guards
                .deleted_until(&address)?
                .is_some_and(|until| event.created_at() <= until)
        {
            return Ok(Some(Outcome::Deleted));
        }
    }
    for owner in &owners {
        let until = guards.vanished_until(owner)?;
        if until.is_some_and(|until| vanishes(event, until, relay_urls)) {
            return Ok(Some(Outcome::Vanished));
        }
    }
    Ok(None)
}

/// Whether a version of an address with this outcome of [`guarded`] takes the seat if it is better
/// than the one that sits there: all but vanished ones, below which nothing can be visible anyway.
#[must_use]
pub fn takes_seat(guarded: Option<Outcome>) -> bool {
    guarded != Some(Outcome::Vanished)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        GuardSet,
        conformance::{event, key, relay_urls},
    };

    #[track_caller]
    fn check_targets(tags: &[&[&str]], ids: &[EventId], addresses: &[(u16, &str)]) {
        let addresses = addresses.iter().map(|(kind, d)| Address {
            kind: Kind::new(*kind),
            pubkey: key(1),
            d: (*d).to_owned(),
        });
        let expected = DeletionTargets {
            ids: ids.to_vec(),
            addresses: addresses.collect(),
        };
        assert_eq!(deletion_targets(&event(1, 10, 5, tags, "")), expected);
    }

    #[test]
    fn e_tags_name_ids_in_order_and_once() {
        let [a, b] = [1, 2].map(|byte| EventId::new([byte; 32]));
        let [hex_a, hex_b] = [a.to_hex(), b.to_hex()];
        check_targets(
            &[&["e", &hex_b], &["e", &hex_a, "x"], &["e", &hex_b]],
            &[b, a],
            &[],
        );
    }

    #[test]
    fn malformed_ids_are_skipped() {
        let upper = EventId::new([0xab; 32]).to_hex().to_uppercase();
        let long = "0".repeat(65);
        check_targets(
            &[
                &["e"],
                &["e", ""],
                &["e", &upper],
                &["e", &long],
                &["E", &upper],
            ],
            &[],
            &[],
        );
    }

    #[test]
    fn a_tags_name_the_authors_own_addresses() {
        let address = |kind: u16, owner: u32, d: &str| format!("{kind}:{}:{d}", key(owner));
        let (own, foreign) = (address(30_023, 1, "a:b"), address(30_023, 2, "x"));
        let (replaceable, with_d) = (address(0, 1, ""), address(0, 1, "x"));
        let (regular, ephemeral) = (address(1, 1, ""), address(20_000, 1, ""));
        let texts = [own, foreign, replaceable, with_d, regular, ephemeral];
        let tags: Vec<[&str; 2]> = texts.iter().map(|text| ["a", text.as_str()]).collect();
        let tags: Vec<&[&str]> = tags.iter().map(<[&str; 2]>::as_slice).collect();
        check_targets(&tags, &[], &[(30_023, "a:b"), (0, "")]);
    }

    #[test]
    fn only_kind_5_deletes() {
        let id = EventId::new([1; 32]).to_hex();
        let note = event(1, 10, 1, &[&["e", &id]], "");
        assert_eq!(deletion_targets(&note), DeletionTargets::default());
        assert_eq!(effect(&note, &relay_urls()), Effect::None);
    }

    #[track_caller]
    fn check_owners(kind: u16, tags: &[&[&str]], expected: &[u32]) {
        let expected: Vec<_> = expected.iter().map(|n| key(*n)).collect();
        assert_eq!(owners(&event(1, 10, kind, tags, "")), expected);
    }

    #[test]
    fn recipients_own_gift_wraps_with_the_author() {
        let [two, three] = [2, 3].map(|n| key(n).to_hex());
        let upper = two.to_uppercase();
        let tags: &[&[&str]] = &[
            &["p", &two],
            &["p"],
            &["p", "x"],
            &["p", &upper],
            &["p", &three],
            &["p", &two],
        ];
        check_owners(1059, tags, &[1, 2, 3]);
    }

    #[test]
    fn other_kinds_belong_to_their_author_alone() {
        let two = key(2).to_hex();
        for kind in [1, 4, 5, 13, 62, 21_059] {
            check_owners(kind, &[&["p", &two]], &[1]);
        }
    }

    #[test]
    fn neither_deletion_requests_nor_requests_to_vanish_are_deletable() {
        let deletable = |kind| is_deletable(Kind::new(kind));
        assert!(!deletable(5) && !deletable(62));
        assert!(deletable(0) && deletable(4) && deletable(6) && deletable(61) && deletable(1059));
    }

    #[track_caller]
    fn check_guarded(guards: &[Arc<Event>], target: &Event, expected: Option<Outcome>) {
        let urls = relay_urls();
        let mut set = GuardSet::default();
        for request in guards {
            set.add(request, &effect(request, &urls));
        }
        assert_eq!(guarded(target, &set, &urls), Ok(expected));
    }

    fn request_to_vanish(at: u64) -> Arc<Event> {
        event(1, at, 62, &[&["relay", "ALL_RELAYS"]], "")
    }

    #[test]
    fn a_guard_by_address_includes_its_own_second() {
        let text = format!("30023:{}:a", key(1));
        let guards = [
            event(1, 20, 5, &[&["a", &text]], ""),
            event(1, 15, 5, &[&["a", &text]], ""),
        ];
        let version = |at| event(1, at, 30_023, &[&["d", "a"]], "");
        check_guarded(&guards, &version(20), Some(Outcome::Deleted));
        check_guarded(&guards, &version(21), None);
    }

    #[test]
    fn a_vanish_guard_includes_its_own_second() {
        let guards = [request_to_vanish(20), request_to_vanish(15)];
        check_guarded(&guards, &event(1, 20, 1, &[], ""), Some(Outcome::Vanished));
        check_guarded(&guards, &event(1, 20, 5, &[], ""), Some(Outcome::Vanished));
        check_guarded(&guards, &event(1, 21, 1, &[], ""), None);
        check_guarded(&guards, &event(2, 10, 1, &[], ""), None);
    }

    #[test]
    fn a_request_to_vanish_falls_only_to_a_newer_one() {
        let guards = [request_to_vanish(20)];
        check_guarded(&guards, &request_to_vanish(20), None);
        check_guarded(&guards, &request_to_vanish(19), Some(Outcome::Vanished));
    }

    #[test]
    fn a_request_to_vanish_from_another_relay_falls_like_a_note() {
        let elsewhere = event(1, 20, 62, &[&["relay", "wss://other.example.com"]], "");
        check_guarded(
            &[request_to_vanish(20)],
            &elsewhere,
            Some(Outcome::Vanished),
        );
        check_guarded(&[elsewhere], &event(1, 10, 1, &[], ""), None);
    }

    #[test]
    fn vanished_versions_take_no_seat() {
        assert!(takes_seat(None) && takes_seat(Some(Outcome::Deleted)));
        assert!(!takes_seat(Some(Outcome::Vanished)));
    }

    #[test]
    fn guards_added_in_any_order_are_the_same_set() {
        let urls = relay_urls();
        let guards = |requests: &[Arc<Event>]| {
            let mut set = GuardSet::default();
            for request in requests {
                set.add(request, &effect(request, &urls));
            }
            set
        };
        let requests = [
            request_to_vanish(20),
            request_to_vanish(10),
            request_to_vanish(20),
        ];
        let mut reversed = requests.clone();
        reversed.reverse();
        assert_eq!(guards(&requests), guards(&reversed));
        assert_eq!(guards(&requests).len(), 1);
    }
}
