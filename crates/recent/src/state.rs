//! What is behind the lock: the index, its floor, and the rules by which events replace and remove
//! each other in it (see [`heliograph_store::rules`]).

use std::{convert::Infallible, sync::Arc};

use heliograph_policy::RelayUrls;
use heliograph_protocol::{Address, Event, EventId, Kind, Outcome, PublicKey, Timestamp};
use heliograph_store::rules::{self, Effect, Guards};

use crate::{
    Applied, RecentOptions,
    entry::{Body, Entry, Position, Slot},
    index::Index,
    keys::{Hashes, Key},
    lately::Lately,
};

/// Ids of announced events that aren't in the index, to tell a redelivery; 8–16 MiB when full.
const PASSED_MAX: usize = 262_144;

/// Ids read from the archive that are still to be announced; past it the oldest are forgotten, and
/// a subscription may see such an event in its stored part and once more live.
const FRESH_MAX: usize = 65_536;

/// Entries that one look at a vanished author removes at most, before others get the lock.
const VANISH_SLICE: usize = 2_048;

/// The floor of an index that covers nothing yet.
pub(crate) const NOTHING: Timestamp = Timestamp::from_secs(u64::MAX);

/// The index with its floor and what it remembers beyond it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) relay_urls: RelayUrls,
    options: RecentOptions,
    /// Every stored event from this second on is in the index; [`NOTHING`] if that can't be said.
    pub(crate) floor: Timestamp,
    /// Just above the newest event that was evicted: the floor never goes below it.
    evicted_floor: Timestamp,
    pub(crate) evictions: u64,
    pub(crate) warm: Warm,
    /// Counts removals that no guard remembers.
    removals: u64,
    guards: Lately<Key, Timestamp>,
    /// Who won an address, where the winner isn't in the index.
    seats: Lately<Key, Seat>,
    passed: Lately<EventId, ()>,
    /// What is here and was stored just before: the stream may still announce it.
    fresh: Lately<EventId, ()>,
}

/// How far the archive has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warm {
    /// Down to this event, or not begun.
    Reading(Option<Position>),
    Done,
}

/// A point in time to which [`State::remembers`] refers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    guards: u64,
    seats: u64,
    removals: u64,
}

/// The best version of an address seen.
#[derive(Debug, Clone, Copy)]
struct Seat {
    position: Position,
    announced: bool,
    /// Where it is in the index.
    slot: Option<Slot>,
}

/// Whether what an event does to others is still to be done. The stream's repetitions have done it;
/// but a written event can be known from a page of the warm-up, which only adds what it read.
pub(crate) fn takes_effect(applied: Applied, announced: bool) -> bool {
    applied != Applied::Known || !announced
}

/// The guards made lately, by their keys.
struct LateGuards<'a> {
    hashes: &'a Hashes,
    guards: &'a Lately<Key, Timestamp>,
}

impl Guards for LateGuards<'_> {
    type Error = Infallible;

    fn is_deleted(&self, owner: &PublicKey, id: &EventId) -> Result<bool, Infallible> {
        Ok(self.guards.get(&self.hashes.deleted(owner, id)).is_some())
    }

    fn deleted_until(&self, address: &Address) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.guards.get(&self.hashes.address(address)).copied())
    }

    fn vanished_until(&self, owner: &PublicKey) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.guards.get(&self.hashes.vanished(owner)).copied())
    }
}

impl State {
    pub(crate) fn new(options: RecentOptions, relay_urls: RelayUrls) -> Self {
        Self {
            index: Index::new(options.text_bytes_max),
            relay_urls,
            options,
            floor: NOTHING,
            evicted_floor: Timestamp::default(),
            evictions: 0,
            warm: Warm::Reading(None),
            removals: 0,
            // At least what is being done.
            guards: Lately::new(options.remembered_max.max(1)),
            seats: Lately::new(options.remembered_max.max(1)),
            passed: Lately::new(PASSED_MAX),
            fresh: Lately::new(FRESH_MAX),
        }
    }

