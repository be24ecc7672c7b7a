//! Two ways to one answer: two hundred random filters on the relay and on the memory store, stored
//! and live, while random events are written in random interleavings.
//!
//! A failure prints the seed; `HELIOGRAPH_SEED` replays it.

use std::{collections::BTreeSet, sync::Arc, thread};

use heliograph_protocol::{Event, Filter, Timestamp};
use heliograph_store::{Budget, End, EventStore, MemoryStore, Scan, ScanRequest};
use heliograph_testkit::{client::Client, keys::Key, process::Relay};
use serde_json::{Value, json};

use crate::support::{Connect, Random, drain, id_set, ids, open_fence, seeded, settle};

const FILTERS: usize = 200;
const EVENTS: usize = 600;
const AUTHORS: usize = 6;

/// All of a filter's matches go out: this tests matching, `limits.rs` the caps.
pub(crate) const SETTINGS: [&str; 4] = [
    "gateway.limit_max=10000",
    "gateway.limit_default=10000",
    "gateway.subscriptions_max=300",
    "gateway.outbox_bytes_max=67108864",
];

/// Random events and filters that meet often: few authors, kinds, words and seconds.
struct World {
    random: Random,
    keys: Vec<Key>,
    events: Vec<Event>,
}

const KINDS: [u16; 12] = [0, 1, 1, 1, 3, 4, 5, 5, 7, 1059, 10_002, 30_023];
const WORDS: [&str; 6] = ["", "a", "b", "nostr", "Nostr", "ä\n\"x\""];

impl World {
    fn new(random: Random) -> Self {
        let keys = (0..AUTHORS).map(Key::nth).collect();
        let mut world = Self {
            random,
            keys,
            events: Vec::new(),
        };
        for n in 0..EVENTS {
            let event = world.event(n);
            world.events.push(event);
        }
        world
    }

    fn created_at(&mut self) -> u64 {
        1_700_000_000 + self.random.number() % 60
    }

    fn key(&mut self) -> Key {
        self.random.pick(&self.keys).clone()
    }

    fn word(&mut self) -> String {
        (*self.random.pick(&WORDS)).to_owned()
    }

    /// The id of an event made before, or one of nothing.
    fn some_id(&mut self) -> String {
        if self.events.is_empty() || self.random.once_in(10) {
            return format!("{:064x}", self.random.number());
        }
        self.random.pick(&self.events).id().to_hex()
    }

    fn address(&mut self) -> String {
        let kind = *self.random.pick(&[0, 3, 10_002, 30_023]);
        let d = if kind == 30_023 {
            self.word()
        } else {
            String::new()
        };
        format!("{kind}:{}:{d}", self.key().hex())
    }

    fn tag(&mut self) -> Vec<String> {
        let (name, value) = match self.random.below(8) {
            0 | 1 => ("e", self.some_id()),
            2 | 3 => ("p", self.key().hex()),
            4 => ("a", self.address()),
            5 => ("T", self.word()),
            6 => ("long", self.word()),
            _ => ("t", self.word()),
        };
        vec![name.to_owned(), value]
    }

    fn event(&mut self, n: usize) -> Event {
        let kind = *self.random.pick(&KINDS);
        let mut tags: Vec<Vec<String>> = Vec::new();
        if kind == 30_023 && !self.random.once_in(6) {
            tags.push(vec!["d".to_owned(), self.word()]);
        }
        if matches!(kind, 4 | 1059) {
            tags.push(vec!["p".to_owned(), self.key().hex()]);
        }
        for _ in 0..self.random.below(4) {
            let tag = self.tag();
            tags.push(tag);
        }
        let tags: Vec<Vec<&str>> = tags
            .iter()
            .map(|tag| tag.iter().map(String::as_str).collect())
            .collect();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        let created_at = self.created_at();
        self.key().sign(created_at, kind, &tags, &n.to_string())
    }

    fn filter(&mut self) -> Value {
        let mut filter = json!({});
        if self.random.once_in(6) {
            filter["ids"] = (0..20).map(|_| self.some_id()).collect();
        }
        if self.random.once_in(3) {
            let authors: Vec<String> = self.keys.iter().map(Key::hex).collect();
            filter["authors"] = self.random.some(&authors, AUTHORS).into();
        }
        if self.random.once_in(2) {
            filter["kinds"] = self.random.some(&KINDS, 5).into();
        }
        for (letter, times) in [
            ("#e", 6),
            ("#p", 5),
            ("#t", 4),
            ("#a", 12),
            ("#d", 12),
            ("#T", 12),
        ] {
            if self.random.once_in(times) {
                filter[letter] = (0..=self.random.below(4))
                    .map(|_| self.value(letter))
                    .collect();
            }
        }
        if self.random.once_in(4) {
            filter["since"] = self.created_at().into();
        }
        if self.random.once_in(4) {
            filter["until"] = self.created_at().into();
        }
        filter
    }

