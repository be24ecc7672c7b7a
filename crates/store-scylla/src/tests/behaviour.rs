//! What only this backend has: time to live, freshness, sweeping, health, limits of the database.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::join_all};
use heliograph_protocol::{Event, Filter, Outcome, Timestamp};
use heliograph_sandbox::cql::{Cassandra, CassandraOptions};
use heliograph_store::{
    Budget, End, EventStore as _, Scan as _, ScanRequest,
    conformance::{NOW, RELAY_URL, collect, collect_pages, event, key},
};

use super::{
    bed::{Bed, fresh_name, options},
    block_on,
};
use crate::{Mode, Replication, ScyllaStore, migrate, statement::Op};

fn request(filter: &str) -> ScanRequest {
    ScanRequest {
        filter: Arc::new(Filter::parse(filter).unwrap()),
        after: None,
        now: NOW,
        budget: Budget::UNLIMITED,
    }
}

async fn write(store: &ScyllaStore, event: &Arc<Event>) -> Outcome {
    store.write(vec![Arc::clone(event)]).await.unwrap()[0]
}

/// Columns of the only row of a table.
async fn only<R>(bed: &Bed, select: &str) -> R
where
    R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
{
    let result = bed.session().query_unpaged(select, ()).await.unwrap();
    result
        .into_rows_result()
        .unwrap()
        .single_row::<R>()
        .unwrap()
}

#[test]
fn rows_of_an_event_that_expires_have_its_time_to_live_and_its_seat_has_none() {
    block_on(async {
        let bed = Bed::open().await;
        let end = Timestamp::now().plus(1_000).as_secs().to_string();
        let profile = event(1, 10, 0, &[&["expiration", &end], &["t", "x"]], "");
        assert_eq!(write(&bed, &profile).await, Outcome::Stored);
        let selects = [
            "SELECT TTL(json) FROM events",
            "SELECT TTL(kind) FROM by_author",
            "SELECT TTL(expires) FROM by_author_kind",
            "SELECT TTL(author) FROM by_kind",
            "SELECT TTL(kind) FROM by_time",
            "SELECT TTL(kind) FROM by_tag",
        ];
        for select in selects {
            let (ttl,) = only::<(Option<i32>,)>(&bed, select).await;
            assert!(
                ttl.is_some_and(|ttl| (900..=1_000).contains(&ttl)),
                "{select}: {ttl:?}"
            );
        }
        let (ttl,) = only::<(Option<i32>,)>(&bed, "SELECT TTL(seat) FROM seats").await;
        assert_eq!(ttl, None);
    });
}

#[test]
fn what_has_just_been_stored_is_fresh_until_it_is_old() {
    block_on(async {
        let bed = Bed::open().await;
        let (old, new) = (event(1, 10, 1, &[], "old"), event(1, 20, 1, &[], "new"));
        bed.write(vec![Arc::clone(&old), Arc::clone(&new)])
            .await
            .unwrap();
        let fresh = async || {
            let page = bed.scan(request("{}")).next(10).await.unwrap();
            assert_eq!(page.events, [Arc::clone(&new), Arc::clone(&old)]);
            assert!(page.cost.archive);
            page.fresh
        };
        assert_eq!(fresh().await, [*new.id(), *old.id()]);
        let then = Timestamp::now().minus(crate::FRESH_WINDOW.as_secs() + 5);
        let values = (
            i64::try_from(then.as_secs()).unwrap(),
            old.id().as_bytes().as_slice(),
        );
        let update = "UPDATE events SET stored_at = ? WHERE id = ?";
        bed.session().query_unpaged(update, values).await.unwrap();
        assert_eq!(fresh().await, [*new.id()]);
        let hasty = bed
            .tuned(|options| options.fresh_window = Duration::ZERO)
            .await;
        let then = i64::try_from(Timestamp::now().minus(5).as_secs()).unwrap();
        let values = (then, new.id().as_bytes().as_slice());
        bed.session()
            .query_unpaged("UPDATE events SET stored_at = ? WHERE id = ?", values)
            .await
            .unwrap();
        assert_eq!(fresh().await, [*new.id()]);
        let page = hasty.scan(request("{}")).next(10).await.unwrap();
        assert_eq!(page.fresh, []);
    });
}

