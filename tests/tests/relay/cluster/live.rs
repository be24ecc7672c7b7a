//! Live events from one gateway's publishers to another gateway's subscribers: every class of kind,
//! any date, any size, once each and in time.

use std::{
    slice::from_ref,
    time::{Duration, Instant},
};

use heliograph_protocol::Event;
use heliograph_testkit::{client::Client, keys::Key};
use serde_json::json;

use super::bed::{Bed, own_key};
use crate::support::{drain, ids, now, open_fence};

/// How often each kind of event is sent each way.
const ROUNDS: usize = 20;

/// Content that makes an event of 64 KiB.
const LONG: usize = 65_536;

/// Events of every class, old, new and dated ahead, short and long, that nobody else sends.
fn events(key: &Key, round: usize) -> Vec<(&'static str, Event)> {
    let (now, text) = (now(), round.to_string());
    let long = "x".repeat(LONG) + &text;
    let id = key.note(1, &text).id().to_hex();
    let sign = |at, kind, tags: &[&[&str]], content: &str| key.sign(at, kind, tags, content);
    vec![
        ("regular", sign(now, 1, &[], &text)),
        ("an hour old", sign(now - 3_600, 1, &[], &text)),
        ("ten minutes ahead", sign(now + 600, 1, &[], &text)),
        ("years old", sign(1_650_000_000, 1, &[], &text)),
        ("64 KiB", sign(now, 1, &[], &long)),
        ("replaceable", sign(now + round as u64, 10_002, &[], &text)),
        ("addressable", sign(now, 30_023, &[&["d", &text]], &text)),
        ("deletion", sign(now, 5, &[&["e", &id]], &text)),
        ("reaction", sign(now, 7, &[&["e", &id]], "+")),
        ("ephemeral", sign(now, 20_001, &[], &text)),
        ("ephemeral, 64 KiB", sign(now, 29_999, &[], &long)),
    ]
}

/// Sends to one gateway what a subscription of the other wants; the time from each event's sending
/// to its delivery.
#[track_caller]
fn delivered(mut writer: Client, mut reader: Client) -> Vec<Duration> {
    let key = own_key();
    reader.req("s", &[json!({"authors": [key.hex()]})]);
    open_fence(&mut reader);
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        for (what, event) in events(&key, round) {
            let sent = Instant::now();
            writer.send_event(&event);
            let got = reader.next_event("s");
            took.push(sent.elapsed());
            assert!(got == event, "{what}, round {round}: {}", got.as_str());
            let (accepted, text) = writer.ok(&event.id().to_hex());
            assert!(accepted, "{what}: {text}");
        }
    }
    assert_eq!(drain(&mut reader, &mut writer), [], "nothing comes twice");
    took
}

/// Prints how long the middle one and the slowest hundredth took.
pub(super) fn report(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "{what}: p50 {:?}, p99 {:?}, longest {:?}, of {}",
        at(50),
        at(99),
        at(100),
        took.len()
    );
}

#[test]
fn live_events_of_every_class_cross_gateways_once() {
    let Some(bed) = Bed::shared() else { return };
    let mut took = delivered(bed.at(0), bed.at(1));
    took.extend(delivered(bed.at(1), bed.at(0)));
    report("publish → delivery on another gateway", took);
}

#[test]
fn private_events_cross_gateways_to_those_they_concern() {
    let Some(bed) = Bed::shared() else { return };
    let (alice, bob) = (own_key(), own_key());
    let [mut writer, mut reader] = bed.both();
    let mut stranger = bed.at(1);
    reader.authenticate(&bob);
    stranger.authenticate(&own_key());
    let filter = json!({"#p": [bob.hex()], "kinds": [1059, 21_059]});
    for client in [&mut reader, &mut stranger] {
        client.req("wraps", from_ref(&filter));
        open_fence(client);
    }
    let wrap = |kind| alice.sign(now(), kind, &[&["p", &bob.hex()]], "sealed");
    let wraps = [wrap(1059), wrap(21_059)];
    for wrap in &wraps {
        writer.accept(wrap);
        assert_eq!(reader.next_event("wraps"), *wrap);
    }
    assert_eq!(drain(&mut stranger, &mut writer), []);
    let stored = bed.at(0).query(&[json!({"ids": [wraps[0].id().to_hex()]})]);
    assert_eq!(stored.events, []);
    let mut elsewhere = bed.at(0);
    elsewhere.authenticate(&bob);
    let stored = elsewhere.query(&[filter]);
    assert_eq!(stored.ids(), ids(&wraps[..1]));
}

#[test]
fn subscribers_of_all_gateways_get_live_events_in_one_order() {
    let Some(bed) = Bed::shared() else { return };
    let key = own_key();
    let mut readers = bed.both();
    for reader in &mut readers {
        reader.req("s", &[json!({"authors": [key.hex()], "limit": 0})]);
        open_fence(reader);
    }
    let mut writers = bed.both();
    let events: Vec<Event> = (0..400).map(|n| key.note(now(), &n.to_string())).collect();
    for piece in events.chunks(40) {
        let sent = piece.iter().enumerate();
        sent.for_each(|(n, event)| writers[n % 2].send_event(event));
        for (n, event) in piece.iter().enumerate() {
            assert!(writers[n % 2].ok(&event.id().to_hex()).0);
        }
    }
    let mut orders = Vec::new();
    for reader in &mut readers {
        let live = drain(reader, &mut writers[0]);
        let order = ids(live.iter().map(|(_, event)| event));
        assert_eq!(order.len(), events.len());
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1]);
}
