//! What is cheap is checked first, so that what is refused costs little: each test offers what two checks
//! would refuse, and the cheaper one has to answer.

use heliograph_protocol::{Event, EventId, Kind, Signature, Timestamp};
use heliograph_testkit::{client::Client, http::request, keys::Key, process::Relay};
use serde_json::json;

use super::{connect, forwarded, refused, relay};
use crate::{
    operate::admin,
    support::{metric, notes, now},
};

/// An event whose signature is wrong.
fn forged(kind: u16, at: u64, content: &str) -> Event {
    let tags: [Vec<&str>; 0] = [];
    let sign = |_: &EventId| Signature::new([0; 64]);
    let (author, at) = (Key::nth(0).public(), Timestamp::from_secs(at));
    Event::build(author, at, Kind::new(kind), &tags, content, sign)
}

/// The refusal of an event.
#[track_caller]
fn refusal(client: &mut Client, event: &Event) -> String {
    let (accepted, text) = client.publish(event);
    assert!(!accepted, "{}", event.as_str());
    text
}

/// Signatures that were checked, rightly or wrongly made.
fn verified(relay: &Relay) -> f64 {
    let page = request(admin(relay), "GET", "/metrics", &[]);
    let bad = metric(page.text(), "heliograph_verify_bad_total");
    bad + metric(page.text(), "heliograph_verify_valid_total")
}

/// The limits of an address come before the room of all: who connects without end isn't told, or counted
/// as, a lack of room.
#[test]
fn an_address_is_looked_at_before_the_room() {
    let relay = relay(
        "[gateway]\nconnections_max = 1\nconnections_per_ip_max = 1\n\
         trusted_proxies = [\"127.0.0.1/32\"]",
    );
    let mut held = connect(&relay, &forwarded("192.0.2.1"));
    assert_eq!(refused(&relay, &forwarded("192.0.2.1")).status, 429);
    assert_eq!(refused(&relay, &forwarded("192.0.2.2")).status, 503);
    assert_eq!(held.fence(), []);
}

/// The length of a message comes before what it says, and that before any rate.
#[test]
fn a_message_is_measured_before_it_is_counted() {
    let relay = relay(
        "[gateway]\nmessage_bytes_max = 70_000\nevent_bytes_max = 65_536\n\
         large_event_bytes_max = 65_536\nevents_per_sec = 1\nevents_burst = 1",
    );
    let mut client = relay.client();
    let long = forged(1, now(), &"x".repeat(70_000));
    client.send_event(&long);
    let page = |name: &str| {
        let page = request(admin(&relay), "GET", "/metrics", &[]);
        metric(page.text(), name)
    };
    assert_eq!(client.socket.read_close().0, 1009);
    let received = r#"heliograph_client_messages_total{verb="EVENT"}"#;
    assert_eq!(page(received), 0.0, "read as an event");
    let too_long = r#"heliograph_limit_rejections_total{limit="message_bytes"}"#;
    assert_eq!(page(too_long), 1.0);
}

/// A rate comes before everything that is said about an event or a question, duplicates included.
#[test]
fn a_rate_is_looked_at_before_the_rules() {
    let relay = relay(
        "[gateway]\nevents_per_sec = 1\nevents_burst = 1\nreqs_per_sec = 1\nreqs_burst = 1\n\
         [policy]\nkinds_blocked = [7]",
    );
    let mut client = relay.client();
    let note = Key::nth(0).note(now(), "once");
    client.accept(&note);
    // All at once, and far more than come back meanwhile.
    let later = [note.clone(), forged(7, now(), ""), forged(1, 1 << 40, "")];
    let filters = vec![json!({"kinds": [1]}); 21];
    for _ in 0..100 {
        later.iter().for_each(|event| client.send_event(event));
        client.send_req("s", &filters);
    }
    let mut answers = Vec::new();
    for _ in 0..100 {
        for event in &later {
            answers.push(client.ok(&event.id().to_hex()).1);
        }
        answers.push(client.closed("s"));
    }
    let limited = |text: &&String| text.starts_with("rate-limited: ");
    let limited = answers.iter().filter(limited).count();
    // As many passed as tokens came back: of events and of questions one a second.
    assert!(
        limited > answers.len() / 2,
        "{limited} of {}",
        answers.len()
    );
}