    fn value(&mut self, letter: &str) -> Value {
        match letter {
            "#e" => self.some_id(),
            "#p" => self.key().hex(),
            "#a" => self.address(),
            _ => self.word(),
        }
        .into()
    }

    /// `FILTERS` REQs of one filter, sometimes two.
    fn reqs(&mut self) -> Vec<Vec<Value>> {
        let req = |_: usize| {
            let mut filters = vec![self.filter()];
            if self.random.once_in(5) {
                filters.push(self.filter());
            }
            filters
        };
        (0..FILTERS).map(req).collect()
    }

    /// A connection that may see the private messages of all authors.
    fn client(&self, connect: Connect<'_>) -> Client {
        let mut client = connect();
        for key in &self.keys {
            client.authenticate(key);
        }
        client
    }
}

/// The memory store, asked in the words of a REQ.
pub(crate) struct Oracle {
    store: MemoryStore,
    runtime: tokio::runtime::Runtime,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Self {
            store: MemoryStore::new(Default::default()),
            runtime,
        }
    }

    /// Merges one event; whether it is new and visible.
    pub(crate) fn write(&self, event: &Event) -> bool {
        let outcomes = self
            .runtime
            .block_on(self.store.write(vec![Arc::new(event.clone())]));
        outcomes.unwrap() == [heliograph_protocol::Outcome::Stored]
    }

    /// The stored answer in its order.
    pub(crate) fn answer(&self, filters: &[Value]) -> Vec<Event> {
        let mut events = Vec::new();
        for filter in filters {
            let mut left = filter["limit"].as_u64().unwrap_or(u64::MAX);
            for event in self.scan(filter) {
                if left == 0 {
                    break;
                }
                left -= 1;
                events.push(event);
            }
        }
        events.sort_by_key(Event::position);
        events.dedup();
        events
    }

    fn scan(&self, filter: &Value) -> Vec<Event> {
        let filter = Arc::new(parse(filter));
        let now = Timestamp::now();
        let request = ScanRequest {
            filter,
            after: None,
            now,
            budget: Budget::UNLIMITED,
        };
        let mut scan = self.store.scan(request);
        let mut events = Vec::new();
        loop {
            let page = self.runtime.block_on(scan.next(100)).unwrap();
            events.extend(page.events.iter().map(|event| Event::clone(event)));
            match page.end {
                Some(End::Complete) => return events,
                Some(End::Budget) => panic!("the budget is unlimited"),
                None => {}
            }
        }
    }
}

#[track_caller]
fn parse(filter: &Value) -> Filter {
    Filter::parse(&filter.to_string()).unwrap_or_else(|refusal| panic!("{refusal}: {filter}"))
}

fn matches(filters: &[Value], event: &Event) -> bool {
    filters.iter().any(|filter| parse(filter).matches(event))
}

#[test]
fn stored_answers_are_the_oracle_s() {
    let relay = Relay::with(&SETTINGS);
    check_stored(&|| relay.client());
}

#[track_caller]
pub(crate) fn check_stored(connect: Connect<'_>) {
    let mut world = World::new(seeded());
    let mut client = world.client(connect);
    let oracle = Oracle::new();
    for event in &world.events {
        let stored = oracle.write(event);
        let (accepted, text) = client.publish(event);
        assert_eq!(
            (accepted, text.is_empty()),
            (stored, stored),
            "{text}: {}",
            event.as_str()
        );
    }
    settle(&mut client);
    let mut reader = world.client(connect);
    for mut filters in world.reqs() {
        if world.random.once_in(3) {
            filters[0]["limit"] = world.random.below(40).into();
        }
        let want = oracle.answer(&filters);
        assert_eq!(reader.query(&filters).ids(), ids(&want), "{filters:?}");
    }
}

#[test]
fn live_answers_are_the_oracle_s() {
    let relay = Relay::with(&SETTINGS);
    check_live(&|| relay.client());
}

