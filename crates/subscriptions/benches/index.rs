//! What a match, an insertion and a removal cost at 10,000 and 100,000 subscriptions.
//!
//! A match is the mean over 4,096 events in turn. Insertion and removal are of home feeds of about
//! 510 authors. What is printed beside the times says how much matched, how much room it took, and
//! the CPU time of the thread, which a busy machine doesn't lengthen as it does wall time.
#![expect(
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a benchmark"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use common::Mix;
use criterion::{Criterion, criterion_group, criterion_main};
use heliograph_protocol::{Event, Filter};
use heliograph_subscriptions::{Index, Matches, Slot};
use roaring::RoaringBitmap;

const EVENTS: usize = 4096;

fn at_10_thousand(criterion: &mut Criterion) {
    measure(criterion, 10_000);
}

fn at_100_thousand(criterion: &mut Criterion) {
    measure(criterion, 100_000);
}

fn measure(criterion: &mut Criterion, subscriptions: u32) {
    let mut mix = Mix::new(1);
    let events: Vec<Event> = (0..EVENTS).map(|_| mix.event()).collect();
    let mut index = build(&mut mix, subscriptions);
    describe(&mut index, &events);

    let mut group = criterion.benchmark_group(format!("{subscriptions} subscriptions"));
    let mut events = events.iter().cycle();
    let mut out = Matches::default();
    group.bench_function("match, list", |bencher| {
        bencher.iter(|| {
            index.matches(events.next().expect("they cycle"), &mut out);
            black_box(out.slots.len())
        });
    });
    let mut bitmap = RoaringBitmap::new();
    group.bench_function("match, bitmap", |bencher| {
        bencher.iter(|| {
            index.matches_bitmap(events.next().expect("they cycle"), &mut bitmap);
            black_box(bitmap.is_empty())
        });
    });
    group.sample_size(20);
    for (name, part) in [("insert a home feed", 0), ("remove it", 1), ("purge it", 2)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| churn(&mut index, &mut mix, subscriptions)[part])
                    .sum()
            });
        });
    }
    group.finish();
}

/// The times to insert, remove and purge one more home feed.
fn churn(index: &mut Index, mix: &mut Mix, subscriptions: u32) -> [Duration; 3] {
    let filters = [mix.home_feed()];
    let slot = Slot(subscriptions);
    let start = Instant::now();
    index.insert(slot, &filters);
    let inserted = start.elapsed();
    index.remove(slot);
    let removed = start.elapsed();
    while index.purge(4096) {}
    [inserted, removed - inserted, start.elapsed() - removed]
}

fn build(mix: &mut Mix, subscriptions: u32) -> Index {
    let mut index = Index::new();
    let (resident, mut spent, mut values) = (resident_bytes(), Duration::ZERO, 0);
    let slots: Vec<u32> = (0..subscriptions).collect();
    for chunk in slots.chunks(1000) {
        let filters: Vec<Vec<Filter>> = chunk.iter().map(|_slot| mix.subscription()).collect();
        values += filters
            .iter()
            .flatten()
            .map(Filter::value_count)
            .sum::<usize>();
        let start = cpu_time();
        for (slot, filters) in chunk.iter().zip(&filters) {
            index.insert(Slot(*slot), filters);
        }
        spent += cpu_time() - start;
    }
    let grown = resident_bytes().saturating_sub(resident);
    let stats = index.stats();
    eprintln!(
        "{subscriptions} subscriptions: {:.1} s CPU to insert, {} ns a value; {stats:?}; {} B each \
         estimated, {} B each resident, {} B a posting",
        spent.as_secs_f64(),
        spent.as_nanos() / values as u128,
        stats.bytes / subscriptions as usize,
        grown / subscriptions as usize,
        grown / stats.postings,
    );
    index
}

fn describe(index: &mut Index, events: &[Event]) {
    const ROUNDS: u32 = 10;
    let mut out = Matches::default();
    let (mut counts, mut times) = (Vec::new(), Vec::new());
    for event in events {
        let start = Instant::now();
        index.matches(event, &mut out);
        times.push(start.elapsed());
        counts.push(out.slots.len());
    }
    let start = cpu_time();
    for event in std::iter::repeat_n(events, ROUNDS as usize).flatten() {
        index.matches(event, &mut out);
    }
    let listed = (cpu_time() - start) / ROUNDS / EVENTS as u32;
    let mut bitmap = RoaringBitmap::new();
    let start = cpu_time();
    for event in std::iter::repeat_n(events, ROUNDS as usize).flatten() {
        index.matches_bitmap(event, &mut bitmap);
    }
    let mapped = (cpu_time() - start) / ROUNDS / EVENTS as u32;
    times.sort_unstable();
    counts.sort_unstable();
    eprintln!(
        "matches an event: mean {}, p50 {}, max {}; CPU an event as a list {listed:?}, as a bitmap \
         {mapped:?}; wall p50 {:?}, p99 {:?}",
        counts.iter().sum::<usize>() / EVENTS,
        counts[EVENTS / 2],
        counts[EVENTS - 1],
        times[EVENTS / 2],
        times[EVENTS * 99 / 100],
    );
}

/// CPU time of this thread, to a few milliseconds; zero where the system doesn't say.
fn cpu_time() -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok());
    Duration::from_nanos(spent.unwrap_or_default())
}

/// Resident memory in bytes; 0 where the system doesn't say.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

criterion_group!(benches, at_10_thousand, at_100_thousand);
criterion_main!(benches);
