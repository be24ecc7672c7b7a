//! Subscriptions: what is sent after EOSE, to whom, and where stored and live parts meet
//! (R01-50 to R01-56, R01-63).

use std::{
    collections::BTreeSet,
    slice::from_ref,
    thread,
    time::{Duration, Instant},
};

use heliograph_protocol::Event;
use heliograph_testkit::{
    client::{Client, End},
    keys::Key,
    process::Relay,
    reply::Reply,
};
use serde_json::json;

use crate::support::{accept_all, drain, id_set, ids, notes, now, open_fence, seeded, settle};

#[test]
fn a_new_event_goes_to_those_who_asked() {
    let relay = Relay::start();
    let (alice, bob) = (Key::nth(0), Key::nth(1));
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("alice", &[json!({"authors": [alice.hex()]})]);
    reader.req("tagged", &[json!({"#t": ["nostr"]})]);
    let note = alice.note(now(), "hello");
    let tagged = bob.sign(now(), 1, &[&["t", "nostr"]], "hello to all");
    let other = bob.note(now(), "nobody asked");
    for event in [&note, &other, &tagged] {
        writer.accept(event);
    }
    assert_eq!(reader.next_event("alice"), note);
    assert_eq!(reader.next_event("tagged"), tagged);
    open_fence(&mut reader);
    assert_eq!(drain(&mut reader, &mut writer), []);
}

#[test]
fn live_events_come_in_the_order_they_were_accepted() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("all", &[json!({"limit": 0})]);
    let mut events = notes(&Key::nth(0), 1_700_000_000, 50);
    seeded().shuffle(&mut events);
    for event in &events {
        writer.accept(event);
    }
    let got: Vec<Event> = events.iter().map(|_| reader.next_event("all")).collect();
    assert_eq!(ids(&got), ids(&events));
}

#[test]
fn limit_zero_sends_no_stored_event_and_every_live_one() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    writer.accept(&Key::nth(0).note(now(), "before"));
    assert_eq!(
        reader.req("s", &[json!({"kinds": [1], "limit": 0})]).events,
        []
    );
    let after = Key::nth(0).note(now(), "after");
    writer.accept(&after);
    assert_eq!(reader.next_event("s"), after);
}

#[test]
fn limit_has_no_effect_on_live_events() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("s", &[json!({"kinds": [1], "limit": 1})]);
    for event in notes(&Key::nth(0), now(), 5) {
        writer.accept(&event);
        assert_eq!(reader.next_event("s"), event);
    }
}

#[test]
fn two_subscriptions_that_match_each_get_the_event_and_each_once() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    let hex = Key::nth(0).hex();
    // Several filters of one subscription match the same event.
    reader.req(
        "one",
        &[json!({"kinds": [1]}), json!({"authors": [hex]}), json!({})],
    );
    reader.req(
        "two",
        &[
            json!({"authors": [hex]}),
            json!({"kinds": [1], "#t": ["x"]}),
        ],
    );
    open_fence(&mut reader);
    let event = Key::nth(0).sign(now(), 1, &[&["t", "x"], &["t", "x"]], "once each");
    writer.accept(&event);
    let mut got = drain(&mut reader, &mut writer);
    // The first subscription has no kinds, so that it gets the fence too.
    got.retain(|(_, found)| found == &event);
    got.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        got,
        [("one".to_owned(), event.clone()), ("two".to_owned(), event)]
    );
}

#[test]
fn one_s_own_events_come_back_too() {
    let relay = Relay::start();
    let mut client = relay.client();
    client.req("s", &[json!({"kinds": [1]})]);
    let event = Key::nth(0).note(now(), "echo");
    client.accept(&event);
    assert_eq!(client.next_event("s"), event);
}

#[test]
fn close_stops_a_subscription() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("s", &[json!({"kinds": [1]})]);
    open_fence(&mut reader);
    reader.close("s");
    // The answer to a later message says that the CLOSE has been read (R01-58).
    assert_eq!(reader.fence(), []);
    writer.accept(&Key::nth(0).note(now(), "too late"));
    assert_eq!(drain(&mut reader, &mut writer), []);
}

