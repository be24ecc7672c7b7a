//! `mirror`: another relay is copied over its own protocol, whatever its limits, past restarts of
//! everybody.

use std::{collections::BTreeSet, fs, net::SocketAddr};

use heliograph_protocol::Event;
use heliograph_sandbox::{process::Process, wait::within};
use heliograph_testkit::{client::Client, keys::Key, process::Relay, tool::tool};
use serde_json::json;

use crate::{
    moving_bed::{PATIENCE, Place, exported, path, start, wait_until_said},
    support::{accept_all, id_set, notes, now},
};

/// The old relay, with pages smaller than what is asked for.
fn old_relay() -> Relay {
    Relay::with(&["gateway.limit_max=100"])
}

fn mirror_arguments<'a>(old: &'a str, new: &'a str, cursor: &'a str) -> Vec<&'a str> {
    vec!["mirror", "--from", old, "--to", new, "--cursor", cursor]
}

#[test]
fn a_mirror_reads_all_pages_also_of_a_second_with_more_events_than_a_page() {
    let place = Place::new();
    let (old, new) = (old_relay(), Relay::start());
    let key = Key::nth(0);
    let mut events = notes(&key, 1_700_000_000, 150);
    // More in one second than a page, of several kinds; and at both ends.
    for (kind, count) in [(1_u16, 90), (7, 90), (30_023, 90)] {
        events.extend((0..count).map(|n| {
            let d = n.to_string();
            key.sign(1_700_000_500, kind, &[&["d", &d]], &d)
        }));
    }
    events.extend(notes(&key, 1_700_001_000, 60));
    accept_all(&mut old.client(), &events);
    let (from, to, cursor) = (old.url(), new.url(), place.at("cursor"));
    let mut arguments = mirror_arguments(&from, &to, path(&cursor));
    arguments.push("--once");
    let done = tool(&place.at("none"), &arguments, b"").success();
    let stored = exported_over(&new);
    assert_eq!(stored, id_set(&events), "{done}");
    // Once more: only what is new and what overlaps.
    let late = key.note(now(), "late");
    old.client().accept(&late);
    tool(&place.at("none"), &arguments, b"").success();
    events.push(late);
    assert_eq!(exported_over(&new), id_set(&events));
}

/// Everything that a relay shows, by its own store.
#[track_caller]
fn exported_over(relay: &Relay) -> BTreeSet<String> {
    exported(relay.data()).into_keys().collect()
}

#[test]
fn a_mirror_says_so_if_one_second_has_more_than_can_be_read() {
    let place = Place::new();
    let (old, new) = (old_relay(), Relay::start());
    let key = Key::nth(0);
    let events: Vec<Event> = (0..150)
        .map(|n| key.note(1_700_000_000, &n.to_string()))
        .collect();
    accept_all(&mut old.client(), &events);
    let (from, to, cursor) = (old.url(), new.url(), place.at("cursor"));
    let mut arguments = mirror_arguments(&from, &to, path(&cursor));
    arguments.push("--once");
    let done = tool(&place.at("none"), &arguments, b"").failure();
    assert!(
        done.stderr
            .contains("more events of kind 1 in the second 1700000000"),
        "{done}"
    );
}

/// A relay that comes back where it was.
struct Returning {
    place: std::path::PathBuf,
    address: SocketAddr,
    process: Option<Process>,
}

impl Returning {
    #[track_caller]
    fn start(place: &Place, name: &str, port: u16) -> Self {
        // Of this process alone, so that it can be had again.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = SocketAddr::from(([127, 77, high, low], port));
        let mut relay = Self {
            place: place.at(name),
            address,
            process: None,
        };
        relay.back();
        relay
    }

