//! A relay that does everything right, simulated: what it does passes, and with one delivery taken
//! away, doubled or moved it doesn't.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::random::Random;

/// Steps of one history.
const STEPS: usize = 60;

/// A relay that stores and delivers at once, in front of clients that are answered in any order.
struct Perfect {
    log: Plant,
    random: Random,
    stored: Vec<Event>,
    /// OKs on their way.
    oks: Vec<(Event, bool, &'static str)>,
    /// Connections with an open subscription, and what they haven't read yet.
    open: BTreeMap<u32, Vec<Event>>,
}

impl Perfect {
    fn publish(&mut self, n: usize) {
        let (key, at) = (self.random.below(2), START + self.random.below(5) as u64);
        let key = Key::nth(key);
        let event = match self.random.below(5) {
            0 => key.sign(at, 30_023, &[&["d", "x"]], &n.to_string()),
            1 if !self.stored.is_empty() => {
                let id = self.random.pick(&self.stored).id().to_hex();
                key.sign(at, 5, &[&["e", &id]], &n.to_string())
            }
            _ => key.note(at, &n.to_string()),
        };
        self.log.publish(1, &event);
        let beats = |other: &Event| other.address() == event.address() && other.supersedes(&event);
        if event.address().is_some() && self.seats().any(beats) {
            self.oks
                .push((event, false, "duplicate: a newer version exists"));
            return;
        }
        self.stored.push(event.clone());
        for unread in self.open.values_mut() {
            unread.push(event.clone());
        }
        self.oks.push((event, true, ""));
    }

    /// Every version that was ever stored.
    fn seats(&self) -> impl Iterator<Item = &Event> {
        self.stored.iter().filter(|event| event.address().is_some())
    }

    fn is_visible(&self, event: &Event) -> bool {
        let hex = event.id().to_hex();
        let deletes = |request: &Event| {
            request.kind().as_u16() == 5
                && event.kind().as_u16() != 5
                && request.pubkey() == event.pubkey()
                && request.values("e").any(|id| id == hex)
        };
        let beats = |other: &Event| other.address() == event.address() && other.supersedes(event);
        !self.stored.iter().any(deletes) && (event.address().is_none() || !self.seats().any(beats))
    }

    fn visible(&self, limit: usize) -> Vec<Event> {
        let visible = self.stored.iter().filter(|event| self.is_visible(event));
        let mut visible: Vec<Event> = visible.cloned().collect();
        visible.sort_by_key(Event::position);
        visible.truncate(limit);
        visible
    }

    fn open(&mut self, connection: u32) {
        let limit = self.random.below(8);
        let stored = self.visible(limit);
        self.log.req(connection, "s", json!({"limit": limit}));
        let stored: Vec<&Event> = stored.iter().collect();
        self.log
            .events(connection, "s", &stored)
            .eose(connection, "s");
        self.open.insert(connection, Vec::new());
    }

    fn step(&mut self, n: usize) {
        let any = self.random.below(self.open.len().max(1));
        let connection = self.open.keys().nth(any).copied();
        match (self.random.below(6), connection) {
            (0 | 1, _) => self.publish(n),
            (2, _) if !self.oks.is_empty() => {
                let any = self.random.below(self.oks.len());
                let (event, accepted, text) = self.oks.remove(any);
                self.log.answer(1, &event, accepted, text);
            }
            (3, _) if self.open.len() < 5 => self.open(100 + u32::try_from(n).expect("few steps")),
            (4, Some(connection)) => self.read(connection, 1),
            (5, Some(connection)) if n.is_multiple_of(4) => {
                self.read(connection, usize::MAX);
                self.log.close(connection, "s");
                self.open.remove(&connection);
            }
            _ => {}
        }
    }

    fn read(&mut self, connection: u32, most: usize) {
        let unread = self.open.entry(connection).or_default();
        for event in unread.drain(..most.min(unread.len())) {
            self.log.events(connection, "s", &[&event]);
        }
    }

