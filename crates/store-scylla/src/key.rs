//! Keys, places and timestamps: how values of the protocol become CQL values.
//!
//! Everything here is a pure function of an event, so that any worker that merges it, at any time,
//! writes the same rows, and a repetition changes nothing.

use std::cmp::Reverse;

use heliograph_protocol::{Address, Event, EventId, Expiration, Kind, PublicKey, Timestamp};
use heliograph_store::rules;
use sha2::{Digest, Sha256};

/// Bytes of a `d` value up to which it stands in a key as it is; longer ones are hashed. A key may
/// have 64 KiB, an event's `d` value more.
const PLAIN_D_BYTES_MAX: usize = 128;

/// From this `created_at` on, in seconds, timestamps of cells don't grow any more: in 17 million
/// years.
const STAMP_SECS_MAX: u64 = 1 << 49;

/// One way to find events by something else than their id: a table of its own each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Path {
    Author,
    AuthorKind,
    Kind,
    Time,
    Tag,
}

impl Path {
    pub(crate) const ALL: [Self; 5] = [
        Self::Author,
        Self::AuthorKind,
        Self::Kind,
        Self::Time,
        Self::Tag,
    ];

    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::Author => "by_author",
            Self::AuthorKind => "by_author_kind",
            Self::Kind => "by_kind",
            Self::Time => "by_time",
            Self::Tag => "by_tag",
        }
    }

    /// The number of the path in tables that serve all of them. Part of the schema.
    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::Author => 1,
            Self::AuthorKind => 2,
            Self::Kind => 3,
            Self::Time => 4,
            Self::Tag => 5,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Whether there are so few keys, each of them so busy, that a writer asks for the state of
    /// its buckets before it writes the first row.
    pub(crate) const fn is_busy(self) -> bool {
        matches!(self, Self::Kind | Self::Time)
    }
}

/// A key of a path: what all events below it have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct IndexKey {
    pub path: Path,
    pub bytes: Box<[u8]>,
}

impl IndexKey {
    pub(crate) fn author(author: &PublicKey) -> Self {
        Self::new(Path::Author, author.as_bytes())
    }

    pub(crate) fn author_kind(author: &PublicKey, kind: Kind) -> Self {
        let mut bytes = author.as_bytes().to_vec();
        bytes.extend(kind.as_u16().to_be_bytes());
        Self::new(Path::AuthorKind, &bytes)
    }

    pub(crate) fn kind(kind: Kind) -> Self {
        Self::new(Path::Kind, &kind.as_u16().to_be_bytes())
    }

    /// The one key of everything.
    pub(crate) fn time() -> Self {
        Self::new(Path::Time, &[0])
    }

    pub(crate) fn tag(letter: u8, value: &str) -> Self {
        let mut bytes = Vec::with_capacity(1 + value.len());
        bytes.push(letter);
        bytes.extend(value.as_bytes());
        Self::new(Path::Tag, &bytes)
    }

    fn new(path: Path, bytes: &[u8]) -> Self {
        Self {
            path,
            bytes: bytes.into(),
        }
    }
}

/// Every key below which `event` is listed, each once, always in this order.
pub(crate) fn index_keys(event: &Event) -> Vec<IndexKey> {
    let mut keys = vec![
        IndexKey::author(event.pubkey()),
        IndexKey::author_kind(event.pubkey(), event.kind()),
        IndexKey::kind(event.kind()),
        IndexKey::time(),
    ];
    let mut seen = std::collections::HashSet::new();
    for (letter, value) in event.indexed_tags() {
        let key = IndexKey::tag(letter, &value);
        if seen.insert(key.clone()) {
            keys.push(key);
        }
    }
    keys
}

/// A place in the order of every answer: `created_at` counted down, then the id, so that bytes sort
/// as answers do (R01-53).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place([u8; 40]);

impl Place {
    /// Before everything.
    pub(crate) const FIRST: Self = Self([0; 40]);
    /// After everything.
    pub(crate) const LAST: Self = Self([0xff; 40]);

    pub(crate) fn new(at: Timestamp, id: &EventId) -> Self {
        Self::join(at, id.as_bytes())
    }

    pub(crate) fn of(event: &Event) -> Self {
        Self::new(event.created_at(), event.id())
    }

    /// The first place of this second.
    pub(crate) fn first_of(at: Timestamp) -> Self {
        Self::join(at, &[0; 32])
    }

    /// The last place of this second.
    pub(crate) fn last_of(at: Timestamp) -> Self {
        Self::join(at, &[0xff; 32])
    }

