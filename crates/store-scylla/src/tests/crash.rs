//! A worker dies between any two statements, and its batch comes again to another one.

use std::sync::Arc;

use heliograph_protocol::{Event, Filter, Outcome};
use heliograph_store::{
    EventStore as _, MemoryStore,
    conformance::{NOW, RELAY_URL, Rng, collect, event, key, random_events, relay_urls},
};

use super::{bed::Bed, block_on};
use crate::{
    ScyllaStore,
    key::{bigint, stamp},
};

/// Filters that take every path.
fn filters(events: &[Arc<Event>]) -> Vec<String> {
    let mut filters = vec![
        "{}".to_owned(),
        r#"{"kinds":[0,1,5,62,1059,30023]}"#.to_owned(),
        r#"{"kinds":[1]}"#.to_owned(),
        r##"{"#t":["x"]}"##.to_owned(),
    ];
    let ids: Vec<_> = events
        .iter()
        .map(|event| format!("\"{}\"", event.id()))
        .collect();
    filters.push(format!(r#"{{"ids":[{}]}}"#, ids.join(",")));
    for author in 0..8 {
        let author = key(author);
        filters.push(format!(r#"{{"authors":["{author}"]}}"#));
        filters.push(format!(r#"{{"authors":["{author}"],"kinds":[0,1]}}"#));
        filters.push(format!(r##"{{"#p":["{author}"]}}"##));
    }
    filters
}

async fn same(store: &ScyllaStore, oracle: &MemoryStore, events: &[Arc<Event>], what: &str) {
    for filter in filters(events) {
        let parsed = Filter::parse(&filter).unwrap();
        let is = collect(store, &parsed, NOW).await;
        let due = collect(oracle, &parsed, NOW).await;
        let kinds = |events: &[Arc<Event>]| -> Vec<String> {
            let show = |event: &Arc<Event>| format!("{} {}", event.kind(), event.id());
            events.iter().map(show).collect()
        };
        assert_eq!(
            kinds(&is),
            kinds(&due),
            "{what}: {}",
            &filter[..filter.len().min(80)]
        );
    }
}

/// Something of each rule: what the second batch does to the first.
fn batches() -> [Vec<Arc<Event>>; 2] {
    let note = event(1, 10, 1, &[&["t", "x"]], "");
    let profile = event(1, 10, 0, &[&["t", "x"]], "");
    let gone = event(2, 10, 1, &[&["t", "x"]], "");
    let article = event(2, 10, 30_023, &[&["d", "a"]], "");
    let wrap = event(7, 10, 1059, &[&["p", &key(3).to_hex()]], "");
    let of_three = event(3, 10, 1, &[&["t", "x"]], "");
    let by_id = event(2, 20, 5, &[&["e", &gone.id().to_hex()]], "");
    let by_address = event(2, 20, 5, &[&["a", &format!("30023:{}:a", key(2))]], "");
    let vanish = event(3, 20, 62, &[&["relay", RELAY_URL]], "");
    let newer = event(1, 20, 0, &[&["t", "x"]], "");
    let later = event(3, 30, 1, &[&["t", "x"]], "");
    [
        vec![note, profile, gone, article, wrap, of_three],
        vec![by_id, by_address, vanish, newer, later],
    ]
}

#[test]
fn a_batch_that_was_cut_off_anywhere_ends_right_when_it_comes_again() {
    block_on(async {
        let [before, batch] = batches();
        let oracle = MemoryStore::new(relay_urls());
        for events in [&before, &batch] {
            oracle.write(events.clone()).await.unwrap();
        }
        let all: Vec<_> = before.iter().chain(&batch).cloned().collect();
        for writes in 0.. {
            let bed = Bed::open().await;
            bed.write(before.clone()).await.unwrap();
            let dying = bed.another().await;
            dying.core().client.stop.after(writes);
            let whole = dying.write(batch.clone()).await.is_ok();
            bed.write(batch.clone()).await.unwrap();
            same(&bed, &oracle, &all, &format!("cut off after {writes}")).await;
            assert_eq!(bed.sweep(std::time::Duration::MAX).await, Ok(0));
            if whole {
                assert!(writes > 20, "only {writes} statements to cut off at");
                break;
            }
        }
    });
}

#[test]
fn random_batches_that_are_cut_off_match_the_memory_store() {
    block_on(async {
        for seed in 31..34 {
            let mut rng = Rng::new(seed);
            let events = random_events(&mut rng, 150, true);
            let oracle = MemoryStore::new(relay_urls());
            let bed = Bed::open().await;
            for batch in events.chunks(15) {
                let dying = bed.another().await;
                let writes = i64::try_from(rng.below(150)).unwrap();
                dying.core().client.stop.after(writes);
                // Whether it was cut off plays no part.
                drop(dying.write(batch.to_vec()).await);
                bed.write(batch.to_vec()).await.unwrap();
                oracle.write(batch.to_vec()).await.unwrap();
            }
            same(&bed, &oracle, &events, &format!("seed {seed}")).await;
        }
    });
}

/// What a write leaves that reached a minority of replicas: it shows up after the fact.
async fn surface(bed: &Bed, event: &Event) {
    let insert = "INSERT INTO events (id, json, created_at, levels, stored_at) \
                  VALUES (?, ?, ?, 0x00000000, 0) USING TIMESTAMP ?";
    let values = (
        event.id().as_bytes().as_slice(),
        event.json().as_ref(),
        bigint(event.created_at()),
        stamp(event.created_at()),
    );
    bed.session().query_unpaged(insert, values).await.unwrap();
}

#[test]
fn what_was_refused_stays_away_though_a_replica_had_it() {
    block_on(async {
        let bed = Bed::open().await;
        let (deleted, vanished) = (event(1, 10, 1, &[], ""), event(2, 10, 1, &[], ""));
        let deletion = event(1, 20, 5, &[&["e", &deleted.id().to_hex()]], "");
        let vanish = event(2, 20, 62, &[&["relay", RELAY_URL]], "");
        bed.write(vec![deletion, vanish]).await.unwrap();
        let refused = [&deleted, &vanished].map(Arc::clone);
        let outcomes = bed.write(refused.to_vec()).await.unwrap();
        assert_eq!(outcomes, [Outcome::Deleted, Outcome::Vanished]);
        for event in &refused {
            surface(&bed, event).await;
            assert_eq!(bed.contains(event.id()).await, Ok(false));
            assert_eq!(bed.get(&[*event.id()]).await, Ok(vec![]));
        }
    });
}

#[test]
fn an_event_of_which_only_a_part_is_there_is_stored_again() {
    block_on(async {
        let bed = Bed::open().await;
        let note = event(1, 10, 1, &[], "");
        // As a repair leaves it that was made for a read of this one column.
        let insert = "INSERT INTO events (id, created_at) VALUES (?, ?) USING TIMESTAMP ?";
        let (id, at) = (note.id().as_bytes().as_slice(), note.created_at());
        let values = (id, bigint(at), stamp(at));
        bed.session().query_unpaged(insert, values).await.unwrap();
        let outcomes = bed.write(vec![Arc::clone(&note)]).await.unwrap();
        assert_eq!(outcomes, [Outcome::Stored]);
        assert_eq!(collect(&*bed, &Filter::default(), NOW).await, [note]);
    });
}

#[test]
fn nothing_is_left_of_what_was_removed() {
    block_on(async {
        let bed = Bed::open().await;
        let events = [
            event(1, 10, 1, &[&["t", "x"]], ""),
            event(1, 11, 0, &[], ""),
            event(9, 12, 1059, &[&["p", &key(1).to_hex()]], ""),
        ];
        bed.write(events.to_vec()).await.unwrap();
        let vanish = event(1, 20, 62, &[&["relay", RELAY_URL]], "");
        bed.write(vec![Arc::clone(&vanish)]).await.unwrap();
        let rows = async |table: &str| {
            let select = format!("SELECT * FROM {table}");
            let rows = bed.session().query_unpaged(select, ()).await.unwrap();
            rows.into_rows_result().unwrap().rows_num()
        };
        // What is left is the request itself.
        for table in [
            "events",
            "by_author",
            "by_author_kind",
            "by_kind",
            "by_time",
        ] {
            assert_eq!(rows(table).await, 1, "{table}");
        }
        for table in ["by_tag", "seats", "removals"] {
            assert_eq!(rows(table).await, 0, "{table}");
        }
    });
}
