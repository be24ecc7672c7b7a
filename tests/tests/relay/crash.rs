//! Power cuts, as far as a process can have them: kill -9 in the middle of publishing. Every event
//! that got OK `true` is there afterwards (R01-33, CL-4).
//!
//! `HELIOGRAPH_KILLS` sets how often (50 by default).

use std::{collections::BTreeMap, path::Path};

use heliograph_protocol::Event;
use heliograph_testkit::{
    PATIENCE,
    client::Client,
    keys::Key,
    process::{Relay, option},
    reply::Reply,
    websocket::Message,
};
use serde_json::{Value, json};

use crate::support::{Random, stored_of};

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
    let mut random = Random::from_environment();
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
