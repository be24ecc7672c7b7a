//! What the keys of the canary allow: relays to talk to, a key to sign with, a kind.

use heliograph_protocol::{Kind, KindClass};

use crate::{
    Secret,
    check::{Check, list, relay_url, shortened},
    value::{Shape, Value},
};

/// Relays that a canary reads from at most: each has series of its own.
const READERS_MAX: usize = 16;

/// Where a relay is: `ws://` or `wss://`.
pub(crate) fn optional_relay_url() -> Check<Option<String>> {
    const ALLOWED: &str = "a URL as in \"wss://relay.example.com\"";
    Check::new(Shape::Text, ALLOWED, relay_url).or_off(Value::Text(String::new()), "none")
}

/// Where relays are that are read from.
pub(crate) fn read_urls() -> Check<Vec<String>> {
    const ALLOWED: &str = "URLs as in \"wss://relay.example.com\"";
    list(Shape::Texts, ALLOWED, READERS_MAX, relay_url)
}

/// The secret half of a key; errors don't repeat it.
pub(crate) fn optional_secret_key() -> Check<Option<Secret>> {
    Check::new(Shape::Text, "64 lowercase hex digits", |value| {
        let Value::Text(text) = value else {
            return Err("is not text".to_owned());
        };
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(is_hex) {
            Ok(Secret::new(text.clone()))
        } else {
            Err("is something else".to_owned())
        }
    })
    .or_off(Value::Text(String::new()), "another one at each start")
    .secret()
}

/// A kind whose events are stored one by one and shown to everybody.
pub(crate) fn probe_kind() -> Check<Kind> {
    const ALLOWED: &str = "a regular kind from 1 to 9,999 that means nothing to the relay";
    Check::new(Shape::Integer, ALLOWED, |value| {
        let Value::Integer(number) = value else {
            return Err(format!("is {}", shortened(value)));
        };
        let kind = u16::try_from(*number).ok().map(Kind::new);
        kind.filter(|kind| is_plain(*kind))
            .ok_or_else(|| format!("{number} is another"))
    })
}

/// Neither replaces, deletes nor hides, and goes to whoever asks.
fn is_plain(kind: Kind) -> bool {
    const SPECIAL: [Kind; 4] = [
        Kind::DIRECT_MESSAGE,
        Kind::DELETION,
        Kind::VANISH,
        Kind::GIFT_WRAP,
    ];
    kind.class() == KindClass::Regular && kind.as_u16() < 10_000 && !SPECIAL.contains(&kind)
}
