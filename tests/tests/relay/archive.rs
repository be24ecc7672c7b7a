//! Backup and restore of one process: beside a relay that is written to, followed, killed at any moment,
//! damaged.

use std::{
    collections::BTreeMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use heliograph_protocol::Event;
use heliograph_testkit::{
    keys::Key,
    process::Relay,
    reply::Reply,
    tool::{Finished, tool},
    websocket::Message,
};
use rustix::{fs::RenameFlags, process::Signal};

use crate::{
    moving_bed::{PATIENCE, Place, Writing, exported, path, restored, start, wait_until_said},
    support::{ids, seeded},
};

/// Events go from the log into the database all the time.
const SMALL: [&str; 2] = ["store.flush_events=100", "store.flush_interval_ms=50"];

fn archive(data: &Path, to: &Path) -> Finished {
    tool(data, &["archive", "--to", path(to)], b"").success()
}

#[track_caller]
fn check_same(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    let missing = expected
        .keys()
        .filter(|id| !found.contains_key(*id))
        .count();
    let surplus: Vec<&String> = found
        .iter()
        .filter(|(id, _)| !expected.contains_key(*id))
        .map(|(_, text)| text)
        .collect();
    assert_eq!((missing, surplus), (0, Vec::new()), "of {}", expected.len());
}

/// Publishes with two keys while `beside` happens; returns what got its OK.
fn write_while(relay: &Relay, seed: u64, beside: impl FnOnce(&Writing)) -> Vec<Event> {
    let writing = Writing::default();
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..2)
            .map(|n| (Key::nth(n), &writing, seed + n as u64))
            .map(|(key, writing, seed)| {
                let connect = || relay.client();
                scope.spawn(move || writing.publish(&connect, &key, seed))
            })
            .collect();
        let over = writing.guard();
        beside(&writing);
        drop(over);
        let written = publishers.into_iter().map(|thread| thread.join());
        written
            .flat_map(|part| part.expect("a publisher").accepted)
            .collect()
    })
}

#[test]
fn archives_made_under_load_restore_what_the_relay_has() {
    let place = Place::new();
    let (data, to) = (place.at("data"), place.at("archive"));
    let mut random = seeded();
    let mut relay = Relay::on(&data, &SMALL);
    write_while(&relay, random.number(), |writing| {
        for _run in 0..4 {
            writing.progress(400);
            archive(&data, &to);
        }
        writing.progress(100);
    });
    // The last one beside the running relay: everything that was acknowledged is in it.
    archive(&data, &to);
    relay.kill();
    let expected = exported(&data);
    assert!(expected.len() > 500, "{}", expected.len());
    check_same(&restored(&to, &place.at("restored")), &expected);
}

#[test]
fn what_is_followed_is_sealed_when_it_is_told_to_stop() {
    let place = Place::new();
    let (data, to) = (place.at("data"), place.at("archive"));
    let mut random = seeded();
    let mut relay = Relay::on(&data, &SMALL);
    let follow = [
        "archive",
        "--follow",
        "--to",
        path(&to),
        "--segment-bytes",
        "100000",
    ];
    let following = start(&place.at("log"), &data, &[], &follow);
    wait_until_said(&following, "caught up");
    let accepted = write_while(&relay, random.number(), |writing| writing.progress(1_500));
    let status = following.terminate(PATIENCE).unwrap();
    assert!(status.success(), "{}", following.output());
    relay.kill();
    check_same(&restored(&to, &place.at("restored")), &exported(&data));
    // Nothing of it comes twice, from the log and from the database.
    let check = tool(&data, &["archive", "--check", "--to", path(&to)], b"").success();
    let events = check.stdout.lines().next().unwrap_or_default().to_owned();
    let events: usize = events.split_whitespace().last().unwrap().parse().unwrap();
    assert!(
        events <= accepted.len(),
        "{} accepted: {check}",
        accepted.len()
    );
}

