//! A small matcher that keeps the promises of the seam over a list of events, a gateway that notes
//! what it is given, and a wire between them that can be held and cut.

mod matcher;
mod wire;

use std::{sync::Arc, time::Duration};

use heliograph_bus::{
    AnswerEnd, CommitNumber, ConnectionId, Deliver, Delivery, Open, Pages, Place, Requests, Slot,
};
use heliograph_lifecycle::{Phase, Shutdown, Tasks};
use heliograph_link::{
    Client, ClientMetrics, ClientOptions, ServerMetrics, ServerOptions, Sessions, Target, serve,
};
use heliograph_policy::Reader;
use heliograph_protocol::{Event, Filter, Kind, PublicKey, Refusal, Signature, Timestamp};
use parking_lot::Mutex;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{net::TcpListener, sync::watch, time::timeout};

pub(crate) use matcher::{Log, Scripted};
pub(crate) use wire::Wire;

/// Longer than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A matcher behind its link.
pub(crate) struct Served {
    pub(crate) matcher: Arc<Scripted>,
    pub(crate) target: Target,
    pub(crate) sessions: Sessions,
    shutdown: Shutdown,
    registry: Registry,
}

/// Starts a matcher that follows `log`.
pub(crate) async fn start(name: &str, log: &Log, options: ServerOptions) -> Served {
    let mut registry = Registry::default();
    let sessions = Sessions::new(ServerMetrics::register(&mut registry));
    let matcher = Scripted::new(log, sessions.sink());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let shutdown = Shutdown::new();
    let options = ServerOptions {
        name: name.to_owned(),
        heartbeat: Duration::from_millis(50),
        ..options
    };
    let tasks = Tasks::new();
    let requests: Arc<dyn Requests> = Arc::<Scripted>::clone(&matcher);
    let served = serve(
        listener,
        requests,
        sessions.clone(),
        matcher.applied(),
        options,
        tasks.clone(),
        shutdown.watch(),
    );
    tasks.spawn("serve", async { served.await.expect("served") });
    let target = Target {
        name: name.to_owned(),
        address,
    };
    Served {
        matcher,
        target,
        sessions,
        shutdown,
        registry,
    }
}

impl Served {
    pub(crate) fn stop(&self) {
        self.shutdown.advance(Phase::Draining);
    }

    /// The value of a metric of the server's end.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(&self.registry, name)
    }
}

/// A gateway: its client and what was delivered.
pub(crate) struct Gateway {
    pub(crate) client: Client,
    pub(crate) hub: Arc<Hub>,
    pub(crate) target: watch::Sender<Option<Target>>,
    registry: Registry,
}

/// Starts a gateway.
pub(crate) fn gateway(name: &str, target: Option<&Target>) -> Gateway {
    gateway_with(name, target, ClientOptions::default())
}

pub(crate) fn gateway_with(name: &str, target: Option<&Target>, options: ClientOptions) -> Gateway {
    let options = ClientOptions {
        gateway: name.to_owned(),
        incarnation: "1".to_owned(),
        ..options
    };
    let hub = Arc::new(Hub::default());
    let target = watch::Sender::new(target.cloned());
    let mut registry = Registry::default();
    let metrics = ClientMetrics::register(&mut registry);
    let deliver: Arc<dyn Deliver> = Arc::<Hub>::clone(&hub);
    let made = Client::new(options, target.subscribe(), deliver, metrics);
    let (client, link) = made.expect("good options");
    Tasks::new().spawn("link", link.run());
    Gateway {
        client,
        hub,
        target,
        registry,
    }
}

impl Gateway {
    /// The value of a metric of the client's end.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(&self.registry, name)
    }

    /// Asks, reads to the end and goes live. The contents of the stored part.
    pub(crate) async fn live(&self, slot: u32, filter: &str) -> Vec<String> {
        let asked = self.client.open(open(slot, filter)).await;
        read(&mut *asked.expect("an answer")).await
    }

    /// Waits until the link has a session.
    pub(crate) async fn connected(&self) {
        until(|| self.client.is_connected()).await;
    }
}

fn metric(registry: &Registry, name: &str) -> f64 {
    let mut text = String::new();
    encode(&mut text, registry).expect("metrics");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("link_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .expect("a number")
}

/// A REQ of connection `slot`, by nobody.
pub(crate) fn open(slot: u32, filter: &str) -> Open {
    Open {
        slot: Slot(slot),
        connection: ConnectionId(slot.into()),
        filters: vec![Filter::parse(filter).expect("a filter")],
        reader: Arc::new(Reader::default()),
        after: CommitNumber(0),
        now: Timestamp::from_secs(1),
        trace: None,
    }
}

/// Reads an answer to EOSE.
pub(crate) async fn read(pages: &mut dyn Pages) -> Vec<String> {
    let mut contents = Vec::new();
    loop {
        let page = timeout(DEADLINE, pages.next()).await.expect("in time");
        let page = page.expect("a page");
        contents.extend(page.events.iter().map(|event| event.content().into_owned()));
        match page.end {
            None => {}
            Some(AnswerEnd::Eose(_)) => return contents,
            Some(AnswerEnd::Closed(refusal)) => panic!("{refusal}"),
        }
    }
}

/// An event of kind 1.
pub(crate) fn note(content: &str) -> Arc<Event> {
    let tags: [Vec<&str>; 0] = [];
    let sign = |_: &_| Signature::new([0; 64]);
    let (key, now) = (PublicKey::new([1; 32]), Timestamp::from_secs(1));
    Arc::new(Event::build(key, now, Kind::new(1), &tags, content, sign))
}

/// Notes what was delivered.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    pub(crate) noted: Mutex<Vec<Noted>>,
}

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Noted {
    Event {
        content: String,
        place: Option<Place>,
        slots: Vec<u32>,
    },
    Released(u32),
    Ended(u32, Refusal),
}

impl Deliver for Hub {
    fn deliver(&self, delivery: Delivery) {
        let noted = match delivery {
            Delivery::Event {
                event,
                place,
                slots,
            } => Noted::Event {
                content: event.content().into_owned(),
                place,
                slots: slots.into_iter().map(|slot| slot.0).collect(),
            },
            Delivery::Released(slot) => Noted::Released(slot.0),
            Delivery::Ended(slot, refusal) => Noted::Ended(slot.0, refusal),
        };
        self.noted.lock().push(noted);
    }
}

impl Hub {
    /// What `slot` got, by the rule of the seam: what isn't behind its last place came before.
    pub(crate) fn contents(&self, slot: u32) -> Vec<String> {
        let mut last = None;
        let mut contents = Vec::new();
        for noted in &*self.noted.lock() {
            if let Noted::Event {
                content,
                place,
                slots,
            } = noted
                && slots.contains(&slot)
                && *place > last
            {
                last = *place;
                contents.push(content.clone());
            }
        }
        contents
    }

    pub(crate) fn released(&self, slot: u32) -> usize {
        let noted = self.noted.lock();
        noted
            .iter()
            .filter(|n| **n == Noted::Released(slot))
            .count()
    }

    pub(crate) fn ended(&self) -> Vec<u32> {
        let noted = self.noted.lock();
        let ended = noted.iter().filter_map(|noted| match noted {
            Noted::Ended(slot, _) => Some(*slot),
            Noted::Event { .. } | Noted::Released(_) => None,
        });
        ended.collect()
    }
}

/// Waits for a state.
#[track_caller]
pub(crate) fn until(state: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let mut state = state;
        let reached = async {
            while !state() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let reached = timeout(DEADLINE, reached).await;
        assert!(reached.is_ok(), "not reached: {caller}");
    }
}
