//! Full and failing devices, a second process, a newer schema, a small map.

use std::sync::{Arc, atomic::Ordering};

use heliograph_protocol::{Event, Outcome};
use heliograph_store::{StoreError, conformance::event};
use rustix::io::Errno;

use super::{eventually, note, open, options, read, try_write, write};
use crate::{EmbeddedStore, OpenError, Options, layout::meta};

#[test]
fn a_full_disk_refuses_the_write_and_later_ones_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &[note(1, 1)]);
    for partial in [0, 5, 100] {
        let faults = &store.handle.core.disk.tape;
        faults.write_partial.store(partial, Ordering::SeqCst);
        faults
            .write_errno
            .store(Errno::NOSPC.raw_os_error(), Ordering::SeqCst);
        assert_eq!(try_write(&store, &[note(2, 2)]), Err(StoreError::Full));
        assert_eq!(read(&store, r#"{"since":2,"until":2}"#), []);
        faults.write_errno.store(0, Ordering::SeqCst);
        let at = 10 + partial as u64;
        assert_eq!(write(&store, &[note(3, at)]), [Outcome::Stored]);
    }
    let killed = dir.path().join("killed");
    super::copy_dir(&dir.path().join("log"), &killed.join("log"));
    assert_eq!(read(&open(&killed), "{}").len(), 4);
}

#[test]
fn a_full_disk_at_fsync_refuses_the_write_and_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Options {
        sync: true,
        ..options(dir.path())
    })
    .unwrap();
    let faults = &store.handle.core.disk.tape;
    faults
        .sync_errno
        .store(Errno::NOSPC.raw_os_error(), Ordering::SeqCst);
    assert_eq!(try_write(&store, &[note(2, 2)]), Err(StoreError::Full));
    assert_eq!(read(&store, "{}"), []);
    faults.sync_errno.store(0, Ordering::SeqCst);
    assert_eq!(write(&store, &[note(2, 2)]), [Outcome::Stored]);
}

#[test]
fn after_a_failed_fsync_no_write_is_taken_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Options {
        sync: true,
        ..options(dir.path())
    })
    .unwrap();
    write(&store, &[note(1, 1)]);
    store
        .handle
        .core
        .disk
        .tape
        .sync_errno
        .store(Errno::IO.raw_os_error(), Ordering::SeqCst);
    assert_eq!(try_write(&store, &[note(2, 2)]), Err(StoreError::Closed));
    store
        .handle
        .core
        .disk
        .tape
        .sync_errno
        .store(0, Ordering::SeqCst);
    assert_eq!(try_write(&store, &[note(3, 3)]), Err(StoreError::Closed));
    assert_eq!(read(&store, "{}"), [note(1, 1)]);
    assert!(store.stats().broken);
}

#[test]
fn a_database_without_room_keeps_the_log_and_refuses_only_when_memory_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        flush_events: 10,
        ..options(dir.path())
    };
    let store = EmbeddedStore::open(options.clone()).unwrap();
    let full = Errno::NOSPC.raw_os_error();
    store.handle.core.flush_errno.store(full, Ordering::SeqCst);
    let mut at = 0;
    let refused = loop {
        at += 1;
        assert!(at < 100, "memory is bounded");
        if let Err(error) = try_write(&store, &[note(1, at)]) {
            break error;
        }
    };
    assert_eq!(refused, StoreError::Full);
    assert!(at > 20, "two batches fit, {at} events did");
    let stored = at - 1;
    assert_eq!(read(&store, "{}").len() as u64, stored);
    store.handle.core.flush_errno.store(0, Ordering::SeqCst);
    eventually("room", || try_write(&store, &[note(1, 1000)]).is_ok());
    store.flush().unwrap();
    assert_eq!(store.info().unwrap().events, stored + 1);
    store.close();
    assert_eq!(
        read(&EmbeddedStore::open(options).unwrap(), "{}").len() as u64,
        stored + 1
    );
}

#[test]
fn closing_with_a_full_disk_keeps_everything_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &[note(1, 1)]);
    store
        .handle
        .core
        .flush_errno
        .store(Errno::NOSPC.raw_os_error(), Ordering::SeqCst);
    store.close();
    assert_eq!(read(&open(dir.path()), "{}").len(), 1);
}

#[test]
fn a_second_store_in_the_directory_is_refused_with_the_process_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let Err(OpenError::Locked { pid }) = EmbeddedStore::open(options(dir.path())) else {
        panic!("two stores in one directory");
    };
    assert_eq!(pid, std::process::id());
    store.close();
    open(dir.path());
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let newer = 2_u32.to_be_bytes();
    let environment = &store.handle.core.environment;
    environment
        .write(|txn, tables, _codec| Ok(tables.meta.put(txn, meta::SCHEMA, &newer)?))
        .unwrap();
    store.close();
    let Err(error) = EmbeddedStore::open(options(dir.path())) else {
        panic!("opened a newer schema");
    };
    assert!(
        matches!(error, OpenError::NewerSchema { found: 2, known: 1 }),
        "{error}"
    );
    assert!(error.to_string().contains("schema version 2"), "{error}");
}

