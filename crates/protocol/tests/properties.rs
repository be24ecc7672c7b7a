//! What holds for every event and every text.

use bytes::Bytes;
use heliograph_protocol::{
    ClientMessage, Event, EventError, EventId, Filter, Kind, MessageError, PublicKey, Signature,
    Timestamp,
};
use proptest::{collection::vec, prelude::*};
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

/// Any text, control characters and astral ones included; often with what JSON escapes.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => any::<char>(),
        1 => prop::sample::select("\"\\/\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}\u{2028}[]{},:".chars().collect::<Vec<_>>()),
    ];
    vec(character, 0..12).prop_map(String::from_iter)
}

/// The members of an event but for its id.
#[derive(Debug, Clone)]
struct Parts {
    pubkey: PublicKey,
    created_at: Timestamp,
    kind: u16,
    tags: Vec<Vec<String>>,
    content: String,
    sig: Signature,
}

impl Parts {
    fn build(&self) -> Event {
        let kind = Kind::new(self.kind);
        Event::build(
            self.pubkey,
            self.created_at,
            kind,
            &self.tags,
            &self.content,
            |_| self.sig,
        )
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let tags = vec(vec(text(), 1..4), 0..4);
    let numbers = (0..=Timestamp::MAX.as_secs(), any::<u16>());
    (any::<[u8; 32]>(), numbers, tags, text(), any::<[u8; 32]>()).prop_map(
        |(pubkey, (created_at, kind), tags, content, half)| Parts {
            pubkey: PublicKey::new(pubkey),
            created_at: Timestamp::from_secs(created_at),
            kind,
            tags,
            content,
            sig: Signature::new([half, half].concat().try_into().expect("64 bytes")),
        },
    )
}

/// Takes decisions for [`rewrite`] from a list that proptest can shrink; 0 when it is used up.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % n
    }

    fn space(&mut self) -> &'static str {
        ["", "", " ", "\n\t", "\r "][self.below(5)]
    }

    /// Writes a string with escapes that NIP-01 wouldn't choose.
    fn string(&mut self, text: &str) -> String {
        let mut out = String::from('"');
        for character in text.chars() {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units).iter();
            match self.below(4) {
                0 => out.extend(units.map(|unit| format!("\\u{unit:04X}"))),
                1 => out.extend(units.map(|unit| format!("\\u{unit:04x}"))),
                2 if character == '/' => out.push_str("\\/"),
                _ => {
                    let json = serde_json::to_string(&character.to_string()).expect("a string");
                    out.push_str(&json[1..json.len() - 1]);
                }
            }
        }
        out + "\""
    }

    fn list(&mut self, elements: &[String], open: char, close: char) -> String {
        let mut out = String::from(open) + self.space();
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                out = out + "," + self.space();
            }
            out = out + element + self.space();
        }
        out.push(close);
        out
    }
}

/// Another text of the same event: members shuffled, spaces, other escapes, unknown members.
fn rewrite(event: &Event, parts: &Parts, choices: &mut Choices) -> String {
    let tags: Vec<String> = parts
        .tags
        .iter()
        .map(|tag| {
            let elements: Vec<String> = tag.iter().map(|text| choices.string(text)).collect();
            choices.list(&elements, '[', ']')
        })
        .collect();
    let mut members = vec![
        ("id", choices.string(&event.id().to_hex())),
        ("pubkey", choices.string(&parts.pubkey.to_hex())),
        ("created_at", parts.created_at.to_string()),
        ("kind", parts.kind.to_string()),
        ("tags", choices.list(&tags, '[', ']')),
        ("content", choices.string(&parts.content)),
        ("sig", choices.string(&parts.sig.to_hex())),
        (
            "seen",
            r#"{"on":[1.5e3,null,true],"":"\ud83d\ude00"}"#.to_owned(),
        ),
        ("ID", "[]".to_owned()),
    ];
    for index in (1..members.len()).rev() {
        members.swap(index, choices.below(index + 1));
    }
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value)| {
            choices.string(name) + choices.space() + ":" + choices.space() + &value
        })
        .collect();
    choices.space().to_owned() + &choices.list(&members, '{', '}') + choices.space()
}

