//! What comes back from an archive, and what stays away.

use std::fs;

use clap::Parser as _;
use heliograph_protocol::{Event, Timestamp};
use heliograph_testkit::keys::Key;
use serde_json::Value;

use super::{
    super::{import, store::Place},
    Bench, lines,
};
use crate::cli::{Cli, Command, Tool};

impl Bench {
    /// Imports the archive at this moment.
    #[track_caller]
    fn import_archive_at(&self, data: &str, now: Timestamp) {
        let (data, archive) = (self.path(data), self.path("archive"));
        let line = ["heliograph", "--data", &data, "import", &archive];
        let cli = Cli::try_parse_from(line).unwrap();
        let loaded = cli.settings.load_from(std::iter::empty()).unwrap();
        let Some(Command::Tool(Tool::Import(arguments))) = cli.command else {
            panic!("not an import")
        };
        let place = Place::of(&loaded.config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut out = Vec::new();
        let done = runtime.block_on(import::run_at(&arguments, &place, &mut out, now));
        done.unwrap();
    }

    /// Somebody publishes it again.
    #[track_caller]
    fn check_stays_away(&self, data: &str, old: &Event) {
        let file = self.path("again.jsonl");
        fs::write(&file, old.as_str()).unwrap();
        let counts = self.on(data, &["import", "--json", &file]);
        let counts: Value = serde_json::from_str(&counts).unwrap();
        assert_eq!(counts["superseded"], 1, "{counts}");
    }
}

/// Imports these, one after another, each in the database before the next, with an archive run after
/// those that `archived` says.
#[track_caller]
fn history(bench: &Bench, events: &[&Event], archived: &[usize]) {
    for (n, event) in events.iter().enumerate() {
        bench.import(&[event.as_str()], &[]);
        if archived.contains(&n) {
            bench.archive(&[]);
        }
    }
}

#[test]
fn what_was_replaced_by_something_that_is_gone_stays_away() {
    let author = Key::nth(0);
    let old = author.sign(10, 30_023, &[&["d", "x"]], "old");
    let new = author.sign(11, 30_023, &[&["d", "x"]], "new");
    let deletion = author.sign(12, 5, &[&["e", &new.id().to_hex()]], "");
    // The archive never saw the version that replaced the one that it has.
    for archived in [&[0, 2][..], &[0, 1, 2], &[1, 2], &[2]] {
        let bench = Bench::new();
        history(&bench, &[&old, &new, &deletion], archived);
        assert_eq!(bench.run(&["export"]), format!("{}\n", deletion.as_str()));
        bench.on("restored", &["import", &bench.path("archive")]);
        assert_eq!(
            bench.on("restored", &["export"]),
            bench.run(&["export"]),
            "{archived:?}"
        );
        bench.check_stays_away("restored", &old);
    }
}

#[test]
fn what_was_replaced_by_something_that_has_expired_stays_away() {
    let author = Key::nth(0);
    let now = Timestamp::now().as_secs();
    let end = (now + 86_400).to_string();
    let old = author.sign(10, 30_023, &[&["d", "x"]], "old");
    let new = author.sign(11, 30_023, &[&["d", "x"], &["expiration", &end]], "new");
    let bench = Bench::new();
    history(&bench, &[&old, &new], &[0, 1]);
    // It is restored a day after the end.
    let later = Timestamp::from_secs(now + 2 * 86_400);
    bench.import_archive_at("restored", later);
    assert_eq!(bench.on("restored", &["export"]), "");
    bench.check_stays_away("restored", &old);
}

#[test]
fn who_has_vanished_comes_back_only_if_the_archive_of_another_relay_is_asked_for() {
    let bench = Bench::new();
    let relay = ["--set", "relay.url=wss://relay.example.com"];
    let (key, to) = (Key::nth(0), bench.path("archive"));
    let note = key.note(10, "gone");
    let request = key.sign(20, 62, &[&["relay", "wss://relay.example.com"]], "");
    for event in [&note, &request] {
        bench.import(&[event.as_str()], &relay);
        bench.archive(&relay);
    }
    let told = bench.refused();
    for part in [
        "of the relay at wss://relay.example.com",
        "--config",
        "--other-relay",
        "Nothing was imported",
    ] {
        assert!(told.contains(part), "{told}");
    }
    bench.on("same", &[&["import", &to][..], &relay].concat());
    let expected = lines(std::slice::from_ref(&request));
    assert_eq!(bench.on("same", &["export"]), expected);
    bench.on("other", &["import", "--other-relay", &to]);
    assert_eq!(bench.on("other", &["export"]), lines(&[note, request]));
}

#[test]
fn protected_and_private_events_come_back_from_an_archive() {
    let (author, bench) = (Key::nth(0), Bench::new());
    let to = ["p", &Key::nth(1).hex()];
    let events = [
        author.sign(10, 1, &[&["-"]], "protected"),
        author.sign(11, 4, &[&to], "x?iv=x"),
        author.sign(12, 1_059, &[&to], "wrapped"),
    ];
    let text: Vec<&str> = events.iter().map(Event::as_str).collect();
    assert_eq!(bench.import(&text, &["--protected"])["stored"], 3);
    bench.archive(&[]);
    assert_eq!(bench.restored(), lines(&events));
}
