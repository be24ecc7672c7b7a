//! All roles in one process: the whole relay on the embedded store.
//!
//! Reads as a list: open the store, connect the services, listen, serve, stop in the reverse order.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use heliograph_bus::{InProcess, InProcessOptions};
use heliograph_config::{Config, Loaded};
use heliograph_gateway::{Gateway, Hub, Known, Lookup};
use heliograph_lifecycle::{Shutdown, Signals, StopReport, Tasks, stop};
use heliograph_matcher::{Matcher, Progress};
use heliograph_policy::RelayUrls;
use heliograph_protocol::{Event, Timestamp};
use heliograph_recent::Recent;
use heliograph_store_embedded::EmbeddedStore;
use heliograph_telemetry::{AdminServer, Health, Pages, Registry};
use heliograph_verify::Verifier;

use crate::{
    certificate, metrics,
    process::{
        self, Grace, Reload, block_on, listen, log_stopped, ready_while_running, start_heartbeat,
        stop_plan, until_stopping, warm_up,
    },
    readiness, settings,
    telemetry::{ProcessRole, Telemetry},
};

/// How often expired events are purged, and how many at once.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
const PURGE_EVENTS: usize = 10_000;

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
    block_on(serve(loaded, reload))
}

async fn serve(loaded: Loaded, reload: &Reload) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let config = loaded.config().clone();
    let (listener, address) = listen(config.gateway.listen).await?;
    let urls = settings::relay_urls(&config, address)?;
    let tls = certificate::tls(&config)?;
    let health = Health::new();
    let instance = settings::cluster::node(&config)?;
    let (telemetry, mut registry) = Telemetry::start(
        &loaded,
        ProcessRole::Standalone,
        &instance,
        &health,
        tls.as_ref(),
    )?;
    let store = open(&config, &urls)?;
    let relay = connect(&config, store, urls, &mut registry)?;
    let _admin = start_admin(&config, registry, &health, &relay)?;

    start_heartbeat(&health, &relay.shutdown, &relay.background);
    relay.edge.spawn(
        "accept",
        heliograph_gateway::run(Arc::clone(&relay.gateway), listener, tls.clone()),
    );
    certificate::follow(tls.as_ref(), &relay.shutdown, &relay.background);
    banner(&config, address);

    let loaded = Mutex::new(loaded);
    let again = || {
        process::reload(&loaded, reload, &telemetry, |config| {
            let urls = || relay.urls.clone();
            relay.gateway.reload(settings::gateway(config, urls()));
            relay.matcher.reload(settings::matcher(config, urls()));
            tls.iter().for_each(certificate::refresh);
        });
    };
    signals.stop(again).await;
    let report = relay.stop(&config, signals.stop(|| ())).await?;
    telemetry.stop().await;
    log_stopped(&report);
    Ok(())
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

    let durability = config.store.sync.into();
    let metrics = Arc::new(heliograph_gateway::Metrics::register(registry, durability));
    let hub = Arc::new(Hub::new(Arc::clone(&metrics)));
    bus.serve_deliveries(Arc::<Hub>::clone(&hub));
    let verifier = Verifier::start(settings::verify_threads(config), config.verify.queue_max)
        .context("failed to start the threads that check signatures")?;
    let verifier = Arc::new(verifier);
    let (store_figures, recent_figures) = (store.clone(), recent.clone());
    let times = store.times();
    metrics::register_store(registry, Box::new(move || store_figures.stats()), &times);
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
            Ok(Ok(events)) => tracing::debug!(events, "purged expired events"),
            Ok(Err(error)) => tracing::warn!(%error, "failed to purge expired events"),
            Err(error) => tracing::error!(%error, "purging expired events broke off"),
        }
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
    ready_while_running(health, &relay.shutdown);
    readiness::of_edge(health, &relay.gateway, config.verify.queue_max);
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
    let mut pages = Pages::default();
    pages.add("/top", relay.gateway.top_page());
    let admin = AdminServer::start_with(listen, registry, health.clone(), pages);
    let admin = admin.context("admin.listen")?;
    tracing::info!(addr = %admin.addr(), "admin listener started");
    Ok(Some(admin))
}

impl Relay {
    /// Stops from the edge inwards: sessions first, then what they depend on (CL-6).
    async fn stop(self, config: &Config, force: impl Future) -> anyhow::Result<StopReport> {
        let plan = stop_plan(config);
        let grace = Grace::begin(plan.grace);
        let report = stop(&self.shutdown, &self.edge, plan, force).await;
        self.bus.close_intake();
        self.ingest.wait(grace.left()).await;
        self.bus.close_feed();
        self.matching.wait(grace.left()).await;
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
        Ok(report)
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
        "{} {}\nlistening on {}://{address}\ndata in {}\nlimits: {} connections, {}, {}; \
         messages up to {} bytes, REQs up to {} events\n",
        config.relay.name,
        env!("CARGO_PKG_VERSION"),
        certificate::scheme(config),
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