/// Calls every accessor.
fn look_at(event: &Event) {
    let _ = (
        event.sig(),
        event.content(),
        event.address(),
        event.expiration(),
    );
    let elements: usize = event.tags().map(|tag| tag.elements().count()).sum();
    assert!(elements >= event.indexed_tags().count());
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(parts in parts()) {
        let event = parts.build();
        prop_assert_eq!(Event::parse(event.as_str()), Ok(event.clone()));
        prop_assert_eq!(Event::from_wire(event.json().clone()), Ok(event.clone()));
        let tags: Vec<Vec<String>> =
            event.tags().map(|tag| tag.elements().map(Into::into).collect()).collect();
        prop_assert_eq!(&tags, &parts.tags);
        prop_assert_eq!(event.content(), parts.content.as_str());
        prop_assert_eq!(event.sig(), parts.sig);
        prop_assert_eq!(event.pubkey(), &parts.pubkey);
        prop_assert_eq!(event.created_at(), parts.created_at);
        prop_assert_eq!(event.kind(), Kind::new(parts.kind));
    }

    #[test]
    fn the_id_is_the_hash_that_another_serializer_gives(parts in parts()) {
        let form = (0, parts.pubkey.to_hex(), parts.created_at.as_secs(), parts.kind, &parts.tags, &parts.content);
        let hash = Sha256::digest(serde_json::to_string(&form).expect("JSON"));
        prop_assert_eq!(*parts.build().id(), EventId::new(hash.into()));
    }

    #[test]
    fn escapes_spaces_order_and_unknown_members_change_nothing(
        parts in parts(),
        choices in vec(any::<u8>(), 0..400),
    ) {
        let event = parts.build();
        let text = rewrite(&event, &parts, &mut Choices(choices.into_iter()));
        prop_assert_eq!(Event::parse(&text), Ok(event.clone()), "{}", text);
        let message = ClientMessage::parse(&format!(r#"["EVENT",{text},null]"#));
        prop_assert_eq!(message, Ok(ClientMessage::Event(event)));
    }

    #[test]
    fn another_value_in_any_hashed_member_is_another_id(parts in parts(), other in parts()) {
        let event = parts.build();
        let changed = [
            Parts { pubkey: other.pubkey, ..parts.clone() },
            Parts { created_at: other.created_at, ..parts.clone() },
            Parts { kind: other.kind, ..parts.clone() },
            Parts { tags: other.tags.clone(), ..parts.clone() },
            Parts { content: other.content, ..parts },
        ];
        for changed in changed.map(|parts| parts.build()) {
            if changed.as_str() != event.as_str() {
                prop_assert_ne!(changed.id(), event.id());
                let mixed = changed.as_str().replacen(&changed.id().to_hex(), &event.id().to_hex(), 1);
                prop_assert_eq!(Event::parse(&mixed), Err(EventError::IdMismatch));
            }
        }
    }

    #[test]
    fn nothing_panics_on_any_text(text in text()) {
        drop((Event::parse(&text), Filter::parse(&text), ClientMessage::parse(&text)));
        drop(Event::from_wire(Bytes::from(text)));
    }

    #[test]
    fn nothing_panics_on_a_damaged_event(
        parts in parts(),
        at in any::<prop::sample::Index>(),
        with in vec(any::<u8>(), 0..3),
        cut in 0_usize..3,
    ) {
        let mut bytes = parts.build().json().to_vec();
        let at = at.index(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, with);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            if let Ok(event) = Event::parse(text) {
                look_at(&event);
            }
            drop(ClientMessage::parse(&format!(r#"["EVENT",{text}]"#)));
        }
        if let Ok(event) = Event::from_wire(Bytes::from(bytes)) {
            look_at(&event);
        }
    }

    #[test]
    fn the_same_texts_are_json_as_for_serde_json(
        text in r#"([\[\]{}",:0-9a-f\\u .+-]|true|false|null|"[a-z]*":|\\u[0-9a-fA-F]{4}){0,12}"#
    ) {
        let message = format!(r#"["X",{text}]"#);
        let is_json = serde_json::from_str::<IgnoredAny>(&message).is_ok();
        let notice = match ClientMessage::parse(&message) {
            Err(MessageError::Notice(refusal)) => refusal.to_string(),
            other => panic!("the verb is unknown: {other:?}"),
        };
        prop_assert_eq!(notice.contains("unknown verb"), is_json, "{}: {}", message, notice);
    }
}

/// An event with every construct, its wire form, and the offsets in it that lie outside of strings.
fn event_with_everything() -> (Event, String, Vec<bool>) {
    let tags = [
        ["t", "é/\n"].to_vec(),
        ["-"].to_vec(),
        ["e", "", "😀\u{1}"].to_vec(),
    ];
    let (key, at, sig) = (
        PublicKey::new([2; 32]),
        Timestamp::from_secs(12),
        Signature::new([3; 64]),
    );
    let event = Event::build(key, at, Kind::new(1), &tags, "a\"\\b", |_| sig);
    let text = event.as_str().to_owned();
    let (mut inside, mut escaped) = (false, false);
    let outside = text.bytes().map(|byte| {
        let was_inside = inside;
        match byte {
            b'"' if !escaped => inside = !inside,
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
        !was_inside
    });
    let outside = outside.collect();
    (event, text, outside)
}

#[test]
fn one_space_at_any_place_between_tokens_changes_nothing() {
    let (event, text, outside) = event_with_everything();
    let mut places = 0;
    for at in 0..=text.len() {
        let structural =
            |at: usize| outside.get(at) == Some(&true) && b"{}[],:".contains(&text.as_bytes()[at]);
        if at == text.len() || structural(at) || (at > 0 && structural(at - 1)) {
            let spaced = format!("{} {}", &text[..at], &text[at..]);
            assert_eq!(Event::parse(&spaced), Ok(event.clone()), "{spaced}");
            places += 1;
        }
    }
    assert!(places > 40, "{places}");
}

#[test]
fn one_character_written_as_another_escape_changes_nothing() {
    let (event, text, outside) = event_with_everything();
    for (at, character) in text.char_indices() {
        let in_escape = text.as_bytes()[at.saturating_sub(5)..at].contains(&b'\\');
        if outside[at] || character == '"' || character == '\\' || in_escape {
            continue;
        }
        let units: String = character
            .encode_utf16(&mut [0; 2])
            .iter()
            .map(|unit| format!("\\u{unit:04X}"))
            .collect();
        let rewritten = format!(
            "{}{units}{}",
            &text[..at],
            &text[at + character.len_utf8()..]
        );
        assert_eq!(Event::parse(&rewritten), Ok(event.clone()), "{rewritten}");
    }
}

#[test]
fn wire_bytes_with_half_an_escape_do_no_harm() {
    let (event, ..) = event_with_everything();
    for damage in ["\\Џ", "\\é\\", "\\u12", "\\ud83d\\u00", "\\u00é\\"] {
        let text = event.as_str().replace("a\\\"", damage);
        assert_ne!(text, event.as_str());
        if let Ok(event) = Event::from_wire(Bytes::from(text)) {
            look_at(&event);
        }
    }
}

#[test]
fn wire_bytes_with_a_signature_that_is_no_hex_are_refused() {
    let event = Event::build(
        PublicKey::new([1; 32]),
        Timestamp::from_secs(1),
        Kind::new(1),
        &[["t".to_owned()].to_vec()],
        "",
        |_| Signature::new([0; 64]),
    );
    let mut bytes = event.json().to_vec();
    let last_digit = bytes.len() - 3;
    bytes[last_digit] = b'x';
    assert!(Event::from_wire(Bytes::from(bytes)).is_err());
}
