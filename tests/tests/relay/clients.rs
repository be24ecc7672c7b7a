//! A client library that others wrote: nostr-tools, from npm, against the binary.
//!
//! `tests/clients` has the script and its locked dependencies; they are installed by `npm ci` when
//! they are missing. Without node this is skipped with a line, except in CI, where it fails.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use heliograph_testkit::{
    process::{Relay, option, workspace},
    tool::run,
};

use crate::tls_bed::Certificate;

pub(crate) fn directory() -> PathBuf {
    workspace().join("tests/clients")
}

pub(crate) fn has_node() -> bool {
    let works = Command::new("node")
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success());
    assert!(works || option("CI").is_none(), "CI needs node");
    if !works {
        println!("skipped: node is not installed");
    }
    works
}

/// Installs the locked packages once.
pub(crate) fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        if !directory()
            .join("node_modules/nostr-tools/package.json")
            .is_file()
        {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund"])
                .current_dir(directory());
            run(&mut npm, b"").success();
        }
    });
}

#[track_caller]
fn check_script(name: &str, url: &str, authority: Option<&Path>) {
    install();
    let mut node = Command::new("node");
    node.arg(directory().join(name)).arg(url);
    if let Some(authority) = authority {
        node.env("NODE_EXTRA_CA_CERTS", authority);
    }
    let report = run(&mut node, b"").success();
    println!("{}", report.stdout);
}

#[test]
fn nostr_tools_publishes_queries_counts_authenticates_and_subscribes() {
    if !has_node() {
        return;
    }
    // The library names the URL that it connected to when it authenticates.
    let relay = Relay::with(&["relay.url=[]"]);
    check_script("nostr-tools.mjs", &relay.url(), None);
}

#[test]
fn nostr_tools_does_all_that_over_tls() {
    if !has_node() {
        return;
    }
    let certificate = Certificate::new();
    let relay = Relay::with(&certificate.settings(&["relay.url=[]"]));
    let url = format!("wss://{}", relay.address());
    check_script("nostr-tools.mjs", &url, Some(&certificate.file()));
}
