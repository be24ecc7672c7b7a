//! Hash tables in many small shards, so that none stalls the lock while it grows.

use hashbrown::HashTable;
use heliograph_protocol::{Kind, PublicKey, Timestamp};
use smallvec::SmallVec;

use crate::{
    entry::{Entries, Slot},
    keys::{Hashes, TagKey},
    list::List,
    slab::Slab,
};

const SHARDS: usize = 256;

/// Slots by a hash of what they hold.
#[derive(Debug)]
pub(crate) struct SlotTable {
    shards: Vec<HashTable<u32>>,
}

impl SlotTable {
    pub(crate) fn new() -> Self {
        Self { shards: shards() }
    }

    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.shards[shard_of(hash)]
            .find(hash, |slot| is(*slot))
            .copied()
    }

    /// Adds a slot that isn't there yet; `rehash` gives the hash of any slot that is.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32, rehash: impl Fn(u32) -> u64) {
        self.shards[shard_of(hash)].insert_unique(hash, slot, |slot| rehash(*slot));
    }

    pub(crate) fn remove(&mut self, hash: u64, slot: u32, rehash: impl Fn(u32) -> u64) {
        let shard = &mut self.shards[shard_of(hash)];
        if let Ok(found) = shard.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        shrink(shard, |slot| rehash(*slot));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(HashTable::allocation_size).sum()
    }
}

fn shards<T>() -> Vec<HashTable<T>> {
    std::iter::repeat_with(HashTable::new)
        .take(SHARDS)
        .collect()
}

/// Not the highest bits: the tables themselves tell rows apart by those.
const fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

/// Gives memory back once a shard is mostly empty.
fn shrink<T>(shard: &mut HashTable<T>, rehash: impl Fn(&T) -> u64) {
    if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
        shard.shrink_to(shard.len() * 2, rehash);
    }
}

/// Events by tag. A value seen once, as most are, takes one row of 8 bytes.
#[derive(Debug)]
pub(crate) struct TagTable {
    shards: Vec<HashTable<TagRow>>,
    lists: Slab<List>,
}

#[derive(Debug)]
struct TagRow {
    key: TagKey,
    /// The only slot, or with [`MANY`] the number of a list.
    slots: u32,
}

const MANY: u32 = 1 << 31;

/// The slots under one key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Slots<'a> {
    One(Slot),
    Many(&'a List),
}

impl Slots<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(list) => list.len(),
        }
    }
}

impl TagTable {
    pub(crate) fn new() -> Self {
        Self {
            shards: shards(),
            lists: Slab::new(),
        }
    }

    pub(crate) fn get(&self, key: TagKey) -> Option<Slots<'_>> {
        let row = self.shards[tag_shard(key)].find(spread(key), |row| row.key == key)?;
        Some(match row.slots & MANY {
            0 => Slots::One(row.slots),
            _ => Slots::Many(self.lists.get(row.slots & !MANY)),
        })
    }

    pub(crate) fn insert(&mut self, key: TagKey, slot: Slot, entries: &Entries) {
        let shard = &mut self.shards[tag_shard(key)];
        let Some(row) = shard.find_mut(spread(key), |row| row.key == key) else {
            shard.insert_unique(spread(key), TagRow { key, slots: slot }, |row| {
                spread(row.key)
            });
            return;
        };
        if row.slots & MANY == 0 {
            let mut list = List::default();
            list.insert(row.slots, entries);
            row.slots = MANY | self.lists.insert(list);
        }
        self.lists.get_mut(row.slots & !MANY).insert(slot, entries);
    }

    pub(crate) fn remove(&mut self, key: TagKey, slot: Slot, entries: &Entries) {
        let shard = &mut self.shards[tag_shard(key)];
        let Ok(mut found) = shard.find_entry(spread(key), |row| row.key == key) else {
            return;
        };
        let slots = found.get().slots;
        if slots & MANY == 0 {
            debug_assert_eq!(
                slots, slot,
                "the only slot under a key is the one taken out"
            );
            found.remove();
            shrink(shard, |row| spread(row.key));
            return;
        }
        let list = self.lists.get_mut(slots & !MANY);
        list.remove(slot, entries);
        if list.len() == 1
            && let Some(last) = list.newest()
        {
            found.get_mut().slots = last;
            self.lists.remove(slots & !MANY);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let rows: usize = self.shards.iter().map(HashTable::allocation_size).sum();
        rows + self.lists.bytes()
    }
}