#[test]
fn a_long_removal_is_noted_and_swept_later() {
    block_on(async {
        let bed = Bed::open().await;
        let notes: Vec<_> = (0..500).map(|n| event(1, n, 1, &[], "")).collect();
        let wrap = event(2, 10, 1059, &[&["p", &key(1).to_hex()]], "");
        bed.write(notes.clone()).await.unwrap();
        bed.write(vec![Arc::clone(&wrap)]).await.unwrap();
        let hasty = bed
            .tuned(|options| options.removal_time = Duration::ZERO)
            .await;
        let vanish = event(1, 600, 62, &[&["relay", RELAY_URL]], "");
        assert_eq!(write(&hasty, &vanish).await, Outcome::Stored);
        assert_eq!(hasty.guarded(&notes[0]).await, Ok(Some(Outcome::Vanished)));
        assert_eq!(bed.contains(wrap.id()).await, Ok(true), "not yet");
        assert_eq!(bed.sweep(Duration::ZERO).await, Ok(1));
        assert_eq!(bed.sweep(Duration::from_secs(60)).await, Ok(0));
        assert_eq!(collect(&*bed, &Filter::default(), NOW).await, [vanish]);
        assert_eq!(bed.sweep(Duration::ZERO).await, Ok(0));
    });
}

#[test]
fn a_sweep_goes_on_where_it_was_cut_off() {
    block_on(async {
        let bed = Bed::open().await;
        // A public figure: many name it, and one has a gift for it.
        let name = key(1).to_hex();
        let tags: &[&[&str]] = &[&["p", &name]];
        let notes: Vec<_> = (1..1_500).map(|n| event(2, n, 1, tags, "")).collect();
        let wrap = event(3, 0, 1059, tags, "");
        bed.write(notes.clone()).await.unwrap();
        bed.write(vec![Arc::clone(&wrap)]).await.unwrap();
        let hasty = bed
            .tuned(|options| options.removal_time = Duration::ZERO)
            .await;
        let vanish = event(1, 2_000, 62, &[&["relay", RELAY_URL]], "");
        assert_eq!(write(&hasty, &vanish).await, Outcome::Stored);
        let mut slices = 0;
        while hasty.sweep(Duration::from_millis(1)).await.unwrap() > 0 {
            slices += 1;
            assert!(slices < 1_000, "no slice is progress");
        }
        assert_eq!(bed.contains(wrap.id()).await, Ok(false));
        assert_eq!(bed.contains(notes[0].id()).await, Ok(true));
        let rows = hasty.metrics().count(Op::IndexPage);
        assert!(rows < 100, "{rows} pages for fifteen hundred rows");
    });
}

#[test]
fn requests_to_vanish_with_little_to_remove_leave_no_note() {
    block_on(async {
        let bed = Bed::open().await;
        write(&bed, &event(1, 10, 1, &[], "")).await;
        let count = |op| bed.metrics().count(op);
        let notes = || (count(Op::RemovalPut), count(Op::RemovalDelete));
        let before = notes();
        let vanish = event(1, 20, 62, &[&["relay", RELAY_URL]], "");
        assert_eq!(write(&bed, &vanish).await, Outcome::Stored);
        assert_eq!(notes(), before);
    });
}

#[test]
fn events_of_the_far_future_are_merged_as_all_others() {
    block_on(async {
        let bed = Bed::open().await;
        let at = |days: u64| Timestamp::now().plus(days * 86_400).as_secs();
        let versions = [at(4), at(400), (1 << 53) - 1].map(|at| event(1, at, 0, &[], ""));
        for order in [[2, 0, 1], [0, 1, 2]] {
            for version in order {
                bed.write(vec![Arc::clone(&versions[version])])
                    .await
                    .unwrap();
            }
        }
        let all = collect(&*bed, &Filter::default(), NOW).await;
        assert_eq!(all, [Arc::clone(&versions[2])]);
        assert_eq!(write(&bed, &versions[0]).await, Outcome::Superseded);
    });
}

#[test]
fn guards_answer_before_an_event_is_stored() {
    block_on(async {
        let bed = Bed::open().await;
        let note = event(1, 10, 1, &[], "");
        assert_eq!(bed.guarded(&note).await, Ok(None));
        let deletion = event(1, 20, 5, &[&["e", &note.id().to_hex()]], "");
        write(&bed, &deletion).await;
        assert_eq!(bed.guarded(&note).await, Ok(Some(Outcome::Deleted)));
    });
}

