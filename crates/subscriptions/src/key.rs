//! Keys: the single values by which filters are filed and events looked up.

use heliograph_protocol::{Event, EventId, Kind, PublicKey, decode_hex};

/// The part of an event that a key belongs to. Numbers that no letter has stand for what isn't a
/// tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Space(u8);

impl Space {
    /// How many there are: ASCII.
    pub(crate) const COUNT: usize = 128;
    pub(crate) const ID: Self = Self(0);
    pub(crate) const AUTHOR: Self = Self(1);
    pub(crate) const KIND: Self = Self(2);
    /// Of the one key that every event has.
    pub(crate) const EVERYTHING: Self = Self(3);

    /// The values of tags of this name. Case counts: `#e` and `#E` differ.
    pub(crate) const fn tag(letter: u8) -> Self {
        Self(letter & 0x7f)
    }

    /// Its place in a table of [`Space::COUNT`].
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The share of all events expected to carry one value of this space, before any was seen.
    ///
    /// Only the order matters much: an id comes once, an event is answered a few times, a person
    /// is mentioned about as often as it writes, a topic or label is everybody's.
    pub(crate) const fn expected_share(self) -> f64 {
        match self {
            Self::ID => 1e-9,
            Self::AUTHOR => 2e-5,
            Self::KIND | Self::EVERYTHING => 1.0,
            Self(b'e' | b'E' | b'a' | b'A' | b'd' | b'q') => 1e-6,
            Self(b'p' | b'P') => 1e-5,
            Self(_) => 1e-4,
        }
    }
}

/// A key to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum KeyRef<'a> {
    /// An id, an author, or a tag value that is the lower-case hex of 32 bytes.
    Bytes(Space, [u8; 32]),
    /// Any other tag value.
    Text(Space, &'a str),
    Kind(Kind),
    Everything,
}

impl<'a> KeyRef<'a> {
    pub(crate) fn id(id: &EventId) -> Self {
        Self::Bytes(Space::ID, *id.as_bytes())
    }

    pub(crate) fn author(author: &PublicKey) -> Self {
        Self::Bytes(Space::AUTHOR, *author.as_bytes())
    }

    /// A decoded tag value. Distinct values give distinct keys: only lower-case hex is packed.
    pub(crate) fn tag(letter: u8, value: &'a str) -> Self {
        let space = Space::tag(letter);
        match decode_hex::<32>(value.as_bytes()) {
            Some(bytes) => Self::Bytes(space, bytes),
            None => Self::Text(space, value),
        }
    }

    pub(crate) fn space(self) -> Space {
        match self {
            Self::Bytes(space, _) | Self::Text(space, _) => space,
            Self::Kind(_) => Space::KIND,
            Self::Everything => Space::EVERYTHING,
        }
    }

    pub(crate) fn to_owned(self) -> Key {
        match self {
            Self::Bytes(space, bytes) => Key::Bytes(space, bytes),
            Self::Text(space, text) => Key::Text(space, text.into()),
            Self::Kind(kind) => Key::Kind(kind),
            Self::Everything => Key::Everything,
        }
    }
}

/// A key that is kept.
#[derive(Debug)]
pub(crate) enum Key {
    Bytes(Space, [u8; 32]),
    Text(Space, Box<str>),
    Kind(Kind),
    Everything,
}

impl Key {
    pub(crate) fn borrow(&self) -> KeyRef<'_> {
        match self {
            Self::Bytes(space, bytes) => KeyRef::Bytes(*space, *bytes),
            Self::Text(space, text) => KeyRef::Text(*space, text),
            Self::Kind(kind) => KeyRef::Kind(*kind),
            Self::Everything => KeyRef::Everything,
        }
    }

    /// Bytes it holds outside of itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        if let Self::Text(_, text) = self {
            text.len()
        } else {
            0
        }
    }
}

/// Calls `each` with every key of `event` whose space `asked` wants, repetitions included.
pub(crate) fn keys_of(
    event: &Event,
    asked: impl Fn(Space) -> bool,
    mut each: impl FnMut(KeyRef<'_>),
) {
    if asked(Space::EVERYTHING) {
        each(KeyRef::Everything);
    }
    if asked(Space::KIND) {
        each(KeyRef::Kind(event.kind()));
    }
    if asked(Space::ID) {
        each(KeyRef::id(event.id()));
    }
    if asked(Space::AUTHOR) {
        each(KeyRef::author(event.pubkey()));
    }
    for tag in event.tags() {
        let Some(letter) = tag.letter().filter(|letter| asked(Space::tag(*letter))) else {
            continue;
        };
        if let Some(value) = tag.value() {
            each(KeyRef::tag(letter, &value));
        }
    }
}
