//! A gateway on a port of its own, and the matcher that it asks.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use heliograph_bus::{
    AnswerEnd, AnswerPage, BoxFuture, Bus as _, BusError, CommitNumber, ConnectionId, Count,
    Counted, Delivery, Eose, InProcess, InProcessOptions, Intake as _, Open, Pages, Published,
    Requests, Resume, Slot,
};
use heliograph_gateway::{
    ConnectionLimits, Durability, Gateway, Hub, Info, Known, Metrics, Options,
};
use heliograph_lifecycle::{Shutdown, Tasks};
use heliograph_policy::{EventLimits, FilterLimits, Rate, RelayUrls};
use heliograph_protocol::{EoseHint, Event, Kind, PublicKey, Refusal};
use heliograph_testkit::{PATIENCE, RELAY_URL, keys::Key};
use heliograph_verify::Verifier;
use parking_lot::Mutex;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

/// A REQ for this kind has an empty stored part.
pub(crate) const LIVE: u16 = 1;
/// A REQ for this kind has a stored part without end.
pub(crate) const ENDLESS: u16 = 2;
/// A REQ for this kind gets one event, waits for the gate, and gets a second.
pub(crate) const GATED: u16 = 3;
/// A REQ for this kind has a stored part that ends as soon as the gate is open.
pub(crate) const FLOWING: u16 = 5;

/// Bytes of a message at most.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32_768;

/// Time without a byte taken after which a client counts as stuck.
const STALL: Duration = Duration::from_secs(1);

/// A gateway whose matcher follows the script.
pub(crate) struct Bed {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The script.
    pub(crate) matcher: Arc<Scripted>,
    /// Its phase.
    pub(crate) shutdown: Shutdown,
    /// The accept loop, and a task for each connection.
    pub(crate) tasks: Tasks,
    registry: Registry,
    bus: InProcess,
    intake: Mutex<heliograph_bus::InProcessIntake>,
    runtime: Runtime,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with_stall(STALL)
    }

    /// Waits longer for clients that don't read or don't send their request.
    pub(crate) fn patient() -> Self {
        Self::with_stall(PATIENCE)
    }

    fn with_stall(stall: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let bus = InProcess::new(InProcessOptions::default());
        let matcher = Arc::new(Scripted::new(bus.clone()));
        let requests: Arc<dyn Requests> = Arc::<Scripted>::clone(&matcher);
        bus.serve_requests(requests);
        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry, Durability::Fsync));
        let hub = Arc::new(Hub::new(Arc::clone(&metrics)));
        let deliveries: Arc<Hub> = Arc::clone(&hub);
        bus.serve_deliveries(deliveries);
        let nothing = Known {
            recent: Arc::new(|_| false),
            archive: Arc::new(|_| false),
            vanished: Arc::new(|_| false),
            verified: None,
        };
        let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
        let gateway = Gateway::new(
            bus.clone(),
            options(stall),
            Arc::new(Verifier::start(1, 100).expect("a thread")),
            nothing,
            hub,
            metrics,
            shutdown.clone(),
            tasks.clone(),
        );
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        tasks.spawn_on(
            runtime.handle(),
            "accept",
            heliograph_gateway::run(gateway, listener, None),
        );
        let intake = Mutex::new(bus.intake());
        Self {
            address,
            matcher,
            shutdown,
            tasks,
            registry,
            bus,
            intake,
            runtime,
        }
    }

    /// The value of a series, as a scraper sees it.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let mut page = String::new();
        encode(&mut page, &self.registry).expect("a string takes everything");
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no series {series} in {page}"));
        let number = value.split(' ').next().unwrap_or_default();
        number.parse().expect("a number")
    }

    /// Waits until a series has this value: what is counted behind an answer may come a moment later.
    #[track_caller]
    pub(crate) fn counts(&self, series: &str, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(series) != value {
            let found = self.metric(series);
            assert!(
                Instant::now() < deadline,
                "{series} is {found}, not {value}"
            );
            pause(Duration::from_millis(5));
        }
    }

    /// Delivers an event to every open subscription, as a matcher does.
    pub(crate) fn live(&self, event: &Arc<Event>) {
        let slots = self.matcher.slots.lock().clone();
        let event = Arc::clone(event);
        self.bus.deliver(Delivery::Event {
            event,
            place: None,
            slots,
        });
    }

    /// The next event that reached the bus.
    pub(crate) fn next_published(&self) -> Published {
        let mut intake = self.intake.lock();
        let next = async { tokio::time::timeout(PATIENCE, intake.next(1)).await };
        let batch = self.runtime.block_on(next);
        let mut batch = batch
            .expect("an event is published in time")
            .expect("an open bus");
        batch.pop().expect("one event")
    }
}

fn options(stall: Duration) -> Options {
    Options {
        info: Info::default(),
        urls: RelayUrls::parse(&[RELAY_URL]).expect("a URL"),
        paths: vec!["/".to_owned()],
        events: EventLimits {
            created_at_upper_limit_secs: None,
            ..EventLimits::default()
        },
        filters: FilterLimits::default(),
        count: true,
        eose_hints: true,
        compression: false,
        compression_windows_bytes_max: 0,
        auth_to_read: false,
        limits: ConnectionLimits {
            connections_max: 100,
            connections_per_ip_max: 100,
            connects_per_ip: Rate::UNLIMITED,
            message_bytes_max: MESSAGE_BYTES_MAX,
            pending_events_max: 16,
            outbox_bytes_max: 65_536,
            outbox_total_bytes_max: 1 << 30,
            events: Rate::UNLIMITED,
            events_per_ip: Rate::UNLIMITED,
            reqs: Rate::UNLIMITED,
            reqs_per_ip: Rate::UNLIMITED,
            invalid_messages_max: 0,
            bad_signatures_max: 0,
            ban: Duration::ZERO,
            ping_interval: Duration::from_secs(55),
            pong_timeout: Some(Duration::from_secs(30)),
            handshake_timeout: stall,
            message_timeout: Duration::from_secs(30),
            drain: Duration::ZERO,
            restarts: false,
            receipt_timeout: Duration::from_secs(20),
        },
        unlimited_networks: Vec::new(),
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
    }
}

