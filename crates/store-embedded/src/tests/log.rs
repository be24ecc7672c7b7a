//! The log's files by themselves.

use std::sync::Arc;

use heliograph_protocol::Event;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::note;
use crate::disk::Disk;
use crate::log::{LogWriter, SegmentEnd, parse_segment, read_segment, segments};

#[test]
fn records_come_back_in_order_over_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::create(&Disk::default(), dir.path(), 7, true).unwrap();
    let events: Vec<Arc<Event>> = (0..6).map(|n| note(n, 1)).collect();
    log.append(&events[..2]).unwrap();
    log.append(&events[2..3]).unwrap();
    assert_eq!(log.rotate().unwrap(), 7);
    log.append(&events[3..]).unwrap();
    assert_eq!(segments(dir.path()).unwrap(), [7, 8]);
    let mut read = Vec::new();
    for number in [7, 8] {
        let segment = read_segment(dir.path(), number).unwrap();
        assert_eq!(segment.end, SegmentEnd::Clean);
        read.extend(segment.events.into_iter().map(Arc::new));
    }
    assert_eq!(read, events);
}

#[test]
fn an_older_segment_in_the_place_of_a_newer_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::create(&Disk::default(), dir.path(), 1, true).unwrap();
    log.append(&[note(1, 1)]).unwrap();
    let bytes = std::fs::read(crate::log::segment_path(dir.path(), 1)).unwrap();
    assert!(parse_segment(&bytes, 2).events.is_empty());
}

fn good() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::create(&Disk::default(), dir.path(), 1, true).unwrap();
    for n in 0..3 {
        log.append(&[note(n, 1)]).unwrap();
    }
    std::fs::read(crate::log::segment_path(dir.path(), 1)).unwrap()
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let segment = parse_segment(&bytes, 1);
        prop_assert!(segment.events.is_empty());
    }

    #[test]
    fn a_changed_byte_never_gives_another_event(at in 0_usize..3000, to in any::<u8>()) {
        let mut bytes = good();
        let expected = parse_segment(&bytes, 1).events;
        let at = at % bytes.len();
        let changed = bytes[at] != to;
        bytes[at] = to;
        let segment = parse_segment(&bytes, 1);
        prop_assert_eq!(&segment.events[..], &expected[..segment.events.len()]);
        // The flags say how the file was written, the header as a whole whether it can be used.
        let flags = (12..16).contains(&at);
        prop_assert_eq!(segment.end != SegmentEnd::Clean, changed && !flags);
    }
}