#[test]
fn a_replaced_subscription_sends_nothing_of_the_old_one() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    accept_all(&mut writer, &notes(&Key::nth(0), 1_700_000_000, 400));
    let first = Key::nth(0).sign(1_000, 2, &[], "the new answer begins here");
    writer.accept(&first);
    settle(&mut writer);
    for round in 0..20 {
        reader.send_req("s", &[json!({"kinds": [1]})]);
        reader.send_req(
            "s",
            &[
                json!({"kinds": [2], "limit": 1, "until": 1_000}),
                json!({"kinds": [2], "limit": 0}),
            ],
        );
        // The old answer may be cut anywhere, with or without its EOSE (R01-56).
        while !matches!(reader.next_reply(), Reply::Event { event, .. } if event == first) {}
        assert!(
            matches!(reader.next_reply(), Reply::Eose { .. }),
            "round {round}"
        );
        let two = Key::nth(0).sign(now(), 2, &[], &round.to_string());
        writer.accept(&Key::nth(0).note(now(), &format!("round {round}")));
        writer.accept(&two);
        assert_eq!(reader.next_event("s"), two);
    }
}

#[test]
fn a_refused_req_ends_the_subscription_it_would_have_replaced() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("s", &[json!({"kinds": [1]})]);
    open_fence(&mut reader);
    assert!(matches!(
        reader.req("s", &[json!({"kinds": ["1"]})]).end,
        End::Closed(_)
    ));
    writer.accept(&Key::nth(0).note(now(), "nobody listens"));
    assert_eq!(drain(&mut reader, &mut writer), []);
}

#[test]
fn since_and_until_bound_live_events_too_and_include_their_second() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("since", &[json!({"kinds": [1], "since": 1_000})]);
    reader.req("until", &[json!({"kinds": [1], "until": 1_000})]);
    reader.req(
        "second",
        &[json!({"kinds": [1], "since": 1_000, "until": 1_000})],
    );
    reader.req(
        "never",
        &[json!({"kinds": [1], "since": 1_001, "until": 1_000})],
    );
    reader.req("zero", &[json!({"kinds": [1], "until": 0})]);
    open_fence(&mut reader);
    for created_at in [0, 999, 1_000, 1_001] {
        writer.accept(&Key::nth(0).note(created_at, &created_at.to_string()));
    }
    let got = drain(&mut reader, &mut writer);
    let of = |sub: &str| -> Vec<u64> {
        let of_sub = got.iter().filter(|(found, _)| found == sub);
        of_sub
            .map(|(_, event)| event.created_at().as_secs())
            .collect()
    };
    assert_eq!(of("since"), [1_000, 1_001]);
    assert_eq!(of("until"), [0, 999, 1_000]);
    assert_eq!(of("second"), [1_000]);
    assert_eq!(of("never"), [0_u64; 0]);
    assert_eq!(of("zero"), [0]);
}

#[test]
fn an_empty_list_matches_nothing_ever() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    writer.accept(&Key::nth(0).note(now(), "stored"));
    for (sub, member) in ["ids", "authors", "kinds", "#t"].iter().enumerate() {
        assert_eq!(
            reader.req(&sub.to_string(), &[json!({*member: []})]).events,
            []
        );
    }
    open_fence(&mut reader);
    writer.accept(&Key::nth(0).sign(now(), 1, &[&["t", ""]], "live"));
    assert_eq!(drain(&mut reader, &mut writer), []);
}

/// Publishes in pieces, waiting for the OKs of each, until all are accepted.
fn publish_all(mut writer: Client, events: &[Event]) {
    for piece in events.chunks(8) {
        for event in piece {
            writer.send_event(event);
        }
        for event in piece {
            assert!(writer.ok(&event.id().to_hex()).0);
        }
    }
}

