//! What a deletion request names, and whose requests concern an event (NIP-09, NIP-59).

use crate::{Address, Event, EventId, Kind, PublicKey};

/// What a deletion request names, foreign and malformed references left out (NIP-09).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeletionTargets {
    /// Ids from `e` tags, in order, each once. The author may not own them: compare with
    /// [`owners`] of the event of that id.
    pub ids: Vec<EventId>,
    /// Addresses of the request's author from `a` tags, in order, each once. Their versions up to
    /// the request's `created_at`, inclusive, are deleted.
    pub addresses: Vec<Address>,
}

/// What a kind 5 asks to delete; nothing for other kinds.
///
/// Malformed values are skipped (R09-9), and so are addresses of other authors (R09-2).
#[must_use]
pub fn deletion_targets(event: &Event) -> DeletionTargets {
    if event.kind() != Kind::DELETION {
        return DeletionTargets::default();
    }
    let ids = event
        .values("e")
        .filter_map(|value| EventId::from_hex(value.as_bytes()).ok());
    let addresses = event
        .values("a")
        .filter_map(|value| Address::parse(&value))
        .filter(|address| address.pubkey == *event.pubkey());
    DeletionTargets {
        ids: distinct(ids),
        addresses: distinct(addresses),
    }
}

/// Who may delete an event, or take it along when vanishing: its author, first, and for a gift wrap
/// every key that a `p` tag names, malformed ones skipped (R59-3, R62-3).
#[must_use]
pub fn owners(event: &Event) -> Vec<PublicKey> {
    let author = std::iter::once(*event.pubkey());
    if event.kind() != Kind::GIFT_WRAP {
        return author.collect();
    }
    let recipients = event
        .values("p")
        .filter_map(|value| PublicKey::from_hex(value.as_bytes()).ok());
    distinct(author.chain(recipients))
}

/// Whether a kind 5 can delete events of this kind: not other deletion requests, and not requests
/// to vanish (R09-7).
#[must_use]
pub fn is_deletable(kind: Kind) -> bool {
    kind != Kind::DELETION && kind != Kind::VANISH
}

/// Drops repetitions and keeps the order.
fn distinct<T: Clone + Eq + std::hash::Hash>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::HashSet::new();
    values.filter(|value| seen.insert(value.clone())).collect()
}
