//! A canary: a client that watches a relay by using it. It needs nothing of a cluster but the URLs.

use std::{
    io::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail};
use heliograph_canary::{Canary, Metrics, Options, Reader, Timing, each_address};
use heliograph_config::{Config, Loaded, Secret};
use heliograph_lifecycle::{Shutdown, Signals, StopPlan, Tasks, stop};
use heliograph_policy::RelayUrls;
use heliograph_telemetry::{AdminServer, Health};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    process::{
        self, Grace, Reload, block_on, log_stopped, ready_while_running, start_heartbeat, stop_plan,
    },
    settings,
    telemetry::{ProcessRole, Telemetry},
};

/// Probes that are published to find out whether a relay works.
const PROBES: u32 = 3;

/// How often limits are looked at again.
const LIMITS_AGAIN: Duration = Duration::from_secs(2);

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

/// What to look at beside the probes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Every address of a name is a reader of its own.
    pub(crate) each_address: bool,
    /// What is advertised has to be what is configured, after this time at the latest.
    pub(crate) limits_within: Option<Duration>,
}

/// Publishes a few probes, reads each live and again by its id through every reader, and says how
/// it went.
///
/// # Errors
///
/// It can't start, or something went wrong, which the error says.
pub(crate) fn once(loaded: &Loaded, look: Look) -> anyhow::Result<()> {
    block_on(Box::pin(probe(loaded.config(), look)))
}

async fn probe(config: &Config, look: Look) -> anyhow::Result<()> {
    let mut options = options(config);
    if look.each_address {
        options.read = each_address(options.read).await?;
    }
    let mut registry = heliograph_telemetry::registry();
    let metrics = Metrics::register(&mut registry, options.read.len());
    let canary = Canary::new(&options, metrics)?;
    let connections = Tasks::new();
    let report = canary.once(PROBES, timing(config), &connections).await;
    let mut problems = Vec::new();
    if !report.is_good() {
        problems.push(report.to_string());
    }
    if let Some(patience) = look.limits_within {
        problems.extend(compare(&canary, &advertised(config), patience, &connections).await);
    }
    connections.wait(CLOSE_WAIT).await;
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    // The exit code says as much.
    drop(writeln!(std::io::stdout(), "{report}"));
    if look.limits_within.is_some() {
        drop(writeln!(
            std::io::stdout(),
            "limits are advertised as configured"
        ));
    }
    Ok(())
}

/// In which limits the readers' relays differ from `expected`, once they don't or time is up.
async fn compare(
    canary: &Canary,
    expected: &serde_json::Value,
    patience: Duration,
    connections: &Tasks,
) -> Vec<String> {
    let began = Instant::now();
    let mut has_told = false;
    loop {
        let problems = canary.compare(expected, connections).await;
        if problems.is_empty() || began.elapsed() >= patience {
            return problems;
        }
        if !has_told {
            let (seconds, problems) = (patience.as_secs(), problems.join("; "));
            drop(writeln!(
                std::io::stderr(),
                "looking at the limits again for up to {seconds} s: {problems}"
            ));
            has_told = true;
        }
        sleep(LIMITS_AGAIN).await;
    }
}

/// The limits that a gateway with this configuration advertises. Whether only some may write isn't
/// among them: operators decide that too, while it runs.
fn advertised(config: &Config) -> serde_json::Value {
    let options = settings::gateway(config, RelayUrls::default());
    let mut limitation = heliograph_gateway::limitation(&options);
    if let Some(fields) = limitation.as_object_mut() {
        fields.remove("restricted_writes");
    }
    limitation
}

async fn serve(loaded: Loaded, reload: &Reload) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let config = loaded.config().clone();
    let name = settings::cluster::node(&config)?;
    let (health, shutdown) = (Health::new(), Shutdown::new());
    let (telemetry, mut registry) =
        Telemetry::start(&loaded, ProcessRole::Canary, &name, &health, None)?;
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
        read: section.read.iter().cloned().map(Reader::from).collect(),
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
