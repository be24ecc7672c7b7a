//! All roles in one process: the whole relay on the embedded store.
//!
//! Reads as a list: open the store, connect the services, listen, serve, stop in the reverse order.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use heliograph_bus::{InProcess, InProcessOptions};
use heliograph_config::{Config, Loaded};
use heliograph_gateway::{Gateway, Hub, Known, Lookup};
use heliograph_lifecycle::{Phase, Shutdown, Signals, StopPlan, Tasks, stop};
use heliograph_matcher::{Matcher, Progress};
use heliograph_policy::RelayUrls;
use heliograph_protocol::{Event, Timestamp};
use heliograph_recent::Recent;
use heliograph_store::EventStore;
use heliograph_store_embedded::EmbeddedStore;
use heliograph_telemetry::{AdminServer, Health, Registry};
use heliograph_verify::Verifier;
use tokio::net::TcpListener;

use crate::{metrics, settings};

/// Loads the configuration again, for SIGHUP.
pub(crate) type Reload = Box<dyn Fn() -> anyhow::Result<Loaded>>;

/// Rows that the recent tier reads from the archive at once while it warms up.
const WARM_ROWS: usize = 2_000;

/// Pause after a failed look at the archive. Reads go there meanwhile.
const WARM_PAUSE: Duration = Duration::from_secs(1);

/// How often expired events are purged, and how many at once.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
const PURGE_EVENTS: usize = 10_000;

/// Time that ingest and matcher have to drain even if sessions used up the grace period.
const INNER_STOP_MIN: Duration = Duration::from_secs(1);

/// The parts of a running relay.
struct Relay {
    gateway: Arc<Gateway<InProcess>>,
    matcher: Arc<Matcher<EmbeddedStore>>,
    bus: InProcess,
    store: EmbeddedStore,
    urls: RelayUrls,
    /// Sockets and sessions.
    edge: Tasks,
    /// Ingest, which ends after the last session.
    ingest: Tasks,
    /// The matcher, which ends after ingest.
    matching: Tasks,
    /// What runs beside and ends at once.
    background: Tasks,
    shutdown: Shutdown,
}

/// Runs until a signal ends it.
///
/// # Errors
///
/// The relay can't start, with the reason for the operator.
pub(crate) fn run(loaded: Loaded, reload: &Reload) -> anyhow::Result<()> {
    // Every connection is an open file.
    heliograph_telemetry::raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings::cores())
        .thread_name("data")
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(serve(loaded, reload))
}

async fn serve(loaded: Loaded, reload: &Reload) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let config = loaded.config().clone();
    let listen = config.gateway.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("can't listen on {listen}"))?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    let urls = settings::relay_urls(&config, address)?;
    let store = open(&config, &urls)?;
    let mut registry = registry();
    let health = Health::new();
    let relay = connect(&config, store, urls, &mut registry)?;
    let _admin = start_admin(&config, registry, &health, &relay)?;

    let heartbeat = health.heartbeat("data").run();
    relay.background.spawn(
        "heartbeat",
        until_stopping(relay.shutdown.clone(), heartbeat),
    );
    relay.edge.spawn(
        "accept",
        heliograph_gateway::run(Arc::clone(&relay.gateway), listener),
    );
    banner(&config, address);

    let loaded = Mutex::new(loaded);
    signals.stop(|| apply_reload(&relay, &loaded, reload)).await;
    relay.stop(&config, signals.stop(|| ())).await
}

/// The registry with what every process shows.
pub(crate) fn registry() -> Registry {
    let mut registry = heliograph_telemetry::registry();
    let build = heliograph_telemetry::BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: option_env!("HELIOGRAPH_REVISION").unwrap_or("unknown"),
    };
    heliograph_telemetry::register_process_metrics(
        &mut registry,
        build,
        Timestamp::now().as_secs(),
    );
    registry
}

fn open(config: &Config, urls: &RelayUrls) -> anyhow::Result<EmbeddedStore> {
    let options = settings::store(config, urls.clone());
    let dir: PathBuf = options.dir.clone();
    EmbeddedStore::open(options)
        .with_context(|| format!("can't open the store in {}", dir.display()))
}