    /// Merges one committed event, which is `announced` if it came by the stream. If it is a request
    /// to vanish that came in now, its events are still there: [`Self::vanish`] removes them.
    pub(crate) fn apply(&mut self, event: &Arc<Event>, announced: bool) -> Applied {
        let applied = self.admit(event, announced);
        if takes_effect(applied, announced) {
            self.add_guards(event);
        }
        applied
    }

    fn admit(&mut self, event: &Arc<Event>, announced: bool) -> Applied {
        if let Some(slot) = self.index.find(event.id()) {
            if self.index.get(slot).announced || !announced {
                return Applied::Known;
            }
            self.index.set_announced(slot);
            return Applied::New;
        }
        let guarded = self.guarded(event);
        let position = event.position();
        if let Some(outcome) = guarded {
            self.unseat(event, Some(outcome));
            return Applied::Lost;
        }
        if self.passed.get(event.id()).is_some() {
            return Applied::Known;
        }
        let key = event
            .address()
            .map(|address| self.index.address_key(&address));
        if let Some(key) = key
            && let Some(seat) = self.seat(key)
        {
            if seat.position < position {
                return Applied::Lost;
            }
            if seat.position == position && seat.announced {
                return Applied::Known;
            }
            if let Some(slot) = seat.slot {
                self.index.remove(slot);
            }
        }
        if self.is_wanted(event.created_at()) {
            self.index.insert(event, announced);
            self.evict();
        } else {
            if announced {
                self.passed.put(*event.id(), ());
            }
            if let Some(key) = key {
                self.seats.put(
                    key,
                    Seat {
                        position,
                        announced,
                        slot: None,
                    },
                );
            }
        }
        Applied::New
    }

    /// Whether an event of this time belongs in the index.
    fn is_wanted(&self, created_at: Timestamp) -> bool {
        match self.warm {
            Warm::Reading(_) => created_at >= self.evicted_floor,
            Warm::Done => created_at >= self.floor,
        }
    }

    /// Takes the seat of an event's address for it, although it isn't visible itself, and removes
    /// the version that it supersedes.
    pub(crate) fn unseat(&mut self, event: &Event, guarded: Option<Outcome>) {
        let Some(address) = event.address().filter(|_| rules::takes_seat(guarded)) else {
            return;
        };
        let key = self.index.address_key(&address);
        let position = event.position();
        let seat = self.seat(key);
        if seat.is_some_and(|seat| seat.position <= position) {
            return;
        }
        if let Some(slot) = seat.and_then(|seat| seat.slot) {
            self.index.remove(slot);
        }
        self.seats.put(
            key,
            Seat {
                position,
                announced: true,
                slot: None,
            },
        );
    }

    /// Takes in an event that the archive had already when it was written again, without taking that
    /// for its announcement.
    pub(crate) fn take_again(&mut self, event: &Arc<Event>) {
        if self.index.find(event.id()).is_some() {
            // Read from the archive, which its targets may have come after.
            self.add_guards(event);
        } else if self.covers(event.created_at()) && self.apply(event, false) == Applied::New {
            self.note_fresh(event.id());
        }
    }

    /// Whether something that beats this event has been seen: a guard, or a better version.
    pub(crate) fn beats(&self, event: &Event) -> bool {
        let key = event
            .address()
            .map(|address| self.index.address_key(&address));
        let seat = key.and_then(|key| self.seat(key));
        seat.is_some_and(|seat| seat.position < event.position()) || self.guarded(event).is_some()
    }

    /// Notes an event that is here and may not have been announced.
    pub(crate) fn note_fresh(&mut self, id: &EventId) {
        self.fresh.put(*id, ());
    }

    /// Those of `events` that were stored lately and are still to be announced.
    pub(crate) fn fresh(&self, events: &[Arc<Event>]) -> Vec<EventId> {
        if self.fresh.len() == 0 {
            return Vec::new();
        }
        let ids = events.iter().map(|event| *event.id());
        ids.filter(|id| self.fresh.get(id).is_some() && !self.is_announced(id))
            .collect()
    }

