//! A running relay takes a changed `ConfigMap` as its file changes in the pod (15).

use std::{fs, net::SocketAddr, os::unix::fs::symlink, path::Path, time::Duration};

use heliograph_sandbox::wait;
use heliograph_testkit::{http::request, process::Relay};
use serde_json::Value;

use crate::support::{single, str_of};

const PATIENCE: Duration = Duration::from_secs(60);

/// The configuration of the one process with these values.
fn rendered(set: &[&str]) -> String {
    let manifest = single(set);
    let map = manifest.of_role("ConfigMap", "standalone").next();
    str_of(&map.expect("a ConfigMap")["data"]["heliograph.toml"]).to_owned()
}

/// Puts a version of the file in place as a kubelet does: beside the one before, then at once.
fn publish(volume: &Path, version: &str, text: &str) {
    let directory = volume.join(version);
    fs::create_dir(&directory).expect("a directory");
    fs::write(directory.join("heliograph.toml"), text).expect("a file");
    let draft = volume.join("..data_tmp");
    symlink(version, &draft).expect("a link");
    fs::rename(draft, volume.join("..data")).expect("a link");
}

/// Where the admin listener is, once the log says so.
fn admin(relay: &Relay) -> SocketAddr {
    wait::within(PATIENCE, "admin listener", || {
        let log = relay.log();
        let mut said = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let started = said.find(|line| line["message"] == "admin listener started")?;
        str_of(&started["addr"]).parse().ok()
    })
}

/// The line with the hash of the configuration in force.
fn hash(admin: SocketAddr) -> String {
    let page = request(admin, "GET", "/metrics", &[]);
    let mut lines = page.text().lines();
    let line = lines.find(|line| line.starts_with("heliograph_config_hash{"));
    line.expect("a hash").to_owned()
}

fn limit_max(relay: &Relay) -> u64 {
    let accept = "Accept: application/nostr+json";
    let document = request(relay.address(), "GET", "/", &[accept]);
    let document: Value = serde_json::from_str(document.text()).expect("a document");
    document["limitation"]["max_limit"]
        .as_u64()
        .expect("a number")
}

#[test]
fn chart_15_a_changed_config_map_is_in_force_without_restart_and_another_hash_shows_it() {
    let volume = tempfile::tempdir().unwrap();
    publish(volume.path(), "..1", &rendered(&[]));
    let file = volume.path().join("heliograph.toml");
    symlink("..data/heliograph.toml", &file).unwrap();
    let relay = Relay::watching(&file);
    let admin = admin(&relay);
    let before = hash(admin);
    assert_ne!(limit_max(&relay), 77);
    publish(
        volume.path(),
        "..2",
        &rendered(&["config.gateway.limit_max=77"]),
    );
    wait::within(PATIENCE, "new limit", || {
        (limit_max(&relay) == 77).then_some(())
    });
    assert_ne!(hash(admin), before);
    // What was removed from the values is what it was.
    publish(volume.path(), "..3", &rendered(&[]));
    wait::within(PATIENCE, "old hash", || {
        (hash(admin) == before).then_some(())
    });
    assert_ne!(limit_max(&relay), 77);
}
