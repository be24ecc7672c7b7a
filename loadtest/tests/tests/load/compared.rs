//! Two results side by side.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use heliograph_loadtest::{Run, suite};
use heliograph_testkit::{
    process::option,
    tool::{Finished, run},
};
use serde_json::{Value, json};

use crate::bed::{RUN_PATIENCE, assert_code, beside_others, corpus, programs, single};

/// Whether there is node. In CI there is.
pub(crate) fn has_node() -> bool {
    let works = Command::new("node").arg("--version").output();
    let works = works.is_ok_and(|out| out.status.success());
    assert!(works || option("CI").is_none(), "CI needs node");
    if !works {
        println!("skipped: node is not installed");
    }
    works
}

fn compare(old: &Path, new: &Path, most: &str) -> Finished {
    let mut node = Command::new("node");
    node.arg(suite().join("compare.mjs"));
    node.args([old, new]).args(["--most", most]);
    run(&mut node, b"")
}

#[track_caller]
fn check(finished: &Finished, code: i32) {
    assert_eq!(finished.status.code(), Some(code), "{finished}");
}

#[test]
fn the_scripts_pass_their_own_tests() {
    if !has_node() {
        return;
    }
    let entries = fs::read_dir(suite()).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let is_test = |file: &PathBuf| file.to_string_lossy().ends_with(".test.mjs");
    let tests: Vec<PathBuf> = files.filter(is_test).collect();
    assert!(tests.len() >= 3, "{tests:?}");
    let mut node = Command::new("node");
    node.arg("--test").args(&tests);
    run(&mut node, b"").success();
}

#[test]
fn two_real_results_are_compared() {
    let Some(programs) = programs() else {
        return;
    };
    let _turn = beside_others();
    if !has_node() {
        return;
    }
    let measure = || {
        let relay = single(&[]);
        let run = Run::new(&programs.stock, "main.js", &[relay.url()], corpus())
            .option("SCENARIOS", "connect_storm,fan_out")
            .option("SECONDS", "2");
        let ended = run.finish(RUN_PATIENCE).unwrap();
        assert_code(&ended, 0);
        ended
    };
    let (old, new) = (measure(), measure());
    let (old, new) = (old.file("summary.json"), new.file("summary.json"));
    // Times on a busy machine differ by any factor, but by none this large.
    let table = compare(&old, &new, "1000000");
    check(&table, 0);
    assert!(table.stdout.contains("| fan_out |"), "{table}");
    check(&compare(&old, &old, "0"), 0);

    let mut worse: Value = serde_json::from_str(&fs::read_to_string(&old).unwrap()).unwrap();
    worse["scenarios"]["fan_out"]["metrics"]["delivery_missing"]["count"] = json!(1);
    fs::write(&new, worse.to_string()).unwrap();
    let found = compare(&old, &new, "10");
    check(&found, 1);
    assert!(found.stdout.contains("delivery_missing"), "{found}");
    worse["profile"] = json!("load");
    fs::write(&new, worse.to_string()).unwrap();
    check(&compare(&old, &new, "10"), 2);
}
