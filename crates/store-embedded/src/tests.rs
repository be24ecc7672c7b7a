//! Tests of the whole store: the conformance suite with batches moved at different moments, crashes,
//! full disks, damage, tools, and a look from another process.

mod changes;
mod crash;
mod faults;
mod flips;
mod full;
mod injected;
mod log;
mod look;
mod model;
mod power;
mod scans;
mod seats;
mod suite;
pub(crate) mod tape;
mod tools;
mod vanish;

use std::{
    fs,
    future::Future,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_protocol::{Event, Filter, Outcome};
use heliograph_store::{
    EventStore, StoreError,
    conformance::{self, NOW},
};

use crate::{EmbeddedStore, Options};

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Options for tests: no fsync of the log, and nothing moved to the database unless asked for.
pub(crate) fn options(dir: &Path) -> Options {
    Options {
        relay_urls: conformance::relay_urls(),
        sync: false,
        reader_threads: 2,
        flush_interval: Duration::from_secs(3600),
        map_bytes_initial: 4 << 20,
        ..Options::new(dir)
    }
}

pub(crate) fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(options(dir)).unwrap()
}

pub(crate) fn write(store: &EmbeddedStore, events: &[Arc<Event>]) -> Vec<Outcome> {
    try_write(store, events).unwrap()
}

pub(crate) fn try_write(
    store: &EmbeddedStore,
    events: &[Arc<Event>],
) -> Result<Vec<Outcome>, StoreError> {
    block_on(store.write(events.to_vec()))
}

pub(crate) fn read(store: &EmbeddedStore, filter: &str) -> Vec<Arc<Event>> {
    block_on(conformance::collect(
        store,
        &Filter::parse(filter).unwrap(),
        NOW,
    ))
}

pub(crate) fn note(author: u32, at: u64) -> Arc<Event> {
    conformance::event(author, at, 1, &[], "text")
}

/// Waits for a state, with a deadline.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "not in time: {what}"
        );
        std::thread::yield_now();
    }
}

/// What a killed process would leave: the files as they are.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
