//! What every role has: a name, the bus, control records, health, the order of stopping.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use heliograph_bus_nats::{Lease, LinkState, Membership, NatsBus, Role, Side};
use heliograph_config::{Config, Loaded};
use heliograph_control::{ControlState, ControlStore, ReadState};
use heliograph_gateway::Tls;
use heliograph_lifecycle::{Phase, Shutdown, StopReport, Tasks};
use heliograph_policy::{LiveControl, RelayUrls};
use heliograph_telemetry::{AdminServer, Health, Pages, Registry};
use tokio::sync::watch;

use crate::{
    process::{Grace, log_stopped, ready_while_running, start_heartbeat},
    settings,
    telemetry::{ProcessRole, Telemetry},
};

/// How long NATS may be away before a process says that it isn't ready: an outage of all of it
/// must not take every gateway out of service at once.
const BUS_AWAY_MAX: Duration = Duration::from_mins(1);

/// How long a process that starts waits for the control records, as for the streams.
const CONTROL_WAIT: Duration = Duration::from_secs(30);

/// How long the last messages may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A process of a cluster before its role is added.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) urls: RelayUrls,
    pub(super) registry: Registry,
    pub(super) health: Health,
    /// Pages of the admin listener that the role adds.
    pub(super) pages: Pages,
    pub(super) shutdown: Shutdown,
    pub(super) bus: NatsBus,
    /// What runs beside and ends at once.
    pub(super) background: Tasks,
    /// Tasks of the bus, which end last.
    bus_tasks: Tasks,
    pub(super) telemetry: Telemetry,
}

impl Node {
    /// Names the process and reaches the bus. `tls` is what clients see, if there are any.
    pub(super) async fn start(
        loaded: &Loaded,
        side: Side,
        tls: Option<&Tls>,
    ) -> anyhow::Result<Self> {
        let config = loaded.config().clone();
        let name = settings::cluster::node(&config)?;
        let urls = settings::cluster::relay_urls(&config)?;
        let health = Health::new();
        let role = match side {
            Side::Gateway => ProcessRole::Gateway,
            Side::Ingest => ProcessRole::Ingest,
            Side::Matcher => ProcessRole::Matcher,
            Side::All => ProcessRole::Standalone,
        };
        let (telemetry, mut registry) = Telemetry::start(loaded, role, &name, &health, tls)?;
        let bus_tasks = Tasks::new();
        let metrics = Arc::new(heliograph_bus_nats::Metrics::register(&mut registry, side));
        let options = settings::cluster::bus(&config, &name)?;
        let bus = NatsBus::connect(options, metrics, &bus_tasks)
            .await
            .with_context(|| format!("can't use the bus at {}", config.nats.servers.join(", ")))?;
        let node = Self {
            name,
            config,
            urls,
            registry,
            health,
            pages: Pages::default(),
            shutdown: Shutdown::new(),
            bus,
            background: Tasks::new(),
            bus_tasks,
            telemetry,
        };
        node.check_health();
        Ok(node)
    }

    fn check_health(&self) {
        ready_while_running(&self.health, &self.shutdown);
        let bus = self.bus.clone();
        self.health.ready_when("nats", move || match bus.state() {
            LinkState::Down { since } if since.elapsed() > BUS_AWAY_MAX => {
                Err(format!("away for {} s", since.elapsed().as_secs()))
            }
            LinkState::Up | LinkState::Down { .. } => Ok(()),
        });
        start_heartbeat(&self.health, &self.shutdown, &self.background);
    }

    /// Follows what operators decide; not ready before that has been read once.
    pub(super) async fn control(
        &mut self,
    ) -> anyhow::Result<(LiveControl, watch::Receiver<ControlState>)> {
        let options = settings::cluster::control(&self.config);
        let store = ControlStore::new(self.bus.client(), options);
        store
            .open_within(CONTROL_WAIT)
            .await
            .context("can't open the control records")?;
        let place = LiveControl::unread();
        let metrics = heliograph_control::Metrics::register(&mut self.registry);
        let (follower, state) = store.follow(place.clone(), metrics);
        let mut phase = self.shutdown.watch();
        let stop = async move { phase.reached(Phase::Stopped).await };
        self.background
            .spawn("control", Box::pin(follower.run(stop)));
        let read = state.clone();
        self.health
            .ready_when("control", move || match read.borrow().read {
                ReadState::Unread => Err("the control records weren't read yet".to_owned()),
                ReadState::Current | ReadState::Stale(_) => Ok(()),
            });
        Ok((place, state))
    }

    /// Not ready once none of these tasks runs.
    pub(super) fn needs(&self, name: &'static str, tasks: &Tasks) {
        let tasks = tasks.clone();
        self.health.ready_when(name, move || {
            if tasks.running() == 0 {
                Err("ended".to_owned())
            } else {
                Ok(())
            }
        });
    }

    /// Opens the listener for operators, after every metric was registered.
    pub(super) fn admin(&mut self) -> anyhow::Result<Option<AdminServer>> {
        let Some(listen) = self.config.admin.listen else {
            return Ok(None);
        };
        let registry = std::mem::take(&mut self.registry);
        let pages = std::mem::take(&mut self.pages);
        let admin = AdminServer::start_with(listen, registry, self.health.clone(), pages);
        let admin = admin.context("admin.listen")?;
        tracing::info!(addr = %admin.addr(), node = %self.name, "admin listener started");
        Ok(Some(admin))
    }

    /// Takes a lease, under which the others know this process.
    pub(super) async fn join(
        &self,
        role: Role,
        address: String,
        ready: bool,
    ) -> anyhow::Result<Membership> {
        let name = self.name.clone();
        let lease = Lease {
            role,
            name,
            address,
            ready,
        };
        let membership = self.bus.join(lease).await;
        membership.context("can't join the cluster")
    }

    /// Ends what is left once the role's own tasks have: the lease first, the bus last.
    pub(super) async fn end(self, lease: Membership, grace: Grace, report: &StopReport) {
        lease.leave().await;
        self.background.wait(grace.left().min(LAST_WORDS)).await;
        self.bus.close(LAST_WORDS).await;
        self.bus_tasks.wait(LAST_WORDS).await;
        self.telemetry.stop().await;
        log_stopped(report);
    }
}
