//! The tools on a data directory, without a process around them.

mod archives;
mod restores;

use std::{fs, path::Path};

use clap::Parser as _;
use heliograph_protocol::Event;
use heliograph_testkit::keys::Key;
use serde_json::Value;
use tempfile::TempDir;

use super::dispatch;
use crate::cli::{Cli, Command};

/// A directory with a store in `data` and room for files beside it.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir
            .path()
            .join(name)
            .to_str()
            .expect("a plain path")
            .to_owned()
    }

    /// Runs a tool on the store `data` and returns what it printed, also if it failed.
    fn try_on(&self, data: &str, arguments: &[&str]) -> (anyhow::Result<()>, String) {
        let data = self.path(data);
        let line = ["heliograph", "--data", &data]
            .into_iter()
            .chain(arguments.iter().copied());
        let cli = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
        let loaded = cli
            .settings
            .load_from(std::iter::empty())
            .expect("a valid configuration");
        let Some(Command::Tool(tool)) = cli.command else {
            panic!("not a tool")
        };
        let mut out = Vec::new();
        let done = dispatch(tool, &loaded, &mut out);
        (done, String::from_utf8(out).expect("tools print text"))
    }

    #[track_caller]
    fn on(&self, data: &str, arguments: &[&str]) -> String {
        let (done, out) = self.try_on(data, arguments);
        done.unwrap_or_else(|error| panic!("{error:#}\n{out}"));
        out
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        self.on("data", arguments)
    }

    /// Imports these lines and returns the counts.
    #[track_caller]
    fn import(&self, lines: &[&str], flags: &[&str]) -> Value {
        let file = self.path("import.jsonl");
        fs::write(&file, lines.join("\n")).expect("room for it");
        let out = self.run(&[&["import", "--json", &file], flags].concat());
        serde_json::from_str(&out).expect("one JSON object")
    }

    #[track_caller]
    fn import_events(&self, events: &[Event]) {
        let lines: Vec<_> = events.iter().map(Event::as_str).collect();
        assert_eq!(self.import(&lines, &[])["stored"], lines.len());
    }
}

fn notes(count: u64) -> Vec<Event> {
    (0..count)
        .map(|n| Key::nth(0).note(1_700_000_000 + n, "hello"))
        .collect()
}

fn lines(events: &[Event]) -> String {
    events
        .iter()
        .rev()
        .map(|event| format!("{}\n", event.as_str()))
        .collect()
}

#[test]
fn every_line_of_an_import_is_answered() {
    let (author, bench) = (Key::nth(0), Bench::new());
    let events = [
        author.sign(20, 0, &[], "newer"),
        author.sign(10, 0, &[], "older"),
        author.sign(10, 1, &[&["expiration", "11"]], ""),
        author.sign(10, 20_001, &[], ""),
        author.sign(10, 22_242, &[], ""),
        author.sign(10, 1, &[&["-"]], ""),
        author.sign(10, 13, &[&["a seal has no tags"]], ""),
    ];
    let forged = author
        .note(10, "forged")
        .as_str()
        .replace("\"sig\":\"", "\"sig\":\"00");
    let forged = format!("{}\"}}", &forged[..forged.len() - 4]);
    let mut all: Vec<_> = events.iter().map(Event::as_str).collect();
    all.extend(["", "  ", "rubbish", &forged]);
    let counts = bench.import(&all, &[]);
    for (name, expected) in [
        ("lines", 9),
        ("stored", 1),
        ("superseded", 1),
        ("expired", 1),
        ("ephemeral", 1),
        ("authentication", 1),
        ("protected", 1),
        ("bad", 3),
    ] {
        assert_eq!(counts[name], expected, "{name} in {counts}");
    }
}

#[test]
fn importing_again_changes_nothing() {
    let (events, bench) = (notes(3), Bench::new());
    bench.import_events(&events);
    let lines: Vec<_> = events.iter().map(Event::as_str).collect();
    let counts = bench.import(&lines, &[]);
    assert_eq!(
        (&counts["stored"], &counts["duplicate"]),
        (&0.into(), &3.into())
    );
}

