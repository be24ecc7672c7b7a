//! Authentication (NIP-42) and what it opens (NIP-70): R42-1 to R42-8, R70.

use heliograph_protocol::Event;
use heliograph_testkit::{RELAY_URL, client::End, keys::Key, process::Relay, reply::Reply};
use serde_json::json;

use crate::support::now;

/// A note that only its author may hand in (R70-1).
fn protected(key: &Key, content: &str) -> Event {
    key.sign(now(), 1, &[&["-"]], content)
}

#[test]
fn a_challenge_comes_at_connect_and_is_another_each_time() {
    let relay = Relay::start();
    let challenges = [relay.client().challenge(), relay.client().challenge()];
    assert_ne!(challenges[0], challenges[1]);
    for challenge in challenges {
        // 128 bits are 32 hex digits or 22 signs of base64 (R42-1).
        assert!(
            challenge.len() >= 22,
            "{challenge:?} is short for 128 random bits"
        );
    }
}

#[test]
fn a_second_key_adds_to_the_first() {
    let relay = Relay::start();
    let (alice, bob, carol) = (Key::nth(0), Key::nth(1), Key::nth(2));
    let mut client = relay.client();
    client.authenticate(&alice);
    client.authenticate(&bob);
    client.accept(&protected(&alice, "mine"));
    client.accept(&protected(&bob, "mine too"));
    client.refuse(&protected(&carol, "not mine"), "restricted");
}

#[test]
fn a_failed_auth_removes_no_key() {
    let relay = Relay::start();
    let (alice, bob) = (Key::nth(0), Key::nth(1));
    let mut client = relay.client();
    client.authenticate(&alice);
    let answer = client.auth_with(&bob.auth(now(), RELAY_URL, "not the challenge"));
    assert!(!answer.0 && answer.1.starts_with("invalid: "), "{answer:?}");
    client.accept(&protected(&alice, "still here"));
    client.refuse(&protected(&bob, "never was"), "restricted");
}

#[test]
fn keys_belong_to_one_connection() {
    let relay = Relay::start();
    let alice = Key::nth(0);
    let (mut first, mut second) = (relay.client(), relay.client());
    first.authenticate(&alice);
    second.refuse(&protected(&alice, "elsewhere"), "auth-required");
    first.accept(&protected(&alice, "here"));
}

#[test]
fn a_challenge_is_outstanding_after_every_auth_required() {
    let relay = Relay::start();
    let alice = Key::nth(0);
    let mut client = relay.client();
    let answer = client.auth_with(&alice.auth(now(), RELAY_URL, "not the challenge"));
    assert!(!answer.0, "{answer:?}");
    client.refuse(&protected(&alice, "too early"), "auth-required");
    client.authenticate(&alice);
    client.accept(&protected(&alice, "now"));
}

#[test]
fn an_auth_event_reaches_no_reader() {
    let relay = Relay::start();
    let alice = Key::nth(0);
    let mut reader = relay.client();
    reader.req("all", &[json!({"limit": 0})]);
    let mut client = relay.client();
    let challenge = client.challenge();
    let auth = alice.auth(now(), RELAY_URL, &challenge);
    assert!(client.auth_with(&auth).0);
    client.refuse(&auth, "invalid");
    let after = alice.note(now(), "after");
    client.accept(&after);
    assert_eq!(reader.next_event("all"), after);
    assert_eq!(client.query(&[json!({"kinds": [22242]})]).events, []);
}

#[test]
fn auth_that_is_not_an_event_gets_a_notice() {
    let relay = Relay::start();
    let mut client = relay.client();
    for message in [
        r#"["AUTH"]"#,
        r#"["AUTH",5]"#,
        r#"["AUTH",null]"#,
        r#"["AUTH",{}]"#,
    ] {
        client.send(message);
        let replies = client.fence();
        assert!(
            matches!(&*replies, [Reply::Notice(_)]),
            "{message}: {replies:?}"
        );
    }
}

#[test]
fn writing_can_be_kept_for_the_authenticated() {
    let relay = Relay::with(&["auth.required_to_write=true"]);
    let mut client = relay.client();
    client.refuse(&Key::nth(0).note(now(), "hello"), "auth-required");
    assert_eq!(
        client.query(&[json!({})]).end,
        End::Eose(Some("finish".to_owned()))
    );
    client.authenticate(&Key::nth(1));
    client.accept(&Key::nth(0).note(now(), "anyone's note, handed in by a known key"));
}

#[test]
fn reading_can_be_kept_for_the_authenticated() {
    let relay = Relay::with(&["auth.required_to_read=true"]);
    let mut client = relay.client();
    client.accept(&Key::nth(0).note(now(), "hello"));
    let End::Closed(text) = client.req("s", &[json!({})]).end else {
        panic!("not closed")
    };
    assert!(text.starts_with("auth-required: "), "{text}");
    let refused = client.count("c", &[json!({})]).unwrap_err();
    assert!(refused.starts_with("auth-required: "), "{refused}");
    client.authenticate(&Key::nth(1));
    assert_eq!(client.query(&[json!({})]).contents(), ["hello"]);
    assert_eq!(client.count("c", &[json!({})]), Ok(1));
}

#[test]
fn a_repost_of_a_protected_event_is_refused_unless_it_only_names_it() {
    let relay = Relay::start();
    let (alice, bob) = (Key::nth(0), Key::nth(1));
    let mut client = relay.client();
    let inner = protected(&alice, "for this place only");
    let id = inner.id().to_hex();
    client.refuse(
        &bob.sign(now(), 6, &[&["e", &id]], inner.as_str()),
        "blocked",
    );
    client.refuse(
        &bob.sign(now(), 16, &[&["e", &id], &["k", "1"]], inner.as_str()),
        "blocked",
    );
    client.accept(&bob.sign(now(), 6, &[&["e", &id]], ""));
    client.accept(&bob.sign(
        now(),
        6,
        &[&["e", &id]],
        r#"{"content":"[[\"-\"]]","tags":[]}"#,
    ));
}
