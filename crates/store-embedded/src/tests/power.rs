//! Power cuts: whatever of the unsynced is gone, what was acknowledged is there.
//!
//! A workload is recorded step by step; after each step every state that the disk may be in is made
//! and the store is opened from it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use heliograph_protocol::{Event, EventId, Filter};
use heliograph_store::{
    EventStore, MemoryStore, StoreError,
    conformance::{self, NOW, Rng, random_events},
};

use super::{
    block_on,
    model::{Effort, Files, Model},
    options, read,
    tape::{Step, Tape},
    try_write,
};
use crate::{
    EmbeddedStore, Options,
    disk::Disk,
    log::{check_end, parse_segment},
};

/// A place that is fast where there is memory for it: the model says what is durable, not the device.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().unwrap()
}

pub(crate) fn synced(dir: &Path) -> Options {
    Options {
        sync: true,
        flush_events: 25,
        reader_threads: 1,
        map_bytes_initial: 1 << 20,
        ..options(dir)
    }
}

pub(crate) fn open_on(tape: &Arc<Tape>, dir: &Path) -> EmbeddedStore {
    let disk = Disk {
        tape: Arc::clone(tape),
    };
    EmbeddedStore::open_on(disk, synced(dir)).unwrap()
}

/// Writes groups one after the other, with marks, and moves everything to the database now and then.
pub(crate) fn work(store: &EmbeddedStore, groups: &[Vec<Arc<Event>>], rng: &mut Rng) {
    let tape = &store.handle.core.disk.tape;
    for group in groups {
        tape.mark(Step::Sent(group.clone()));
        match try_write(store, group) {
            Ok(_outcomes) => tape.mark(Step::Acknowledged),
            Err(StoreError::Closed) => tape.mark(Step::Closed),
            Err(_error) => tape.mark(Step::Refused),
        }
        if rng.one_in(9) {
            // It may fail where the disk does.
            drop(store.flush());
        }
    }
}

pub(crate) fn groups(rng: &mut Rng, events: usize) -> Vec<Vec<Arc<Event>>> {
    let mut events = random_events(rng, events, false);
    let mut groups = Vec::new();
    while !events.is_empty() {
        let many = 1 + rng.index(4).min(events.len() - 1);
        groups.push(events.split_off(events.len() - many));
    }
    groups
}

/// What a store has to know: all of `sure`, and of `open` all or nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) sure: Vec<Arc<Event>>,
    pub(crate) open: Vec<Arc<Event>>,
    /// Refused, and not known to be cut from the log.
    pub(crate) doubted: Vec<Arc<Event>>,
    /// No more writes were taken after `open`.
    closed: bool,
}

impl Known {
    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Sent(group) if !self.closed => self.open.clone_from(group),
            Step::Acknowledged => self.sure.append(&mut self.open),
            Step::Cut(..) => self.doubted.clear(),
            Step::Refused if self.doubted.is_empty() => {
                self.doubted = std::mem::take(&mut self.open);
            }
            Step::Refused => self.open.clear(),
            Step::Closed => self.closed = true,
            _ => {}
        }
    }

    pub(crate) fn memory(&self, with_open: bool) -> MemoryStore {
        let memory = MemoryStore::new(conformance::relay_urls());
        let mut events = self.sure.clone();
        events.extend(self.open.iter().filter(|_| with_open).cloned());
        block_on(memory.write(events)).unwrap();
        memory
    }
}

pub(crate) fn ids(memory: &MemoryStore) -> Vec<EventId> {
    let all = Filter::parse("{}").unwrap();
    let events = block_on(conformance::collect(memory, &all, NOW));
    events.iter().map(|event| *event.id()).collect()
}

