//! Bits that change in the log: found, and cut off only where a crash could have done it.

use std::{fs, path::Path, sync::Arc};

use heliograph_protocol::{Event, Outcome};

use super::{
    copy_dir, note, open, options,
    power::{scratch, synced},
    read, write,
};
use crate::{
    EmbeddedStore, OpenError,
    disk::Disk,
    log::{
        LogWriter, RECORD_HEADER, SEGMENT_HEADER, SegmentEnd, check_end, parse_segment,
        segment_path,
    },
};

/// A segment of four records: its bytes, where each begins, and how many events lie before each.
fn segment(dir: &Path) -> (Vec<u8>, Vec<(usize, usize)>) {
    let mut log = LogWriter::create(&Disk::default(), dir, 1, true).unwrap();
    let (mut places, mut events) = (Vec::new(), 0);
    for number in 0..4_u32 {
        places.push((usize::try_from(log.len()).unwrap(), events));
        let group: Vec<Arc<Event>> = (0..=number % 2).map(|n| note(number, n.into())).collect();
        log.append(&group).unwrap();
        events += group.len();
    }
    (fs::read(segment_path(dir, 1)).unwrap(), places)
}

#[test]
fn every_bit_of_the_last_record_is_covered_and_its_damage_cut() {
    let dir = scratch();
    let (good, places) = segment(dir.path());
    let (last, before) = *places.last().unwrap();
    let expected = parse_segment(&good, 1).events;
    for bit in last * 8..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let segment = parse_segment(&bytes, 1);
        assert_eq!(segment.end, SegmentEnd::Torn { at: last as u64 }, "{bit}");
        assert_eq!(segment.events, expected[..before], "bit {bit}");
        let cut = check_end(&segment, Path::new("newest"), true);
        assert_eq!(cut.unwrap(), Some(last as u64));
    }
}

#[test]
fn every_bit_before_the_last_record_is_covered_and_its_damage_refused_by_place() {
    let dir = scratch();
    let (good, places) = segment(dir.path());
    let expected = parse_segment(&good, 1).events;
    let last = places.last().unwrap().0;
    for bit in 0..last * 8 {
        let byte = bit / 8;
        // The flags say how the segment was written.
        if (12..16).contains(&byte) {
            continue;
        }
        let mut bytes = good.clone();
        bytes[byte] ^= 1 << (bit % 8);
        let segment = parse_segment(&bytes, 1);
        let at = places.iter().rev().find(|(at, _before)| *at <= byte);
        let (at, before) = at.copied().unwrap_or((0, 0));
        assert_eq!(segment.events, expected[..before], "bit {bit}");
        let SegmentEnd::Damaged { at: found, .. } = segment.end else {
            panic!("bit {bit}: {:?}", segment.end);
        };
        assert_eq!(found, at as u64, "bit {bit}");
        assert!(matches!(
            check_end(&segment, Path::new("damaged"), true),
            Err(OpenError::Log { offset, .. }) if offset == at as u64
        ));
    }
}

/// A store of two segments, killed.
fn killed(dir: &Path) -> Vec<Arc<Event>> {
    let live = dir.join("live");
    let store = EmbeddedStore::open(synced(&live)).unwrap();
    let events: Vec<_> = (0..6).map(|n| note(n, n.into())).collect();
    store
        .handle
        .core
        .flush_held
        .store(true, std::sync::atomic::Ordering::SeqCst);
    for event in &events {
        write(&store, &[Arc::clone(event)]);
    }
    copy_dir(&live, &dir.join("killed"));
    store
        .handle
        .core
        .flush_held
        .store(false, std::sync::atomic::Ordering::SeqCst);
    events
}

