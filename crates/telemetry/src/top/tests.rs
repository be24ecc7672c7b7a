//! What a list promises, against exact counts.

use std::{collections::HashMap as Exact, thread};

use proptest::prelude::*;

use super::*;

fn after(list: &TopList<u32, 1>, half_lives: u32) -> Instant {
    list.started + TOP_HALF_LIFE * half_lives
}

fn recorded(shards: usize, capacity: usize, stream: &[(u32, u64)]) -> TopList<u32, 1> {
    let list = TopList::new(shards, capacity);
    let share = stream.len().div_ceil(shards).max(1);
    thread::scope(|scope| {
        for part in stream.chunks(share) {
            let list = &list;
            scope.spawn(move || {
                for (key, weight) in part {
                    list.record(key, [*weight], list.started);
                }
            });
        }
    });
    list
}

fn exact(stream: &[(u32, u64)]) -> Exact<u32, u64> {
    let mut weights = Exact::new();
    for (key, weight) in stream {
        *weights.entry(*key).or_insert(0) += weight;
    }
    weights
}

/// Whether the heap is one, and every counter is found at its place.
fn is_in_order(list: &TopList<u32, 1>) -> bool {
    list.shards.iter().all(|shard| {
        let sketch = &shard.lock().sketches[0];
        let heap = (1..sketch.heap.len())
            .all(|place| sketch.count_at((place - 1) / 2) <= sketch.count_at(place));
        let placed = sketch
            .heap
            .iter()
            .enumerate()
            .all(|(place, position)| sketch.counters[*position].place == place);
        let found = sketch
            .counters
            .iter()
            .enumerate()
            .all(|(position, counter)| {
                let filed = sketch
                    .positions
                    .find(sketch.hasher.hash_one(counter.key), |other| {
                        *other == position
                    });
                filed.is_some()
            });
        heap && placed && found && sketch.positions.len() == sketch.counters.len()
    })
}

/// Streams in which few keys are heavy and many are not.
fn streams() -> impl Strategy<Value = Vec<(u32, u64)>> {
    let heavy = (0_u32..5, 1_u64..1_000);
    let light = (0_u32..5_000, 1_u64..20);
    proptest::collection::vec(prop_oneof![1 => heavy, 3 => light], 0..2_000)
}

proptest! {
    #[test]
    fn heavy_keys_are_in_the_list_and_counts_are_off_by_their_error_at_most(
        stream in streams(),
        shards in 1_usize..4,
        capacity in 1_usize..50,
    ) {
        let list = recorded(shards, capacity, &stream);
        let weights = exact(&stream);
        let total: u64 = weights.values().sum();
        let top = list.top(0, usize::MAX, list.started);
        prop_assert!(is_in_order(&list));
        prop_assert_eq!(top.total, total);
        prop_assert!(top.entries.len() <= shards * capacity);
        prop_assert!(top.entries.is_sorted_by(|a, b| a.count >= b.count));
        for TopEntry { key, count, error } in &top.entries {
            let weight = weights[key];
            prop_assert!((*count - *error..=*count).contains(&weight), "{key}: {weight} of {count}±{error}");
        }
        for (key, weight) in weights {
            let listed = top.entries.iter().any(|entry| entry.key == key);
            prop_assert!(listed || weight <= total / capacity as u64, "{key} weighs {weight} of {total}");
        }
    }

    #[test]
    fn a_half_life_later_everything_weighs_half(stream in streams(), half_lives in 1_u32..6) {
        let list = recorded(1, 20, &stream);
        let before = list.top(0, usize::MAX, list.started);
        let now = after(&list, half_lives);
        let weights = exact(&stream);
        let later = list.top(0, usize::MAX, now);
        prop_assert!(is_in_order(&list));
        prop_assert!(later.total.abs_diff(before.total >> half_lives) <= 1);
        for TopEntry { key, count, error } in &later.entries {
            let weight = weights[key] >> half_lives;
            prop_assert!((*count - *error..=*count).contains(&weight), "{key}: {weight} of {count}±{error}");
        }
    }
}

#[test]
fn ten_thousand_keys_take_no_more_memory_than_a_hundred() {
    let list: TopList<[u8; 32], 2> = TopList::new(1, TOP_CAPACITY);
    let key = |n: u32| {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        key
    };
    let places = || {
        let shard = list.shards[0].lock();
        let most = |sketch: &Sketch<_>| {
            let (counters, heap) = (sketch.counters.capacity(), sketch.heap.capacity());
            counters.max(heap).max(sketch.positions.capacity())
        };
        shard.sketches.iter().map(most).max()
    };
    (0..10_000).for_each(|n| list.record(&key(n), [1, 500], list.started));
    // A hash table that is always full may be twice as large as it has to be.
    assert!(places() <= Some(256), "{:?}", places());
    assert_eq!(list.top(0, usize::MAX, list.started).entries.len(), 100);
}

#[test]
fn what_was_heavy_an_hour_ago_is_forgotten() {
    let list = recorded(1, 10, &[(1, 1_000_000)]);
    list.record(&2, [1], after(&list, 60));
    let top = list.top(0, usize::MAX, after(&list, 60));
    let keys: Vec<_> = top.entries.iter().map(|entry| entry.key).collect();
    assert_eq!(keys, [2]);
}

#[test]
fn measures_are_lists_of_their_own() {
    let list: TopList<u32, 2> = TopList::new(1, 10);
    list.record(&1, [1, 0], list.started);
    list.record(&2, [0, 7], list.started);
    let top = |measure| list.top(measure, 10, list.started).entries;
    let entry = |key, count| TopEntry {
        key,
        count,
        error: 0,
    };
    assert_eq!(top(0), [entry(1, 1)]);
    assert_eq!(top(1), [entry(2, 7)]);
}
