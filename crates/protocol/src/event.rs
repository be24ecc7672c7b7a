//! Events: parsed once, canonical ever after.
//!
//! The canonical text of `tags` and `content` is both what is hashed for the id (NIP-01) and what
//! is stored and sent, so an event holds one wire form and a few offsets into it.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    EventId, HexError, Kind, KindClass, PublicKey, Refusal, Signature, Tag, Tags, Timestamp,
    filter::INDEXED_VALUE_BYTES_MAX,
    hex::decode_hex,
    json::{JsonError, JsonStr, Scanner, write_json_string},
};

const ID_AT: usize = r#"{"id":""#.len();
const PUBKEY_AT: usize = ID_AT + 64 + r#"","pubkey":""#.len();
const CREATED_AT_AT: usize = PUBKEY_AT + 64 + r#"","created_at":"#.len();
const CONTENT_MARK: &[u8] = br#"],"content":""#;
const SIG_MARK: &[u8] = br#"","sig":""#;

/// A well-formed event whose id has been recomputed; the signature may still be unchecked.
///
/// Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    json: Bytes,
    id: EventId,
    pubkey: PublicKey,
    created_at: Timestamp,
    kind: Kind,
    tags: Range<u32>,
    content: Range<u32>,
}

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

/// The members of an event object as they stand in the message.
#[derive(Default)]
struct Members<'a> {
    id: Option<EventId>,
    pubkey: Option<PublicKey>,
    created_at: Option<Timestamp>,
    kind: Option<Kind>,
    tags: Option<Cow<'a, str>>,
    content: Option<Cow<'a, str>>,
    sig: Option<Signature>,
    unknown: Vec<Cow<'a, str>>,
}

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

    /// Reads back the wire form that [`Event::json`] gave. The id is taken on trust: use it for
    /// bytes that this program wrote.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the bytes aren't laid out as this crate lays them out.
    pub fn from_wire(json: Bytes) -> Result<Self, WireError> {
        let text = simdutf8::basic::from_utf8(&json).map_err(|_invalid| WireError)?;
        let bytes = text.as_bytes();
        let hex = |at: usize| bytes.get(at..at + 64).ok_or(WireError);
        let id = EventId::from_hex(hex(ID_AT)?).map_err(|_invalid| WireError)?;
        let pubkey = PublicKey::from_hex(hex(PUBKEY_AT)?).map_err(|_invalid| WireError)?;
        let (created_at, at) = digits(bytes, CREATED_AT_AT)?;
        let at = after(bytes, at, br#","kind":"#)?;
        let (kind, at) = digits(bytes, at)?;
        let tags_at = after(bytes, at, br#","tags":"#)?;
        let mark = memchr::memmem::find(&bytes[tags_at..], CONTENT_MARK).ok_or(WireError)?;
        let tags = tags_at..tags_at + mark + 1;
        let sig_at = bytes.len().checked_sub(128 + 2).ok_or(WireError)?;
        let content_end = sig_at.checked_sub(SIG_MARK.len()).ok_or(WireError)?;
        let content = tags_at + mark + CONTENT_MARK.len()..content_end;
        let whole = content.start <= content.end
            && decode_hex::<64>(&bytes[sig_at..sig_at + 128]).is_some()
            && &bytes[content_end..sig_at] == SIG_MARK
            && bytes.starts_with(br#"{"id":""#)
            && bytes.ends_with(br#""}"#);
        if !whole {
            return Err(WireError);
        }
        Ok(Self {
            id,
            pubkey,
            created_at: Timestamp::from_secs(created_at),
            kind: Kind::new(u16::try_from(kind).map_err(|_range| WireError)?),
            tags: range(tags).map_err(|_long| WireError)?,
            content: range(content).map_err(|_long| WireError)?,
            json,
        })
    }

    /// Builds an event from values and computes its id; `sign` turns the id into a signature.
    /// For tools and tests.
    #[must_use]
    pub fn build<S: AsRef<str>>(
        pubkey: PublicKey,
        created_at: Timestamp,
        kind: Kind,
        tags: &[Vec<S>],
        content: &str,
        sign: impl FnOnce(&EventId) -> Signature,
    ) -> Self {
        let mut tags_text = vec![b'['];
        for (index, tag) in tags.iter().enumerate() {
            tags_text.extend_from_slice(if index == 0 { b"[" } else { b",[" });
            for (index, element) in tag.iter().enumerate() {
                if index > 0 {
                    tags_text.push(b',');
                }
                write_json_string(element.as_ref(), &mut tags_text);
            }
            tags_text.push(b']');
        }
        tags_text.push(b']');
        let mut content_text = Vec::with_capacity(content.len() + 2);
        write_json_string(content, &mut content_text);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("JSON of UTF-8 strings");
        let (tags, content) = (text(tags_text), text(content_text));
        let content = &content[1..content.len() - 1];
        let id = hash(&pubkey, created_at, kind, &tags, content);
        let sig = sign(&id);
        Self::lay_out(id, pubkey, created_at, kind, &tags, content, &sig)
            .expect("events of tools are short")
    }

    fn lay_out(
        id: EventId,
        pubkey: PublicKey,
        created_at: Timestamp,
        kind: Kind,
        tags: &str,
        content: &str,
        sig: &Signature,
    ) -> Result<Self, EventError> {
        let mut json = Vec::with_capacity(360 + tags.len() + content.len());
        json.extend_from_slice(br#"{"id":""#);
        id.write_hex(&mut json);
        json.extend_from_slice(br#"","pubkey":""#);
        pubkey.write_hex(&mut json);
        json.extend_from_slice(br#"","created_at":"#);
        write_decimal(created_at.as_secs(), &mut json);
        json.extend_from_slice(br#","kind":"#);
        write_decimal(u64::from(kind.as_u16()), &mut json);
        json.extend_from_slice(br#","tags":"#);
        let tags_range = json.len()..json.len() + tags.len();
        json.extend_from_slice(tags.as_bytes());
        json.extend_from_slice(br#","content":""#);
        let content_range = json.len()..json.len() + content.len();
        json.extend_from_slice(content.as_bytes());
        json.extend_from_slice(SIG_MARK);
        sig.write_hex(&mut json);
        json.extend_from_slice(br#""}"#);
        Ok(Self {
            tags: range(tags_range)?,
            content: range(content_range)?,
            json: Bytes::from(json),
            id,
            pubkey,
            created_at,
            kind,
        })
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

impl<'a> Members<'a> {
    fn scan(scanner: &mut Scanner<'a>, depth: u32) -> Result<Self, EventError> {
        let mut members = Self::default();
        scanner.open(b'{', "an event object")?;
        if !scanner.eat(b'}')? {
            loop {
                let name = scanner.key()?.decode()?;
                members.member(name, scanner, depth)?;
                if !scanner.more(b'}')? {
                    break;
                }
            }
        }
        members.unknown.sort_unstable();
        if members.unknown.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(EventError::DuplicateMember);
        }
        Ok(members)
    }

    fn member(
        &mut self,
        name: Cow<'a, str>,
        scanner: &mut Scanner<'a>,
        depth: u32,
    ) -> Result<(), EventError> {
        match &*name {
            "id" => set(&mut self.id, hex_member("id", scanner, EventId::from_hex)?),
            "pubkey" => set(
                &mut self.pubkey,
                hex_member("pubkey", scanner, PublicKey::from_hex)?,
            ),
            "sig" => set(
                &mut self.sig,
                hex_member("sig", scanner, Signature::from_hex)?,
            ),
            "created_at" => {
                let secs = scanner.integer().map_err(field("created_at"))?;
                set(&mut self.created_at, Timestamp::from_secs(secs))
            }
            "kind" => {
                let kind = scanner.integer().map_err(field("kind"))?;
                let kind = u16::try_from(kind).map_err(|_range| EventError::KindRange)?;
                set(&mut self.kind, Kind::new(kind))
            }
            "content" => {
                let content = scanner.string("a string").map_err(field("content"))?;
                set(&mut self.content, canonical(content)?)
            }
            "tags" => set(&mut self.tags, scan_tags(scanner)?),
            _ => {
                self.unknown.push(name);
                Ok(scanner.skip(depth + 1)?)
            }
        }
    }

    fn build(self) -> Result<Event, EventError> {
        let id = self.id.ok_or(EventError::Missing("id"))?;
        let pubkey = self.pubkey.ok_or(EventError::Missing("pubkey"))?;
        let created_at = self.created_at.ok_or(EventError::Missing("created_at"))?;
        let kind = self.kind.ok_or(EventError::Missing("kind"))?;
        let tags = self.tags.ok_or(EventError::Missing("tags"))?;
        let content = self.content.ok_or(EventError::Missing("content"))?;
        let sig = self.sig.ok_or(EventError::Missing("sig"))?;
        if hash(&pubkey, created_at, kind, &tags, &content) != id {
            return Err(EventError::IdMismatch);
        }
        Event::lay_out(id, pubkey, created_at, kind, &tags, &content, &sig)
    }
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), EventError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(EventError::DuplicateMember),
    }
}

fn field(field: &'static str) -> impl Fn(JsonError) -> EventError {
    move |error| EventError::Field { field, error }
}

fn hex_member<T>(
    name: &'static str,
    scanner: &mut Scanner<'_>,
    read: impl Fn(&[u8]) -> Result<T, HexError>,
) -> Result<T, EventError> {
    let text = scanner.string("a string").map_err(field(name))?;
    let text = text.decode().map_err(field(name))?;
    read(text.as_bytes()).map_err(|error| EventError::Hex { field: name, error })
}

/// The canonical inside of a string: the raw text where it already is.
fn canonical(text: JsonStr<'_>) -> Result<Cow<'_, str>, EventError> {
    if text.is_canonical() {
        return Ok(Cow::Borrowed(text.raw()));
    }
    let mut out = Vec::with_capacity(text.raw().len() + 2);
    write_json_string(&text.decode()?, &mut out);
    let quoted = String::from_utf8(out).expect("JSON of a UTF-8 string");
    Ok(Cow::Owned(quoted[1..quoted.len() - 1].to_owned()))
}

/// Reads an array of arrays of strings: its own text if that is canonical, else a rewritten one.
fn scan_tags<'a>(scanner: &mut Scanner<'a>) -> Result<Cow<'a, str>, EventError> {
    let tags = field("tags");
    scanner.space();
    let start = scanner.at();
    let mut before = scanner.clone();
    let mut exact = true;
    scanner.open(b'[', "an array").map_err(&tags)?;
    exact &= !scanner.space();
    if !scanner.eat(b']').map_err(&tags)? {
        loop {
            exact &= scan_tag(scanner)?;
            exact &= !scanner.space();
            if !scanner.more(b']').map_err(&tags)? {
                break;
            }
            exact &= !scanner.space();
        }
    }
    if exact {
        Ok(Cow::Borrowed(scanner.slice(start)))
    } else {
        rewrite_tags(&mut before)
    }
}

/// Reads one tag; returns whether its text is canonical.
fn scan_tag(scanner: &mut Scanner<'_>) -> Result<bool, EventError> {
    let tags = field("tags");
    scanner.open(b'[', "an array of arrays").map_err(&tags)?;
    let mut exact = !scanner.space();
    if scanner.eat(b']').map_err(&tags)? {
        return Err(EventError::EmptyTag);
    }
    loop {
        exact &= scanner
            .string("an array of arrays of strings")
            .map_err(&tags)?
            .is_canonical();
        exact &= !scanner.space();
        if !scanner.more(b']').map_err(&tags)? {
            return Ok(exact);
        }
        exact &= !scanner.space();
    }
}

/// The exact slow path: writes tags again whose text has white space or other escapes.
fn rewrite_tags<'a>(scanner: &mut Scanner<'_>) -> Result<Cow<'a, str>, EventError> {
    let mut out = Vec::new();
    let mut open = 0;
    loop {
        match scanner.peek()? {
            b'"' => write_json_string(&scanner.string("")?.decode()?, &mut out),
            byte => {
                scanner.expect(byte)?;
                out.push(byte);
                match byte {
                    b'[' => open += 1,
                    b']' => open -= 1,
                    _ => {}
                }
            }
        }
        if open == 0 {
            return Ok(Cow::Owned(
                String::from_utf8(out).expect("JSON of UTF-8 strings"),
            ));
        }
    }
}

/// The id: SHA-256 over `[0,pubkey,created_at,kind,tags,content]` (R01-2).
fn hash(
    pubkey: &PublicKey,
    created_at: Timestamp,
    kind: Kind,
    tags: &str,
    content: &str,
) -> EventId {
    let mut head = Vec::with_capacity(128);
    head.extend_from_slice(br#"[0,""#);
    pubkey.write_hex(&mut head);
    head.extend_from_slice(br#"","#);
    write_decimal(created_at.as_secs(), &mut head);
    head.push(b',');
    write_decimal(u64::from(kind.as_u16()), &mut head);
    head.push(b',');
    let mut hasher = Sha256::new();
    hasher.update(&head);
    hasher.update(tags);
    hasher.update(br#",""#);
    hasher.update(content);
    hasher.update(br#""]"#);
    EventId::new(hasher.finalize().into())
}

fn write_decimal(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn range(range: Range<usize>) -> Result<Range<u32>, EventError> {
    let short = |at: usize| u32::try_from(at).map_err(|_range| EventError::TooLong);
    Ok(short(range.start)?..short(range.end)?)
}

fn digits(bytes: &[u8], from: usize) -> Result<(u64, usize), WireError> {
    let rest = bytes.get(from..).ok_or(WireError)?;
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 || length > 16 {
        return Err(WireError);
    }
    let value = rest[..length]
        .iter()
        .fold(0, |v, digit| v * 10 + u64::from(digit - b'0'));
    Ok((value, from + length))
}

fn after(bytes: &[u8], at: usize, mark: &[u8]) -> Result<usize, WireError> {
    if bytes[at..].starts_with(mark) {
        Ok(at + mark.len())
    } else {
        Err(WireError)
    }
}
