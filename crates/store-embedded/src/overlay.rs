//! Levels: what is in the log and not yet in the database, indexed in memory.
//!
//! A level only grows. What its guards and seats do to events, in the level itself or below it, is
//! decided when an event is read ([`Level::hides`]), not when the guard is written; the flusher does
//! it for good. So a level is the exact difference to what lies below it.

use std::{
    cmp::Reverse, collections::BTreeMap, convert::Infallible, ops::Bound, sync::Arc, time::Instant,
};

use hashbrown::{HashMap, HashSet};
use heliograph_policy::RelayUrls;
use heliograph_protocol::{
    Address, Event, EventId, Expiration, Filter, Outcome, PublicKey, Timestamp,
};
use heliograph_store::rules::{self, Effect, Guards};
use parking_lot::RwLock;

/// A place in the order of every answer: newest first, then lowest id (R01-53).
pub(crate) type Position = (Reverse<Timestamp>, EventId);

/// A level that readers and the writer share.
pub(crate) type SharedLevel = Arc<RwLock<Level>>;

/// One batch of changes, on its way to the database.
#[derive(Debug, Default)]
pub(crate) struct Level {
    pub(crate) events: BTreeMap<Position, Entry>,
    pub(crate) by_id: HashMap<EventId, Position>,
    by_author: HashMap<PublicKey, Vec<Position>>,
    /// Per address the best position of any version seen (see [`rules`]).
    pub(crate) seats: HashMap<Address, Position>,
    pub(crate) guards: LevelGuards,
    /// Bytes of wire form.
    pub(crate) bytes: usize,
    /// When the first change came.
    pub(crate) since: Option<Instant>,
}

/// An event in a level.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) event: Arc<Event>,
    /// The end of the event, if it has one.
    pub(crate) expires: Option<Timestamp>,
}

/// The guards that a level adds.
#[derive(Debug, Default)]
pub(crate) struct LevelGuards {
    pub(crate) ids: HashSet<(PublicKey, EventId)>,
    pub(crate) addresses: HashMap<Address, Timestamp>,
    pub(crate) owners: HashMap<PublicKey, Timestamp>,
}

/// An event that changes the store: stored, or only taking the seat of its address.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) event: Arc<Event>,
    pub(crate) stored: bool,
    pub(crate) effect: Effect,
    pub(crate) address: Option<Address>,
}

impl Level {
    /// Applies a change; applying it again changes nothing.
    pub(crate) fn apply(&mut self, change: &Change) {
        self.since.get_or_insert_with(Instant::now);
        let event = &change.event;
        let position = event.position();
        self.bytes += event.json().len();
        if let Some(address) = &change.address {
            let seat = self.seats.entry(address.clone()).or_insert(position);
            *seat = position.min(*seat);
        }
        if !change.stored || self.by_id.insert(*event.id(), position).is_some() {
            return;
        }
        let entry = Entry {
            event: Arc::clone(event),
            expires: expires(event),
        };
        self.events.insert(position, entry);
        self.by_author
            .entry(*event.pubkey())
            .or_default()
            .push(position);
        self.guards.add(event, &change.effect);
    }

    /// Whether nothing was applied.
    pub(crate) fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// How many changes the level holds, about.
    pub(crate) fn len(&self) -> usize {
        self.events.len().max(self.seats.len())
    }

    /// Whether a better version of its address or a guard in this level hides `event`.
    pub(crate) fn hides(&self, event: &Event, relay_urls: &RelayUrls) -> bool {
        if event.kind().has_address()
            && !self.seats.is_empty()
            && let Some(address) = event.address()
            && self
                .seats
                .get(&address)
                .is_some_and(|seat| *seat < event.position())
        {
            return true;
        }
        self.guards.outcome(event, relay_urls).is_some()
    }

    /// The event of this id, hidden or not.
    pub(crate) fn get(&self, id: &EventId) -> Option<&Entry> {
        self.by_id
            .get(id)
            .and_then(|position| self.events.get(position))
    }

    /// The matches of `filter` after `after` and up to `upto`, in order, at most `max`; hidden ones
    /// too. Adds to `looked` how many events were looked at.
    pub(crate) fn matches<'a>(
        &'a self,
        filter: &Filter,
        after: Option<Position>,
        upto: Option<Position>,
        max: usize,
        looked: &mut u64,
        keep: impl Fn(&Entry) -> bool,
    ) -> Vec<&'a Entry> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let to = upto.map_or(Bound::Unbounded, Bound::Included);
        if matches!((after, upto), (Some(after), Some(upto)) if after >= upto) {
            return Vec::new();
        }
        let wanted = |entry: &Entry| filter.matches(&entry.event) && keep(entry);
        let few = self.few(filter);
        let Some(mut few) = few else {
            let walk = self
                .events
                .range((from, to))
                .map(|(_position, entry)| entry);
            return walk
                .inspect(|_entry| *looked += 1)
                .filter(|e| wanted(e))
                .take(max)
                .collect();
        };
        few.retain(|position| {
            after.is_none_or(|after| *position > after) && upto.is_none_or(|upto| *position <= upto)
        });
        few.sort_unstable();
        few.dedup();
        let walk = few.iter().filter_map(|position| self.events.get(position));
        walk.inspect(|_entry| *looked += 1)
            .filter(|e| wanted(e))
            .take(max)
            .collect()
    }

    /// The positions to look at if the filter names ids or authors.
    fn few(&self, filter: &Filter) -> Option<Vec<Position>> {
        if let Some(ids) = &filter.ids {
            return Some(
                ids.iter()
                    .filter_map(|id| self.by_id.get(id).copied())
                    .collect(),
            );
        }
        let authors = filter.authors.as_ref()?;
        Some(
            authors
                .iter()
                .filter_map(|author| self.by_author.get(author))
                .flatten()
                .copied()
                .collect(),
        )
    }
}

impl LevelGuards {
    fn add(&mut self, event: &Event, effect: &Effect) {
        let raise = |guard: &mut Timestamp| *guard = event.created_at().max(*guard);
        match effect {
            Effect::None => {}
            Effect::Delete(targets) => {
                self.ids
                    .extend(targets.ids.iter().map(|id| (*event.pubkey(), *id)));
                for address in &targets.addresses {
                    raise(self.addresses.entry(address.clone()).or_default());
                }
            }
            Effect::Vanish => raise(self.owners.entry(*event.pubkey()).or_default()),
        }
    }

    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.addresses.is_empty() && self.owners.is_empty()
    }

    /// What these guards alone make of `event`.
    pub(crate) fn outcome(&self, event: &Event, relay_urls: &RelayUrls) -> Option<Outcome> {
        if self.is_empty() {
            return None;
        }
        match rules::guarded(event, self, relay_urls) {
            Ok(outcome) => outcome,
        }
    }
}

impl Guards for LevelGuards {
    type Error = Infallible;

    fn is_deleted(&self, owner: &PublicKey, id: &EventId) -> Result<bool, Infallible> {
        Ok(self.ids.contains(&(*owner, *id)))
    }

    fn deleted_until(&self, address: &Address) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.addresses.get(address).copied())
    }

    fn vanished_until(&self, owner: &PublicKey) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.owners.get(owner).copied())
    }
}

/// The end of an event, if it has one.
pub(crate) fn expires(event: &Event) -> Option<Timestamp> {
    match event.expiration() {
        Expiration::At(end) => Some(end),
        Expiration::Never | Expiration::Malformed => None,
    }
}
