//! A cluster without faults, of any size, and every message that an event makes in it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use heliograph_protocol::{Event, EventId};
use heliograph_testkit::keys::Key;
use tokio::time::timeout;

use crate::{
    Faults, Journal,
    cluster::{Cluster, Role},
    connection::{Connection, Place},
    history::{History, Seen},
    random::Random,
    traffic::Traffic,
};

/// How long anything may take, on a clock that stands still while somebody works.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long nothing has to come to a client before it has got everything: what is on its way comes sooner.
const SILENCE: Duration = Duration::from_millis(10);

/// What is started and asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Gateways.
    pub gateways: usize,
    /// Matchers.
    pub matchers: usize,
    /// Ingest workers.
    pub ingest: usize,
    /// Gateways with subscriptions that want the events: the first ones. All have one that doesn't.
    pub matching: usize,
    /// Subscriptions that want them, each on a connection of its own, at each of these.
    pub each: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// What crossed while the events were published, one after the other.
    pub traffic: Traffic,
    /// Bytes of the events, each counted once.
    pub event_bytes: u64,
    /// The events, in the order in which they were published.
    pub published: Vec<EventId>,
    /// Everything that each subscriber got that wanted them, as it came.
    pub received: Vec<Vec<EventId>>,
    /// Everything that each of the others got.
    pub unwanted: Vec<Vec<EventId>>,
}

/// Publishes events at the gateways in turn and counts.
///
/// # Panics
///
/// Something isn't answered, or an event isn't taken.
#[must_use]
pub fn census(size: Size, events: usize) -> Census {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(Box::pin(run(size, events)))
}

async fn run(size: Size, events: usize) -> Census {
    let (random, journal) = (Random::new(1), Journal::begin());
    let cluster = Cluster::new(&Faults::none(), &random, &journal);
    let counter = cluster.server().counter().clone();
    counter.switch_on();
    let roles = [
        (Role::Ingest, "ingest", size.ingest),
        (Role::Matcher, "matcher", size.matchers),
        (Role::Gateway, "gateway", size.gateways),
    ];
    for (role, name, count) in roles {
        (0..count).for_each(|number| cluster.start(role, &format!("{name}-{number}")));
    }
    let place = |name: String| Place {
        cluster: cluster.clone(),
        history: History::default(),
        journal: journal.clone(),
        process: cluster.outsider(&name),
    };
    let mut wanting = Vec::new();
    let mut others = Vec::new();
    for gateway in 0..size.gateways {
        let at = format!("gateway-{gateway}");
        let each = if gateway < size.matching {
            size.each
        } else {
            0
        };
        for number in 0..each {
            let client = Subscriber::open(place(format!("{at}-{number}")), &at, r#"{"kinds":[1]}"#);
            wanting.push(client.await);
        }
        let client = Subscriber::open(place(format!("{at}-other")), &at, r#"{"kinds":[7]}"#);
        others.push(client.await);
    }
    let before = counter.counted();
    let mut event_bytes = 0;
    let mut published = Vec::new();
    for number in 0..events {
        let event = note(&journal, number);
        event_bytes += event.as_str().len() as u64;
        published.push(*event.id());
        let at = format!("gateway-{}", number % size.gateways);
        publish(place(format!("writer-{number}")), &at, &event).await;
        for subscriber in &mut wanting {
            subscriber.receive(event.id()).await;
        }
        settled(&cluster).await;
        // Also what comes twice, or to somebody who didn't ask for it.
        join_all(wanting.iter_mut().chain(&mut others).map(Subscriber::drain)).await;
    }
    let traffic = counter.counted().since(&before);
    Census {
        traffic,
        event_bytes,
        published,
        received: wanting.iter().map(Subscriber::events).collect(),
        unwanted: others.iter().map(Subscriber::events).collect(),
    }
}

fn note(journal: &Journal, number: usize) -> Arc<Event> {
    let content = "x".repeat(40 + 17 * number);
    Arc::new(Key::nth(number % 5).note(journal.now().as_secs(), &content))
}

async fn publish(place: Place, gateway: &str, event: &Arc<Event>) {
    let history = place.history.clone();
    let mut connection = Connection::open(&place, gateway).await.expect("a gateway");
    connection.publish(event);
    let answered = async {
        while history.publications()[0].answers.is_empty() {
            connection.read().await.expect("an open connection");
        }
    };
    timeout(PATIENCE, answered).await.expect("an OK");
    let answers = &history.publications()[0].answers;
    assert!(answers.iter().all(|(_, taken, _)| *taken), "{answers:?}");
}

/// Waits until nobody has anything to do: a paused clock goes on only then.
async fn settled(cluster: &Cluster) {
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        cluster.server().is_idle(),
        "something is still to be stored"
    );
}

/// A client with one subscription.
struct Subscriber {
    place: Place,
    connection: Connection,
    number: usize,
}

impl Subscriber {
    async fn open(place: Place, gateway: &str, filter: &str) -> Self {
        let mut connection = Connection::open(&place, gateway).await.expect("a gateway");
        let (_, number) = connection.subscribe(filter);
        let mut subscriber = Self {
            place,
            connection,
            number,
        };
        subscriber
            .read_until(|seen| seen.contains(&Seen::Eose))
            .await;
        subscriber
    }

    async fn receive(&mut self, event: &EventId) {
        let event = Seen::Event(*event);
        self.read_until(|seen| seen.contains(&event)).await;
    }

    async fn read_until(&mut self, enough: impl Fn(&[Seen]) -> bool) {
        let reading = async {
            while !enough(&self.seen()) {
                self.read().await;
            }
        };
        timeout(PATIENCE, reading)
            .await
            .expect("what was subscribed to");
    }

    /// Reads what is there, until nothing comes any more.
    async fn drain(&mut self) {
        while timeout(SILENCE, self.read()).await.is_ok() {}
    }

    async fn read(&mut self) {
        self.connection.read().await.expect("an open connection");
    }

    fn seen(&self) -> Vec<Seen> {
        let subscriptions = self.place.history.subscriptions();
        let seen = &subscriptions[self.number].seen;
        seen.iter().map(|(_, seen)| seen.clone()).collect()
    }

    fn events(&self) -> Vec<EventId> {
        let events = self.seen().into_iter().filter_map(|seen| match seen {
            Seen::Event(id) => Some(id),
            _ => None,
        });
        events.collect()
    }
}
