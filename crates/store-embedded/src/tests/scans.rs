//! Scans that the suite can't know: made ids, plans, budgets, events that move meanwhile.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use heliograph_protocol::{Event, EventId, Filter, Outcome};
use heliograph_store::{
    Budget, End, EventStore, Scan, ScanRequest, StoreError,
    conformance::{NOW, event, key},
};

use super::{block_on, note, open, read, write};
use crate::EmbeddedStore;

/// The same event under an id of our choice: stores don't recompute ids.
fn with_id(event: &Event, id: [u8; 32]) -> Arc<Event> {
    let text = event
        .as_str()
        .replace(&event.id().to_hex(), &EventId::new(id).to_hex());
    Arc::new(Event::from_wire(Bytes::from(text)).unwrap())
}

fn request(filter: &str) -> ScanRequest {
    let filter = Arc::new(Filter::parse(filter).unwrap());
    ScanRequest {
        filter,
        after: None,
        now: NOW,
        budget: Budget::UNLIMITED,
    }
}

fn colliding() -> Vec<Arc<Event>> {
    let like = event(1, 5, 1, &[&["t", "x"]], "");
    let last = |byte: u8| {
        let mut id = [0x11; 32];
        id[31] = byte;
        with_id(&like, id)
    };
    vec![last(3), last(1), last(4), last(2)]
}

#[test]
fn ids_that_share_64_bits_are_told_apart_in_every_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut events = colliding();
    for event in &events {
        assert_eq!(write(&store, &[Arc::clone(event)]), [Outcome::Stored]);
        store.flush().unwrap();
    }
    assert_eq!(write(&store, &events), vec![Outcome::Duplicate; 4]);
    events.sort_by_key(|event| event.position());
    let author = key(1);
    for filter in [
        "{}".to_owned(),
        r#"{"kinds":[1]}"#.to_owned(),
        format!(r#"{{"authors":["{author}"]}}"#),
        r##"{"#t":["x"]}"##.to_owned(),
    ] {
        assert_eq!(read(&store, &filter), events, "{filter}");
        for (place, event) in events.iter().enumerate() {
            let after = Some((event.created_at(), *event.id()));
            let mut scan = store.scan(ScanRequest {
                after,
                ..request(&filter)
            });
            let page = block_on(scan.next(1)).unwrap();
            assert_eq!(
                page.events,
                events[place + 1..]
                    .iter()
                    .take(1)
                    .cloned()
                    .collect::<Vec<_>>()
            );
        }
    }
    for event in &events {
        assert_eq!(
            read(&store, &format!(r#"{{"ids":["{}"]}}"#, event.id())),
            [Arc::clone(event)]
        );
    }
    assert_eq!(store.remove(vec![*events[1].id()]).unwrap(), 1);
    assert_eq!(store.contains_blocking(events[1].id()), Ok(false));
    assert_eq!(store.contains_blocking(events[2].id()), Ok(true));
    events.remove(1);
    assert_eq!(read(&store, "{}"), events);
    assert_eq!(store.info().unwrap().events, 3);
}

#[test]
fn values_that_share_a_key_prefix_with_nothing_else_are_still_compared_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // Two authors with the same first 8 bytes.
    let mine = event(1, 5, 1, &[], "");
    let text = mine.as_str();
    let twin_key = format!("{}ff", &key(1).to_hex()[..62]);
    let twin = text
        .replace(&key(1).to_hex(), &twin_key)
        .replace(&mine.id().to_hex(), &"22".repeat(32));
    let twin = Arc::new(Event::from_wire(Bytes::from(twin)).unwrap());
    write(&store, &[Arc::clone(&mine), Arc::clone(&twin)]);
    store.flush().unwrap();
    assert_eq!(
        read(&store, &format!(r#"{{"authors":["{}"]}}"#, key(1))),
        [mine]
    );
    assert_eq!(
        read(
            &store,
            &format!(r#"{{"authors":["{twin_key}"],"kinds":[1]}}"#)
        ),
        [twin]
    );
}

/// Events of `authors` authors in turn, one a second, and a store that has them.
fn crowd(dir: &std::path::Path, authors: u32, count: u32) -> EmbeddedStore {
    let store = open(dir);
    let events: Vec<_> = (0..count)
        .map(|n| note(n % authors, 1_000 + u64::from(n)))
        .collect();
    for chunk in events.chunks(2_000) {
        write(&store, chunk);
    }
    store.flush().unwrap();
    store
}

fn feed(authors: impl Iterator<Item = u32>) -> String {
    let authors: Vec<String> = authors.map(|n| format!("\"{}\"", key(n))).collect();
    format!(r#"{{"authors":[{}],"kinds":[1,6]}}"#, authors.join(","))
}

fn rows_for(store: &EmbeddedStore, filter: &str, wanted: usize) -> (usize, u64) {
    let mut scan = store.scan(request(filter));
    let (mut events, mut rows) = (0, 0);
    while events < wanted {
        let page = block_on(scan.next(wanted - events)).unwrap();
        events += page.events.len();
        rows = page.cost.rows;
        if page.end.is_some() {
            break;
        }
    }
    (events, rows)
}

#[test]
fn a_feed_of_active_authors_is_read_along_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowd(dir.path(), 200, 6_000);
    let (events, rows) = rows_for(&store, &feed(0..100), 50);
    assert_eq!(events, 50);
    assert!(
        rows < 300,
        "{rows} rows: half of all events match, 200 seeks would be more"
    );
}

#[test]
fn a_feed_of_dormant_authors_never_reads_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old: Vec<_> = (0..100).map(|n| note(n, 10)).collect();
    let busy: Vec<_> = (0..20_000_u32)
        .map(|n| note(1_000 + n % 50, 1_000 + u64::from(n)))
        .collect();
    write(&store, &old);
    busy.chunks(4_000)
        .for_each(|chunk| drop(write(&store, chunk)));
    store.flush().unwrap();
    let (events, rows) = rows_for(&store, &feed(0..100), 200);
    assert_eq!(events, 100);
    assert!(rows < 3_000, "{rows} rows of 20,000");
}

#[test]
fn a_budget_ends_the_scan_with_what_is_right_so_far() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowd(dir.path(), 10, 3_000);
    let all = read(&store, "{}");
    let budget = Budget {
        rows: 500,
        ..Budget::UNLIMITED
    };
    let (events, end) = block_on(heliograph_store::conformance::collect_pages(
        &store,
        ScanRequest {
            budget,
            ..request("{}")
        },
        200,
    ));
    assert_eq!(end, End::Budget);
    assert!(
        !events.is_empty() && events.len() < 1_000,
        "{}",
        events.len()
    );
    assert_eq!(events, all[..events.len()]);
    let budget = Budget {
        time: Duration::ZERO,
        ..Budget::UNLIMITED
    };
    let mut scan = store.scan(ScanRequest {
        budget,
        ..request("{}")
    });
    assert_eq!(block_on(scan.next(10)).unwrap().end, Some(End::Budget));
}

#[test]
fn events_that_move_to_the_database_between_pages_are_seen_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let events: Vec<_> = (0..600).map(|n| note(n % 7, u64::from(n % 100))).collect();
    write(&store, &events[..300]);
    store.flush().unwrap();
    write(&store, &events[300..]);
    let all = read(&store, "{}");
    for filter in ["{}", r#"{"kinds":[1]}"#, &feed(0..7)] {
        let mut scan = store.scan(request(filter));
        let mut got = Vec::new();
        for page in 0.. {
            let page_read = block_on(scan.next(17)).unwrap();
            got.extend(page_read.events);
            if page_read.end.is_some() {
                break;
            }
            if page % 3 == 0 {
                write(&store, &[note(1_000 + page, 1_000)]);
                store.flush().unwrap();
            }
        }
        assert_eq!(got.len(), all.len(), "{filter}");
        assert_eq!(got, all);
        store
            .remove(
                read(&store, r#"{"since":1000}"#)
                    .iter()
                    .map(|e| *e.id())
                    .collect(),
            )
            .unwrap();
    }
}

#[test]
fn a_scan_whose_caller_gave_up_once_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowd(dir.path(), 10, 100);
    let mut scan = store.scan(request("{}"));
    block_on(async {
        let next = scan.next(10);
        // Polled once and dropped.
        let gone = tokio::time::timeout(Duration::ZERO, next).await;
        let first = match gone {
            Ok(page) => page.unwrap().events.len(),
            Err(_elapsed) => 0,
        };
        let page = scan.next(10).await.unwrap();
        assert_eq!(page.events.len(), 10);
        assert_eq!(page.events[0].created_at().as_secs(), 1_099 - first as u64);
    });
}

#[test]
fn scans_of_a_closed_store_answer_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowd(dir.path(), 10, 100);
    let mut scan = store.scan(request("{}"));
    block_on(scan.next(10)).unwrap();
    store.close();
    assert_eq!(block_on(scan.next(10)).unwrap_err(), StoreError::Closed);
    assert_eq!(block_on(scan.next(10)).unwrap_err(), StoreError::Closed);
}

