//! What `admit_event` takes and what it answers to the rest.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use heliograph_policy::{EventLimits, Reader, RelayUrls, WriteRules, admit_event};
use heliograph_protocol::{Event, Kind, Timestamp};
use heliograph_testkit::{keys::Key, vectors};

const NOW: u64 = 1_767_225_600;
const DAY: u64 = 86_400;

fn me() -> Key {
    Key::nth(0)
}

fn anonymous() -> Reader {
    Reader::default()
}

fn as_key(n: usize) -> Reader {
    Reader {
        keys: vec![Key::nth(n).public()],
    }
}

fn admit(event: &Event, limits: &EventLimits, reader: &Reader) -> Result<(), String> {
    let urls = RelayUrls::parse(&["wss://relay.example.com"]).expect("a relay URL");
    admit_event(event, limits, &urls, reader, Timestamp::from_secs(NOW))
        .map_err(|refusal| refusal.to_string())
}

/// `answer` is empty for "taken", else what the refusal begins with.
#[track_caller]
fn check_with(event: &Event, limits: &EventLimits, reader: &Reader, answer: &str) {
    match admit(event, limits, reader) {
        Ok(()) => assert_eq!(answer, "", "taken: {}", event.as_str()),
        Err(text) => assert!(
            !answer.is_empty() && text.starts_with(answer),
            "{text:?} instead of {answer:?} for {}",
            event.as_str()
        ),
    }
}

#[track_caller]
fn check(event: &Event, limits: &EventLimits, answer: &str) {
    check_with(event, limits, &anonymous(), answer);
}

fn tagged(kind: u16, tags: &[&[&str]]) -> Event {
    me().sign(NOW, kind, tags, "")
}

fn defaults() -> EventLimits {
    EventLimits::default()
}

#[test]
fn an_ordinary_note_is_taken() {
    check(&me().note(NOW, "hello"), &defaults(), "");
}

#[test]
fn the_byte_limit_counts_the_wire_form_and_is_inclusive() {
    let event = me().note(NOW, "hello");
    let bytes = event.json().len();
    let limits = |event_bytes_max| EventLimits {
        event_bytes_max,
        ..defaults()
    };
    check(&event, &limits(bytes), "");
    check(&event, &limits(bytes - 1), "invalid: event larger than");
}

#[test]
fn some_kinds_may_be_longer() {
    let limits = EventLimits {
        event_bytes_max: 10,
        event_bytes_max_by_kind: BTreeMap::from([(Kind::new(3), 10_000)]),
        ..defaults()
    };
    check(&tagged(3, &[]), &limits, "");
    check(&tagged(1, &[]), &limits, "invalid:");
}

#[test]
fn tags_are_counted() {
    let limits = EventLimits {
        event_tags_max: 2,
        ..defaults()
    };
    check(&tagged(1, &[&["t", "a"], &["t", "b"]]), &limits, "");
    check(
        &tagged(1, &[&["t", "a"], &["t", "b"], &["t", "c"]]),
        &limits,
        "invalid: more than 2 tags",
    );
}

#[test]
fn content_is_counted_in_characters_not_bytes() {
    let limits = EventLimits {
        content_chars_max: Some(3),
        ..defaults()
    };
    check(&me().note(NOW, "é😀\n"), &limits, "");
    check(
        &me().note(NOW, "é😀\nx"),
        &limits,
        "invalid: content longer than 3 characters",
    );
}

#[test]
fn created_at_may_be_as_far_ahead_as_the_upper_limit() {
    check(&me().note(NOW + 900, ""), &defaults(), "");
    check(
        &me().note(NOW + 901, ""),
        &defaults(),
        "invalid: created_at",
    );
    let open = EventLimits {
        created_at_upper_limit_secs: None,
        ..defaults()
    };
    check(&me().note(Timestamp::MAX.as_secs(), ""), &open, "");
}

