//! Reading an event object: its members in any order, checked as they come.

use std::borrow::Cow;

use super::{Event, EventError, wire::hash};
use crate::{
    EventId, HexError, Kind, PublicKey, Signature, Timestamp,
    json::{JsonError, JsonStr, Scanner, write_json_string},
};

/// The members of an event object as they stand in the message.
#[derive(Default)]
pub(super) struct Members<'a> {
    id: Option<EventId>,
    pubkey: Option<PublicKey>,
    created_at: Option<Timestamp>,
    kind: Option<Kind>,
    tags: Option<Cow<'a, str>>,
    content: Option<Cow<'a, str>>,
    sig: Option<Signature>,
    unknown: Vec<Cow<'a, str>>,
}

impl<'a> Members<'a> {
    pub(super) fn scan(scanner: &mut Scanner<'a>, depth: u32) -> Result<Self, EventError> {
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

    pub(super) fn build(self) -> Result<Event, EventError> {
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
