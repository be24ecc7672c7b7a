//! Power cuts, as far as a process can have them: kill -9 in the middle of publishing. Every event
//! that got OK `true` is there afterwards (R01-33, CL-4), and what was deleted, replaced or made to
//! vanish stays away.
//!
//! `HELIOGRAPH_KILLS` sets how often (50 by default).

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use heliograph_protocol::Event;
use heliograph_testkit::{
    PATIENCE,
    client::Client,
    keys::Key,
    process::{Relay, command, conformance_config, option},
    reply::Reply,
    websocket::Message,
};
use serde_json::{Value, json};

use crate::{
    oracle::{self, Oracle},
    support::{Random, seeded, stored_of},
};

const KILLS: usize = 50;
/// Events in flight at a time.
const IN_FLIGHT: usize = 64;

fn kills() -> usize {
    option("HELIOGRAPH_KILLS").map_or(KILLS, |kills| {
        kills
            .to_str()
            .and_then(|kills| kills.parse().ok())
            .expect("a number")
    })
}

/// Publishes until `enough` have their OK, kills the relay while others are in flight, and returns
/// every id that got OK `true`, also of those answers that were still under way.
fn publish_and_kill(relay: &mut Relay, round: usize, enough: usize) -> Vec<String> {
    let key = Key::nth(round % 8);
    let mut client = relay.client();
    let mut accepted = Vec::new();
    let mut sent = 0;
    while accepted.len() < enough {
        while sent < accepted.len() + IN_FLIGHT {
            client.send_event(&event(&key, round, sent));
            sent += 1;
        }
        match client.next_reply() {
            Reply::Ok {
                id, accepted: true, ..
            } => accepted.push(id),
            other => client
                .socket
                .fail(&format!("expected OK true, got {other:?}")),
        }
    }
    relay.kill();
    while let Ok(message) = client.socket.read(PATIENCE) {
        let Message::Text(text) = message else {
            continue;
        };
        let reply: Value = serde_json::from_str(&text).expect("whole messages only");
        if reply[0] == "OK" && reply[2] == true {
            accepted.push(reply[1].as_str().expect("an id").to_owned());
        }
    }
    accepted
}

/// Regular and addressable events, each with an address or id of its own.
fn event(key: &Key, round: usize, number: usize) -> Event {
    let d = format!("{round}-{number}");
    let created_at = 1_700_000_000 + number as u64;
    if number.is_multiple_of(3) {
        key.sign(
            created_at,
            30_023,
            &[&["d", &d]],
            &"long form ".repeat(number % 40),
        )
    } else {
        key.sign(
            created_at,
            1,
            &[&["t", "crash"], &["x", &d]],
            &"note ".repeat(number % 20),
        )
    }
}

#[track_caller]
fn check_there(relay: &Relay, accepted: &BTreeMap<usize, Vec<String>>, rounds: &[usize]) {
    for round in rounds {
        let ids = &accepted[round];
        let found = stored_of(&mut relay.client(), ids);
        let lost: Vec<&String> = ids.iter().filter(|id| !found.contains(*id)).collect();
        assert!(
            lost.is_empty(),
            "{} of {} lost of round {round}: {lost:?}",
            lost.len(),
            ids.len()
        );
    }
}

fn kill_again_and_again(data: &Path, settings: &[&str]) {
    let mut random = seeded();
    let mut accepted: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let kills = kills();
    for round in 0..kills {
        let mut relay = Relay::on(data, settings);
        let last = round.checked_sub(1).into_iter().collect::<Vec<_>>();
        check_there(&relay, &accepted, &last);
        let enough = random.below(120);
        accepted.insert(round, publish_and_kill(&mut relay, round, enough));
    }
    let relay = Relay::on(data, settings);
    let rounds: Vec<usize> = accepted.keys().copied().collect();
    check_there(&relay, &accepted, &rounds);
    println!(
        "{} events survived {kills} kills",
        accepted.values().map(Vec::len).sum::<usize>()
    );
}

#[test]
fn every_accepted_event_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    // Small batches and a short interval, so that kills also hit the move into the database.
    let settings = ["store.flush_events=150", "store.flush_interval_ms=20"];
    kill_again_and_again(&directory.path().join("data"), &settings);
}

#[test]
fn what_was_deleted_or_replaced_stays_so_after_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let alice = Key::nth(0);
    let note = alice.note(1_000, "regretted");
    let deletion = alice.sign(1_001, 5, &[&["e", &note.id().to_hex()]], "");
    let (old, new) = (
        alice.sign(1_000, 0, &[], "old"),
        alice.sign(1_001, 0, &[], "new"),
    );
    let mut relay = Relay::on(&data, &[]);
    let mut client = relay.client();
    for event in [&note, &old, &deletion, &new] {
        client.accept(event);
    }
    relay.kill();
    let relay = Relay::on(&data, &[]);
    let mut client: Client = relay.client();
    client.refuse(&note, "blocked");
    client.refuse(&old, "duplicate");
    assert_eq!(client.query(&[json!({"kinds": [0, 1]})]).events, [new]);
}

