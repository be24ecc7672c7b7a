//! The value-level vector files (`tests/vectors`): events, filters, kinds, proof of work, frames.

use std::collections::HashMap;

use bytes::Bytes;
use heliograph_protocol::{
    ClientMessage, Event, EventError, EventId, Filter, KindClass, MessageError, Prefix, difficulty,
    write_json_string,
};
use heliograph_testkit::vectors;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct EventRow {
    name: String,
    expect: String,
    reason: Option<String>,
    raw: Option<String>,
    raw_hex: Option<String>,
    id: Option<String>,
    canonical: Option<String>,
}

/// The text that is hashed for the id, put together from what the event's accessors say.
fn canonical(event: &Event) -> String {
    let mut out = Vec::new();
    let (pubkey, at, kind) = (event.pubkey(), event.created_at(), event.kind());
    out.extend_from_slice(format!(r#"[0,"{pubkey}",{at},{kind},["#).as_bytes());
    for (index, tag) in event.tags().enumerate() {
        out.extend_from_slice(if index == 0 { b"[" } else { b",[" });
        for (index, element) in tag.elements().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_json_string(&element, &mut out);
        }
        out.push(b']');
    }
    out.extend_from_slice(b"],");
    write_json_string(&event.content(), &mut out);
    out.push(b']');
    String::from_utf8(out).expect("JSON of strings")
}

/// Rows whose fault only the signature check sees (`crates/verify/tests`).
fn is_a_matter_of_the_signature(reason: &str) -> bool {
    reason.contains("signature") || reason.contains("out of range") || reason.contains("curve")
}

#[test]
fn valid_events_are_read_as_their_authors_meant_them() {
    let mut valid = 0;
    for row in vectors::lines::<EventRow>("events.jsonl") {
        if row.expect != "valid" {
            continue;
        }
        let name = &row.name;
        let raw = row.raw.as_deref().expect("a valid row is text");
        let event = Event::parse(raw).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = row.canonical.as_deref().expect("a valid row has it");
        assert_eq!(canonical(&event), expected, "{name}");
        assert_eq!(Some(event.id().to_hex()), row.id, "{name}");
        assert_eq!(
            event.id().as_bytes()[..],
            Sha256::digest(expected)[..],
            "{name}"
        );
        check_wire_form(&event, raw, name);
        valid += 1;
    }
    assert_eq!(valid, 53);
}

/// The wire form has the seven members, with the values that the raw text has, and reads back.
fn check_wire_form(event: &Event, raw: &str, name: &str) {
    let mut theirs: HashMap<String, Value> =
        serde_json::from_str(raw).expect("valid rows are JSON");
    theirs.retain(|member, _| {
        [
            "id",
            "pubkey",
            "created_at",
            "kind",
            "tags",
            "content",
            "sig",
        ]
        .contains(&member.as_str())
    });
    let ours: HashMap<String, Value> = serde_json::from_str(event.as_str()).expect("a wire form");
    assert_eq!(ours, theirs, "{name}");
    assert_eq!(
        Event::from_wire(event.json().clone()).as_ref(),
        Ok(event),
        "{name}"
    );
    assert_eq!(Event::parse(event.as_str()).as_ref(), Ok(event), "{name}");
}

#[test]
fn invalid_events_are_refused_or_left_to_the_signature_check() {
    let mut refused = 0;
    for row in vectors::lines::<EventRow>("events.jsonl") {
        if row.expect == "valid" {
            continue;
        }
        let reason = row.reason.as_deref().expect("an invalid row has a reason");
        match (row.raw.as_deref(), row.raw_hex.as_deref()) {
            (Some(raw), None) => match Event::parse(raw) {
                Ok(_) => assert!(
                    is_a_matter_of_the_signature(reason),
                    "{}: {reason}",
                    row.name
                ),
                Err(error) => check_reason(&error, reason, &row.name),
            },
            (None, Some(hex)) => {
                let bytes = from_hex(hex);
                assert!(
                    std::str::from_utf8(&bytes).is_err(),
                    "{}: {reason}",
                    row.name
                );
                assert!(
                    Event::from_wire(Bytes::from(bytes)).is_err(),
                    "{}",
                    row.name
                );
            }
            _ => panic!("{}: neither text nor bytes", row.name),
        }
        refused += 1;
    }
    assert_eq!(refused, 120);
}

#[track_caller]
fn check_reason(error: &EventError, reason: &str, name: &str) {
    let expected = match error {
        EventError::IdMismatch => reason.starts_with("id "),
        EventError::KindRange => reason.contains("kind out of range"),
        EventError::DuplicateMember => reason.contains("duplicate key"),
        EventError::Missing(field) => reason == format!("missing field {field}"),
        EventError::EmptyTag => reason == "a tag needs at least one string",
        EventError::Hex { .. } => reason.contains("lowercase") || reason.contains("alphabet"),
        error if error.is_syntax() => reason.starts_with("not JSON"),
        EventError::Json(_) | EventError::Field { .. } => !reason.starts_with("not JSON"),
        EventError::TooLong => false,
    };
    assert!(expected, "{name}: {error} instead of {reason}");
}

fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[derive(Deserialize)]
struct MatchRow {
    filter_name: String,
    event: String,
    filter: Value,
    #[serde(rename = "match")]
    matches: bool,
    optional: Option<String>,
}

#[test]
fn filters_match_what_the_vectors_say() {
    let events: HashMap<String, Value> = vectors::json("filter_events.json");
    let parsed = |(name, event): (&String, &Value)| {
        let event = Event::parse(&event.to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name.clone(), event)
    };
    let events: HashMap<String, Event> = events.iter().map(parsed).collect();
    let mut checked = 0;
    for row in vectors::lines::<MatchRow>("filter_match.jsonl") {
        let filter = Filter::parse(&row.filter.to_string());
        if let Some(feature) = row.optional {
            assert_eq!(
                feature, "and-filters",
                "another optional feature in the vectors"
            );
            assert_eq!(filter.unwrap_err().prefix, Prefix::Unsupported);
            continue;
        }
        let filter = filter.unwrap_or_else(|refusal| panic!("{}: {refusal}", row.filter_name));
        let event = &events[&row.event];
        assert_eq!(
            filter.matches(event),
            row.matches,
            "{} {}",
            row.filter_name,
            row.event
        );
        assert!(
            !(filter.matches_nothing() && row.matches),
            "{}",
            row.filter_name
        );
        checked += 1;
    }
    assert_eq!(checked, 470);
}

#[derive(Deserialize)]
struct FilterRow {
    name: String,
    filter: Value,
    expect: String,
    prefix: Option<String>,
}

#[test]
fn filters_are_parsed_or_refused_as_the_vectors_say() {
    for row in vectors::lines::<FilterRow>("filter_parse.jsonl") {
        let refused = Filter::parse(&row.filter.to_string()).err();
        let prefix = refused
            .as_ref()
            .map(|refusal| refusal.prefix.as_str().to_owned());
        let expected = if row.expect == "ok" { None } else { row.prefix };
        assert_eq!(prefix, expected, "{}: {refused:?}", row.name);
    }
}

#[derive(Deserialize)]
struct KindRow {
    kind: u16,
    class: String,
}

#[test]
fn kinds_are_classed_as_the_vectors_say() {
    for row in vectors::lines::<KindRow>("kinds.jsonl") {
        let class = match heliograph_protocol::Kind::new(row.kind).class() {
            KindClass::Regular => "regular",
            KindClass::Replaceable => "replaceable",
            KindClass::Ephemeral => "ephemeral",
            KindClass::Addressable => "addressable",
        };
        assert_eq!(class, row.class, "kind {}", row.kind);
    }
}

#[derive(Deserialize)]
struct PowRow {
    id: Option<String>,
    event: Option<Value>,
    difficulty: u32,
}

#[test]
fn difficulty_is_counted_as_the_vectors_say() {
    for row in vectors::lines::<PowRow>("pow.jsonl") {
        let id = match (row.id, row.event) {
            (Some(id), None) => EventId::from_hex(id.as_bytes()).expect("an id"),
            (None, Some(event)) => *Event::parse(&event.to_string()).expect("an event").id(),
            _ => panic!("neither id nor event"),
        };
        assert_eq!(difficulty(&id), row.difficulty, "{id}");
    }
}

#[derive(Deserialize)]
struct FrameRow {
    name: String,
    frame: String,
    expect: Expect,
}

#[derive(Deserialize)]
struct Expect {
    #[serde(rename = "type")]
    kind: String,
    types: Option<Vec<String>>,
    sub: Option<String>,
    id: Option<String>,
    prefix_any: Option<Vec<String>>,
}

/// What the relay would answer to this frame if it held nothing: type, id of event or
/// subscription, prefix.
fn answer(frame: &str) -> (&'static str, Option<String>, Option<Prefix>) {
    match ClientMessage::parse(frame) {
        Ok(ClientMessage::Event(event) | ClientMessage::Auth(event)) => {
            ("OK", Some(event.id().to_hex()), None)
        }
        Ok(ClientMessage::Req { id, .. }) => ("EOSE", Some(id.to_string()), None),
        Ok(ClientMessage::Count { id, .. }) => ("COUNT", Some(id.to_string()), None),
        Ok(ClientMessage::Close(_)) => ("none", None, None),
        Err(MessageError::Notice(refusal)) => ("NOTICE", None, Some(refusal.prefix)),
        Err(MessageError::Event { id, refusal }) => ("OK", Some(id), Some(refusal.prefix)),
        Err(MessageError::Req { id, refusal } | MessageError::Count { id, refusal }) => {
            ("CLOSED", Some(id.to_string()), Some(refusal.prefix))
        }
    }
}

#[test]
fn frames_are_read_as_the_vectors_say() {
    let mut checked = 0;
    for row in vectors::lines::<FrameRow>("frames.jsonl") {
        // Sync isn't part of this relay yet, and the signature isn't this crate's.
        if row.name.starts_with("neg-") || row.name == "event-bad-sig" {
            continue;
        }
        let (kind, id, prefix) = answer(&row.frame);
        let name = &row.name;
        let types = row.expect.types.unwrap_or_else(|| vec![row.expect.kind]);
        assert!(
            types.iter().any(|expected| expected == kind),
            "{name}: {kind}"
        );
        if let Some(expected) = row.expect.sub.or(row.expect.id) {
            assert_eq!(id.as_deref(), Some(expected.as_str()), "{name}");
        }
        if let (Some(expected), Some(prefix)) = (row.expect.prefix_any, prefix) {
            assert!(
                expected.iter().any(|expected| expected == prefix.as_str()),
                "{name}"
            );
        }
        checked += 1;
    }
    assert_eq!(checked, 34);
}
