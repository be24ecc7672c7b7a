//! Deletions, expiry and vanishing win over late redelivery: what went over the bus goes over it
//! again, in order and backwards, and brings nothing back.

use std::slice::from_ref;

use heliograph_faults::bed::{Bed, until};
use heliograph_protocol::Event;
use heliograph_sandbox::cluster::Role;
use heliograph_testkit::{RELAY_URL, client::Client, keys::Key};
use serde_json::{Value, json};

use self::wire::{Message, Wire};
use crate::outage::{ids, now};

mod wire;

/// Marks a dead letter that is tried again (`crates/bus-nats`).
const REPLAY: &str = "Heliograph-Replay";

const PROFILE: u16 = 0;
const DELETION: u16 = 5;
const VANISH: u16 = 62;
const FENCE: u16 = 7_777;
const ARTICLE: u16 = 30_023;

/// Events of the past that come live: all but the request to vanish, which is the relay's affair.
const PAST: usize = 11;

/// How long until the event expires that does.
const EXPIRES_SECS: u64 = 4;

/// What crosses the bus: batches of gateways, and what workers announce.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Events,
    Committed,
}

/// A relay with a past, and those who have followed it.
struct Scene {
    bed: Bed,
    wire: Wire,
    events: Vec<Message>,
    committed: Vec<Message>,
    /// Whose past it is: one who deletes, one who vanishes.
    keys: [Key; 2],
    fence_key: Key,
    fences: u64,
    /// One at each gateway.
    clients: [Client; 2],
    /// What remains visible.
    visible: Vec<String>,
    /// What came live, which must not come again.
    seen: Vec<String>,
}

impl Scene {
    fn open(settings: &[&str]) -> Option<Self> {
        let bed = Bed::beside_another(|_| {}, settings)?;
        let name = bed.name();
        let subjects = [format!("{name}.events.*"), format!("{name}.committed")];
        let wire = Wire::listen(&bed.nats_urls()[0], &subjects);
        let keys = [Key::nth(1), Key::nth(2)];
        let fence_key = Key::nth(3);
        let authors = [&keys[0], &keys[1], &fence_key].map(Key::hex);
        let clients = [0, 1].map(|gateway| {
            let mut client = bed.at(gateway);
            client.req("live", &[json!({"authors": authors})]);
            client
        });
        let mut scene = Self {
            bed,
            wire,
            events: Vec::new(),
            committed: Vec::new(),
            keys,
            fence_key,
            fences: 0,
            clients,
            visible: Vec::new(),
            seen: Vec::new(),
        };
        scene.live_past();
        scene.record();
        Some(scene)
    }

    /// Publishes all that may go, and what makes it go; then what stays.
    fn live_past(&mut self) {
        let [key, leaver] = &self.keys;
        let begin = now() - 1_000;
        let over = now() + EXPIRES_SECS;
        let end = over.to_string();
        let note = key.note(begin, "deleted by id");
        let stays = key.note(begin + 1, "stays");
        let article = key.sign(begin, ARTICLE, &[&["d", "x"]], "deleted by address");
        let address = format!("{ARTICLE}:{}:x", key.hex());
        let old = key.sign(begin, PROFILE, &[], "old");
        let new = key.sign(begin + 1, PROFILE, &[], "new");
        let expires = key.sign(begin, 1, &[&["expiration", &end]], "expires");
        let id = note.id().to_hex();
        let targets: [&[&str]; 2] = [&["e", &id], &["a", &address]];
        let deletion = key.sign(begin + 10, DELETION, &targets, "");
        let again = key.sign(begin + 20, ARTICLE, &[&["d", "x"]], "after the deletion");
        let gone = [
            leaver.note(begin, "gone"),
            leaver.note(begin + 1, "gone too"),
        ];
        let vanish = leaver.sign(begin + 10, VANISH, &[&["relay", RELAY_URL]], "");
        let after = leaver.note(begin + 20, "back again");
        let mut writer = self.bed.at(0);
        let (before, behind) = ([&note, &article, &old, &expires], [&stays, &new, &deletion]);
        for event in before.into_iter().chain(&gone).chain(behind) {
            writer.accept(event);
        }
        for event in [&again, &vanish, &after] {
            writer.accept(event);
        }
        until("the end of what expires", || (now() > over).then_some(()));
        let visible = [&stays, &new, &deletion, &again, &after];
        self.visible = visible.iter().map(|event| event.id().to_hex()).collect();
        self.visible.sort();
    }

