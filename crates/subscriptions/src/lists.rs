//! The lists of values that filters name, each kept once: the authors of a home feed are shared by
//! all filters of all subscriptions that name just these.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    key::Space,
    key_list::KeyList,
    keys::{KeyId, Keys, TABLE_BYTES},
    slab::Slab,
};

/// The number of a list.
pub(crate) type ListId = u32;

/// Values of one space, of which an event has to have one.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) space: Space,
    pub(crate) keys: KeyList,
    hash: u64,
    refs: u32,
}

/// All lists in use.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    hasher: RandomState,
    table: HashTable<ListId>,
    items: Slab<List>,
    heap_bytes: usize,
}

impl Lists {
    /// The number of the list of these keys, held once more. `keys` gets sorted; all are of
    /// `space`. A new list holds its keys.
    pub(crate) fn intern(
        &mut self,
        space: Space,
        numbers: &mut Vec<KeyId>,
        keys: &mut Keys,
    ) -> ListId {
        numbers.sort_unstable();
        numbers.dedup();
        let packed = KeyList::pack(numbers);
        let hash = self.hasher.hash_one(&packed);
        let items = &self.items;
        if let Some(&id) = self.table.find(hash, |id| items.get(*id).keys == packed) {
            self.items.get_mut(id).refs += 1;
            return id;
        }
        numbers.iter().for_each(|key| keys.hold(*key));
        self.heap_bytes += packed.heap_bytes();
        let id = self.items.insert(List {
            space,
            keys: packed,
            hash,
            refs: 1,
        });
        let items = &self.items;
        self.table.insert_unique(hash, id, |id| items.get(*id).hash);
        id
    }

    /// Holds a list once more.
    pub(crate) fn hold(&mut self, id: ListId) {
        self.items.get_mut(id).refs += 1;
    }

    /// Gives up one hold. `true`: it was the last one, the list can't be found any more, and the
    /// caller has to release its keys and then [`free`](Self::free) it.
    #[must_use]
    pub(crate) fn release(&mut self, id: ListId) -> bool {
        let list = self.items.get_mut(id);
        list.refs -= 1;
        if list.refs > 0 {
            return false;
        }
        if let Ok(found) = self.table.find_entry(list.hash, |held| *held == id) {
            found.remove();
        }
        true
    }

    /// Frees a list whose last hold and whose keys are released.
    pub(crate) fn free(&mut self, id: ListId) {
        let list = self.items.remove(id);
        debug_assert!(list.refs == 0, "only a released list is freed");
        self.heap_bytes -= list.keys.heap_bytes();
    }

    #[inline]
    pub(crate) fn get(&self, id: ListId) -> &List {
        self.items.get(id)
    }

    /// The share of all events that is expected to have a key of this list; above 1 if keys
    /// overlap.
    pub(crate) fn share(&self, id: ListId, keys: &Keys) -> f64 {
        self.get(id).keys.iter().map(|key| keys.share(key)).sum()
    }

    /// How many there are, those that wait for a purge included.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes in use, estimated.
    pub(crate) fn bytes(&self) -> usize {
        self.items.len() * (size_of::<Option<List>>() + TABLE_BYTES) + self.heap_bytes
    }
}

impl List {
    /// Whether one of `present`, sorted, is in the list.
    pub(crate) fn meets(&self, present: &[(Space, KeyId)]) -> bool {
        let from = present.partition_point(|(space, _)| *space < self.space);
        let to = from + present[from..].partition_point(|(space, _)| *space == self.space);
        let present = &present[from..to];
        if self.keys.len() < present.len() {
            let has = |key| present.binary_search_by_key(&key, |(_, key)| *key).is_ok();
            return self.keys.iter().any(has);
        }
        present.iter().any(|(_, key)| self.keys.contains(*key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prop_assert_eq, proptest};

    use super::{Keys, Lists, Space};
    use crate::key::KeyRef;

    proptest! {
        /// Whichever of the two is the longer, and whatever other spaces are present.
        #[test]
        fn a_list_meets_an_event_that_has_one_of_its_keys(
            listed in btree_set(0..60_u32, 1..8),
            near in btree_set(0..60_u32, 0..20),
            far in btree_set(0..60_u32, 0..5),
        ) {
            let (mut keys, mut lists) = (Keys::default(), Lists::default());
            for number in 0..60 {
                keys.intern(KeyRef::tag(b'p', &number.to_string()));
            }
            let mut numbers: Vec<u32> = listed.iter().copied().collect();
            let list = lists.intern(Space::tag(b'p'), &mut numbers, &mut keys);
            let mut present: Vec<(Space, u32)> = Vec::new();
            present.extend(near.iter().map(|key| (Space::tag(b'p'), *key)));
            present.extend(far.iter().flat_map(|key| [(Space::AUTHOR, *key), (Space::tag(b't'), *key)]));
            present.sort_unstable();
            prop_assert_eq!(lists.get(list).meets(&present), !listed.is_disjoint(&near));
        }
    }
}
