//! The table of keys: each with the groups of filters that are filed under it, and how often it
//! has been seen lately.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::hash::BuildHasher;

use crate::{
    classes::ClassId,
    filters::FilterId,
    key::{Key, KeyRef, Space},
    postings::Postings,
    slab::Slab,
};

/// The number of a key.
pub(crate) type KeyId = u32;

/// Events after which what was seen counts half.
const HALF_LIFE_EVENTS: u32 = 1 << 16;
/// How many seen events the expected share of a key is worth.
const PRIOR_EVENTS: f64 = 4096.0;

/// Filters under one key whose class is the same: their kinds are tested once for all.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) class: ClassId,
    pub(crate) filters: Postings,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    /// Lists that name this key.
    refs: u32,
    /// Events seen with this key, halved each epoch; as of `epoch`.
    hits: u32,
    epoch: u32,
    /// Sorted by class. Most keys have one.
    groups: SmallVec<[Group; 1]>,
}

/// All keys that some filter asks for.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    hasher: RandomState,
    table: HashTable<KeyId>,
    entries: Slab<Entry>,
    in_space: Spaces,
    clock: Clock,
    groups: usize,
    postings: usize,
    heap_bytes: usize,
}

/// How many keys each space has: what nobody asks for isn't decoded or looked up.
#[derive(Debug)]
struct Spaces([u32; Space::COUNT]);

impl Default for Spaces {
    fn default() -> Self {
        Self([0; Space::COUNT])
    }
}

/// Counts events, for rates that fade.
#[derive(Debug, Default)]
struct Clock {
    epoch: u32,
    in_epoch: u32,
    /// All events seen, halved each epoch.
    seen: u32,
}

impl Keys {
    /// The number of `key`. A new one has to be held (see [`Self::hold`]) by the caller.
    pub(crate) fn intern(&mut self, key: KeyRef<'_>) -> KeyId {
        let hash = self.hasher.hash_one(key);
        let entries = &self.entries;
        if let Some(id) = self
            .table
            .find(hash, |id| entries.get(*id).key.borrow() == key)
        {
            return *id;
        }
        self.in_space.0[key.space().index()] += 1;
        let key = key.to_owned();
        self.heap_bytes += key.heap_bytes();
        let groups = SmallVec::new();
        let id = self.entries.insert(Entry {
            key,
            refs: 0,
            hits: 0,
            epoch: self.clock.epoch,
            groups,
        });
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.table.insert_unique(hash, id, |id| {
            hasher.hash_one(entries.get(*id).key.borrow())
        });
        id
    }

    /// The number of `key`, if some filter asks for it.
    pub(crate) fn find(&self, key: KeyRef<'_>) -> Option<KeyId> {
        let hash = self.hasher.hash_one(key);
        self.table
            .find(hash, |id| self.entries.get(*id).key.borrow() == key)
            .copied()
    }

    /// Whether some filter asks for a key of `space`.
    pub(crate) fn is_asked(&self, space: Space) -> bool {
        self.in_space.0[space.index()] > 0
    }

    /// Keeps a key for one more list.
    pub(crate) fn hold(&mut self, id: KeyId) {
        self.entries.get_mut(id).refs += 1;
    }

    /// Gives up what [`Self::hold`] took; the last one frees the key.
    pub(crate) fn release(&mut self, id: KeyId) {
        let entry = self.entries.get_mut(id);
        entry.refs -= 1;
        if entry.refs > 0 {
            return;
        }
        debug_assert!(
            entry.groups.is_empty(),
            "a filter holds the key it is filed under"
        );
        let entry = self.entries.remove(id);
        self.heap_bytes -= entry.key.heap_bytes();
        self.in_space.0[entry.key.borrow().space().index()] -= 1;
        let hash = self.hasher.hash_one(entry.key.borrow());
        if let Ok(found) = self.table.find_entry(hash, |held| *held == id) {
            found.remove();
        }
    }

    /// Files a filter of `class` under a key.
    pub(crate) fn post(&mut self, id: KeyId, class: ClassId, filter: FilterId) {
        let groups = &mut self.entries.get_mut(id).groups;
        let at = groups
            .binary_search_by_key(&class, |group| group.class)
            .unwrap_or_else(|at| {
                groups.insert(
                    at,
                    Group {
                        class,
                        filters: Postings::default(),
                    },
                );
                self.groups += 1;
                at
            });
        let filters = &mut groups[at].filters;
        let before = filters.heap_bytes();
        self.postings += usize::from(filters.insert(filter));
        self.heap_bytes += filters.heap_bytes();
        self.heap_bytes -= before;
    }

