//! The index of entries: what is in memory, by every path that a filter can take.

use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use heliograph_protocol::{Address, Event, EventId, Expiration, Kind, PublicKey, Timestamp};

use crate::{
    entry::{Body, Entries, Entry, Position, Slot},
    keys::{Hashes, Key, TagKey, from_words, words},
    list::List,
    tables::{Author, Authors, SlotTable, Slots, TagTable},
};

/// What a text costs beside its bytes: the counts, ids and offsets around it.
const TEXT_OVERHEAD_BYTES: usize = 192;

/// Entries and the lists that lead to them. Knows no rules: what goes in replaces nothing.
#[derive(Debug)]
pub(crate) struct Index {
    hashes: Hashes,
    entries: Entries,
    len: usize,
    ids: SlotTable,
    authors: Authors,
    time: List,
    kinds: HashMap<Kind, List>,
    tags: TagTable,
    addresses: HashTable<AddressRow>,
    expirations: HashMap<Slot, Timestamp>,
    text_bytes: usize,
    text_bytes_max: usize,
    texts: usize,
    /// No entry up to this one, from the oldest on, has its text.
    bare_until: Option<Position>,
    /// Memory of the keys that stand for dropped texts.
    bare_bytes: usize,
}

#[derive(Debug)]
struct AddressRow {
    key: Key,
    slot: Slot,
}

impl Index {
    pub(crate) fn new(text_bytes_max: usize) -> Self {
        Self {
            hashes: Hashes::default(),
            entries: Entries::new(),
            len: 0,
            ids: SlotTable::new(),
            authors: Authors::new(),
            time: List::default(),
            kinds: HashMap::new(),
            tags: TagTable::new(),
            addresses: HashTable::new(),
            expirations: HashMap::new(),
            text_bytes: 0,
            text_bytes_max,
            texts: 0,
            bare_until: None,
            bare_bytes: 0,
        }
    }

    pub(crate) const fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    pub(crate) const fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn texts(&self) -> usize {
        self.texts
    }

    pub(crate) const fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    pub(crate) fn get(&self, slot: Slot) -> &Entry {
        self.entries.get(slot)
    }

    pub(crate) fn set_announced(&mut self, slot: Slot) {
        self.entries.get_mut(slot).announced = true;
    }

    pub(crate) fn find(&self, id: &EventId) -> Option<Slot> {
        self.ids
            .find(self.hashes.id(id), |slot| self.entries.get(slot).id == *id)
    }

    pub(crate) fn find_address(&self, key: Key) -> Option<Slot> {
        self.addresses
            .find(narrow(key), |row| row.key == key)
            .map(|row| row.slot)
    }

    pub(crate) fn find_author(&self, key: &PublicKey) -> Option<&Author> {
        self.authors
            .find(key, &self.hashes)
            .map(|author| self.authors.get(author))
    }

    pub(crate) fn author(&self, entry: &Entry) -> &PublicKey {
        &self.authors.get(entry.author).key
    }

    pub(crate) const fn time(&self) -> &List {
        &self.time
    }

    pub(crate) fn kind(&self, kind: Kind) -> Option<&List> {
        self.kinds.get(&kind)
    }