#[test]
fn the_map_grows_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let tiny = Options {
        map_bytes_initial: 1 << 20,
        ..options(dir.path())
    };
    let store = EmbeddedStore::open(tiny.clone()).unwrap();
    let text = "abcdefghijklmnopqrstuvwxyz".repeat(80);
    let events: Vec<Arc<Event>> = (0..3_000)
        .map(|n| event(n, u64::from(n), 1, &[], &format!("{n}{text}")))
        .collect();
    for chunk in events.chunks(500) {
        write(&store, chunk);
        store.flush().unwrap();
        assert!(read(&store, r#"{"kinds":[7]}"#).is_empty());
    }
    assert!(store.stats().map_bytes > 4 << 20, "{:?}", store.stats());
    assert_eq!(read(&store, "{}").len(), 3_000);
    store.close();
    assert_eq!(read(&EmbeddedStore::open(tiny).unwrap(), "{}").len(), 3_000);
}

#[test]
fn a_closed_store_answers_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let other = store.clone();
    store.close();
    assert_eq!(try_write(&other, &[note(1, 1)]), Err(StoreError::Closed));
    assert_eq!(
        other.contains_blocking(note(1, 1).id()),
        Err(StoreError::Closed)
    );
    assert_eq!(other.flush(), Err(StoreError::Closed));
}

#[test]
fn a_log_that_broke_with_a_torn_end_is_read_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        sync: true,
        ..options(dir.path())
    };
    let store = EmbeddedStore::open(options.clone()).unwrap();
    write(&store, &[note(1, 1)]);
    let io = Errno::IO.raw_os_error();
    let faults = &store.handle.core.disk.tape;
    faults.write_partial.store(40, Ordering::SeqCst);
    faults.cut_errno.store(io, Ordering::SeqCst);
    faults.write_errno.store(io, Ordering::SeqCst);
    assert_eq!(try_write(&store, &[note(2, 2)]), Err(StoreError::Closed));
    assert!(store.stats().broken);
    // Nor can the database take what is in memory.
    store.handle.core.flush_errno.store(io, Ordering::SeqCst);
    store.close();
    let store = EmbeddedStore::open(options).unwrap();
    assert_eq!(read(&store, "{}"), [note(1, 1)]);
    assert_eq!(write(&store, &[note(2, 2)]), [Outcome::Stored]);
}

#[test]
fn memory_is_bounded_while_no_log_segment_can_be_started() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        flush_events: 10,
        ..options(dir.path())
    };
    let store = EmbeddedStore::open(options).unwrap();
    let in_the_way = crate::log::segment_path(&dir.path().join("log"), 2);
    std::fs::write(&in_the_way, b"").unwrap();
    let mut stored = 0;
    while try_write(&store, &[note(1, stored)]).is_ok() {
        stored += 1;
        assert!(stored < 100, "memory is bounded");
    }
    assert_eq!(stored, 20, "two batches");
    assert_eq!(read(&store, "{}").len(), 20);
    std::fs::remove_file(in_the_way).unwrap();
    assert_eq!(write(&store, &[note(1, 1_000)]), [Outcome::Stored]);
    store.flush().unwrap();
    assert_eq!(store.info().unwrap().events, 21);
}

#[test]
fn a_flusher_that_panicked_ends_writes_and_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &[note(1, 1)]);
    let core = &store.handle.core;
    core.flush_errno.store(i32::MIN, Ordering::SeqCst);
    assert_eq!(store.flush(), Err(StoreError::Closed));
    assert_eq!(try_write(&store, &[note(2, 2)]), Err(StoreError::Closed));
    assert_eq!(read(&store, "{}").len(), 1);
    store.close();
    assert_eq!(read(&open(dir.path()), "{}").len(), 1);
}

#[test]
fn something_else_in_the_place_of_a_directory_is_named() {
    for name in ["data", "data/db", "data/log"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"something else").unwrap();
        let error = EmbeddedStore::open(options(&dir.path().join("data"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: not a directory", path.display())
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    }
}

#[test]
fn a_database_that_is_gone_is_not_begun_anew_under_a_log_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &[note(1, 1)]);
    store.flush().unwrap();
    write(&store, &[note(2, 2)]);
    store.close();
    let (database, aside) = (dir.path().join("db"), dir.path().join("aside"));
    std::fs::rename(&database, &aside).unwrap();
    for _again in 0..2 {
        let error = EmbeddedStore::open(options(dir.path())).unwrap_err();
        assert!(
            matches!(&error, OpenError::Lost { path, .. } if *path == database),
            "{error}"
        );
    }
    std::fs::rename(&aside, &database).unwrap();
    assert_eq!(read(&open(dir.path()), "{}").len(), 2);
}

#[test]
fn a_database_that_a_full_disk_left_unfinished_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("db")).unwrap();
    std::fs::write(dir.path().join("db/data.mdb"), [0; 4096]).unwrap();
    let store = open(dir.path());
    assert_eq!(write(&store, &[note(1, 1)]), [Outcome::Stored]);
}

#[test]
fn a_database_that_could_not_be_opened_again_is_tried_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &[note(1, 1)]);
    store.flush().unwrap();
    let (database, aside) = (dir.path().join("db"), dir.path().join("aside"));
    let environment = &store.handle.core.environment;
    assert!(
        environment
            .reopen(|| {
                std::fs::rename(&database, &aside)?;
                Ok(std::fs::write(&database, b"")?)
            })
            .is_err()
    );
    assert!(store.contains_blocking(note(1, 1).id()).is_err());
    std::fs::remove_file(&database).unwrap();
    std::fs::rename(&aside, &database).unwrap();
    assert_eq!(store.contains_blocking(note(1, 1).id()), Ok(true));
    assert_eq!(write(&store, &[note(2, 2)]), [Outcome::Stored]);
}
