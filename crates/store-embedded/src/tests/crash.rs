//! Killed at any moment: what was acknowledged is there, and replaying changes nothing else.

use std::{fs, sync::Arc};

use heliograph_protocol::{Event, Filter, Outcome};
use heliograph_store::{
    EventStore, MemoryStore,
    conformance::{self, NOW, Rng, event, random_events, random_filter},
};

use super::{block_on, copy_dir, eventually, note, open, options, read, write};
use crate::{
    EmbeddedStore, OpenError,
    log::{RECORD_HEADER, SEGMENT_HEADER, segment_path, segments},
};

#[test]
fn what_was_written_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (live, killed) = (dir.path().join("live"), dir.path().join("killed"));
    let store = open(&live);
    let events: Vec<_> = (0..20).map(|n| note(n, u64::from(n))).collect();
    events
        .iter()
        .for_each(|event| assert_eq!(write(&store, &[Arc::clone(event)]), [Outcome::Stored]));
    copy_dir(&live, &killed);
    let again = open(&killed);
    assert_eq!(read(&again, "{}").len(), 20);
    assert_eq!(write(&again, &events), vec![Outcome::Duplicate; 20]);
}

#[test]
fn guards_and_seats_survive_a_kill_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (live, killed) = (dir.path().join("live"), dir.path().join("killed"));
    let doomed = note(1, 10);
    let request = event(1, 20, 5, &[&["e", &doomed.id().to_hex()]], "");
    let (old, new) = (event(2, 10, 0, &[], "old"), event(2, 20, 0, &[], "new"));
    let store = open(&live);
    write(
        &store,
        &[Arc::clone(&doomed), Arc::clone(&request), Arc::clone(&new)],
    );
    copy_dir(&live, &killed);
    drop(store);
    for dir in [&live, &killed] {
        for _restart in 0..2 {
            let store = open(dir);
            let outcomes = write(&store, &[Arc::clone(&doomed), Arc::clone(&old)]);
            assert_eq!(outcomes, [Outcome::Deleted, Outcome::Superseded]);
            assert_eq!(read(&store, "{}").len(), 2);
        }
    }
}

#[test]
fn a_deleted_version_that_takes_a_seat_takes_it_again_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (live, killed) = (dir.path().join("live"), dir.path().join("killed"));
    let (old, new) = (event(1, 10, 0, &[], "old"), event(1, 20, 0, &[], "new"));
    let request = event(1, 5, 5, &[&["e", &new.id().to_hex()]], "");
    let store = open(&live);
    write(&store, &[old, request]);
    assert_eq!(write(&store, &[new]), [Outcome::Deleted]);
    assert!(read(&store, r#"{"kinds":[0]}"#).is_empty());
    copy_dir(&live, &killed);
    assert!(read(&open(&killed), r#"{"kinds":[0]}"#).is_empty());
}

/// One segment of `count` records, one event each, and the events.
fn logged(dir: &std::path::Path, count: u32, sync: bool) -> Vec<Arc<Event>> {
    let store = EmbeddedStore::open(crate::Options {
        sync,
        ..options(dir)
    })
    .unwrap();
    let events: Vec<_> = (0..count).map(|n| note(n, u64::from(n))).collect();
    events
        .iter()
        .for_each(|event| drop(write(&store, &[Arc::clone(event)])));
    let kill = dir.with_extension("kill");
    copy_dir(dir, &kill);
    drop(store);
    fs::remove_dir_all(dir).unwrap();
    fs::rename(kill, dir).unwrap();
    events
}

#[test]
fn a_tail_torn_at_any_byte_loses_only_the_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let events = logged(&base, 3, true);
    let log = base.join("log");
    let path = segment_path(&log, segments(&log).unwrap()[0]);
    let bytes = fs::read(&path).unwrap();
    let last = RECORD_HEADER + 4 + events[2].json().len();
    for cut in (bytes.len() - last)..=bytes.len() {
        let segment = crate::log::parse_segment(&bytes[..cut], 1);
        let whole = if cut == bytes.len() { 3 } else { 2 };
        assert_eq!(segment.events.len(), whole, "cut at {cut}");
        assert!(
            crate::log::check_end(&segment, &path, true).is_ok(),
            "cut at {cut}"
        );
    }
    // Opened for real at some of them, with zeros that the file system may leave as well.
    for cut in [bytes.len() - last + 1, bytes.len() - 7, bytes.len() - 1] {
        let mut torn = bytes[..cut].to_vec();
        torn.resize(bytes.len() + 100, 0);
        fs::write(&path, &torn).unwrap();
        let copy = dir.path().join(format!("copy{cut}"));
        copy_dir(&base, &copy);
        let store = open(&copy);
        assert_eq!(read(&store, "{}").len(), 2);
        assert_eq!(write(&store, &events[2..]), [Outcome::Stored]);
        drop(store);
        assert_eq!(read(&open(&copy), "{}").len(), 3);
    }
}

/// Killed again before the database has what the log holds: the segment with the tail is not the newest
/// any more, and a tail that is still there would be damage.
#[test]
fn a_torn_tail_is_cut_once_and_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let (base, again) = (dir.path().join("base"), dir.path().join("again"));
    let events = logged(&base, 3, true);
    let log = base.join("log");
    let path = segment_path(&log, segments(&log).unwrap()[0]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
    let store = open(&base);
    assert_eq!(write(&store, &events[2..]), [Outcome::Stored]);
    copy_dir(&base, &again);
    assert_eq!(read(&open(&again), "{}").len(), 3);
}

#[test]
fn a_segment_without_its_header_is_one_that_was_never_used() {
    let dir = tempfile::tempdir().unwrap();
    logged(dir.path().join("s").as_path(), 1, true);
    let dir = dir.path().join("s");
    fs::write(segment_path(&dir.join("log"), 2), b"helio").unwrap();
    assert_eq!(read(&open(&dir), "{}").len(), 1);
}

/// The next segment could not be begun on a full disk, and the one before was written on.
#[test]
fn a_torn_tail_before_a_segment_without_its_header_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("s");
    logged(&dir, 3, true);
    let log = dir.join("log");
    let first = segments(&log).unwrap()[0];
    let bytes = fs::read(segment_path(&log, first)).unwrap();
    fs::write(segment_path(&log, first), &bytes[..bytes.len() - 7]).unwrap();
    fs::write(segment_path(&log, first + 1), b"helio").unwrap();
    assert_eq!(read(&open(&dir), "{}").len(), 2);
}

#[test]
fn a_flipped_bit_before_the_last_record_is_an_error_that_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("s");
    let events = logged(&dir, 3, true);
    let log = dir.join("log");
    let path = segment_path(&log, segments(&log).unwrap()[0]);
    let bytes = fs::read(&path).unwrap();
    let record = RECORD_HEADER + 4 + events[0].json().len();
    for at in [
        SEGMENT_HEADER + 1,
        SEGMENT_HEADER + 9,
        SEGMENT_HEADER + 40,
        SEGMENT_HEADER + record + 3,
    ] {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        let Err(OpenError::Log {
            path: named,
            offset,
            ..
        }) = EmbeddedStore::open(options(&dir))
        else {
            panic!("byte {at} was changed and nobody noticed");
        };
        assert_eq!(named, path);
        let begins = if at < SEGMENT_HEADER + record {
            0
        } else {
            record
        };
        assert_eq!(offset, (SEGMENT_HEADER + begins) as u64);
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&open(&dir), "{}").len(), 3);
}

