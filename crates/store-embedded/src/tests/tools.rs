//! Tools of operators.

use std::sync::Arc;

use heliograph_protocol::{Kind, Outcome, Timestamp};
use heliograph_store::conformance::{NOW, event};

use super::{note, open, read, write};

#[test]
fn info_counts_what_is_stored_in_memory_and_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let events = [
        note(1, 10),
        note(2, 20),
        event(1, 15, 0, &[], "a"),
        event(1, 16, 0, &[], "b"),
    ];
    write(&store, &events);
    let bytes: u64 = [0, 1, 3]
        .iter()
        .map(|at| events[*at].json().len() as u64)
        .sum();
    for flushed in [false, true] {
        let info = store.info().unwrap();
        assert_eq!(info.events, 3, "flushed {flushed}");
        assert_eq!(info.per_kind, [(Kind::new(0), 1), (Kind::new(1), 2)]);
        assert_eq!(info.payload_bytes, bytes);
        assert_eq!(info.oldest, Some(Timestamp::from_secs(10)));
        assert_eq!(info.newest, Some(Timestamp::from_secs(20)));
        assert_eq!(info.schema, 1);
        assert!(info.file_bytes > 0 && info.log_bytes > 0);
        store.flush().unwrap();
    }
}

#[test]
fn removed_events_are_gone_for_good_and_may_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (mine, profile) = (note(1, 10), event(1, 15, 0, &[], "a"));
    write(&store, &[Arc::clone(&mine), Arc::clone(&profile)]);
    let unknown = *note(9, 9).id();
    assert_eq!(
        store.remove(vec![*mine.id(), *profile.id(), unknown]),
        Ok(2)
    );
    assert_eq!(read(&store, "{}"), []);
    store.close();
    let store = open(dir.path());
    assert_eq!(read(&store, "{}"), []);
    assert_eq!(write(&store, &[mine, profile]), [Outcome::Stored; 2]);
}

#[test]
fn purged_events_keep_older_versions_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let end = (NOW.as_secs() - 5).to_string();
    let ended: Vec<_> = (0..5)
        .map(|n| event(n, 20, 0, &[&["expiration", &end]], ""))
        .collect();
    let later = event(
        9,
        20,
        1,
        &[&["expiration", &(NOW.as_secs() + 1).to_string()]],
        "",
    );
    write(&store, &ended);
    write(&store, &[Arc::clone(&later)]);
    store.flush().unwrap();
    assert_eq!(store.purge_expired(NOW, 3), Ok(3));
    assert_eq!(store.purge_expired(NOW, 3), Ok(2));
    assert_eq!(store.purge_expired(NOW, 3), Ok(0));
    assert_eq!(store.info().unwrap().events, 1);
    assert_eq!(
        write(&store, &[event(1, 10, 0, &[], "older")]),
        [Outcome::Superseded]
    );
    assert_eq!(
        write(&store, &[event(1, 30, 0, &[], "newer")]),
        [Outcome::Stored]
    );
    assert_eq!(read(&store, "{}").len(), 2);
}

/// LMDB lets go of replaced pages late: three times the indexes without the commit between.
#[test]
fn replaced_pages_are_used_by_the_next_level() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for level in 0..40 {
        let notes: Vec<_> = (0..400)
            .map(|n| note(n, 1 + level * 7 + u64::from(n) * 100))
            .collect();
        write(&store, &notes);
        store.flush().unwrap();
    }
    let (before, after) = store.compact().unwrap();
    assert!(
        before * 10 < after * 18,
        "{before}, of which {after} are in use"
    );
}

