//! Buckets: partitions stay small, and readers find every row.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use heliograph_protocol::{Event, EventId, Filter, Timestamp};
use heliograph_store::{
    EventStore as _,
    conformance::{NOW, RELAY_URL, collect, collect_pages, event, key},
};

use scylla::statement::batch::{Batch, BatchType};
use tokio::time::{Instant, sleep};

use super::{bed::Bed, block_on};
use crate::{BucketOptions, bucket::Bucket, key::Place, statement::Op};

const ROWS: u32 = 20;

/// Rows per partition of the author's index, by bucket.
async fn partitions(bed: &Bed, table: &str) -> BTreeMap<i64, usize> {
    let select = format!("SELECT bucket FROM {table}");
    let rows = bed.session().query_unpaged(select, ()).await.unwrap();
    let rows = rows.into_rows_result().unwrap();
    let mut partitions = BTreeMap::new();
    for row in rows.rows::<(i64,)>().unwrap() {
        *partitions.entry(row.unwrap().0).or_default() += 1;
    }
    partitions
}

/// Writes events in small batches and reads them back by their author.
async fn check(events: Vec<Arc<Event>>) -> BTreeMap<i64, usize> {
    let bed = Bed::open().await;
    let store = bed.small_buckets(ROWS).await;
    for batch in events.chunks(5) {
        store.write(batch.to_vec()).await.unwrap();
    }
    let mut expected = events;
    expected.sort_by_key(|event| event.position());
    let by_author = Filter::parse(&format!(r#"{{"authors":["{}"]}}"#, key(1))).unwrap();
    // Another process, which has written nothing and knows no bucket.
    let reader = bed.another().await;
    assert_eq!(collect(&reader, &by_author, NOW).await, expected);
    let half = expected.len() / 2;
    let request = heliograph_store::ScanRequest {
        filter: Arc::new(by_author),
        after: Some((expected[half].created_at(), *expected[half].id())),
        now: NOW,
        budget: heliograph_store::Budget::UNLIMITED,
    };
    let (rest, _end) = collect_pages(&reader, request, 7).await;
    assert_eq!(rest, expected[half + 1..]);
    let partitions = partitions(&bed, "by_author").await;
    assert_eq!(partitions.values().sum::<usize>(), expected.len());
    partitions
}

fn notes(times: impl Iterator<Item = u64>) -> Vec<Arc<Event>> {
    times
        .enumerate()
        .map(|(n, at)| event(1, at, 1, &[], &n.to_string()))
        .collect()
}

/// A bucket takes at most what was on its way when it became full.
#[track_caller]
fn assert_bounded(partitions: &BTreeMap<i64, usize>) {
    let most = ROWS as usize + 5;
    assert!(
        partitions.values().all(|rows| *rows <= most),
        "{partitions:?}"
    );
}

#[test]
fn many_events_over_years_are_spread() {
    block_on(async {
        let partitions = check(notes((0..400).map(|n| 1_500_000_000 + n * 400_000))).await;
        assert_bounded(&partitions);
        assert!(partitions.len() >= 20, "{partitions:?}");
    });
}

#[test]
fn many_events_of_one_second_are_spread() {
    block_on(async {
        let partitions = check(notes((0..700).map(|_| 1_500_000_000))).await;
        assert_bounded(&partitions);
        let deepest = partitions.keys().map(|bucket| bucket >> 48).max();
        assert!(deepest >= Some(5), "{partitions:?}");
    });
}

#[test]
fn events_of_any_time_are_found() {
    block_on(async {
        let times = (0..200).map(|n| match n % 4 {
            0 => n,
            1 => 1 << (n / 4),
            2 => 1_700_000_000 - n * 86_400,
            _ => (1 << 53) - 1 - n,
        });
        assert_bounded(&check(notes(times)).await);
    });
}

#[test]
fn sparse_buckets_are_not_searched_for() {
    block_on(async {
        let bed = Bed::open().await;
        let store = bed.small_buckets(1).await;
        // 50 years apart, so that all but the first lie in buckets far from each other.
        let events = notes([1_700_000_000, 1_600_000_000, 100_000_000, 1_000].into_iter());
        for event in &events {
            store.write(vec![Arc::clone(event)]).await.unwrap();
        }
        let reader = bed.another().await;
        let by_author = Filter::parse(&format!(r#"{{"authors":["{}"]}}"#, key(1))).unwrap();
        assert_eq!(collect(&reader, &by_author, NOW).await, events);
        let pages = reader.metrics().count(Op::IndexPage);
        let directories = reader.metrics().count(Op::BucketPage);
        assert!(
            pages <= 10 && directories <= 2,
            "{pages} pages, {directories} of directories"
        );
    });
}

#[test]
fn a_restarted_writer_learns_which_buckets_are_full() {
    block_on(async {
        let bed = Bed::open().await;
        for n in 0..8 {
            let writer = bed.small_buckets(ROWS).await;
            let batch: Vec<_> = (0..10)
                .map(|m| event(1, 1_500_000_000, 1, &[], &format!("{n} {m}")))
                .collect();
            for event in batch {
                writer.write(vec![event]).await.unwrap();
            }
        }
        assert_bounded(&partitions(&bed, "by_author").await);
    });
}

#[test]
fn whatever_the_bucket_an_event_is_removed_from_it() {
    block_on(async {
        let bed = Bed::open().await;
        let store = bed.small_buckets(2).await;
        for n in 0..60 {
            let at = 1_500_000_000 + n % 3;
            let tags: &[&[&str]] = &[&["t", "x"], &["t", "y"]];
            store
                .write(vec![event(1, at, 1, tags, &n.to_string())])
                .await
                .unwrap();
        }
        let first = partitions(&bed, "by_tag").await;
        assert!(first.keys().any(|bucket| *bucket > Bucket::FIRST.number()));
        let vanish = event(1, 1_600_000_000, 62, &[&["relay", RELAY_URL]], "");
        bed.another().await.write(vec![vanish]).await.unwrap();
        assert_eq!(partitions(&bed, "by_tag").await.len(), 0);
        assert_eq!(partitions(&bed, "by_time").await.values().sum::<usize>(), 1);
    });
}

#[test]
fn a_full_bucket_of_rows_that_have_expired_can_be_read() {
    block_on(async {
        let bed = Bed::open().await;
        let full = BucketOptions::default().rows;
        let insert = "INSERT INTO by_time (key, bucket, place, kind, author, expires) \
                      VALUES (0x00, 0, ?, 1, ?, 1) USING TIMESTAMP 1 AND TTL 1";
        let insert = bed.session().prepare(insert).await.unwrap();
        let places: Vec<_> = (0..full + full / 16)
            .map(|n| {
                let id = EventId::new([[0; 16], [0xff; 16]].concat().try_into().unwrap());
                let place = Place::new(Timestamp::from_secs(u64::from(n)), &id);
                (place.as_bytes().to_vec(), vec![7_u8; 32])
            })
            .collect();
        for places in places.chunks(100) {
            let statements = vec![insert.clone().into(); places.len()];
            let batch = Batch::new_with_statements(BatchType::Unlogged, statements);
            bed.session().batch(&batch, places).await.unwrap();
        }
        // They are gone in the order in which they came.
        let (last, _author) = places.last().unwrap();
        let select = "SELECT place FROM by_time WHERE key = 0x00 AND bucket = 0 AND place = ?";
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let rows = bed.session().query_unpaged(select, (last,)).await.unwrap();
            if rows.into_rows_result().unwrap().rows_num() == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "rows don't expire");
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(collect(&*bed, &Filter::default(), NOW).await, []);
    });
}

#[test]
fn a_repeated_batch_leaves_no_second_mark() {
    block_on(async {
        let bed = Bed::open().await;
        let store = bed.small_buckets(1_000).await;
        let note = event(1, 10, 1, &[], "");
        for writes in [3, 5, 9, i64::MAX] {
            store.core().client.stop.after(writes);
            drop(store.write(vec![Arc::clone(&note)]).await);
        }
        let marks = bed
            .session()
            .query_unpaged("SELECT id FROM marks", ())
            .await
            .unwrap();
        assert_eq!(marks.into_rows_result().unwrap().rows_num(), 4);
    });
}
