//! What tests of moving and backing up need: tools that go on while other things happen, publishers
//! that write all the time, and what a store holds.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use heliograph_protocol::Event;
use heliograph_sandbox::{
    process::{Launch, Process},
    wait::within,
};
use heliograph_testkit::{
    client::Client,
    keys::Key,
    process::{binary, conformance_config},
    tool::tool,
};

use crate::support::{Random, now};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Events of one publisher on their way at once.
const WINDOW: usize = 8;

/// Starts a tool on a data directory, with `settings` as `--set` takes them.
#[track_caller]
pub(crate) fn start(log: &Path, data: &Path, settings: &[String], arguments: &[&str]) -> Process {
    let mut all: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    all.extend(["--data".to_owned(), data.display().to_string()]);
    let config = conformance_config();
    all.extend(["--config".to_owned(), config.display().to_string()]);
    for setting in settings {
        all.extend(["--set".to_owned(), setting.clone()]);
    }
    let launch = Launch {
        name: format!("heliograph {}", arguments.first().unwrap_or(&"")),
        program: binary().to_owned(),
        arguments: all.into_iter().map(Into::into).collect(),
        variables: Vec::new(),
        hide_variables: "HELIOGRAPH_",
        directory: log.parent().expect("a file").to_owned(),
        log: log.to_owned(),
    };
    Process::start(&launch).unwrap()
}

/// Waits until a tool has said this.
#[track_caller]
pub(crate) fn wait_until_said(process: &Process, text: &str) {
    let said = |process: &Process| process.output().contains(text);
    process.wait_until(text, PATIENCE, said).unwrap();
}

/// Everything that a store holds: the wire form of each by id.
#[track_caller]
pub(crate) fn exported(data: &Path) -> BTreeMap<String, String> {
    let out = tool(data, &["export"], b"").success();
    let lines = out.stdout.lines().map(|line| {
        let event = Event::parse(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        (event.id().to_hex(), event.as_str().to_owned())
    });
    lines.collect()
}

/// What comes of an archive in an empty store.
#[track_caller]
pub(crate) fn restored(archive: &Path, data: &Path) -> BTreeMap<String, String> {
    tool(data, &["import", path(archive)], b"").success();
    exported(data)
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Publishers that write all the time.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    /// Whether no version of an address is deleted by its id.
    by_address: bool,
    over: AtomicBool,
    accepted: AtomicUsize,
}

/// Ends the writing, also when the test fails.
#[derive(Debug)]
pub(crate) struct Over<'a>(&'a Writing);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// What got its OK true, and what got none.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) accepted: Vec<Event>,
    pub(crate) unsure: Vec<Event>,
}

impl Writing {
    /// Deletes versions of addresses only by the address.
    pub(crate) fn by_address() -> Self {
        Self {
            by_address: true,
            ..Self::default()
        }
    }

    pub(crate) fn guard(&self) -> Over<'_> {
        Over(self)
    }

    /// Waits until so many more events were accepted.
    #[track_caller]
    pub(crate) fn progress(&self, events: usize) {
        let end = self.accepted.load(Ordering::Relaxed) + events;
        within(PATIENCE, "progress", || {
            (self.accepted.load(Ordering::Relaxed) >= end).then_some(())
        });
    }

    /// Publishes over the connections that `connect` makes until it is over: notes, private messages,
    /// versions of addresses, deletions of both. A connection that is lost is made anew.
    pub(crate) fn publish(&self, connect: &dyn Fn() -> Client, key: &Key, seed: u64) -> Written {
        let mut random = Random::seeded(seed);
        let mut written = Written::default();
        let mut client = connect();
        let mut number = 0;
        while !self.over.load(Ordering::Relaxed) {
            let events: Vec<Event> = (0..WINDOW)
                .map(|_| {
                    number += 1;
                    self.next(key, &mut random, &written.accepted, number)
                })
                .collect();
            events.iter().for_each(|event| client.send_event(event));
            for event in events {
                let (accepted, text) = client.ok(&event.id().to_hex());
                if accepted {
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    written.accepted.push(event);
                } else {
                    written.unsure.push(event);
                    // Deleted before it came, by what was sent with it.
                    let known = ["error:", "blocked:", "duplicate:"];
                    assert!(
                        known.iter().any(|prefix| text.starts_with(prefix)),
                        "{text}"
                    );
                }
            }
        }
        written
    }

    fn next(&self, key: &Key, random: &mut Random, before: &[Event], number: u64) -> Event {
        let (at, text) = (now(), number.to_string());
        let d = random.below(5).to_string();
        let other = Key::nth(900).hex();
        let address = format!("30023:{}:{d}", key.hex());
        match random.below(20) {
            0..10 => key.sign(at, 1, &[&["t", "moving"]], &text),
            10..12 => key.sign(at, 4, &[&["p", &other]], &text),
            12..14 => key.sign(at, 1_059, &[&["p", &other]], &text),
            14..16 => key.sign(at, 30_023, &[&["d", &d]], &text),
            16 => key.sign(at, 0, &[], &text),
            17 => key.sign(at, 5, &[&["a", &address]], &text),
            _ => {
                let recent = &before[before.len().saturating_sub(60)..];
                let target = |event: &&Event| !self.by_address || event.address().is_none();
                let targets: Vec<&Event> = recent.iter().filter(target).collect();
                match targets.is_empty() {
                    true => key.sign(at, 1, &[], &text),
                    false => {
                        let id = random.pick(&targets).id().to_hex();
                        key.sign(at, 5, &[&["e", &id]], &text)
                    }
                }
            }
        }
    }
}

/// A directory of a test, with names in it.
#[derive(Debug)]
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
