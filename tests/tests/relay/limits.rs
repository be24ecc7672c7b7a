//! What the information document advertises is what is enforced: every value is read from it and
//! probed at the limit and one past it (R11-4). What protects the relay by default is in `abuse`.

use heliograph_protocol::{Event, difficulty};
use heliograph_testkit::{keys::Key, process::Relay, reply::Reply};

use crate::{http::document, support::now};

/// One advertised limit.
#[track_caller]
pub(crate) fn limitation(relay: &Relay, name: &str) -> usize {
    let limits = &document(relay)["limitation"];
    let value = limits[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {limits}"));
    usize::try_from(value).unwrap()
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