    #[track_caller]
    fn back(&mut self) {
        let log = self.place.with_extension("log");
        let listen = self.address.to_string();
        let arguments = ["standalone", "--listen", &listen];
        let settings = ["admin.listen=127.0.0.1:0", "gateway.limit_max=100"];
        let process = start(&log, &self.place, &settings.map(str::to_owned), &arguments);
        wait_until_said(&process, "listening on");
        self.process = Some(process);
    }

    fn kill(&mut self) {
        self.process = None;
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

#[test]
fn a_mirror_goes_on_live_and_past_restarts_of_everybody() {
    let place = Place::new();
    let mut old = Returning::start(&place, "old", 7_777);
    let mut new = Returning::start(&place, "new", 7_778);
    let key = Key::nth(0);
    let mut events = notes(&key, now() - 1_000, 300);
    accept_all(&mut old.client(), &events);
    let (from, to, cursor) = (old.url(), new.url(), place.at("cursor"));
    let arguments = mirror_arguments(&from, &to, path(&cursor));
    let (none, log) = (place.at("none"), place.at("log"));
    let mirror = start(&log, &none, &[], &arguments);
    wait_until_said(&mirror, "caught up");
    let mut publish = |relay: &Returning, text: &str| {
        let event = key.note(now(), text);
        relay.client().accept(&event);
        events.push(event);
    };
    let wait = |new: &Returning, text: &str| {
        within(PATIENCE, text, || {
            let filter = json!({"authors": [key.hex()], "limit": 20});
            let found = new.client().query(&[filter]).contents();
            found.contains(&text.to_owned()).then_some(())
        });
    };
    publish(&old, "live");
    wait(&new, "live");
    mirror.kill();
    publish(&old, "while the mirror was away");
    let mirror = start(&log, &none, &[], &arguments);
    wait(&new, "while the mirror was away");
    new.kill();
    publish(&old, "while the new relay was away");
    new.back();
    wait(&new, "while the new relay was away");
    old.kill();
    old.back();
    publish(&old, "since the old relay is back");
    wait(&new, "since the old relay is back");
    let status = mirror.terminate(PATIENCE).unwrap();
    assert!(status.success(), "{}", mirror.output());
    let found: BTreeSet<String> = exported(&new.place).into_keys().collect();
    assert_eq!(found, id_set(&events));
}

#[test]
fn a_mirror_waits_where_it_is_told_to_slow_down() {
    let place = Place::new();
    let old = Relay::start();
    let new = Relay::with(&["gateway.events_per_sec=100", "gateway.events_burst=20"]);
    let events = notes(&Key::nth(0), 1_700_000_000, 300);
    accept_all(&mut old.client(), &events);
    let (from, to, cursor) = (old.url(), new.url(), place.at("cursor"));
    let mut arguments = mirror_arguments(&from, &to, path(&cursor));
    arguments.push("--once");
    let done = tool(&place.at("none"), &arguments, b"").success();
    assert_eq!(exported_over(&new), id_set(&events), "{done}");
}

#[test]
fn a_mirror_takes_what_its_filter_wants_and_authenticates_with_its_key() {
    let place = Place::new();
    let (reader, author) = (Key::from_secret([7; 32]), Key::nth(0));
    let (old, new) = (Relay::with(&["relay.url="]), Relay::start());
    let wanted = author.sign(now(), 1_059, &[&["p", &reader.hex()]], "for the reader");
    accept_all(
        &mut old.client(),
        &[wanted.clone(), author.note(now(), "not asked for")],
    );
    let key = place.at("key");
    fs::write(&key, format!("{}\n", "07".repeat(32))).unwrap();
    let (from, to, cursor) = (old.url(), new.url(), place.at("cursor"));
    let filter = json!({"kinds": [1_059], "#p": [reader.hex()]}).to_string();
    let mut arguments = mirror_arguments(&from, &to, path(&cursor));
    arguments.extend(["--once", "--filter", &filter, "--key-file", path(&key)]);
    tool(&place.at("none"), &arguments, b"").success();
    assert_eq!(exported_over(&new), id_set(&[wanted]));
}