    fn is_announced(&self, id: &EventId) -> bool {
        let slot = self.index.find(id);
        slot.is_some_and(|slot| self.index.get(slot).announced)
    }

    /// Adds an event that the archive holds. Whether older ones are worth reading.
    pub(crate) fn fill(&mut self, event: &Arc<Event>) -> bool {
        if event.created_at() < self.evicted_floor {
            return false;
        }
        if self.index.find(event.id()).is_some() || self.guarded(event).is_some() {
            return true;
        }
        let key = event
            .address()
            .map(|address| self.index.address_key(&address));
        let mut announced = self.passed.get(event.id()).is_some();
        if let Some(seat) = key.and_then(|key| self.seat(key)) {
            if seat.position < event.position() {
                return true;
            }
            if let Some(slot) = seat.slot {
                self.index.remove(slot);
            }
            announced |= seat.position == event.position() && seat.announced;
        }
        self.index.insert(event, announced);
        self.evict();
        true
    }

    /// Lowers the floor after everything from `oldest` on was read from the archive, or all of it.
    pub(crate) fn lower_floor(&mut self, oldest: Option<Position>) {
        let covered = oldest.map_or(Timestamp::default(), |(time, _id)| time.0.plus(1));
        self.floor = self.floor.min(covered).max(self.evicted_floor);
        self.warm = match oldest {
            Some(_) if covered > self.evicted_floor => Warm::Reading(oldest),
            _ => Warm::Done,
        };
    }

    /// Whether all stored events of this time are in the index.
    pub(crate) fn covers(&self, time: Timestamp) -> bool {
        self.floor != NOTHING && time >= self.floor
    }

    pub(crate) const fn memory(&self) -> Memory {
        Memory {
            guards: self.guards.count(),
            seats: self.seats.count(),
            removals: self.removals,
        }
    }

    /// Whether all that was removed since then is remembered, so that nothing of an older reading
    /// can bring it back.
    pub(crate) const fn remembers(&self, since: Memory) -> bool {
        self.guards.remembers_since(since.guards)
            && self.seats.remembers_since(since.seats)
            && self.removals == since.removals
    }

    /// Removes an event that an operator took from the archive.
    pub(crate) fn remove(&mut self, id: &EventId) -> bool {
        self.removals += 1;
        let slot = self.index.find(id);
        if let Some(slot) = slot {
            self.forget(slot);
        }
        slot.is_some()
    }

