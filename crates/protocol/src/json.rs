//! A strict JSON scanner over text already known to be UTF-8 (RFC 8259).
//!
//! It never recurses, never allocates for what it skips, and says of each string whether its raw
//! text is the canonical text of NIP-01, which is what makes an id one hash over slices of the
//! message instead of a re-serialisation.

use std::borrow::Cow;

/// Levels of arrays and objects in one message at most; more is refused (R01-23).
pub const NESTING_MAX: u32 = 16;

/// The text isn't the JSON that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text ends inside a value.
    #[error("unexpected end of message")]
    End,
    /// A byte that no JSON text has at this offset, in bytes.
    #[error("not JSON at byte {0}")]
    Syntax(usize),
    /// An unescaped control character in a string, at this offset in bytes.
    #[error("unescaped control character at byte {0}")]
    Control(usize),
    /// More than [`NESTING_MAX`] levels.
    #[error("nested too deeply")]
    Nesting,
    /// A `\u` escape of half a surrogate pair: such a string has no UTF-8 form (R01-15).
    #[error("lone surrogate in a string")]
    LoneSurrogate,
    /// A number that isn't a plain integer in `0..=2^53-1` (R01-11).
    #[error("expected a plain integer")]
    Integer,
    /// JSON, but of another type than the protocol has here.
    #[error("expected {0}")]
    Type(&'static str),
}

/// The inside of a JSON string as it stands in the message: escapes not decoded, syntax checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonStr<'a> {
    raw: &'a str,
    escapes: Escapes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Escapes {
    /// None: the raw text is the value.
    None,
    /// Only those that NIP-01 writes itself (R01-4, R01-7).
    Canonical,
    /// Others: `\/`, `\u0041`, upper-case digits …
    Other,
}

impl<'a> JsonStr<'a> {
    /// Wraps the inside of a string that is known to be canonical, such as one of [`crate::Event`].
    pub(crate) fn canonical(raw: &'a str) -> Self {
        let escaped = memchr::memchr(b'\\', raw.as_bytes()).is_some();
        Self {
            raw,
            escapes: if escaped {
                Escapes::Canonical
            } else {
                Escapes::None
            },
        }
    }

    pub(crate) fn is_canonical(self) -> bool {
        self.escapes != Escapes::Other
    }

    /// The text between the quotes as it stands, escapes included.
    #[must_use]
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// [`JsonError::LoneSurrogate`] if it has no UTF-8 form.
    pub fn decode(self) -> Result<Cow<'a, str>, JsonError> {
        if self.escapes == Escapes::None {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut out = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            out.push_str(&rest[..at]);
            let (character, length) = decode_escape(&rest.as_bytes()[at..])?;
            out.push(character);
            rest = &rest[at + length..];
        }
        out.push_str(rest);
        Ok(Cow::Owned(out))
    }

    /// Whether the value is `text`, without decoding where that can be avoided.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        match self.escapes {
            Escapes::None => self.raw == text,
            _ => self.decode().is_ok_and(|value| value == text),
        }
    }
}

/// Decodes one escape; returns the character and the bytes it took.
fn decode_escape(escape: &[u8]) -> Result<(char, usize), JsonError> {
    let simple = match escape.get(1) {
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return decode_unicode(escape),
        Some(&same @ (b'"' | b'\\' | b'/')) => char::from(same),
        // Only in stored bytes that were damaged.
        Some(_) => return Err(JsonError::Syntax(0)),
        None => return Err(JsonError::End),
    };
    Ok((simple, 2))
}

fn decode_unicode(escape: &[u8]) -> Result<(char, usize), JsonError> {
    let first = hex4(escape.get(2..6)).ok_or(JsonError::End)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    if escape.get(6..8) != Some(b"\\u") {
        return Err(JsonError::LoneSurrogate);
    }
    let second = hex4(escape.get(8..12)).ok_or(JsonError::End)?;
    if !(0xd800..0xdc00).contains(&first) || !(0xdc00..0xe000).contains(&second) {
        return Err(JsonError::LoneSurrogate);
    }
    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(code)
        .map(|character| (character, 12))
        .ok_or(JsonError::LoneSurrogate)
}