/// Connects the services over the bus of one process.
fn connect(
    config: &Config,
    store: EmbeddedStore,
    urls: RelayUrls,
    registry: &mut Registry,
) -> anyhow::Result<Relay> {
    let (edge, background) = (Tasks::new(), Tasks::new());
    let (ingest, matching) = (Tasks::new(), Tasks::new());
    let shutdown = Shutdown::new();
    let recent = Recent::new(store.clone(), settings::recent(config), urls.clone());
    let queues = InProcessOptions {
        intake_events_max: config.store.write_queue_max,
        ..InProcessOptions::default()
    };
    let bus = InProcess::new(queues);

    let ingest_metrics = Arc::new(heliograph_ingest::Metrics::register(registry));
    ingest.spawn(
        "ingest",
        heliograph_ingest::run(bus.clone(), Arc::new(store.clone()), ingest_metrics),
    );

    let sink = bus.clone();
    let matcher = Matcher::new(
        recent.clone(),
        settings::matcher(config, urls.clone()),
        Box::new(move |delivery| sink.deliver(delivery)),
        Progress::of(&bus),
        Arc::new(heliograph_matcher::Metrics::register(registry)),
    );
    bus.serve_requests(Arc::<Matcher<EmbeddedStore>>::clone(&matcher));

    let metrics = Arc::new(heliograph_gateway::Metrics::register(registry));
    let hub = Arc::new(Hub::new(Arc::clone(&metrics)));
    bus.serve_deliveries(Arc::<Hub>::clone(&hub));
    let verifier = Verifier::start(settings::verify_threads(config), config.verify.queue_max)
        .context("failed to start the threads that check signatures")?;
    let verifier = Arc::new(verifier);
    let (store_figures, recent_figures) = (store.clone(), recent.clone());
    metrics::register_store(registry, Box::new(move || store_figures.stats()));
    metrics::register_recent(registry, Box::new(move || recent_figures.stats()));
    metrics::register_verifier(registry, Arc::clone(&verifier));
    let gateway = Gateway::new(
        bus.clone(),
        settings::gateway(config, urls.clone()),
        verifier,
        known(&recent, &store),
        hub,
        metrics,
        shutdown.clone(),
        edge.clone(),
    );

    matching.spawn(
        "matcher",
        heliograph_matcher::run(Arc::clone(&matcher), bus.clone()),
    );
    background.spawn("warm-up", until_stopping(shutdown.clone(), warm_up(recent)));
    background.spawn(
        "purge",
        until_stopping(shutdown.clone(), purge(store.clone())),
    );
    Ok(Relay {
        gateway,
        matcher,
        bus,
        store,
        urls,
        edge,
        ingest,
        matching,
        background,
        shutdown,
    })
}

/// Where ids are looked up before a signature is checked. The archive is asked only for events
/// that the recent tier can't know.
fn known(recent: &Recent<EmbeddedStore>, store: &EmbeddedStore) -> Known {
    let (in_recent, floor) = (recent.clone(), recent.clone());
    let (store, guards) = (store.clone(), store.clone());
    let recent: Lookup = Arc::new(move |event: &Event| in_recent.holds(event));
    let archive: Lookup = Arc::new(move |event: &Event| {
        let below = floor.floor().is_none_or(|floor| event.created_at() < floor);
        // A failed look-up only costs the signature check.
        below && store.contains_blocking(event.id()).unwrap_or(false)
    });
    let vanished: Lookup = Arc::new(move |event: &Event| {
        guards
            .guarded_blocking(event)
            .is_ok_and(|hit| hit.is_some())
    });
    Known {
        recent,
        archive,
        vanished,
        verified: None,
    }
}

/// Fills the recent tier from the archive while the relay serves.
pub(crate) async fn warm_up<S: EventStore>(recent: Recent<S>) {
    loop {
        match recent.warm_step(WARM_ROWS).await {
            Ok(false) => tokio::task::yield_now().await,
            Ok(true) => {
                return tracing::info!(events = recent.stats().events, "recent tier is warm");
            }
            Err(error) => {
                tracing::warn!(%error, "failed to fill the recent tier, trying again");
                tokio::time::sleep(WARM_PAUSE).await;
            }
        }
    }
}

/// Takes expired events out of the store; they are hidden from the second they expire anyway.
async fn purge(store: EmbeddedStore) {
    loop {
        tokio::time::sleep(PURGE_INTERVAL).await;
        let store = store.clone();
        let purged = tokio::task::spawn_blocking(move || {
            store.purge_expired(Timestamp::now(), PURGE_EVENTS)
        });
        match purged.await {
            Ok(Ok(0)) => {}
            Ok(Ok(events)) => tracing::info!(events, "purged expired events"),
            Ok(Err(error)) => tracing::warn!(%error, "failed to purge expired events"),
            Err(error) => tracing::error!(%error, "purging expired events broke off"),
        }
    }
}

/// Runs a task until it is over or the process stops.
pub(crate) async fn until_stopping(shutdown: Shutdown, task: impl Future<Output = ()>) {
    until_phase(shutdown, Phase::Draining, task).await;
}