#[test]
fn who_follows_a_store_ends_when_another_one_takes_its_place() {
    let place = Place::new();
    let (data, other, to) = (place.at("data"), place.at("other"), place.at("archive"));
    let import = |data: &Path, author: usize| {
        let lines: String = (0..50)
            .map(|n| {
                format!(
                    "{}\n",
                    Key::nth(author).note(1_700_000_000 + n, "x").as_str()
                )
            })
            .collect();
        tool(data, &["import", "-"], lines.as_bytes()).success();
    };
    import(&data, 0);
    import(&other, 1);
    let expected = exported(&data);
    let following = start(
        &place.at("log"),
        &data,
        &[],
        &["archive", "--follow", "--to", path(&to)],
    );
    wait_until_said(&following, "caught up");
    // At once: there is no moment without a store.
    let here = rustix::fs::CWD;
    rustix::fs::renameat_with(here, &data, here, &other, RenameFlags::EXCHANGE).unwrap();
    let status = following.wait_for_end(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(1), "{}", following.output());
    let told = following.output();
    assert!(
        told.contains("this isn't the store of the archive"),
        "{told}"
    );
    check_same(&restored(&to, &place.at("restored")), &expected);
}

/// Publishes until the relay is killed, `after` from now; returns what got its OK.
fn publish_until_killed(relay: &mut Relay, key: &Key, round: u64, after: Duration) -> Vec<Event> {
    let mut client = relay.client();
    let mut sent: Vec<Event> = Vec::new();
    let mut accepted = Vec::new();
    let mut killed = false;
    let began = Instant::now();
    loop {
        if !killed && began.elapsed() >= after && !accepted.is_empty() {
            relay.signal(Signal::KILL);
            killed = true;
        }
        while !killed && sent.len() < accepted.len() + 32 {
            let event = key.sign(
                1_700_000_000 + round,
                1,
                &[],
                &format!("{round} {}", sent.len()),
            );
            client.send_event(&event);
            sent.push(event);
        }
        let Ok(message) = client.socket.read(PATIENCE) else {
            break;
        };
        let Message::Text(text) = message else {
            continue;
        };
        if let Ok(Reply::Ok {
            id, accepted: true, ..
        }) = Reply::parse(&text)
        {
            let event = sent.iter().find(|event| event.id().to_hex() == id);
            accepted.push(event.expect("one that was sent").clone());
        }
    }
    relay.kill();
    accepted
}

#[test]
fn nothing_acknowledged_is_missing_after_kills_of_archive_and_relay_at_any_moment() {
    let place = Place::new();
    let (data, to) = (place.at("data"), place.at("archive"));
    let mut random = seeded();
    let mut accepted = Vec::new();
    for round in 0..12 {
        let mut relay = Relay::on(&data, &SMALL);
        let arguments = [
            "archive",
            "--follow",
            "--to",
            path(&to),
            "--segment-bytes",
            "6000",
            "--segment-secs",
            "1",
        ];
        let following = start(&place.at("log"), &data, &[], &arguments);
        let key = Key::nth(usize::try_from(round % 5).unwrap());
        let after = Duration::from_millis(random.number() % 400);
        if random.once_in(2) {
            // While the relay goes on.
            let more = Duration::from_millis(random.number() % 300);
            thread::scope(|scope| {
                let killing = scope.spawn(|| {
                    let (_held, never) = std::sync::mpsc::channel::<()>();
                    let _timed_out = never.recv_timeout(after);
                    following.kill();
                });
                accepted.extend(publish_until_killed(&mut relay, &key, round, after + more));
                killing.join().expect("a thread");
            });
        } else {
            accepted.extend(publish_until_killed(&mut relay, &key, round, after));
            following.kill();
        }
    }
    archive(&data, &to);
    tool(&data, &["archive", "--check", "--to", path(&to)], b"").success();
    let found = restored(&to, &place.at("restored"));
    let lost: Vec<String> = ids(&accepted)
        .into_iter()
        .filter(|id| !found.contains_key(id))
        .collect();
    assert!(lost.is_empty(), "{} of {} lost", lost.len(), accepted.len());
    check_same(&found, &exported(&data));
    println!("{} accepted events survived", accepted.len());
}

#[test]
fn a_damaged_archive_is_refused_whole_and_says_what_is_lost() {
    let place = Place::new();
    let (data, to) = (place.at("data"), place.at("archive"));
    let lines: String = (0..500)
        .map(|n| format!("{}\n", Key::nth(0).note(1_700_000_000 + n, "x").as_str()))
        .collect();
    tool(&data, &["import", "-"], lines.as_bytes()).success();
    archive(&data, &to);
    let segment = to.join("000001.jsonl.zst");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&segment, bytes).unwrap();
    let refused = tool(&place.at("other"), &["import", path(&to)], b"").failure();
    for part in [
        "000001.jsonl.zst is damaged",
        "its 500 events are lost",
        "--keep-going",
    ] {
        assert!(refused.stderr.contains(part), "{refused}");
    }
    assert!(!place.at("other").exists());
}
