//! What EVENT may bring in, and how often; what AUTH proves.

use std::slice::from_ref;

use heliograph_protocol::Event;
use heliograph_testkit::{
    RELAY_URL,
    client::{Client, End},
    keys::Key,
};
use serde_json::json;

use super::{Bucket, count_passed, default_of, made_up, relay};
use crate::{limits::limitation, support::now};

/// Event rate: 10 a second of one connection, 50 at once; 30 and 150 of one address (OK `false`,
/// `rate-limited:`). AUTH counts too, and so does what can't be read.
#[test]
fn event_rate() {
    for (key, value) in [
        ("events_per_sec", "10"),
        ("events_burst", "50"),
        ("events_per_ip_per_sec", "30"),
        ("events_per_ip_burst", "150"),
    ] {
        assert_eq!(default_of("gateway", key), value, "{key}");
    }
    let events: Vec<Event> = (0..200).map(made_up).collect();
    let server = relay("");
    for verb in ["EVENT", "AUTH"] {
        let mut client = server.client();
        let bucket = Bucket::new(50, 10);
        for event in &events {
            client.send(&format!(r#"["{verb}",{}]"#, event.as_str()));
        }
        bucket.check(count_passed(&mut client, events.len()));
    }

    let server = relay("");
    let bucket = Bucket::new(150, 30);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    for client in &mut clients {
        events[..50]
            .iter()
            .for_each(|event| client.send_event(event));
    }
    let passed = clients.iter_mut().map(|client| count_passed(client, 50));
    bucket.check(passed.sum());

    let server = relay("");
    let mut client = server.client();
    let broken = format!(r#"["EVENT",{{"id":"{}"}}]"#, "0".repeat(64));
    (0..49).for_each(|_| client.send(&broken));
    (0..49).for_each(|_| drop(client.next_reply()));
    let bucket = Bucket::new(1, 10);
    for event in &events {
        client.send_event(event);
    }
    bucket.check(count_passed(&mut client, events.len()));
}

/// Tag bomb: 2,000 tags, of which 200 with a name of one letter where events pile up (OK `false`,
/// `invalid:`); values are found by up to 1,024 bytes (CLOSED `unsupported:`, R01-67).
#[test]
fn tag_bomb() {
    let relay = relay("[gateway]\nevents_per_sec = 0\nevents_per_ip_per_sec = 0");
    let max = limitation(&relay, "max_event_tags");
    assert_eq!(max, 2_000);
    let mut client = relay.client();
    let signed = |kind, tag: &[&str], count| Key::nth(0).sign(now(), kind, &vec![tag; count], "");
    for (kind, tag) in [
        (1, ["word", "x"]),
        (3, ["p", "x"]),
        (5, ["e", "x"]),
        (30_000, ["p", "x"]),
    ] {
        client.accept(&signed(kind, &tag, max));
        client.refuse(&signed(kind, &tag, max + 1), "invalid");
    }
    let max = limitation(&relay, "max_indexed_tags");
    assert_eq!(max, 200);
    for kind in [1, 7, 20_001] {
        client.accept(&signed(kind, &["t", "x"], max));
        client.refuse(&signed(kind, &["t", "x"], max + 1), "invalid");
    }
    // As seen in the wild.
    client.refuse(&signed(10_002, &["r", "x"], 9_025), "invalid");

    let (indexed, stored) = ("é".repeat(512), "x".repeat(1_025));
    let event = Key::nth(0).sign(now(), 9_999, &[&["t", &indexed], &["T", &stored]], "");
    client.accept(&event);
    assert_eq!(
        client.query(&[json!({"#t": [indexed]})]).events,
        from_ref(&event)
    );
    assert_eq!(client.count("c", &[json!({"#t": [indexed]})]), Ok(1));
    assert_eq!(
        client.query(&[json!({"#T": [indexed]})]).events,
        [],
        "letters have a case"
    );
    assert_eq!(client.query(&[json!({"kinds": [9_999]})]).events, [event]);
    let End::Closed(text) = client.req("s", &[json!({"#T": [stored]})]).end else {
        panic!("a value that isn't indexed is looked for")
    };
    assert!(text.starts_with("unsupported: "), "{text}");
    let text = client.count("c", &[json!({"#T": [stored]})]).unwrap_err();
    assert!(text.starts_with("unsupported: "), "{text}");
}

/// `created_at`: 900 s ahead, any time ago, 60 s for what is ephemeral (OK `false`, `invalid:`); the document
/// says the same (R01-35, R01-47).
#[test]
fn created_at() {
    let server = relay("");
    assert_eq!(limitation(&server, "created_at_upper_limit"), 900);
    let limits = crate::http::document(&server)["limitation"].clone();
    assert_eq!(limits.get("created_at_lower_limit"), None, "{limits}");
    let mut client = server.client();
    let signed = |kind, at: u64| Key::nth(0).sign(at, kind, &[], &at.to_string());
    // The relay's clock is no earlier than this one when it reads them.
    client.accept(&signed(1, now() + 900));
    client.refuse(&signed(1, now() + 960), "invalid");
    client.accept(&signed(1, 0));
    client.accept(&signed(20_001, now()));
    client.refuse(&signed(20_001, now() - 61), "invalid");
    client.refuse(&signed(20_001, now() + 960), "invalid");

    let server = relay("[policy]\ncreated_at_lower_limit_secs = 200_000");
    assert_eq!(limitation(&server, "created_at_lower_limit"), 200_000);
    let mut client = server.client();
    client.accept(&signed(1, now() - 200_000 + 60));
    client.refuse(&signed(1, now() - 200_001), "invalid");
}

/// Replay of AUTH: an answer counts on the connection that it was asked on, for this relay by its whole
/// name, within 10 minutes (OK `false`, `invalid:`, R42-3, R42-4).
#[test]
fn auth_replay() {
    let relay = relay(&format!("[relay]\nurl = [\"{RELAY_URL}\"]"));
    let alice = Key::nth(0);
    let mut first = relay.client();
    let challenge = first.challenge();
    // 128 random bits in hex (R42-1).
    assert_eq!(challenge.len(), 32, "{challenge}");
    let answer = alice.auth(now(), RELAY_URL, &challenge);
    assert_eq!(first.auth_with(&answer), (true, String::new()));

    let mut second = relay.client();
    let challenge = second.challenge();
    let mut refuse = |event: &Event| {
        let (accepted, text) = second.auth_with(event);
        assert!(
            !accepted && text.starts_with("invalid: "),
            "{text:?} to {}",
            event.as_str()
        );
    };
    refuse(&answer);
    for url in [
        "wss://relay.example.org",
        "wss://relay.example.com.evil.example",
        "wss://evil.example/relay.example.com",
        "wss://relay.example.com@evil.example",
        "https://relay.example.com",
        "",
    ] {
        refuse(&alice.auth(now(), url, &challenge));
    }
    for challenge in [&challenge[..31], &*format!("{challenge}0"), ""] {
        refuse(&alice.auth(now(), RELAY_URL, challenge));
    }
    // The relay's clock is no earlier than this one when it reads them.
    refuse(&alice.auth(now() - 601, RELAY_URL, &challenge));
    refuse(&alice.auth(now() + 660, RELAY_URL, &challenge));
    // None of that has let anybody in.
    let protected = alice.sign(now(), 1, &[&["-"]], "");
    second.refuse(&protected, "auth-required");
    let latest = alice.auth(now() + 600, RELAY_URL, &challenge);
    assert_eq!(second.auth_with(&latest), (true, String::new()));
    second.accept(&protected);
    let mut third = relay.client();
    let challenge = third.challenge();
    let earlier = alice.auth(now() - 540, RELAY_URL, &challenge);
    assert_eq!(third.auth_with(&earlier), (true, String::new()));
}
