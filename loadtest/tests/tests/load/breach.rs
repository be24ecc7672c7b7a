//! Every threshold is seen to fail: one run each against a relay that breaks just what it is for.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use heliograph_loadtest::{BREACH, Ended, Run, Threshold, now, suite, thresholds};
use heliograph_testkit::process::option;

use crate::{
    bed::{RUN_PATIENCE, beside_others, corpus, programs, single, write_corpus},
    cases::{Behind, Case, LATENCY_FACTOR, cases},
    hook::Hook,
    peer::Peer,
    proxy::Proxy,
};

/// Events of the soak profile: those that REQs find, and a few to publish.
const SOAK_EVENTS: u64 = 6_000;

/// Runs at a time: they mostly wait.
const THREADS: usize = 4;

/// The script opens so many connections before it measures: a look whether events are known, first
/// events, a look whether they can be read.
const SET_UP_CONNECTIONS: usize = 3;

/// How long each scenario lasts.
const SECONDS: &str = "3";

fn all() -> Vec<Threshold> {
    thresholds(&suite().join("thresholds.json")).unwrap()
}

/// What the peer can do (NIP-11), which it doesn't say itself.
const PEER: &str = r#"{"name":"peer","supported_nips":[1,77]}"#;

/// Runs a case; `None` where something can't be had for it.
fn run(case: &Case, limit: &Threshold) -> Option<Ended> {
    let programs = programs()?;
    let mut proxy = Proxy::bind();
    let script = "main-signing.js";
    let mut run = Run::new(&programs.signing, script, &[proxy.url()], corpus())
        .option("SCENARIOS", case.scenario)
        .option("SECONDS", SECONDS)
        .option("LATENCY_FACTOR", LATENCY_FACTOR);
    for (name, value) in case.options {
        run = run.option(name, value);
    }
    let rules = case.rules(limit);
    if case.behind == Behind::Peer {
        let peer = Peer::start()?;
        proxy.serve_as(Some(PEER), peer.address, rules, SET_UP_CONNECTIONS);
        return Some(run.finish(RUN_PATIENCE).unwrap());
    }
    let relay = single(&[&format!("relay.url={}", proxy.url())]);
    proxy.serve(relay.address(), rules, SET_UP_CONNECTIONS);
    if case.behind != Behind::Growing {
        return Some(run.finish(RUN_PATIENCE).unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    let many = directory.path().join("corpus.jsonl");
    write_corpus(1, SOAK_EVENTS, now(), &many);
    let bytes = AtomicU64::new(100_000_000);
    thread::scope(|scope| {
        let metrics = Hook::start(scope, || {
            let bytes = bytes.fetch_add(1_000_000, Ordering::Relaxed);
            format!("process_resident_memory_bytes {bytes}\n")
        });
        run = run.option("METRICS_URL", &metrics.url());
        run = run.option("CORPUS", &many.to_string_lossy());
        Some(run.finish(RUN_PATIENCE).unwrap())
    })
}

/// Whether this case is to be run: all are, unless the environment names one by its metric.
fn is_chosen(case: &Case) -> bool {
    let named = option("HELIOGRAPH_CASE");
    named.is_none_or(|named| named == *case.metric)
}

/// What is wrong with a case, if anything.
fn check(case: &Case, thresholds: &[Threshold]) -> Result<(), String> {
    let limit = thresholds.iter().find(|threshold| case.is_for(threshold));
    let limit = limit.ok_or("no such threshold")?;
    let Some(ended) = run(case, limit) else {
        return Ok(());
    };
    let told = |why: String| format!("{why}\n{}", ended.output);
    if ended.status.code() != Some(BREACH) {
        return Err(told(format!("ended with {}", ended.status)));
    }
    let summary = ended.summary().map_err(|error| format!("{error:#}"))?;
    let found: BTreeSet<String> = summary.breached().into_iter().collect();
    let found: BTreeSet<&str> = found
        .iter()
        .filter_map(|breached| breached.split(' ').nth(1))
        .collect();
    let expected: BTreeSet<&str> = case.also.iter().copied().chain([case.metric]).collect();
    if found != expected {
        return Err(told(format!("expected {expected:?}, found {found:?}")));
    }
    Ok(())
}

#[test]
fn every_threshold_has_a_case_and_every_case_a_threshold() {
    let (cases, thresholds) = (cases(), all());
    for threshold in &thresholds {
        let count = cases.iter().filter(|case| case.is_for(threshold)).count();
        assert_eq!(count, 1, "cases for {threshold:?}");
    }
    assert_eq!(cases.len(), thresholds.len());
}

#[test]
fn each_broken_promise_breaches_its_threshold_and_no_other() {
    if programs().is_none() {
        return;
    }
    let (thresholds, cases) = (all(), cases());
    let _turn = beside_others();
    // Made before anybody has to wait for it.
    corpus();
    let queue = Mutex::new(cases.iter().filter(|case| is_chosen(case)));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(case) = next else {
                        return;
                    };
                    if let Err(why) = check(case, &thresholds) {
                        let line = format!("{} {}: {why}", case.scenario, case.metric);
                        failed.lock().unwrap().push(line);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
