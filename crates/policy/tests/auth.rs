//! The NIP-42 check against `tests/vectors/auth.jsonl`.

use heliograph_policy::{RelayUrls, check_auth};
use heliograph_protocol::{Event, Prefix, Timestamp};
use heliograph_testkit::{keys::Key, vectors};
use serde_json::Value;

#[derive(serde::Deserialize)]
struct Row {
    name: String,
    now: u64,
    relay_url: String,
    challenge: String,
    event: Value,
    expect: String,
    reason: String,
}

/// The rows that fail before this check: one in the parser, one in the verifier.
fn is_refused_elsewhere(row: &Row) -> bool {
    matches!(row.reason.as_str(), "id" | "signature")
}

#[test]
fn every_row_of_the_vectors_is_answered_as_expected() {
    for row in vectors::lines::<Row>("auth.jsonl") {
        let urls = RelayUrls::parse(&[&row.relay_url]).expect("a relay URL");
        let parsed = Event::parse(&row.event.to_string());
        let Ok(event) = parsed else {
            assert!(is_refused_elsewhere(&row), "{}: {parsed:?}", row.name);
            continue;
        };
        let answer = check_auth(&event, &row.challenge, &urls, Timestamp::from_secs(row.now));
        if row.expect == "ok" || is_refused_elsewhere(&row) {
            assert_eq!(answer, Ok(*event.pubkey()), "{}", row.name);
        } else {
            let refusal = answer.expect_err(&row.name);
            assert_eq!(refusal.prefix, Prefix::Invalid, "{}", row.name);
        }
    }
}

const URL: &str = "wss://relay.example.com";

#[track_caller]
fn check(event: &Event, challenge: &str, now: u64, message: Option<&str>) {
    let urls = RelayUrls::parse(&[URL]).expect("a relay URL");
    let answer = check_auth(event, challenge, &urls, Timestamp::from_secs(now));
    assert_eq!(
        answer.err().map(|refusal| refusal.to_string()).as_deref(),
        message
    );
}

#[test]
fn ten_minutes_are_close_enough_and_a_second_more_is_not() {
    let event = Key::nth(0).auth(10_000, URL, "c");
    let far = Some("invalid: created_at is more than 10 minutes from now");
    check(&event, "c", 9_400, None);
    check(&event, "c", 10_600, None);
    check(&event, "c", 9_399, far);
    check(&event, "c", 10_601, far);
}

#[test]
fn an_empty_challenge_is_never_answered() {
    let event = Key::nth(0).auth(10_000, URL, "");
    check(
        &event,
        "",
        10_000,
        Some("invalid: not an answer to the last challenge"),
    );
}
