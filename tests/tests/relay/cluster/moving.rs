//! Moving up from one process to a cluster without a pause, and backup and restore of a cluster.

use std::{collections::BTreeMap, path::Path, thread};

use heliograph_protocol::Event;
use heliograph_testkit::{client::Client, keys::Key, process::Relay, tool::tool};
use serde_json::json;

use super::bed::{Bed, until};
use crate::{
    moving_bed::{
        PATIENCE, Place, Writing, Written, exported, path, restored, start, wait_until_said,
    },
    support::{Random, seeded},
};

type Events = BTreeMap<String, String>;

/// What comes of these in any order: what a relay has to show.
#[track_caller]
fn outcome(accepted: &[Event], data: &Path) -> Events {
    let lines: Vec<&str> = accepted.iter().map(Event::as_str).collect();
    tool(data, &["import", "-"], lines.join("\n").as_bytes()).success();
    exported(data)
}

/// Everything that a cluster has, through a whole archive of it.
#[track_caller]
fn contents(bed: &Bed, place: &Place, name: &str) -> Events {
    let to = place.at(&format!("{name} archive"));
    bed.run(&["archive", "--cluster", "--to", path(&to)]);
    restored(&to, &place.at(&format!("{name} data")))
}

#[track_caller]
fn check_same(found: &Events, expected: &Events) {
    let missing: Vec<&String> = expected
        .iter()
        .filter(|(id, _)| !found.contains_key(*id))
        .map(|(_, text)| text)
        .collect();
    let surplus: Vec<&String> = found
        .iter()
        .filter(|(id, _)| !expected.contains_key(*id))
        .map(|(_, text)| text)
        .collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "of {}: missing {missing:?}, too many {surplus:?}",
        expected.len()
    );
}

/// Publishes with these keys while `beside` happens; nothing may be left without an answer.
fn write_while(
    connect: &(dyn Fn(usize) -> Client + Sync),
    keys: &[Key],
    random: &mut Random,
    beside: impl FnOnce(&Writing),
) -> Vec<Event> {
    let writing = Writing::by_address();
    let seed = random.number();
    let written: Vec<Written> = thread::scope(|scope| {
        let publishers: Vec<_> = (0..)
            .zip(keys)
            .map(|(n, key)| {
                let writing = &writing;
                let seed = seed.wrapping_add(n as u64);
                scope.spawn(move || writing.publish(&|| connect(n), key, seed))
            })
            .collect();
        let over = writing.guard();
        beside(&writing);
        drop(over);
        let written = publishers.into_iter().map(|thread| thread.join());
        written.map(|part| part.expect("a publisher")).collect()
    });
    written.into_iter().flat_map(|part| part.accepted).collect()
}

fn by_authors(events: &Events, keys: &[Key]) -> Events {
    let authors: Vec<String> = keys
        .iter()
        .map(|key| format!("\"{}\"", key.hex()))
        .collect();
    let wanted = |text: &str| {
        let pubkey = text.split("\"pubkey\":").nth(1).unwrap_or_default();
        authors
            .iter()
            .any(|author| pubkey.starts_with(author.as_str()))
    };
    let kept = events.iter().filter(|(_, text)| wanted(text));
    kept.map(|(id, text)| (id.clone(), text.clone())).collect()
}

#[test]
fn one_process_moves_to_a_cluster_while_everybody_writes() {
    let Some(bed) = Bed::fresh(&[]) else {
        return;
    };
    let mut random = seeded();
    let place = Place::new();
    let data = place.at("data");
    let keys: Vec<Key> = (0..4).map(Key::nth).collect();
    let settings: Vec<String> = bed
        .settings()
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let small = ["store.flush_events=100", "store.flush_interval_ms=50"];
    let mut relay = Relay::on(&data, &small);
    let copy = || {
        let arguments = ["copy", "--until-stopped"];
        start(&place.at("log"), &data, &settings, &arguments)
    };
    // Something is there before.
    write_while(&|_| relay.client(), &keys[..2], &mut random, |writing| {
        writing.progress(500);
    });
    let mut moving = None;
    let mut at_gateways = Vec::new();
    write_while(&|_| relay.client(), &keys[..2], &mut random, |writing| {
        let copying = copy();
        writing.progress(100);
        // Killed in the middle, and started again.
        copying.kill();
        writing.progress(100);
        let copying = copy();
        wait_until_said(&copying, "caught up");
        check_live(&bed, &relay);
        copying.kill();
        writing.progress(200);
        let copying = copy();
        wait_until_said(&copying, "caught up");
        // The address is switched: some write here, some still there.
        let more = write_while(
            &|n| bed.at(n),
            &keys[2..],
            &mut Random::seeded(7),
            |there| {
                there.progress(200);
                writing.progress(100);
            },
        );
        at_gateways.extend(more);
        moving = Some(copying);
    });
    let copying = moving.expect("it was started");
    relay.terminate();
    assert!(relay.exit().success(), "{}", relay.log());
    // A restart isn't the end.
    wait_until_said(&copying, "the relay has stopped");
    let mut relay = Relay::on(&data, &small);
    let late = probe().note(crate::support::now(), "since the relay is back");
    relay.client().accept(&late);
    wait_until_said(&copying, "the relay is back");
    relay.terminate();
    assert!(relay.exit().success(), "{}", relay.log());
    let status = copying.wait_for_end(PATIENCE).unwrap();
    assert!(status.success(), "{}", copying.output());
    let found = contents(&bed, &place, "cluster");
    let moved = [&keys[..2], &[probe()]].concat();
    check_same(&by_authors(&found, &moved), &exported(&data));
    let expected = outcome(&at_gateways, &place.at("gateways"));
    check_same(&by_authors(&found, &keys[2..]), &expected);
    check_anew(&data, &settings, &place.at("anew"));
}