#[test]
fn created_at_may_be_any_time_ago_unless_limited() {
    check(&me().note(0, ""), &defaults(), "");
    let limits = EventLimits {
        created_at_lower_limit_secs: Some(DAY),
        ..defaults()
    };
    check(&me().note(NOW - DAY, ""), &limits, "");
    check(
        &me().note(NOW - DAY - 1, ""),
        &limits,
        "invalid: created_at",
    );
}

#[test]
fn gift_wraps_are_exempt_from_a_lower_limit_below_two_days() {
    let wrap = me().sign(NOW - 2 * DAY, 1059, &[], "");
    let limits = |secs| EventLimits {
        created_at_lower_limit_secs: Some(secs),
        ..defaults()
    };
    check(&wrap, &limits(DAY), "");
    check(
        &me().sign(NOW - 2 * DAY, 1058, &[], ""),
        &limits(DAY),
        "invalid:",
    );
    check(
        &me().sign(NOW - 2 * DAY - 1, 1059, &[], ""),
        &limits(2 * DAY),
        "invalid:",
    );
}

#[test]
fn ephemeral_events_have_to_be_recent() {
    let at = |age, kind| me().sign(NOW - age, kind, &[], "");
    check(&at(60, 20_000), &defaults(), "");
    check(
        &at(61, 20_000),
        &defaults(),
        "invalid: ephemeral event is too old",
    );
    check(&at(61, 29_999), &defaults(), "invalid:");
    check(&at(61, 30_000), &defaults(), "");
    check(
        &me().sign(NOW + 901, 20_000, &[], ""),
        &defaults(),
        "invalid:",
    );
    check(
        &at(DAY, 20_000),
        &EventLimits {
            ephemeral_age_max_secs: None,
            ..defaults()
        },
        "",
    );
}

#[test]
fn ephemeral_gift_wraps_may_be_dated_back_as_gift_wraps_are() {
    check(&me().sign(NOW - 2 * DAY, 21_059, &[], ""), &defaults(), "");
    check(
        &me().sign(NOW - 2 * DAY - 1, 21_059, &[], ""),
        &defaults(),
        "invalid:",
    );
}

#[test]
fn an_event_that_has_expired_is_refused_from_that_second_on() {
    let expiring = |kind, at: u64| tagged(kind, &[&["expiration", &at.to_string()]]);
    check(&expiring(1, NOW + 1), &defaults(), "");
    check(&expiring(1, NOW), &defaults(), "invalid: event has expired");
    check(&expiring(1, NOW - 1), &defaults(), "invalid:");
    check(&expiring(20_000, NOW), &defaults(), "invalid:");
    let twice = [&["expiration", "99999999999"][..], &["expiration", "1"]];
    check(&tagged(1, &twice), &defaults(), "");
}

#[test]
fn an_expiration_that_is_no_time_is_refused() {
    for value in [
        "",
        "soon",
        "-1",
        "1.5",
        "+1",
        " 99999999999",
        "99999999999999999999999",
    ] {
        check(
            &tagged(1, &[&["expiration", value]]),
            &defaults(),
            "invalid: expiration",
        );
    }
    check(
        &tagged(1, &[&["expiration"]]),
        &defaults(),
        "invalid: expiration",
    );
}

#[test]
fn authentication_is_no_event() {
    let auth = me().auth(NOW, "wss://relay.example.com", "challenge");
    check_with(&auth, &defaults(), &as_key(0), "invalid:");
}

#[test]
fn a_seal_has_no_tags() {
    check(&tagged(13, &[]), &defaults(), "");
    check(
        &tagged(13, &[&["p", "x"]]),
        &defaults(),
        "invalid: a seal has no tags",
    );
}

#[test]
fn a_request_to_vanish_names_a_relay() {
    check(
        &tagged(62, &[&["relay", "wss://other.example.com"]]),
        &defaults(),
        "",
    );
    check(&tagged(62, &[&["relay", "ALL_RELAYS"]]), &defaults(), "");
    check(
        &tagged(62, &[]),
        &defaults(),
        "invalid: a request to vanish",
    );
    check(
        &tagged(62, &[&["relay"]]),
        &defaults(),
        "invalid: a request to vanish",
    );
}

