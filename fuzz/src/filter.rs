//! Filters: what is accepted matches the same events as a plain reading of the JSON does.

use std::sync::LazyLock;

use heliograph_protocol::{Event, Filter, Kind, PublicKey, Signature, Timestamp};
use serde_json::{Map, Value};

/// Events that differ in what filters look at.
static EVENTS: LazyLock<Vec<(Event, Value)>> = LazyLock::new(|| {
    let key = "aa".repeat(32);
    let tags: [&[&[&str]]; 5] = [
        &[],
        &[&["t", "nostr"], &["e", &key, "x"], &["T"]],
        &[&["d", ""], &["p", &key], &["t", "a\"\n"]],
        &[&["d"], &["-"], &["tt", "nostr"], &["1", "x"]],
        &[&["t", "x", "nostr"], &["t", "nostr"], &["E", "é"]],
    ];
    let numbers = [
        (0, 0),
        (1, 1),
        (4, 1_700_000_000),
        (30_023, (1 << 53) - 1),
        (65_535, 5),
    ];
    tags.iter()
        .zip(numbers)
        .map(|(tags, (kind, at))| event(tags, kind, at))
        .collect()
});

fn event(tags: &[&[&str]], kind: u16, created_at: u64) -> (Event, Value) {
    let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.to_vec()).collect();
    let key = PublicKey::new([if kind == 1 { 0xaa } else { 0xbb }; 32]);
    let at = Timestamp::from_secs(created_at);
    let event = Event::build(key, at, Kind::new(kind), &tags, "", |_| {
        Signature::new([0; 64])
    });
    let value = serde_json::from_str(event.as_str()).expect("JSON");
    (event, value)
}

/// Reads `data` as a filter.
///
/// # Panics
///
/// If something doesn't hold.
pub fn check_filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(filter) = Filter::parse(text) else {
        return;
    };
    let plain: Map<String, Value> = serde_json::from_str(text).expect("a filter is JSON");
    let values = plain
        .values()
        .filter_map(Value::as_array)
        .map(Vec::len)
        .sum();
    assert!(
        filter.value_count() <= values,
        "repetitions are dropped, nothing is added"
    );
    for (event, value) in EVENTS.iter() {
        let matches = plain
            .iter()
            .all(|(name, condition)| holds(name, condition, value));
        assert_eq!(filter.matches(event), matches, "{text} for {value}");
        assert!(!(matches && filter.matches_nothing()), "{text}");
    }
}

/// NIP-01, read plainly.
fn holds(name: &str, condition: &Value, event: &Value) -> bool {
    let one_of = |value: &Value| condition.as_array().expect("a list").contains(value);
    let created_at = event["created_at"].as_u64().expect("a number");
    let bound = || condition.as_u64().expect("a number");
    match name {
        "ids" => one_of(&event["id"]),
        "authors" => one_of(&event["pubkey"]),
        "kinds" => one_of(&event["kind"]),
        "since" => bound() <= created_at,
        "until" => created_at <= bound(),
        "limit" => true,
        tag => event["tags"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|element| element[0] == tag[1..] && element.get(1).is_some_and(one_of)),
    }
}
