//! What writes do to open subscriptions: losers, deletions, ephemeral events (CL-3, R01-41,
//! R01-46, R09-10), and readers that don't read (R01-28).

use std::{path::Path, slice::from_ref};

use heliograph_protocol::Event;
use heliograph_sandbox::wait::within;
use heliograph_testkit::{
    PATIENCE,
    client::{Client, End},
    http::request,
    keys::Key,
    process::Relay,
    websocket::{Message, WebSocket},
};
use serde_json::json;

use crate::{
    operate::admin,
    support::{FENCE_KIND, accept_all, drain, id_set, metric, notes, now, open_fence, settle},
};

/// Publishes these one by one, whatever the answer, and returns what a subscription to everything
/// was sent.
#[track_caller]
fn delivered(relay: &Relay, events: &[&Event]) -> Vec<String> {
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("all", &[json!({"kinds": [0, 1, 5, 20_001, 30_000]})]);
    open_fence(&mut reader);
    for event in events {
        writer.publish(event);
    }
    let got = drain(&mut reader, &mut writer);
    got.into_iter()
        .map(|(_, event)| event.content().into_owned())
        .collect()
}

#[test]
fn a_replaceable_event_that_lost_is_not_sent() {
    let relay = Relay::start();
    let alice = Key::nth(0);
    let (old, new) = (
        alice.sign(1_000, 0, &[], "old"),
        alice.sign(1_001, 0, &[], "new"),
    );
    assert_eq!(delivered(&relay, &[&new, &old]), ["new"]);
}

#[test]
fn each_replaceable_event_that_wins_is_sent() {
    let relay = Relay::start();
    let alice = Key::nth(0);
    let (old, new) = (
        alice.sign(1_000, 0, &[], "old"),
        alice.sign(1_001, 0, &[], "new"),
    );
    assert_eq!(delivered(&relay, &[&old, &new]), ["old", "new"]);
}

#[test]
fn of_two_versions_in_one_second_the_higher_id_is_not_sent_after_the_lower() {
    let relay = Relay::start();
    let alice = Key::nth(0);
    let mut versions = ["a", "b"].map(|content| alice.sign(1_000, 30_000, &[&["d", "x"]], content));
    versions.sort_by_key(|event| *event.id());
    let winner = versions[0].content().into_owned();
    assert_eq!(delivered(&relay, &[&versions[0], &versions[1]]), [winner]);
}

#[test]
fn a_deleted_event_is_not_sent_and_the_deletion_is() {
    let relay = Relay::start();
    let alice = Key::nth(0);
    let note = alice.note(1_000, "regretted");
    let deletion = alice.sign(1_001, 5, &[&["e", &note.id().to_hex()]], "sorry");
    assert_eq!(delivered(&relay, &[&deletion, &note]), ["sorry"]);
}

#[test]
fn ephemeral_events_go_to_those_who_listen_and_are_kept_by_nobody() {
    let relay = Relay::start();
    let event = Key::nth(0).sign(now(), 20_001, &[], "passing by");
    assert_eq!(delivered(&relay, &[&event]), ["passing by"]);
    let mut late = relay.client();
    assert_eq!(late.req("s", &[json!({"kinds": [20_001]})]).events, []);
    assert_eq!(
        late.query(&[json!({"ids": [event.id().to_hex()]})]).events,
        []
    );
    assert_eq!(late.count("c", &[json!({"kinds": [20_001]})]), Ok(0));
}

#[test]
fn an_ephemeral_event_gets_ok_whether_or_not_anybody_listens() {
    let relay = Relay::start();
    let mut writer = relay.client();
    writer.accept(&Key::nth(0).sign(now(), 29_999, &[], "into the void"));
}

#[test]
fn an_old_ephemeral_event_is_refused() {
    let relay = Relay::with(&["policy.ephemeral_age_max_secs=60"]);
    let mut writer = relay.client();
    writer.accept(&Key::nth(0).sign(now() - 10, 20_000, &[], "fresh"));
    writer.refuse(
        &Key::nth(0).sign(now() - 120, 20_000, &[], "stale"),
        "invalid",
    );
}

#[test]
fn an_expired_event_is_neither_sent_nor_stored() {
    let relay = Relay::start();
    let alice = Key::nth(0);
    let past = (now() - 1).to_string();
    let expired = alice.sign(now(), 1, &[&["expiration", &past]], "gone");
    let ephemeral = alice.sign(now(), 20_001, &[&["expiration", &past]], "gone too");
    assert_eq!(delivered(&relay, &[&expired, &ephemeral]), [""; 0]);
    relay.client().refuse(&expired, "invalid");
}