#[derive(serde::Deserialize)]
struct PowRow {
    event: Option<serde_json::Value>,
    min_8: Option<String>,
    min_12: Option<String>,
    min_13: Option<String>,
}

#[test]
fn proof_of_work_follows_the_vectors() {
    let mut checked = 0;
    for row in vectors::lines::<PowRow>("pow.jsonl") {
        let Some(event) = row.event else { continue };
        let event = Event::parse(&event.to_string()).expect("a valid event");
        for (pow_bits_min, expect) in [(8, row.min_8), (12, row.min_12), (13, row.min_13)] {
            let Some(expect) = expect else { continue };
            let answer = if expect == "accept" { "" } else { "pow: " };
            check(
                &event,
                &EventLimits {
                    pow_bits_min,
                    ..defaults()
                },
                answer,
            );
            checked += 1;
        }
    }
    assert_eq!(checked, 3);
}

#[test]
fn a_commitment_to_proof_of_work_can_be_asked_for() {
    // The id of a note is as good as random: some nonce gives it one leading zero bit.
    let mined = |tag: fn(&str) -> Vec<&str>| {
        (0..100)
            .map(|nonce| tagged(1, &[&tag(&nonce.to_string())]))
            .find(|event| event.id().as_bytes()[0] < 0x80)
            .expect("one in two has a leading zero bit")
    };
    let limits = |pow_commitment_required| EventLimits {
        pow_bits_min: 1,
        pow_commitment_required,
        ..defaults()
    };
    let committed = mined(|nonce| vec!["nonce", nonce, "1"]);
    let silent = mined(|nonce| vec!["nonce", nonce]);
    let garbled = mined(|nonce| vec!["nonce", nonce, "+1"]);
    check(&committed, &limits(true), "");
    for event in [silent, garbled] {
        check(&event, &limits(true), "pow: ");
        check(&event, &limits(false), "");
    }
}

#[test]
fn a_protected_event_is_taken_from_its_author_only() {
    for tags in [&[&["-"][..]][..], &[&["t", "x"], &["-", "y"]]] {
        let event = tagged(1, tags);
        check_with(&event, &defaults(), &anonymous(), "auth-required:");
        check_with(&event, &defaults(), &as_key(1), "restricted:");
        check_with(&event, &defaults(), &as_key(0), "");
        let both = Reader {
            keys: vec![Key::nth(1).public(), Key::nth(0).public()],
        };
        check_with(&event, &defaults(), &both, "");
    }
    check(&tagged(1, &[&["t", "-"]]), &defaults(), "");
}

#[test]
fn a_repost_with_the_text_of_a_protected_event_is_blocked() {
    let protected = tagged(1, &[&["t", "x"], &["-"]]).as_str().to_owned();
    let spaced = r#" {"tags" : [ ["\u002d"] ] } "#.to_owned();
    for content in [protected, spaced] {
        for kind in [6, 16] {
            check(
                &me().sign(NOW, kind, &[], &content),
                &defaults(),
                "blocked:",
            );
            check_with(
                &me().sign(NOW, kind, &[], &content),
                &defaults(),
                &as_key(0),
                "blocked:",
            );
        }
        check(&me().sign(NOW, 1, &[], &content), &defaults(), "");
    }
}

