//! `mirror` with relays that do what they shouldn't.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use heliograph_protocol::{Event, Filter};
use heliograph_sandbox::wait::within;
use heliograph_testkit::{
    keys::Key,
    process::Relay,
    server::Server,
    tool::{Finished, tool},
};
use serde_json::{Value, json};

use crate::{
    moving_bed::{PATIENCE, Place, exported, path, start, wait_until_said},
    support::{id_set, notes, now},
};

const LONG_AGO: u64 = 1_700_000_000;

/// A question of the mirror.
struct Asked {
    /// How many connections there were before.
    connection: usize,
    sub: String,
    filter: Filter,
}

impl Asked {
    fn is_live(&self) -> bool {
        self.sub == "live"
    }

    fn event(&self, event: &Event) -> String {
        format!(r#"["EVENT","{}",{}]"#, self.sub, event.as_str())
    }

    /// The newest of these that match.
    fn found(&self, events: &[Event], limit: usize) -> Vec<Event> {
        let matches = events.iter().filter(|event| self.filter.matches(event));
        let mut found: Vec<Event> = matches.cloned().collect();
        found.sort_by_key(|event| std::cmp::Reverse(event.created_at()));
        found.truncate(limit);
        found
    }

    /// A whole answer.
    fn answer(&self, events: &[Event]) -> Vec<String> {
        let mut lines: Vec<String> = events.iter().map(|event| self.event(event)).collect();
        lines.push(json!(["EOSE", self.sub]).to_string());
        lines
    }

    fn closed(&self, why: &str) -> Vec<String> {
        vec![json!(["CLOSED", self.sub, why]).to_string()]
    }
}

/// A relay that gives these messages for a question.
fn source(answer: impl Fn(&Asked) -> Vec<String> + Send + Sync + 'static) -> Server {
    Server::start(move |peer| {
        while let Some(text) = peer.read_text() {
            let message: Value = serde_json::from_str(&text).unwrap();
            if message[0] != "REQ" {
                continue;
            }
            let asked = Asked {
                connection: peer.number,
                sub: message[1].as_str().unwrap().to_owned(),
                filter: Filter::parse(&message[2].to_string()).unwrap(),
            };
            for line in answer(&asked) {
                peer.send_text(&line);
            }
        }
    })
}

/// Mirrors everything once, and returns what came and what was said.
#[track_caller]
fn mirrored(source: &Server, more: &[&str]) -> (BTreeSet<String>, Finished) {
    let (place, new) = (Place::new(), Relay::start());
    let (from, to, cursor) = (source.url(), new.url(), place.at("cursor"));
    let mut arguments = vec!["mirror", "--from", &from, "--to", &to, "--once"];
    arguments.extend(["--cursor", path(&cursor)]);
    arguments.extend(more);
    let done = tool(&place.at("none"), &arguments, b"");
    (exported(new.data()).into_keys().collect(), done)
}

#[test]
fn an_answer_without_end_is_given_up() {
    let events = notes(&Key::nth(0), LONG_AGO, 3);
    let expected = id_set(&events);
    let source = source(move |asked| {
        if asked.connection == 0 {
            let again = vec![events[0].clone(); 5_001];
            return asked.answer(&again);
        }
        asked.answer(&asked.found(&events, 500))
    });
    let (found, done) = mirrored(&source, &[]);
    let done = done.success();
    assert!(done.stderr.contains("more than 5000 events"), "{done}");
    assert_eq!(found, expected, "{done}");
}

#[test]
fn an_event_of_long_ago_among_new_ones_isnt_the_end() {
    let key = Key::nth(0);
    let events = notes(&key, LONG_AGO, 200);
    let expected = id_set(&events);
    let old = key.note(0, "the beginning");
    let source = source(move |asked| {
        let mut found = asked.found(&events, 40);
        found.insert(found.len() / 2, old.clone());
        asked.answer(&found)
    });
    let (found, done) = mirrored(&source, &[]);
    let done = done.success();
    assert!(found.is_superset(&expected), "{done}");
}

#[test]
fn a_relay_that_ignores_until_is_given_up() {
    let events = notes(&Key::nth(0), LONG_AGO, 100);
    let source = source(move |asked| {
        let mut asked_for_all = Asked {
            connection: asked.connection,
            sub: asked.sub.clone(),
            filter: asked.filter.clone(),
        };
        asked_for_all.filter.until = None;
        asked.answer(&asked_for_all.found(&events, 50))
    });
    let (_found, done) = mirrored(&source, &[]);
    let done = done.failure();
    assert!(done.stderr.contains("weren't asked for"), "{done}");
}

#[test]
fn what_wasnt_asked_for_is_left_out() {
    let key = Key::nth(0);
    let wanted = notes(&key, LONG_AGO, 30);
    let expected = id_set(&wanted);
    let other = key.sign(LONG_AGO + 3, 7, &[], "+");
    let source = source(move |asked| {
        let mut found = asked.found(&wanted, 500);
        if !found.is_empty() {
            found.push(other.clone());
        }
        asked.answer(&found)
    });
    let (found, done) = mirrored(&source, &["--filter", r#"{"kinds":[1]}"#]);
    let done = done.success();
    assert_eq!(found, expected, "{done}");
    assert!(done.stderr.contains("they are left out"), "{done}");
}

#[test]
fn a_page_that_cant_be_read_isnt_the_end() {
    let key = Key::nth(0);
    let old = notes(&key, LONG_AGO, 30);
    let expected = id_set(&old);
    let new = notes(&key, LONG_AGO + 1_000, 30);
    let source = source(move |asked| {
        let all = [old.as_slice(), &new].concat();
        let found = asked.found(&all, 30);
        let lines = asked.answer(&found).into_iter();
        let changed = |line: String| match new.iter().any(|event| line.contains(event.as_str())) {
            true => line.replace(r#""content":""#, r#""content":"not "#),
            false => line,
        };
        lines.map(changed).collect()
    });
    let (found, done) = mirrored(&source, &[]);
    assert_eq!(found, expected, "{done}");
    done.success();
}

#[test]
fn a_second_is_read_whole_from_a_relay_whose_answers_vary_in_length() {
    let key = Key::nth(0);
    let mut events = notes(&key, LONG_AGO + 10, 100);
    for kind in [1, 7, 8, 9, 16] {
        events.extend((0..30).map(|n| key.sign(LONG_AGO, kind, &[], &format!("{kind} {n}"))));
    }
    let expected = id_set(&events);
    let source = source(move |asked| {
        let limit = if asked.filter.until.is_none() {
            100
        } else {
            60
        };
        asked.answer(&asked.found(&events, limit))
    });
    let (found, done) = mirrored(&source, &[]);
    let done = done.success();
    assert_eq!(found, expected, "{done}");
}

#[test]
fn a_live_subscription_that_is_closed_while_pages_are_read_is_begun_anew() {
    let (key, place, new) = (Key::nth(0), Place::new(), Relay::start());
    let events: Vec<Event> = (0..30)
        .map(|n| key.note(LONG_AGO, &n.to_string()))
        .collect();
    let (wanted, other) = (key.note(now(), "live"), key.sign(now(), 7, &[], "+"));
    let expected: BTreeSet<String> = id_set(events.iter().chain([&wanted]));
    let is_closed = AtomicBool::new(false);
    let source = source(move |asked| {
        if asked.is_live() {
            // Only who subscribes again gets what is new.
            return match asked.connection {
                0 => Vec::new(),
                _ => asked.answer(&[other.clone(), wanted.clone()]),
            };
        }
        let by_kinds = asked.filter.since.is_some() && asked.filter.kinds.is_some();
        if by_kinds && !is_closed.swap(true, Ordering::AcqRel) {
            return vec![json!(["CLOSED", "live", "error: shutting down"]).to_string()];
        }
        asked.answer(&asked.found(&events, 500))
    });
    let (from, to, cursor) = (source.url(), new.url(), place.at("cursor"));
    let mut arguments = vec!["mirror", "--from", &from, "--to", &to];
    arguments.extend(["--filter", r#"{"kinds":[1,6]}"#, "--cursor", path(&cursor)]);
    let (none, log) = (place.at("none"), place.at("log"));
    let mirror = start(&log, &none, &[], &arguments);
    wait_until_said(
        &mirror,
        "closed the live subscription: error: shutting down",
    );
    wait_until_said(&mirror, "caught up");
    within(PATIENCE, "what came live", || {
        let filter = json!({"authors": [key.hex()], "since": now() - 1_000});
        let found = new.client().query(&[filter]).contents();
        found.contains(&"live".to_owned()).then_some(())
    });
    assert_eq!(source.connections(), 2);
    let status = mirror.terminate(PATIENCE).unwrap();
    assert!(status.success(), "{}", mirror.output());
    let found: BTreeSet<String> = exported(new.data()).into_keys().collect();
    assert_eq!(found, expected, "{}", mirror.output());
}

#[test]
fn a_relay_that_refuses_is_asked_more_and_more_rarely_and_its_words_are_shown_as_text() {
    let (place, new) = (Place::new(), Relay::start());
    let why = format!("error: \u{1b}[31mred\r\n{}", "x".repeat(10_000));
    let source = source(move |asked| asked.closed(&why));
    let (from, to, cursor) = (source.url(), new.url(), place.at("cursor"));
    let arguments = [
        "mirror",
        "--from",
        &from,
        "--to",
        &to,
        "--cursor",
        path(&cursor),
    ];
    let mirror = start(&place.at("log"), &place.at("none"), &[], &arguments);
    wait_until_said(&mirror, "again in 0.8 s");
    mirror.kill();
    let said = mirror.output();
    assert!(said.contains(r"error: \u{1b}[31mred\r\nxxx"), "{said}");
    assert!(said.lines().all(|line| line.len() < 600), "{said}");
}
