//! The distinct filters: where each is filed, what is left to test, and who subscribes to it.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use heliograph_protocol::{Filter, Timestamp};
use smallvec::SmallVec;

use crate::{classes::ClassId, keys::TABLE_BYTES, lists::ListId, postings::Postings, slab::Slab};

/// The number of a filter. It isn't given out again before all its postings are gone, so a slot
/// may be.
pub(crate) type FilterId = u32;

/// A filter, taken apart. Equal filters have equal parts.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Definition {
    pub(crate) class: ClassId,
    /// The list under whose keys it is filed: one of `lists`, or one of kinds, or everything.
    pub(crate) filed: ListId,
    /// The lists an event has to meet.
    pub(crate) lists: SmallVec<[ListId; 2]>,
}

/// The seconds of `created_at` that are wanted, both inclusive (R01-63).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    since: Timestamp,
    until: Timestamp,
}

/// Who wants what a filter matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody any more: it waits for its purge.
    Nobody,
    /// One slot.
    One(u32),
    /// Several: the number of a crowd.
    Many(u32),
}

#[derive(Debug)]
struct Held {
    definition: Definition,
    /// Waits for a purge, which it may yet escape.
    queued: bool,
}

/// All filters, those that wait for a purge included.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    hasher: RandomState,
    table: HashTable<FilterId>,
    items: Slab<Held>,
    // Apart from the rest and by number: every match reads the first, many read the second.
    owners: Vec<Owner>,
    bounds: Vec<Bounds>,
    crowds: Slab<Postings>,
    crowd_bytes: usize,
}

impl Filters {
    /// The number of this filter, if it is known and not being purged already.
    pub(crate) fn find(&self, definition: &Definition, bounds: Bounds) -> Option<FilterId> {
        let same = |id: &FilterId| {
            self.items.get(*id).definition == *definition && self.bounds[*id as usize] == bounds
        };
        self.table
            .find(self.hash(definition, bounds), same)
            .copied()
    }

    /// Adds a filter that is not known yet, without owner.
    pub(crate) fn insert(&mut self, definition: Definition, bounds: Bounds) -> FilterId {
        let hash = self.hash(&definition, bounds);
        let id = self.items.insert(Held {
            definition,
            queued: false,
        });
        let at = id as usize;
        if at == self.owners.len() {
            self.owners.push(Owner::Nobody);
            self.bounds.push(bounds);
        }
        (self.owners[at], self.bounds[at]) = (Owner::Nobody, bounds);
        let Self {
            hasher,
            items,
            bounds,
            table,
            ..
        } = self;
        let rehash =
            |id: &FilterId| hasher.hash_one((&items.get(*id).definition, bounds[*id as usize]));
        table.insert_unique(hash, id, rehash);
        id
    }

    fn hash(&self, definition: &Definition, bounds: Bounds) -> u64 {
        self.hasher.hash_one((definition, bounds))
    }

    /// Makes `slot` an owner; `false` if it is one already.
    pub(crate) fn subscribe(&mut self, id: FilterId, slot: u32) -> bool {
        let owner = &mut self.owners[id as usize];
        match *owner {
            Owner::Nobody => *owner = Owner::One(slot),
            Owner::One(first) => {
                if first == slot {
                    return false;
                }
                let mut crowd = Postings::default();
                crowd.insert(first);
                crowd.insert(slot);
                *owner = Owner::Many(self.crowds.insert(crowd));
            }
            Owner::Many(crowd) => {
                let crowd = self.crowds.get_mut(crowd);
                self.crowd_bytes -= crowd.heap_bytes();
                let new = crowd.insert(slot);
                self.crowd_bytes += crowd.heap_bytes();
                return new;
            }
        }
        true
    }

    /// Takes `slot` from the owners. `true`: nobody is left and the caller has to queue the filter
    /// for a purge.
    #[must_use]
    pub(crate) fn unsubscribe(&mut self, id: FilterId, slot: u32) -> bool {
        let owner = &mut self.owners[id as usize];
        if let Owner::Many(number) = *owner {
            let crowd = self.crowds.get_mut(number);
            self.crowd_bytes -= crowd.heap_bytes();
            crowd.remove(slot);
            self.crowd_bytes += crowd.heap_bytes();
            if crowd.len() == 1 {
                crowd.for_each(|last| *owner = Owner::One(last));
                self.crowds.remove(number);
            }
            return false;
        }
        if *owner != Owner::One(slot) {
            return false;
        }
        *owner = Owner::Nobody;
        let held = self.items.get_mut(id);
        !std::mem::replace(&mut held.queued, true)
    }

    /// Begins the purge of a queued filter: from now on it can't be found. `false` if it got an
    /// owner again meanwhile and stays.
    #[must_use]
    pub(crate) fn begin_purge(&mut self, id: FilterId) -> bool {
        let held = self.items.get_mut(id);
        held.queued = false;
        if self.owners[id as usize] != Owner::Nobody {
            return false;
        }
        let hash = self
            .hasher
            .hash_one((&held.definition, self.bounds[id as usize]));
        if let Ok(found) = self.table.find_entry(hash, |held| *held == id) {
            found.remove();
        }
        true
    }

    /// Frees a filter whose postings are gone.
    pub(crate) fn free(&mut self, id: FilterId) -> Definition {
        self.items.remove(id).definition
    }

    pub(crate) fn definition(&self, id: FilterId) -> &Definition {
        &self.items.get(id).definition
    }

    #[inline]
    pub(crate) fn owner(&self, id: FilterId) -> Owner {
        self.owners[id as usize]
    }

    #[inline]
    pub(crate) fn bounds(&self, id: FilterId) -> Bounds {
        self.bounds[id as usize]
    }

    /// The slots behind [`Owner::Many`].
    pub(crate) fn crowd(&self, number: u32) -> &Postings {
        self.crowds.get(number)
    }

    /// How many filters there are, those that wait for a purge included.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes in use, estimated.
    pub(crate) fn bytes(&self) -> usize {
        let each = size_of::<Option<Held>>() + size_of::<Owner>() + size_of::<Bounds>();
        let crowds = self.crowds.len() * size_of::<Option<Postings>>() + self.crowd_bytes;
        self.items.len() * (each + TABLE_BYTES) + crowds
    }
}

impl Bounds {
    /// The bounds that `filter` names.
    pub(crate) fn of(filter: &Filter) -> Self {
        let never = Timestamp::from_secs(u64::MAX);
        let since = filter.since.unwrap_or_default();
        Self {
            since,
            until: filter.until.unwrap_or(never),
        }
    }

    /// Whether every time is inside.
    pub(crate) fn are_open(self) -> bool {
        self.since.as_secs() == 0 && self.until.as_secs() == u64::MAX
    }

    #[inline]
    pub(crate) fn contain(self, time: Timestamp) -> bool {
        self.since <= time && time <= self.until
    }
}
