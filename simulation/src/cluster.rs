//! The processes of a run: what each is made of, how it starts, and which matcher serves which gateway.

mod choosing;
mod options;

use std::{collections::BTreeMap, io, net::Ipv4Addr, sync::Arc, time::Duration};

use futures_util::stream;
use heliograph_bus::{Deliver, Requests};
use heliograph_gateway::{Durability, Gateway, Hub, Known, Verified};
use heliograph_lifecycle::Shutdown;
use heliograph_link::{
    Client, ClientMetrics, ClientOptions, Conduit, ServerMetrics, ServerOptions, Sessions, Target,
};
use heliograph_matcher::{Matcher, Progress};
use heliograph_policy::RelayUrls;
use heliograph_protocol::Timestamp;
use heliograph_recent::Recent;
use heliograph_testkit::RELAY_URL;
use heliograph_verify::Verifier;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use self::choosing::Choosing;
use crate::{
    Faults, Journal,
    bus::{Server, SimBus},
    network::Network,
    process::Process,
    random::Random,
    store::{Database, SimStore},
};

/// Workers of one ingest process.
const WORKERS: usize = 2;

/// Time after which a member that isn't heard of is gone.
const LEASE: Duration = Duration::from_secs(3);

/// The pause before the recent tier is filled further after a failure.
const WARM_PAUSE: Duration = Duration::from_millis(500);

/// Events read at once to fill it.
const WARM_ROWS: usize = 8;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Holds sockets.
    Gateway,
    /// Stores.
    Ingest,
    /// Answers and delivers.
    Matcher,
}

/// A matcher as the others know it.
#[derive(Debug, Clone)]
struct Member {
    process: Arc<Process>,
    ready: watch::Receiver<bool>,
    recent: Recent<SimStore>,
    /// When it was last heard of.
    heard: Instant,
}

/// All processes of a run, and what they run on. Clones share it.
#[derive(Debug, Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: Arc<Server>,
    database: Arc<Database>,
    network: Network,
    faults: Faults,
    journal: Journal,
    random: Random,
    urls: RelayUrls,
    processes: Mutex<BTreeMap<String, (Role, Arc<Process>)>>,
    incarnations: Mutex<u64>,
    matchers: Mutex<BTreeMap<String, Member>>,
    /// Seconds by which the clock of a process is wrong, each from a second on.
    skews: Mutex<BTreeMap<String, Vec<(u64, i64)>>>,
}

impl Cluster {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(faults: &Faults, random: &Random, journal: &Journal) -> Self {
        let urls = RelayUrls::parse(&[RELAY_URL]).expect("a URL");
        let (room, delay) = (faults.pipe_bytes, faults.network_delay);
        Self {
            shared: Arc::new(Shared {
                server: Server::start(random.fork(), faults.clone(), journal.clone()),
                database: Database::new(
                    random.fork(),
                    faults.clone(),
                    journal.clone(),
                    urls.clone(),
                ),
                network: Network::new(random.fork(), delay, room),
                faults: faults.clone(),
                journal: journal.clone(),
                random: random.fork(),
                urls,
                processes: Mutex::default(),
                incarnations: Mutex::default(),
                matchers: Mutex::default(),
                skews: Mutex::default(),
            }),
        }
    }

