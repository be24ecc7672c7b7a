//! Devices that are really full: a limit on the size of files, and a small file system.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use heliograph_protocol::Event;
use heliograph_store::{StoreError, conformance::event};
use rustix::process::{Resource, Rlimit};

use super::{eventually, note, open, options, read, try_write};
use crate::{EmbeddedStore, Options};

const DIR: &str = "HELIOGRAPH_TEST_FULL_DIR";

fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// About 1 KiB of text that doesn't compress well.
fn large(at: u64) -> Arc<Event> {
    let text: String = (0..1_000_u64)
        .map(|n| char::from(b'a' + u8::try_from((n * n * (at + 7) + n * at) % 26).unwrap()))
        .collect();
    event(1, at, 1, &[], &text)
}

fn small_batches(dir: &Path) -> Options {
    Options {
        flush_events: 200,
        map_bytes_initial: 1 << 20,
        sync: true,
        ..options(dir)
    }
}

/// Writes until the store refuses. Returns how many events were acknowledged.
#[track_caller]
fn fill(store: &EmbeddedStore, from: u64) -> u64 {
    for at in from..from + 100_000 {
        match try_write(store, &[large(at)]) {
            Ok(_stored) => {}
            Err(error) => {
                assert_eq!(error, StoreError::Full);
                return at - from;
            }
        }
    }
    panic!("never full");
}

/// The other process: its files can't grow past a limit.
#[test]
#[ignore = "the child of the next test"]
fn child() {
    let Some(dir) = named(DIR) else { return };
    let store = EmbeddedStore::open(small_batches(&dir)).unwrap();
    let stored = fill(&store, 0);
    assert_eq!(read(&store, "{}").len() as u64, stored);
    assert!(!store.stats().broken);
    println!("stored {stored}");
    store.close();
    let store = EmbeddedStore::open(small_batches(&dir)).unwrap();
    assert_eq!(read(&store, "{}").len() as u64, stored);
}

#[test]
fn a_database_that_cannot_grow_refuses_writes_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Blocks of 512 or 1,024 bytes. Ignored signals stay ignored: the write fails instead.
    let script = r#"trap "" XFSZ; ulimit -f 3000; exec "$0" "$@""#;
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tests::full::child", "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let stored = text.lines().find_map(|line| line.split_once("stored "));
    let stored: usize = stored.unwrap().1.trim().parse().unwrap();
    assert!(stored > 400, "{stored}");
    let store = open(dir.path());
    store.flush().unwrap();
    assert_eq!(read(&store, "{}").len(), stored);
    assert_eq!(store.info().unwrap().events, stored as u64);
}

/// The other process: it may have no more address space than now and a little.
#[test]
#[ignore = "the child of the next test"]
fn child_without_address_space() {
    let Some(dir) = named(DIR) else { return };
    let options = Options {
        flush_events: 200,
        map_bytes_initial: 1 << 20,
        ..options(&dir)
    };
    let store = EmbeddedStore::open(options).unwrap();
    try_write(&store, &[note(1, 0)]).unwrap();
    assert_eq!(read(&store, "{}").len(), 1);
    store.flush().unwrap();
    let limit = rustix::process::getrlimit(Resource::As);
    let pages: u64 = fs::read_to_string("/proc/self/statm")
        .unwrap()
        .split_once(' ')
        .and_then(|(pages, _rest)| pages.parse().ok())
        .unwrap();
    let tight = Rlimit {
        current: Some(pages * 4096 + (6 << 20)),
        ..limit
    };
    rustix::process::setrlimit(Resource::As, tight).unwrap();
    let mut stored = 1;
    let refused = loop {
        match try_write(&store, &[large(stored)]) {
            Ok(_stored) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 20_000, "the map never stopped growing");
    };
    assert!(matches!(refused, StoreError::Failed(_)), "{refused}");
    // What is stored can be read, also what is in the database.
    for at in [1, stored / 2, stored - 1] {
        let filter = format!(r#"{{"since":{at},"until":{at}}}"#);
        assert_eq!(read(&store, &filter).len(), 1, "{at}");
    }
    assert!(!store.stats().broken);
    rustix::process::setrlimit(Resource::As, limit).unwrap();
    eventually("address space", || {
        try_write(&store, &[large(stored)]).is_ok()
    });
    store.flush().unwrap();
    assert_eq!(store.info().unwrap().events, stored + 1);
    assert_eq!(read(&store, "{}").len() as u64, stored + 1);
    println!("stored {stored}");
}

#[test]
fn a_map_that_cannot_grow_refuses_writes_and_goes_on_once_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "tests::full::child_without_address_space",
            "--ignored",
            "--nocapture",
        ])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {text}\n{errors}",
        output.status
    );
    assert!(text.contains("stored "), "{text}");
}

/// Takes all the room that is left.
fn take_room(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let mut size = 64 << 10;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
}

/// A file system of 8 MiB, unmounted when dropped.
struct SmallFileSystem(tempfile::TempDir);

impl SmallFileSystem {
    /// `None` where this user may not mount one; in CI that is a failure.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "none"])
            .arg(dir.path())
            .output()
            .unwrap();
        if mount.status.success() {
            return Some(Self(dir));
        }
        let reason = String::from_utf8_lossy(&mount.stderr);
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        println!("skipped: no small file system: {reason}");
        None
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.unwrap().success() || std::thread::panicking());
    }
}

#[test]
fn a_full_file_system_refuses_writes_and_loses_nothing() {
    let Some(small) = SmallFileSystem::mount() else {
        return;
    };
    let [dir, filler, ballast] =
        ["store", "filler", "ballast"].map(|name| small.0.path().join(name));

    // No room from the very beginning, then room.
    take_room(&filler);
    assert!(EmbeddedStore::open(small_batches(&dir)).is_err());
    fs::remove_file(&filler).unwrap();
    fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let store = EmbeddedStore::open(small_batches(&dir)).unwrap();

    let stored = fill(&store, 0);
    assert!(stored > 400, "{stored}");
    assert_eq!(read(&store, "{}").len() as u64, stored);
    assert!(store.compact().is_err());
    assert_eq!(read(&store, "{}").len() as u64, stored);
    store.close();

    // Started while every byte is taken: it reads, and writes once there is room.
    take_room(&filler);
    let store = EmbeddedStore::open(small_batches(&dir)).unwrap();
    assert_eq!(read(&store, "{}").len() as u64, stored);
    assert_eq!(try_write(&store, &[note(9, 9)]), Err(StoreError::Full));
    fs::remove_file(&filler).unwrap();
    fs::remove_file(&ballast).unwrap();
    eventually("room", || try_write(&store, &[note(9, 9)]).is_ok());
    store.flush().unwrap();
    assert_eq!(store.info().unwrap().events, stored + 1);
    assert_eq!(read(&store, "{}").len() as u64, stored + 1);
}
