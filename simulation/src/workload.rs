//! What clients publish and ask: few authors and few addresses, so that events meet.

use std::sync::Arc;

use heliograph_protocol::Event;
use heliograph_testkit::{RELAY_URL, keys::Key};
use parking_lot::Mutex;

use crate::{Journal, random::Random};

/// Authors.
const AUTHORS: usize = 4;

/// Makes events and questions. Clones share what was made.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    keys: Arc<[Key]>,
    made: Arc<Mutex<Vec<Arc<Event>>>>,
    random: Random,
    journal: Journal,
}

impl Workload {
    /// Nothing made yet.
    #[must_use]
    pub(crate) fn new(random: Random, journal: Journal) -> Self {
        Self {
            keys: (0..AUTHORS).map(Key::nth).collect(),
            made: Arc::default(),
            random,
            journal,
        }
    }

    /// A new event.
    #[must_use]
    pub(crate) fn event(&self) -> Arc<Event> {
        let key = &self.keys[self.random.index(AUTHORS)];
        let event = Arc::new(self.event_of(key));
        self.made.lock().push(Arc::clone(&event));
        event
    }

    /// An event that was made before, if there is one: most are new, some as old as can be.
    #[must_use]
    pub(crate) fn old_event(&self) -> Option<Arc<Event>> {
        let made = self.made.lock();
        self.random.pick(&made).cloned()
    }

    /// A note that most subscriptions want, for the end.
    #[must_use]
    pub(crate) fn probe(&self, number: usize) -> Arc<Event> {
        let key = &self.keys[number % AUTHORS];
        let event = Arc::new(key.sign(self.time(), 1, &[&["t", "x"]], &format!("probe {number}")));
        self.made.lock().push(Arc::clone(&event));
        event
    }

    /// Authors, for those who count.
    #[must_use]
    pub(crate) const fn authors() -> usize {
        AUTHORS
    }

    fn time(&self) -> u64 {
        self.journal.now().as_secs()
    }

    fn event_of(&self, key: &Key) -> Event {
        let random = &self.random;
        let at = self.time() - random.range(0..8);
        let content = format!("{}", random.range(0..1_000_000));
        let topic = *random.pick(&["x", "y"]).unwrap_or(&"x");
        match random.range(0..100) {
            0..35 => key.sign(at, 1, &[&["t", topic]], &content),
            35..48 => key.sign(at, 0, &[], &content),
            48..65 => {
                let name = *random.pick(&["a", "b"]).unwrap_or(&"a");
                key.sign(at, 30_023, &[&["d", name], &["t", topic]], &content)
            }
            65..73 => {
                let end = (self.time() + random.range(1..20)).to_string();
                let kind = *random.pick(&[1, 0, 30_023]).unwrap_or(&1);
                key.sign(at, kind, &[&["expiration", &end], &["d", "a"]], &content)
            }
            73..85 => self.deletion(key, at + random.range(0..4)),
            85..87 => key.sign(at - 4, 62, &[&["relay", RELAY_URL]], &content),
            _ => key.sign(self.time(), 20_001, &[&["t", topic]], &content),
        }
    }

    /// Deletes something of its author, by id or by address.
    fn deletion(&self, key: &Key, at: u64) -> Event {
        let made = self.made.lock();
        let own: Vec<_> = made
            .iter()
            .filter(|event| *event.pubkey() == key.public())
            .cloned()
            .collect();
        drop(made);
        let Some(target) = self.random.pick(&own) else {
            return key.note(at, "nothing to delete");
        };
        // Nobody deletes what isn't there yet.
        let at = at.max(target.created_at().as_secs());
        if target.address().is_some() && self.random.chance(500) {
            let name = target.values("d").next().unwrap_or_default();
            let name = if target.kind().as_u16() == 0 {
                ""
            } else {
                &*name
            };
            let kind = target.kind().as_u16();
            let address = format!("{kind}:{}:{name}", key.hex());
            return key.sign(at, 5, &[&["a", &address]], "");
        }
        key.sign(at, 5, &[&["e", &target.id().to_hex()]], "")
    }

    /// A question in JSON.
    #[must_use]
    pub(crate) fn filter(&self) -> String {
        let random = &self.random;
        let author = self.keys[random.index(AUTHORS)].hex();
        let other = self.keys[random.index(AUTHORS)].hex();
        match random.range(0..100) {
            0..20 => r#"{"kinds":[1]}"#.to_owned(),
            20..35 => format!(r#"{{"authors":["{author}"]}}"#),
            35..50 => format!(r#"{{"authors":["{author}","{other}"],"kinds":[0,1,30023]}}"#),
            50..60 => r##"{"#t":["x"]}"##.to_owned(),
            60..70 => r#"{"kinds":[0,30023]}"#.to_owned(),
            70..76 => format!(r##"{{"authors":["{author}"],"kinds":[30023],"#d":["a"]}}"##),
            76..82 => r#"{"kinds":[20001]}"#.to_owned(),
            82..87 => format!(r#"{{"kinds":[1,0],"limit":{}}}"#, random.range(0..8)),
            87..90 => r#"{"kinds":[5]}"#.to_owned(),
            90..93 => {
                let id = self.old_event().map(|event| event.id().to_hex());
                let id = id.unwrap_or_else(|| "0".repeat(64));
                format!(r#"{{"ids":["{id}"]}}"#)
            }
            93..96 => format!(r#"{{"since":{}}}"#, self.time() - 4),
            _ => "{}".to_owned(),
        }
    }
}
