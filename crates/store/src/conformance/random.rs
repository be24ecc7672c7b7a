//! Random events and filters: against the memory store, against the definition, in any order and
//! from several writers. Every failure names its seed; [`compare`] takes it again.

use std::{
    collections::{HashMap, HashSet},
    future::{Future, poll_fn},
    ops::Deref,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use heliograph_protocol::{Address, Event, Filter, Kind, PublicKey, TagCondition, Timestamp};

use super::fixture::{
    Backend, Bed, NOW, RELAY_URL, assert_same, build, collect, collect_pages, key, relay_urls,
    request, sort,
};
use crate::{
    End, EventStore, MemoryStore, ScanRequest,
    rules::{self, deletion_targets, owners, vanish_in_force, vanishes},
};

/// Expirations of random events lie in the five seconds from here on: in 2096.
const FAR: u64 = 4_000_000_000;

/// Times of random events, in seconds; few, so that ties are common.
const TIMES: u64 = 30;

/// A small generator (`SplitMix64`), the same on every platform.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0..bound`.
    ///
    /// # Panics
    ///
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// An index into something of `len` elements.
    ///
    /// # Panics
    ///
    /// If `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// One element.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn pick<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.index(values.len())]
    }

    /// True once in `n` times.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Brings the elements into a random order.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.index(last + 1));
        }
    }
}

const LETTERS: [&str; 5] = ["t", "T", "d", "r", "a"];
const VALUES: [&str; 5] = ["", "x", "X", "y", "x:y"];

/// Random events of five authors over thirty seconds: notes, versions, gift wraps, deletion requests
/// and requests to vanish, in random order, some of them twice.
///
/// With `orderly`, no deletion request is older than an event that it names by id. Only then does a
/// request that vanishes before it takes effect make no difference, so that the end doesn't depend
/// on the order.
#[must_use]
pub fn random_events(rng: &mut Rng, count: usize, orderly: bool) -> Vec<Arc<Event>> {
    let mut events: Vec<Arc<Event>> = (0..count).map(|n| random_event(rng, n)).collect();
    for _ in 0..count / 10 {
        events.push(random_deletion(rng, &events, orderly));
    }
    for _ in 0..count.div_ceil(100) {
        let relay = *rng.pick(&[RELAY_URL, "ALL_RELAYS", "wss://other.example.com"]);
        let tag = vec!["relay", relay];
        // Early ones, so that something is left to compare.
        events.push(build(random_key(rng), rng.below(TIMES / 3), 62, &[tag], ""));
    }
    for _ in 0..count / 5 {
        let again = Arc::clone(rng.pick(&events));
        events.push(again);
    }
    rng.shuffle(&mut events);
    events
}

fn random_key(rng: &mut Rng) -> PublicKey {
    key(u32::try_from(rng.below(5)).expect("below five"))
}

fn random_event(rng: &mut Rng, n: usize) -> Arc<Event> {
    let kind = *rng.pick(&[
        1, 1, 1, 1, 6, 7, 45, 40_000, 1059, 1059, 4, 0, 3, 10_002, 30_023, 30_024,
    ]);
    let mut tags: Vec<Vec<String>> = Vec::new();
    for _ in 0..rng.below(4) {
        let mut tag = vec![(*rng.pick(&LETTERS)).to_owned()];
        if !rng.one_in(8) {
            tag.push((*rng.pick(&VALUES)).to_owned());
        }
        tags.push(tag);
    }
    if kind == 1059 || rng.one_in(4) {
        tags.push(vec!["p".to_owned(), random_key(rng).to_hex()]);
    }
    if rng.one_in(10) {
        let end = FAR + rng.below(5);
        tags.push(vec!["expiration".to_owned(), end.to_string()]);
    }
    build(
        random_key(rng),
        rng.below(TIMES),
        kind,
        &tags,
        &n.to_string(),
    )
}