#[test]
fn a_damaged_tail_is_cut_and_counted_and_the_store_goes_on() {
    let dir = scratch();
    let events = killed(dir.path());
    let place = dir.path().join("killed");
    let path = segment_path(&place.join("log"), 1);
    let good = fs::read(&path).unwrap();
    let last = RECORD_HEADER + 4 + events[5].json().len();
    for byte in (good.len() - last..good.len()).step_by(37) {
        let mut bytes = good.clone();
        bytes[byte] ^= 0x40;
        let copy = dir.path().join(byte.to_string());
        copy_dir(&place, &copy);
        fs::write(segment_path(&copy.join("log"), 1), &bytes).unwrap();
        let store = EmbeddedStore::open(synced(&copy)).unwrap();
        assert_eq!(store.stats().log_cut_bytes, last as u64);
        assert_eq!(read(&store, "{}").len(), 5);
        assert_eq!(write(&store, &events[5..]), [Outcome::Stored]);
        drop(store);
        let store = open(&copy);
        assert_eq!(store.stats().log_cut_bytes, 0);
        assert_eq!(read(&store, "{}").len(), 6);
    }
}

#[test]
fn a_segment_that_is_missing_is_no_reason_to_go_on_without_it() {
    let dir = scratch();
    let place = dir.path().join("store");
    let store = EmbeddedStore::open(synced(&place)).unwrap();
    write(&store, &[note(1, 1)]);
    store.flush().unwrap();
    let older = dir.path().join("older");
    copy_dir(&place.join("db"), &older);
    for number in 2..4 {
        write(&store, &[note(number, 1)]);
        store.flush().unwrap();
    }
    write(&store, &[note(9, 2)]);
    copy_dir(&place.join("log"), &dir.path().join("restored/log"));
    // An old copy of the database below a log that went on: what lies between is nowhere.
    copy_dir(&older, &dir.path().join("restored/db"));
    let error = EmbeddedStore::open(options(&dir.path().join("restored"))).unwrap_err();
    let OpenError::Missing { path, follows } = error else {
        panic!("{error}");
    };
    let log = dir.path().join("restored/log");
    assert_eq!(path, segment_path(&log, 2));
    assert_eq!(follows, segment_path(&log, 4));

    // At an operator's word it goes on without it.
    let repaired = EmbeddedStore::repair(&dir.path().join("restored")).unwrap();
    let made: Vec<_> = repaired.iter().map(|segment| &segment.path).collect();
    assert_eq!(made, [&segment_path(&log, 2), &segment_path(&log, 3)]);
    assert!(repaired.iter().all(|segment| segment.damaged.is_none()));
    let store = open(&dir.path().join("restored"));
    assert_eq!(read(&store, "{}"), [note(9, 2), note(1, 1)]);
}

#[test]
fn a_repair_keeps_every_whole_record_and_the_damaged_file() {
    let dir = scratch();
    let events = killed(dir.path());
    let place = dir.path().join("killed");
    let path = segment_path(&place.join("log"), 1);
    let good = fs::read(&path).unwrap();
    assert_eq!(EmbeddedStore::repair(&place).unwrap(), []);
    let mut bytes = good;
    let record = RECORD_HEADER + 4 + events[0].json().len();
    // In the header, and in the second record.
    bytes[3] ^= 1;
    bytes[SEGMENT_HEADER + record + RECORD_HEADER + 9] ^= 8;
    fs::write(&path, &bytes).unwrap();
    let refused = EmbeddedStore::open(synced(&place)).unwrap_err();
    assert!(matches!(refused, OpenError::Log { .. }), "{refused}");
    let repaired = EmbeddedStore::repair(&place).unwrap();
    let [one] = &repaired[..] else {
        panic!("{repaired:?}");
    };
    assert_eq!((one.events, one.bytes_lost), (5, record as u64));
    assert_eq!(fs::read(one.damaged.as_ref().unwrap()).unwrap(), bytes);
    assert_eq!(EmbeddedStore::repair(&place).unwrap(), []);
    let store = EmbeddedStore::open(synced(&place)).unwrap();
    assert_eq!(read(&store, "{}").len(), 5);
    assert_eq!(write(&store, &events[1..2]), [Outcome::Stored]);
    let busy = EmbeddedStore::repair(&place).unwrap_err();
    assert!(matches!(busy, OpenError::Locked { .. }), "{busy}");
}