/// A note that differs by `n`.
pub(crate) fn note(n: u64) -> Arc<Event> {
    Arc::new(Key::nth(0).note(n, "short"))
}

/// A note of 16 KiB.
pub(crate) fn big_note(n: u64) -> Arc<Event> {
    Arc::new(Key::nth(0).note(n, &"x".repeat(16_384)))
}

/// What comes behind the gate.
pub(crate) fn gated_note() -> Arc<Event> {
    Arc::new(Key::nth(0).note(1, "gated"))
}

/// Waits for something that happens at once on an idle machine.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        pause(Duration::from_millis(5));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client's side of the test is a plain thread"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The script.
pub(crate) struct Scripted {
    bus: InProcess,
    slots: Mutex<Vec<Slot>>,
    pages: Arc<AtomicUsize>,
    seen: Mutex<(usize, Instant)>,
    gate: watch::Sender<bool>,
}

impl Scripted {
    fn new(bus: InProcess) -> Self {
        Self {
            bus,
            slots: Mutex::default(),
            pages: Arc::default(),
            seen: Mutex::new((0, Instant::now())),
            gate: watch::Sender::new(false),
        }
    }

    /// How many subscriptions are open.
    pub(crate) fn open_slots(&self) -> usize {
        self.slots.lock().len()
    }

    /// How many pages were asked for.
    pub(crate) fn pages(&self) -> usize {
        self.pages.load(Ordering::Relaxed)
    }

    /// Whether pages were asked for, and none for a tenth of a second.
    pub(crate) fn pages_stand_still(&self) -> bool {
        let pages = self.pages();
        let mut seen = self.seen.lock();
        if seen.0 != pages {
            *seen = (pages, Instant::now());
        }
        pages > 0 && seen.1.elapsed() > Duration::from_millis(100)
    }

    /// Lets answers go on.
    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }
}

impl Requests for Scripted {
    fn open(&self, open: Open) -> BoxFuture<'_, Result<Box<dyn Pages>, BusError>> {
        self.slots.lock().push(open.slot);
        let kinds = open.filters[0].kinds.as_deref().unwrap_or_default();
        let script = match kinds.first().map(|kind| kind.as_u16()) {
            Some(ENDLESS) => Script::Endless(big_note(1)),
            Some(GATED) => Script::Gated(0, self.gate.subscribe()),
            Some(FLOWING) => Script::Flowing(big_note(1), self.gate.subscribe()),
            _ => Script::Empty,
        };
        let pages = Arc::clone(&self.pages);
        Box::pin(async move { Ok(Box::new(Answer { script, pages }) as Box<dyn Pages>) })
    }

    fn resume(&self, _: Resume) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Err(Refusal::error("one matcher is all there is")) })
    }

    fn close(&self, slot: Slot) {
        self.slots.lock().retain(|open| *open != slot);
        self.bus.deliver(Delivery::Released(slot));
    }

    fn authenticate(&self, _: ConnectionId, _: PublicKey) {}

    fn disconnect(&self, _: ConnectionId) {}

    fn count(&self, _: Count) -> BoxFuture<'_, Result<Counted, Refusal>> {
        let counted = Counted {
            count: 0,
            approximate: false,
        };
        Box::pin(async move { Ok(counted) })
    }
}

enum Script {
    Empty,
    Endless(Arc<Event>),
    Gated(u8, watch::Receiver<bool>),
    Flowing(Arc<Event>, watch::Receiver<bool>),
}

struct Answer {
    script: Script,
    pages: Arc<AtomicUsize>,
}

impl Pages for Answer {
    fn next(&mut self) -> BoxFuture<'_, Result<AnswerPage, BusError>> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let page = |event: Option<Arc<Event>>, last: bool| AnswerPage {
                events: Vec::from_iter(event),
                end: last.then_some(AnswerEnd::Eose(Eose {
                    hint: EoseHint::None,
                    applied: CommitNumber::default(),
                    fresh: Vec::new(),
                    gone: Vec::new(),
                    archive: false,
                })),
            };
            match &mut self.script {
                Script::Empty => Ok(page(None, true)),
                Script::Flowing(event, gate) => {
                    let is_open = *gate.borrow();
                    Ok(page(Some(Arc::clone(event)), is_open))
                }
                Script::Endless(event) => Ok(page(Some(Arc::clone(event)), false)),
                Script::Gated(asked @ 0, _) => {
                    *asked += 1;
                    Ok(page(Some(Arc::new(Key::nth(0).note(2, "first"))), false))
                }
                Script::Gated(_, gate) => {
                    let opened = gate.wait_for(|open| *open).await;
                    drop(opened.map_err(|_gone| BusError::Closed)?);
                    debug_assert_eq!(gated_note().kind(), Kind::new(1));
                    Ok(page(Some(gated_note()), true))
                }
            }
        })
    }
}