    fn run(seed: u64) -> Plant {
        let mut relay = Self {
            log: plant(),
            random: Random::seeded(seed),
            stored: Vec::new(),
            oks: Vec::new(),
            open: BTreeMap::new(),
        };
        relay.open(99);
        (0..STEPS).for_each(|n| relay.step(n));
        for (event, accepted, text) in std::mem::take(&mut relay.oks) {
            relay.log.answer(1, &event, accepted, text);
        }
        for connection in relay.open.keys().copied().collect::<Vec<_>>() {
            relay.read(connection, usize::MAX);
        }
        let (sent, left) = (relay.sent(), relay.visible(usize::MAX));
        let (sent, left): (Vec<_>, Vec<_>) = (sent.iter().collect(), left.iter().collect());
        relay.log.read_back(0, &sent, &left);
        relay.log
    }

    fn sent(&self) -> Vec<Event> {
        let sent = self
            .log
            .entries
            .iter()
            .filter_map(|entry| match &entry.what {
                What::Publish { event } => Some(event.clone()),
                _ => None,
            });
        sent.collect()
    }
}

fn deliveries(log: &Plant) -> Vec<usize> {
    let is_delivery = |entry: &Entry| matches!(entry.what, What::Event { .. });
    let numbers = 0..log.entries.len();
    numbers.filter(|n| is_delivery(&log.entries[*n])).collect()
}

/// Whether a relay may never leave this delivery out: acknowledged, and nothing removes it.
fn is_owed(log: &Plant, number: usize) -> bool {
    let event = log.entries[number].what.event().expect("a delivery");
    let id = event.id().to_hex();
    let removes = |other: &Event| {
        let beats = event.address().is_some() && other.address() == event.address();
        (beats && other.supersedes(event)) || other.values("e").any(|named| named == id)
    };
    let acknowledged = |entry: &Entry| matches!(&entry.what, What::Ok { id, accepted: true, .. } if id == event.id());
    let removed = |entry: &Entry| matches!(&entry.what, What::Publish { event } if removes(event));
    log.entries.iter().any(acknowledged) && !log.entries.iter().any(removed)
}

/// Whether it is a live delivery on a subscription that stayed open.
fn is_live(log: &Plant, number: usize) -> bool {
    let connection = log.entries[number].connection;
    let same = |entry: &&Entry| entry.connection == connection;
    let before = log.entries[..number].iter().filter(same);
    let after = log.entries[number..].iter().filter(same);
    before
        .rev()
        .any(|entry| matches!(entry.what, What::Eose { .. }))
        && !after
            .into_iter()
            .any(|entry| matches!(entry.what, What::Close { .. }))
}

fn without_one_of(log: &Plant, chosen: &[usize], any: &prop::sample::Index) -> Vec<Rule> {
    let mut log = log.clone();
    log.entries.remove(chosen[any.index(chosen.len())]);
    log.result(&strict())
        .expect_err("something is missing")
        .rules()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_a_perfect_relay_does_passes(seed: u64) {
        let log = Perfect::run(seed);
        prop_assert!(log.result(&strict()).is_ok(), "{}", log.result(&strict()).unwrap_err());
    }

    #[test]
    fn a_delivery_too_many_is_found(seed: u64, any: prop::sample::Index, later: prop::sample::Index) {
        let mut log = Perfect::run(seed);
        let deliveries = deliveries(&log);
        prop_assume!(!deliveries.is_empty());
        let chosen = deliveries[any.index(deliveries.len())];
        let copy = log.entries[chosen].clone();
        let at = chosen + 1 + later.index(log.entries.len() - chosen);
        log.entries.insert(at, copy);
        prop_assert!(log.result(&strict()).unwrap_err().rules().contains(&Rule::Repeated));
    }

    #[test]
    fn a_live_delivery_too_few_is_found(seed: u64, any: prop::sample::Index) {
        let log = Perfect::run(seed);
        let owed = |number: &usize| is_owed(&log, *number) && is_live(&log, *number);
        let owed: Vec<usize> = deliveries(&log).into_iter().filter(owed).collect();
        prop_assume!(!owed.is_empty());
        prop_assert_eq!(without_one_of(&log, &owed, &any), vec![Rule::Missing]);
    }

    #[test]
    fn an_event_that_does_not_come_back_is_found(seed: u64, any: prop::sample::Index) {
        let log = Perfect::run(seed);
        let reading_back = |number: &usize| log.entries[*number].connection == 9;
        let owed = |number: &usize| is_owed(&log, *number) && reading_back(number);
        let owed: Vec<usize> = deliveries(&log).into_iter().filter(owed).collect();
        prop_assume!(!owed.is_empty());
        prop_assert_eq!(without_one_of(&log, &owed, &any), vec![Rule::Lost]);
    }
}
