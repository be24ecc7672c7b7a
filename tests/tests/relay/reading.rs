//! Stored answers beyond the vectors: order, hints (NIP-67), COUNT (NIP-45), filters that are
//! refused (R01-53 to R01-69).

use std::slice::from_ref;

use heliograph_protocol::Event;
use heliograph_testkit::{client::End, keys::Key, process::Relay};
use serde_json::{Value, json};

use crate::support::{accept_all, ids, notes, now};

#[test]
fn finish_says_that_everything_was_sent() {
    let relay = Relay::start();
    let mut client = relay.client();
    assert_eq!(client.query(&[json!({})]).hint(), Some("finish"));
    accept_all(&mut client, &notes(&Key::nth(0), 1_700_000_000, 5));
    assert_eq!(
        client.query(&[json!({"kinds": [1]})]).hint(),
        Some("finish")
    );
    assert_eq!(
        client.query(&[json!({"kinds": [1], "limit": 6})]).hint(),
        Some("finish")
    );
    assert_eq!(client.query(&[json!({"kinds": []})]).hint(), Some("finish"));
}

#[test]
fn a_client_s_own_limit_that_cut_never_yields_finish() {
    let relay = Relay::start();
    let mut client = relay.client();
    accept_all(&mut client, &notes(&Key::nth(0), 1_700_000_000, 5));
    for limit in 0..5 {
        let stored = client.query(&[json!({"kinds": [1], "limit": limit})]);
        assert_ne!(stored.hint(), Some("finish"), "limit {limit} of 5");
    }
    // One filter that was cut is enough.
    let both = [json!({"kinds": [1], "limit": 4}), json!({"kinds": [2]})];
    assert_ne!(client.query(&both).hint(), Some("finish"));
}

#[test]
fn more_says_that_others_are_known_to_exist() {
    let relay = Relay::with(&["gateway.limit_max=10", "gateway.limit_default=10"]);
    let mut client = relay.client();
    accept_all(&mut client, &notes(&Key::nth(0), 1_700_000_000, 11));
    let stored = client.query(&[json!({"kinds": [1]})]);
    assert_eq!((stored.events.len(), stored.hint()), (10, Some("more")));
    let stored = client.query(&[json!({"kinds": [1], "limit": 5000})]);
    assert_eq!((stored.events.len(), stored.hint()), (10, Some("more")));
}

#[test]
fn an_answer_of_exactly_the_cap_is_finished() {
    let relay = Relay::with(&["gateway.limit_max=10", "gateway.limit_default=10"]);
    let mut client = relay.client();
    accept_all(&mut client, &notes(&Key::nth(0), 1_700_000_000, 10));
    let stored = client.query(&[json!({"kinds": [1]})]);
    assert_eq!((stored.events.len(), stored.hint()), (10, Some("finish")));
}

/// `newer` notes of different seconds above `tied` notes of one second above one older note.
fn tied_notes(newer: usize, tied: usize) -> Vec<Event> {
    let mut events = notes(&Key::nth(0), 2_000, newer);
    events.extend((0..tied).map(|n| Key::nth(1).note(1_000, &n.to_string())));
    events.push(Key::nth(2).note(500, "older"));
    events.sort_by_key(Event::position);
    events
}

#[test]
fn the_relay_s_cap_never_cuts_within_a_second() {
    let relay = Relay::with(&["gateway.limit_max=10", "gateway.limit_default=10"]);
    let mut client = relay.client();
    let events = tied_notes(5, 12);
    accept_all(&mut client, &events);
    // The tenth stands in the middle of the second; the seven others of it add less than the cap.
    let stored = client.query(&[json!({"kinds": [1]})]);
    assert_eq!(stored.ids(), ids(&events[..17]));
    assert_eq!(stored.hint(), Some("more"));
    // So that a client goes on from the second before without losing any (NIP-67).
    let rest = client.query(&[json!({"kinds": [1], "until": 999})]);
    assert_eq!(
        (rest.ids(), rest.hint()),
        (ids(&events[17..]), Some("finish"))
    );
}

#[test]
fn a_second_that_would_add_more_than_the_cap_again_is_cut() {
    let relay = Relay::with(&["gateway.limit_max=10", "gateway.limit_default=10"]);
    let mut client = relay.client();
    let events = tied_notes(5, 40);
    accept_all(&mut client, &events);
    let stored = client.query(&[json!({"kinds": [1]})]);
    assert!(
        (10..=20).contains(&stored.events.len()),
        "{}",
        stored.events.len()
    );
    assert_eq!(stored.ids(), ids(&events[..stored.events.len()]));
    assert_eq!(stored.hint(), Some("more"));
}

