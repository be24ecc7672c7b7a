//! Reads and writes of an index of 300,000 events, all in memory: the archive is empty and never
//! asked. Counts whole answers, with every event handed out as a shared text.
//!
//! Mix: 15,000 authors by Zipf 0.8, 45 % notes, 25 % reactions, the rest over 14 kinds; 2.4 tags an
//! event, half of whose values occur once. Memory an event is printed first.

use std::{hint::black_box, sync::Arc, time::Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use heliograph_protocol::{Event, EventId, Filter, Kind, PublicKey, Timestamp};
use heliograph_recent::{Recent, RecentOptions};
use heliograph_store::{
    Budget, EventStore, MemoryStore, Scan, ScanRequest,
    conformance::{NOW, Rng, SIGNATURE, relay_urls},
};
use tokio::runtime::Runtime;

const EVENTS: usize = 300_000;
const AUTHORS: usize = 15_000;
const KINDS: [u16; 16] = [
    1, 7, 6, 0, 3, 5, 16, 1111, 1984, 9735, 10_002, 20, 30_023, 30_078, 1059, 4,
];

/// Draws authors so that number `n` is drawn in proportion to `(n + 1)^-0.8`.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let weights = (1..=u32::try_from(count).expect("few")).map(|n| f64::from(n).powf(-0.8));
        Self(
            weights
                .map(|weight| {
                    sum += weight;
                    sum
                })
                .collect(),
        )
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        let whole = 1_u32 << 30;
        let at = u32::try_from(rng.below(u64::from(whole))).expect("30 bits");
        let at = f64::from(at) / f64::from(whole) * self.0.last().expect("some authors");
        self.0.partition_point(|sum| *sum < at)
    }
}

fn author(n: usize) -> PublicKey {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    PublicKey::new(bytes)
}

fn random_id(rng: &mut Rng) -> EventId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&rng.below(u64::MAX).to_be_bytes());
    EventId::new(bytes)
}

fn random_event(rng: &mut Rng, zipf: &Zipf, at: usize, known: &[Arc<Event>]) -> Arc<Event> {
    let kind = match rng.below(100) {
        0..45 => 1,
        45..70 => 7,
        other => KINDS[usize::try_from(other).expect("below 100") % KINDS.len()],
    };
    let mut tags = Vec::new();
    for _ in 0..rng.below(3) {
        // Half answer something that is there, half something from elsewhere.
        let id = match known.len() {
            len if len > 0 && rng.one_in(2) => *known[len - 1 - rng.index(len.min(5_000))].id(),
            _ => random_id(rng),
        };
        tags.push(vec!["e".to_owned(), id.to_hex()]);
    }
    for _ in 0..rng.below(3) {
        tags.push(vec!["p".to_owned(), author(zipf.draw(rng)).to_hex()]);
    }
    if rng.one_in(3) {
        tags.push(vec!["t".to_owned(), format!("topic{}", rng.below(2_000))]);
    }
    if kind == 30_023 || kind == 30_078 {
        tags.push(vec!["d".to_owned(), rng.below(1_000_000).to_string()]);
    }
    // Deletion requests of this mix name nothing, so that the index stays full.
    if kind == 5 {
        tags.clear();
    }
    let content = format!("{at} {}", "lorem ipsum dolor ".repeat(rng.index(10)));
    let time = Timestamp::from_secs(1_600_000_000 + at as u64 / 2);
    let author = author(zipf.draw(rng));
    Arc::new(Event::build(
        author,
        time,
        Kind::new(kind),
        &tags,
        &content,
        |_id| SIGNATURE,
    ))
}

fn events() -> Vec<Arc<Event>> {
    let (mut rng, zipf) = (Rng::new(7), Zipf::new(AUTHORS));
    let mut events = Vec::with_capacity(EVENTS);
    for at in 0..EVENTS {
        let event = random_event(&mut rng, &zipf, at, &events);
        events.push(event);
    }
    events
}

fn open(events: &[Arc<Event>], options: RecentOptions, runtime: &Runtime) -> Recent<MemoryStore> {
    let recent = Recent::new(MemoryStore::new(relay_urls()), options, relay_urls());
    runtime
        .block_on(recent.warm_step(1))
        .expect("memory doesn't fail");
    recent.apply(events);
    recent
}