#[test]
fn lists_whose_product_is_huge_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowd(dir.path(), 10, 100);
    let kinds: Vec<String> = (0..2_500).map(|kind| kind.to_string()).collect();
    let authors: Vec<String> = (0..2_500).map(|n| format!("\"{}\"", key(n))).collect();
    let (kinds, authors) = (kinds.join(","), authors.join(","));
    let filter = format!(r#"{{"kinds":[{kinds}],"authors":[{authors}]}}"#);
    assert_eq!(read(&store, &filter).len(), 100);
}

#[test]
fn a_scan_whose_caller_takes_its_time_keeps_no_level_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = crowd(dir.path(), 10, 500);
    write(&store, &[note(1, 1)]);
    let core = &store.handle.core;
    let mut state = crate::scan::ScanState::new(request("{}"));
    let mut page = heliograph_store::Page::default();
    let done = state.slice(&**core, &mut page, 400, Duration::ZERO);
    assert_eq!(done, Ok(false));
    assert!(!page.events.is_empty(), "part of a page is answered");
    assert_eq!(Arc::strong_count(&core.levels.read().active), 1);
}

#[test]
fn a_scan_goes_on_right_after_a_compaction_set_the_transactions_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let events: Vec<_> = (0..100).map(|n| note(n, 10 + u64::from(n))).collect();
    let (even, odd): (Vec<_>, Vec<_>) = events
        .iter()
        .cloned()
        .partition(|event| event.created_at().as_secs() % 2 == 0);
    let id = || store.handle.core.environment.read().unwrap().id();
    let touch = |n: u64| {
        write(&store, &[note(7, 1_000 + n)]);
        store.flush().unwrap();
    };
    (0..10).for_each(touch);
    write(&store, &even);
    store.flush().unwrap();
    write(&store, &odd);
    let before = id();
    let mut scan = store.scan(request(r#"{"until":500}"#));
    let mut got = block_on(scan.next(5)).unwrap().events;
    store.compact().unwrap();
    assert!(id() < before);
    (10..).take_while(|_n| id() < before).for_each(touch);
    assert_eq!(id(), before);
    loop {
        let page = block_on(scan.next(50)).unwrap();
        got.extend(page.events);
        if page.end.is_some() {
            break;
        }
    }
    assert!(got.iter().eq(events.iter().rev()), "{} events", got.len());
}
