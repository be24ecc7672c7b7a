//! Events: parsed once, canonical ever after.
//!
//! The canonical text of `tags` and `content` is both what is hashed for the id (NIP-01) and what
//! is stored and sent, so an event holds one wire form and a few offsets into it.

mod members;
mod wire;

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use self::members::Members;
use crate::{
    EventId, HexError, Kind, KindClass, Origin, PublicKey, Refusal, Signature, Tag, Tags,
    Timestamp,
    filter::INDEXED_VALUE_BYTES_MAX,
    json::{JsonError, JsonStr, Scanner},
};

/// A well-formed event whose id has been recomputed; the signature may still be unchecked.
///
/// Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct Event {
    json: Bytes,
    id: EventId,
    pubkey: PublicKey,
    created_at: Timestamp,
    kind: Kind,
    tags: Range<u32>,
    content: Range<u32>,
    origin: Origin,
}

/// By the wire form alone.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for Event {}

/// The address of a replaceable or addressable event (NIP-01): all its versions share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The kind, replaceable or addressable.
    pub kind: Kind,
    /// The author.
    pub pubkey: PublicKey,
    /// The `d` value; empty for replaceable kinds (R01-44).
    pub d: String,
}

impl Address {
    /// Reads `kind:pubkey:d`, splitting on the first two colons only (R09-4). `None` if malformed,
    /// if the kind has no addresses, or if a replaceable kind comes with a `d` value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let kind = parts.next()?;
        if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kind = Kind::new(kind.parse().ok()?);
        let pubkey = PublicKey::from_hex(parts.next()?.as_bytes()).ok()?;
        let d = parts.next()?;
        let fits = match kind.class() {
            KindClass::Replaceable => d.is_empty(),
            KindClass::Addressable => true,
            KindClass::Regular | KindClass::Ephemeral => false,
        };
        fits.then(|| Self {
            kind,
            pubkey,
            d: d.to_owned(),
        })
    }
}

/// What an event says about its end (NIP-40).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiration {
    /// Nothing: it is kept.
    Never,
    /// From this second on it is in no answer (R40-2).
    At(Timestamp),
    /// Something that isn't a time (R40-4).
    Malformed,
}

impl Expiration {
    /// What an `expiration` tag says: its second element has to be all digits (R40-4).
    #[must_use]
    pub fn of_tag(tag: Tag<'_>) -> Self {
        let value = tag.value().unwrap_or_default();
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Malformed;
        }
        match value.parse() {
            Ok(secs) => Self::At(Timestamp::from_secs(secs)),
            Err(_overflow) => Self::Malformed,
        }
    }
}

/// A text isn't a valid event. Shown to the client after `invalid: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not JSON, or JSON of another shape.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// One of the seven members has the wrong type or form.
    #[error("{field}: {error}")]
    Field {
        /// The member.
        field: &'static str,
        /// What is wrong with it.
        error: JsonError,
    },
    /// A member that had to be lower-case hex isn't (R01-1).
    #[error("{field}: {error}")]
    Hex {
        /// The member.
        field: &'static str,
        /// How long it has to be.
        error: HexError,
    },
    /// One of the seven members is absent.
    #[error("missing {0}")]
    Missing(&'static str),
    /// A member occurs twice, after unescaping (R01-14).
    #[error("a member occurs twice")]
    DuplicateMember,
    /// A tag without elements (R01-9).
    #[error("a tag needs at least one string")]
    EmptyTag,
    /// The kind is above 65535 (R01-10).
    #[error("kind out of range")]
    KindRange,
    /// The text is longer than offsets can say: 4 GiB.
    #[error("event too long")]
    TooLong,
    /// The recomputed id differs (R01-3).
    #[error("id does not match")]
    IdMismatch,
}

impl EventError {
    /// Whether the text wasn't JSON at all, so that no id can be trusted to be its own.
    #[must_use]
    pub fn is_syntax(&self) -> bool {
        let (Self::Json(error) | Self::Field { error, .. }) = self else {
            return false;
        };
        matches!(
            error,
            JsonError::End | JsonError::Syntax(_) | JsonError::Control(_) | JsonError::Nesting
        )
    }
}

