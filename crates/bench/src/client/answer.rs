//! Relay messages, looked at no further than what counts: no JSON parser runs per event.

use memchr::memmem;

/// A message of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// EVENT, with its subscription.
    Event(&'a [u8]),
    /// EOSE, with its subscription.
    Eose(&'a [u8]),
    /// OK: the key of the id, whether it was accepted, and the message.
    Ok(u64, bool, &'a [u8]),
    /// CLOSED, with subscription and message.
    Closed(&'a [u8], &'a [u8]),
    /// NOTICE.
    Notice(&'a [u8]),
    /// Anything else, as AUTH.
    Other,
}

impl<'a> Answer<'a> {
    /// Reads a message; white space between its elements is skipped, other JSON that isn't a relay
    /// message is `Other`.
    pub(crate) fn parse(message: &'a [u8]) -> Self {
        let mut elements = Elements(message);
        match elements.string() {
            Some(b"EVENT") => elements.string().map(Self::Event),
            Some(b"EOSE") => elements.string().map(Self::Eose),
            Some(b"OK") => {
                let id = elements.string().and_then(id_key);
                let accepted = elements.boolean();
                let message = elements.string().unwrap_or_default();
                id.zip(accepted)
                    .map(|(id, accepted)| Self::Ok(id, accepted, message))
            }
            Some(b"CLOSED") => {
                let subscription = elements.string();
                subscription.map(|id| Self::Closed(id, elements.string().unwrap_or_default()))
            }
            Some(b"NOTICE") => Some(Self::Notice(elements.string().unwrap_or_default())),
            _ => None,
        }
        .unwrap_or(Self::Other)
    }
}

/// The first 16 hex digits of an id: enough to tell events of a run apart.
pub(crate) fn id_key(hex: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(hex.get(..16)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

/// The key of the event in an EVENT message, wherever its id stands. In a string the mark would have its
/// quotation marks escaped, so it is found only where it is a member.
pub(crate) fn key_of_event(message: &[u8]) -> Option<u64> {
    const MARK: &[u8] = br#""id""#;
    memmem::find_iter(message, MARK).find_map(|at| {
        // A subscription may be named so too; only a member's name has a colon behind it.
        let rest = message[at + MARK.len()..].trim_ascii_start();
        let value = rest.strip_prefix(b":")?.trim_ascii_start();
        id_key(value.strip_prefix(b"\"")?)
    })
}

/// Walks the first elements of an array: strings and booleans.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// Skips what stands between elements.
    fn skip(&mut self) {
        let between = |byte: &u8| matches!(byte, b'[' | b',' | b' ' | b'\t' | b'\r' | b'\n');
        let end = self.0.iter().position(|byte| !between(byte));
        self.0 = &self.0[end.unwrap_or(self.0.len())..];
    }

    /// A string as it is written, escapes included.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.skip();
        let rest = self.0.strip_prefix(b"\"")?;
        let mut from = 0;
        loop {
            let end = from + memchr::memchr2(b'"', b'\\', &rest[from..])?;
            if rest[end] == b'"' {
                self.0 = &rest[end + 1..];
                return Some(&rest[..end]);
            }
            from = (end + 2).min(rest.len());
        }
    }

    fn boolean(&mut self) -> Option<bool> {
        self.skip();
        let (rest, value) = match (self.0.strip_prefix(b"true"), self.0.strip_prefix(b"false")) {
            (Some(rest), _) => (rest, true),
            (_, Some(rest)) => (rest, false),
            _ => return None,
        };
        self.0 = rest;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: Answer<'_>) {
        assert_eq!(Answer::parse(message.as_bytes()), expected);
    }

    #[test]
    fn every_message_is_told_apart() {
        check(r#"["EVENT","a",{"id":"x"}]"#, Answer::Event(b"a"));
        check(r#"["EOSE","a"]"#, Answer::Eose(b"a"));
        check(r#"["EOSE","a",{"more":true}]"#, Answer::Eose(b"a"));
        check(
            r#"["CLOSED","a","error: x"]"#,
            Answer::Closed(b"a", b"error: x"),
        );
        check(
            r#"["NOTICE","slow \"down\""]"#,
            Answer::Notice(br#"slow \"down\""#),
        );
        check(r#"["AUTH","x"]"#, Answer::Other);
        check("nonsense", Answer::Other);
        check("", Answer::Other);
    }

    #[test]
    fn an_ok_has_id_verdict_and_message() {
        let id = "00000000000000ff".to_owned() + &"0".repeat(48);
        let ok = |rest: &str| format!(r#"["OK","{id}",{rest}]"#);
        check(&ok(r#"true,"""#), Answer::Ok(255, true, b""));
        check(
            &ok(r#"false,"blocked: x""#),
            Answer::Ok(255, false, b"blocked: x"),
        );
        check(&ok("maybe"), Answer::Other);
        check(r#"["OK","short",true,""]"#, Answer::Other);
    }

    #[test]
    fn white_space_between_elements_changes_nothing() {
        check("[ \"EOSE\" ,\n\"a\" ]", Answer::Eose(b"a"));
    }

    #[test]
    fn a_string_that_never_ends_is_nothing() {
        check(r#"["NOTICE","abc\"#, Answer::Notice(b""));
        check(r#"["EVENT","abc"#, Answer::Other);
    }

    #[test]
    fn an_id_inside_a_string_is_not_the_events() {
        let message =
            br#"["EVENT","s",{"content":"\"id\":\"1111111111111111","id":"00000000000000ab00"}]"#;
        assert_eq!(key_of_event(message), Some(0xab));
        assert_eq!(key_of_event(b"[]"), None);
        let spaced = br#"["EVENT", "id", {"id" : "00000000000000ab00"}]"#;
        assert_eq!(key_of_event(spaced), Some(0xab));
    }
}