/// The same for a task that sessions need until they are closed.
pub(crate) async fn until_stopped(shutdown: Shutdown, task: impl Future<Output = ()>) {
    until_phase(shutdown, Phase::Stopped, task).await;
}

async fn until_phase(shutdown: Shutdown, end: Phase, task: impl Future<Output = ()>) {
    let mut phase = shutdown.watch();
    tokio::select! {
        biased; // a task that is over needs no stopping
        () = task => {}
        _ = phase.reached(end) => {}
    }
}

fn start_admin(
    config: &Config,
    registry: Registry,
    health: &Health,
    relay: &Relay,
) -> anyhow::Result<Option<AdminServer>> {
    let Some(listen) = config.admin.listen else {
        return Ok(None);
    };
    let shutdown = relay.shutdown.clone();
    health.ready_when("phase", move || match shutdown.phase() {
        Phase::Running => Ok(()),
        phase => Err(phase.as_str().to_owned()),
    });
    let store = relay.store.clone();
    health.ready_when("store", move || {
        if store.stats().broken {
            Err("takes no more writes".to_owned())
        } else {
            Ok(())
        }
    });
    let services = [
        ("ingest", relay.ingest.clone()),
        ("matcher", relay.matching.clone()),
    ];
    health.ready_when("services", move || {
        match services.iter().find(|(_, tasks)| tasks.running() == 0) {
            Some((name, _)) => Err(format!("{name} ended")),
            None => Ok(()),
        }
    });
    let admin = AdminServer::start(listen, registry, health.clone()).context("admin.listen")?;
    tracing::info!(addr = %admin.addr(), "admin listener started");
    Ok(Some(admin))
}

/// Puts the keys that reload into force.
fn apply_reload(relay: &Relay, loaded: &Mutex<Loaded>, reload: &Reload) {
    let mut current = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    let result = reload().and_then(|newer| Ok(current.reload(&newer)?));
    match result {
        Ok(reloaded) => {
            let config = reloaded.loaded.config();
            relay
                .gateway
                .reload(settings::gateway(config, relay.urls.clone()));
            relay
                .matcher
                .reload(settings::matcher(config, relay.urls.clone()));
            tracing::info!(
                changed = ?reloaded.changed,
                needs_restart = ?reloaded.needs_restart,
                "configuration reloaded"
            );
            *current = reloaded.loaded;
        }
        Err(error) => tracing::error!(%error, "configuration not reloaded"),
    }
}

impl Relay {
    /// Stops from the edge inwards: sessions first, then what they depend on (CL-6).
    async fn stop(self, config: &Config, force: impl Future) -> anyhow::Result<()> {
        let grace = config.shutdown.grace;
        let deadline = Instant::now() + grace;
        let plan = StopPlan {
            unready: config.shutdown.unready,
            grace,
        };
        let report = stop(&self.shutdown, &self.edge, plan, force).await;
        let left = || {
            let left = deadline.saturating_duration_since(Instant::now());
            left.max(INNER_STOP_MIN)
        };
        self.bus.close_intake();
        self.ingest.wait(left()).await;
        self.bus.close_feed();
        self.matching.wait(left()).await;
        self.background.wait(Duration::from_secs(1)).await;
        let Self {
            gateway,
            matcher,
            bus,
            store,
            ..
        } = self;
        drop((gateway, matcher, bus));
        // Everything acknowledged is in the log already; this only makes the next start quick.
        tokio::task::spawn_blocking(move || store.close())
            .await
            .context("closing the store")?;
        tracing::info!(
            left = report.left.count(),
            forced = report.forced,
            "stopped"
        );
        Ok(())
    }
}

/// What a newcomer wants to see: where it listens, where the data is, what is limited.
fn banner(config: &Config, address: SocketAddr) {
    let on_off = |limit: Option<u32>, what: &str| {
        limit.map_or_else(
            || format!("{what} unlimited"),
            |limit| format!("{limit} {what}"),
        )
    };
    let lines = format!(
        "{} {}\nlistening on ws://{address}\ndata in {}\nlimits: {} connections, {}, {}; \
         messages up to {} bytes, REQs up to {} events\n",
        config.relay.name,
        env!("CARGO_PKG_VERSION"),
        config.store.dir.display(),
        config.gateway.connections_max,
        on_off(config.gateway.events_per_sec, "events/s a connection"),
        on_off(config.gateway.reqs_per_sec, "REQs/s a connection"),
        config.gateway.message_bytes_max,
        config.gateway.limit_max,
    );
    // A closed stdout is no reason not to serve.
    drop(std::io::stdout().write_all(lines.as_bytes()));
}
