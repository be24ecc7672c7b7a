//! A canary: a client that watches a relay by using it. It needs nothing of a cluster but the URLs.

use std::{
    io::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail};
use heliograph_canary::{Canary, Metrics, Options, Timing};
use heliograph_config::{Config, Loaded, Secret};
use heliograph_lifecycle::{Shutdown, Signals, StopPlan, Tasks, stop};
use heliograph_telemetry::{AdminServer, Health};
use tokio::sync::watch;

use crate::{
    process::{
        self, Grace, Reload, block_on, log_stopped, ready_while_running, start_heartbeat, stop_plan,
    },
    settings,
    telemetry::{ProcessRole, Telemetry},
};

/// Probes that are published to find out whether a relay works.
const PROBES: u32 = 3;

/// How long connections may take to end after these.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Runs until a signal ends it.
///
/// # Errors
///
/// It can't start, with the reason for the operator.
pub(crate) fn run(loaded: Loaded, reload: &Reload) -> anyhow::Result<()> {
    block_on(Box::pin(serve(loaded, reload)))
}

/// Publishes a few probes, reads each live and again by its id through every reader, and says how
/// it went.
///
/// # Errors
///
/// It can't start, or something went wrong, which the error says.
pub(crate) fn once(loaded: &Loaded) -> anyhow::Result<()> {
    block_on(Box::pin(probe(loaded.config())))
}

async fn probe(config: &Config) -> anyhow::Result<()> {
    let mut registry = heliograph_telemetry::registry();
    let metrics = Metrics::register(&mut registry, config.canary.read.len());
    let canary = Canary::new(&options(config), metrics)?;
    let connections = Tasks::new();
    let report = canary.once(PROBES, timing(config), &connections).await;
    connections.wait(CLOSE_WAIT).await;
    if !report.is_good() {
        bail!("{report}");
    }
    // The exit code says as much.
    drop(writeln!(std::io::stdout(), "{report}"));
    Ok(())
}

async fn serve(loaded: Loaded, reload: &Reload) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let config = loaded.config().clone();
    let name = settings::cluster::node(&config)?;
    let (health, shutdown) = (Health::new(), Shutdown::new());
    let (telemetry, mut registry) = Telemetry::start(&loaded, ProcessRole::Canary, &name, &health)?;
    let metrics = Metrics::register(&mut registry, config.canary.read.len());
    let canary = Arc::new(Canary::new(&options(&config), metrics)?);
    let (connections, background) = (Tasks::new(), Tasks::new());
    ready_while_running(&health, &shutdown);
    start_heartbeat(&health, &shutdown, &background);
    let has_tried_all = canary.has_tried_all();
    health.ready_when("connections", move || match has_tried_all() {
        true => Ok(()),
        false => Err("not all were tried yet".to_owned()),
    });
    let admin = config.admin.listen.map(|listen| {
        let admin = AdminServer::start(listen, registry, health.clone()).context("admin.listen")?;
        tracing::info!(addr = %admin.addr(), "admin listener started");
        anyhow::Ok(admin)
    });
    let _admin = admin.transpose()?;

    let (change, changed) = watch::channel(timing(&config));
    let pubkey = canary.pubkey();
    let (publish, read) = (&config.canary.publish, &config.canary.read);
    tracing::info!(%pubkey, publish, ?read, "canary started");
    connections.spawn("canary", {
        let (shutdown, connections) = (shutdown.clone(), connections.clone());
        async move { canary.run(changed, &shutdown, &connections).await }
    });

    let loaded = Mutex::new(loaded);
    let again = || {
        process::reload(&loaded, reload, &telemetry, |config| {
            change.send_replace(timing(config));
        });
    };
    signals.stop(again).await;
    // No balancer waits for a canary.
    let plan = StopPlan {
        unready: Duration::ZERO,
        ..stop_plan(&config)
    };
    let grace = Grace::begin(plan.grace);
    let report = stop(&shutdown, &connections, plan, signals.stop(|| ())).await;
    background.wait(grace.left().min(CLOSE_WAIT)).await;
    telemetry.stop().await;
    log_stopped(&report);
    Ok(())
}

fn options(config: &Config) -> Options {
    let section = &config.canary;
    Options {
        publish: section.publish.clone(),
        read: section.read.clone(),
        secret_key: section.secret_key.as_ref().map(secret),
        kind: section.kind,
        ca: section.ca.clone(),
    }
}

fn secret(secret: &Secret) -> String {
    secret.expose().to_owned()
}

fn timing(config: &Config) -> Timing {
    let section = &config.canary;
    Timing {
        interval: section.interval,
        deadline: section.deadline,
        audit_after: section.audit_after,
        expiration: section.expiration,
    }
}
