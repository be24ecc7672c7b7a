//! The data tools on a small corpus, with the relay stopped and beside a running one.

use std::{io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use heliograph_protocol::Event;
use heliograph_testkit::{
    keys::Key,
    process::Relay,
    tool::{Finished, tool},
};
use serde_json::json;

use crate::support::{accept_all, ids, notes};

struct Corpus {
    directory: tempfile::TempDir,
    events: Vec<Event>,
}

impl Corpus {
    /// Ten notes of each of three keys, newest first.
    fn new() -> Self {
        let mut events: Vec<Event> = (0..3)
            .flat_map(|n| notes(&Key::nth(n), 1_700_000_000, 10))
            .collect();
        events.sort_by_key(Event::position);
        Self {
            directory: tempfile::tempdir().unwrap(),
            events,
        }
    }

    fn data(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    fn text(&self) -> String {
        let lines: Vec<&str> = self.events.iter().map(Event::as_str).collect();
        lines.join("\n") + "\n"
    }

    /// A store that holds the corpus.
    fn imported() -> Self {
        let corpus = Self::new();
        tool(&corpus.data(), &["import", "-"], corpus.text().as_bytes()).success();
        corpus
    }

    fn of(&self, author: usize) -> Vec<Event> {
        let author = Key::nth(author).public();
        self.events
            .iter()
            .filter(|event| *event.pubkey() == author)
            .cloned()
            .collect()
    }
}

/// The ids of events printed one a line, each line being the wire form.
#[track_caller]
fn printed(finished: &Finished) -> Vec<String> {
    let event = |line: &str| {
        let event = Event::parse(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(event.as_str(), line);
        event.id().to_hex()
    };
    finished.stdout.lines().map(event).collect()
}

#[track_caller]
fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[test]
fn import_takes_files_plain_and_compressed() {
    let corpus = Corpus::new();
    let plain = corpus.directory.path().join("events.jsonl");
    let gzip = corpus.directory.path().join("events.jsonl.gz");
    std::fs::write(&plain, corpus.text()).unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(corpus.text().as_bytes()).unwrap();
    std::fs::write(&gzip, encoder.finish().unwrap()).unwrap();
    for path in [plain, gzip] {
        let data = path.with_extension("data");
        let report = tool(&data, &["import", path.to_str().unwrap()], b"").success();
        assert!(report.to_string().contains("30"), "{report}");
        let out = tool(&data, &["export"], b"").success();
        assert_eq!(sorted(printed(&out)), sorted(ids(&corpus.events)));
    }
}

#[test]
fn import_reports_a_bad_line_with_its_number_and_goes_on() {
    let corpus = Corpus::new();
    let mut lines: Vec<String> = corpus.text().lines().map(str::to_owned).collect();
    lines.insert(2, "{\"not\":\"an event\"}".to_owned());
    lines.insert(10, "rubbish".to_owned());
    let forged = lines[20].replace("\"kind\":1", "\"kind\":2");
    lines.insert(15, forged);
    lines.insert(16, String::new());
    let report = tool(
        &corpus.data(),
        &["import", "-"],
        (lines.join("\n")).as_bytes(),
    );
    let said = format!("{}{}", report.stdout, report.stderr);
    for number in [3, 11, 16] {
        assert!(
            said.lines()
                .any(|line| line.contains(&format!("line {number}:"))),
            "line {number} isn't named: {report}"
        );
    }
    assert!(
        !said.contains("line 17:"),
        "an empty line is no event: {report}"
    );
    let out = tool(&corpus.data(), &["export"], b"").success();
    assert_eq!(sorted(printed(&out)), sorted(ids(&corpus.events)));
}

#[test]
fn importing_again_changes_nothing() {
    let corpus = Corpus::imported();
    let report = tool(&corpus.data(), &["import", "-"], corpus.text().as_bytes()).success();
    assert!(report.to_string().contains("duplicate"), "{report}");
    let out = tool(&corpus.data(), &["count", "{}"], b"").success();
    assert_eq!(out.stdout.trim(), "30");
}

#[test]
fn import_of_a_missing_file_fails_and_says_which() {
    let corpus = Corpus::new();
    let report = tool(&corpus.data(), &["import", "/nowhere/events.jsonl"], b"").failure();
    assert!(report.stderr.contains("/nowhere/events.jsonl"), "{report}");
}

#[test]
fn export_takes_a_filter_and_bounds() {
    let corpus = Corpus::imported();
    let data = corpus.data();
    let filter = json!({"authors": [Key::nth(1).hex()]}).to_string();
    let out = tool(&data, &["export", "--filter", &filter], b"").success();
    assert_eq!(sorted(printed(&out)), sorted(ids(&corpus.of(1))));
    let bounds = ["export", "--since", "1700000003", "--until", "1700000004"];
    let out = tool(&data, &bounds, b"").success();
    let within =
        |event: &&Event| matches!(event.created_at().as_secs(), 1_700_000_003..=1_700_000_004);
    assert_eq!(
        sorted(printed(&out)),
        sorted(ids(corpus.events.iter().filter(within)))
    );
}

#[test]
fn query_prints_matches_newest_first() {
    let corpus = Corpus::imported();
    let filter = json!({"authors": [Key::nth(1).hex()], "limit": 3}).to_string();
    let out = tool(&corpus.data(), &["query", &filter], b"").success();
    assert_eq!(printed(&out), ids(&corpus.of(1)[..3]));
}

#[test]
fn a_filter_that_can_not_be_read_is_an_error_with_a_reason() {
    let corpus = Corpus::imported();
    for command in ["query", "count"] {
        let report = tool(&corpus.data(), &[command, r#"{"kinds":["1"]}"#], b"").failure();
        assert!(report.stderr.contains("kinds"), "{report}");
    }
}

#[test]
fn count_prints_a_number() {
    let corpus = Corpus::imported();
    let out = tool(&corpus.data(), &["count", r#"{"until":1700000004}"#], b"").success();
    assert_eq!(out.stdout.trim(), "15");
}

#[test]
fn a_dry_run_of_delete_prints_what_would_go_and_deletes_nothing() {
    let corpus = Corpus::imported();
    let filter = json!({"authors": [Key::nth(1).hex()]}).to_string();
    let report = tool(
        &corpus.data(),
        &["delete", "--filter", &filter, "--dry-run"],
        b"",
    )
    .success();
    assert_eq!(printed(&report), ids(&corpus.of(1)));
    assert!(report.stderr.contains("10"), "{report}");
    let out = tool(&corpus.data(), &["count", "{}"], b"").success();
    assert_eq!(out.stdout.trim(), "30");
}

#[test]
fn delete_without_a_terminal_wants_to_be_told_twice() {
    let corpus = Corpus::imported();
    let report = tool(&corpus.data(), &["delete", "--filter", "{}"], b"").failure();
    assert!(report.stderr.contains("--yes"), "{report}");
    let out = tool(&corpus.data(), &["count", "{}"], b"").success();
    assert_eq!(out.stdout.trim(), "30");
}

#[test]
fn delete_removes_what_matches() {
    let corpus = Corpus::imported();
    let filter = json!({"authors": [Key::nth(1).hex()]}).to_string();
    tool(
        &corpus.data(),
        &["delete", "--filter", &filter, "--yes"],
        b"",
    )
    .success();
    let out = tool(&corpus.data(), &["export"], b"").success();
    let left = [corpus.of(0), corpus.of(2)].concat();
    assert_eq!(sorted(printed(&out)), sorted(ids(&left)));
}

#[test]
fn info_says_how_many_events_of_which_kind_in_how_many_bytes() {
    let corpus = Corpus::imported();
    let out = tool(&corpus.data(), &["info"], b"").success();
    let said = out.stdout.to_lowercase();
    for word in ["events", "30", "bytes", "kind"] {
        assert!(said.contains(word), "{word}: {out}");
    }
}

#[test]
fn compact_keeps_every_event() {
    let corpus = Corpus::imported();
    tool(&corpus.data(), &["compact"], b"").success();
    let out = tool(&corpus.data(), &["export"], b"").success();
    assert_eq!(sorted(printed(&out)), sorted(ids(&corpus.events)));
    let relay = Relay::on(&corpus.data(), &[]);
    assert_eq!(relay.client().count("c", &[json!({})]), Ok(30));
}

/// A tool beside a relay does its work, or says that a relay runs and leaves everything alone.
#[track_caller]
fn check_beside(relay: &Relay, data: &Path, arguments: &[&str], stdin: &[u8]) {
    let report = tool(data, arguments, stdin);
    if !report.status.success() {
        let said = report.stderr.to_lowercase();
        assert!(
            said.contains("running") || said.contains("in use"),
            "{arguments:?}: {report}"
        );
    }
    assert_eq!(relay.client().fence(), [], "the relay is as well as before");
}

#[test]
fn reading_tools_work_while_the_relay_runs() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let relay = Relay::on(&data, &["store.flush_interval_ms=10"]);
    let mut client = relay.client();
    let events = notes(&Key::nth(0), 1_700_000_000, 10);
    accept_all(&mut client, &events);
    for arguments in [
        &["count", "{}"][..],
        &["export"],
        &["query", "{}"],
        &["info"],
    ] {
        check_beside(&relay, &data, arguments, b"");
    }
}

#[test]
fn writing_tools_say_why_not_while_the_relay_runs() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let relay = Relay::on(&data, &[]);
    let event = Key::nth(0).note(1_700_000_000, "from a file");
    let everything = ["delete", "--filter", "{}", "--yes"];
    for arguments in [&["import", "-"][..], &everything, &["compact"]] {
        let report = tool(&data, arguments, event.as_str().as_bytes()).failure();
        let said = report.stderr.to_lowercase();
        assert!(
            said.contains("running") || said.contains("in use"),
            "{arguments:?}: {report}"
        );
    }
    let mut client = relay.client();
    assert_eq!(client.query(&[json!({})]).events, []);
    client.accept(&event);
}

#[test]
fn a_second_relay_on_the_same_directory_says_why_not() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let relay = Relay::on(&data, &[]);
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--set",
        "admin.listen=127.0.0.1:0",
    ];
    let report = tool(&data, &arguments, b"").failure();
    let said = report.stderr.to_lowercase();
    assert!(
        said.contains("running") || said.contains("in use"),
        "{report}"
    );
    assert_eq!(relay.client().fence(), []);
}
