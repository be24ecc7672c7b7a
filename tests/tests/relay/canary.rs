//! A canary that watches a relay in one process.

use std::fs;

use heliograph_sandbox::http;
use heliograph_testkit::{
    keys::Key,
    process::{Relay, command, conformance_config},
    tool::{Finished, run},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::canary_bed::{Canary, arguments};

/// Where nobody listens.
const NOBODY: &str = "ws://127.0.0.1:1";

/// Longer than anything takes on a busy machine.
const PATIENT: &str = "canary.deadline_ms=20000";

#[track_caller]
fn once(publish: &str, read: &[&str], settings: &[&str]) -> Finished {
    let mut command = command();
    command.args(arguments(publish, read, settings));
    run(command.arg("--once"), b"")
}

#[test]
fn a_canary_publishes_reads_and_reads_again() {
    let relay = Relay::start();
    let key = Key::from_secret([7; 32]);
    let secret = format!("canary.secret_key={}", "07".repeat(32));
    let canary = Canary::start(&relay.url(), &[&relay.url()], &[PATIENT, &secret]);
    canary.until("deliveries", |canary| canary.delivered(0) >= 5.0);
    canary.until("audits", |canary| canary.value("audited_total") >= 3.0);
    assert!(canary.published("accepted") >= 5.0);
    assert!(canary.value("publish_seconds_count") >= 5.0);
    assert!(canary.value("last_success_timestamp_seconds") > 0.0);
    for series in ["lost_total", "audit_skipped_total"] {
        assert_eq!(canary.value(series), 0.0, "{series}");
    }
    assert_eq!(canary.missing(0), 0.0);
    assert!(http::is_ok(canary.admin, "/livez"));

    let stored = relay
        .client()
        .query(&[json!({"authors": [key.hex()], "limit": 3})]);
    assert_eq!(stored.events.len(), 3);
    for event in &stored.events {
        assert_eq!(event.kind().as_u16(), 1166);
        let expires = event.created_at().plus(600).to_string();
        assert!(event.values("expiration").any(|at| at == expires));
    }
    assert!(canary.terminate().success());
}

#[test]
fn an_unreachable_relay_is_missing_probes_and_the_log_says_so_once() {
    let relay = Relay::start();
    let url = relay.url();
    let canary = Canary::start(&url, &[&url, NOBODY], &["canary.deadline_ms=1000"]);
    canary.until("missing probes", |canary| canary.missing(1) >= 5.0);
    canary.until("deliveries", |canary| canary.delivered(0) >= 5.0);
    assert_eq!(canary.delivered(1), 0.0);
    assert_eq!(canary.value("connected{via=\"1\"}"), 0.0);
    let log = canary.process.output();
    let told = log
        .lines()
        .filter(|line| line.contains("probes are missing"));
    assert_eq!(
        told.filter(|line| line.contains("\"via\":1")).count(),
        1,
        "{log}"
    );
}

#[test]
fn a_relay_that_wants_to_know_its_readers_and_writers_is_told() {
    let relay = Relay::with(&[
        "relay.url=",
        "auth.required_to_read=true",
        "auth.required_to_write=true",
    ]);
    let canary = Canary::start(&relay.url(), &[&relay.url()], &[PATIENT]);
    canary.until("deliveries", |canary| canary.delivered(0) >= 3.0);
    canary.until("audits", |canary| canary.value("audited_total") >= 3.0);
    assert_eq!(canary.published("refused"), 0.0);
    assert_eq!(canary.missing(0), 0.0);
}

#[test]
fn a_rate_limit_refuses_probes_and_blames_no_reader() {
    let relay = Relay::with(&["gateway.events_per_sec=1", "gateway.events_burst=1"]);
    let canary = Canary::start(&relay.url(), &[&relay.url()], &[PATIENT]);
    canary.until("refusals", |canary| canary.published("refused") >= 5.0);
    canary.until("deliveries", |canary| canary.delivered(0) >= 2.0);
    assert_eq!(canary.missing(0), 0.0);
    assert_eq!(canary.published("error"), 0.0);
}

#[test]
fn sighup_changes_how_often_it_publishes() {
    let relay = Relay::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("canary.toml");
    let write = |interval: u32| {
        let url = relay.url();
        let text = format!(
            "[canary]\npublish = \"{url}\"\nread = [\"{url}\"]\ninterval_ms = {interval}\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n"
        );
        fs::write(&file, text).unwrap();
    };
    write(60_000);
    let arguments = ["canary".into(), "--config".into(), file.clone().into()];
    let canary = Canary::launch(arguments.to_vec());
    canary.until("the first probe", |canary| canary.delivered(0) >= 1.0);
    write(100);
    let pid = i32::try_from(canary.process.pid()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::HUP).unwrap();
    canary.more_delivered(0, 3.0);
}

#[test]
fn a_canary_that_stood_still_blames_nobody() {
    let relay = Relay::start();
    let url = relay.url();
    let canary = Canary::start(&url, &[&url], &["canary.deadline_ms=5000"]);
    let clock = Canary::start(&url, &[&url], &[PATIENT]);
    canary.until("deliveries", |canary| canary.delivered(0) >= 3.0);
    canary.process.pause();
    // Ten a second: longer than the deadline of the one that stands still.
    let before = clock.published("accepted");
    clock.until("time to pass", |clock| {
        clock.published("accepted") >= before + 70.0
    });
    canary.process.resume();
    canary.more_delivered(0, 5.0);
    let log = canary.process.output();
    assert!(log.contains("the canary stood still"), "{log}");
    assert_eq!(canary.missing(0), 0.0);
    assert_eq!(canary.published("error"), 0.0);
}

#[test]
fn once_says_whether_a_relay_works() {
    let relay = Relay::start();
    let url = relay.url();
    let good = once(&url, &[&url, &url], &[PATIENT]).success();
    let start = format!("3 probes through {url} came to 2 of 2 readers within ");
    assert!(good.stdout.starts_with(&start), "{good}");

    let quick = "canary.deadline_ms=1000";
    let bad = once(&url, &[&url, NOBODY], &[quick]).failure();
    assert_eq!(bad.status.code(), Some(1), "{bad}");
    let wrong = format!("3 of 3 didn't come to {NOBODY} within 1 s");
    assert!(bad.stderr.contains(&wrong), "{bad}");
}

#[test]
fn once_reads_through_each_address_of_a_name() {
    let relay = Relay::start();
    let url = relay.url();
    let mut command = command();
    command.args(arguments(&url, &[&url], &[PATIENT]));
    let good = run(command.args(["--once", "--each-address"]), b"").success();
    assert!(good.stdout.contains(" came to 1 of 1 readers "), "{good}");

    let mut command = self::command();
    let nowhere = "ws://relay.invalid:7777";
    command.args(arguments(&url, &[nowhere], &[PATIENT]));
    let bad = run(command.args(["--once", "--each-address"]), b"").failure();
    let wrong = format!("canary.read: {nowhere} has no address");
    assert!(bad.stderr.contains(&wrong), "{bad}");
}

#[test]
fn once_compares_advertised_limits_with_configured_ones() {
    let settings = ["gateway.limit_max=300", "gateway.limit_default=100"];
    let relay = Relay::with(&settings);
    let url = relay.url();
    let look = |limit: &'static str| {
        // What the relay was started with, but for one limit.
        let settings = [PATIENT, "gateway.limit_default=100", limit];
        let mut command = command();
        command.arg("--config").arg(conformance_config());
        command.args(arguments(&url, &[&url], &settings));
        run(command.args(["--once", "--check-limits"]), b"")
    };
    let good = look(settings[0]).success();
    assert!(
        good.stdout
            .ends_with("limits are advertised as configured\n"),
        "{good}"
    );
    let bad = look("gateway.limit_max=400").failure();
    let wrong = format!("{url} advertises max_limit 300, 400 is configured");
    assert!(bad.stderr.contains(&wrong), "{bad}");
}

#[test]
fn a_canary_that_isn_t_told_where_the_relay_is_does_not_start() {
    for (settings, key) in [
        (&[][..], "canary.publish"),
        (
            &["--set", "canary.publish=ws://127.0.0.1:1"][..],
            "canary.read",
        ),
    ] {
        let mut command = command();
        command
            .args(["canary", "--set", "admin.listen="])
            .args(settings);
        let finished = run(&mut command, b"").failure();
        assert!(finished.stderr.contains(key), "{finished}");
    }
}
