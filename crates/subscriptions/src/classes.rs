//! What the filters of a group have in common: the kinds, and what is left to test of each.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use heliograph_protocol::Kind;

use crate::{keys::TABLE_BYTES, slab::Slab};

/// The number of a class.
pub(crate) type ClassId = u32;

/// What has to be tested of each filter once key and kind fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Remaining {
    /// Nothing: the whole group matches.
    Nothing,
    /// `since` and `until`.
    Bounds,
    /// These, and conditions on other parts of the event.
    Conditions,
}

/// Filters that can share a group.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    /// Sorted. `None`: any, or the key says it.
    pub(crate) kinds: Option<Box<[Kind]>>,
    pub(crate) remaining: Remaining,
}

#[derive(Debug)]
struct Held {
    class: Class,
    refs: u32,
}

/// All classes in use. There are few: one for each set of kinds that clients ask for.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    hasher: RandomState,
    table: HashTable<ClassId>,
    items: Slab<Held>,
    kind_bytes: usize,
}

impl Classes {
    /// The number of `class`, held once more.
    pub(crate) fn intern(&mut self, class: Class) -> ClassId {
        let hash = self.hasher.hash_one(&class);
        let items = &self.items;
        if let Some(&id) = self.table.find(hash, |id| items.get(*id).class == class) {
            self.items.get_mut(id).refs += 1;
            return id;
        }
        self.kind_bytes += class.heap_bytes();
        let id = self.items.insert(Held { class, refs: 1 });
        let (items, hasher) = (&self.items, &self.hasher);
        self.table
            .insert_unique(hash, id, |id| hasher.hash_one(&items.get(*id).class));
        id
    }

    /// Gives up one hold; the last one frees the class.
    pub(crate) fn release(&mut self, id: ClassId) {
        let held = self.items.get_mut(id);
        held.refs -= 1;
        if held.refs > 0 {
            return;
        }
        let held = self.items.remove(id);
        self.kind_bytes -= held.class.heap_bytes();
        let hash = self.hasher.hash_one(&held.class);
        if let Ok(found) = self.table.find_entry(hash, |held| *held == id) {
            found.remove();
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: ClassId) -> &Class {
        &self.items.get(id).class
    }

    /// Bytes in use, estimated.
    pub(crate) fn bytes(&self) -> usize {
        self.items.len() * (size_of::<Option<Held>>() + TABLE_BYTES) + self.kind_bytes
    }
}

impl Class {
    /// Whether events of `kind` can match.
    #[inline]
    pub(crate) fn admits(&self, kind: Kind) -> bool {
        self.kinds
            .as_ref()
            .is_none_or(|kinds| kinds.binary_search(&kind).is_ok())
    }

    fn heap_bytes(&self) -> usize {
        self.kinds.as_ref().map_or(0, |kinds| size_of_val(&**kinds))
    }
}
