//! Events that other people wrote, from the file that `HELIOGRAPH_REAL_EVENTS` names (JSONL, gzip).
//! They are not part of this repository; without the variable these tests say that they skip.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use heliograph_protocol::Event;
use heliograph_testkit::{
    client::Client,
    process::{Relay, option},
    tool::tool,
};
use serde_json::json;

pub(crate) const LINES: usize = 6_686;

/// What a relay without limits of age and size keeps of the file: what NIP-01 replaces, NIP-09
/// deletes, NIP-40 ends and ephemeral kinds left out.
pub(crate) const KEPT: usize = 6_063;

/// How many of those are protected, so that only their author can hand them in (R70-1, R70-2).
pub(crate) const PROTECTED: usize = 1;

/// The file, or `None` after saying so.
pub(crate) fn file() -> Option<PathBuf> {
    let path = option("HELIOGRAPH_REAL_EVENTS").map(PathBuf::from);
    if path.is_none() {
        println!("skipped: HELIOGRAPH_REAL_EVENTS is not set");
    }
    path
}

pub(crate) fn lines(path: &Path) -> Vec<String> {
    let file = std::fs::File::open(path).expect("HELIOGRAPH_REAL_EVENTS names a file");
    let mut text = String::new();
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("gzip of UTF-8");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), LINES);
    lines
}

/// The wire form of each by id.
pub(crate) fn by_id(lines: impl IntoIterator<Item = impl AsRef<str>>) -> BTreeMap<String, String> {
    let event = |line: &str| Event::parse(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let events = lines.into_iter().map(|line| event(line.as_ref()));
    events
        .map(|event| (event.id().to_hex(), event.as_str().to_owned()))
        .collect()
}

/// Everything that a store holds, by id.
fn exported(data: &Path) -> BTreeMap<String, String> {
    let out = tool(data, &["export"], b"").success();
    let count = out.stdout.lines().count();
    let events = by_id(out.stdout.lines());
    assert_eq!(events.len(), count, "an event was exported twice");
    let texts: BTreeSet<&str> = out.stdout.lines().collect();
    assert!(
        events.values().all(|text| texts.contains(&**text)),
        "a line isn't in wire form"
    );
    events
}

#[track_caller]
fn check_kept(stored: &BTreeMap<String, String>, all: &BTreeMap<String, String>, kept: usize) {
    for (id, text) in stored {
        assert_eq!(all.get(id), Some(text), "not the bytes that came in");
    }
    assert_eq!(stored.len(), kept);
}

#[test]
fn importing_them_answers_every_line_and_keeps_what_the_rules_keep() {
    let Some(path) = file() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let path_text = path.to_str().expect("UTF-8");
    let report = tool(&data, &["import", path_text, "--json"], b"").success();
    let counts: BTreeMap<String, usize> = serde_json::from_str(&report.stdout).unwrap();
    println!("{counts:?}");
    assert_eq!(counts["lines"], LINES, "every line is answered");
    assert_eq!((counts["bad"], counts["protected"]), (0, PROTECTED));
    let all = by_id(lines(&path));
    check_kept(&exported(&data), &all, KEPT - PROTECTED);

    // With the operator's word the protected one comes too.
    tool(&data, &["import", path_text, "--protected"], b"").success();
    let first = exported(&data);
    check_kept(&first, &all, KEPT);

    // Exported and imported again it is the same set, in any order.
    let again = directory.path().join("again");
    let mut text: Vec<&str> = first.values().map(String::as_str).collect();
    text.reverse();
    tool(
        &again,
        &["import", "-", "--protected"],
        text.join("\n").as_bytes(),
    )
    .success();
    assert!(
        exported(&again) == first,
        "export and import made another set"
    );
}

/// Publishes every line and waits for every answer, of which only those to protected events may be
/// for want of authentication.
#[track_caller]
pub(crate) fn publish(client: &mut Client, lines: &[String]) {
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for part in lines.chunks(200) {
        for line in part {
            client.send(&format!(r#"["EVENT",{line}]"#));
        }
        for line in part {
            let id = Event::parse(line).unwrap().id().to_hex();
            let (accepted, text) = client.ok(&id);
            *answers.entry(format!("{accepted} {text}")).or_default() += 1;
        }
    }
    println!("{answers:?}");
    assert_eq!(answers.values().sum::<usize>(), LINES);
    let refused = answers
        .iter()
        .filter(|(answer, _)| answer.starts_with("false auth-required: "));
    assert_eq!(refused.map(|(_, count)| count).sum::<usize>(), PROTECTED);
    let failed = |answer: &&String| answer.starts_with("false error: ");
    assert_eq!(
        answers.keys().find(failed),
        None,
        "some could not be stored"
    );
}

#[test]
fn publishing_them_answers_every_event_and_keeps_what_the_rules_keep() {
    let Some(path) = file() else { return };
    let lines = lines(&path);
    let all = by_id(&lines);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let settings = ["gateway.message_bytes_max=1048576", "shutdown.drain_secs=0"];
    let mut relay = Relay::on(&data, &settings);
    let mut client = relay.client();
    publish(&mut client, &lines);
    // Some of the kept ones are private and not for this reader, hence the export.
    assert!(
        client
            .count("c", &[json!({"kinds": [1]})])
            .is_ok_and(|count| count > 1_000)
    );
    relay.terminate();
    assert!(relay.exit().success());
    check_kept(&exported(&data), &all, KEPT - PROTECTED);
}