#[test]
fn events_are_got_by_id_if_they_count() {
    block_on(async {
        let bed = Bed::open().await;
        let (note, old, new) = (
            event(1, 10, 1, &[], ""),
            event(1, 10, 0, &[], ""),
            event(1, 20, 0, &[], ""),
        );
        let all = [&note, &old, &new].map(Arc::clone);
        bed.write(all.to_vec()).await.unwrap();
        let ids = all.map(|event| *event.id());
        let mut got = bed.get(&ids).await.unwrap();
        got.sort_by_key(|event| event.position());
        assert_eq!(got, [new, note]);
        assert_eq!(bed.get(&[]).await, Ok(vec![]));
    });
}

#[test]
fn equal_look_ups_in_flight_are_one() {
    block_on(async {
        let bed = Bed::open().await;
        let note = event(1, 10, 1, &[], "");
        write(&bed, &note).await;
        let before = (
            bed.metrics().count(Op::EventGet),
            bed.metrics().reads_shared(),
        );
        let ids = [*note.id()];
        let all = join_all((0..50).map(|_| bed.get(&ids))).await;
        assert!(
            all.iter()
                .all(|got| got.as_ref().is_ok_and(|got| got == &[Arc::clone(&note)]))
        );
        let reads = bed.metrics().count(Op::EventGet) - before.0;
        let shared = bed.metrics().reads_shared() - before.1;
        assert_eq!(reads + shared, 50);
        assert!(reads <= 5, "{reads} reads for fifty look-ups");
    });
}

#[test]
fn a_ping_is_answered_in_time_or_an_error() {
    block_on(async {
        let bed = Bed::open().await;
        assert_eq!(bed.ping(Duration::from_secs(20)).await, Ok(()));
        let dead = bed.another().await;
        dead.core().client.stop.after(0);
        assert!(dead.ping(Duration::from_secs(20)).await.is_err());
    });
}

