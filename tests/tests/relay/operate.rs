//! What an operator does to a running relay: looks at it, reloads it.

use std::{net::SocketAddr, path::Path, time::Instant};

use heliograph_protocol::Event;
use heliograph_testkit::{
    PATIENCE,
    http::request,
    keys::Key,
    process::{Relay, command},
    tool::run,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    http::document,
    support::{metric, notes, now},
};

/// Where the admin listener is, as the log says. The log is read beside the standard output, so what
/// was written first may be there a moment later.
#[track_caller]
pub(crate) fn admin(relay: &Relay) -> SocketAddr {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = relay.log();
        let lines = log.lines();
        let mut said = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let started = said.find(|line| line["message"] == "admin listener started");
        if let Some(line) = started {
            return line["addr"].as_str().unwrap().parse().unwrap();
        }
        assert!(Instant::now() < deadline, "no admin listener: {log}");
    }
}

#[test]
fn the_admin_listener_says_alive_ready_and_what_was_done() {
    let relay = Relay::start();
    let admin = admin(&relay);
    for path in ["/startupz", "/livez", "/readyz"] {
        assert_eq!(request(admin, "GET", path, &[]).status, 200, "{path}");
    }
    assert_eq!(request(admin, "GET", "/elsewhere", &[]).status, 404);
    let mut client = relay.client();
    client.accept(&Key::nth(0).note(now(), "counted"));
    assert_eq!(client.query(&[json!({"kinds": [1]})]).events.len(), 1);
    let metrics = request(admin, "GET", "/metrics", &[]);
    let text = metrics.text();
    let stored = r#"heliograph_events_result_total{result="accepted",reason="stored"}"#;
    assert_eq!(metric(text, stored), 1.0);
    assert_eq!(
        metric(text, r#"heliograph_ingest_events_total{outcome="stored"}"#),
        1.0
    );
    assert_eq!(metric(text, "heliograph_connections"), 1.0);
    assert_eq!(metric(text, "heliograph_recent_events"), 1.0);
    assert_eq!(metric(text, "heliograph_verify_valid_total"), 1.0);
    assert_eq!(metric(text, "heliograph_req_rows_returned_sum"), 1.0);
}

#[test]
fn a_relay_without_room_for_connections_is_not_ready() {
    let relay = Relay::with(&["gateway.connections_max=1"]);
    let admin = admin(&relay);
    let ready = || request(admin, "GET", "/readyz", &[]);
    assert_eq!(ready().status, 200);
    let mut client = relay.client();
    // Answered, so it counts.
    client.query(&[json!({"limit": 0})]);
    let answer = ready();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.text(), "connections: at their limit\n");
    drop(client);
    let deadline = Instant::now() + PATIENCE;
    while ready().status != 200 {
        assert!(Instant::now() < deadline, "never ready again");
    }
}

/// Writes a configuration with a limit that the document tells, and more lines of its section.
fn write(file: &Path, limit: u32, lines: &str) {
    let text = format!("[gateway]\n{lines}\nlimit_max = {limit}\nlimit_default = 7\n");
    std::fs::write(file, text).unwrap();
}

/// Waits until the relay has loaded what was written with this limit.
#[track_caller]
fn reloaded(relay: &Relay, limit: u32) {
    let deadline = Instant::now() + PATIENCE;
    while document(relay)["limitation"]["max_limit"] != limit {
        assert!(Instant::now() < deadline, "never reloaded");
    }
}

#[test]
fn sighup_reloads_what_can_change_while_the_relay_runs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    write(&file, 11, "");
    let relay = Relay::configured(&file);
    assert_eq!(document(&relay)["limitation"]["max_limit"], 11);
    write(&file, 12, "");
    relay.signal(Signal::HUP);
    reloaded(&relay, 12);
    std::fs::write(&file, "[gateway]\nlimit_max = 0\n").unwrap();
    relay.signal(Signal::HUP);
    let deadline = Instant::now() + PATIENCE;
    while !relay.log().contains("configuration not reloaded") {
        assert!(Instant::now() < deadline, "never refused");
    }
    assert_eq!(document(&relay)["limitation"]["max_limit"], 12);
    let page = request(admin(&relay), "GET", "/metrics", &[]);
    let failures = "heliograph_config_reload_failures_total";
    assert_eq!(metric(page.text(), failures), 1.0);
}

#[test]
fn a_reloaded_rate_holds_for_connections_that_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    write(&file, 11, "events_per_sec = 1\nevents_burst = 1");
    let relay = Relay::configured(&file);
    let mut client = relay.client();
    let notes = notes(&Key::nth(1), now() - 10, 10);
    let mut publish = |event: &Event| {
        client.send_event(event);
        client.ok(&event.id().to_hex())
    };
    // Until its second event within a second.
    while publish(&notes[0]).0 {}
    let fast = "events_per_sec = 10\nevents_burst = 1000\nevents_per_ip_burst = 1000";
    write(&file, 12, fast);
    relay.signal(Signal::HUP);
    reloaded(&relay, 12);
    for event in &notes {
        let answer = publish(event);
        assert!(answer.0, "{answer:?}");
    }
}

#[test]
fn a_watched_file_reloads_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    write(&file, 11, "");
    let relay = Relay::watching(&file);
    assert_eq!(document(&relay)["limitation"]["max_limit"], 11);
    write(&file, 12, "");
    reloaded(&relay, 12);
}

#[test]
fn without_a_file_there_is_nothing_to_watch() {
    let finished = run(command().arg("--watch"), b"").failure();
    assert_eq!(finished.status.code(), Some(64), "{finished}");
    let wrong = "--watch: there is no file to look at, add --config FILE";
    assert!(finished.stderr.contains(wrong), "{finished}");
}