    /// Takes out what [`Self::post`] filed.
    pub(crate) fn unpost(&mut self, id: KeyId, class: ClassId, filter: FilterId) {
        let groups = &mut self.entries.get_mut(id).groups;
        let Ok(at) = groups.binary_search_by_key(&class, |group| group.class) else {
            return;
        };
        let filters = &mut groups[at].filters;
        self.heap_bytes -= filters.heap_bytes();
        self.postings -= usize::from(filters.remove(filter));
        self.heap_bytes += filters.heap_bytes();
        if filters.len() == 0 {
            groups.remove(at);
            self.groups -= 1;
            if groups.len() <= 1 {
                groups.shrink_to_fit();
            }
        }
    }

    /// The groups under a key.
    #[inline]
    pub(crate) fn groups(&self, id: KeyId) -> &[Group] {
        &self.entries.get(id).groups
    }

    /// Counts one event; its keys are counted with [`Self::see`].
    pub(crate) fn see_event(&mut self) {
        let clock = &mut self.clock;
        clock.seen += 1;
        clock.in_epoch += 1;
        if clock.in_epoch == HALF_LIFE_EVENTS {
            clock.epoch = clock.epoch.wrapping_add(1);
            clock.in_epoch = 0;
            clock.seen /= 2;
        }
    }

    /// Counts an event that has this key.
    #[inline]
    pub(crate) fn see(&mut self, id: KeyId) {
        let epoch = self.clock.epoch;
        let entry = self.entries.get_mut(id);
        entry.hits = entry.faded_hits(epoch) + 1;
        entry.epoch = epoch;
    }

    /// The share of all events that is expected to have this key, 0 to 1: what was expected before
    /// anything was seen, corrected by what has been seen since.
    pub(crate) fn share(&self, id: KeyId) -> f64 {
        let entry = self.entries.get(id);
        let hits = f64::from(entry.faded_hits(self.clock.epoch));
        let expected = entry.key.borrow().space().expected_share() * PRIOR_EVENTS;
        (expected + hits) / (PRIOR_EVENTS + f64::from(self.clock.seen))
    }

    /// How many groups there are under all keys.
    pub(crate) fn group_count(&self) -> usize {
        self.groups
    }

    /// How many entries all groups hold together.
    pub(crate) fn posting_count(&self) -> usize {
        self.postings
    }

    /// Bytes in use, estimated.
    pub(crate) fn bytes(&self) -> usize {
        let inline = self.entries.len() * (size_of::<Option<Entry>>() + TABLE_BYTES);
        // The first group of an entry stands inside of it.
        let spilled = self.groups.saturating_sub(self.entries.len()) * size_of::<Group>();
        inline + spilled + self.heap_bytes
    }
}

/// What one number takes in a hash table: itself and a control byte, at a usual load.
pub(crate) const TABLE_BYTES: usize = 8;

impl Entry {
    fn faded_hits(&self, epoch: u32) -> u32 {
        self.hits
            .checked_shr(epoch.wrapping_sub(self.epoch))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{HALF_LIFE_EVENTS, KeyRef, Keys, Space};

    #[test]
    fn a_key_seen_often_is_expected_often_and_forgotten_later() {
        let mut keys = Keys::default();
        let (hot, cold) = (
            keys.intern(KeyRef::tag(b't', "a")),
            keys.intern(KeyRef::tag(b't', "b")),
        );
        assert!((keys.share(hot) - keys.share(cold)).abs() < 1e-12);
        for _ in 0..HALF_LIFE_EVENTS {
            keys.see_event();
            keys.see(hot);
        }
        assert!(keys.share(hot) > 0.8 && keys.share(cold) < 1e-4);
        for _ in 0..20 * HALF_LIFE_EVENTS {
            keys.see_event();
        }
        assert!(keys.share(hot) < 1e-4);
    }

    #[test]
    fn a_released_key_is_gone() {
        let mut keys = Keys::default();
        let id = keys.intern(KeyRef::tag(b'e', "x"));
        keys.hold(id);
        assert!(keys.is_asked(Space::tag(b'e')) && !keys.is_asked(Space::tag(b'E')));
        keys.release(id);
        assert!(!keys.is_asked(Space::tag(b'e')));
        assert_eq!((keys.find(KeyRef::tag(b'e', "x")), keys.bytes()), (None, 0));
    }

    #[test]
    fn hex_is_packed_only_if_nothing_is_lost() {
        let lower = "ab".repeat(32);
        let mut keys = Keys::default();
        let mut texts = vec![lower.clone(), lower.to_uppercase(), lower[..63].to_owned()];
        texts.push(format!("{lower} "));
        let ids: Vec<_> = texts
            .iter()
            .map(|text| keys.intern(KeyRef::tag(b'p', text)))
            .collect();
        assert_eq!(ids, [0, 1, 2, 3]);
        assert!(
            texts
                .iter()
                .zip(ids)
                .all(|(t, id)| keys.find(KeyRef::tag(b'p', t)) == Some(id))
        );
    }
}
