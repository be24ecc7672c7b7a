//! Inflaters that others wrote read what the relay compresses, byte for byte: Chromium's, that of Node's `ws`
//! and that of Python's `websockets`, for the offers that each of them makes.
//!
//! Each with all three ways of compressing: bodies that all share; a window for one connection of many, so that
//! the others get shared bodies although they keep their windows; a window for every connection.
//! What is missing on a machine is skipped with a line, except in CI, where it fails.

use std::{path::PathBuf, process::Command};

use heliograph_protocol::Event;
use heliograph_sandbox::{clients, or_skip};
use heliograph_testkit::{http::request, keys::Key, process::Relay, tool::run};
use serde_json::Value;

use crate::{
    clients::{directory, has_node, install},
    deflate::{events, messages, noise, windows},
    operate::admin,
    support::{array, metric, now, strings},
};

/// Events that compress in different ways, and one of 50 KB that JSON has to escape.
fn all_events() -> Vec<Event> {
    let mut events = events(&Key::nth(0));
    let mixed = format!("{}é😀\u{1}\t\"\\\u{ffff}", noise(3, 500));
    let from = now() - 900;
    events.push(Key::nth(1).note(from, &mixed.repeat(100)));
    events.push(Key::nth(1).note(from + 1, &mixed));
    events
}

/// Runs a script on relays that compress in each way, and compares what it read.
#[track_caller]
fn check(connections: usize, script: impl Fn(&str) -> Command) {
    for (settings, windows_refused) in [
        (vec![], false),
        (vec![windows(1)], true),
        (vec![windows(200)], false),
    ] {
        let set: Vec<&str> = settings.iter().map(String::as_str).collect();
        let relay = Relay::with(&set);
        let events = all_events();
        let lines: Vec<String> = events
            .iter()
            .map(|event| event.as_str().to_owned())
            .collect();
        let report = run(&mut script(&relay.url()), lines.join("\n").as_bytes()).success();
        let report: Value = serde_json::from_str(report.stdout.trim()).expect("a report");
        let report = array(&report);
        assert_eq!(report.len(), connections);
        let mut live = messages("live", &events);
        live.reverse();
        let stored = messages("stored", &events);
        for (nth, connection) in report.iter().enumerate() {
            let extensions = connection["extensions"].as_str().unwrap_or_default();
            let agreed = extensions.starts_with("permessage-deflate");
            assert!(agreed, "{settings:?}, {nth}: {extensions:?}");
            let read = |part: &str| strings(&connection[part]);
            assert!(
                read("live") == live,
                "{settings:?}, {nth}: live events differ"
            );
            assert!(
                read("stored") == stored,
                "{settings:?}, {nth}: stored events differ"
            );
        }
        let response = request(admin(&relay), "GET", "/metrics", &[]);
        let page = response.text();
        let sent = r#"heliograph_client_bytes_total{dir="out",compressed="yes"}"#;
        assert!(metric(page, sent) > 0.0, "nothing was compressed");
        let refused = metric(page, "heliograph_compression_windows_refused_total");
        assert_eq!(refused > 0.0, windows_refused, "{settings:?}");
    }
}

fn script(name: &str) -> PathBuf {
    directory().join(name)
}

#[test]
fn node_ws_reads_compressed_messages_byte_for_byte() {
    if !has_node() {
        return;
    }
    install();
    check(2 * 2 * 5 * 3, |url| {
        let mut node = Command::new("node");
        node.arg(script("inflate-ws.mjs")).arg(url);
        node
    });
}

#[test]
fn python_websockets_reads_compressed_messages_byte_for_byte() {
    let Some(packages) = or_skip(clients::python_websockets()) else {
        return;
    };
    check(2 * 2 * 5 * 4, |url| {
        let mut python = Command::new("python3");
        python.arg(script("inflate-websockets.py")).arg(url);
        python.env("PYTHONPATH", &packages);
        // Beside the script nothing is to be left.
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        python
    });
}

#[test]
fn chromium_reads_compressed_messages_byte_for_byte() {
    if !has_node() {
        return;
    }
    let Some(chromium) = or_skip(clients::chromium()) else {
        return;
    };
    check(4, |url| {
        let mut node = Command::new("node");
        node.arg(script("inflate-chromium.mjs"))
            .arg(url)
            .arg(&chromium);
        node
    });
}
