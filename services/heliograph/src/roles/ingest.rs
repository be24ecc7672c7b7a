//! An ingest worker: from the stream of events to the database, and on to the stream of commits.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use heliograph_bus_nats::{Role, Side};
use heliograph_config::Loaded;
use heliograph_lifecycle::{Signals, StopPlan, Tasks, stop};
use heliograph_store_scylla::ScyllaStore;

use super::node::Node;
use crate::{
    process::{self, Grace, Reload, block_on, stop_plan, until_stopping},
    settings,
};

/// How often removals that a request to vanish has left over are gone on with, and for how long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
const SWEEP_TIME: Duration = Duration::from_secs(2);

/// Runs until a signal ends it.
///
/// # Errors
///
/// It can't start or go on, with the reason for the operator.
pub(crate) fn run(loaded: Loaded, reload: &Reload) -> anyhow::Result<()> {
    block_on(Box::pin(serve(loaded, reload)))
}

async fn serve(loaded: Loaded, reload: &Reload) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let mut node = Node::start(&loaded, Side::Ingest, None).await?;
    let metrics = heliograph_store_scylla::Metrics::register(&mut node.registry);
    let options = settings::cluster::writers_archive(&node.config, node.urls.clone(), metrics);
    let store = ScyllaStore::connect(options)
        .await
        .context("can't use the database")?;
    let metrics = Arc::new(heliograph_ingest::Metrics::register(&mut node.registry));
    let workers = Tasks::new();
    for _worker in 0..node.config.ingest.batches_in_flight {
        let work = heliograph_ingest::run(
            node.bus.clone(),
            Arc::new(store.clone()),
            Arc::clone(&metrics),
        );
        workers.spawn("ingest", work);
    }
    node.needs("ingest", &workers);
    node.background
        .spawn("sweep", until_stopping(node.shutdown.clone(), sweep(store)));
    let lease = node.join(Role::Ingest, String::new(), true).await?;
    let _admin = node.admin()?;
    tracing::info!(node = %node.name, "ingest started");

    let loaded = Mutex::new(loaded);
    signals
        .stop(|| process::reload(&loaded, reload, &node.telemetry, |_config| ()))
        .await;
    // No balancer waits for a worker: it fetches no more at once.
    let plan = StopPlan {
        unready: Duration::ZERO,
        ..stop_plan(&node.config)
    };
    let grace = Grace::begin(plan.grace);
    node.bus.close_intake();
    let report = stop(&node.shutdown, &workers, plan, signals.stop(|| ())).await;
    node.end(lease, grace, &report).await;
    Ok(())
}

/// Goes on with what requests to vanish have left over.
async fn sweep(store: ScyllaStore) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        if let Err(error) = store.sweep(SWEEP_TIME).await {
            tracing::warn!(%error, "failed to go on removing what has vanished");
        }
    }
}