#[test]
fn without_fsync_a_hole_in_the_log_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("s");
    logged(&dir, 3, false);
    let path = segment_path(&dir.join("log"), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[SEGMENT_HEADER + 3] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(read(&open(&dir), "{}").is_empty());
}

#[test]
fn a_log_that_the_database_has_already_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (live, ahead) = (dir.path().join("live"), dir.path().join("ahead"));
    let store = open(&live);
    let events = random_events(&mut Rng::new(7), 200, false);
    write(&store, &events);
    copy_dir(&live.join("log"), &ahead.join("log"));
    store.flush().unwrap();
    let before = (read(&store, "{}"), store.info().unwrap().per_kind);
    // Killed after the database had the batch and before the log was cut.
    copy_dir(&live.join("db"), &ahead.join("db"));
    let again = open(&ahead);
    assert!(
        segments(&ahead.join("log"))
            .unwrap()
            .iter()
            .all(|number| *number > 1)
    );
    again.flush().unwrap();
    assert_eq!(read(&again, "{}"), before.0);
    assert_eq!(again.info().unwrap().per_kind, before.1);
    // The same if the database doesn't say how far it is: every event is decided again.
    drop(again);
    fs::remove_dir_all(ahead.join("log")).unwrap();
    copy_dir(&live.join("log"), &ahead.join("log"));
    assert_eq!(read(&open(&ahead), "{}"), before.0);
}

#[test]
fn random_writes_with_kills_and_restarts_end_as_in_the_memory_store() {
    for seed in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(seed);
        let events = random_events(&mut rng, 300, false);
        let memory = MemoryStore::new(conformance::relay_urls());
        let mut place = dir.path().join("0");
        let tuned = |dir: &std::path::Path| crate::Options {
            flush_events: 40,
            ..options(dir)
        };
        let mut store = EmbeddedStore::open(tuned(&place)).unwrap();
        for (number, chunk) in events.chunks(25).enumerate() {
            let expected = block_on(memory.write(chunk.to_vec())).unwrap();
            assert_eq!(write(&store, chunk), expected, "seed {seed}");
            match rng.below(4) {
                0 => store.flush().unwrap(),
                1 => {
                    drop(store);
                    store = EmbeddedStore::open(tuned(&place)).unwrap();
                }
                2 => {
                    eventually("idle", || !store.handle.core.flush.lock().pending);
                    let next = dir.path().join((number + 1).to_string());
                    copy_dir(&place, &next);
                    place = next;
                    store = EmbeddedStore::open(tuned(&place)).unwrap();
                }
                _ => {}
            }
            for _filter in 0..6 {
                let filter: Filter = random_filter(&mut rng, &events);
                let expected = block_on(conformance::collect(&memory, &filter, NOW));
                let got = block_on(conformance::collect(&store, &filter, NOW));
                assert_eq!(got, expected, "seed {seed}: {filter:?}");
            }
        }
    }
}
