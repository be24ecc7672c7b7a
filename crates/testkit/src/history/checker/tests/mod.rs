//! Planted violations: each rule finds what breaks it, and nothing in its nearest lawful neighbour.

mod answers;
mod live;
mod lost;
mod random;
mod removed;
mod report;
mod stored;

use std::{sync::Arc, time::Duration};

use heliograph_protocol::{Event, Timestamp};
use serde_json::{Value, json};

use super::{Expect, Rule, Summary, Violations, check_entries};
use crate::{
    history::{Entry, What},
    keys::Key,
};

/// The wall clock when every planted history begins.
const START: u64 = 1_800_000_000;

/// Between two entries.
const STEP: Duration = Duration::from_millis(10);

/// A history by hand. Connections 1 to 9 are to gateway 0, 10 to 19 to gateway 1.
#[derive(Debug, Clone, Default)]
struct Plant {
    entries: Vec<Entry>,
    now: Duration,
    intended: Option<Duration>,
}

impl Plant {
    fn push(&mut self, connection: u32, what: What) -> &mut Self {
        self.now += STEP;
        self.entries.push(Entry {
            at: self.now,
            intended: self.intended.take(),
            connection,
            gateway: connection as usize / 10,
            what,
        });
        self
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn publish(&mut self, connection: u32, event: &Event) -> &mut Self {
        let event = event.clone();
        self.push(connection, What::Publish { event })
    }

    fn answer(&mut self, connection: u32, event: &Event, accepted: bool, text: &str) -> &mut Self {
        let (id, text) = (*event.id(), text.into());
        self.push(connection, What::Ok { id, accepted, text })
    }

    fn ok(&mut self, connection: u32, event: &Event) -> &mut Self {
        self.answer(connection, event, true, "")
    }

    /// Sent and acknowledged over connection 1.
    fn accept(&mut self, events: &[&Event]) -> &mut Self {
        for event in events {
            self.publish(1, event).ok(1, event);
        }
        self
    }

    fn req(&mut self, connection: u32, sub: &str, filter: Value) -> &mut Self {
        let (sub, filters) = (sub.into(), Arc::from([filter]));
        self.push(connection, What::Req { sub, filters })
    }

    fn events(&mut self, connection: u32, sub: &str, events: &[&Event]) -> &mut Self {
        for event in events {
            let (sub, event) = (sub.into(), (*event).clone());
            self.push(connection, What::Event { sub, event });
        }
        self
    }

    fn eose(&mut self, connection: u32, sub: &str) -> &mut Self {
        let (sub, hint) = (sub.into(), None);
        self.push(connection, What::Eose { sub, hint })
    }

    fn finish(&mut self, connection: u32, sub: &str) -> &mut Self {
        let (sub, hint) = (sub.into(), Some("finish".into()));
        self.push(connection, What::Eose { sub, hint })
    }

    fn close(&mut self, connection: u32, sub: &str) -> &mut Self {
        self.push(connection, What::Close { sub: sub.into() })
    }

    fn closed(&mut self, connection: u32, sub: &str) -> &mut Self {
        let (sub, text) = (sub.into(), "error: gone".into());
        self.push(connection, What::Closed { sub, text })
    }

    fn cut(&mut self, connection: u32) -> &mut Self {
        let why = "reset".into();
        self.push(connection, What::Disconnected { why })
    }

    fn leave(&mut self, connection: u32) -> &mut Self {
        let why = "done".into();
        self.push(connection, What::Left { why })
    }

    /// A subscription to everything with an empty stored part.
    fn live(&mut self, connection: u32) -> &mut Self {
        self.req(connection, "s", json!({"limit": 0}))
            .eose(connection, "s")
    }

    /// A query whose whole answer this is.
    fn query(&mut self, connection: u32, filter: Value, events: &[&Event]) -> &mut Self {
        self.req(connection, "q", filter)
            .events(connection, "q", events)
            .eose(connection, "q")
            .close(connection, "q")
    }

    /// Connection 9 or 19 asks for `ids` at the end and gets `events`.
    fn read_back(&mut self, gateway: u32, ids: &[&Event], events: &[&Event]) -> &mut Self {
        let ids: Vec<String> = ids.iter().map(|event| event.id().to_hex()).collect();
        let connection = gateway * 10 + 9;
        self.push(connection, What::ReadBack)
            .query(connection, json!({"ids": ids}), events)
    }

    fn result(&self, expect: &Expect) -> Result<Summary, Violations> {
        check_entries(Timestamp::from_secs(START), &self.entries, expect)
    }

    #[track_caller]
    fn check_with(&self, expect: &Expect, rules: &[Rule]) {
        match self.result(expect) {
            Ok(_) => assert!(rules.is_empty(), "{rules:?} not found"),
            Err(violations) => assert_eq!(violations.rules(), rules, "{violations}"),
        }
    }

    /// The demands of a cluster without faults; exactly these rules are broken.
    #[track_caller]
    fn check(&self, rules: &[Rule]) {
        self.check_with(&strict(), rules);
    }
}

fn strict() -> Expect {
    Expect {
        ephemeral_may_be_lost: false,
        whole_answers: true,
        ..Expect::default()
    }
}

fn plant() -> Plant {
    Plant::default()
}

/// A note of key 0, so many seconds after the start.
fn note(n: u64) -> Event {
    Key::nth(0).note(START + n, "note")
}

/// A version of one address of key 0.
fn version(n: u64) -> Event {
    Key::nth(0).sign(START + n, 30_023, &[&["d", "x"]], "version")
}

/// A deletion request of key `key` for these ids, so many seconds after the start.
fn deletion(key: usize, n: u64, events: &[&Event]) -> Event {
    let ids: Vec<String> = events.iter().map(|event| event.id().to_hex()).collect();
    let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", &**id]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(<[&str; 2]>::as_slice).collect();
    Key::nth(key).sign(START + n, 5, &tags, "")
}