fn hex4(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// Appends `text` as a JSON string in the canonical form of NIP-01, quotes included
/// (R01-4, R01-5, R01-7).
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[clean..at]);
        clean = at + 1;
        write_escape(byte, out);
    }
    out.extend_from_slice(&bytes[clean..]);
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        b'"' | b'\\' => byte,
        _ => {
            out.extend_from_slice(b"\\u00");
            crate::hex::encode_hex(&[byte], out);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Reads one JSON text from left to right.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn slice(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// Skips white space; returns whether there was any.
    pub(crate) fn space(&mut self) -> bool {
        let start = self.at;
        while matches!(
            self.bytes().get(self.at),
            Some(b' ' | b'\t' | b'\n' | b'\r')
        ) {
            self.at += 1;
        }
        self.at != start
    }

    /// The next byte that isn't white space, not consumed.
    pub(crate) fn peek(&mut self) -> Result<u8, JsonError> {
        self.space();
        self.bytes().get(self.at).copied().ok_or(JsonError::End)
    }

    /// Consumes `byte` if it comes next after white space.
    pub(crate) fn eat(&mut self, byte: u8) -> Result<bool, JsonError> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        Ok(found)
    }

    /// Consumes `byte`, which has to come next after white space.
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.eat(byte)? {
            Ok(())
        } else {
            Err(JsonError::Syntax(self.at))
        }
    }

    /// Opens an array or object whose type the protocol fixes.
    pub(crate) fn open(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.eat(byte)? {
            Ok(())
        } else {
            Err(self.type_error(expected))
        }
    }

    /// The text ends here, white space aside.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(JsonError::Syntax(self.at))
        }
    }

    /// After an element: `true` if another follows a comma, `false` if `close` ended the list.
    pub(crate) fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        match self.peek()? {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(JsonError::Syntax(self.at)),
        }
    }

    /// Distinguishes "another JSON type" from "not JSON" for the value that comes next.
    pub(crate) fn type_error(&mut self, expected: &'static str) -> JsonError {
        match self.clone().skip(0) {
            Ok(()) => JsonError::Type(expected),
            Err(error) => error,
        }
    }

    /// Reads a string.
    pub(crate) fn string(&mut self, expected: &'static str) -> Result<JsonStr<'a>, JsonError> {
        if self.peek()? != b'"' {
            return Err(self.type_error(expected));
        }
        self.at += 1;
        let start = self.at;
        let mut escapes = Escapes::None;
        loop {
            self.at += plain_prefix(&self.bytes()[self.at..]);
            match self.bytes().get(self.at) {
                None => return Err(JsonError::End),
                Some(b'"') => break,
                Some(b'\\') => escapes = escapes.max(self.escape()?),
                Some(_) => return Err(JsonError::Control(self.at)),
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(JsonStr { raw, escapes })
    }

    /// Consumes one escape and says whether NIP-01 would write it so.
    fn escape(&mut self) -> Result<Escapes, JsonError> {
        let at = self.at;
        let kind = *self.bytes().get(at + 1).ok_or(JsonError::End)?;
        self.at += 2;
        match kind {
            b'n' | b'"' | b'\\' | b'r' | b't' | b'b' | b'f' => Ok(Escapes::Canonical),
            b'/' => Ok(Escapes::Other),
            b'u' => {
                let digits = self.bytes().get(at + 2..at + 6).ok_or(JsonError::End)?;
                let code = hex4(Some(digits)).ok_or(JsonError::Syntax(at))?;
                self.at += 4;
                let short = matches!(code, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d);
                let upper = digits.iter().any(u8::is_ascii_uppercase);
                let canonical = code < 0x20 && !short && !upper;
                Ok(if canonical {
                    Escapes::Canonical
                } else {
                    Escapes::Other
                })
            }
            _ => Err(JsonError::Syntax(at)),
        }
    }

    /// Reads an integer token in `0..=2^53-1`: digits only (R01-10, R01-11).
    pub(crate) fn integer(&mut self) -> Result<u64, JsonError> {
        let first = self.peek()?;
        if !first.is_ascii_digit() {
            return Err(match self.type_error("an integer") {
                JsonError::Type(_) if first == b'-' => JsonError::Integer,
                error => error,
            });
        }
        let start = self.at;
        self.number()?;
        let token = &self.bytes()[start..self.at];
        if token.len() > 16 || !token.iter().all(u8::is_ascii_digit) {
            return Err(JsonError::Integer);
        }
        let value = token
            .iter()
            .fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        if value >> 53 != 0 {
            Err(JsonError::Integer)
        } else {
            Ok(value)
        }
    }

    /// Skips a number of any form.
    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        if self.bytes().get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let leading_zero = self.bytes().get(self.at) == Some(&b'0');
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            return Err(JsonError::Syntax(start));
        }
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes().get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes().get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, JsonError> {
        let start = self.at;
        while self.bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start {
            Err(JsonError::Syntax(start))
        } else {
            Ok(self.at - start)
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonError> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(JsonError::Syntax(self.at))
        }
    }

    /// Skips one value of any type, `depth` levels of nesting being open around it.
    pub(crate) fn skip(&mut self, depth: u32) -> Result<(), JsonError> {
        // One bit per open level: 1 for an object, 0 for an array.
        let mut objects = 0_u32;
        let mut open = 0_u32;
        loop {
            match self.peek()? {
                b'"' => drop(self.string("")?),
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                byte @ (b'{' | b'[') => {
                    self.at += 1;
                    if depth + open >= NESTING_MAX {
                        return Err(JsonError::Nesting);
                    }
                    let object = byte == b'{';
                    if !self.eat(if object { b'}' } else { b']' })? {
                        open += 1;
                        objects = objects << 1 | u32::from(object);
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => return Err(JsonError::Syntax(self.at)),
            }
            // A value ended: close what ends with it.
            loop {
                if open == 0 {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                if self.more(if object { b'}' } else { b']' })? {
                    if object {
                        self.key()?;
                    }
                    break;
                }
                open -= 1;
                objects >>= 1;
            }
        }
    }

    /// Reads a member's name and the colon after it.
    pub(crate) fn key(&mut self) -> Result<JsonStr<'a>, JsonError> {
        if self.peek()? != b'"' {
            return Err(JsonError::Syntax(self.at));
        }
        let name = self.string("")?;
        self.expect(b':')?;
        Ok(name)
    }
}

/// How many bytes at the start are neither a quote, a backslash nor a control character.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // A byte below n sets its high bit in (word - n) & !word; exact for the lowest such byte.
        let special = (word.wrapping_sub(ONES * 0x20) & !word)
            | (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash);
        let special = special & HIGHS;
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = &bytes[at..];
    at + rest
        .iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
        .unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn skips(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip(0).and_then(|()| scanner.end()).is_ok()
    }

    proptest! {
        #[test]
        fn plain_prefix_agrees_with_a_plain_loop(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let plain = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').unwrap_or(bytes.len());
            prop_assert_eq!(plain_prefix(&bytes), plain);
        }

        #[test]
        fn skip_takes_what_serde_json_takes(text in r#"[\[\]{}",:0-9a-etrufalsn\\ .+-]{0,24}"#) {
            // Lone surrogates can't appear in this alphabet with a full escape and no pair alone.
            let serde = serde_json::from_str::<serde_json::Value>(&text);
            let out_of_range = serde.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
            let surrogate = serde.as_ref().is_err_and(|e| e.to_string().contains("surrogate") || e.to_string().contains("hex escape"));
            prop_assume!(!out_of_range && !surrogate);
            prop_assert_eq!(skips(&text), serde.is_ok(), "{}", text);
        }

        #[test]
        fn strings_survive_writing_and_reading(text in any::<String>()) {
            let mut out = Vec::new();
            write_json_string(&text, &mut out);
            let json = String::from_utf8(out).unwrap();
            let mut scanner = Scanner::new(&json);
            let read = scanner.string("").unwrap();
            prop_assert!(read.is_canonical());
            prop_assert_eq!(read.decode().unwrap(), text.as_str());
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn sixteen_levels_are_taken_and_seventeen_are_not() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(skips(&nested(16)));
        assert_eq!(Scanner::new(&nested(17)).skip(0), Err(JsonError::Nesting));
        assert_eq!(Scanner::new(&nested(16)).skip(1), Err(JsonError::Nesting));
        let empty = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(skips(&empty(16)));
        assert_eq!(Scanner::new(&empty(17)).skip(0), Err(JsonError::Nesting));
    }

    #[test]
    fn escapes_that_nip_01_writes_otherwise_are_not_canonical() {
        for (text, canonical) in [
            (r#""a\nb""#, true),
            (r#""\u0001\u001f""#, true),
            (r#""\u001F""#, false),
            (r#""\u000a""#, false),
            (r#""\/""#, false),
            (r#""\u0041""#, false),
        ] {
            assert_eq!(
                Scanner::new(text).string("").unwrap().is_canonical(),
                canonical,
                "{text}"
            );
        }
    }
}