    /// The servers of the bus.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.shared.server
    }

    /// What is stored.
    #[must_use]
    pub fn database(&self) -> &Arc<Database> {
        &self.shared.database
    }

    /// The connections.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.shared.network
    }

    /// Which requests to vanish are in force.
    #[must_use]
    pub fn urls(&self) -> &RelayUrls {
        &self.shared.urls
    }

    /// The newest process of a name.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<Arc<Process>> {
        let processes = self.shared.processes.lock();
        processes.get(name).map(|(_, process)| Arc::clone(process))
    }

    /// Sets the clock of a process wrong.
    pub fn skew(&self, name: &str, secs: i64) {
        let now = self.shared.journal.now().as_secs();
        let mut skews = self.shared.skews.lock();
        skews.entry(name.to_owned()).or_default().push((now, secs));
    }

    /// The recent tiers of the matchers that are ready.
    #[must_use]
    pub fn recents(&self) -> Vec<(String, Recent<SimStore>)> {
        let matchers = self.shared.matchers.lock();
        let ready = matchers.iter().filter(|(_, member)| *member.ready.borrow());
        ready
            .map(|(name, member)| (name.clone(), member.recent.clone()))
            .collect()
    }

    /// A process of no role, such as a client.
    pub fn outsider(&self, name: &str) -> Arc<Process> {
        let mut incarnations = self.shared.incarnations.lock();
        *incarnations += 1;
        Process::start(name, *incarnations)
    }

    /// Starts a process, or starts it again.
    pub fn start(&self, role: Role, name: &str) {
        let process = self.outsider(name);
        self.shared.journal.note(name, format_args!("starts"));
        let entry = (role, Arc::clone(&process));
        self.shared.processes.lock().insert(name.to_owned(), entry);
        match role {
            Role::Gateway => self.gateway(&process),
            Role::Ingest => self.ingest(&process),
            Role::Matcher => self.matcher(&process),
        }
    }

    /// Ends a process at once.
    pub fn kill(&self, name: &str) {
        if let Some(process) = self.process(name) {
            self.shared.journal.note(name, format_args!("is killed"));
            process.kill();
            self.shared.network.lose(&process);
        }
    }

    fn ingest(&self, process: &Arc<Process>) {
        let metrics = Arc::new(heliograph_ingest::Metrics::register(
            &mut Registry::default(),
        ));
        let bus = SimBus::connect(&self.shared.server, process);
        let store = Arc::new(SimStore::connect(&self.shared.database, process));
        for _ in 0..WORKERS {
            let work =
                heliograph_ingest::run(bus.clone(), Arc::clone(&store), Arc::clone(&metrics));
            process.spawn("ingest", work);
        }
    }

    fn matcher(&self, process: &Arc<Process>) {
        let shared = &self.shared;
        let bus = SimBus::connect(&shared.server, process);
        let store = SimStore::connect(&shared.database, process);
        let recent = Recent::new(store, shared.faults.recent, shared.urls.clone());
        let mut registry = Registry::default();
        let sessions = Sessions::new(ServerMetrics::register(&mut registry));
        let matcher = Matcher::new(
            recent.clone(),
            options::matcher_options(&shared.urls, shared.faults.replay_bytes),
            sessions.sink(),
            Progress::of(&bus),
            Arc::new(heliograph_matcher::Metrics::register(&mut registry)),
        );
        let (ready_in, ready) = watch::channel(false);
        let member = Member {
            process: Arc::clone(process),
            ready,
            recent: recent.clone(),
            heard: Instant::now(),
        };
        let name = process.name().to_owned();
        shared.matchers.lock().insert(name, member);
        let caught_up = bus.caught_up();
        let feed = heliograph_matcher::run(Arc::clone(&matcher), bus);
        let (cluster, ending) = (self.clone(), Arc::clone(process));
        process.spawn("matcher", async move {
            feed.await;
            // What it holds has a gap: its successor begins anew.
            cluster.restart_matcher(&ending);
        });
        self.serve_link(process, matcher, sessions);
        process.spawn("warm up", warm_up(recent, caught_up, ready_in));
    }

    /// For the task of the matcher itself, which it ends.
    fn restart_matcher(&self, process: &Arc<Process>) {
        let (cluster, name) = (self.clone(), process.name().to_owned());
        self.shared
            .journal
            .note(&name, format_args!("has lost the feed"));
        let supervisor = self.outsider("supervisor");
        supervisor.spawn("restart", async move {
            sleep(Duration::from_millis(500)).await;
            cluster.kill(&name);
            cluster.start(Role::Matcher, &name);
        });
    }

    fn serve_link(
        &self,
        process: &Arc<Process>,
        matcher: Arc<Matcher<SimStore>>,
        sessions: Sessions,
    ) {
        let accepted = self.shared.network.listen(process, process.name());
        let incoming = stream::unfold(accepted, |mut accepted| async move {
            let end = accepted.recv().await?;
            Some((io::Result::Ok(end), accepted))
        });
        let options = ServerOptions {
            name: process.name().to_owned(),
            queue_bytes_max: self.shared.faults.link_queue_bytes,
            ..ServerOptions::default()
        };
        let applied = matcher.applied();
        let requests: Arc<dyn Requests> = matcher;
        let tasks = process.tasks().clone();
        // Lives as long as the task: nobody stops it in order.
        let shutdown = Shutdown::new();
        let phase = shutdown.watch();
        process.spawn("link", async move {
            let _shutdown = shutdown;
            let serving = heliograph_link::serve_incoming(
                incoming, requests, sessions, applied, options, tasks, phase,
            );
            // It ends with the process.
            drop(Box::pin(serving).await);
        });
    }

    fn gateway(&self, process: &Arc<Process>) {
        let shared = &self.shared;
        let bus = SimBus::connect(&shared.server, process);
        let mut registry = Registry::default();
        let metrics = heliograph_gateway::Metrics::register(&mut registry, Durability::Stored);
        let metrics = Arc::new(metrics);
        let hub = Arc::new(Hub::new(Arc::clone(&metrics)));
        let client = self.link_client(process, &hub, &mut registry);
        bus.serve_requests(Arc::new(client));
        let shutdown = Shutdown::new();
        let gateway = Gateway::new(
            bus,
            options::gateway_options(&shared.urls),
            Arc::new(Verifier::inline()),
            Known::remembered(Arc::new(Verified::default())),
            hub,
            metrics,
            shutdown,
            process.tasks().clone(),
        );
        let (clocks, name) = (self.clone(), process.name().to_owned());
        gateway.set_clock(Box::new(move || clocks.time_at(&name)));
        let mut accepted = shared.network.listen(process, process.name());
        let sessions = Arc::clone(process);
        process.spawn("accept", async move {
            while let Some(end) = accepted.recv().await {
                let address = Ipv4Addr::LOCALHOST.into();
                let session = heliograph_gateway::attend(Arc::clone(&gateway), end, address);
                sessions.spawn("session", session);
            }
        });
    }

    /// The time as a process knows it.
    pub fn time_at(&self, name: &str) -> Timestamp {
        let skews = self.shared.skews.lock();
        let skew = skews.get(name).and_then(|skews| skews.last());
        let now = self.shared.journal.now().as_secs();
        Timestamp::from_secs(now.saturating_add_signed(skew.map_or(0, |(_, skew)| *skew)))
    }

    /// The earliest time that the clock of a process has shown since this true second.
    pub fn earliest_since(&self, name: &str, since: u64) -> u64 {
        let skews = self.shared.skews.lock();
        let changes = skews.get(name).map_or(&[][..], Vec::as_slice);
        let before = changes.iter().rev().find(|(from, _)| *from < since);
        let after = changes.iter().filter(|(from, _)| *from >= since);
        let first = (since, before.map_or(0, |(_, skew)| *skew));
        let times = after.copied().chain([first]);
        let times = times.map(|(from, skew)| from.saturating_add_signed(skew));
        times.min().unwrap_or(since)
    }

    fn link_client(
        &self,
        process: &Arc<Process>,
        hub: &Arc<Hub>,
        registry: &mut Registry,
    ) -> Client {
        let (targets, chosen) = watch::channel(None);
        let (network, dialing) = (self.shared.network.clone(), Arc::clone(process));
        let counter = self.shared.server.counter().clone();
        let dial: heliograph_link::Dial = Arc::new(move |address: &str| {
            let (network, dialing) = (network.clone(), Arc::clone(&dialing));
            let (address, counter) = (address.to_owned(), counter.clone());
            Box::pin(async move {
                let end = network.dial(&dialing, &address).await?;
                if !counter.is_on() {
                    return Ok(Box::new(end) as Box<dyn Conduit>);
                }
                Ok(Box::new(counter.tap(end, dialing.name())) as Box<dyn Conduit>)
            })
        });
        let deliver: Arc<dyn Deliver> = Arc::<Hub>::clone(hub);
        let options = ClientOptions {
            gateway: process.name().to_owned(),
            incarnation: process.incarnation().to_string(),
            give_up: self.shared.faults.give_up,
            ..ClientOptions::default()
        };
        let metrics = ClientMetrics::register(registry);
        let (client, link) = Client::with_dial(options, dial, chosen, deliver, metrics)
            .expect("there are no certificates");
        process.spawn("link", link.run());
        let choosing = Choosing {
            cluster: self.clone(),
            process: Arc::clone(process),
            passed_over: BTreeMap::new(),
        };
        process.spawn("choose", choosing.run(targets, client.clone()));
        client
    }

    /// The matchers that a process believes to be there.
    fn members(&self, process: &Process) -> Vec<Target> {
        let mut matchers = self.shared.matchers.lock();
        let now = Instant::now();
        for member in matchers.values_mut() {
            if member.process.is_well() {
                member.heard = now;
            }
        }
        if !process.is_connected() {
            return Vec::new();
        }
        let ready = matchers
            .iter()
            .filter(|(_, member)| *member.ready.borrow() && member.heard + LEASE > now);
        let target = |name: &String| Target {
            name: name.clone(),
            address: name.clone(),
        };
        ready.map(|(name, _)| target(name)).collect()
    }
}

/// Ready once what was committed is known; then fills the recent tier beside.
async fn warm_up(
    recent: Recent<SimStore>,
    mut caught_up: watch::Receiver<bool>,
    ready: watch::Sender<bool>,
) {
    if caught_up.wait_for(|caught_up| *caught_up).await.is_err() {
        return;
    }
    ready.send_replace(true);
    loop {
        match recent.warm_step(WARM_ROWS).await {
            Ok(false) => tokio::task::yield_now().await,
            Ok(true) => break,
            Err(_failed) => sleep(WARM_PAUSE).await,
        }
    }
    // Ready for as long as the process lives.
    std::future::pending::<()>().await;
}
