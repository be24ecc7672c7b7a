//! Following a store: everything comes, once, and a place of another store is told from one of this.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
};

use heliograph_protocol::{Event, EventId, Timestamp};
use heliograph_store::conformance::{self, event};

use super::{copy_dir, note, open, options, write};
use crate::{Changes, EmbeddedReader, EmbeddedStore, FollowError, Options, VacantSeat};

const CHILD: &str = "HELIOGRAPH_TEST_CHANGES";

/// The other process: one opens a database once.
#[test]
#[ignore = "the child of the other tests"]
#[expect(
    clippy::disallowed_methods,
    reason = "how the parent tells its child that it is one"
)]
fn child() {
    if std::env::var(CHILD).is_err() {
        return;
    }
    let mut open: Option<(Changes, EmbeddedReader)> = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let said = match (words.as_slice(), &mut open) {
            (["open", dir, place], _) => {
                // A process may have a database open once.
                drop(open.take());
                let reader = EmbeddedReader::open(Path::new(dir), conformance::relay_urls());
                let reader = reader.unwrap();
                let place = (*place != "-").then(|| place.parse().unwrap());
                let changes = reader.changes(place.as_ref()).unwrap();
                open = changes.map(|changes| (changes, reader));
                open.is_some().to_string()
            }
            (["next"], Some((changes, _reader))) => match changes.next(3) {
                Ok(changed) => {
                    let ids = changed.events.iter().map(|event| event.id().to_hex());
                    let ids: Vec<String> = ids.collect();
                    format!("{} {} {}", changed.caught_up, changed.cursor, ids.join(" "))
                }
                Err(error) => error.to_string(),
            },
            (["tail"], Some((changes, _reader))) => changes.is_tail_complete().to_string(),
            (["seats"], Some((_changes, reader))) => {
                let mut seats = reader.vacant_seats();
                // One at a time: none is left out between two looks.
                let slices = std::iter::from_fn(|| seats.next(1).unwrap());
                let keys = slices.flatten().map(|seat| format!("{:?}", seat.key));
                keys.collect()
            }
            (["in-use"], Some((_changes, reader))) => reader.is_in_use().unwrap().to_string(),
            other => panic!("{other:?}"),
        };
        println!("said {said}.");
    }
}

/// Who follows a store, in another process.
struct Follower {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Follower {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::changes::child",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            ask,
            answers,
        }
    }

    fn ask(&mut self, text: &str) -> String {
        writeln!(self.ask, "{text}").unwrap();
        loop {
            let mut line = String::new();
            let length = self.answers.read_line(&mut line).unwrap();
            assert!(length > 0, "the child ended");
            if let Some((_before, said)) = line.trim_end().split_once("said ") {
                return said.strip_suffix('.').unwrap().to_owned();
            }
        }
    }

    /// Whether this is a place in the store.
    fn open(&mut self, dir: &Path, place: &str) -> bool {
        self.ask(&format!("open {} {place}", dir.display())) == "true"
    }

    fn next(&mut self) -> (bool, String, Vec<EventId>) {
        let said = self.ask("next");
        changed(&said)
    }

    /// What comes before something that can't be read.
    fn until_damaged(&mut self) -> Vec<EventId> {
        let mut all = Vec::new();
        loop {
            let said = self.ask("next");
            if said.contains("damaged data") {
                return all;
            }
            let (caught_up, _place, ids) = changed(&said);
            assert!(!caught_up, "it was read");
            all.extend(ids);
        }
    }

    /// Everything that is new, and the place behind it.
    fn drain(&mut self) -> (Vec<EventId>, String) {
        let mut all = Vec::new();
        loop {
            let (caught_up, place, ids) = self.next();
            all.extend(ids);
            if caught_up {
                return (all, place);
            }
        }
    }
}

/// What the child says of what came.
fn changed(said: &str) -> (bool, String, Vec<EventId>) {
    let mut words = said.split_whitespace();
    let caught_up = words.next() == Some("true");
    let place = words.next().unwrap().to_owned();
    let id = |hex: &str| EventId::from_hex(hex.as_bytes()).unwrap();
    (caught_up, place, words.map(id).collect())
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may be over already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Follows from a place in the store.
#[track_caller]
fn follow(dir: &Path, place: &str) -> Follower {
    let mut follower = Follower::start();
    assert!(follower.open(dir, place), "not a place in it");
    follower
}

fn ids(events: &[Arc<Event>]) -> HashSet<EventId> {
    events.iter().map(|event| *event.id()).collect()
}

#[track_caller]
fn check_once(found: &[EventId], expected: &[Arc<Event>]) {
    let set: HashSet<EventId> = found.iter().copied().collect();
    assert_eq!(set, ids(expected));
    assert_eq!(set.len(), found.len(), "an event came twice");
}

fn notes(range: std::ops::Range<u64>) -> Vec<Arc<Event>> {
    range.map(|at| note(1, at)).collect()
}

#[test]
fn what_is_in_the_database_and_in_the_log_comes_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &notes(1..20));
    store.flush().unwrap();
    write(&store, &notes(20..30));
    let mut changes = follow(dir.path(), "-");
    check_once(&changes.drain().0, &notes(1..30));
    // The same events go from the log into the database.
    write(&store, &notes(30..40));
    check_once(&changes.drain().0, &notes(30..40));
    store.flush().unwrap();
    check_once(&changes.drain().0, &[]);
    write(&store, &notes(40..45));
    store.flush().unwrap();
    write(&store, &notes(45..50));
    check_once(&changes.drain().0, &notes(40..50));
    store.close();
    check_once(&changes.drain().0, &[]);
}

