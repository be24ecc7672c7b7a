//! Publishers that write while the snapshots are taken, each event and answer recorded.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use heliograph_protocol::Event;
use heliograph_testkit::{
    history::{History, Recorded, What},
    keys::Key,
};

use super::Bed;
use crate::{
    moving_bed::PATIENCE,
    support::{Random, now, seeded},
};

/// One at each gateway.
const PUBLISHERS: usize = 2;

/// Of one publisher at most: all of them together fit into one answer.
const EVENTS_MAX: u64 = 4_000;

/// Events of one publisher on their way at once.
const WINDOW: usize = 8;

/// How often an event that gets `error:`, which takes 4 s, is sent.
const TRIES: usize = 20;

/// Events that a deletion chooses from.
const LATELY: usize = 200;

/// Ends the writing, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn publisher(number: usize) -> Key {
    Key::nth(2_010 + number)
}

fn recipient() -> Key {
    Key::nth(2_020)
}

/// Everybody who writes or is written to.
pub(super) fn parties() -> Vec<Key> {
    let publishers = (0..PUBLISHERS).map(publisher);
    publishers.chain([recipient()]).collect()
}

/// Publishes at the gateways while `beside` happens; returns what got its OK true.
#[track_caller]
pub(super) fn write_while(bed: &Bed, history: &History, beside: impl FnOnce()) -> Vec<Event> {
    let mut random = seeded();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ending = Over(&over);
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                let client = Recorded::connect(history, number, bed.gateway(number)).unwrap();
                let (random, over) = (Random::seeded(random.number()), &over);
                scope.spawn(move || publish(client, &publisher(number), random, over))
            })
            .collect();
        beside();
        drop(ending);
        let written = publishers.into_iter().map(|thread| thread.join());
        written
            .flat_map(|accepted| accepted.expect("a publisher"))
            .collect()
    })
}

/// Waits until so many more events got their OK.
#[track_caller]
pub(super) fn progress(history: &History, events: usize) {
    let mut left = events;
    let deadline = Instant::now() + PATIENCE;
    let done = history.wait(history.len(), deadline, |entry| {
        left -= usize::from(matches!(entry.what, What::Ok { accepted: true, .. }));
        (left == 0).then_some(())
    });
    assert!(done.is_some(), "{left} of {events} events got no OK");
}

fn publish(mut client: Recorded, key: &Key, mut random: Random, over: &AtomicBool) -> Vec<Event> {
    let mut accepted = Vec::new();
    // One a second, all of them long ago.
    let first = now() - 50_000;
    let mut times = first..first + EVENTS_MAX;
    while !over.load(Ordering::Relaxed) {
        let next = times.by_ref().take(WINDOW);
        let next: Vec<Event> = next
            .map(|at| event(key, &mut random, &accepted, at))
            .collect();
        if next.is_empty() {
            break;
        }
        settle(&mut client, next, &mut accepted);
    }
    client.disconnect("the publisher has finished");
    accepted
}

/// Publishes until nothing gets `error:` any more.
fn settle(client: &mut Recorded, mut left: Vec<Event>, accepted: &mut Vec<Event>) {
    for _try in 0..TRIES {
        for event in &left {
            assert!(client.publish(event, None), "the connection broke");
        }
        left.retain(|event| {
            let (is_accepted, text) = client.wait_ok(event.id(), PATIENCE).expect("an OK");
            if is_accepted {
                accepted.push(event.clone());
            }
            text.starts_with("error:")
        });
        if left.is_empty() {
            return;
        }
    }
    panic!("nothing but errors for {left:?}");
}

/// Versions of addresses are deleted by the address alone: an address whose version is deleted by its id
/// after the snapshot has the one before it again, which the page says.
fn event(key: &Key, random: &mut Random, before: &[Event], at: u64) -> Event {
    let (text, to) = (at.to_string(), recipient().hex());
    let d = random.below(5).to_string();
    match random.below(20) {
        0..9 => key.sign(at, 1, &[&["t", "drill"]], &text),
        9 => {
            let end = (now() + 7 * 86_400).to_string();
            key.sign(at, 1, &[&["expiration", &end]], &text)
        }
        10 => key.sign(at, 4, &[&["p", &to]], &text),
        11 => key.sign(at, 1_059, &[&["p", &to]], &text),
        12..15 => key.sign(at, 30_023, &[&["d", &d], &["t", "drill"]], &text),
        15 => key.sign(at, 0, &[], &text),
        16 => {
            let address = format!("30023:{}:{d}", key.hex());
            key.sign(at, 5, &[&["a", &address]], &text)
        }
        _ => {
            let lately = &before[before.len().saturating_sub(LATELY)..];
            let plain = |event: &&Event| event.address().is_none();
            let targets: Vec<&Event> = lately.iter().filter(plain).collect();
            if targets.is_empty() {
                return key.note(at, &text);
            }
            let id = random.pick(&targets).id().to_hex();
            key.sign(at, 5, &[&["e", &id]], &text)
        }
    }
}
