//! One connection with many live subscriptions, each opened again when the relay ends it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_testkit::{history::Recorded, keys::Key, random::Random, reply::Reply};
use serde_json::{Value, json};

use super::{
    Phase, Shared,
    events::{ARTICLE, DELETION, NOTE, PROFILE, REACTION, RELAYS, TOPICS, TYPING, place, topic},
};

/// Before a subscription that the relay ended is opened again.
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// The longest wait for a message at a time: how fast the end is noticed.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    gateway: usize,
    client: Recorded,
    random: Random,
    filters: Vec<Value>,
    /// Subscription to filter, of those that are open.
    open: HashMap<String, usize>,
    /// Of these, the ones whose stored part has ended.
    live: HashSet<String>,
    /// Filters to open, and when.
    closed: Vec<(Instant, usize)>,
    opened: u64,
    churn: Instant,
}

impl Subscriber {
    pub(super) fn new(shared: &Arc<Shared>, gateway: usize, number: usize) -> Self {
        let seed = shared.options.seed.wrapping_add(1_000 + number as u64);
        Self {
            client: shared.client(gateway),
            filters: filters(shared),
            shared: Arc::clone(shared),
            gateway,
            random: Random::seeded(seed),
            open: HashMap::new(),
            live: HashSet::new(),
            closed: Vec::new(),
            opened: 0,
            churn: Instant::now() + shared.options.churn_every,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.reached(Phase::Over) {
            if !self.client.is_connected() {
                if !self.shared.is_connected(&mut self.client, self.gateway) {
                    continue;
                }
                self.start_over();
            }
            self.open_again();
            self.close_one();
            self.receive();
        }
    }

    fn start_over(&mut self) {
        self.open.clear();
        self.live.clear();
        let now = Instant::now();
        self.closed = (0..self.filters.len())
            .map(|filter| (now, filter))
            .collect();
    }

    fn open_again(&mut self) {
        let now = Instant::now();
        let due: Vec<usize> = self
            .closed
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, filter)| filter)
            .collect();
        for filter in due {
            self.opened += 1;
            let sub = format!("{filter}-{}", self.opened);
            self.client.req(&sub, &self.filters[filter..=filter]);
            self.open.insert(sub, filter);
        }
    }

    /// Closes one that is live, so that it is opened anew in the middle of everything.
    fn close_one(&mut self) {
        if self.churn > Instant::now() || self.shared.reached(Phase::Settling) {
            return;
        }
        self.churn = Instant::now() + self.shared.options.churn_every;
        let mut live: Vec<&String> = self.live.iter().collect();
        live.sort_unstable();
        if live.is_empty() {
            return;
        }
        let sub = (*self.random.pick(&live)).clone();
        self.client.close(&sub);
        self.ended(&sub, Duration::ZERO);
    }

    fn receive(&mut self) {
        match self.client.poll(POLL) {
            Some(Reply::Eose { sub, .. }) if self.open.contains_key(&sub) => {
                self.live.insert(sub);
            }
            Some(Reply::Closed { sub, .. }) => self.ended(&sub, AGAIN_AFTER),
            _ => {}
        }
    }

    fn ended(&mut self, sub: &str, pause: Duration) {
        self.live.remove(sub);
        if let Some(filter) = self.open.remove(sub) {
            self.closed.push((Instant::now() + pause, filter));
        }
    }
}

/// Twenty of all sorts, each bound to the authors of this workload. Their limits are below and
/// above what is stored, so that joins with and without a stored part are tried.
fn filters(shared: &Shared) -> Vec<Value> {
    let authors = shared.authors();
    let mut filters = vec![
        json!({"authors": authors, "limit": 0}),
        json!({"authors": authors}),
        json!({"authors": authors, "kinds": [NOTE, REACTION], "limit": 100}),
        json!({"authors": authors, "kinds": [DELETION, TYPING]}),
        json!({"authors": authors, "kinds": [PROFILE, RELAYS, ARTICLE, DELETION]}),
        json!({"authors": [shared.keys[0].hex()]}),
        json!({"authors": authors, "kinds": [ARTICLE], "#d": [place(0)]}),
        json!({"authors": authors, "#p": [shared.keys[1].hex()], "limit": 50}),
    ];
    for kind in [NOTE, REACTION, PROFILE, ARTICLE] {
        filters.push(json!({"authors": authors, "kinds": [kind], "limit": 20}));
    }
    for n in 0..TOPICS {
        filters.push(json!({"authors": authors, "#t": [topic(n)], "limit": 10 * n}));
    }
    for key in shared.keys.iter().skip(1).take(3) {
        filters.push(json!({"authors": [Key::hex(key)], "limit": 200}));
    }
    filters
}
