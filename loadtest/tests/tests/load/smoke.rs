//! The smoke profile, thresholds on: against one process with stock k6, against two gateways with the
//! k6 that signs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use heliograph_loadtest::{Ended, Metric, Run, Summary, now, suite, thresholds};
use heliograph_sandbox::cluster::Role;

use crate::{
    bed::{RUN_PATIENCE, alone, assert_code, cluster, corpus, programs, single, write_corpus},
    hook::Hook,
};

/// How long the smoke profile may take.
const SMOKE_TIME: Duration = Duration::from_secs(60);

/// What the relay itself can't do.
const NO_SYNC: (&str, &str) = (
    "negentropy",
    "the relay's information document doesn't name NIP-77",
);

/// What stock k6 can't do.
const NO_SIGNATURES: (&str, &str) = (
    "auth",
    "needs signatures: run main-signing.js with the k6 that loadtest/k6 builds",
);

/// The result of a run that kept to everything: each scenario done, or skipped for one of these
/// reasons.
#[track_caller]
fn check(ended: &Ended, skipped: &[(&str, &str)]) -> Summary {
    assert_code(ended, 0);
    assert!(ended.took < SMOKE_TIME, "it took {:?}", ended.took);
    let summary = ended.summary().unwrap();
    let expected: BTreeMap<String, String> = skipped
        .iter()
        .map(|(name, why)| ((*name).to_owned(), (*why).to_owned()))
        .collect();
    assert_eq!(summary.skipped, expected);
    check_thresholds(&summary);
    let text = ended.read("summary.md").unwrap();
    for (name, scenario) in &summary.scenarios {
        assert!(text.contains(&format!("\n## {name}\n")), "{text}");
        for metric in scenario.metrics.keys() {
            assert!(text.contains(&format!("| {metric} |")), "{text}");
        }
    }
    summary
}

/// All thresholds of `thresholds.json` were looked at, but for what was skipped.
#[track_caller]
fn check_thresholds(summary: &Summary) {
    let all = thresholds(&suite().join("thresholds.json")).unwrap();
    // That of the generator is for long runs.
    let wanted = all
        .iter()
        .filter(|one| one.scenario != "generator" && !summary.skipped.contains_key(&one.scenario));
    let wanted: BTreeSet<(&str, &str)> = wanted.map(|one| (&*one.scenario, &*one.metric)).collect();
    let found: BTreeSet<(&str, &str)> = summary
        .scenarios
        .iter()
        .flat_map(|(name, scenario)| {
            let verdicts = scenario.thresholds.iter();
            verdicts.map(|one| (&**name, &*one.metric))
        })
        .collect();
    assert_eq!(found, wanted);
    assert_eq!(summary.breached(), Vec::<String>::new());
}

#[track_caller]
fn count(summary: &Summary, scenario: &str, metric: &str) -> f64 {
    let metric = summary.scenarios[scenario].metrics.get(metric);
    metric.map_or(0.0, Metric::count)
}

/// Times that 64 KiB or more waited for a client when its socket was written to.
#[track_caller]
fn long_queues(page: &str) -> u64 {
    let bucket = |bound: &str| {
        let series = format!("heliograph_outbound_queue_bytes_bucket{{le=\"{bound}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&*series));
        let value = value.and_then(|value| value.parse::<u64>().ok());
        value.unwrap_or_else(|| panic!("no {series}in\n{page}"))
    };
    bucket("+Inf") - bucket("65536.0")
}

#[test]
fn one_process_keeps_to_everything_with_stock_k6() {
    let Some(programs) = programs() else {
        return;
    };
    let _turn = alone();
    let relay = single(&[]);
    let run = Run::new(&programs.stock, "main.js", &[relay.url()], corpus())
        .option("COMMIT", "abc123")
        .option("MACHINE", "a machine")
        .option("CONFIG_HASH", "def456")
        .option("METRICS_URL", &format!("http://{}/metrics", relay.admin()));
    let ended = run.finish(RUN_PATIENCE).unwrap();
    let summary = check(&ended, &[NO_SYNC, NO_SIGNATURES]);
    assert_eq!(summary.format, 1);
    assert_eq!(summary.generator, "k6 v1.8.1");
    assert_eq!(summary.profile, "smoke");
    assert_eq!(summary.targets, [relay.url()]);
    let software = summary.relay.software.unwrap_or_default();
    assert!(software.contains("heliograph"), "{software}");
    assert_eq!(summary.commit.as_deref(), Some("abc123"));
    assert_eq!(summary.machine.as_deref(), Some("a machine"));
    assert_eq!(summary.config_hash.as_deref(), Some("def456"));
}

#[test]
fn a_slow_reader_makes_the_relays_own_queue_grow() {
    let Some(programs) = programs() else {
        return;
    };
    let _turn = alone();
    let relay = single(&[]);
    let run = |scenario: &str, corpus| {
        let run = Run::new(&programs.stock, "main.js", &[relay.url()], corpus)
            .option("SCENARIOS", scenario)
            .option("SECONDS", "3");
        assert_code(&run.finish(RUN_PATIENCE).unwrap(), 0);
        long_queues(&relay.metrics().unwrap())
    };
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("corpus.jsonl");
    write_corpus(2, 4_000, now(), &other);
    // The same without anybody slow.
    assert_eq!(run("fan_out", corpus()), 0);
    assert!(run("slow_readers", &other) > 0);
}

#[test]
fn two_gateways_keep_to_everything_and_to_it_when_one_is_killed() {
    let Some(programs) = programs() else {
        return;
    };
    let _turn = alone();
    let Some(cluster) = cluster() else {
        return;
    };
    let urls = [cluster.gateway_url(0), cluster.gateway_url(1)];
    let script = "main-signing.js";
    let run = Run::new(&programs.signing, script, &urls, corpus());
    let summary = check(&run.finish(RUN_PATIENCE).unwrap(), &[NO_SYNC]);
    assert_eq!(summary.targets, urls);
    assert!(summary.generator_cpu.is_some());

    // Another one, as all of the first is known now.
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("corpus.jsonl");
    write_corpus(2, 4_000, now(), &other);
    let killed = std::thread::scope(|scope| {
        let hook = Hook::start(scope, || {
            cluster.kill(Role::Gateway, 0);
            String::new()
        });
        let run = Run::new(&programs.signing, script, &urls, &other)
            .option("SCENARIOS", "reconnect_storm")
            .option("KILL_URL", &hook.url());
        run.finish(RUN_PATIENCE).unwrap()
    });
    assert!(
        cluster.ended(Role::Gateway, 0).is_some(),
        "nobody was killed"
    );
    assert_code(&killed, 0);
    let summary = killed.summary().unwrap();
    let metric = |name| count(&summary, "reconnect_storm", name);
    // Of twenty readers half hang on it.
    assert_eq!(metric("reconnect_lost"), 10.0);
    assert_eq!(metric("reconnect_ms"), 10.0);
    assert_eq!(metric("reconnect_failed"), 0.0);
    assert_eq!(metric("reconnect_gap"), 0.0);
    assert_eq!(metric("reconnect_unacked"), 0.0);
}
