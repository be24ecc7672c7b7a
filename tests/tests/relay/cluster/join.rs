//! Where stored and live parts meet while publishers write through every gateway as fast as the
//! cluster takes it.

use std::{
    collections::HashMap,
    slice::from_ref,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use heliograph_protocol::Event;
use heliograph_testkit::{client::Client, keys::Key};
use serde_json::{Value, json};

use super::bed::{Bed, own_key};
use crate::support::{drain, id_set, ids, open_fence};

/// Connections that open subscriptions, half of them on each gateway.
const READERS: usize = 4;

/// Subscriptions that each of them opens.
const REQS: usize = 125;

/// The events are spread over this many topics, so that a subscription is not sent all of them.
const TOPICS: usize = 100;

/// Events that a publisher has on their way at once.
const WINDOW: usize = 60;

/// A publisher stops here if the readers take for ever.
const EVENTS_MAX: usize = 20_000;

fn topic(n: usize) -> String {
    format!("topic-{}", n % TOPICS)
}

/// Publishes until `enough`, at full rate; everything it published.
fn publish(mut writer: Client, key: &Key, enough: &AtomicBool) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut answered = 0;
    while events.len() < EVENTS_MAX && !enough.load(Ordering::Relaxed) {
        let n = events.len();
        // Dates go up and down, so that new ones belong anywhere into a stored answer.
        let at = 1_700_000_000 + (n * 7_919 % 10_007) as u64;
        let event = key.sign(at, 1, &[&["t", &topic(n)]], &n.to_string());
        writer.send_event(&event);
        events.push(event);
        if events.len() - answered == WINDOW {
            accepted(&mut writer, &events[answered..answered + WINDOW / 2]);
            answered += WINDOW / 2;
        }
    }
    accepted(&mut writer, &events[answered..]);
    events
}

#[track_caller]
fn accepted(writer: &mut Client, events: &[Event]) {
    for event in events {
        let answer = writer.ok(&event.id().to_hex());
        assert!(answer.0, "{answer:?}");
    }
}

/// Opens a reader's subscriptions one after the other; their stored parts.
fn open(reader: &mut Client, filter: &Value) -> Vec<Vec<Event>> {
    let req = |n: usize| {
        let mut filter = filter.clone();
        filter["#t"] = json!([topic(n)]);
        let stored = reader.req(&n.to_string(), &[filter]);
        assert!(stored.hint().is_some(), "an EOSE: {:?}", stored.end);
        stored.events
    };
    (0..REQS).map(req).collect()
}

#[track_caller]
fn check_stored_order(stored: &[Event]) {
    let in_order = stored
        .windows(2)
        .all(|pair| pair[0].position() < pair[1].position());
    assert!(in_order, "newest first, lowest id first: {:?}", ids(stored));
}

#[test]
fn stored_and_live_parts_join_on_every_gateway_while_all_publish_at_full_rate() {
    let settings = ["gateway.limit_max=10000", "gateway.subscriptions_max=300"];
    let more = [
        "gateway.limit_default=10000",
        "gateway.outbox_bytes_max=67108864",
    ];
    let Some(bed) = Bed::fresh(&[settings, more].concat()) else {
        return;
    };
    let keys = [own_key(), own_key()];
    let filter = json!({"authors": [keys[0].hex(), keys[1].hex()], "limit": 10_000});
    let mut witness = bed.at(0);
    witness.req("all", from_ref(&filter));
    open_fence(&mut witness);
    let mut readers: Vec<Client> = (0..READERS).map(|n| bed.at(n % 2)).collect();
    readers.iter_mut().for_each(open_fence);
    let enough = AtomicBool::new(false);
    let (published, opened) = thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|n| (bed.at(n), &keys[n], &enough))
            .map(|(writer, key, enough)| scope.spawn(move || publish(writer, key, enough)))
            .collect();
        let filter = &filter;
        let threads: Vec<_> = readers
            .iter_mut()
            .map(|reader| scope.spawn(move || open(reader, filter)))
            .collect();
        let opened: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        enough.store(true, Ordering::Relaxed);
        let published: Vec<_> = writers.into_iter().map(|thread| thread.join()).collect();
        (published, opened)
    });
    let published: Vec<Event> = published
        .into_iter()
        .flat_map(|events| events.expect("a publisher"))
        .collect();
    let live = drain(&mut witness, &mut bed.at(1));
    let order: HashMap<String, usize> = ids(live.iter().map(|(_, event)| event))
        .into_iter()
        .zip(0..)
        .collect();
    assert_eq!(order.len(), published.len(), "the witness saw each once");
    let mut fence = bed.at(0);
    let mut live_events = 0;
    for (reader, opened) in readers.iter_mut().zip(opened) {
        let live = drain(reader, &mut fence);
        live_events += live.len();
        let mut by_sub: HashMap<String, Vec<Event>> = HashMap::new();
        for (sub, event) in live {
            by_sub.entry(sub).or_default().push(event);
        }
        for (n, stored) in opened.expect("a reader").iter().enumerate() {
            check_stored_order(stored);
            let live = by_sub.remove(&n.to_string()).unwrap_or_default();
            let places: Vec<usize> = ids(&live).iter().map(|id| order[id]).collect();
            assert!(places.is_sorted(), "live events in the order of commits");
            let of_topic = |event: &&Event| {
                event.first_tag("t").and_then(|tag| tag.value()).as_deref() == Some(&topic(n))
            };
            let want = id_set(published.iter().filter(of_topic));
            let got = id_set(stored.iter().chain(&live));
            assert_eq!(got, want, "subscription {n}");
        }
    }
    println!(
        "{} events published while {} subscriptions opened, {live_events} of their deliveries live",
        published.len(),
        READERS * REQS
    );
    assert!(live_events > 0, "nothing was published meanwhile");
}
