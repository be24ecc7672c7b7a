//! The checker and the stores share no code on deletion and replacement: here they are compared.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use heliograph_policy::RelayUrls;
use heliograph_protocol::Event;
use heliograph_store::{EventStore, MemoryStore};
use heliograph_testkit::{
    RELAY_URL,
    history::{Entry, Expect, History, What, check},
    keys::Key,
    random::Random,
};
use serde_json::json;

const SEEDS: u64 = 300;
const EVENTS: usize = 24;
const START: u64 = 1_800_000_000;

/// Events that replace and delete each other, of few authors and seconds, in any order, some twice.
fn events(random: &mut Random) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for n in 0..EVENTS {
        let author = random.below(3);
        let (key, at) = (Key::nth(author), START + random.below(6) as u64);
        let other = Key::nth(random.below(3)).hex();
        let content = n.to_string();
        let event = match random.below(12) {
            0 => key.sign(at, 0, &[], &content),
            1..4 => key.sign(at, 30_023, &[&["d", "a:b"]], &content),
            4 => key.sign(at, 1_059, &[&["p", &other]], &content),
            5..7 if !events.is_empty() => {
                let target = random.pick(&events).id().to_hex();
                key.sign(at, 5, &[&["e", "no id"], &["e", &target]], &content)
            }
            7 => {
                let articles = format!("30023:{other}:a:b");
                let profiles = format!("0:{}:", key.hex());
                key.sign(at, 5, &[&["a", &articles], &["a", &profiles]], &content)
            }
            8 if random.once_in(2) => {
                let relay = *random.pick(&["ALL_RELAYS", RELAY_URL, "wss://other.example.com"]);
                key.sign(at, 62, &[&["relay", relay]], &content)
            }
            _ => key.sign(at, 1, &[], &content),
        };
        events.push(event);
    }
    for n in 0..events.len() {
        let other = random.below(events.len());
        events.swap(n, other);
    }
    events.extend_from_within(..EVENTS / 4);
    events
}

/// The memory store never waits, so one poll is the whole future.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the memory store never waits"),
    }
}

/// What a client sees of a relay on this store: every verdict, then everything read back.
fn history(store: &MemoryStore, events: &[Event]) -> History {
    let history = History::starting(heliograph_protocol::Timestamp::from_secs(START), Vec::new());
    let push = |connection, what| {
        history.append(Entry {
            at: Duration::from_millis(history.len() as u64),
            intended: None,
            connection,
            gateway: 0,
            what,
        });
    };
    for event in events {
        let (id, event) = (*event.id(), event.clone());
        let stored = Arc::new(event.clone());
        push(1, What::Publish { event });
        let outcome = ready(store.write(vec![stored])).expect("memory doesn't fail")[0];
        let (accepted, text) = match outcome.answer() {
            Ok(text) => (true, text.into()),
            Err(refusal) => (false, refusal.to_string().into()),
        };
        push(1, What::Ok { id, accepted, text });
    }
    let sub: Arc<str> = "q".into();
    let ids: Vec<String> = events.iter().map(|event| event.id().to_hex()).collect();
    push(2, What::ReadBack);
    let filters = [json!({"ids": ids})].into();
    push(
        2,
        What::Req {
            sub: Arc::clone(&sub),
            filters,
        },
    );
    let mut found = events.to_vec();
    found.retain(|event| ready(store.contains(event.id())).expect("memory doesn't fail"));
    found.sort_by_key(Event::position);
    found.dedup();
    for event in found {
        push(
            2,
            What::Event {
                sub: Arc::clone(&sub),
                event,
            },
        );
    }
    push(2, What::Eose { sub, hint: None });
    history
}

#[test]
fn checker_and_stores_agree_on_what_is_accepted_and_what_is_left() {
    let expect = Expect {
        gateways: 1,
        whole_answers: true,
        ..Expect::default()
    };
    for seed in 0..SEEDS {
        let events = events(&mut Random::seeded(seed));
        let urls = RelayUrls::parse(&[RELAY_URL]).expect("a URL");
        let history = history(&MemoryStore::new(urls), &events);
        if let Err(violations) = check(&history, &expect) {
            panic!("seed {seed}: {violations}");
        }
    }
}
