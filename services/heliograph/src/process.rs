//! What every process does, whatever its role: threads, listeners, health, reloading, stopping.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use heliograph_config::{Config, Loaded};
use heliograph_lifecycle::{Phase, Shutdown, StopPlan, StopReport, Tasks};
use heliograph_recent::Recent;
use heliograph_store::EventStore;
use heliograph_telemetry::Health;
use tokio::net::TcpListener;

use crate::{settings, telemetry::Telemetry};

/// Loads the configuration again, for SIGHUP.
pub(crate) type Reload = Box<dyn Fn() -> anyhow::Result<Loaded>>;

/// Rows that the recent tier reads from the archive at once while it warms up.
const WARM_ROWS: usize = 2_000;

/// Pause after a failed look at the archive. Reads go there meanwhile.
const WARM_PAUSE: Duration = Duration::from_secs(1);

/// Time that what depends on sessions has to drain even if they used up the grace period.
const INNER_STOP_MIN: Duration = Duration::from_secs(1);

/// Runs a process on as many threads as there are cores.
///
/// # Errors
///
/// The threads can't be started, or what `serve` returns.
pub(crate) fn block_on(serve: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // Every connection is an open file.
    heliograph_telemetry::raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings::cores())
        .thread_name("data")
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(serve)
}

/// Listens, and says where: port 0 is any free one.
///
/// # Errors
///
/// The address is in use or isn't this machine's.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}"))?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    Ok((listener, address))
}

/// Not ready from the first signal on.
pub(crate) fn ready_while_running(health: &Health, shutdown: &Shutdown) {
    let shutdown = shutdown.clone();
    health.ready_when("phase", move || match shutdown.phase() {
        Phase::Running => Ok(()),
        phase => Err(phase.as_str().to_owned()),
    });
}

/// Shows that the threads get to their work.
pub(crate) fn start_heartbeat(health: &Health, shutdown: &Shutdown, background: &Tasks) {
    let heartbeat = health.heartbeat("data").run();
    background.spawn("heartbeat", until_stopping(shutdown.clone(), heartbeat));
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

/// Puts the keys that reload into force: loads the configuration again and hands it to `apply`.
pub(crate) fn reload(
    loaded: &Mutex<Loaded>,
    reload: &Reload,
    telemetry: &Telemetry,
    apply: impl FnOnce(&Config),
) {
    let mut current = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    let result = reload().and_then(|newer| Ok(current.reload(&newer)?));
    match result {
        Ok(reloaded) => {
            apply(reloaded.loaded.config());
            telemetry.reload(&reloaded.loaded);
            tracing::info!(
                changed = ?reloaded.changed,
                needs_restart = ?reloaded.needs_restart,
                "configuration reloaded"
            );
            *current = reloaded.loaded;
        }
        Err(error) => {
            telemetry.reload_failed();
            tracing::error!(%error, "configuration not reloaded");
        }
    }
}

/// How to stop, as configured.
pub(crate) fn stop_plan(config: &Config) -> StopPlan {
    StopPlan {
        unready: config.shutdown.unready,
        grace: config.shutdown.grace,
    }
}

/// The grace period while it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grace {
    deadline: Instant,
}

impl Grace {
    /// Begins now.
    pub(crate) fn begin(grace: Duration) -> Self {
        Self {
            deadline: Instant::now() + grace,
        }
    }

    /// What is left of it, and at least a little.
    pub(crate) fn left(self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left.max(INNER_STOP_MIN)
    }
}

/// The last line of a process.
pub(crate) fn log_stopped(report: &StopReport) {
    tracing::info!(
        left = report.left.count(),
        forced = report.forced,
        "stopped"
    );
}
