//! The wire form of an event: written once, read back by its layout.

use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Event, EventError, WireError};
use crate::{
    EventId, Kind, Origin, PublicKey, Signature, Timestamp, hex::decode_hex,
    json::write_json_string,
};

const ID_AT: usize = r#"{"id":""#.len();
const PUBKEY_AT: usize = ID_AT + 64 + r#"","pubkey":""#.len();
const CREATED_AT_AT: usize = PUBKEY_AT + 64 + r#"","created_at":"#.len();
const CONTENT_MARK: &[u8] = br#"],"content":""#;
const SIG_MARK: &[u8] = br#"","sig":""#;

impl Event {
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
            origin: Origin::default(),
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

    pub(super) fn lay_out(
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
            origin: Origin::default(),
        })
    }
}

/// The id: SHA-256 over `[0,pubkey,created_at,kind,tags,content]` (R01-2).
pub(super) fn hash(
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