#[test]
fn protected_events_are_imported_if_the_operator_says_so() {
    let bench = Bench::new();
    let event = Key::nth(0).sign(10, 1, &[&["-"]], "");
    assert_eq!(
        bench.import(&[event.as_str()], &["--protected"])["stored"],
        1
    );
}

#[test]
fn old_events_are_imported_whatever_their_age() {
    let bench = Bench::new();
    bench.import_events(&[Key::nth(0).note(1, ""), Key::nth(0).note(4_000_000_000, "")]);
}

#[test]
fn an_export_imports_to_the_same_set_in_every_format() {
    let (events, bench) = (notes(700), Bench::new());
    bench.import_events(&events);
    for name in ["all.jsonl", "all.jsonl.gz", "all.jsonl.zst"] {
        let file = bench.path(name);
        bench.run(&["export", "-o", &file]);
        let copy = format!("copy of {name}");
        bench.on(&copy, &["import", &file]);
        assert!(bench.on(&copy, &["export"]) == lines(&events), "{name}");
    }
}

#[test]
fn compressed_files_are_smaller_and_no_partial_file_stays() {
    let bench = Bench::new();
    bench.import_events(&notes(100));
    let size = |name: &str| {
        let file = bench.path(name);
        bench.run(&["export", "--output", &file]);
        assert!(!Path::new(&format!("{file}.partial")).exists());
        fs::metadata(file).expect("it was written").len()
    };
    let plain = size("x.jsonl");
    assert!(size("x.gz") < plain && size("x.zst") < plain);
}

#[test]
fn an_export_into_the_store_is_refused() {
    let bench = Bench::new();
    bench.import_events(&notes(1));
    let (done, _) = bench.try_on("data", &["export", "-o", &bench.path("data/log/x")]);
    assert!(
        done.unwrap_err()
            .to_string()
            .contains("inside of the store")
    );
}

#[test]
fn since_and_until_narrow_the_filter() {
    let (events, bench) = (notes(10), Bench::new());
    bench.import_events(&events);
    let (since, until) = ("1700000003", "1700000006");
    assert_eq!(
        bench.run(&["export", "--since", since, "--until", until]),
        lines(&events[3..=6])
    );
    let filter = r#"{"since":1700000005,"until":1700000008}"#;
    let out = bench.run(&[
        "export", "--filter", filter, "--since", since, "--until", until,
    ]);
    assert_eq!(out, lines(&events[5..=6]));
}

