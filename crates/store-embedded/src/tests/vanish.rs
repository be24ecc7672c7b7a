//! Requests to vanish of authors with more events than one transaction removes.

use std::{fs, sync::Arc};

use heliograph_protocol::{Event, Outcome};
use heliograph_store::conformance::{self, event, key};

use super::{
    block_on, eventually,
    model::Model,
    note,
    power::{lay_out, open_on, scratch, synced},
    read,
    tape::{Step, Tape},
    write,
};
use crate::{EmbeddedReader, EmbeddedStore};

fn request(author: u32, at: u64) -> Arc<Event> {
    event(author, at, 62, &[&["relay", "ALL_RELAYS"]], "")
}

/// Notes, versions of addresses, gift wraps by others; some of it newer than the request at 100.
fn history() -> (Vec<Arc<Event>>, Vec<Arc<Event>>) {
    let me = key(1).to_hex();
    let mut gone: Vec<_> = (0..30).map(|at| note(1, at)).collect();
    gone.extend((0..9).map(|n| event(1, 50 + n, 30_023, &[&["d", &n.to_string()]], "")));
    gone.extend((0..9).map(|n| event(3, 60 + n, 1059, &[&["p", &me]], "")));
    let mut stay: Vec<_> = (0..6).map(|n| note(1, 101 + n)).collect();
    stay.push(event(1, 120, 30_023, &[&["d", "3"]], ""));
    stay.push(event(3, 130, 1059, &[&["p", &me]], ""));
    stay.extend((0..20).map(|at| note(2, at)));
    (gone, stay)
}

fn sorted(mut events: Vec<Arc<Event>>) -> Vec<Arc<Event>> {
    events.sort_by_key(|event| event.position());
    events
}

#[test]
fn what_vanished_is_hidden_at_once_and_removed_behind() {
    let dir = scratch();
    let store = EmbeddedStore::open(synced(dir.path())).unwrap();
    let (gone, mut stay) = history();
    write(&store, &gone);
    write(&store, &stay);
    store.flush().unwrap();
    write(&store, &[request(1, 100)]);
    stay.push(request(1, 100));
    let stay = sorted(stay);
    assert_eq!(read(&store, "{}"), stay);
    store.flush().unwrap();
    // Whatever is removed already.
    assert_eq!(read(&store, "{}"), stay);
    assert_eq!(
        write(&store, &gone[..40]),
        vec![Outcome::Vanished; 40],
        "nor do they come back"
    );
    eventually("all removed", || store.stats().vanishing == 0);
    assert_eq!(read(&store, "{}"), stay);
    assert_eq!(store.info().unwrap().events, stay.len() as u64);
}

#[test]
fn removing_what_vanished_goes_on_after_a_crash_at_any_commit() {
    let dir = scratch();
    let (place, copies) = (dir.path().join("store"), dir.path().join("copies"));
    fs::create_dir_all(&copies).unwrap();
    let tape = Tape::recording(&copies);
    let store = open_on(&tape, &place);
    let (gone, mut stay) = history();
    write(&store, &gone);
    write(&store, &stay);
    store.flush().unwrap();
    let before = tape.steps().len();
    write(&store, &[request(1, 100)]);
    store.flush().unwrap();
    eventually("all removed", || store.stats().vanishing == 0);
    let steps = tape.steps();
    drop(store);
    stay.push(request(1, 100));
    let stay = sorted(stay);
    let (mut model, mut commits) = (Model::default(), 0);
    for (number, step) in steps.iter().enumerate() {
        model.apply(step);
        let Step::Database(copy) = step else { continue };
        if number < before {
            continue;
        }
        commits += 1;
        let dir = scratch();
        lay_out(dir.path(), &model.killed(), copy);
        let look = EmbeddedReader::open(dir.path(), conformance::relay_urls()).unwrap();
        assert_eq!(look_at(&look), stay, "looked at after commit {commits}");
        drop(look);
        let store = EmbeddedStore::open(synced(dir.path())).unwrap();
        assert_eq!(read(&store, "{}"), stay, "opened after commit {commits}");
        store.flush().unwrap();
        eventually("all removed", || store.stats().vanishing == 0);
        assert_eq!(store.info().unwrap().events, stay.len() as u64);
    }
    assert!(commits > 10, "{commits}");
}

fn look_at(look: &EmbeddedReader) -> Vec<Arc<Event>> {
    use heliograph_protocol::Filter;
    use heliograph_store::{Budget, End, Scan, ScanRequest};
    let request = ScanRequest {
        filter: Arc::new(Filter::default()),
        after: None,
        now: conformance::NOW,
        budget: Budget::UNLIMITED,
    };
    let (mut scan, mut events) = (look.scan(request), Vec::new());
    loop {
        let page = block_on(scan.next(10)).unwrap();
        events.extend(page.events);
        if page.end == Some(End::Complete) {
            return events;
        }
    }
}