/// Reads until `limit`, as a matcher does.
async fn read(recent: &Recent<MemoryStore>, filter: &Arc<Filter>, limit: usize) -> usize {
    let mut scan = recent.scan(ScanRequest {
        filter: Arc::clone(filter),
        after: None,
        now: NOW,
        budget: Budget::UNLIMITED,
    });
    let mut count = 0;
    while count < limit {
        let page = scan.next(limit - count).await.expect("memory doesn't fail");
        count += page.events.len();
        black_box(&page.events);
        if page.end.is_some() {
            break;
        }
    }
    count
}

fn kinds(kinds: &[u16]) -> Option<Vec<Kind>> {
    let mut kinds: Vec<_> = kinds.iter().copied().map(Kind::new).collect();
    kinds.sort_unstable();
    Some(kinds)
}

fn follows(count: usize, draw: impl Fn(&mut Rng) -> usize) -> Option<Vec<PublicKey>> {
    let mut rng = Rng::new(3);
    let mut authors = Vec::new();
    while authors.len() < count {
        authors.push(author(draw(&mut rng)));
        authors.sort_unstable();
        authors.dedup();
    }
    Some(authors)
}

fn filters(events: &[Arc<Event>]) -> Vec<(&'static str, Filter, usize)> {
    let zipf = Zipf::new(AUTHORS);
    let feed = follows(500, |rng| zipf.draw(rng));
    let popular = author(0).to_hex();
    let p = format!(r##"{{"#p":["{popular}"],"kinds":[1,6,7]}}"##);
    vec![
        (
            "feed of 500 authors, 2 kinds, limit 200",
            Filter {
                authors: feed.clone(),
                kinds: kinds(&[1, 6]),
                ..Filter::default()
            },
            200,
        ),
        (
            "feed of 500 authors, 16 kinds, limit 200",
            Filter {
                authors: feed,
                kinds: kinds(&KINDS),
                ..Filter::default()
            },
            200,
        ),
        (
            "feed of 500 sparse authors, 2 kinds, limit 200",
            Filter {
                authors: follows(500, |rng| AUTHORS - 1 - rng.index(3_000)),
                kinds: kinds(&[1, 6]),
                ..Filter::default()
            },
            200,
        ),
        (
            "by id",
            Filter {
                ids: Some(vec![*events[EVENTS / 2].id()]),
                ..Filter::default()
            },
            1,
        ),
        (
            "kind 1, limit 500",
            Filter {
                kinds: kinds(&[1]),
                ..Filter::default()
            },
            500,
        ),
        (
            "mentions of one author, limit 100",
            Filter::parse(&p).expect("a filter"),
            100,
        ),
    ]
}

#[expect(clippy::print_stderr, reason = "memory is a result of this benchmark")]
fn print_memory(name: &str, recent: &Recent<MemoryStore>) {
    let stats = recent.stats();
    let (index, text) = (
        stats.index_bytes / stats.events,
        stats.text_bytes / stats.events,
    );
    eprintln!(
        "{name}: {} events, {index} B index and {text} B text each",
        stats.events
    );
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let events = events();
    let all = RecentOptions {
        text_bytes_max: usize::MAX,
        ..RecentOptions::default()
    };
    let recent = open(&events, all, &runtime);
    print_memory("with texts", &recent);
    print_memory(
        "without texts",
        &open(
            &events,
            RecentOptions {
                text_bytes_max: 0,
                ..all
            },
            &runtime,
        ),
    );
    apply(&events, &runtime);
    for (name, filter, limit) in filters(&events) {
        let filter = Arc::new(filter);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(read(&recent, &filter, limit)));
        });
    }
}

/// Applies the last third, in batches of 100 events, to an index of the others, which evicts as many
/// and drops as many texts. Once only: it can't be undone.
#[expect(clippy::print_stderr, reason = "the result of this benchmark")]
fn apply(events: &[Arc<Event>], runtime: &Runtime) {
    let (old, new) = events.split_at(EVENTS / 3 * 2);
    let options = RecentOptions {
        events_max: old.len(),
        text_bytes_max: 100 << 20,
        ..RecentOptions::default()
    };
    let began = Instant::now();
    let recent = open(old, options, runtime);
    let filled = began.elapsed() / u32::try_from(old.len()).expect("few");
    let began = Instant::now();
    for batch in new.chunks(100) {
        black_box(recent.apply(batch));
    }
    let applied = began.elapsed() / u32::try_from(new.len()).expect("few");
    eprintln!("apply, an event: {filled:?} while there is room, {applied:?} at both limits");
    print_memory("at both limits", &recent);
}

criterion_group!(benches, bench);
criterion_main!(benches);
