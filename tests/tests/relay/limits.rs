//! What the information document advertises is what is enforced: every value is read from it and
//! probed at the limit and one past it (R11-4, R01-68).

use heliograph_protocol::{Event, difficulty};
use heliograph_testkit::{
    client::{Client, End, query},
    frame::Frame,
    keys::Key,
    process::Relay,
    reply::Reply,
};
use serde_json::{Value, json};

use crate::{
    http::document,
    support::{accept_all, ids, notes, now},
};

/// One advertised limit.
#[track_caller]
fn limitation(relay: &Relay, name: &str) -> usize {
    let limits = &document(relay)["limitation"];
    let value = limits[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {limits}"));
    usize::try_from(value).unwrap()
}

#[test]
fn max_message_length() {
    let relay = Relay::with(&[
        "gateway.message_bytes_max=70000",
        "gateway.event_bytes_max=65536",
        "gateway.large_event_bytes_max=65536",
    ]);
    let max = limitation(&relay, "max_message_length");
    assert_eq!(max, 70_000);
    let mut client = relay.client();
    let padded = |bytes: usize| format!(r#"{}["CLOSE","s"]"#, " ".repeat(bytes - 13));
    client.socket.send(&Frame::text(padded(max)));
    assert_eq!(client.fence(), []);
    client.socket.send(&Frame::text(padded(max + 1)));
    assert!(matches!(client.next_reply(), Reply::Notice(_)));
    assert!(matches!(client.next_reply(), Reply::Close(1009, _)));
}

#[test]
fn max_subscriptions() {
    let relay = Relay::with(&["gateway.subscriptions_max=7"]);
    let max = limitation(&relay, "max_subscriptions");
    assert_eq!(max, 7);
    let mut client = relay.client();
    let none = [json!({"limit": 0})];
    for n in 0..max {
        assert!(matches!(
            client.req(&n.to_string(), &none).end,
            End::Eose(_)
        ));
    }
    let End::Closed(text) = client.req("one more", &none).end else {
        panic!("no CLOSED")
    };
    assert!(
        text.starts_with("blocked: ") || text.starts_with("rate-limited: "),
        "{text}"
    );
    // One in use may be replaced, and one closed makes room (R01-56, R01-58).
    assert!(matches!(client.req("0", &none).end, End::Eose(_)));
    client.close("1");
    assert!(matches!(client.req("one more", &none).end, End::Eose(_)));
}

#[test]
fn max_limit_and_default_limit() {
    let relay = Relay::with(&["gateway.limit_max=20", "gateway.limit_default=10"]);
    let (max, default) = (
        limitation(&relay, "max_limit"),
        limitation(&relay, "default_limit"),
    );
    assert_eq!((max, default), (20, 10));
    let mut client = relay.client();
    let mut all = notes(&Key::nth(0), 1_700_000_000, 30);
    accept_all(&mut client, &all);
    all.reverse();
    let all = ids(&all);
    for limit in [0, 1, max - 1, max] {
        let stored = client.query(&[json!({"kinds": [1], "limit": limit})]);
        assert_eq!(stored.ids(), all[..limit], "limit {limit}");
    }
    let clamped = client.query(&[json!({"kinds": [1], "limit": max + 1})]);
    assert_eq!(clamped.ids(), all[..max], "clamped without a word (R01-54)");
    assert_eq!(client.query(&[json!({"kinds": [1]})]).ids(), all[..default]);
}

#[test]
fn max_subid_length() {
    let relay = Relay::start();
    let max = limitation(&relay, "max_subid_length");
    assert_eq!(max, 64, "NIP-01 says so");
    let mut client = relay.client();
    for sign in ["x", "é", "😀"] {
        let stored = client.query(&[json!({"ids": []})]);
        assert_eq!(stored.events, []);
        let id = sign.repeat(max);
        assert!(matches!(
            client.req(&id, &[json!({"ids": []})]).end,
            End::Eose(_)
        ));
        let id = sign.repeat(max + 1);
        let End::Closed(text) = client.req(&id, &[json!({"ids": []})]).end else {
            panic!("{sign} {} times is an id", max + 1)
        };
        assert!(text.starts_with("invalid: "), "{text}");
    }
}

#[test]
fn max_event_tags() {
    let relay = Relay::with(&["gateway.event_tags_max=50"]);
    let max = limitation(&relay, "max_event_tags");
    assert_eq!(max, 50);
    let mut client = relay.client();
    let tags = vec![&["t", "x"][..]; max + 1];
    client.accept(&Key::nth(0).sign(now(), 1, &tags[..max], ""));
    client.refuse(&Key::nth(0).sign(now(), 1, &tags, ""), "invalid");
}

#[test]
fn max_content_length_counts_characters() {
    let relay = Relay::with(&["gateway.content_chars_max=100"]);
    let max = limitation(&relay, "max_content_length");
    assert_eq!(max, 100);
    let mut client = relay.client();
    for sign in ["x", "😀", "\n"] {
        client.accept(&Key::nth(0).note(now(), &sign.repeat(max)));
        client.refuse(&Key::nth(0).note(now(), &sign.repeat(max + 1)), "invalid");
    }
}

#[test]
fn created_at_limits() {
    let settings = [
        "policy.created_at_upper_limit_secs=900",
        "policy.created_at_lower_limit_secs=200000",
    ];
    let relay = Relay::with(&settings);
    let upper = limitation(&relay, "created_at_upper_limit") as u64;
    let lower = limitation(&relay, "created_at_lower_limit") as u64;
    assert_eq!((upper, lower), (900, 200_000));
    let mut client = relay.client();
    let note = |created_at: u64| Key::nth(0).note(created_at, &created_at.to_string());
    // The clock moves between here and there, so inside by a minute, outside by a minute.
    client.accept(&note(now() + upper - 60));
    client.refuse(&note(now() + upper + 60), "invalid");
    client.accept(&note(now() - lower + 60));
    client.refuse(&note(now() - lower - 60), "invalid");
}

#[test]
fn limits_that_are_open_are_not_advertised() {
    let relay = Relay::start();
    let limits = document(&relay)["limitation"].clone();
    assert_eq!(limits.get("created_at_upper_limit"), None, "{limits}");
    assert_eq!(limits.get("created_at_lower_limit"), None, "{limits}");
    assert_eq!(limits["auth_required"], false);
    assert_eq!(limits["payment_required"], false);
    assert_eq!(limits["restricted_writes"], false);
    let mut client = relay.client();
    client.accept(&Key::nth(0).note(0, "the beginning"));
    client.accept(&Key::nth(0).note(9_007_199_254_740_991, "the end"));
}

/// A note whose id has at least `bits` leading zero bits, or exactly one fewer.
fn mine(bits: u32, enough: bool) -> Event {
    let created_at = now();
    let wanted = |event: &Event| {
        let found = difficulty(event.id());
        if enough {
            found >= bits
        } else {
            found == bits - 1
        }
    };
    let mut tries = (0_u64..).map(|nonce| {
        let (nonce, bits) = (nonce.to_string(), bits.to_string());
        Key::nth(0).sign(created_at, 1, &[&["nonce", &nonce, &bits]], "mined")
    });
    tries.find(wanted).expect("numbers don't end")
}

#[test]
fn min_pow_difficulty() {
    let relay = Relay::with(&["policy.pow_min_bits=6"]);
    let bits = u32::try_from(limitation(&relay, "min_pow_difficulty")).unwrap();
    assert_eq!(bits, 6);
    let mut client = relay.client();
    client.accept(&mine(bits, true));
    client.refuse(&mine(bits, false), "pow");
}

#[test]
fn required_authentication_is_advertised() {
    let relay = Relay::with(&["auth.required_to_read=true", "auth.required_to_write=true"]);
    assert_eq!(document(&relay)["limitation"]["auth_required"], true);
}

#[test]
fn restricted_writes_are_advertised() {
    let allowed = Key::nth(0);
    let relay = Relay::with(&[&format!(r#"policy.pubkeys_allowed=["{}"]"#, allowed.hex())]);
    assert_eq!(document(&relay)["limitation"]["restricted_writes"], true);
    let mut client = relay.client();
    client.accept(&allowed.note(now(), "welcome"));
    let other = Key::nth(1);
    client.refuse(&other.note(now(), "not welcome"), "auth-required");
    client.authenticate(&other);
    client.refuse(&other.note(now(), "not welcome either"), "restricted");
}

fn closed_text(client: &mut Client, verb: &str, filters: &[Value]) -> Option<String> {
    client.send(&query(verb, "probe", filters));
    match client.next_reply() {
        Reply::Closed { text, .. } => Some(text),
        Reply::Eose { .. } | Reply::Count { .. } => None,
        other => client.socket.fail(&format!("{other:?}")),
    }
}

#[test]
fn filters_and_values_are_bounded() {
    let relay = Relay::with(&["gateway.filters_max=3", "gateway.filter_values_max=10"]);
    let mut client = relay.client();
    let filter = json!({"kinds": [1], "limit": 0});
    for verb in ["REQ", "COUNT"] {
        assert_eq!(
            closed_text(&mut client, verb, &vec![filter.clone(); 3]),
            None
        );
        let text = closed_text(&mut client, verb, &vec![filter.clone(); 4]).expect("CLOSED");
        assert!(text.starts_with("blocked: "), "{verb}: {text}");
        let kinds: Vec<u64> = (11..=17).collect();
        let values = |tags: &[&str]| json!({"kinds": kinds, "#t": tags});
        assert_eq!(
            closed_text(&mut client, verb, &[values(&["a", "b", "c"])]),
            None
        );
        let text = closed_text(&mut client, verb, &[values(&["a", "b", "c", "d"])]).unwrap();
        assert!(text.starts_with("blocked: "), "{verb}: {text}");
    }
}

#[test]
fn an_event_over_the_limit_in_bytes_is_refused_as_invalid() {
    let settings = [
        "gateway.event_bytes_max=2000",
        "gateway.large_event_bytes_max=4000",
    ];
    let relay = Relay::with(&settings);
    let mut client = relay.client();
    let sized = |kind: u16, bytes: usize| {
        let empty = Key::nth(0).sign(1_700_000_000, kind, &[], "").json().len();
        Key::nth(0).sign(1_700_000_000, kind, &[], &"x".repeat(bytes - empty))
    };
    client.accept(&sized(1, 2_000));
    client.refuse(&sized(1, 2_001), "invalid");
    client.accept(&sized(30_023, 4_000));
    client.refuse(&sized(30_023, 4_001), "invalid");
}

#[test]
fn rates_are_bounded_and_say_so() {
    let relay = Relay::with(&["gateway.events_per_sec=1", "gateway.events_burst=5"]);
    let mut client = relay.client();
    let events = notes(&Key::nth(0), 1_700_000_000, 30);
    for event in &events {
        client.send_event(event);
    }
    let answers: Vec<_> = ids(&events).iter().map(|id| client.ok(id)).collect();
    let accepted = answers.iter().filter(|(accepted, _)| *accepted).count();
    assert!(
        (5..30).contains(&accepted),
        "{accepted} of 30 at once, with a burst of 5"
    );
    for (_, text) in answers.iter().filter(|(accepted, _)| !accepted) {
        assert!(text.starts_with("rate-limited: "), "{text}");
    }
}

#[test]
fn a_client_that_keeps_sending_rubbish_is_closed_with_1008() {
    let relay = Relay::with(&["gateway.invalid_messages_max=3"]);
    let mut client = relay.client();
    for _ in 0..4 {
        client.send("hello");
    }
    let mut replies = Vec::new();
    loop {
        match client.next_reply() {
            Reply::Notice(text) => replies.push(text),
            Reply::Close(code, _) => break assert_eq!(code, 1008),
            other => panic!("{other:?}"),
        }
    }
    assert!(replies.len() >= 3, "{replies:?}");
}

#[test]
fn connections_of_one_address_are_bounded_before_the_upgrade() {
    let relay = Relay::with(&["gateway.connections_per_ip_max=3"]);
    let _held: Vec<Client> = (0..3).map(|_| relay.client()).collect();
    let handshake = heliograph_testkit::websocket::Handshake::default();
    let request = handshake.request(relay.address());
    let response = heliograph_testkit::http::exchange(relay.address(), request.as_bytes());
    assert_eq!(response.status, 429);
}