    /// How many guards and seats are remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.guards.len() + self.seats.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.index.bytes()
            + self.guards.bytes()
            + self.seats.bytes()
            + self.passed.bytes()
            + self.fresh.bytes()
    }

    fn guarded(&self, event: &Event) -> Option<Outcome> {
        let guards = LateGuards {
            hashes: self.index.hashes(),
            guards: &self.guards,
        };
        match rules::guarded(event, &guards, &self.relay_urls) {
            Ok(outcome) => outcome,
        }
    }

    /// The same for an entry. One without a text that its tags decide on stays: it is read from
    /// the archive before it is returned.
    fn is_guarded(&self, slot: Slot) -> bool {
        let entry = self.index.get(slot);
        match &entry.body {
            Body::Text(event) => self.guarded(event).is_some(),
            Body::Keys(_) if is_undecided(entry) => false,
            Body::Keys(_) => self.is_bare_guarded(entry),
        }
    }

    fn is_bare_guarded(&self, entry: &Entry) -> bool {
        let hashes = self.index.hashes();
        let author = self.index.author(entry);
        let reaches = |key: Key| {
            self.guards
                .get(&key)
                .is_some_and(|end| entry.created_at <= *end)
        };
        let deleted = rules::is_deletable(entry.kind)
            && (self
                .guards
                .get(&hashes.deleted(author, &entry.id))
                .is_some()
                || self.index.address_of(entry).is_some_and(reaches));
        deleted || reaches(hashes.vanished(author))
    }

    /// The best version of an address, in the index or remembered.
    fn seat(&self, key: Key) -> Option<Seat> {
        let remembered = self.seats.get(&key).copied();
        let indexed = self.index.find_address(key).map(|slot| {
            let entry = self.index.get(slot);
            Seat {
                position: entry.position(),
                announced: entry.announced,
                slot: Some(slot),
            }
        });
        match (indexed, remembered) {
            (Some(indexed), Some(seat)) if seat.position < indexed.position => Some(seat),
            (indexed, remembered) => indexed.or(remembered),
        }
    }

    fn add_guards(&mut self, event: &Event) {
        match rules::effect(event, &self.relay_urls) {
            Effect::None => {}
            // Each target as soon as its guard is there: a request may name more than is remembered.
            Effect::Delete(targets) => {
                for id in &targets.ids {
                    let key = self.index.hashes().deleted(event.pubkey(), id);
                    self.raise(key, Timestamp::MAX);
                    self.forget_guarded(self.index.find(id));
                }
                for address in &targets.addresses {
                    let key = self.index.address_key(address);
                    self.raise(key, event.created_at());
                    self.forget_guarded(self.index.find_address(key));
                }
            }
            Effect::Vanish => {
                let key = self.index.hashes().vanished(event.pubkey());
                self.raise(key, event.created_at());
            }
        }
    }

    fn forget_guarded(&mut self, slot: Option<Slot>) {
        if let Some(slot) = slot
            && self.is_guarded(slot)
        {
            self.forget(slot);
        }
    }

    fn raise(&mut self, key: Key, until: Timestamp) {
        let until = self.guards.get(&key).map_or(until, |old| until.max(*old));
        self.guards.put(key, until);
    }

    /// Removes some of what a request to vanish takes along. Whether there may be more.
    pub(crate) fn vanish(&mut self, request: &Event) -> bool {
        let (owner, until) = (request.pubkey(), request.created_at());
        let guarded = |slot| self.is_guarded(slot);
        let mut named = self
            .index
            .authored_until(owner, until, VANISH_SLICE, guarded);
        if named.len() < VANISH_SLICE {
            let left = VANISH_SLICE - named.len();
            let wraps = self
                .index
                .tagged_until(b'p', &owner.to_hex(), until, left, |slot| {
                    self.index.get(slot).kind == Kind::GIFT_WRAP && guarded(slot)
                });
            named.extend(wraps);
            named.sort_unstable();
            named.dedup();
        }
        let more = named.len() >= VANISH_SLICE / 2;
        named.into_iter().for_each(|slot| self.forget(slot));
        more
    }

    /// Removes an entry that nothing superseded: the seat of its address stays.
    fn forget(&mut self, slot: Slot) {
        let entry = self.index.get(slot);
        let (position, announced) = (entry.position(), entry.announced);
        if let Some(key) = self.index.address_of(entry)
            && self
                .seats
                .get(&key)
                .is_none_or(|seat| seat.position >= position)
        {
            self.seats.put(
                key,
                Seat {
                    position,
                    announced,
                    slot: None,
                },
            );
        }
        self.index.remove(slot);
    }

    fn evict(&mut self) {
        while self.index.len() > self.options.events_max
            && let Some(slot) = self.index.time().oldest()
        {
            let entry = self.index.get(slot);
            self.evicted_floor = self.evicted_floor.max(entry.created_at.plus(1));
            if entry.announced {
                self.passed.put(entry.id, ());
            }
            self.forget(slot);
            self.evictions += 1;
        }
        if self.floor != NOTHING {
            self.floor = self.floor.max(self.evicted_floor);
        }
    }
}

/// Whether guards of others than the author, or its tags, decide whether an entry may stay.
pub(crate) fn is_undecided(entry: &Entry) -> bool {
    entry.text().is_none() && matches!(entry.kind, Kind::GIFT_WRAP | Kind::VANISH)
}