#[test]
fn a_client_s_own_limit_is_exact() {
    let relay = Relay::with(&["gateway.limit_max=10", "gateway.limit_default=10"]);
    let mut client = relay.client();
    let events = tied_notes(2, 8);
    accept_all(&mut client, &events);
    assert_eq!(
        client.query(&[json!({"kinds": [1], "limit": 5})]).ids(),
        ids(&events[..5])
    );
}

#[test]
fn hints_can_be_switched_off() {
    let relay = Relay::with(&["policy.eose_hints=false"]);
    assert_eq!(relay.client().query(&[json!({})]).hint(), None);
}

#[test]
fn several_filters_are_sorted_and_told_apart_as_one() {
    let relay = Relay::start();
    let mut client = relay.client();
    let (alice, bob) = (Key::nth(0), Key::nth(1));
    let mut events = notes(&alice, 1_000, 20);
    events.extend(notes(&bob, 1_005, 20));
    accept_all(&mut client, &events);
    events.sort_by_key(Event::position);
    let filters = [
        json!({"authors": [bob.hex()]}),
        json!({"kinds": [1], "since": 1_010}),
        json!({"authors": [alice.hex()], "limit": 20}),
    ];
    assert_eq!(client.query(&filters).ids(), ids(&events));
}

#[test]
fn count_is_the_size_of_the_union() {
    let relay = Relay::start();
    let mut client = relay.client();
    let (alice, bob) = (Key::nth(0), Key::nth(1));
    accept_all(&mut client, &notes(&alice, 1_000, 7));
    accept_all(&mut client, &notes(&bob, 1_000, 5));
    let (of_alice, all) = (json!({"authors": [alice.hex()]}), json!({"kinds": [1]}));
    assert_eq!(client.count("c", from_ref(&of_alice)), Ok(7));
    assert_eq!(client.count("c", &[of_alice, all]), Ok(12));
    assert_eq!(
        client.count("c", &[json!({"kinds": [1], "limit": 1})]),
        Ok(12),
        "limit is ignored"
    );
    assert_eq!(client.count("c", &[json!({"kinds": []})]), Ok(0));
    assert_eq!(
        client.count("c", &[json!({"since": 1_002, "until": 1_003})]),
        Ok(4)
    );
}

#[test]
fn count_leaves_nothing_open_and_touches_no_subscription() {
    let relay = Relay::with(&["gateway.subscriptions_max=1"]);
    let mut client = relay.client();
    client.req("s", &[json!({"kinds": [1]})]);
    for _ in 0..5 {
        assert_eq!(client.count("s", &[json!({"kinds": [1]})]), Ok(0));
        assert!(client.count("s", &[json!({"kinds": ["1"]})]).is_err());
    }
    let event = Key::nth(0).note(now(), "still subscribed");
    client.accept(&event);
    assert_eq!(client.next_event("s"), event);
}

#[test]
fn count_can_be_switched_off() {
    let relay = Relay::with(&["policy.count_enabled=false"]);
    let text = relay.client().count("c", &[json!({})]).unwrap_err();
    assert!(text.starts_with("unsupported: "), "{text}");
}

#[track_caller]
fn check_refused(filter: &Value, prefix: &str) {
    thread_local! {
        static RELAY: Relay = Relay::start();
    }
    RELAY.with(|relay| {
        let End::Closed(text) = relay.client().req("s", from_ref(filter)).end else {
            panic!("{filter} was answered")
        };
        assert!(text.starts_with(&format!("{prefix}: ")), "{filter}: {text}");
    });
}

#[test]
fn filters_that_would_mean_something_else_are_refused() {
    let hex = "0".repeat(63);
    for filter in [
        json!({"ids": [hex]}),
        json!({"authors": ["A".repeat(64)]}),
        json!({"#e": ["abc"]}),
        json!({"#p": [""]}),
        json!({"kinds": [65_536]}),
        json!({"kinds": [-1]}),
        json!({"kinds": [1.5]}),
        json!({"kinds": ["1"]}),
        json!({"kinds": null}),
        json!({"kinds": 1}),
        json!({"authors": {}}),
        json!({"#t": "x"}),
        json!({"#t": [1]}),
        json!({"since": -1}),
        json!({"until": "1"}),
        json!({"limit": -1}),
        json!({"limit": null}),
    ] {
        check_refused(&filter, "invalid");
    }
    for filter in [
        json!({"search": "words"}),
        json!({"#tt": ["x"]}),
        json!({"#1": ["x"]}),
        json!({"&t": ["x"]}),
        json!({"unknown": 1}),
        json!({"#t": ["x".repeat(1_025)]}),
    ] {
        check_refused(&filter, "unsupported");
    }
}
