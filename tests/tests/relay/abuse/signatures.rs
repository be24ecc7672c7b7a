//! Who signed: forgeries are refused, and who sends many is kept out for a while.

use heliograph_protocol::Event;
use heliograph_sandbox::wait::within;
use heliograph_testkit::{
    PATIENCE, RELAY_URL, client::Client, keys::Key, process::Relay, reply::Reply,
    websocket::WebSocket,
};

use super::{connect, default_of, forwarded, refused, relay};
use crate::support::now;

/// A note by one key with the signature of another event.
fn forged(n: usize) -> (Event, String) {
    let (good, other) = (
        Key::nth(0).note(now(), &n.to_string()),
        Key::nth(1).note(now(), "other"),
    );
    let text = good.as_str();
    let forged = text.replace(&good.sig().to_hex(), &other.sig().to_hex());
    (good, forged)
}

/// Sends what has to be refused as `invalid:`.
#[track_caller]
fn check_invalid(client: &mut Client, verb: &str, id: &str, text: &str) {
    client.send(&format!(r#"["{verb}",{text}]"#));
    let (accepted, answer) = client.ok(id);
    assert!(
        !accepted && answer.starts_with("invalid: "),
        "{answer:?} to {text}"
    );
}

/// Sends a forgery.
#[track_caller]
fn forge(client: &mut Client, n: usize) {
    let (good, text) = forged(n);
    check_invalid(client, "EVENT", &good.id().to_hex(), &text);
}

fn behind_proxy(lines: &str) -> Relay {
    relay(&format!(
        "[gateway]\ntrusted_proxies = [\"127.0.0.1/32\"]\n{lines}\n[relay]\nurl = [\"{RELAY_URL}\"]"
    ))
}

/// Spoofed id or signature: refused (OK `false`, `invalid:`), by EVENT and AUTH; the tenth wrong signature
/// of an address in 10 minutes closes the connection (1008) and keeps the address out for 10 minutes (403).
#[test]
fn signature_spoof() {
    assert_eq!(default_of("gateway", "invalid_signatures_max"), "10");
    assert_eq!(default_of("gateway", "invalid_signatures_ban_secs"), "600");
    let relay = behind_proxy("");
    let mut client = connect(&relay, &forwarded("192.0.2.1"));
    // What an id tells costs no check of a signature, so it isn't counted.
    let note = Key::nth(0).note(now(), "mine");
    for (member, by) in [
        ("mine", "hers"),
        (&*Key::nth(0).hex(), &*Key::nth(1).hex()),
        (r#""kind":1"#, r#""kind":2"#),
    ] {
        let spoofed = note.as_str().replace(member, by);
        for _ in 0..5 {
            check_invalid(&mut client, "EVENT", &note.id().to_hex(), &spoofed);
        }
    }
    // The id is right and the name is another's.
    let theirs = Event::build(
        Key::nth(1).public(),
        note.created_at(),
        note.kind(),
        &Vec::<Vec<&str>>::new(),
        "in your name",
        |_| note.sig(),
    );
    check_invalid(&mut client, "EVENT", &theirs.id().to_hex(), theirs.as_str());
    for n in 1..4 {
        forge(&mut client, n);
    }
    let mut second = connect(&relay, &forwarded("192.0.2.1"));
    let challenge = second.challenge();
    for n in 4..9 {
        let auth = Key::nth(0).auth(now() + n, RELAY_URL, &challenge);
        let (right, wrong) = (auth.sig().to_hex(), note.sig().to_hex());
        let text = auth.as_str().replace(&right, &wrong);
        check_invalid(&mut second, "AUTH", &auth.id().to_hex(), &text);
    }
    // Nine so far: both go on, and what is rightly signed is taken.
    client.accept(&note);
    assert_eq!(second.fence(), []);
    forge(&mut client, 9);
    assert!(matches!(client.next_reply(), Reply::Close(1008, _)));
    let answer = refused(&relay, &forwarded("192.0.2.1"));
    assert_eq!(answer.status, 403, "{}", answer.text());
    let mut other = connect(&relay, &forwarded("192.0.2.2"));
    assert_eq!(other.fence(), []);
}

/// Whoever was kept out may come back.
#[test]
fn a_ban_ends() {
    let relay = behind_proxy("invalid_signatures_max = 1\ninvalid_signatures_ban_secs = 1");
    let from = forwarded("192.0.2.1");
    let mut client = connect(&relay, &from);
    forge(&mut client, 0);
    assert!(matches!(client.next_reply(), Reply::Close(1008, _)));
    within(PATIENCE, "end of the ban", || {
        WebSocket::try_connect_with(relay.address(), &from, PATIENCE).ok()
    });
}