const fn tag_shard(key: TagKey) -> usize {
    key as usize >> 24
}

const fn spread(key: TagKey) -> u64 {
    (key as u64 ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The events of every author by kind.
#[derive(Debug)]
pub(crate) struct Authors {
    table: SlotTable,
    authors: Slab<Author>,
}

/// One author who has events in the index.
#[derive(Debug)]
pub(crate) struct Author {
    pub(crate) key: PublicKey,
    /// Sorted by kind, none empty.
    pub(crate) rows: SmallVec<[KindRow; 1]>,
}

/// An author's events of one kind.
#[derive(Debug)]
pub(crate) struct KindRow {
    /// When the newest was made, so that most lists of a merge are never touched.
    pub(crate) newest: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) list: List,
}

impl Default for Author {
    fn default() -> Self {
        Self {
            key: PublicKey::new([0; 32]),
            rows: SmallVec::new(),
        }
    }
}

impl Authors {
    pub(crate) fn new() -> Self {
        Self {
            table: SlotTable::new(),
            authors: Slab::new(),
        }
    }

    pub(crate) fn get(&self, author: u32) -> &Author {
        self.authors.get(author)
    }

    pub(crate) fn find(&self, key: &PublicKey, hashes: &Hashes) -> Option<u32> {
        self.table.find(hashes.author(key), |author| {
            self.authors.get(author).key == *key
        })
    }

    /// The number of an author, who gets one if new.
    pub(crate) fn open(&mut self, key: &PublicKey, hashes: &Hashes) -> u32 {
        if let Some(author) = self.find(key, hashes) {
            return author;
        }
        let author = self.authors.insert(Author {
            key: *key,
            rows: SmallVec::new(),
        });
        let authors = &self.authors;
        self.table.insert(hashes.author(key), author, |other| {
            hashes.author(&authors.get(other).key)
        });
        author
    }

    /// Files an entry under its author and kind.
    pub(crate) fn insert(&mut self, slot: Slot, entries: &Entries) {
        let entry = entries.get(slot);
        let rows = &mut self.authors.get_mut(entry.author).rows;
        let at = match rows.binary_search_by_key(&entry.kind, |row| row.kind) {
            Ok(at) => at,
            Err(at) => {
                let (newest, kind) = (entry.created_at, entry.kind);
                rows.insert(
                    at,
                    KindRow {
                        newest,
                        kind,
                        list: List::default(),
                    },
                );
                at
            }
        };
        let row = &mut rows[at];
        row.list.insert(slot, entries);
        row.newest = row.newest.max(entry.created_at);
    }

    /// Takes an entry out again, and its author if nothing is left.
    pub(crate) fn remove(&mut self, slot: Slot, entries: &Entries, hashes: &Hashes) {
        let entry = entries.get(slot);
        let author = self.authors.get_mut(entry.author);
        let Ok(at) = author
            .rows
            .binary_search_by_key(&entry.kind, |row| row.kind)
        else {
            return;
        };
        let row = &mut author.rows[at];
        row.list.remove(slot, entries);
        match row.list.newest() {
            Some(newest) => row.newest = entries.get(newest).created_at,
            None => drop(author.rows.remove(at)),
        }
        if author.rows.is_empty() {
            let hash = hashes.author(&author.key);
            let authors = &self.authors;
            self.table.remove(hash, entry.author, |other| {
                hashes.author(&authors.get(other).key)
            });
            self.authors.remove(entry.author);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes() + self.authors.bytes()
    }
}
