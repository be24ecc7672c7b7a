//! Keys and values of the database, schema version 1. All numbers are big-endian, so that the order
//! of bytes is the order of values; times stand as their complement, so that newest comes first.
//!
//! | database | key | value |
//! |---|---|---|
//! | `payload` | seq | codec byte, wire form |
//! | `by_id` | id[..8] | list of seq |
//! | `by_author` | pubkey[..8] kind !time id[..8] | list of seq |
//! | `by_kind` | kind !time id[..8] | list of (seq, pubkey[..8]) |
//! | `by_time` | !time id[..8] | list of (seq, pubkey[..8], kind) |
//! | `by_tag` | letter sha256(value)[..8] kind !time id[..8] | list of (seq, pubkey[..8]) |
//! | `seats` | sha256(address)[..16] | seq or [`NO_SEQ`], time, id |
//! | `deleted_ids` | pubkey id | – |
//! | `deleted_addresses` | sha256(address)[..16] | time |
//! | `vanished` | pubkey | time |
//! | `expires` | time seq | – |
//! | `kinds` | kind | events |
//! | `meta` | name | schema, next seq, lineage, … |
//!
//! A list has one entry but for ids made to share 64 bits; every candidate is checked against the
//! whole event before it is returned, so that shared bytes cost time and nothing else.

use std::cmp::Reverse;

use heliograph_protocol::{Address, Event, EventId, Kind, PublicKey, Timestamp};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::overlay::Position;

/// The schema version that this program writes and the newest that it reads.
pub(crate) const SCHEMA: u32 = 1;
/// In a seat: the version that holds it isn't stored.
pub(crate) const NO_SEQ: u64 = u64::MAX;
/// Codec bits: the text is compressed with the store's dictionary.
pub(crate) const CODEC_ZSTD: u8 = 1;
/// Codec bits: the event has an end.
pub(crate) const CODEC_EXPIRES: u8 = 0x80;

/// Names in `meta`.
pub(crate) mod meta {
    pub(crate) const SCHEMA: &[u8] = b"schema";
    pub(crate) const NEXT_SEQ: &[u8] = b"next_seq";
    /// The newest log segment that the database holds completely.
    pub(crate) const FLUSHED_SEGMENT: &[u8] = b"flushed_segment";
    pub(crate) const PAYLOAD_BYTES: &[u8] = b"payload_bytes";
    pub(crate) const DICTIONARY: &[u8] = b"dictionary";
    /// Who has given out which numbers: see [`crate::lineage`].
    pub(crate) const LINEAGE: &[u8] = b"lineage";
    /// Followed by an author: its request to vanish, of the time that is the value, is in force, but
    /// not all that it hides is removed yet.
    pub(crate) const VANISHING: &[u8] = b"vanishing:";
}

pub(crate) type Key = SmallVec<[u8; 32]>;
pub(crate) type Handle = [u8; 8];

/// An ordered index of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    Author,
    Kind,
    Time,
    Tag,
}

impl Index {
    /// Bytes of one entry of a value.
    const fn entry_len(self) -> usize {
        match self {
            Self::Author => 8,
            Self::Kind | Self::Tag => 16,
            Self::Time => 18,
        }
    }
}

/// One index entry, as far as it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) place: Place,
    pub(crate) seq: u64,
    pub(crate) author: Handle,
    pub(crate) kind: u16,
}

/// The order of index rows: newest first, then the first 8 bytes of the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The complement of `created_at`.
    pub(crate) inverse: u64,
    /// The first 8 bytes of the id, as a number.
    pub(crate) id8: u64,
}

impl Place {
    pub(crate) fn of(time: Timestamp, id: &EventId) -> Self {
        Self {
            inverse: !time.as_secs(),
            id8: u64::from_be_bytes(handle(id.as_bytes())),
        }
    }

    /// The last position that shares this place.
    pub(crate) fn last_position(self) -> Position {
        let mut id = [0xff; 32];
        id[..8].copy_from_slice(&self.id8.to_be_bytes());
        (
            Reverse(Timestamp::from_secs(!self.inverse)),
            EventId::new(id),
        )
    }

    pub(crate) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.inverse.to_be_bytes());
        bytes[8..].copy_from_slice(&self.id8.to_be_bytes());
        bytes
    }
}

/// The first 8 bytes of an id or a key.
pub(crate) fn handle(bytes: &[u8; 32]) -> Handle {
    let mut handle = [0; 8];
    handle.copy_from_slice(&bytes[..8]);
    handle
}