    fn join(at: Timestamp, id: &[u8; 32]) -> Self {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&(!at.as_secs()).to_be_bytes());
        bytes[8..].copy_from_slice(id);
        Self(bytes)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 40] {
        &self.0
    }

    pub(crate) fn at(&self) -> Timestamp {
        let (at, _id) = self.0.split_at(8);
        let at: [u8; 8] = at.try_into().expect("eight bytes");
        Timestamp::from_secs(!u64::from_be_bytes(at))
    }

    pub(crate) fn id(&self) -> EventId {
        let (_at, id) = self.0.split_at(8);
        EventId::new(id.try_into().expect("32 bytes"))
    }

    /// The place that follows at once; the last one has none and stays.
    pub(crate) fn next(mut self) -> Self {
        for byte in self.0.iter_mut().rev() {
            let (sum, carried) = byte.overflowing_add(1);
            *byte = sum;
            if !carried {
                return self;
            }
        }
        Self::LAST
    }
}

/// The timestamp of every cell that says something about this `created_at`.
///
/// It is counted in seconds, twice, and so lies in 1970 for the database, whose own timestamps are
/// microseconds: no `created_at` is in a future that the database refuses. What is written later
/// for a newer `created_at` wins, whatever any clock says.
pub(crate) fn stamp(at: Timestamp) -> i64 {
    let secs = at.as_secs().min(STAMP_SECS_MAX);
    2 + 2 * i64::try_from(secs).expect("far below 2^63")
}

/// The timestamp of a removal: it wins over every write of the same `created_at`, before or after,
/// so that what is removed stays removed. It loses against anything newer.
pub(crate) fn removal_stamp(at: Timestamp) -> i64 {
    stamp(at) + 1
}

/// `created_at` as CQL `bigint`.
pub(crate) fn bigint(at: Timestamp) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

/// A CQL `bigint` that this crate wrote.
pub(crate) fn timestamp(value: i64) -> Timestamp {
    Timestamp::from_secs(u64::try_from(value).unwrap_or(0))
}

/// When the event expires, if ever.
pub(crate) fn expires(event: &Event) -> Option<Timestamp> {
    match event.expiration() {
        Expiration::At(end) => Some(end),
        Expiration::Never | Expiration::Malformed => None,
    }
}

/// The key of an address: kind, author, and `d` or its hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AddressKey(Box<[u8]>);

impl AddressKey {
    pub(crate) fn new(address: &Address) -> Self {
        Self::from_parts(address.kind, &address.pubkey, &address.d)
    }

    pub(crate) fn from_parts(kind: Kind, author: &PublicKey, d: &str) -> Self {
        let mut bytes = Vec::with_capacity(35 + d.len().min(PLAIN_D_BYTES_MAX));
        bytes.extend(kind.as_u16().to_be_bytes());
        bytes.extend(author.as_bytes());
        if d.len() <= PLAIN_D_BYTES_MAX {
            bytes.push(0);
            bytes.extend(d.as_bytes());
        } else {
            bytes.push(1);
            bytes.extend(Sha256::digest(d.as_bytes()));
        }
        Self(bytes.into())
    }

    pub(crate) fn of(event: &Event) -> Option<Self> {
        event.address().map(|address| Self::new(&address))
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Who sits at an address: the value of its one cell.
///
/// The bytes begin with `created_at` and then the complement of the id, so that of two values with
/// one timestamp the database keeps the newer, and of one second the lowest id (R01-42): both
/// databases keep the larger value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    pub at: Timestamp,
    pub id: EventId,
    pub expires: Option<Timestamp>,
}

impl Seat {
    pub(crate) fn of(event: &Event) -> Self {
        Self {
            at: event.created_at(),
            id: *event.id(),
            expires: expires(event),
        }
    }

    pub(crate) fn position(&self) -> (Reverse<Timestamp>, EventId) {
        (Reverse(self.at), self.id)
    }

    /// Whether this is a better version than `event`: then that one never counts again.
    pub(crate) fn beats(&self, event: &Event) -> bool {
        self.position() < event.position()
    }

    pub(crate) fn to_bytes(self) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..8].copy_from_slice(&self.at.as_secs().to_be_bytes());
        for (target, byte) in bytes[8..40].iter_mut().zip(self.id.as_bytes()) {
            *target = !byte;
        }
        let expires = self.expires.map_or(u64::MAX, Timestamp::as_secs);
        bytes[40..].copy_from_slice(&expires.to_be_bytes());
        bytes
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 48] = bytes.try_into().ok()?;
        let number = |at: usize| -> Option<u64> {
            Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
        };
        let mut id = [0; 32];
        for (target, byte) in id.iter_mut().zip(&bytes[8..40]) {
            *target = !byte;
        }
        let expires = number(40)?;
        Some(Self {
            at: Timestamp::from_secs(number(0)?),
            id: EventId::new(id),
            expires: (expires != u64::MAX).then(|| Timestamp::from_secs(expires)),
        })
    }
}

/// What a guard is about. Each guard is a row and a partition of its own, so that an author who
/// deletes a million events makes no partition large, and the look-up of a guard that isn't there,
/// which is nearly every one, ends in a bloom filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct GuardKey {
    pub owner: PublicKey,
    pub what: Box<[u8]>,
}