/// Everything that was ever sent to one relay.
struct Ledger {
    random: Random,
    keys: Vec<Key>,
    sent: Vec<Event>,
    /// Ids of those that had an answer, and of those that had OK `true`.
    answered: BTreeSet<String>,
    accepted: BTreeSet<String>,
    clock: u64,
}

impl Ledger {
    fn new(random: Random) -> Self {
        Self {
            random,
            keys: (0..6).map(Key::nth).collect(),
            sent: Vec::new(),
            answered: BTreeSet::new(),
            accepted: BTreeSet::new(),
            clock: 1_700_000_000,
        }
    }

    /// A new event: notes, versions of addresses in any order, deletions, requests to vanish.
    fn next(&mut self) -> Event {
        self.clock += 1;
        let key = self.random.pick(&self.keys).clone();
        let at = self.clock + self.random.number() % 40;
        let (n, d) = (self.clock.to_string(), self.random.below(4).to_string());
        let event = match self.random.below(100) {
            0..40 => key.sign(at, 1, &[&["t", "crash"]], &n),
            40..60 => key.sign(at, *self.random.pick(&[0, 3, 10_002]), &[], &n),
            60..80 => key.sign(at, 30_023, &[&["d", &d]], &n),
            80..99 => self.deletion(&key, at, &d),
            _ => key.sign(self.clock - 60, 62, &[&["relay", "ALL_RELAYS"]], &n),
        };
        self.sent.push(event.clone());
        event
    }

    fn deletion(&mut self, key: &Key, at: u64, d: &str) -> Event {
        let public = key.public();
        let recent = self.sent.iter().rev().filter(|e| *e.pubkey() == public);
        let own: Vec<String> = recent.take(20).map(|e| e.id().to_hex()).collect();
        let target = if own.is_empty() || self.random.once_in(3) {
            ["a".to_owned(), format!("30023:{}:{d}", key.hex())]
        } else {
            ["e".to_owned(), self.random.pick(&own).clone()]
        };
        key.sign(at, 5, &[&[&target[0], &target[1]]], "")
    }

    fn answer(&mut self, id: String, accepted: bool, text: &str) {
        // `error:` would be a promise of nothing, and a healthy relay has no cause for it.
        assert!(!text.starts_with("error:"), "{id}: {text}");
        if accepted {
            self.accepted.insert(id.clone());
        }
        self.answered.insert(id);
    }

