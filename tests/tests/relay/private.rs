//! Private messages (kinds 4, 1059, 21059) are seen by those they are for: stored, live and counted
//! (R59, R45-4, R42-9).

use std::slice::from_ref;

use heliograph_protocol::Event;
use heliograph_testkit::{client::End, keys::Key, process::Relay};
use serde_json::json;

use crate::support::{drain, ids, now, open_fence, settle};

/// A gift wrap by a random key for `recipient`; the content makes it unlike others.
fn gift_wrap(kind: u16, recipient: &Key, content: &str) -> Event {
    Key::nth(100).sign(now(), kind, &[&["p", &recipient.hex()]], content)
}

fn message(from: &Key, to: &Key, content: &str) -> Event {
    from.sign(now(), 4, &[&["p", &to.hex()]], content)
}

/// Publishes over a connection of its own, to be read over any other.
#[track_caller]
fn publish(relay: &Relay, event: &Event) {
    let mut writer = relay.client();
    writer.accept(event);
    settle(&mut writer);
}

#[test]
fn a_stored_gift_wrap_is_for_its_recipient() {
    let relay = Relay::start();
    let (alice, bob) = (Key::nth(0), Key::nth(1));
    let wrap = gift_wrap(1059, &alice, "for alice");
    publish(&relay, &wrap);
    let all = [
        json!({}),
        json!({"ids": [wrap.id().to_hex()]}),
        json!({"#p": [alice.hex()]}),
    ];
    let mut client = relay.client();
    for filter in &all {
        assert_eq!(client.query(from_ref(filter)).events, [], "unauthenticated");
    }
    client.authenticate(&bob);
    for filter in &all {
        assert_eq!(
            client.query(from_ref(filter)).events,
            [],
            "as somebody else"
        );
    }
    client.authenticate(&alice);
    for filter in all {
        assert_eq!(client.query(&[filter]).events, from_ref(&wrap));
    }
    assert_eq!(client.query(&[json!({"kinds": [1059]})]).events, [wrap]);
}

#[test]
fn a_direct_message_is_for_both_ends() {
    let relay = Relay::start();
    let (alice, bob, carol) = (Key::nth(0), Key::nth(1), Key::nth(2));
    let secret = message(&alice, &bob, "psst");
    publish(&relay, &secret);
    for (key, sees) in [(&alice, true), (&bob, true), (&carol, false)] {
        let mut client = relay.client();
        client.authenticate(key);
        let stored = client.query(&[json!({"kinds": [4]})]);
        assert_eq!(stored.events.len(), usize::from(sees));
    }
}

#[test]
fn a_filter_for_private_kinds_alone_needs_authentication() {
    let relay = Relay::start();
    let mut client = relay.client();
    for kinds in [&[1059][..], &[4], &[21_059], &[4, 1059]] {
        let End::Closed(text) = client.req("s", &[json!({"kinds": kinds})]).end else {
            panic!("kinds {kinds:?} were answered")
        };
        assert!(text.starts_with("auth-required: "), "{text}");
    }
    client.authenticate(&Key::nth(0));
    assert_eq!(
        client.query(&[json!({"kinds": [1059]})]).hint(),
        Some("finish")
    );
}

#[test]
fn a_mixed_filter_leaves_private_events_out_without_a_word() {
    let relay = Relay::start();
    let mut client = relay.client();
    let note = Key::nth(2).note(now() - 10, "open");
    client.accept(&note);
    client.accept(&gift_wrap(1059, &Key::nth(0), "closed"));
    let stored = client.query(&[json!({"kinds": [1, 4, 1059]})]);
    assert_eq!(stored.events, [note]);
    // Hidden ones don't count as more (R67-2).
    assert_eq!(stored.hint(), Some("finish"));
}

#[test]
fn hidden_events_do_not_use_up_the_limit() {
    let relay = Relay::start();
    let mut client = relay.client();
    let note = Key::nth(2).note(1_000, "open");
    client.accept(&note);
    for n in 0..10 {
        client.accept(&gift_wrap(1059, &Key::nth(0), &n.to_string()));
    }
    assert_eq!(client.query(&[json!({"limit": 1})]).events, [note]);
}