#[test]
fn who_comes_back_gets_what_is_new_and_what_was_only_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &notes(1..20));
    store.flush().unwrap();
    write(&store, &notes(20..25));
    let (_all, place) = follow(dir.path(), "-").drain();
    write(&store, &notes(25..30));
    store.flush().unwrap();
    let (found, end) = follow(dir.path(), &place).drain();
    check_once(&found, &notes(20..30));
    check_once(&follow(dir.path(), &end).drain().0, &[]);
}

#[test]
fn events_that_were_replaced_or_deleted_in_the_log_come_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old = event(1, 10, 30_023, &[&["d", "x"]], "old");
    let new = event(1, 11, 30_023, &[&["d", "x"]], "new");
    let deletion = event(1, 12, 5, &[&["e", &new.id().to_hex()]], "");
    let all = [old, new, deletion];
    write(&store, &all);
    check_once(&follow(dir.path(), "-").drain().0, &all);
}

#[test]
fn numbers_are_not_given_out_again_after_removals_and_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let events = notes(1..30);
    write(&store, &events);
    store.flush().unwrap();
    let (_all, place) = follow(dir.path(), "-").drain();
    let newest = events[10..].iter().map(|event| *event.id()).collect();
    assert_eq!(store.remove(newest).unwrap(), 19);
    store.compact().unwrap();
    write(&store, &notes(100..105));
    store.flush().unwrap();
    check_once(&follow(dir.path(), &place).drain().0, &notes(100..105));
    store.close();
    let store = open(dir.path());
    write(&store, &notes(105..107));
    store.flush().unwrap();
    check_once(&follow(dir.path(), &place).drain().0, &notes(100..107));
}

#[test]
fn a_compaction_does_not_interrupt_who_follows() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &notes(1..10));
    store.flush().unwrap();
    let mut changes = follow(dir.path(), "-");
    changes.drain();
    store.compact().unwrap();
    write(&store, &notes(10..20));
    check_once(&changes.drain().0, &notes(10..20));
    store.flush().unwrap();
    store.compact().unwrap();
    check_once(&changes.drain().0, &[]);
}

#[test]
fn a_place_is_not_taken_for_one_in_a_copy_that_went_another_way() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, copy) = (dir.path().join("ours"), dir.path().join("copy"));
    let fill = |dir: &Path, events: &[Arc<Event>]| {
        let store = open(dir);
        write(&store, events);
        store.close();
        follow(dir, "-").drain().1
    };
    let before = fill(&ours, &notes(1..10));
    copy_dir(&ours, &copy);
    let after = fill(&ours, &notes(10..20));
    // The copy gives out the same numbers for other events, and more of them.
    assert!(!Follower::start().open(&copy, &after));
    fill(&copy, &notes(20..50));
    assert!(!Follower::start().open(&copy, &after));
    // What both have in common is a place in both.
    let mut changes = follow(&copy, &before);
    check_once(&changes.drain().0, &notes(20..50));
    let mut changes = follow(&ours, &before);
    check_once(&changes.drain().0, &notes(10..20));
    let empty = dir.path().join("empty");
    open(&empty).close();
    assert!(!Follower::start().open(&empty, &before));
}

#[test]
fn nothing_is_missed_while_another_thread_writes_and_the_database_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Options {
        flush_events: 7,
        ..options(dir.path())
    })
    .unwrap();
    let mut changes = follow(dir.path(), "-");
    let events = notes(1..1_500);
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for part in events.chunks(5) {
                write(&store, part);
            }
        });
        while !writer.is_finished() {
            found.extend(changes.next().2);
        }
    });
    found.extend(changes.drain().0);
    check_once(&found, &events);
}

#[test]
fn a_write_that_was_cut_off_the_log_is_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &notes(1..5));
    let mut changes = follow(dir.path(), "-");
    changes.drain();
    // Something stands there that is no record, then it is gone and another write comes.
    let segment = newest_segment(dir.path());
    let good = fs::read(&segment).unwrap();
    fs::write(&segment, [good.as_slice(), b"no record at all"].concat()).unwrap();
    check_once(&changes.drain().0, &[]);
    fs::write(&segment, &good[..good.len() - 3]).unwrap();
    check_once(&changes.drain().0, &[]);
    fs::write(&segment, &good).unwrap();
    check_once(&changes.drain().0, &[]);
    drop(store);
}