fn random_deletion(rng: &mut Rng, events: &[Arc<Event>], orderly: bool) -> Arc<Event> {
    let mut at = rng.below(TIMES);
    let mut tags = Vec::new();
    let mut author = random_key(rng);
    for _ in 0..=rng.below(3) {
        let target = rng.pick(events);
        if !rng.one_in(4) {
            author = *rng.pick(&owners(target));
        }
        match target.address() {
            Some(Address { kind, pubkey, d }) if rng.one_in(2) => {
                tags.push(vec!["a".to_owned(), format!("{kind}:{pubkey}:{d}")]);
            }
            _ => {
                tags.push(vec!["e".to_owned(), target.id().to_hex()]);
                if orderly {
                    at = at.max(target.created_at().as_secs());
                }
            }
        }
    }
    build(author, at, 5, &tags, "")
}

/// A random filter over what [`random_events`] makes, now and then one that matches nothing.
#[must_use]
pub fn random_filter(rng: &mut Rng, events: &[Arc<Event>]) -> Filter {
    const KINDS: [u16; 8] = [0, 1, 4, 5, 62, 1059, 10_002, 30_023];
    let mut filter = Filter::default();
    if rng.one_in(6) {
        filter.ids = Some(values(rng, 30, |rng| *rng.pick(events).id()));
    }
    if rng.one_in(2) {
        filter.authors = Some(values(rng, 4, random_key));
    }
    if rng.one_in(2) {
        filter.kinds = Some(values(rng, 5, |rng| Kind::new(*rng.pick(&KINDS))));
    }
    for letter in *b"Tadprt" {
        if rng.one_in(8) {
            let values = values(rng, 3, |rng| -> Box<str> {
                if letter == b'p' {
                    return random_key(rng).to_hex().into();
                }
                (*rng.pick(&VALUES)).into()
            });
            filter.tags.push(TagCondition { letter, values });
        }
    }
    if rng.one_in(3) {
        filter.since = Some(Timestamp::from_secs(rng.below(TIMES + 1)));
    }
    if rng.one_in(3) {
        filter.until = Some(Timestamp::from_secs(rng.below(TIMES + 1)));
    }
    filter
}

/// Up to `most` values, sorted, each once; seldom none.
fn values<T: Ord>(rng: &mut Rng, most: u64, mut value: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    let count = if rng.one_in(20) {
        0
    } else {
        1 + rng.below(most)
    };
    let mut values: Vec<T> = (0..count).map(|_| value(rng)).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// What these events leave visible, in order, by the definition of the rules and without a history:
/// every guard that a request of the set makes, and the best version of each address.
///
/// Holds for any order of arrival if the events are orderly (see [`random_events`]).
#[must_use]
pub fn surviving(events: &[Arc<Event>]) -> Vec<Arc<Event>> {
    let urls = relay_urls();
    let mut vanished: HashMap<PublicKey, Timestamp> = HashMap::new();
    let mut ids = HashSet::new();
    let mut addresses: HashMap<Address, Timestamp> = HashMap::new();
    let mut best: HashMap<Address, &Arc<Event>> = HashMap::new();
    for event in events {
        let at = event.created_at();
        if vanish_in_force(event, &urls) {
            let until = vanished.entry(*event.pubkey()).or_insert(at);
            *until = at.max(*until);
        }
        let targets = deletion_targets(event);
        ids.extend(targets.ids.into_iter().map(|id| (*event.pubkey(), id)));
        for address in targets.addresses {
            let until = addresses.entry(address).or_insert(at);
            *until = at.max(*until);
        }
        if let Some(address) = event.address() {
            let seat = best.entry(address).or_insert(event);
            if event.supersedes(seat) {
                *seat = event;
            }
        }
    }
    let stays = |event: &&Arc<Event>| {
        let owners = owners(event);
        if owners
            .iter()
            .any(|owner| ids.contains(&(*owner, *event.id())))
            && rules::is_deletable(event.kind())
        {
            return false;
        }
        let mut until = owners.iter().filter_map(|owner| vanished.get(owner));
        if until.any(|until| vanishes(event, *until, &urls)) {
            return false;
        }
        let Some(address) = event.address() else {
            return true;
        };
        let deleted = addresses
            .get(&address)
            .is_some_and(|until| event.created_at() <= *until);
        best[&address].id() == event.id() && !deleted
    };
    let mut left: Vec<_> = events.iter().filter(stays).cloned().collect();
    sort(&mut left);
    left.dedup();
    left
}

/// Writes random events in random batches to an empty store and to the memory store and compares
/// every outcome; in between and at the end compares random filters, in pages of random size and
/// from random places on, with [`Filter::matches`] over what the memory store holds.
///
/// # Panics
///
/// If anything differs; the message begins with the seed.
pub async fn compare<B: Backend>(backend: &B, seed: u64, events: usize, filters: usize) {
    let bed = Bed::open(backend).await;
    let oracle = MemoryStore::new(relay_urls());
    let mut rng = Rng::new(seed);
    let events = random_events(&mut rng, events, false);
    let mut rest = events.as_slice();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(1 + rng.index(rest.len().min(40)));
        rest = after;
        let outcomes = bed.write(batch).await;
        let expected = oracle
            .write(batch.to_vec())
            .await
            .expect("memory doesn't fail");
        for (event, pair) in batch.iter().zip(outcomes.iter().zip(&expected)) {
            assert_eq!(pair.0, pair.1, "seed {seed}: outcome of {}", event.as_str());
        }
        if rng.one_in(3) {
            compare_filter(&mut rng, &bed, &oracle, &events, seed).await;
        }
    }
    for _ in 0..filters {
        compare_filter(&mut rng, &bed, &oracle, &events, seed).await;
    }
}