/// A data directory with this log and this database.
pub(crate) fn lay_out(dir: &Path, log: &Files, database: &Path) {
    fs::create_dir_all(dir.join("log")).unwrap();
    fs::create_dir_all(dir.join("db")).unwrap();
    fs::copy(database, dir.join("db/data.mdb")).unwrap();
    for (name, bytes) in log {
        fs::write(dir.join("log").join(name), bytes).unwrap();
    }
}

/// Whether the open group shows; that nothing is missing and nothing too many.
#[track_caller]
pub(crate) fn check(store: &EmbeddedStore, known: &Known, what: &str) -> bool {
    let found: Vec<EventId> = read(store, "{}").iter().map(|e| *e.id()).collect();
    let (without, with) = (known.memory(false), known.memory(true));
    let shows = !known.open.is_empty() && found == ids(&with) && found != ids(&without);
    if !shows {
        assert_eq!(found, ids(&without), "{what}");
    }
    let memory = if shows { with } else { without };
    // Sent again, each comes to what it would have come to: guards and seats hold.
    let again: Vec<_> = known.sure.iter().rev().take(60).cloned().collect();
    let expected = block_on(memory.write(again.clone())).unwrap();
    assert_eq!(try_write(store, &again).unwrap(), expected, "{what}");
    let left: Vec<EventId> = read(store, "{}").iter().map(|e| *e.id()).collect();
    assert_eq!(left, ids(&memory), "{what}");
    shows
}

struct Tried {
    points: usize,
    contents: usize,
    opened: usize,
    twice: usize,
}

/// Every content of every torn file gives either all of its last record or nothing of it.
fn check_contents(model: &Model, rng: &mut Rng, tried: &mut Tried) {
    for torn in model.torn_files(Effort::Every, rng) {
        let number: u64 = torn.name.trim_end_matches(".log").parse().unwrap();
        let before = parse_segment(&torn.durable, number).events;
        let after = parse_segment(&torn.current, number).events;
        for content in &torn.variants {
            tried.contents += 1;
            let segment = parse_segment(content, number);
            let path = PathBuf::from(&torn.name);
            check_end(&segment, &path, true).unwrap();
            assert!(segment.events == before || segment.events == after);
        }
    }
}

/// Opened, worked with, and the power cut again.
fn crash_again(
    model: Model,
    log: &Files,
    database: &Path,
    mut known: Known,
    fresh: &[Vec<Arc<Event>>],
    rng: &mut Rng,
) -> usize {
    let dir = scratch();
    let (place, copies) = (dir.path().join("store"), dir.path().join("copies"));
    fs::create_dir_all(&copies).unwrap();
    lay_out(&place, log, database);
    let tape = Tape::recording(&copies);
    let store = open_on(&tape, &place);
    let began = tape.steps().len();
    if check(&store, &known, "the first time") {
        known.sure.append(&mut known.open);
    }
    let established = known.sure.clone();
    let seen = tape.steps().len();
    work(&store, fresh, rng);
    let steps = tape.steps();
    drop(store);
    let mut opened = 0;
    let mut model = model;
    let mut database = database.to_owned();
    for (number, step) in steps.iter().enumerate() {
        model.apply(step);
        known.apply(step);
        if let Step::Database(copy) = step {
            database.clone_from(copy);
        }
        if number + 1 == seen {
            // What was shown and answered with `duplicate` counts as acknowledged.
            assert_eq!(known.sure, established);
        }
        if number < began || number < seen && !rng.one_in(2) {
            continue;
        }
        let states: Vec<Files> = model.states(Effort::Some, rng).into_iter().collect();
        for state in states.iter().filter(|_| rng.one_in(6)) {
            let dir = scratch();
            lay_out(dir.path(), state, &database);
            let store = EmbeddedStore::open(synced(dir.path())).unwrap();
            check(&store, &known, &format!("again, after step {number}"));
            opened += 1;
        }
    }
    opened
}