impl From<EventError> for Refusal {
    fn from(error: EventError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// Stored or forwarded bytes aren't an event in wire form: corruption, or another program's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event in wire form")]
pub struct WireError;

impl Event {
    /// Reads one event object, which has to be the whole text, and recomputes its id.
    ///
    /// # Errors
    ///
    /// [`EventError`] for anything that isn't a valid event; the signature isn't looked at.
    pub fn parse(text: &str) -> Result<Self, EventError> {
        let mut scanner = Scanner::new(text);
        let event = Self::scan(&mut scanner, 0)?;
        scanner.end()?;
        Ok(event)
    }

    /// Reads one event object inside a message, `depth` levels of nesting being open around it.
    pub(crate) fn scan(scanner: &mut Scanner<'_>, depth: u32) -> Result<Self, EventError> {
        Members::scan(scanner, depth)?.build()
    }

    /// The wire form: the seven members in the order of NIP-01, no white space, canonical strings.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The wire form as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.json).expect("wire forms are checked when they are read")
    }

    /// The id, recomputed from the other members.
    #[must_use]
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// The author.
    #[must_use]
    pub fn pubkey(&self) -> &PublicKey {
        &self.pubkey
    }

    /// When its author says it was made.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The signature, unchecked.
    #[must_use]
    pub fn sig(&self) -> Signature {
        let at = self.json.len() - 2 - 128;
        Signature::from_hex(&self.json[at..at + 128]).expect("checked when the event was read")
    }

    /// What this relay noted when it got the event.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The same event from elsewhere.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// The tags, read on demand.
    #[must_use]
    pub fn tags(&self) -> Tags<'_> {
        Tags::new(self.text(&self.tags))
    }

    /// The decoded content.
    #[must_use]
    pub fn content(&self) -> Cow<'_, str> {
        JsonStr::canonical(self.text(&self.content))
            .decode()
            .unwrap_or_default()
    }

    fn text(&self, range: &Range<u32>) -> &str {
        let bytes = &self.json[range.start as usize..range.end as usize];
        std::str::from_utf8(bytes).expect("wire forms are checked when they are read")
    }

    /// The first tag with this name.
    #[must_use]
    pub fn first_tag(&self, name: &str) -> Option<Tag<'_>> {
        self.tags().find(|tag| tag.is_named(name))
    }

    /// The values of all tags with this name; tags without a second element are left out.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        self.tags()
            .filter(move |tag| tag.is_named(name))
            .filter_map(Tag::value)
    }

    /// The (letter, value) pairs that filters can ask for: one-letter names, values of at most
    /// [`INDEXED_VALUE_BYTES_MAX`] bytes (R01-64, R01-67). In order, repetitions included.
    pub fn indexed_tags(&self) -> impl Iterator<Item = (u8, Cow<'_, str>)> {
        self.tags().filter_map(|tag| {
            let letter = tag.letter()?;
            let value = tag.value()?;
            (value.len() <= INDEXED_VALUE_BYTES_MAX).then_some((letter, value))
        })
    }

    /// The address, for kinds that have one.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        let d = match self.kind.class() {
            KindClass::Regular | KindClass::Ephemeral => return None,
            KindClass::Replaceable => String::new(),
            KindClass::Addressable => self
                .first_tag("d")
                .and_then(Tag::value)
                .unwrap_or_default()
                .into_owned(),
        };
        Some(Address {
            kind: self.kind,
            pubkey: self.pubkey,
            d,
        })
    }

    /// What the first `expiration` tag says (R40-1).
    #[must_use]
    pub fn expiration(&self) -> Expiration {
        self.first_tag("expiration")
            .map_or(Expiration::Never, Expiration::of_tag)
    }

    /// Whether the event is past its expiration at `now`; at that very second it is (R40-1).
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        matches!(self.expiration(), Expiration::At(end) if end <= now)
    }

    /// Whether a `-` tag protects it (R70-1).
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.first_tag("-").is_some()
    }

    /// The place in the order of every answer: newest first, then lowest id (R01-53). Sorts
    /// ascending into that order.
    #[must_use]
    pub fn position(&self) -> (std::cmp::Reverse<Timestamp>, EventId) {
        (std::cmp::Reverse(self.created_at), self.id)
    }

    /// Whether this version of an address wins over `other` (R01-40, R01-42).
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        self.position() < other.position()
    }
}