#[test]
fn an_event_leaves_every_answer_at_the_second_it_expires() {
    let relay = Relay::start();
    let mut client = relay.client();
    let end = now() + 2;
    let event = Key::nth(0).sign(
        now(),
        1,
        &[&["expiration", &end.to_string()]],
        "for a moment",
    );
    client.accept(&event);
    let filter = json!({"kinds": [1]});
    loop {
        let (before, stored, after) = (now(), client.query(from_ref(&filter)).events, now());
        if after < end {
            assert_eq!(stored, from_ref(&event), "still there at {after}");
        } else if before >= end {
            assert_eq!(stored, [], "gone at {before}");
            break;
        }
    }
    assert_eq!(client.count("c", &[filter]), Ok(0));
    assert_eq!(
        client
            .query(&[json!({"ids": [event.id().to_hex()]})])
            .events,
        []
    );
}

#[test]
fn past_what_may_wait_for_all_clients_together_the_one_with_the_most_is_closed_and_no_other() {
    let relay = Relay::with(&[
        "gateway.outbox_bytes_max=67108864",
        "gateway.outbox_total_bytes_max=16777216",
        "gateway.handshake_timeout_secs=60",
    ]);
    let narrow = || Client::over(WebSocket::connect_narrow(relay.address(), 4_096));
    let (mut little, mut much, mut writer) = (narrow(), narrow(), relay.client());
    little.req("s", &[json!({"kinds": [1], "limit": 0})]);
    much.req("s", &[json!({"kinds": [1, 7], "limit": 0})]);
    let closed = || {
        let page = request(admin(&relay), "GET", "/metrics", &[]);
        metric(
            page.text(),
            r#"heliograph_slow_consumer_total{action="close"}"#,
        )
    };
    // Sixteen megabytes, and what sockets hold.
    let text = "x".repeat(50_000);
    let mut sent = 0;
    while closed() == 0.0 {
        // One in four is for both, and counts once.
        let kind = if sent % 4 == 0 { 1 } else { 7 };
        writer.accept(&Key::nth(0).sign(1_700_000_000 + sent, kind, &[], &text));
        sent += 1;
        assert!(sent < 1_000, "nobody is closed");
    }
    for _ in 0..sent.div_ceil(4) {
        little.next_event("s");
    }
    assert_eq!(little.fence(), []);
    assert_eq!(closed(), 1.0);
    let mut seen = 0;
    while let Ok(Message::Text(_)) = much.socket.read(PATIENCE) {
        seen += 1;
    }
    assert!(seen < sent, "{seen} of {sent} events");
}

/// A relay that stops reading from its store for a client that doesn't read, with more stored than
/// the sockets' buffers hold: 400 notes of 30 kB.
fn relay_with_a_long_answer() -> (Relay, Client) {
    let relay = Relay::with(&["gateway.outbox_bytes_max=65536"]);
    let mut writer = relay.client();
    let text = "x".repeat(30_000);
    for n in 0..400 {
        writer.accept(&Key::nth(0).sign(1_700_000_000 + n, 1, &[], &text));
    }
    settle(&mut writer);
    (relay, writer)
}

/// A client with a small buffer that has asked for notes and stopped after the first of them.
#[track_caller]
fn stopped(relay: &Relay) -> (Client, Event) {
    let mut client = Client::over(WebSocket::connect_narrow(relay.address(), 4_096));
    client.send_req("s", &[json!({"kinds": [1], "limit": 500})]);
    let first = client.next_event("s");
    (client, first)
}

#[test]
fn a_reader_that_stops_within_a_long_answer_does_not_stop_others() {
    let (relay, mut writer) = relay_with_a_long_answer();
    let mut stopped: Vec<(Client, Event)> = (0..5).map(|_| stopped(&relay)).collect();
    assert_eq!(
        writer
            .query(&[json!({"kinds": [1], "limit": 500})])
            .events
            .len(),
        400
    );
    // They read on where they stopped, and get it all.
    for (client, _) in &mut stopped {
        assert_eq!(client.stored("s").events.len(), 399);
    }
}

/// Rows and events that the archive has looked at so far.
fn rows_scanned(relay: &Relay) -> f64 {
    let page = request(admin(relay), "GET", "/metrics", &[]);
    metric(page.text(), "heliograph_store_rows_scanned_total")
}

/// A relay that has just been started on 1,600 notes of 10 kB, more than sockets hold, and as many newer
/// events as its memory takes: notes come from the archive.
fn relay_with_a_long_archive(data: &Path, settings: &[&str]) -> Relay {
    let mut writing = Relay::on(data, &[]);
    let text = "x".repeat(10_000);
    let long = (0..1_600).map(|n| Key::nth(0).sign(1_700_000_000 + n, 1, &[], &text));
    let newer = (0..1_000).map(|n| Key::nth(0).sign(1_800_000_000 + n, 2, &[], ""));
    let events: Vec<Event> = long.chain(newer).collect();
    accept_all(&mut writing.client(), &events);
    writing.terminate();
    assert_eq!(writing.exit().code(), Some(0), "{}", writing.log());
    let memory = ["recent.events_max=1000", "gateway.limit_max=2000"];
    Relay::on(data, &[&memory, settings].concat())
}