async fn compare_filter<S: EventStore, H: Deref<Target = S>>(
    rng: &mut Rng,
    bed: &Bed<H>,
    oracle: &MemoryStore,
    events: &[Arc<Event>],
    seed: u64,
) {
    let filter = random_filter(rng, events);
    let now = if rng.one_in(3) {
        Timestamp::from_secs(FAR + rng.below(6))
    } else {
        NOW
    };
    let after = rng
        .one_in(3)
        .then(|| rng.pick(events))
        .map(|at| (at.created_at(), *at.id()));
    let rows = 1 + rng.index(30);
    let held = collect(oracle, &Filter::default(), Timestamp::from_secs(0)).await;
    let place = after.map(|(time, id)| (std::cmp::Reverse(time), id));
    let expected: Vec<_> = held
        .into_iter()
        .filter(|event| filter.matches(event) && !event.is_expired(now))
        .filter(|event| place.is_none_or(|place| event.position() > place))
        .collect();
    let request = ScanRequest {
        after,
        ..request(&filter, now)
    };
    let (answer, end) = collect_pages(bed.store(), request, rows).await;
    let what = format!("seed {seed}: {filter:?} after {after:?} at {now} in pages of {rows}");
    assert_eq!(end, End::Complete, "{what}");
    assert_same(&answer, &expected, &what);
}

/// Two ways to one answer, at every step.
pub async fn writes_and_filters_match_the_memory_store<B: Backend>(backend: &B) {
    for seed in [1, 2] {
        compare(backend, seed, 600, 200).await;
    }
}

/// CL-1, for hundreds of events at once.
pub async fn any_order_leaves_the_same_set<B: Backend>(backend: &B) {
    for seed in [11, 12, 13] {
        let mut rng = Rng::new(seed);
        let mut events = random_events(&mut rng, 400, true);
        let expected = surviving(&events);
        for order in 1..=2 {
            let bed = Bed::open(backend).await;
            for batch in events.chunks(1 + rng.index(60)) {
                bed.write(batch).await;
            }
            let answer = collect(bed.store(), &Filter::default(), NOW).await;
            assert_same(&answer, &expected, &format!("seed {seed}, order {order}"));
            rng.shuffle(&mut events);
        }
    }
}

/// CL-1: eight batches are under way at any time.
pub async fn concurrent_writers_leave_the_same_set<B: Backend>(backend: &B) {
    const WRITERS: usize = 8;
    for seed in [21, 22] {
        let bed = Bed::open(backend).await;
        let mut rng = Rng::new(seed);
        let events = random_events(&mut rng, 400, true);
        let share = events.len().div_ceil(WRITERS);
        let writers = events.chunks(share).map(|events| {
            let bed = &bed;
            async move {
                for batch in events.chunks(7) {
                    bed.write(batch).await;
                }
            }
        });
        join_all(writers).await;
        let answer = collect(bed.store(), &Filter::default(), NOW).await;
        let expected = surviving(&events);
        assert_same(&answer, &expected, &format!("seed {seed}"));
    }
}

/// Runs futures side by side on this task until all are done.
pub(super) async fn join_all<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut running: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let all = poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if running.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    pin!(all).await;
}