#[test]
fn live_private_events_go_to_those_they_are_for() {
    let relay = Relay::start();
    let (alice, bob, carol) = (Key::nth(0), Key::nth(1), Key::nth(2));
    let events = [
        gift_wrap(1059, &alice, "wrapped"),
        gift_wrap(21_059, &alice, "wrapped, passing"),
        message(&bob, &alice, "direct"),
        message(&bob, &carol, "for carol"),
        bob.note(now(), "for all"),
    ];
    let readers = [
        (None, vec![4]),
        (Some(&alice), vec![0, 1, 2, 4]),
        (Some(&bob), vec![2, 3, 4]),
    ];
    let mut writer = relay.client();
    let mut clients = Vec::new();
    for (key, sees) in readers {
        let mut client = relay.client();
        if let Some(key) = key {
            client.authenticate(key);
        }
        client.req("s", &[json!({"kinds": [1, 4, 1059, 21_059], "limit": 0})]);
        open_fence(&mut client);
        clients.push((client, sees));
    }
    for event in &events {
        writer.accept(event);
    }
    for (mut client, sees) in clients {
        let got = drain(&mut client, &mut writer);
        let got: Vec<Event> = got.into_iter().map(|(_, event)| event).collect();
        // Ephemeral events take a shorter way, so that only the sets are compared.
        let mut got = ids(&got);
        let mut want = ids(sees.iter().map(|index| &events[*index]));
        got.sort();
        want.sort();
        assert_eq!(got, want);
    }
}

#[test]
fn auth_gained_later_opens_live_delivery() {
    let relay = Relay::start();
    let alice = Key::nth(0);
    let (mut reader, mut writer) = (relay.client(), relay.client());
    writer.accept(&gift_wrap(1059, &alice, "stored before"));
    settle(&mut writer);
    assert_eq!(reader.req("s", &[json!({"kinds": [1, 1059]})]).events, []);
    open_fence(&mut reader);
    writer.accept(&gift_wrap(1059, &alice, "live, not yet"));
    assert_eq!(drain(&mut reader, &mut writer), []);
    reader.authenticate(&alice);
    let later = gift_wrap(1059, &alice, "live, now");
    writer.accept(&later);
    // The stored part is not widened; what comes now is the current set's (R42-9).
    assert_eq!(drain(&mut reader, &mut writer), [("s".to_owned(), later)]);
}

#[test]
fn a_count_of_private_kinds_has_to_be_limited_to_own_keys() {
    let relay = Relay::start();
    let (alice, bob) = (Key::nth(0), Key::nth(1));
    let mut client = relay.client();
    for n in 0..3 {
        client.accept(&gift_wrap(1059, &alice, &n.to_string()));
    }
    client.accept(&message(&bob, &alice, "direct"));
    let own = json!({"kinds": [1059], "#p": [alice.hex()]});
    let refused = |answer: Result<u64, String>, prefix: &str| {
        let text = answer.expect_err("the count was answered");
        assert!(text.starts_with(&format!("{prefix}: ")), "{text}");
    };
    refused(client.count("c", from_ref(&own)), "auth-required");
    refused(
        client.count("c", &[json!({"kinds": [1059]})]),
        "auth-required",
    );
    client.authenticate(&alice);
    assert_eq!(client.count("c", &[own]), Ok(3));
    refused(client.count("c", &[json!({"kinds": [1059]})]), "restricted");
    refused(
        client.count("c", &[json!({"kinds": [1059], "#p": [bob.hex()]})]),
        "restricted",
    );
    assert_eq!(
        client.count("c", &[json!({"kinds": [4], "#p": [alice.hex()]})]),
        Ok(1)
    );
}

#[test]
fn a_count_without_kinds_leaves_private_events_out() {
    let relay = Relay::start();
    let mut client = relay.client();
    client.accept(&Key::nth(2).note(now(), "open"));
    client.accept(&gift_wrap(1059, &Key::nth(0), "closed"));
    assert_eq!(client.count("c", &[json!({"since": 1})]), Ok(1));
}

#[test]
fn a_seal_has_no_tags() {
    let relay = Relay::start();
    let mut client = relay.client();
    client.accept(&Key::nth(0).sign(now(), 13, &[], "sealed"));
    client.refuse(
        &Key::nth(0).sign(now(), 13, &[&["p", "x"]], "not sealed"),
        "invalid",
    );
}