#[test]
fn no_scan_runs_ahead_of_a_client_that_does_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        "gateway.outbox_bytes_max=65536",
        "gateway.handshake_timeout_secs=60",
    ];
    let relay = relay_with_a_long_archive(&directory.path().join("data"), &settings);
    // Until then its memory is read from the archive too.
    let warm = "recent tier is warm";
    within(PATIENCE, warm, || relay.log().contains(warm).then_some(()));
    let filter = json!({"kinds": [1], "limit": 2_000});
    let mut reader = relay.client();
    let mut read_all = || {
        let before = rows_scanned(&relay);
        assert_eq!(reader.query(from_ref(&filter)).events.len(), 1_600);
        rows_scanned(&relay) - before
    };
    let whole = read_all();
    assert!(whole >= 1_600.0, "{whole} rows: not from the archive");
    let before = rows_scanned(&relay);
    let mut stopped = Client::over(WebSocket::connect_narrow(relay.address(), 4_096));
    stopped.send_req("s", from_ref(&filter));
    stopped.next_event("s");
    // Whoever reads gets it all, in time enough for a scan that nothing holds up.
    read_all();
    let ahead = rows_scanned(&relay) - before - whole;
    assert!(ahead <= whole / 2.0, "{ahead} of {whole} rows for nobody");
    assert_eq!(stopped.stored("s").events.len(), 1_599);
}

#[test]
fn what_is_committed_while_the_stored_part_is_on_its_way_comes_once() {
    let (relay, mut writer) = relay_with_a_long_answer();
    let (mut reader, first) = stopped(&relay);
    open_fence_unread(&mut reader);
    // Some lie above everything that is stored, some below what is still to be read.
    let above = notes(&Key::nth(1), 1_800_000_000, 20);
    let below = notes(&Key::nth(1), 1_600_000_000, 20);
    let added = [above, below].concat();
    for event in &added {
        writer.accept(event);
    }
    let stored = reader.stored("s");
    assert!(matches!(reader.stored("drained").end, End::Eose(_)));
    let live = drain(&mut reader, &mut writer);
    let live: Vec<&Event> = live.iter().map(|(_, event)| event).collect();
    assert!(
        live.len() >= 20,
        "{} live: the reader wasn't stopped",
        live.len()
    );
    let together = id_set(stored.events.iter().chain(live).chain([&first]));
    assert_eq!(together.len(), 440);
    assert!(together.is_superset(&id_set(&added)));
}

/// Sends the REQ that [`drain`] reads from, behind an answer that isn't read yet.
fn open_fence_unread(client: &mut Client) {
    client.send_req("drained", &[json!({"kinds": [FENCE_KIND], "limit": 0})]);
}

#[test]
fn more_live_events_than_can_be_held_back_end_the_subscription_with_a_reason() {
    let (relay, mut writer) = relay_with_a_long_answer();
    let (mut reader, _) = stopped(&relay);
    let text = "y".repeat(30_000);
    for n in 0..5 {
        writer.accept(&Key::nth(1).sign(1_800_000_000 + n, 1, &[], &text));
    }
    let End::Closed(reason) = reader.stored("s").end else {
        panic!("EOSE hides missing events")
    };
    assert!(reason.starts_with("error: "), "{reason}");
}

/// R62-4: nothing stores an ephemeral event, and still none from before the request may come.
#[test]
fn ephemeral_events_from_before_a_request_to_vanish_are_refused() {
    let relay = Relay::start();
    let mut writer = relay.client();
    let (gone, other) = (Key::nth(0), Key::nth(1));
    let vanish = gone.sign(now(), 62, &[&["relay", "ALL_RELAYS"]], "");
    let until = vanish.created_at().as_secs();
    writer.accept(&vanish);
    writer.refuse(&gone.sign(until - 28, 20_001, &[], "before"), "blocked");
    writer.refuse(&gone.sign(until, 20_001, &[], "at"), "blocked");
    writer.accept(&gone.sign(until + 1, 20_001, &[], "after"));
    writer.accept(&other.sign(until - 28, 20_001, &[], "somebody else"));
    let wrap = |at, to: &Key| {
        let author = Key::nth(2);
        author.sign(at, 21_059, &[&["p", &to.hex()]], "wrap")
    };
    writer.accept(&wrap(until - 28, &other));
}
