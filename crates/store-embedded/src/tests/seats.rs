//! Seats that are taken without an event.

use heliograph_protocol::{Event, Outcome};
use heliograph_store::conformance::event;

use super::{open, read, write};
use crate::VacantSeat;

#[test]
fn a_seat_that_is_taken_keeps_older_versions_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let version = |d: &str, at: u64| event(1, at, 30_023, &[&["d", d]], "");
    let seat = |event: &Event| VacantSeat::left_by(event).unwrap();
    // One that isn't there, one that has an older version, one that has the same, one that has a newer.
    write(
        &store,
        &[version("b", 9), version("c", 10), version("d", 11)],
    );
    let seats = ["d", "c", "b", "a"].map(|d| seat(&version(d, 10)));
    assert_eq!(store.take_seats(&seats), Ok(2));
    assert_eq!(store.take_seats(&seats), Ok(0), "again");
    let stays = [version("d", 11), version("c", 10)];
    assert_eq!(read(&store, "{}"), stays);
    let again = [version("a", 9), version("b", 9), version("c", 9)];
    assert_eq!(write(&store, &again), [Outcome::Superseded; 3]);
    assert_eq!(read(&store, "{}"), stays);
    // What is newer comes, and replaces what is there.
    let newer = ["a", "b", "c"].map(|d| version(d, 11));
    assert_eq!(write(&store, &newer), [Outcome::Stored; 3]);
    assert_eq!(read(&store, "{}").len(), 4);
    store.flush().unwrap();
    assert_eq!(store.info().unwrap().events, 4);
}
