//! Stopping in order (CL-6): pending EVENTs answered, subscriptions closed with a reason, 1001,
//! exit code 0.

use heliograph_protocol::Event;
use heliograph_testkit::{
    PATIENCE,
    client::{Client, End},
    keys::Key,
    process::Relay,
    reply::Reply,
};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{notes, now, stored_of};

/// Reads to the close frame and returns its code and what came before.
#[track_caller]
fn to_the_end(client: &mut Client) -> (Vec<Reply>, u16) {
    let mut replies = Vec::new();
    loop {
        match client.next_reply() {
            Reply::Close(code, _) => return (replies, code),
            reply => replies.push(reply),
        }
    }
}

/// Publishes, stops the relay once an EVENT is answered and others are on their way, and reads to the
/// end: every EVENT answered or refused, a reason for every subscription, 1001. The ids accepted.
#[track_caller]
pub(crate) fn check_drained(
    mut reader: Client,
    mut writer: Client,
    key: &Key,
    stop: impl FnOnce(),
) -> Vec<String> {
    reader.req("one", &[json!({"kinds": [1], "limit": 0})]);
    reader.req("two", &[json!({"kinds": [2], "limit": 0})]);
    let events: Vec<Event> = notes(key, now(), 200);
    for event in &events {
        writer.send_event(event);
    }
    let first = events[0].id().to_hex();
    assert!(writer.ok(&first).0);
    stop();
    let (replies, code) = to_the_end(&mut writer);
    assert_eq!(code, 1001, "{replies:?}");
    let mut accepted = vec![first];
    for reply in replies {
        match reply {
            Reply::Ok {
                id, accepted: true, ..
            } => accepted.push(id),
            Reply::Ok {
                accepted: false,
                text,
                ..
            } => {
                assert!(text.starts_with("error: "), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    let (replies, code) = to_the_end(&mut reader);
    assert_eq!(code, 1001);
    for sub in ["one", "two"] {
        let closed: Vec<&Reply> = replies
            .iter()
            .filter(|reply| reply.subject() == Some(sub))
            .collect();
        let Some(Reply::Closed { text, .. }) = closed.last() else {
            panic!("{closed:?}")
        };
        assert_eq!(text, "error: shutting down");
    }
    accepted
}

#[track_caller]
fn check_stop(signal: Signal) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut relay = Relay::on(&data, &["shutdown.drain_secs=1"]);
    let stop = || relay.signal(signal);
    let accepted = check_drained(relay.client(), relay.client(), &Key::nth(0), stop);
    assert_eq!(relay.exit().code(), Some(0), "{}", relay.log());
    let relay = Relay::on(&data, &[]);
    let found = stored_of(&mut relay.client(), &accepted);
    for id in accepted {
        assert!(found.contains(&id), "{id} got OK true and is lost");
    }
}

#[test]
fn sigterm_answers_what_is_pending_then_closes() {
    check_stop(Signal::TERM);
}

#[test]
fn ctrl_c_does_the_same() {
    check_stop(Signal::INT);
}

#[test]
fn every_connection_gets_1001_and_none_is_accepted_after() {
    let mut relay = Relay::with(&["shutdown.drain_secs=1"]);
    let mut clients: Vec<Client> = (0..20).map(|_| relay.client()).collect();
    for client in &mut clients {
        let end = client.req("s", &[json!({"limit": 0})]).end;
        assert!(matches!(end, End::Eose(_)));
    }
    relay.terminate();
    for client in &mut clients {
        assert_eq!(client.closed("s"), "error: shutting down");
        assert_eq!(to_the_end(client).1, 1001);
    }
    assert_eq!(relay.exit().code(), Some(0), "{}", relay.log());
    assert!(std::net::TcpStream::connect_timeout(&relay.address(), PATIENCE).is_err());
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_stop() {
    let settings = ["shutdown.drain_secs=1", "shutdown.grace_secs=5"];
    let mut relay = Relay::with(&settings);
    let mut writer = relay.client();
    let mut stuck = Client::over(heliograph_testkit::websocket::WebSocket::connect_narrow(
        relay.address(),
        4_096,
    ));
    stuck.req("s", &[json!({"kinds": [1]})]);
    let text = "x".repeat(50_000);
    for n in 0..20 {
        writer.accept(&Key::nth(0).sign(1_700_000_000 + n, 1, &[], &text));
    }
    relay.terminate();
    assert_eq!(relay.exit().code(), Some(0), "{}", relay.log());
}

#[test]
fn a_relay_stopped_and_continued_goes_on() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("s", &[json!({"kinds": [1]})]);
    relay.signal(Signal::STOP);
    let event = Key::nth(0).note(now(), "sent while it slept");
    writer.send_event(&event);
    relay.signal(Signal::CONT);
    assert_eq!(writer.ok(&event.id().to_hex()), (true, String::new()));
    assert_eq!(reader.next_event("s"), event);
}