    /// Takes down what crossed the bus and what was seen, which is the same at both gateways.
    fn record(&mut self) {
        let subject = format!("{}.committed", self.bed.name());
        let said = self.wire.take();
        (self.committed, self.events) = said.into_iter().partition(|said| said.subject == subject);
        assert!(!self.events.is_empty() && !self.committed.is_empty());
        let seen = self.came(0);
        assert_eq!(self.came(1), seen);
        self.seen = ids(&seen);
        assert_eq!(self.seen.len(), PAST, "everything comes live once");
        self.nothing_came_back("at first");
    }

    /// What came live at this gateway since the last time.
    #[track_caller]
    fn came(&mut self, gateway: usize) -> Vec<Event> {
        self.fences += 1;
        let content = self.fences.to_string();
        let fence = self.fence_key.sign(now(), FENCE, &[], &content);
        self.clients[1 - gateway].accept(&fence);
        let mut came = Vec::new();
        loop {
            let event = self.clients[gateway].next_event("live");
            if event == fence {
                return came;
            }
            if event.pubkey() != &self.fence_key.public() {
                came.push(event);
            }
        }
    }

    /// Says again what crossed the bus, and waits until the workers have it behind them.
    fn again(&mut self, stream: Stream, backwards: bool, replayed: bool) {
        let messages = match stream {
            Stream::Events => &self.events,
            Stream::Committed => &self.committed,
        };
        let mut messages = messages.clone();
        if backwards {
            messages.reverse();
        }
        let headers = replayed.then(|| (REPLAY, "1".to_owned()));
        for message in &messages {
            self.wire.say(message, &headers.iter().cloned().collect());
        }
        let stream = format!("{}_events", self.bed.name());
        until("the end of the repetition", || {
            (self.wire.messages_in(&stream) == 0).then_some(())
        });
    }

    /// Everything again, in every way; nothing comes of it.
    fn all_again(&mut self, when: &str) {
        for stream in [Stream::Events, Stream::Committed] {
            for backwards in [false, true] {
                self.again(stream, backwards, false);
                self.nothing_came_back(&format!("{when}: {stream:?}, backwards: {backwards}"));
            }
        }
        self.again(Stream::Events, false, true);
        self.nothing_came_back(&format!("{when}: as dead letters"));
    }

    #[track_caller]
    fn nothing_came_back(&mut self, what: &str) {
        for gateway in [0, 1] {
            assert_eq!(self.came(gateway), [], "{what}: came live");
            assert_eq!(self.stored(gateway), self.visible, "{what}: stored");
            let seen = json!({"ids": self.seen});
            assert_eq!(self.answer(gateway, &seen), self.visible, "{what}: by id");
            let count = self.clients[gateway].count("count", &[self.past()]);
            assert_eq!(count, Ok(self.visible.len() as u64), "{what}: counted");
        }
    }

    fn past(&self) -> Value {
        json!({"authors": self.keys.each_ref().map(Key::hex)})
    }

    #[track_caller]
    fn stored(&mut self, gateway: usize) -> Vec<String> {
        let filter = self.past();
        self.answer(gateway, &filter)
    }

    #[track_caller]
    fn answer(&mut self, gateway: usize, filter: &Value) -> Vec<String> {
        let mut ids = self.bed.at(gateway).query(from_ref(filter)).ids();
        ids.sort();
        ids
    }

    /// Every matcher begins anew, one after the other, so that subscriptions move.
    fn restart_matchers(&self) {
        for matcher in [0, 1] {
            self.bed.kill(Role::Matcher, matcher);
            self.bed.restart(Role::Matcher, matcher);
        }
    }
}

#[test]
fn nothing_comes_back_when_all_that_crossed_the_bus_crosses_it_again() {
    let Some(mut scene) = Scene::open(&[]) else {
        return;
    };
    scene.all_again("while all is remembered");
    // They read the stream of commits from the start, repetitions and all.
    scene.restart_matchers();
    scene.nothing_came_back("matchers began anew");
    scene.all_again("after matchers began anew");
}

#[test]
fn nothing_comes_back_when_nobody_remembers_what_was_announced() {
    let Some(mut scene) = Scene::open(&["nats.committed_age_secs=5"]) else {
        return;
    };
    let stream = format!("{}_committed", scene.bed.name());
    until("the end of what was announced", || {
        (scene.wire.messages_in(&stream) == 0).then_some(())
    });
    scene.restart_matchers();
    until("matchers that know the database", || {
        let warm = |n| {
            scene
                .bed
                .output(Role::Matcher, n)
                .contains("recent tier is warm")
        };
        [0, 1].into_iter().all(warm).then_some(())
    });
    scene.nothing_came_back("matchers began from the database");
    for (backwards, replayed) in [(false, false), (true, false), (false, true), (true, true)] {
        scene.again(Stream::Events, backwards, replayed);
        scene.nothing_came_back(&format!("backwards: {backwards}, replayed: {replayed}"));
    }
}