/// Copied is what the stream of commits has that was copied into: another has nothing of it.
#[track_caller]
fn check_anew(data: &Path, settings: &[String], log: &Path) {
    let file = data.join("copy.cursor");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut place: serde_json::Value = serde_json::from_str(&text).unwrap();
    let copy = || {
        let copying = start(log, data, settings, &["copy"]);
        let status = copying.wait_for_end(PATIENCE).unwrap();
        assert!(status.success(), "{}", copying.output());
        copying.output()
    };
    let said = copy();
    assert!(!said.contains("copied anew"), "{said}");
    place["commits"] = json!("of a cluster that is gone");
    std::fs::write(&file, place.to_string()).unwrap();
    let said = copy();
    assert!(said.contains("copied anew"), "{said}");
}

/// Who publishes what is looked for.
fn probe() -> Key {
    Key::nth(500)
}

/// Once it has caught up, what is published at the one process comes to subscribers of the cluster.
#[track_caller]
fn check_live(bed: &Bed, relay: &Relay) {
    let key = probe();
    let mut reader = bed.at(0);
    reader.req("live", &[json!({"authors": [key.hex()], "limit": 0})]);
    let event = key.note(crate::support::now(), "live");
    relay.client().accept(&event);
    assert_eq!(reader.next_event("live"), event);
    // And to who asks.
    let mut asking = bed.at(1);
    until("the event at another gateway", || {
        let found = asking.query(&[json!({"ids": [event.id().to_hex()]})]);
        (found.events.len() == 1).then_some(())
    });
}

#[test]
fn a_cluster_is_archived_under_load_and_restored_into_an_empty_one() {
    let Some(bed) = Bed::fresh(&[]) else {
        return;
    };
    let mut random = seeded();
    let place = Place::new();
    let to = place.at("archive");
    let archive = || bed.run(&["archive", "--cluster", "--to", path(&to)]);
    let keys: Vec<Key> = (0..2).map(Key::nth).collect();
    bed.run(&[
        "control",
        "ban",
        "event",
        &"ab".repeat(32),
        "--reason",
        "drill",
    ]);
    let written = write_while(&|n| bed.at(n), &keys, &mut random, |writing| {
        for _run in 0..3 {
            writing.progress(300);
            archive();
        }
        writing.progress(100);
    });
    let last = archive();
    let events = last.lines().next().unwrap_or_default().to_owned();
    let added: usize = events.split_whitespace().last().unwrap().parse().unwrap();
    assert!(added < written.len() / 2, "not incremental: {last}");
    let control = std::fs::read_to_string(to.join("control.txt")).unwrap();
    assert!(control.contains("drill"), "{control}");

    let expected = outcome(&written, &place.at("expected"));
    check_same(&restored(&to, &place.at("restored")), &expected);
    drop(bed);

    let Some(empty) = Bed::fresh(&[]) else {
        return;
    };
    // Interrupted once: the second run does the rest.
    let settings: Vec<String> = empty
        .settings()
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let none = place.at("none");
    let import = ["import", "--cluster", path(&to)];
    let first = start(&place.at("log"), &none, &settings, &import);
    until("something of it", || {
        let found = empty.client().query(&[json!({"limit": 1})]);
        (!found.events.is_empty()).then_some(())
    });
    first.kill();
    let counts = empty.run(&["import", "--cluster", "--json", path(&to)]);
    let counts: serde_json::Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(counts["bad"], 0, "{counts}");
    check_same(&contents(&empty, &place, "again"), &expected);
}