/// The segment of the log that is written.
fn newest_segment(dir: &Path) -> PathBuf {
    let segments = fs::read_dir(dir.join("log")).unwrap();
    segments.map(|entry| entry.unwrap().path()).max().unwrap()
}

#[test]
fn who_follows_is_told_that_another_store_stands_there() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, copy) = (dir.path().join("ours"), dir.path().join("copy"));
    let fill = |dir: &Path, events: &[Arc<Event>]| {
        let store = open(dir);
        write(&store, events);
        store.close();
    };
    fill(&ours, &notes(1..10));
    copy_dir(&ours, &copy);
    fill(&ours, &notes(10..20));
    fill(&copy, &notes(20..50));
    let mut changes = follow(&ours, "-");
    check_once(&changes.drain().0, &notes(1..20));
    fs::rename(&ours, dir.path().join("aside")).unwrap();
    fs::rename(&copy, &ours).unwrap();
    let exchanged = FollowError::Exchanged.to_string();
    assert_eq!(changes.ask("next"), exchanged);
    assert_eq!(changes.ask("next"), exchanged, "it was told once only");
    // And an empty one.
    fs::remove_dir_all(&ours).unwrap();
    open(&ours).close();
    assert_eq!(changes.ask("next"), exchanged);
}

#[test]
fn nothing_is_said_of_a_log_whose_database_was_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &notes(1..5));
    store.flush().unwrap();
    let mut changes = follow(dir.path(), "-");
    check_once(&changes.drain().0, &notes(1..5));
    assert_eq!(changes.ask("tail"), "true");
    store.compact().unwrap();
    assert_eq!(changes.ask("tail"), "false");
    check_once(&changes.drain().0, &[]);
    assert_eq!(changes.ask("tail"), "true");
}

#[test]
fn what_was_read_before_something_that_cannot_be_read_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Options {
        sync: true,
        ..options(dir.path())
    })
    .unwrap();
    write(&store, &notes(1..3));
    store.flush().unwrap();
    write(&store, &notes(3..5));
    let mut changes = follow(dir.path(), "-");
    check_once(&changes.drain().0, &notes(1..5));
    // These come from the database, ...
    store.flush().unwrap();
    write(&store, &notes(5..7));
    store.flush().unwrap();
    // ... and these from the log, of which one record is damaged for a while.
    write(&store, &notes(7..9));
    let segment = newest_segment(dir.path());
    let good_bytes = fs::metadata(&segment).unwrap().len();
    write(&store, &notes(9..10));
    write(&store, &notes(10..12));
    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[usize::try_from(good_bytes).unwrap() + 20] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let mut found = changes.until_damaged();
    fs::write(&segment, &whole).unwrap();
    found.extend(changes.drain().0);
    check_once(&found, &notes(5..12));
    // The same where a part of the segment had been read.
    write(&store, &notes(12..14));
    let good_bytes = fs::metadata(&segment).unwrap().len();
    write(&store, &notes(14..15));
    write(&store, &notes(15..16));
    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[usize::try_from(good_bytes).unwrap() + 20] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let mut found = changes.until_damaged();
    fs::write(&segment, &whole).unwrap();
    found.extend(changes.drain().0);
    check_once(&found, &notes(12..16));
}

#[test]
fn it_shows_whether_a_relay_uses_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut reader = follow(dir.path(), "-");
    assert_eq!(reader.ask("in-use"), "true");
    assert_eq!(reader.ask("in-use"), "true", "looking changed it");
    store.close();
    assert_eq!(reader.ask("in-use"), "false");
    open(dir.path()).close();
}

#[test]
fn seats_of_what_was_deleted_or_has_expired_are_vacant() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let stays = event(1, 10, 30_023, &[&["d", "stays"]], "");
    let deleted = event(1, 10, 30_023, &[&["d", "deleted"]], "");
    let expired = event(
        1,
        10,
        30_023,
        &[&["d", "expired"], &["expiration", "11"]],
        "",
    );
    let deletion = event(1, 12, 5, &[&["e", &deleted.id().to_hex()]], "");
    write(&store, &[stays, Arc::clone(&deleted), Arc::clone(&expired)]);
    store.flush().unwrap();
    write(&store, &[deletion]);
    store.flush().unwrap();
    store.purge_expired(Timestamp::from_secs(20), 10).unwrap();
    let vacant = follow(dir.path(), "-").ask("seats");
    let left = |event: &Event| VacantSeat::left_by(event).unwrap();
    let mut keys = [left(&deleted).key, left(&expired).key];
    keys.sort_unstable();
    assert_eq!(vacant, format!("{:?}{:?}", keys[0], keys[1]));
    let older = event(1, 9, 30_023, &[&["d", "deleted"]], "older");
    let newer = event(1, 11, 30_023, &[&["d", "deleted"]], "newer");
    assert!(left(&deleted).is_better_than(&older));
    assert!(!left(&deleted).is_better_than(&newer));
    assert!(!left(&deleted).is_better_than(&deleted));
}