#[test]
fn a_compacted_store_is_smaller_and_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let events: Vec<_> = (0..3_000).map(|n| note(n, u64::from(n))).collect();
    events
        .chunks(500)
        .for_each(|chunk| drop(write(&store, chunk)));
    store.flush().unwrap();
    store
        .remove(events[..2_500].iter().map(|event| *event.id()).collect())
        .unwrap();
    let (before, after) = store.compact().unwrap();
    assert!(after < before / 2, "{before} → {after}");
    assert_eq!(read(&store, "{}").len(), 500);
    assert_eq!(write(&store, &events[..10]), [Outcome::Stored; 10]);
    store.close();
    let store = open(dir.path());
    assert_eq!(store.info().unwrap().events, 510);
    assert_eq!(read(&store, r#"{"kinds":[1]}"#).len(), 510);
}

#[test]
fn a_trained_dictionary_shrinks_payloads_and_all_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let text = "the quick brown fox jumps over the lazy dog, and then some more of the same";
    let make = |n: u32| {
        event(
            n,
            u64::from(n),
            1,
            &[&["t", "nostr"]],
            &format!("{text} {n}"),
        )
    };
    let events: Vec<_> = (0..6_000).map(make).collect();
    write(&store, &events[..5_500]);
    store.flush().unwrap();
    let has = || {
        store
            .handle
            .core
            .environment
            .read()
            .unwrap()
            .codec
            .has_dictionary()
    };
    super::eventually("a dictionary", has);
    write(&store, &events[5_500..]);
    store.flush().unwrap();
    assert_eq!(read(&store, "{}").len(), 6_000);
    let txn = store.handle.core.environment.read().unwrap();
    let (_seq, value) = txn.tables.payload.last(&txn).unwrap().unwrap();
    assert_eq!(value[0], 1, "compressed");
    assert!(
        value.len() < events[0].json().len() * 2 / 3,
        "{} bytes",
        value.len()
    );
    drop(txn);
    store.close();
    let store = open(dir.path());
    let all = read(&store, "{}");
    assert!(all.iter().rev().eq(events.iter()));
}

#[test]
fn figures_move() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &[note(1, 1)]);
    assert_eq!(store.stats().overlay_events, 1);
    store.flush().unwrap();
    read(&store, "{}");
    let stats = store.stats();
    assert_eq!(
        (stats.groups, stats.grouped_events, stats.flushes),
        (1, 1, 1)
    );
    assert_eq!(stats.overlay_events, 0);
    assert!(stats.rows_scanned > 0 && stats.map_used_bytes > 0 && !stats.broken);
    assert!(stats.disk_free_bytes > 0 && stats.disk_free_bytes <= stats.disk_size_bytes);
    let mut registry = heliograph_telemetry::registry();
    store.times().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for op in ["append", "fsync", "flush", "scan"] {
        let once = format!("heliograph_store_seconds_count{{op=\"{op}\"}} 1\n");
        assert!(text.contains(&once), "{op} in {text}");
    }
}

#[test]
fn events_on_their_way_to_the_database_are_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let tune = crate::Options {
        flush_events: 2,
        ..super::options(dir.path())
    };
    let store = crate::EmbeddedStore::open(tune).unwrap();
    let core = &store.handle.core;
    core.flush_held
        .store(true, std::sync::atomic::Ordering::SeqCst);
    write(&store, &[note(1, 1), note(2, 2)]);
    super::eventually("frozen", || core.levels.read().frozen.is_some());
    write(&store, &[note(3, 3)]);
    let frozen = core.levels.read().frozen.clone().unwrap();
    let level = frozen.level.read();
    let urls = &core.options.relay_urls;
    // What the flusher does before it drops the level.
    core.environment
        .write(|txn, tables, codec| {
            crate::apply::write_level(txn, tables, codec, &level, frozen.segment, urls)
        })
        .unwrap();
    drop(level);
    let (counted, found) = (store.info().unwrap().events, read(&store, "{}").len());
    core.flush_held
        .store(false, std::sync::atomic::Ordering::SeqCst);
    core.flush_changed.notify_all();
    assert_eq!((counted, found), (3, 3));
    store.flush().unwrap();
    assert_eq!(store.info().unwrap().events, 3);
}