/// A known event is answered by `duplicate:` without a check of its signature (R01-16).
#[test]
fn a_duplicate_is_known_before_its_signature_is_checked() {
    let relay = relay("");
    let mut client = relay.client();
    let note = Key::nth(0).note(now(), "known");
    client.accept(&note);
    assert_eq!(verified(&relay), 1.0);
    for _ in 0..10 {
        let (accepted, answer) = client.publish(&note);
        assert!(accepted && answer.starts_with("duplicate: "), "{answer:?}");
    }
    assert_eq!(verified(&relay), 1.0);
}

/// What the rules refuse is refused without a look at its signature: size, tags, time, kind, author.
#[test]
fn the_rules_are_asked_before_the_signature_is_checked() {
    let blocked = Key::nth(3);
    let relay = relay(&format!(
        "[gateway]\ninvalid_signatures_max = 1\n[policy]\nkinds_blocked = [7]\n\
         pubkeys_blocked = [\"{}\"]\npow_min_bits = 0",
        blocked.hex()
    ));
    let mut client = relay.client();
    let tagged = |kind, tag: &[&str], count: usize| {
        let tags = vec![tag.to_vec(); count];
        let at = Timestamp::from_secs(now());
        let sign = |_: &EventId| Signature::new([0; 64]);
        Event::build(Key::nth(0).public(), at, Kind::new(kind), &tags, "", sign)
    };
    let by_blocked = Event::build(
        blocked.public(),
        Timestamp::from_secs(now()),
        Kind::new(1),
        &Vec::<Vec<&str>>::new(),
        "",
        |_| Signature::new([0; 64]),
    );
    for (event, refused) in [
        (
            forged(1, now(), &"x".repeat(66_000)),
            "invalid: event larger",
        ),
        (forged(1, now() + 10_000, ""), "invalid: created_at"),
        (forged(20_001, now() - 100, ""), "invalid: ephemeral"),
        (
            tagged(3, &["p", "x"], 2_001),
            "invalid: more than 2000 tags",
        ),
        (tagged(1, &["t", "x"], 201), "invalid: more than 200 tags"),
        (forged(7, now(), ""), "blocked: kind 7"),
        (by_blocked, "blocked: this key"),
        (tagged(1, &["-"], 1), "auth-required: "),
    ] {
        let text = refusal(&mut client, &event);
        assert!(text.starts_with(refused), "{text:?} instead of {refused:?}");
    }
    assert_eq!(verified(&relay), 0.0);
    let text = refusal(&mut client, &forged(1, now(), ""));
    assert!(text.starts_with("invalid: bad signature"), "{text}");
    assert_eq!(verified(&relay), 1.0);
    assert_eq!(client.socket.read_close().0, 1008);
}

/// A full queue of checks answers at once: OK `false`, `rate-limited:`, and the event may come again.
#[test]
fn verify_queue() {
    let relay = relay(
        "[gateway]\nevents_per_sec = 0\nevents_per_ip_per_sec = 0\n\
         [verify]\nthreads = 1\nqueue_max = 1",
    );
    let mut client = relay.client();
    let events = notes(&Key::nth(0), 1_700_000_000, 200);
    // Read together, since nobody reads before all is there.
    relay.pause();
    events.iter().for_each(|event| client.send_event(event));
    relay.resume();
    let mut busy = Vec::new();
    for event in &events {
        let (accepted, text) = client.ok(&event.id().to_hex());
        if !accepted {
            let said = "rate-limited: too many events wait";
            assert!(text.starts_with(said), "{text}");
            busy.push(event);
        }
    }
    assert!(
        !busy.is_empty() && busy.len() < events.len(),
        "{}",
        busy.len()
    );
    let again = client.publish(busy[0]);
    assert!(again.0, "{again:?}");
}
