//! Asks for stored events: home feeds, what was just acknowledged, one author, one address.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use heliograph_testkit::{history::Recorded, random::Random};
use serde_json::{Value, json};

use super::{
    Phase, Shared,
    events::{ARTICLE, NOTE, REACTION, TOPICS, any_place, topic},
};

/// An answer that hasn't come by then is given up; the checker has its own deadline.
const ANSWER_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Asker {
    shared: Arc<Shared>,
    gateway: usize,
    client: Recorded,
    random: Random,
}

impl Asker {
    pub(super) fn new(shared: &Arc<Shared>, gateway: usize) -> Self {
        let seed = shared.options.seed.wrapping_add(2_000 + gateway as u64);
        Self {
            client: shared.client(gateway),
            shared: Arc::clone(shared),
            gateway,
            random: Random::seeded(seed),
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.reached(Phase::Settling) {
            let next = Instant::now() + self.shared.options.ask_every;
            if self.shared.is_connected(&mut self.client, self.gateway) {
                self.ask();
            }
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        self.client.disconnect("the asker has finished");
    }

    fn ask(&mut self) {
        if self.random.once_in(8) {
            let filter = self.author();
            self.client.count(&[filter], ANSWER_MAX);
            return;
        }
        let filters = match self.random.below(6) {
            0 => vec![self.feed()],
            1 | 2 => vec![self.by_id()],
            3 => vec![self.author()],
            4 => vec![self.address(), self.topic()],
            _ => vec![self.topic()],
        };
        self.client.query(&filters, ANSWER_MAX);
    }

    fn feed(&self) -> Value {
        json!({"authors": self.shared.authors(), "kinds": [NOTE, REACTION], "limit": 100})
    }

    fn by_id(&mut self) -> Value {
        let events = self.shared.lately(&mut self.random, 20);
        let ids: Vec<String> = events.iter().map(|event| event.id().to_hex()).collect();
        json!({"ids": ids})
    }

    fn author(&mut self) -> Value {
        let key = self.random.pick(&self.shared.keys).hex();
        json!({"authors": [key], "limit": 100})
    }

    fn address(&mut self) -> Value {
        let (key, place) = (self.shared.keys[0].hex(), any_place(&mut self.random));
        json!({"authors": [key], "kinds": [ARTICLE], "#d": [place]})
    }

    fn topic(&mut self) -> Value {
        let topic = topic(self.random.below(TOPICS));
        json!({"authors": self.shared.authors(), "#t": [topic], "limit": 50})
    }
}