#[track_caller]
pub(crate) fn check_live(connect: Connect<'_>) {
    let mut world = World::new(seeded());
    // One connection, which sees its own writes at once (R01-57).
    let mut client = world.client(connect);
    open_fence(&mut client);
    let oracle = Oracle::new();
    // Each subscription is opened before a random write.
    let reqs = world.reqs();
    let mut openings: Vec<Vec<usize>> = vec![Vec::new(); EVENTS];
    for sub in 0..FILTERS {
        openings[world.random.below(EVENTS)].push(sub);
    }
    let mut open: Vec<usize> = Vec::new();
    let mut want: Vec<Vec<String>> = vec![Vec::new(); FILTERS];
    for (event, opened) in world.events.iter().zip(&openings) {
        for sub in opened {
            let stored = client.req(&sub.to_string(), &reqs[*sub]);
            assert_eq!(
                stored.ids(),
                ids(&oracle.answer(&reqs[*sub])),
                "{:?}",
                reqs[*sub]
            );
            open.push(*sub);
        }
        client.publish(event);
        if oracle.write(event) {
            for sub in open.iter().filter(|sub| matches(&reqs[**sub], event)) {
                want[*sub].push(event.id().to_hex());
            }
        }
    }
    let mut got: Vec<Vec<String>> = vec![Vec::new(); FILTERS];
    for (sub, event) in drain(&mut client, &mut connect()) {
        let sub: usize = sub.parse().unwrap();
        // The fence itself matches filters without conditions.
        if event.kind().as_u16() != crate::support::FENCE_KIND {
            got[sub].push(event.id().to_hex());
        }
    }
    for (sub, filters) in reqs.iter().enumerate() {
        assert_eq!(got[sub], want[sub], "subscription {sub}: {filters:?}");
    }
}

#[test]
fn answers_under_concurrent_writes_end_up_as_the_oracle_s() {
    let relay = Relay::with(&SETTINGS);
    check_concurrent(&|| relay.client());
}

#[track_caller]
pub(crate) fn check_concurrent(connect: Connect<'_>) {
    let mut world = World::new(seeded());
    let oracle = Oracle::new();
    for event in &world.events {
        oracle.write(event);
    }
    // Three writers share the events, some of which two of them send.
    let mut parts: Vec<Vec<Event>> = vec![Vec::new(); 3];
    for event in &world.events {
        let first = world.random.below(3);
        parts[first].push(event.clone());
        if world.random.once_in(5) {
            parts[(first + 1) % 3].push(event.clone());
        }
    }
    for part in &mut parts {
        world.random.shuffle(part);
    }
    let reqs = world.reqs();
    let mut readers: Vec<Client> = (0..4).map(|_| world.client(connect)).collect();
    readers.iter_mut().for_each(open_fence);
    let shares: Vec<&[Vec<Value>]> = reqs.chunks(FILTERS / 4).collect();
    let stored: Vec<Vec<Vec<Event>>> = thread::scope(|scope| {
        for part in &parts {
            let mut writer = world.client(connect);
            scope.spawn(move || {
                for piece in part.chunks(10) {
                    piece.iter().for_each(|event| writer.send_event(event));
                    piece.iter().for_each(|event| {
                        writer.ok(&event.id().to_hex());
                    });
                }
            });
        }
        let open = |reader: &mut Client, share: &[Vec<Value>]| {
            let req =
                |(sub, filters): (usize, &Vec<Value>)| reader.req(&sub.to_string(), filters).events;
            share.iter().enumerate().map(req).collect::<Vec<_>>()
        };
        let readers = readers.iter_mut().zip(&shares);
        let threads: Vec<_> = readers
            .map(|(reader, share)| scope.spawn(move || open(reader, share)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a reader"))
            .collect()
    });
    let mut client = world.client(connect);
    for ((reader, share), stored) in readers.iter_mut().zip(shares).zip(stored) {
        let live = drain(reader, &mut client);
        for (sub, filters) in share.iter().enumerate() {
            let of_sub = live.iter().filter(|(found, _)| *found == sub.to_string());
            let of_sub = of_sub.map(|(_, event)| event);
            let of_sub = of_sub.filter(|event| event.kind().as_u16() != crate::support::FENCE_KIND);
            let together: Vec<&Event> = stored[sub].iter().chain(of_sub).collect();
            assert!(
                together.iter().all(|event| matches(filters, event)),
                "{filters:?}"
            );
            let together: BTreeSet<String> = id_set(together);
            let want = oracle.answer(filters);
            // Others were winners for a while; none that stayed may be missing.
            let missing: Vec<String> = ids(&want)
                .into_iter()
                .filter(|id| !together.contains(id))
                .collect();
            assert_eq!(missing, [""; 0], "never sent to {filters:?}");
            // The fences are newer than that.
            let mut filters = filters.clone();
            for filter in &mut filters {
                filter["until"] = filter["until"].as_u64().unwrap_or(1_750_000_000).into();
            }
            assert_eq!(client.query(&filters).ids(), ids(&want), "{filters:?}");
        }
    }
}