pub(crate) fn author_prefix(author: &PublicKey, kind: Option<Kind>) -> Key {
    let mut key = Key::from_slice(&handle(author.as_bytes()));
    key.extend(
        kind.into_iter()
            .flat_map(|kind| kind.as_u16().to_be_bytes()),
    );
    key
}

pub(crate) fn kind_prefix(kind: Kind) -> Key {
    Key::from_slice(&kind.as_u16().to_be_bytes())
}

pub(crate) fn tag_prefix(letter: u8, value: &str, kind: Option<Kind>) -> Key {
    let mut key = Key::from_slice(&[letter]);
    key.extend_from_slice(&Sha256::digest(value.as_bytes())[..8]);
    key.extend(
        kind.into_iter()
            .flat_map(|kind| kind.as_u16().to_be_bytes()),
    );
    key
}

/// The key of an address in `seats` and `deleted_addresses`.
pub(crate) fn address_key(address: &Address) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(address.kind.as_u16().to_be_bytes());
    hash.update(address.pubkey.as_bytes());
    hash.update(address.d.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

pub(crate) fn deleted_id_key(owner: &PublicKey, id: &EventId) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(owner.as_bytes());
    key[32..].copy_from_slice(id.as_bytes());
    key
}

pub(crate) fn expires_key(end: Timestamp, seq: u64) -> [u8; 16] {
    Place {
        inverse: end.as_secs(),
        id8: seq,
    }
    .bytes()
}

/// Visits the keys and entries that an event has in the ordered indexes.
pub(crate) fn index_rows(event: &Event, seq: u64, mut visit: impl FnMut(Index, Key, &[u8])) {
    let place = Place::of(event.created_at(), event.id()).bytes();
    let kind = event.kind().as_u16().to_be_bytes();
    let mut entry = [0; 18];
    entry[..8].copy_from_slice(&seq.to_be_bytes());
    entry[8..16].copy_from_slice(&handle(event.pubkey().as_bytes()));
    entry[16..].copy_from_slice(&kind);
    let mut row = |index: Index, mut prefix: Key| {
        prefix.extend_from_slice(&place);
        visit(index, prefix, &entry[..index.entry_len()]);
    };
    row(
        Index::Author,
        author_prefix(event.pubkey(), Some(event.kind())),
    );
    row(Index::Kind, kind_prefix(event.kind()));
    row(Index::Time, Key::new());
    let mut tags: Vec<Key> = event
        .indexed_tags()
        .map(|(letter, value)| tag_prefix(letter, &value, Some(event.kind())))
        .collect();
    tags.sort_unstable();
    tags.dedup();
    for tag in tags {
        row(Index::Tag, tag);
    }
}

/// Reads the entries of an index row; `None` if it isn't one.
pub(crate) fn read_rows(index: Index, key: &[u8], value: &[u8]) -> Option<SmallVec<[Row; 1]>> {
    let (prefix, place) = key.split_at_checked(key.len().checked_sub(16)?)?;
    let place = Place {
        inverse: number(&place[..8])?,
        id8: number(&place[8..])?,
    };
    let kind = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
    let prefix_kind = match index {
        Index::Time => 0,
        _ => kind(prefix.get(prefix.len().checked_sub(2)?..)?)?,
    };
    let entries = value.chunks_exact(index.entry_len());
    entries
        .map(|entry| {
            let author = match index {
                Index::Author => prefix.get(..8)?,
                _ => entry.get(8..16)?,
            };
            let author = author.try_into().ok()?;
            let kind = if index == Index::Time {
                kind(entry.get(16..)?)?
            } else {
                prefix_kind
            };
            Some(Row {
                place,
                seq: number(&entry[..8])?,
                author,
                kind,
            })
        })
        .collect()
}

pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Who holds an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Where the event is, or [`NO_SEQ`].
    pub(crate) seq: u64,
    pub(crate) position: Position,
}

impl Seat {
    pub(crate) fn encode(&self) -> [u8; 48] {
        let mut value = [0; 48];
        value[..8].copy_from_slice(&self.seq.to_be_bytes());
        value[8..16].copy_from_slice(&self.position.0.0.as_secs().to_be_bytes());
        value[16..].copy_from_slice(self.position.1.as_bytes());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let time = Timestamp::from_secs(number(value.get(8..16)?)?);
        let id = EventId::new(value.get(16..48)?.try_into().ok()?);
        Some(Self {
            seq: number(&value[..8])?,
            position: (Reverse(time), id),
        })
    }
}