#[test]
fn a_repost_is_judged_by_its_tags_not_by_its_text() {
    let quoting = me()
        .sign(NOW, 1, &[&["t", "-"]], r#"["-"]"#)
        .as_str()
        .to_owned();
    for content in [
        quoting.as_str(),
        "",
        r#"["-"]"#,
        r#"{"content":"\"tags\":[[\"-\"]]"}"#,
        r#"{"tags":[["-"]]"#,
        r#"{"tags":"-"}"#,
        r#"{"tags":["-",{"0":"-"},[]]}"#,
    ] {
        check(&me().sign(NOW, 6, &[], content), &defaults(), "");
    }
}

#[test]
fn deep_json_in_a_repost_does_no_harm() {
    check(
        &me().sign(NOW, 6, &[], &("[".repeat(30_000) + "-")),
        &defaults(),
        "",
    );
}

fn with_rules(write: WriteRules) -> EventLimits {
    EventLimits {
        write,
        ..defaults()
    }
}

#[test]
fn writing_can_need_authentication() {
    let limits = with_rules(WriteRules {
        auth_required: true,
        ..WriteRules::default()
    });
    let note = me().note(NOW, "");
    check_with(&note, &limits, &anonymous(), "auth-required:");
    check_with(&note, &limits, &as_key(5), "");
}

#[test]
fn gift_wraps_alone_can_need_authentication() {
    let limits = with_rules(WriteRules {
        gift_wraps_require_auth: true,
        ..WriteRules::default()
    });
    check_with(&tagged(1059, &[]), &limits, &anonymous(), "auth-required:");
    check_with(&tagged(1059, &[]), &limits, &as_key(5), "");
    check_with(&tagged(1, &[]), &limits, &anonymous(), "");
}

#[test]
fn kinds_can_be_listed() {
    let kinds = BTreeSet::from([Kind::new(1)]);
    let only = WriteRules {
        kinds_allowed: Some(kinds.clone()),
        ..WriteRules::default()
    };
    check(&tagged(1, &[]), &with_rules(only.clone()), "");
    check(&tagged(2, &[]), &with_rules(only), "blocked: kind 2");
    let all_but = WriteRules {
        kinds_blocked: kinds,
        ..WriteRules::default()
    };
    check(
        &tagged(1, &[]),
        &with_rules(all_but.clone()),
        "blocked: kind 1",
    );
    check(&tagged(2, &[]), &with_rules(all_but), "");
}

#[test]
fn blocked_keys_may_not_write_nor_send_for_others() {
    let blocked = HashSet::from([Key::nth(0).public()]);
    let limits = with_rules(WriteRules {
        pubkeys_blocked: blocked,
        ..WriteRules::default()
    });
    check(&Key::nth(0).note(NOW, ""), &limits, "blocked:");
    check(&Key::nth(1).note(NOW, ""), &limits, "");
    check_with(&Key::nth(1).note(NOW, ""), &limits, &as_key(0), "blocked:");
}

#[test]
fn members_write_as_author_or_by_authentication() {
    let members = Some(HashSet::from([Key::nth(0).public()]));
    let rules = WriteRules {
        pubkeys_allowed: members,
        ..WriteRules::default()
    };
    let limits = with_rules(rules.clone());
    check(&Key::nth(0).note(NOW, ""), &limits, "");
    let foreign = Key::nth(1).note(NOW, "");
    check_with(&foreign, &limits, &anonymous(), "auth-required:");
    check_with(&foreign, &limits, &as_key(1), "restricted:");
    check_with(&foreign, &limits, &as_key(0), "");
    let relay_list = Key::nth(1).sign(NOW, 10_002, &[], "");
    check(&relay_list, &limits, "auth-required:");
    check(
        &relay_list,
        &with_rules(WriteRules {
            relay_lists_open: true,
            ..rules
        }),
        "",
    );
}

#[test]
fn a_request_to_vanish_in_force_passes_every_write_rule() {
    let rules = WriteRules {
        auth_required: true,
        kinds_allowed: Some(BTreeSet::new()),
        pubkeys_allowed: Some(HashSet::new()),
        pubkeys_blocked: HashSet::from([Key::nth(0).public()]),
        ..WriteRules::default()
    };
    let limits = with_rules(rules);
    check(
        &tagged(62, &[&["relay", "wss://relay.example.com/"]]),
        &limits,
        "",
    );
    check(&tagged(62, &[&["relay", "ALL_RELAYS"]]), &limits, "");
    check(
        &tagged(62, &[&["relay", "wss://other.example.com/"]]),
        &limits,
        "blocked:",
    );
}
