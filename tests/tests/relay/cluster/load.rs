//! Publishers at a steady rate and subscribers that notice every gap and every repetition.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Instant,
};

use heliograph_protocol::Event;
use heliograph_testkit::{client::Client, keys::Key, reply::Reply};
use serde_json::{Value, json};

use super::{
    bed::{Bed, within},
    faults::PATIENCE,
};
use crate::support::{drain, now, open_fence};

/// Events of one publisher on their way at once.
const WINDOW: usize = 8;

/// Subscriptions on each connection.
const TOPICS: usize = 20;

/// What publishers share with the test that started them.
#[derive(Debug, Default)]
pub(super) struct Load {
    over: AtomicBool,
    accepted: AtomicUsize,
}

/// Ends the load, also when the test fails.
#[derive(Debug)]
pub(super) struct Guard<'a>(&'a Load);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// What one publisher sent, by its answers.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// OK true.
    pub(super) accepted: Vec<Event>,
    /// OK false with `error:`: stored or not, the publisher isn't told.
    pub(super) unsure: Vec<Event>,
}

impl Load {
    /// Ends the load when it is dropped.
    pub(super) fn guard(&self) -> Guard<'_> {
        Guard(self)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits until so many more events were accepted.
    #[track_caller]
    pub(super) fn progress(&self, events: usize) {
        let end = self.accepted.load(Ordering::Relaxed) + events;
        within(PATIENCE, "progress", || {
            (self.accepted.load(Ordering::Relaxed) >= end).then_some(())
        });
    }

    /// Publishes until the load is over.
    pub(super) fn publish(&self, mut client: Client, key: &Key) -> Published {
        let mut published = Published::default();
        for number in 0.. {
            if self.is_over() {
                break;
            }
            let event = |n: usize| key.sign(now(), 1, &[&["t", &topic(n)]], &n.to_string());
            let events: Vec<Event> = (0..WINDOW).map(|n| event(number * WINDOW + n)).collect();
            events.iter().for_each(|event| client.send_event(event));
            for event in events {
                let (accepted, text) = client.ok(&event.id().to_hex());
                if accepted {
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    published.accepted.push(event);
                } else {
                    assert!(text.starts_with("error: "), "{text}");
                    published.unsure.push(event);
                }
            }
        }
        published
    }
}

fn topic(n: usize) -> String {
    format!("topic-{}", n % TOPICS)
}

/// Two connections on each of two gateways, each with a subscription to all and one a topic.
#[derive(Debug)]
pub(super) struct Subscribers {
    clients: Vec<Client>,
}

/// What came on each subscription of one connection, in order.
type Delivered = BTreeMap<String, Vec<String>>;

impl Subscribers {
    #[track_caller]
    pub(super) fn open(bed: &Bed, keys: &[Key; 2]) -> Self {
        let authors = keys.each_ref().map(Key::hex);
        let open = |gateway: usize| {
            let mut client = bed.at(gateway);
            client.req("all", &[json!({"authors": authors, "limit": 0})]);
            for n in 0..TOPICS {
                let filter: Value = json!({"authors": authors, "#t": [topic(n)], "limit": 0});
                client.req(&topic(n), &[filter]);
            }
            open_fence(&mut client);
            client
        };
        Self {
            clients: [0, 1, 0, 1].map(open).into(),
        }
    }

    /// Everything accepted has to have come on every subscription that wants it, once, in one order
    /// everywhere; of `unsure` any may.
    #[track_caller]
    pub(super) fn check(&mut self, bed: &Bed, accepted: &[Event], unsure: &[Event]) {
        let mut orders: Vec<Vec<String>> = Vec::new();
        for client in &mut self.clients {
            let mut delivered = wait_for(client, accepted);
            // What else is on its way comes before this.
            for (sub, event) in drain(client, &mut bed.client()) {
                delivered.entry(sub).or_default().push(event.id().to_hex());
            }
            for (sub, ids) in &delivered {
                check_subscription(sub, ids, accepted, unsure);
            }
            orders.push(delivered.remove("all").unwrap_or_default());
        }
        let sure: BTreeSet<String> = accepted.iter().map(|event| event.id().to_hex()).collect();
        for order in &mut orders {
            order.retain(|id| sure.contains(id));
        }
        assert!(
            orders.windows(2).all(|pair| pair[0] == pair[1]),
            "subscribers got the same events in different orders"
        );
    }
}

/// Reads until all that was accepted has come twice, on the subscription to all and on one topic's,
/// or nothing comes any more.
fn wait_for(client: &mut Client, accepted: &[Event]) -> Delivered {
    let mut missing: BTreeSet<(String, String)> = BTreeSet::new();
    for event in accepted {
        for sub in [topic_of(event), "all".to_owned()] {
            missing.insert((sub, event.id().to_hex()));
        }
    }
    let mut delivered = Delivered::new();
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        match client.poll(left) {
            Some(Reply::Event { sub, event }) => {
                let id = event.id().to_hex();
                delivered.entry(sub.clone()).or_default().push(id.clone());
                missing.remove(&(sub, id));
            }
            Some(other) => client
                .socket
                .fail(&format!("a subscription was lost: {other:?}")),
            None => break,
        }
    }
    delivered
}

fn topic_of(event: &Event) -> String {
    let tag = event.first_tag("t").expect("every event has a topic");
    tag.value().expect("with a value").into_owned()
}

#[track_caller]
fn check_subscription(sub: &str, got: &[String], accepted: &[Event], unsure: &[Event]) {
    let wanted = |event: &&Event| sub == "all" || topic_of(event) == sub;
    let ids = |events: &[Event]| -> BTreeSet<String> {
        let wanted = events.iter().filter(wanted);
        wanted.map(|event| event.id().to_hex()).collect()
    };
    let (must, may) = (ids(accepted), ids(unsure));
    let set: BTreeSet<String> = got.iter().cloned().collect();
    let missing: Vec<&String> = must.difference(&set).collect();
    assert!(
        missing.is_empty(),
        "{sub}: {} of {} never came: {missing:?}",
        missing.len(),
        must.len()
    );
    let foreign = set
        .iter()
        .filter(|id| !must.contains(*id) && !may.contains(*id));
    assert_eq!(foreign.count(), 0, "{sub}: nobody published them");
    assert_eq!(set.len(), got.len(), "{sub}: an event came twice");
}
