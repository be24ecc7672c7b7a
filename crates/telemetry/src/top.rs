//! The heaviest of very many keys in little memory: who sends most, what costs most.
//!
//! Each list is a space-saving sketch (Metwally, Agrawal, El Abbadi: *Efficient Computation of Frequent
//! and Top-k Elements in Data Streams*, 2005) of a fixed number of counters. A key without one takes over
//! the smallest, with its count, which is noted as its error. What always holds, with `total` the weight
//! of everything recorded: a key heavier than `total / capacity` is in the list, and its real weight is
//! between `count - error` and `count`. Every minute all weights are halved, so that a list shows the last minutes.

use std::{
    cell::Cell,
    hash::{BuildHasher as _, Hash},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use parking_lot::Mutex;

/// Counters of a list: keys heavier than a hundredth of everything are in it.
pub const TOP_CAPACITY: usize = 100;

/// After so long what was recorded counts half.
pub const TOP_HALF_LIFE: Duration = Duration::from_mins(1);

/// One key of a list, with what it weighs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopEntry<K> {
    /// The key.
    pub key: K,
    /// Its weight at most.
    pub count: u64,
    /// By how much `count` may be too high.
    pub error: u64,
}

/// The heaviest keys by one measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top<K> {
    /// The weight of everything recorded, of all keys.
    pub total: u64,
    /// The heaviest first.
    pub entries: Vec<TopEntry<K>>,
}

#[derive(Debug)]
struct Counter<K> {
    key: K,
    hash: u64,
    count: u64,
    error: u64,
    /// Its place in the heap.
    place: usize,
}

/// The sketch. A heap keeps the smallest counter at hand: to record a key that has a counter takes a look-up
/// and some comparisons (30 ns), one that takes over a counter two changes of the table more (70 ns).
#[derive(Debug)]
struct Sketch<K> {
    capacity: usize,
    total: u64,
    counters: Vec<Counter<K>>,
    /// Positions in `counters`, a heap with the smallest count first.
    heap: Vec<usize>,
    /// The same, by the hash of their keys.
    positions: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

impl<K: Hash + Eq + Clone> Sketch<K> {
    fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            total: 0,
            counters: Vec::new(),
            heap: Vec::new(),
            positions: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    fn record(&mut self, key: &K, weight: u64) {
        self.total = self.total.saturating_add(weight);
        let hash = self.hasher.hash_one(key);
        let counters = &mut self.counters;
        let known = self
            .positions
            .find(hash, |position| counters[*position].key == *key);
        if let Some(position) = known {
            let counter = &mut counters[*position];
            counter.count = counter.count.saturating_add(weight);
            let place = counter.place;
            self.sift_down(place);
        } else if counters.len() < self.capacity {
            self.push(key.clone(), hash, weight, 0);
        } else {
            self.take_over(key, hash, weight);
        }
    }

    fn push(&mut self, key: K, hash: u64, count: u64, error: u64) {
        let (position, place) = (self.counters.len(), self.heap.len());
        let counter = Counter {
            key,
            hash,
            count,
            error,
            place,
        };
        self.counters.push(counter);
        self.file(position);
        self.heap.push(position);
        self.sift_up(place);
    }

    /// Gives the smallest counter to another key.
    fn take_over(&mut self, key: &K, hash: u64, weight: u64) {
        let position = self.heap[0];
        let counter = &mut self.counters[position];
        let evicted = self
            .positions
            .find_entry(counter.hash, |other| *other == position);
        if let Ok(evicted) = evicted {
            evicted.remove();
        }
        counter.key.clone_from(key);
        counter.hash = hash;
        counter.error = counter.count;
        counter.count = counter.count.saturating_add(weight);
        self.file(position);
        self.sift_down(0);
    }

    /// Lets a counter be found by its key.
    fn file(&mut self, position: usize) {
        let counters = &self.counters;
        let hash = |position: &usize| counters[*position].hash;
        self.positions
            .insert_unique(counters[position].hash, position, hash);
    }

    fn count_at(&self, place: usize) -> u64 {
        self.counters[self.heap[place]].count
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.counters[self.heap[a]].place = a;
        self.counters[self.heap[b]].place = b;
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            if left >= self.heap.len() {
                return;
            }
            let smaller = right < self.heap.len() && self.count_at(right) < self.count_at(left);
            let child = if smaller { right } else { left };
            if self.count_at(place) <= self.count_at(child) {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }

    fn sift_up(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.count_at(parent) <= self.count_at(place) {
                return;
            }
            self.swap(place, parent);
            place = parent;
        }
    }