#[test]
fn stored_and_live_parts_join_without_gap_or_repetition() {
    let relay = Relay::with(&["gateway.limit_max=5000"]);
    let events: Vec<Vec<Event>> = (0..3)
        .map(|n| notes(&Key::nth(n), 1_700_000_000, 400))
        .collect();
    let mut readers: Vec<Client> = (0..4).map(|_| relay.client()).collect();
    for reader in &mut readers {
        open_fence(reader);
    }
    // Each reader opens subscriptions as fast as it can while the writers write.
    let opened: Vec<Vec<(String, Vec<Event>)>> = thread::scope(|scope| {
        for part in &events {
            scope.spawn(|| publish_all(relay.client(), part));
        }
        let open = |reader: &mut Client| {
            let filter = json!({"kinds": [1], "limit": 5000});
            let opened = (0..10).map(|n| {
                let sub = format!("sub-{n}");
                let stored = reader.req(&sub, from_ref(&filter));
                (sub, stored.events)
            });
            opened.collect::<Vec<_>>()
        };
        let readers = readers.iter_mut();
        let threads: Vec<_> = readers
            .map(|reader| scope.spawn(move || open(reader)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a reader"))
            .collect()
    });
    let all = id_set(events.iter().flatten());
    let mut writer = relay.client();
    for (reader, opened) in readers.iter_mut().zip(opened) {
        let live = drain(reader, &mut writer);
        for (sub, stored) in opened {
            let of_sub = live
                .iter()
                .filter(|(found, _)| *found == sub)
                .map(|(_, event)| event);
            let together: Vec<&Event> = stored.iter().chain(of_sub).collect();
            assert_eq!(together.len(), all.len(), "{sub}: {} stored", stored.len());
            assert_eq!(id_set(together), all, "{sub}");
        }
    }
}

#[test]
fn a_stored_answer_has_what_this_connection_published_before() {
    let relay = Relay::start();
    let mut client = relay.client();
    for round in 0..200 {
        let event = Key::nth(0).note(1_700_000_000 + round, &round.to_string());
        client.accept(&event);
        let newest = client.query(&[json!({"kinds": [1], "limit": 1})]);
        assert_eq!(newest.events, [event], "round {round}");
    }
}

#[test]
fn a_stored_answer_soon_has_what_another_connection_published() {
    /// What R01-57 allows between connections, bounded as the design bounds it.
    const LAG_MAX: Duration = Duration::from_secs(1);
    let relay = Relay::start();
    let (mut writer, mut reader) = (relay.client(), relay.client());
    let mut longest = Duration::ZERO;
    for round in 0..100 {
        let event = Key::nth(0).note(1_700_000_000 + round, &round.to_string());
        writer.accept(&event);
        let accepted = Instant::now();
        let filter = json!({"ids": [event.id().to_hex()]});
        while reader.query(from_ref(&filter)).events.is_empty() {
            assert!(
                accepted.elapsed() < LAG_MAX,
                "round {round}: not seen elsewhere"
            );
        }
        longest = longest.max(accepted.elapsed());
    }
    println!("longest lag between connections: {longest:?}");
}

#[test]
fn a_duplicate_is_not_sent_again() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("s", &[json!({"kinds": [1]})]);
    open_fence(&mut reader);
    let event = Key::nth(0).note(now(), "once");
    writer.accept(&event);
    for _ in 0..3 {
        let (accepted, text) = writer.publish(&event);
        assert!(
            accepted && text.starts_with("duplicate: "),
            "{accepted} {text}"
        );
    }
    assert_eq!(drain(&mut reader, &mut writer), [("s".to_owned(), event)]);
}

#[test]
fn the_same_event_from_many_connections_at_once_is_accepted_once() {
    let relay = Relay::start();
    let mut reader = relay.client();
    reader.req("s", &[json!({"kinds": [1]})]);
    open_fence(&mut reader);
    let events = notes(&Key::nth(0), now(), 40);
    let answers: Vec<(bool, String)> = thread::scope(|scope| {
        let publish = || {
            let mut writer = relay.client();
            events.iter().for_each(|event| writer.send_event(event));
            events
                .iter()
                .map(|event| writer.ok(&event.id().to_hex()))
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(publish)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a writer"))
            .collect()
    });
    assert!(answers.iter().all(|(accepted, _)| *accepted), "{answers:?}");
    let first = answers
        .iter()
        .filter(|(_, text)| !text.starts_with("duplicate: "))
        .count();
    assert!(
        first >= events.len(),
        "{first} of {} were new to somebody",
        events.len()
    );
    let got = drain(&mut reader, &mut relay.client());
    let got: Vec<Event> = got.into_iter().map(|(_, event)| event).collect();
    let got: BTreeSet<String> = id_set(&got);
    assert_eq!(got, id_set(&events));
}
