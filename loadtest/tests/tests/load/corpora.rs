//! A corpus that would give a wrong result is refused before any load, with what to do.

use std::{fs, path::Path};

use heliograph_loadtest::{BREACH, Ended, Run, now};

use crate::bed::{RUN_PATIENCE, programs, single, write_corpus};

const DAY: u64 = 24 * 3_600;

/// Runs the smoke profile with this corpus.
fn run(corpus: &Path) -> Option<Ended> {
    let relay = single(&[]);
    let program = &programs()?.stock;
    let run = Run::new(program, "main.js", &[relay.url()], corpus);
    Some(run.finish(RUN_PATIENCE).unwrap())
}

/// The corpus is refused with these words, and with the command that makes another.
#[track_caller]
fn check(corpus: &Path, words: &str) {
    let Some(ended) = run(corpus) else {
        return;
    };
    let code = ended.status.code().expect("it ends by itself");
    assert!(code != 0 && code != BREACH, "{code}: {}", ended.output);
    assert!(ended.output.contains(words), "{}", ended.output);
    let command = "heliograph corpus --seed";
    assert!(ended.output.contains(command), "{}", ended.output);
}

#[test]
fn a_stale_corpus_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corpus.jsonl");
    write_corpus(1, 4_000, now() - 30 * DAY, &file);
    check(&file, "is stale: its newest event is 30.0 days old");
}

#[test]
fn a_corpus_of_the_future_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corpus.jsonl");
    write_corpus(1, 4_000, now() + 2 * DAY, &file);
    check(&file, "is of the future");
}

#[test]
fn a_corpus_that_is_too_small_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corpus.jsonl");
    write_corpus(1, 400, now(), &file);
    check(&file, "400 events are too few for profile smoke");
}

#[test]
fn what_is_no_corpus_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corpus.jsonl");
    fs::write(&file, "{\"id\":\"abc\"}\n").unwrap();
    check(&file, "line 1 is no event of a corpus");
    fs::write(&file, "").unwrap();
    check(&file, "");
    check(&directory.path().join("elsewhere.jsonl"), "can't be read");
}
