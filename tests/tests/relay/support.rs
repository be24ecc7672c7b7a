//! What several modules need: a clock, seeds that replay, sets of ids.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use heliograph_protocol::{Event, Timestamp};
pub(crate) use heliograph_testkit::random::Random;
use heliograph_testkit::{client::Client, keys::Key, process::option};
use serde_json::{Value, json};

/// Opens a connection to the relay under test: to one process, or to a cluster's next gateway.
pub(crate) type Connect<'a> = &'a (dyn Fn() -> Client + Sync);

/// The wall clock in Unix seconds.
pub(crate) fn now() -> u64 {
    Timestamp::now().as_secs()
}

/// Starts from `HELIOGRAPH_SEED`, or the clock if that isn't set; prints it, so that a failure can be
/// replayed.
pub(crate) fn seeded() -> Random {
    let given = option("HELIOGRAPH_SEED").and_then(|seed| seed.to_str()?.parse().ok());
    let seed = given.unwrap_or_else(now);
    println!("seed: HELIOGRAPH_SEED={seed}");
    Random::seeded(seed)
}

/// The hex ids of these events, in order.
pub(crate) fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<String> {
    events
        .into_iter()
        .map(|event| event.id().to_hex())
        .collect()
}

/// The hex ids of these events as a set, each of which has to occur once.
#[track_caller]
pub(crate) fn id_set<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<String> {
    let ids = ids(events);
    let set: BTreeSet<String> = ids.iter().cloned().collect();
    assert_eq!(set.len(), ids.len(), "an event came twice");
    set
}

/// One number of a metrics page.
#[track_caller]
pub(crate) fn metric(page: &str, series: &str) -> f64 {
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no series {series} in\n{page}"));
    let number = value.split(' ').next().unwrap_or_default();
    number.parse().expect("a number")
}

/// Every value of an array.
#[track_caller]
pub(crate) fn array(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not an array: {value}"))
}

/// Every string of an array.
#[track_caller]
pub(crate) fn strings(value: &Value) -> Vec<String> {
    let string = |element: &Value| element.as_str().expect("a string").to_owned();
    array(value).iter().map(string).collect()
}

/// An event out of a vector file.
#[track_caller]
pub(crate) fn event(value: &Value) -> Event {
    Event::parse(&value.to_string()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

/// Every order of `items`.
pub(crate) fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = items.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for order in permutations(rest) {
        for at in 0..=order.len() {
            let mut longer = order.clone();
            longer.insert(at, first.clone());
            all.push(longer);
        }
    }
    all
}

/// Reads these ids back, a few hundred at a time.
#[track_caller]
pub(crate) fn stored_of(client: &mut Client, ids: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in ids.chunks(200) {
        found.extend(client.query(&[json!({"ids": part})]).ids());
    }
    found
}

/// Publishes everything and waits for every OK, which has to be true.
#[track_caller]
pub(crate) fn accept_all(client: &mut Client, events: &[Event]) {
    for part in events.chunks(100) {
        for event in part {
            client.send_event(event);
        }
        for event in part {
            let answer = client.ok(&event.id().to_hex());
            assert!(answer.0, "{answer:?} for {}", event.as_str());
        }
    }
}

/// Notes by one key, one a second from `from` on, content counting up.
pub(crate) fn notes(key: &Key, from: u64, count: usize) -> Vec<Event> {
    (0..count)
        .map(|n| key.note(from + n as u64, &n.to_string()))
        .collect()
}

/// Marks the end of what was published so far on a subscription that matches kind 7777.
pub(crate) const FENCE_KIND: u16 = 7777;

/// Waits until all that this connection published can be read over every connection: its own next
/// REQ sees it (R01-57), and with that every other one.
#[track_caller]
pub(crate) fn settle(writer: &mut Client) {
    writer.query(&[json!({"kinds": [FENCE_KIND], "limit": 1})]);
}

/// Opens the subscription that [`drain`] uses.
#[track_caller]
pub(crate) fn open_fence(client: &mut Client) {
    client.req("drained", &[json!({"kinds": [FENCE_KIND], "limit": 0})]);
}

/// Publishes a fence through `publisher` and returns what `client` got before it: live deliveries
/// on one connection keep the order of the commits.
#[track_caller]
pub(crate) fn drain(client: &mut Client, publisher: &mut Client) -> Vec<(String, Event)> {
    use heliograph_testkit::reply::Reply;
    // No two fences may be the same event.
    static FENCES: AtomicU64 = AtomicU64::new(0);
    let number = FENCES.fetch_add(1, Ordering::Relaxed);
    let fence = Key::nth(7).sign(now(), FENCE_KIND, &[], &number.to_string());
    let (accepted, text) = publisher.publish(&fence);
    assert!(accepted, "the fence was refused: {text}");
    let mut before = Vec::new();
    loop {
        match client.next_reply() {
            Reply::Event { sub, event } if sub == "drained" => {
                // Other tests may put up fences in the same cluster.
                if event == fence {
                    return before;
                }
            }
            Reply::Event { sub, event } => before.push((sub, event)),
            Reply::Ok { .. } => {}
            other => client
                .socket
                .fail(&format!("expected live events, got {other:?}")),
        }
    }
}