#[test]
fn a_query_prints_the_newest_first_up_to_its_limit() {
    let (events, bench) = (notes(1_100), Bench::new());
    bench.import_events(&events);
    assert_eq!(
        bench.run(&["query", r#"{"limit":2}"#]),
        lines(&events[1_098..])
    );
    assert_eq!(bench.run(&["query", r#"{"limit":0}"#]), "");
    assert_eq!(bench.run(&["query", r#"{"kinds":[7]}"#]), "");
    assert_eq!(bench.run(&["count", r#"{"limit":2}"#]), "1100\n");
}

#[test]
fn a_dry_run_prints_what_would_go_and_removes_nothing() {
    let (events, bench) = (notes(5), Bench::new());
    bench.import_events(&events);
    let filter = r#"{"since":1700000002}"#;
    assert_eq!(
        bench.run(&["delete", "--filter", filter, "--dry-run"]),
        lines(&events[2..])
    );
    assert_eq!(bench.run(&["count", "{}"]), "5\n");
}

#[test]
fn deleting_removes_the_matches_and_nothing_else() {
    let (events, bench) = (notes(5), Bench::new());
    bench.import_events(&events);
    let out = bench.run(&[
        "delete",
        "--filter",
        r#"{"since":1700000001,"limit":2}"#,
        "--yes",
    ]);
    assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["removed", "2"]);
    assert_eq!(bench.run(&["export"]), lines(&events[..3]));
}

#[test]
fn deleting_without_a_terminal_needs_yes() {
    let bench = Bench::new();
    bench.import_events(&notes(1));
    // With a terminal, as when a person runs this test, it would ask.
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let (done, _) = bench.try_on("data", &["delete", "--filter", "{}"]);
        assert!(done.unwrap_err().to_string().contains("add --yes"));
    }
    assert_eq!(bench.run(&["count", "{}"]), "1\n");
}

#[test]
fn info_counts_events_and_kinds() {
    let bench = Bench::new();
    bench.import_events(&[notes(2), vec![Key::nth(1).sign(5, 7, &[], "+")]].concat());
    let info: Value = serde_json::from_str(&bench.run(&["info", "--json"])).expect("JSON");
    assert_eq!((&info["events"], &info["oldest"]), (&3.into(), &5.into()));
    assert_eq!(info["kinds"], serde_json::json!({"1": 2, "7": 1}));
    assert!(
        bench.run(&["info"]).contains("\n1                    2\n"),
        "{}",
        bench.run(&["info"])
    );
}

#[test]
fn compacting_keeps_every_event() {
    let (events, bench) = (notes(50), Bench::new());
    bench.import_events(&events);
    bench.run(&["delete", "--filter", r#"{"until":1700000024}"#, "--yes"]);
    assert!(bench.run(&["compact"]).starts_with("bytes before"));
    assert_eq!(bench.run(&["export"]), lines(&events[25..]));
}

#[test]
fn a_repair_of_what_is_whole_changes_nothing() {
    let (events, bench) = (notes(5), Bench::new());
    bench.import_events(&events);
    assert_eq!(bench.run(&["repair"]), "the log is not damaged\n");
    assert_eq!(bench.run(&["export"]), lines(&events));
}

#[test]
fn a_store_in_use_says_by_whom_and_what_to_do() {
    let bench = Bench::new();
    bench.import_events(&notes(1));
    let options = heliograph_store_embedded::Options::new(bench.path("data"));
    let store = heliograph_store_embedded::EmbeddedStore::open(options).expect("it is free");
    let file = bench.path("import.jsonl");
    let (done, _) = bench.try_on("data", &["import", &file]);
    let message = done.unwrap_err().to_string();
    let pid = format!("in use by process {}", std::process::id());
    assert!(
        message.contains(&pid) && message.contains("Stop it first"),
        "{message}"
    );
    store.close();
    bench.run(&["import", &file]);
}

#[test]
fn tools_that_need_a_store_do_not_make_one() {
    let bench = Bench::new();
    for arguments in [
        &["info"][..],
        &["count", "{}"],
        &["compact"],
        &["repair"],
        &["delete", "--filter", "{}", "--yes"],
    ] {
        let (done, _) = bench.try_on("absent", arguments);
        assert!(
            done.unwrap_err()
                .to_string()
                .starts_with("there is no store in")
        );
    }
    let (done, _) = bench.try_on("absent", &["import", &bench.path("no such file")]);
    assert!(format!("{:#}", done.unwrap_err()).contains("can't read"));
    assert!(!Path::new(&bench.path("absent")).exists());
}

#[test]
fn an_input_that_ends_early_fails_with_the_counts_so_far() {
    let bench = Bench::new();
    bench.import_events(&notes(400));
    let file = bench.path("all.gz");
    bench.run(&["export", "-o", &file]);
    let bytes = fs::read(&file).expect("it was written");
    fs::write(&file, &bytes[..bytes.len() / 2]).expect("room for it");
    let (done, out) = bench.try_on("other", &["import", "--json", &file]);
    assert!(
        done.unwrap_err()
            .to_string()
            .contains("the input ends early")
    );
    let counts: Value = serde_json::from_str(&out).expect("JSON");
    let stored = counts["stored"].as_u64().expect("a number");
    assert!(stored > 0 && stored < 400, "{counts}");
}

#[test]
fn config_print_loads_again() {
    let bench = Bench::new();
    let file = bench.path("config.toml");
    fs::write(&file, bench.run(&["config", "print"])).expect("room for it");
    assert_eq!(
        bench.run(&["--config", &file, "config", "check"]),
        "the configuration is valid\n"
    );
}

#[test]
fn only_a_closed_output_ends_quietly() {
    use std::io::{Error, ErrorKind};
    let quiet = |kind| super::is_closed_output(&Error::from(kind).into());
    assert!(quiet(ErrorKind::BrokenPipe));
    assert!(!quiet(ErrorKind::StorageFull));
}