    /// What has to be there once all of these have been merged, in whatever order.
    fn outcome<'a>(events: impl Iterator<Item = &'a Event>) -> BTreeSet<String> {
        let oracle = Oracle::new();
        events.for_each(|event| {
            oracle.write(event);
        });
        let visible = oracle.answer(&[json!({})]);
        // Requests to vanish are shown to their authors only (R62-5).
        let shown = visible.iter().filter(|event| event.kind().as_u16() != 62);
        shown.map(|event| event.id().to_hex()).collect()
    }

    /// The events whose ids are like that, and what else their authors sent.
    fn named(&self, wanted: impl Fn(&String) -> bool) -> Vec<String> {
        let wanted = self
            .sent
            .iter()
            .filter(|event| wanted(&event.id().to_hex()));
        let line = |event: &Event| {
            let answer = match (self.is_answered(event), &event.id().to_hex()) {
                (false, _id) => "no answer",
                (true, id) if self.accepted.contains(id) => "true",
                (true, _id) => "false",
            };
            format!("{answer}: {}", event.as_str())
        };
        let with_others = |event: &Event| {
            let own = self.sent.iter().filter(|e| e.pubkey() == event.pubkey());
            let others: Vec<String> = own
                .filter(|e| {
                    *e != event && (e.kind() == event.kind() || matches!(e.kind().as_u16(), 5 | 62))
                })
                .map(line)
                .collect();
            format!("{}\nothers:\n{}", line(event), others.join("\n"))
        };
        wanted.map(with_others).collect()
    }

    fn is_answered(&self, event: &Event) -> bool {
        self.answered.contains(&event.id().to_hex())
    }

    /// Compares a relay that has just started with what is known, hands in again what had no answer,
    /// and compares exactly.
    #[track_caller]
    fn check(&mut self, relay: &Relay, round: usize) {
        let mut client = relay.client();
        let visible = |client: &mut Client| -> BTreeSet<String> {
            client.query(&[json!({})]).ids().into_iter().collect()
        };
        let found = visible(&mut client);
        let all = Self::outcome(self.sent.iter());
        let lost =
            self.named(|id| all.contains(id) && self.accepted.contains(id) && !found.contains(id));
        assert!(lost.is_empty(), "round {round}: lost {lost:#?}");
        let sure = Self::outcome(self.sent.iter().filter(|event| self.is_answered(event)));
        let open: Vec<Event> = self
            .sent
            .iter()
            .filter(|event| !self.is_answered(event))
            .cloned()
            .collect();
        let back =
            self.named(|id| found.contains(id) && !sure.contains(id) && self.answered.contains(id));
        assert!(back.is_empty(), "round {round}: came back {back:#?}");
        for part in open.chunks(IN_FLIGHT) {
            part.iter().for_each(|event| client.send_event(event));
            for event in part {
                let id = event.id().to_hex();
                let (accepted, text) = client.ok(&id);
                self.answer(id, accepted, &text);
            }
        }
        let found = visible(&mut client);
        let other = self.named(|id| all.contains(id) != found.contains(id));
        assert!(other.is_empty(), "round {round}: {other:#?}");
    }

    /// Publishes until `enough` have their answer, then kills the relay with others in flight.
    fn publish_and_kill(&mut self, relay: &mut Relay, enough: usize) {
        let mut client = relay.client();
        let (mut sent, mut done) = (0, 0);
        while done < enough {
            while sent < done + IN_FLIGHT / 2 {
                let event = self.next();
                client.send_event(&event);
                sent += 1;
            }
            match client.next_reply() {
                Reply::Ok { id, accepted, text } => self.answer(id, accepted, &text),
                other => client
                    .socket
                    .fail(&format!("expected an OK, got {other:?}")),
            }
            done += 1;
        }
        relay.kill();
        while let Ok(message) = client.socket.read(PATIENCE) {
            let Message::Text(text) = message else {
                continue;
            };
            let reply: Value = serde_json::from_str(&text).expect("whole messages only");
            if let (Some("OK"), Some(id)) = (reply[0].as_str(), reply[1].as_str()) {
                let text = reply[3].as_str().unwrap_or_default();
                self.answer(id.to_owned(), reply[2] == true, text);
            }
        }
    }

    /// Imports some hundred events, killed at some moment or done.
    fn import_and_kill(&mut self, data: &Path) {
        let count = 100 + self.random.below(200);
        let events: Vec<Event> = (0..count).map(|_| self.next()).collect();
        let lines: String = events.iter().map(|e| format!("{}\n", e.as_str())).collect();
        let mut command = command();
        command.args(["import", "-"]);
        let patience = Duration::from_micros(self.random.number() % 120_000);
        if run_and_kill(command, data, &[], lines.as_bytes(), patience) {
            let ids = events.iter().map(|event| event.id().to_hex());
            self.answered.extend(ids);
        }
    }
}

/// Runs the binary on a directory and kills it after `patience`. Whether it was done before.
fn run_and_kill(
    mut command: Command,
    data: &Path,
    settings: &[&str],
    stdin: &[u8],
    patience: Duration,
) -> bool {
    command.arg("--data").arg(data);
    command.arg("--config").arg(conformance_config());
    for setting in ["admin.listen=127.0.0.1:0"].iter().chain(settings) {
        command.args(["--set", setting]);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    let mut pipe = child.stdin.take().expect("stdin is piped");
    // It may have been too fast for us, or be killed before it has read everything.
    drop(pipe.write_all(stdin));
    drop(pipe);
    let (_held, never) = mpsc::channel::<()>();
    let _timed_out = never.recv_timeout(patience);
    child.kill().expect("a child of ours");
    child.wait().expect("a child of ours").success()
}

/// Either everything stays in the log, so that the next start has much to replay, or segments come and
/// go all the time.
const STORES: [[&str; 2]; 3] = [
    ["store.flush_events=100000", "store.flush_interval_ms=60000"],
    ["store.flush_events=25", "store.flush_interval_ms=10"],
    ["store.flush_events=60", "store.flush_interval_ms=1000"],
];

#[test]
fn deletions_replacements_and_requests_to_vanish_survive_kills_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let data: PathBuf = directory.path().join("data");
    let mut ledger = Ledger::new(seeded());
    let kills = kills();
    let mut round = 0;
    while round < kills {
        let mut settings: Vec<&str> = oracle::SETTINGS.to_vec();
        settings.extend(ledger.random.pick(&STORES));
        if ledger.random.once_in(4) {
            ledger.import_and_kill(&data);
            round += 1;
        }
        // Killed while it starts and reads the log back, again and again.
        while round > 0 && ledger.random.once_in(2) {
            let mut command = command();
            command.args(["--listen", "127.0.0.1:0"]);
            let patience = Duration::from_micros(ledger.random.number() % 60_000);
            run_and_kill(command, &data, &settings, b"", patience);
            round += 1;
        }
        let mut relay = Relay::on(&data, &settings);
        ledger.check(&relay, round);
        let enough = ledger.random.below(80);
        ledger.publish_and_kill(&mut relay, enough);
        round += 1;
    }
    let relay = Relay::on(&data, &oracle::SETTINGS);
    ledger.check(&relay, round);
    println!(
        "{} events, {} of them accepted, and {round} kills",
        ledger.sent.len(),
        ledger.accepted.len()
    );
}