impl GuardKey {
    pub(crate) fn vanish(owner: &PublicKey) -> Self {
        Self::new(owner, 0, &[])
    }

    pub(crate) fn id(owner: &PublicKey, id: &EventId) -> Self {
        Self::new(owner, 1, id.as_bytes())
    }

    pub(crate) fn address(address: &Address) -> Self {
        Self::new(&address.pubkey, 2, AddressKey::new(address).as_bytes())
    }

    fn new(owner: &PublicKey, sort: u8, what: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1 + what.len());
        bytes.push(sort);
        bytes.extend(what);
        Self {
            owner: *owner,
            what: bytes.into(),
        }
    }

    /// Every guard that could concern `event`.
    pub(crate) fn of(event: &Event) -> Vec<Self> {
        let mut keys = Vec::new();
        let deletable = rules::is_deletable(event.kind());
        for owner in rules::owners(event) {
            keys.push(Self::vanish(&owner));
            if deletable {
                keys.push(Self::id(&owner, event.id()));
            }
        }
        if deletable && let Some(address) = event.address() {
            keys.push(Self::address(&address));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use heliograph_store::conformance::{event, key};

    use super::*;

    #[test]
    fn places_sort_as_answers_do() {
        let mut events: Vec<_> = [0, 1, 10, 1 << 40]
            .iter()
            .flat_map(|at| ["a", "b", "c"].map(|text| event(1, *at, 1, &[], text)))
            .collect();
        events.push(event(1, Timestamp::MAX.as_secs(), 1, &[], ""));
        events.sort_by_key(|event| event.position());
        let places: Vec<_> = events.iter().map(|event| Place::of(event)).collect();
        assert!(places.is_sorted());
        for (place, event) in places.iter().zip(&events) {
            assert_eq!((place.at(), place.id()), (event.created_at(), *event.id()));
            assert!(Place::first_of(event.created_at()) < *place);
            assert!(*place < Place::last_of(event.created_at()));
            assert!(place.next() > *place);
        }
    }

    #[test]
    fn the_next_place_carries() {
        let at = Timestamp::from_secs(10);
        let last = Place::new(at, &EventId::new([0xff; 32]));
        assert_eq!(last.next(), Place::first_of(Timestamp::from_secs(9)));
        assert_eq!(Place::LAST.next(), Place::LAST);
    }

    #[test]
    fn larger_seat_values_win_as_versions_do() {
        let mut seats: Vec<_> = (0..20)
            .flat_map(|n| [10, 11].map(|at| Seat::of(&event(1, at, 0, &[], &format!("{n}")))))
            .collect();
        seats.sort_by_key(Seat::position);
        assert!(seats.is_sorted_by(|best, worse| best.to_bytes() > worse.to_bytes()));
        for seat in seats {
            assert_eq!(Seat::from_slice(&seat.to_bytes()), Some(seat));
        }
        let expiring = Seat::of(&event(1, 10, 0, &[&["expiration", "20"]], ""));
        assert_eq!(Seat::from_slice(&expiring.to_bytes()), Some(expiring));
        assert_eq!(Seat::from_slice(&[0; 47]), None);
    }

    #[test]
    fn stamps_follow_created_at_and_never_lie_in_the_future() {
        let stamps = [0, 1, 2, 1_700_000_000, 1 << 33, (1 << 53) - 1].map(Timestamp::from_secs);
        for pair in stamps.windows(2) {
            assert!(stamp(pair[0]) < removal_stamp(pair[0]));
            assert!(removal_stamp(pair[0]) < stamp(pair[1]));
        }
        let first_of_2006 = 1_136_073_600_000_000;
        assert!(removal_stamp(Timestamp::MAX) < first_of_2006);
    }

    #[test]
    fn addresses_are_told_apart_however_long() {
        let long = |end: &str| "x".repeat(70_000) + end;
        let ds = [
            "",
            "a",
            &long("a"),
            &long("b"),
            &long("")[..PLAIN_D_BYTES_MAX],
        ];
        let keys = ds.map(|d| AddressKey::from_parts(Kind::new(30_023), &key(1), d));
        for (n, one) in keys.iter().enumerate() {
            assert!(one.as_bytes().len() < 200);
            assert!(keys[n + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn an_event_is_listed_once_below_each_key() {
        let event = event(
            1,
            10,
            1,
            &[&["t", "a"], &["t", "b"], &["t", "a"], &["x"]],
            "",
        );
        let paths: Vec<_> = index_keys(&event).iter().map(|key| key.path).collect();
        use Path::{Author, AuthorKind, Kind, Tag, Time};
        assert_eq!(paths, [Author, AuthorKind, Kind, Time, Tag, Tag]);
    }
}
