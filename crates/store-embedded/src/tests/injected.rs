//! A device that fails at any step: once, or for a while.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
};

use heliograph_protocol::{Event, EventId};
use heliograph_store::conformance::Rng;
use rustix::io::Errno;

use super::{
    model::{Effort, Files, Model},
    power::{Known, check, groups, ids, lay_out, scratch, synced, work},
    read,
    tape::{Failure, Step, Tape},
};
use crate::{
    EmbeddedStore,
    disk::Disk,
    log::{AppendError, LogWriter, SegmentEnd, read_segment},
};

/// How a step fails.
#[derive(Debug, Clone, Copy)]
struct Way {
    errno: Errno,
    steps: usize,
    written: usize,
}

const WAYS: [Way; 5] = [
    Way {
        errno: Errno::NOSPC,
        steps: 1,
        written: 0,
    },
    // Room for a part, then none for any step until it is back.
    Way {
        errno: Errno::NOSPC,
        steps: 6,
        written: 100,
    },
    Way {
        errno: Errno::DQUOT,
        steps: 2,
        written: 7,
    },
    Way {
        errno: Errno::IO,
        steps: 1,
        written: 40,
    },
    Way {
        errno: Errno::IO,
        steps: 4,
        written: 0,
    },
];

#[derive(Debug, Default)]
struct Tried {
    runs: usize,
    refused: usize,
    broken: usize,
    opened: usize,
}

fn visible(store: &EmbeddedStore) -> Vec<EventId> {
    read(store, "{}").iter().map(|event| *event.id()).collect()
}

/// Runs the workload with a failure from step `from` on. `false` if there are fewer steps.
fn run(from: usize, way: Way, groups: &[Vec<Arc<Event>>], tried: &mut Tried) -> bool {
    let what = format!("from step {from}: {way:?}");
    let dir = scratch();
    let (place, copies) = (dir.path().join("store"), dir.path().join("copies"));
    fs::create_dir_all(&copies).unwrap();
    let tape = Tape::recording(&copies);
    tape.fail(Failure {
        from,
        steps: way.steps,
        errno: way.errno.raw_os_error(),
        written: way.written,
    });
    let disk = Disk {
        tape: Arc::clone(&tape),
    };
    tried.runs += 1;
    let Ok(store) = EmbeddedStore::open_on(disk, synced(&place)) else {
        // Nothing was promised; the next start has to succeed.
        let store = EmbeddedStore::open(synced(&place)).expect(&what);
        assert!(visible(&store).is_empty(), "{what}");
        return true;
    };
    let mut rng = Rng::new(from as u64);
    work(&store, groups, &mut rng);
    let steps = tape.steps();
    let reached = tape.taken() > from;

    let mut known = Known::default();
    steps.iter().for_each(|step| known.apply(step));
    let refused = steps.iter().filter(|step| matches!(step, Step::Refused));
    tried.refused += refused.count();
    if store.stats().broken {
        tried.broken += 1;
        assert_eq!(way.errno, Errno::IO, "want of room passes, {what}");
        // Reads go on and show what was acknowledged alone.
        assert_eq!(visible(&store), ids(&known.memory(false)), "{what}");
    } else {
        check(&store, &known, &what);
        let last = steps.iter().rev().find_map(|step| match step {
            Step::Acknowledged => Some(true),
            Step::Refused => Some(false),
            _ => None,
        });
        // The workload goes on for longer than the failure.
        assert!(last == Some(true) || from + 20 > tape.taken(), "{what}");
    }
    let steps = tape.steps();
    drop(store);
    if way.steps > 1 && known.open.is_empty() {
        // The end came while not even what was refused could be cut from the log.
        known.open = std::mem::take(&mut known.doubted);
    }
    // What stands in the files is as good as what was shown.
    let store = EmbeddedStore::open(synced(&place)).expect(&what);
    check(&store, &known, &format!("started again, {what}"));
    drop(store);

    let mut model = Model::default();
    let mut database = None;
    for step in &steps {
        model.apply(step);
        if let Step::Database(copy) = step {
            database = Some(copy.clone());
        }
    }
    let states: Vec<Files> = model.states(Effort::Some, &mut rng).into_iter().collect();
    for state in states.iter().filter(|_| states.len() < 4 || rng.one_in(3)) {
        let dir = scratch();
        lay_out(dir.path(), state, database.as_ref().unwrap());
        let store = EmbeddedStore::open(synced(dir.path())).expect(&what);
        check(&store, &known, &format!("after a power cut, {what}"));
        tried.opened += 1;
    }
    reached
}

