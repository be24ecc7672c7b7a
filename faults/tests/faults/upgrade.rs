//! A cluster and a data directory go from one version to the next and back while clients work: each
//! member is replaced alone, so that both versions run side by side in every mix, on one schema, and
//! read each other's wire forms and control records (`chart_14` of the chart's tests is about the Job
//! that migrates).

use std::{path::Path, process::Stdio, time::Duration};

use heliograph_faults::{
    bed::{Bed, PATIENCE, until},
    builds::previous,
    workload::Workload,
};
use heliograph_sandbox::{
    cluster::Role,
    process::{Launch, Process},
};
use heliograph_testkit::{
    client::Client,
    history::Expect,
    keys::Key,
    process::{binary, command, conformance_config},
};
use serde_json::json;

use crate::outage::{accept_all, notes, now, whole};

/// Events that each gateway has to take between two replacements.
const PROGRESS: usize = 20;

/// Subscriptions that are open in the end, and live events that came on them, at least.
const KEPT_MIN: usize = 60;
const LIVE_MIN: usize = 500;

/// How long a process may take to end.
const END: Duration = Duration::from_secs(60);

/// In which order roles are replaced. The other order on the way back makes the other mixes.
const FORTH: [Role; 3] = [Role::Ingest, Role::Matcher, Role::Gateway];
const BACK: [Role; 3] = [Role::Gateway, Role::Matcher, Role::Ingest];

/// Replaces every member, one after the other, while clients work.
#[track_caller]
fn roll(bed: &Bed, load: &Workload, order: [Role; 3], build: &Path) {
    for role in order {
        for number in 0..bed.members(role).len() {
            bed.replace(role, number, build);
            for gateway in 0..bed.members(Role::Gateway).len() {
                load.progress_at(gateway, PROGRESS, PATIENCE);
            }
        }
    }
}

/// Runs a tool of this build and wants success.
#[track_caller]
fn run(bed: &Bed, build: &Path, arguments: &[&str]) -> String {
    let output = bed.tool_of(build, arguments);
    let output = output.unwrap_or_else(|error| panic!("{error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Bans a key with a tool of one version; gateways, whatever they are, refuse what it writes.
#[track_caller]
fn ban_holds(bed: &Bed, build: &Path, key: &Key) {
    run(bed, build, &["control", "ban", "pubkey", &key.hex()]);
    for gateway in 0..bed.members(Role::Gateway).len() {
        let mut client = bed.at(gateway);
        let mut number = 0;
        until("refusal of the banned key", || {
            number += 1;
            let note = key.sign(now(), 1, &[], &format!("{gateway} {number}"));
            let (accepted, text) = client.publish(&note);
            (!accepted && text.starts_with("blocked: ")).then_some(())
        });
    }
}

#[test]
fn nothing_is_lost_when_every_member_becomes_the_next_version_and_the_one_before_again() {
    let Some(previous) = previous() else { return };
    let current = binary().to_owned();
    let bed = Bed::with(
        |options| options.binary.clone_from(&previous),
        &["shutdown.drain_secs=1"],
    );
    let Some(bed) = bed else { return };
    let banned = [Key::nth(7_001), Key::nth(7_002), Key::nth(7_003)];
    let load = Workload::start(21, bed.gateways(), bed.history().clone());
    load.progress(100, PATIENCE);
    ban_holds(&bed, &previous, &banned[0]);

    // Expand, beside members of the version before, which go on.
    bed.mark("migrate");
    run(&bed, &current, &["migrate"]);
    run(&bed, &current, &["migrate", "--check"]);
    load.progress(50, PATIENCE);

    roll(&bed, &load, FORTH, &current);
    ban_holds(&bed, &previous, &banned[1]);
    let listed = run(&bed, &current, &["control", "list"]);
    for key in &banned[..2] {
        assert!(listed.contains(&key.hex()), "{listed}");
    }
    roll(&bed, &load, BACK, &previous);
    ban_holds(&bed, &current, &banned[2]);

    bed.check_running();
    let summary = load.finish(&Expect::default());
    bed.mark(&summary.to_string());
    assert!(
        summary.live >= LIVE_MIN && summary.kept >= KEPT_MIN,
        "too little came, or stayed: {summary}"
    );
}

/// A relay in one process, of some build, on a directory that others had before.
struct Alone {
    process: Process,
    client: Client,
}

impl Alone {
    #[track_caller]
    fn start(build: &Path, directory: &Path) -> Self {
        let configuration = conformance_config().canonicalize();
        let configuration = configuration.expect("the repository is whole");
        let launch = Launch {
            name: "standalone".to_owned(),
            program: build.to_owned(),
            arguments: [
                "--config".into(),
                configuration.into(),
                "--data".into(),
                directory.join("data").into(),
                "--listen".into(),
                "127.0.0.1:0".into(),
                "--set=admin.listen=127.0.0.1:0".into(),
            ]
            .into(),
            variables: Vec::new(),
            hide_variables: "HELIOGRAPH_",
            directory: directory.to_owned(),
            log: directory.join("log"),
        };
        let process = Process::start(&launch).expect("it starts");
        let address = until("address", || {
            let output = process.output();
            let at = output.split("ws://").nth(1)?;
            at.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
                .next()?
                .parse()
                .ok()
        });
        Self {
            process,
            client: Client::connect(address),
        }
    }

    #[track_caller]
    fn stop(self) {
        drop(self.client);
        let status = self.process.terminate(END).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", self.process.output());
    }
}

#[test]
fn a_data_directory_goes_from_version_to_version_and_back() {
    let Some(previous) = previous() else { return };
    let current = binary();
    let directory = tempfile::tempdir().unwrap();
    let key = Key::nth(7_010);
    let filter = json!({"authors": [key.hex()], "limit": 500});
    let mut all = Vec::new();
    for (turn, build) in [&*previous, current, &previous, current].iter().enumerate() {
        let mut relay = Alone::start(build, directory.path());
        whole(&mut relay.client, &filter, &all);
        let turn = turn as u64;
        let more = notes(&key, now() - 1_000 + 100 * turn, 60);
        accept_all(&mut relay.client, &more);
        all.extend(more);
        // The first of the turn before goes, and stays away.
        let gone = all.remove(0);
        let deletion = key.sign(now() + turn, 5, &[&["e", &gone.id().to_hex()]], "");
        relay.client.accept(&deletion);
        relay.client.refuse(&gone, "blocked");
        all.push(deletion);
        whole(&mut relay.client, &filter, &all);
        if turn.is_multiple_of(2) {
            relay.stop();
        } else {
            relay.process.kill();
        }
    }
    let count = command()
        .args(["count", "{}", "--data"])
        .arg(directory.path().join("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let count = String::from_utf8_lossy(&count.stdout).into_owned();
    assert_eq!(count.trim(), all.len().to_string());
}