    pub(crate) fn tag(&self, key: TagKey) -> Option<Slots<'_>> {
        self.tags.get(key)
    }

    pub(crate) fn is_expired(&self, slot: Slot, now: Timestamp) -> bool {
        self.get(slot).expires && self.expirations.get(&slot).is_some_and(|end| *end <= now)
    }

    pub(crate) fn address_key(&self, address: &Address) -> Key {
        self.hashes.address(address)
    }

    /// The key of an entry's address, for kinds that have one.
    pub(crate) fn address_of(&self, entry: &Entry) -> Option<Key> {
        if !entry.kind.has_address() {
            return None;
        }
        match &entry.body {
            Body::Text(event) => event.address().map(|address| self.hashes.address(&address)),
            Body::Keys(keys) => keys.get(..4).map(from_words),
        }
    }

    /// The tag keys of an entry without a text.
    pub(crate) fn bare_tags<'a>(&self, entry: &'a Entry) -> &'a [TagKey] {
        let skip = if entry.kind.has_address() { 4 } else { 0 };
        match &entry.body {
            Body::Text(_) => &[],
            Body::Keys(keys) => keys.get(skip..).unwrap_or_default(),
        }
    }

    /// Adds an event that isn't there yet.
    pub(crate) fn insert(&mut self, event: &Arc<Event>, announced: bool) {
        debug_assert!(
            self.find(event.id()).is_none(),
            "an id is in the index once"
        );
        let tags = self.hashes.tags(event);
        let address = event.address().map(|address| self.hashes.address(&address));
        let author = self.authors.open(event.pubkey(), &self.hashes);
        let expiration = match event.expiration() {
            Expiration::At(end) => Some(end),
            Expiration::Never | Expiration::Malformed => None,
        };
        let slot = self.entries.insert(Entry {
            created_at: event.created_at(),
            id: *event.id(),
            author,
            kind: event.kind(),
            announced,
            expires: expiration.is_some(),
            body: Body::Text(Arc::clone(event)),
        });
        self.len += 1;
        let (entries, hashes) = (&self.entries, &self.hashes);
        self.ids.insert(hashes.id(event.id()), slot, |slot| {
            hashes.id(&entries.get(slot).id)
        });
        self.authors.insert(slot, entries);
        self.time.insert(slot, entries);
        self.kinds
            .entry(event.kind())
            .or_default()
            .insert(slot, entries);
        for tag in &tags {
            self.tags.insert(*tag, slot, entries);
        }
        if let Some(key) = address {
            let row = AddressRow { key, slot };
            self.addresses
                .insert_unique(narrow(key), row, |row| narrow(row.key));
        }
        if let Some(end) = expiration {
            self.expirations.insert(slot, end);
        }
        self.text_bytes += text_bytes(event);
        self.texts += 1;
        self.trim_texts(slot);
    }

    /// Removes an entry from everywhere.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let entry = self.entries.get(slot);
        let address = self.address_of(entry);
        let hash = self.hashes.id(&entry.id);
        let entries = &self.entries;
        let tags = match &entry.body {
            Body::Text(event) => self.hashes.tags(event),
            Body::Keys(_) => self.bare_tags(entry).to_vec(),
        };
        for tag in &tags {
            self.tags.remove(*tag, slot, entries);
        }
        self.ids
            .remove(hash, slot, |slot| self.hashes.id(&entries.get(slot).id));
        self.time.remove(slot, entries);
        if let Some(list) = self.kinds.get_mut(&entry.kind) {
            list.remove(slot, entries);
            if list.len() == 0 {
                self.kinds.remove(&entry.kind);
            }
        }
        if let Some(key) = address
            && let Ok(row) = self
                .addresses
                .find_entry(narrow(key), |row| row.slot == slot)
        {
            row.remove();
        }
        if entry.expires {
            self.expirations.remove(&slot);
        }
        self.authors.remove(slot, entries, &self.hashes);
        match self.entries.remove(slot).body {
            Body::Text(event) => {
                self.text_bytes -= text_bytes(&event);
                self.texts -= 1;
            }
            Body::Keys(keys) => self.bare_bytes -= size_of_val(&*keys),
        }
        self.len -= 1;
    }

    /// Drops the oldest texts until the rest fits, and the new entry's where older than those.
    fn trim_texts(&mut self, new: Slot) {
        if self
            .bare_until
            .is_some_and(|until| self.get(new).position() >= until)
        {
            self.drop_text(new);
        }
        if self.text_bytes <= self.text_bytes_max {
            return;
        }
        // A little more than needed, so that not every event has to look for the place.
        let target = self.text_bytes_max - self.text_bytes_max / 256;
        let mut mark = match self.bare_until {
            Some(until) => self
                .time
                .mark(&self.entries, |entry| entry.position() >= until),
            None => List::start(),
        };
        while self.text_bytes > target {
            let Some(slot) = self.time.next_newer(&mut mark) else {
                break;
            };
            self.drop_text(slot);
            self.bare_until = Some(self.get(slot).position());
        }
    }

    fn drop_text(&mut self, slot: Slot) {
        let entry = self.entries.get(slot);
        let Body::Text(event) = &entry.body else {
            return;
        };
        let bytes = text_bytes(event);
        let address = self.address_of(entry).map(words);
        let mut keys: Vec<u32> = address.into_iter().flatten().collect();
        keys.extend(self.hashes.tags(event));
        self.text_bytes -= bytes;
        self.texts -= 1;
        self.bare_bytes += size_of_val(&*keys);
        self.entries.get_mut(slot).body = Body::Keys(keys.into_boxed_slice());
    }

    /// An author's entries up to `until`, of any kind, at most `max`, that satisfy `wanted`.
    pub(crate) fn authored_until(
        &self,
        author: &PublicKey,
        until: Timestamp,
        max: usize,
        wanted: impl Fn(Slot) -> bool,
    ) -> Vec<Slot> {
        let Some(author) = self.find_author(author) else {
            return Vec::new();
        };
        let lists = author.rows.iter().map(|row| &row.list);
        lists
            .flat_map(|list| self.until(list, until))
            .filter(|slot| wanted(*slot))
            .take(max)
            .collect()
    }

    /// The entries with a tag up to `until`, at most `max`, that satisfy `wanted`.
    pub(crate) fn tagged_until(
        &self,
        letter: u8,
        value: &str,
        until: Timestamp,
        max: usize,
        wanted: impl Fn(Slot) -> bool,
    ) -> Vec<Slot> {
        match self.tag(self.hashes.tag(letter, value)) {
            None => Vec::new(),
            Some(Slots::One(slot)) => {
                let fits = self.get(slot).created_at <= until && wanted(slot);
                Some(slot).filter(|_| fits).into_iter().take(max).collect()
            }
            Some(Slots::Many(list)) => self
                .until(list, until)
                .filter(|slot| wanted(*slot))
                .take(max)
                .collect(),
        }
    }

    fn until<'a>(&'a self, list: &'a List, until: Timestamp) -> impl Iterator<Item = Slot> + 'a {
        let mut mark = List::start();
        std::iter::from_fn(move || list.next_newer(&mut mark))
            .take_while(move |slot| self.get(*slot).created_at <= until)
    }

    /// Memory of the index without the texts, in bytes: exact for tables and entries, estimated
    /// for the lists, of which every event is in three and in one per tag.
    pub(crate) fn bytes(&self) -> usize {
        let lists = self.time.bytes() + self.kinds.values().map(List::bytes).sum::<usize>();
        let postings = self.len * 3 * size_of::<Slot>();
        self.entries.bytes()
            + self.ids.bytes()
            + self.authors.bytes()
            + self.tags.bytes()
            + self.addresses.allocation_size()
            + lists
            + postings
            + self.bare_bytes
    }

    /// Checks that everything leads to everything else; for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut mark = self.time.end();
        let mut last: Option<Position> = None;
        let (mut count, mut bytes, mut texts) = (0, 0, 0);
        while let Some(slot) = self.time.next_older(&mut mark) {
            let entry = self.get(slot);
            assert!(
                last.is_none_or(|last| last < entry.position()),
                "the time list is sorted"
            );
            last = Some(entry.position());
            assert_eq!(self.find(&entry.id), Some(slot));
            let mut rows = self.authors.get(entry.author).rows.iter();
            let row = rows.find(|row| row.kind == entry.kind);
            assert!(row.is_some_and(|row| row.newest >= entry.created_at));
            assert_eq!(self.address_of(entry).map(|key| self.find_address(key)), {
                entry.kind.has_address().then_some(Some(slot))
            });
            if let Some(event) = entry.text() {
                bytes += text_bytes(event);
                texts += 1;
                assert!(self.bare_until.is_none_or(|until| entry.position() < until));
            }
            count += 1;
        }
        assert_eq!(
            (count, bytes, texts),
            (self.len, self.text_bytes, self.texts)
        );
        assert_eq!(self.kinds.values().map(List::len).sum::<usize>(), self.len);
    }
}

/// What a text takes, in bytes.
fn text_bytes(event: &Event) -> usize {
    event.json().len() + TEXT_OVERHEAD_BYTES
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "half of the key is as good a hash"
)]
const fn narrow(key: Key) -> u64 {
    key as u64
}