    /// Halves every weight, in favour of what is promised: counts up, what they hold for certain down.
    /// What is one or less is forgotten.
    fn halve(&mut self) {
        self.total = self.total.div_ceil(2);
        let counters = std::mem::take(&mut self.counters);
        self.heap.clear();
        self.positions.clear();
        for counter in counters {
            if counter.count > 1 {
                let count = counter.count.div_ceil(2);
                let certain = (counter.count - counter.error) / 2;
                self.push(counter.key, counter.hash, count, count - certain);
            }
        }
    }

    /// What a key without a counter weighs at most.
    fn floor(&self) -> u64 {
        if self.counters.len() < self.capacity {
            0
        } else {
            self.count_at(0)
        }
    }
}

/// What one thread has recorded: a sketch for each measure.
#[derive(Debug)]
struct Shard<K, const M: usize> {
    /// Half-lives since the start that its weights have seen.
    halvings: u64,
    sketches: [Sketch<K>; M],
}

impl<K: Hash + Eq + Clone, const M: usize> Shard<K, M> {
    fn age(&mut self, halvings: u64) {
        // After 64 of them nothing is left of any weight.
        for _ in 0..halvings.saturating_sub(self.halvings).min(64) {
            self.sketches.iter_mut().for_each(Sketch::halve);
        }
        self.halvings = self.halvings.max(halvings);
    }
}

/// The heaviest keys by `M` measures. Threads record in shards of their own, which are added up when
/// somebody looks.
#[derive(Debug)]
pub struct TopList<K, const M: usize> {
    started: Instant,
    shards: Box<[Mutex<Shard<K, M>>]>,
}

thread_local! {
    /// Numbers the threads that record.
    static THREAD: Cell<Option<usize>> = const { Cell::new(None) };
}

fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    THREAD.get().unwrap_or_else(|| {
        let number = THREADS.fetch_add(1, Ordering::Relaxed);
        THREAD.set(Some(number));
        number
    })
}

impl<K: Hash + Eq + Clone, const M: usize> TopList<K, M> {
    /// An empty list of `capacity` counters for each shard and measure. As many shards as there are
    /// threads that record much: others share one with them.
    #[must_use]
    pub fn new(shards: usize, capacity: usize) -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                halvings: 0,
                sketches: std::array::from_fn(|_| Sketch::new(capacity)),
            })
        };
        Self {
            started: Instant::now(),
            shards: (0..shards.max(1)).map(shard).collect(),
        }
    }

    /// Adds to what a key weighs, by each measure; 0 leaves it alone.
    pub fn record(&self, key: &K, weights: [u64; M], now: Instant) {
        let mut shard = self.shards[thread_number() % self.shards.len()].lock();
        shard.age(self.halvings(now));
        for (sketch, weight) in shard.sketches.iter_mut().zip(weights) {
            if weight > 0 {
                sketch.record(key, weight);
            }
        }
    }

    /// The heaviest keys by a measure, `entries_max` at most. Which are equally heavy come in no order.
    #[must_use]
    pub fn top(&self, measure: usize, entries_max: usize, now: Instant) -> Top<K> {
        let halvings = self.halvings(now);
        let mut total: u64 = 0;
        let mut floors: u64 = 0;
        // For each key its count, its error, and the floors of the shards that hold it.
        let mut sums: HashMap<K, (u64, u64, u64)> = HashMap::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.age(halvings);
            let sketch = &shard.sketches[measure];
            let floor = sketch.floor();
            total = total.saturating_add(sketch.total);
            floors += floor;
            for counter in &sketch.counters {
                let sum = sums.entry(counter.key.clone()).or_default();
                sum.0 = sum.0.saturating_add(counter.count);
                sum.1 += counter.error;
                sum.2 += floor;
            }
        }
        let entry = |(key, (count, error, seen))| {
            // Where it has no counter it may weigh as much as the smallest there.
            let unseen: u64 = floors - seen;
            TopEntry {
                key,
                count: count + unseen,
                error: error + unseen,
            }
        };
        let mut entries: Vec<_> = sums.into_iter().map(entry).collect();
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.count));
        entries.truncate(entries_max);
        Top { total, entries }
    }

    fn halvings(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs() / TOP_HALF_LIFE.as_secs()
    }
}

#[cfg(test)]
mod tests;
