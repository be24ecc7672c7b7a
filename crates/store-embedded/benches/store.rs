//! Writes and reads of the embedded store over synthetic events: 100,000 notes and reactions of
//! 5,000 authors, one a second, and 500 authors that were active only at the very beginning.
//!
//! Reads are whole calls through the pool: queue, thread, slice, answer.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use heliograph_protocol::{Event, Filter, Kind, PublicKey, Signature, Timestamp};
use heliograph_store::{Budget, End, EventStore, Scan, ScanRequest};
use heliograph_store_embedded::{EmbeddedStore, Options};

const EVENTS: u64 = 100_000;
const AUTHORS: u64 = 5_000;
const SPARSE: u64 = 500;

fn mix(n: u64) -> u64 {
    let mut mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

fn author(n: u64) -> PublicKey {
    let mut bytes = [0; 32];
    for (at, part) in bytes.chunks_mut(8).enumerate() {
        part.copy_from_slice(&mix(n * 4 + at as u64 + 1).to_be_bytes());
    }
    PublicKey::new(bytes)
}

fn make(n: u64, by: u64) -> Arc<Event> {
    let hex = |n: u64| author(n).to_hex();
    let kind = if n.is_multiple_of(3) { 7 } else { 1 };
    let tags = [
        vec!["e".to_owned(), hex(n % 997)],
        vec!["p".to_owned(), hex(mix(n) % AUTHORS)],
        vec!["t".to_owned(), format!("topic{}", n % 50)],
    ];
    let words = [
        "relay", "note", "about", "the", "weather", "today", "and", "people",
    ];
    let text: Vec<&str> = (0..40)
        .map(|w| words[(mix(n * 64 + w) % 8) as usize])
        .collect();
    let (at, kind) = (Timestamp::from_secs(1_600_000_000 + n), Kind::new(kind));
    let mut sig = [0; 64];
    for (at, part) in sig.chunks_mut(8).enumerate() {
        part.copy_from_slice(&mix(n * 8 + at as u64).to_be_bytes());
    }
    let event = Event::build(author(by), at, kind, &tags, &text.join(" "), |_| {
        Signature::new(sig)
    });
    Arc::new(event)
}

fn events() -> Vec<Arc<Event>> {
    let early = (0..SPARSE * 4).map(|n| make(n, AUTHORS + n % SPARSE));
    early
        .chain((SPARSE * 4..EVENTS).map(|n| make(n, mix(n) % AUTHORS)))
        .collect()
}

fn feed(authors: impl Iterator<Item = u64>) -> Filter {
    let mut authors: Vec<_> = authors.map(author).collect();
    authors.sort_unstable();
    let kinds = Some(vec![Kind::new(1), Kind::new(6)]);
    Filter {
        authors: Some(authors),
        kinds,
        ..Filter::default()
    }
}

async fn newest(store: &EmbeddedStore, filter: &Arc<Filter>, wanted: usize) -> (usize, u64) {
    let mut scan = store.scan(ScanRequest {
        filter: Arc::clone(filter),
        after: None,
        now: Timestamp::from_secs(1_700_000_000),
        budget: Budget::UNLIMITED,
    });
    let (mut found, mut rows) = (0, 0);
    while found < wanted {
        let page = scan.next(wanted - found).await.expect("reads work");
        found += page.events.len();
        rows = page.cost.rows;
        if page.end == Some(End::Complete) {
            break;
        }
    }
    (found, rows)
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[expect(clippy::print_stdout, reason = "a benchmark's report")]
fn load(runtime: &tokio::runtime::Runtime, store: &EmbeddedStore, events: &[Arc<Event>]) {
    let (began, used) = (Instant::now(), cpu());
    for chunk in events.chunks(1_000) {
        runtime
            .block_on(store.write(chunk.to_vec()))
            .expect("writes work");
    }
    let wall = began.elapsed();
    store.flush().expect("flushes work");
    let (all, used) = (began.elapsed(), cpu() - used);
    let info = store.info().expect("info works");
    let each = |time: Duration| time.as_micros() as f64 / events.len() as f64;
    println!(
        "load in writes of 1000, fsync each: {:.1} µs/event wall until OK, {:.1} until in the \
         database, {:.1} CPU in all; {} B/event of text, {} B/event on disk",
        each(wall),
        each(all),
        each(used),
        info.payload_bytes / info.events,
        info.file_bytes / info.events,
    );
}

fn small_writes(
    criterion: &mut Criterion,
    runtime: &tokio::runtime::Runtime,
    store: &EmbeddedStore,
) {
    let mut n = EVENTS * 10;
    let mut group = criterion.benchmark_group("write");
    for (name, size) in [("1 event, fsync", 1_u64), ("100 events, fsync", 100)] {
        group.throughput(Throughput::Elements(size));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    n += size;
                    (n - size..n)
                        .map(|n| make(n, AUTHORS * 2 + n % 100))
                        .collect::<Vec<_>>()
                },
                |events| runtime.block_on(store.write(events)).expect("writes work"),
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

#[expect(clippy::print_stdout, reason = "a benchmark's report")]
fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let store = EmbeddedStore::open(Options::new(dir.path())).expect("opens");
    let events = events();
    load(&runtime, &store, &events);

    let ids: Vec<_> = (0..1_000)
        .map(|n| events[(mix(n) % EVENTS) as usize].id())
        .collect();
    let mut turn = 0;
    criterion.bench_function("get by id, on the calling thread", |bencher| {
        bencher.iter(|| {
            turn += 1;
            store
                .contains_blocking(black_box(ids[turn % ids.len()]))
                .expect("reads work")
        });
    });
    let one = |kind: u16| Filter {
        kinds: Some(vec![Kind::new(kind)]),
        ..Filter::default()
    };
    let by_id = Filter {
        ids: Some(vec![*events[77_777].id()]),
        ..Filter::default()
    };
    let by_author = Filter {
        authors: Some(vec![author(42)]),
        ..one(1)
    };
    for (name, filter, wanted) in [
        ("get by id", by_id, 1),
        ("author and kind, newest 20", by_author, 20),
        (
            "feed, 100 active authors, 2 kinds, limit 200",
            feed(0..100),
            200,
        ),
        (
            "feed, 500 active authors, 2 kinds, limit 200",
            feed(0..500),
            200,
        ),
        (
            "feed, 100 sparse authors, 2 kinds, limit 200",
            feed(AUTHORS..AUTHORS + 100),
            200,
        ),
        (
            "feed, 500 sparse authors, 2 kinds, limit 200",
            feed(AUTHORS..AUTHORS + SPARSE),
            200,
        ),
        ("kind 1, limit 500", one(1), 500),
    ] {
        let filter = Arc::new(filter);
        let (found, rows) = runtime.block_on(newest(&store, &filter, wanted));
        let used = cpu();
        for _repeat in 0..50 {
            runtime.block_on(newest(&store, &filter, wanted));
        }
        println!(
            "{name}: {found} events, {rows} rows, {:?} CPU",
            (cpu() - used) / 50
        );
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(newest(&store, black_box(&filter), wanted)));
        });
    }
    small_writes(&mut criterion, &runtime, &store);
    criterion.final_summary();
}