#[test]
fn a_device_that_fails_at_any_step_loses_nothing_and_shows_nothing_that_was_refused() {
    let groups = groups(&mut Rng::new(11), 45);
    let mut tried = Tried::default();
    for way in WAYS {
        let mut from = 0;
        while run(from, way, &groups, &mut tried) {
            from += 1;
        }
    }
    println!("{tried:?}");
    assert!(tried.runs > 200 && tried.refused > 60 && tried.broken > 20);
}

#[test]
fn a_sync_that_failed_is_not_made_good_by_a_later_one() {
    let dir = scratch();
    let tape = Tape::recording(dir.path());
    let disk = Disk {
        tape: Arc::clone(&tape),
    };
    let mut log = LogWriter::create(&disk, dir.path(), 1, true).unwrap();
    let events = [super::note(1, 1)];
    let io = Errno::IO.raw_os_error();
    tape.sync_errno.store(io, Ordering::SeqCst);
    assert!(log.append(&events).is_err());
    tape.sync_errno.store(0, Ordering::SeqCst);
    // What the system may never write isn't shown by it either.
    let segment = read_segment(dir.path(), 1).unwrap();
    assert!(segment.events.is_empty());
    assert_eq!(segment.end, SegmentEnd::Clean);
}

/// A log in which half a record stands that couldn't be cut, for want of room.
fn uncut(dir: &std::path::Path) -> LogWriter {
    let disk = Disk::default();
    let full = Errno::NOSPC.raw_os_error();
    let mut log = LogWriter::create(&disk, dir, 1, true).unwrap();
    disk.tape.write_partial.store(50, Ordering::SeqCst);
    disk.tape.write_errno.store(full, Ordering::SeqCst);
    disk.tape.cut_errno.store(full, Ordering::SeqCst);
    assert!(matches!(
        log.append(&[super::note(1, 1)]),
        Err(AppendError::Full)
    ));
    disk.tape.write_errno.store(0, Ordering::SeqCst);
    assert!(matches!(
        log.append(&[super::note(1, 1)]),
        Err(AppendError::Full)
    ));
    assert!(log.rotate().is_err());
    disk.tape.cut_errno.store(0, Ordering::SeqCst);
    log
}

#[test]
fn what_could_not_be_cut_is_cut_before_anything_else() {
    let clean = |dir: &std::path::Path, events: usize| {
        let segment = read_segment(dir, 1).unwrap();
        assert_eq!(segment.end, SegmentEnd::Clean);
        assert_eq!(segment.events.len(), events);
    };
    let dir = scratch();
    let mut log = uncut(dir.path());
    log.append(&[super::note(2, 2)]).unwrap();
    clean(dir.path(), 1);

    let dir = scratch();
    assert_eq!(uncut(dir.path()).rotate().unwrap(), 1);
    clean(dir.path(), 0);

    let dir = scratch();
    uncut(dir.path()).close();
    clean(dir.path(), 0);
}

#[test]
fn a_write_and_a_sync_reach_the_system() {
    let disk = Disk::default();
    // A device that is always full, and places that can't be synced.
    let error = disk
        .open("/dev/full".as_ref())
        .unwrap()
        .write(b"x")
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let null = disk.open("/dev/null".as_ref()).unwrap();
    let invalid = std::io::ErrorKind::InvalidInput;
    assert_eq!(null.sync().unwrap_err().kind(), invalid);
    assert_eq!(disk.sync_dir("/proc".as_ref()).unwrap_err().kind(), invalid);
}