fn cut_power_everywhere(seed: u64, events: usize, effort: u64) -> Tried {
    let mut rng = Rng::new(seed);
    let dir = scratch();
    let (place, copies) = (dir.path().join("store"), dir.path().join("copies"));
    fs::create_dir_all(&copies).unwrap();
    let tape = Tape::recording(&copies);
    let store = open_on(&tape, &place);
    let mut groups = groups(&mut rng, events);
    let fresh = groups.split_off(groups.len() - 4);
    work(&store, &groups, &mut rng);
    let steps = tape.steps();
    drop(store);

    let mut tried = Tried {
        points: 0,
        contents: 0,
        opened: 0,
        twice: 0,
    };
    let (mut model, mut known) = (Model::default(), Known::default());
    let (mut database, mut before): (Option<PathBuf>, Option<PathBuf>) = (None, None);
    for (number, step) in steps.iter().enumerate() {
        model.apply(step);
        known.apply(step);
        if let Step::Database(copy) = step {
            before = database.replace(copy.clone());
        }
        let Some(current) = &database else { continue };
        if matches!(step, Step::Sent(_)) {
            continue;
        }
        tried.points += 1;
        check_contents(&model, &mut rng, &mut tried);
        let what = format!("seed {seed}, after step {number}: {step:?}");
        for state in model.states(Effort::Some, &mut rng) {
            let mut databases = vec![current];
            // The segments that the older database needs are still there.
            if let (Step::Database(_), Some(before)) = (step, &before) {
                databases.push(before);
            }
            for database in databases {
                let dir = scratch();
                lay_out(dir.path(), &state, database);
                let store = EmbeddedStore::open(synced(dir.path())).expect(&what);
                check(&store, &known, &what);
                tried.opened += 1;
            }
            if rng.one_in(effort) {
                let model = Model::of(&state);
                let known = known.clone();
                tried.twice += crash_again(model, &state, current, known, &fresh, &mut rng);
            }
        }
        // Killed, and then the power is cut: the system had what the disk hadn't.
        if matches!(step, Step::Write(..)) || rng.one_in(effort) {
            let killed = model.killed();
            tried.twice += crash_again(
                model.clone(),
                &killed,
                current,
                known.clone(),
                &fresh,
                &mut rng,
            );
        }
    }
    tried
}

#[test]
fn whatever_a_power_cut_leaves_of_the_unsynced_what_was_acknowledged_is_there() {
    for seed in [1, 2] {
        let tried = cut_power_everywhere(seed, 60, 40);
        println!(
            "seed {seed}: {} crash points, {} contents of torn segments, {} states opened, {} after \
             a second crash",
            tried.points, tried.contents, tried.opened, tried.twice
        );
        assert!(tried.points > 100 && tried.contents > 5_000 && tried.twice > 100);
    }
}

#[test]
fn a_database_that_is_ahead_of_its_log_by_any_amount_is_read_as_it_is() {
    let mut rng = Rng::new(5);
    let dir = scratch();
    let (place, copies) = (dir.path().join("store"), dir.path().join("copies"));
    fs::create_dir_all(&copies).unwrap();
    let tape = Tape::recording(&copies);
    let store = open_on(&tape, &place);
    let groups = groups(&mut rng, 60);
    work(&store, &groups, &mut rng);
    store.flush().unwrap();
    let steps = tape.steps();
    drop(store);
    let last = steps.iter().rev().find_map(|step| match step {
        Step::Database(copy) => Some(copy.clone()),
        _ => None,
    });
    let last = last.unwrap();
    let known = Known {
        sure: groups.concat(),
        ..Known::default()
    };
    let mut model = Model::default();
    let mut states = BTreeSet::new();
    for step in &steps {
        model.apply(step);
        states.insert(model.killed());
    }
    assert!(states.len() > 40, "{}", states.len());
    for state in states {
        let dir = scratch();
        lay_out(dir.path(), &state, &last);
        let store = EmbeddedStore::open(synced(dir.path())).unwrap();
        check(&store, &known, "an older log");
    }
}