#[test]
fn a_budget_ends_a_scan_of_many_keys_too() {
    block_on(async {
        let bed = Bed::open().await;
        let notes: Vec<_> = (0..300_u32)
            .map(|n| event(n, u64::from(n), 1, &[], ""))
            .collect();
        bed.write(notes.clone()).await.unwrap();
        let authors: Vec<_> = (0..300).map(|n| format!("\"{}\"", key(n))).collect();
        let filter = format!(r#"{{"authors":[{}],"kinds":[1]}}"#, authors.join(","));
        let budget = |rows, time| ScanRequest {
            budget: Budget { rows, time },
            ..request(&filter)
        };
        let (some, end) = collect_pages(&*bed, budget(40, Duration::MAX), 15).await;
        assert_eq!((some.len(), end), (40, End::Budget));
        assert_eq!(some[0], notes[299]);
        let (none, end) = collect_pages(&*bed, budget(u64::MAX, Duration::ZERO), 15).await;
        assert_eq!((none.len(), end), (0, End::Budget));
        let (all, end) = collect_pages(&*bed, budget(301, Duration::MAX), 15).await;
        assert_eq!((all.len(), end), (300, End::Complete));
    });
}

#[test]
fn a_scan_that_was_cut_off_says_so() {
    block_on(async {
        let bed = Bed::open().await;
        write(&bed, &event(1, 10, 1, &[], "")).await;
        let mut scan = bed.scan(request("{}"));
        assert!(
            scan.next(1).now_or_never().is_none(),
            "a read takes a moment"
        );
        assert!(scan.next(1).await.is_err());
    });
}

#[test]
fn rows_of_a_dead_event_are_cleared_by_who_meets_them_and_others_stay() {
    block_on(async {
        let bed = Bed::open().await;
        let (dead, unborn) = (event(1, 10, 1, &[], ""), event(1, 11, 1, &[], ""));
        // Their worker dies before the events themselves are written.
        let mut dead_workers = Vec::new();
        for event in [&dead, &unborn] {
            let dying = bed.another().await;
            let (there, held) = dying.core().client.stop.hold(Op::EventPut);
            tokio::select! {
                written = dying.write(vec![Arc::clone(event)]) => panic!("{written:?}"),
                there = there => there.expect("the statement comes"),
            }
            assert_eq!(dying.metrics().count(Op::IndexPut), 4);
            dead_workers.push((dying, held));
        }
        let deletion = event(1, 20, 5, &[&["e", &dead.id().to_hex()]], "");
        write(&bed, &deletion).await;
        let all = collect(&*bed, &Filter::default(), NOW).await;
        assert_eq!(all, [Arc::clone(&deletion)]);
        let stale = bed.metrics().stale_rows();
        let by_kind = Filter::parse(r#"{"kinds":[1]}"#).unwrap();
        assert_eq!(collect(&*bed, &by_kind, NOW).await, []);
        assert!(bed.metrics().stale_rows() > 0);
        collect(&*bed, &by_kind, NOW).await;
        assert!(bed.metrics().stale_rows() <= stale + 1, "cleared once");
        // The one that nothing forbids comes again and is whole.
        assert_eq!(write(&bed, &unborn).await, Outcome::Stored);
        assert_eq!(collect(&*bed, &by_kind, NOW).await, [unborn]);
    });
}

#[test]
fn a_note_costs_few_statements() {
    block_on(async {
        let bed = Bed::open().await;
        write(&bed, &event(1, 10, 1, &[], "first of its kind")).await;
        let before = bed.metrics().statements();
        let tags: &[&[&str]] = &[&["t", "x"], &["t", "y"]];
        write(&bed, &event(1, 20, 1, tags, "")).await;
        let note = bed.metrics().statements() - before;
        // Look: id and two guards. Write: six index rows, the event. Look again: two guards. By
        // chance a mark or two.
        assert!((12..=20).contains(&note), "{note} statements");
        let notes: Vec<_> = (0..100).map(|n| event(1, n, 1, &[], "batch")).collect();
        let before = bed.metrics().statements();
        bed.write(notes).await.unwrap();
        let batch = bed.metrics().statements() - before;
        assert!(batch < 100 * 5, "{batch} statements for a hundred notes");
    });
}

#[test]
fn batches_stay_below_what_cassandra_refuses_by_default() {
    let cassandra = Cassandra::start(&CassandraOptions {
        batch_size_fail_kib: 50,
        heap_mib: 384,
        ..CassandraOptions::default()
    })
    .unwrap();
    block_on(async {
        let mut options = options(&fresh_name());
        options.nodes = cassandra.contact_points();
        migrate(&options, &Replication::Simple(1), Mode::Apply)
            .await
            .unwrap();
        let store = ScyllaStore::connect(options).await.unwrap();
        let long = "x".repeat(1_024);
        let end = Timestamp::now().plus(100_000).as_secs().to_string();
        let tags: &[&[&str]] = &[&["t", &long], &["t", "short"], &["expiration", &end]];
        let notes: Vec<_> = (0..600)
            .map(|n| event(1, n, 1, tags, &"text ".repeat(1_000)))
            .collect();
        let outcomes = store.write(notes).await.unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stored));
        let vanish = event(1, 1_000, 62, &[&["relay", RELAY_URL]], "");
        store.write(vec![vanish]).await.unwrap();
        assert_eq!(store.sweep(Duration::from_secs(120)).await, Ok(0));
        let tagged = Filter::parse(r##"{"#t":["short"]}"##).unwrap();
        assert_eq!(collect(&store, &tagged, NOW).await, []);
        // While it is there, how a server that hangs is noticed.
        cassandra.pause(0);
        // Its threads stop one by one, so an answer or two may still come.
        let began = std::time::Instant::now();
        while store.ping(Duration::from_millis(300)).await.is_ok() {
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        cassandra.resume(0);
        assert_eq!(store.ping(Duration::from_secs(20)).await, Ok(()));
    });
}

#[test]
fn every_statement_goes_to_a_replica_of_its_key_and_may_be_repeated() {
    block_on(async {
        let bed = Bed::open().await;
        let client = &bed.core().client;
        for (op, statement) in client.statements().each() {
            assert!(statement.is_token_aware(), "{op:?}");
            assert!(statement.get_is_idempotent(), "{op:?}");
            assert!(!statement.get_variable_pk_indexes().is_empty(), "{op:?}");
            assert!(statement.get_execution_profile_handle().is_some(), "{op:?}");
        }
        let state = bed.another().await.core().client.cluster_state();
        let keyspace = state
            .get_keyspace(bed.keyspace())
            .expect("known to the driver");
        let simple = scylla::cluster::metadata::Strategy::SimpleStrategy {
            replication_factor: 1,
        };
        assert_eq!(keyspace.strategy, simple, "else no replica can be told");
    });
}

#[test]
fn texts_are_stored_as_they_came() {
    block_on(async {
        let bed = Bed::open().await;
        let note = event(1, 10, 1, &[], "\u{0}\u{1f468}\u{200d}\u{1f469}");
        write(&bed, &note).await;
        let (json,) = only::<(Bytes,)>(&bed, "SELECT json FROM events").await;
        assert_eq!(json, note.json());
    });
}
