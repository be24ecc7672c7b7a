//! A matcher: follows the stream of commits, holds the newest events in memory over the database,
//! and serves gateways.

use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use heliograph_bus::Requests;
use heliograph_bus_nats::{Membership, Role, Side};
use heliograph_config::Loaded;
use heliograph_lifecycle::{Signals, Tasks, stop};
use heliograph_link::{ServerMetrics, Sessions};
use heliograph_matcher::{Matcher, Progress};
use heliograph_policy::LiveControl;
use heliograph_recent::Recent;
use heliograph_store_scylla::ScyllaStore;
use tokio::sync::watch;

use super::node::Node;
use crate::{
    metrics,
    process::{self, Grace, Reload, block_on, listen, stop_plan, until_stopping, warm_up},
    settings,
};

/// The parts of a running matcher.
struct Parts {
    matcher: Arc<Matcher<ScyllaStore>>,
    recent: Recent<ScyllaStore>,
    sessions: Sessions,
}

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
    let (listener, address) = listen(loaded.config().matcher.listen).await?;
    let mut node = Node::start(&loaded, Side::Matcher, None).await?;
    let (control, _state) = node.control().await?;
    let parts = connect(&mut node, &control).await?;
    let (edge, matching) = (Tasks::new(), Tasks::new());
    let feed = heliograph_matcher::run(Arc::clone(&parts.matcher), node.bus.clone());
    let mut following = matching.spawn("matcher", feed);
    node.needs("matcher", &matching);
    let caught_up = node.bus.feed_caught_up();
    let behind = caught_up.clone();
    node.health.ready_when("feed", move || {
        let caught_up = *behind.borrow();
        caught_up
            .then_some(())
            .ok_or_else(|| "catching up".to_owned())
    });
    let requests: Arc<dyn Requests> = Arc::<Matcher<ScyllaStore>>::clone(&parts.matcher);
    let link = heliograph_link::serve(
        listener,
        requests,
        parts.sessions.clone(),
        parts.matcher.applied(),
        settings::cluster::link_server(&node.config, &node.name)?,
        edge.clone(),
        node.shutdown.watch(),
    );
    let mut serving = edge.spawn("link", link);
    let advertised = settings::cluster::advertised(&node.config, address);
    let lease = node.join(Role::Matcher, advertised, false).await?;
    begin_work(&node, parts.recent.clone(), lease.ready(), caught_up);
    let _admin = node.admin()?;
    tracing::info!(node = %node.name, %address, "matcher started");

    let loaded = Mutex::new(loaded);
    let again = || {
        process::reload(&loaded, reload, &node.telemetry, |config| {
            let urls = node.urls.clone();
            let options = settings::cluster::matcher(config, urls, &control);
            parts.matcher.reload(options);
        });
    };
    let broken = tokio::select! {
        biased; // an order to stop is no failure
        _signal = signals.stop(again) => None,
        _ended = &mut following => Some(match node.bus.feed_error() {
            Some(error) => error.to_string(),
            None => "the stream of commits ended".to_owned(),
        }),
        served = &mut serving => Some(match served {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(())) => "the listener ended".to_owned(),
            Err(error) => error.to_string(),
        }),
    };
    finish(node, &edge, &matching, lease, signals.stop(|| ())).await;
    match broken {
        // What it holds may have a gap: its successor starts from nothing.
        Some(reason) => bail!("the matcher can't go on: {reason}"),
        None => Ok(()),
    }
}

async fn connect(node: &mut Node, control: &LiveControl) -> anyhow::Result<Parts> {
    let registry = &mut node.registry;
    let store_metrics = heliograph_store_scylla::Metrics::register(registry);
    let options = settings::cluster::archive(&node.config, node.urls.clone(), store_metrics);
    let store = ScyllaStore::connect(options)
        .await
        .context("can't use the database")?;
    let recent = Recent::new(store, settings::recent(&node.config), node.urls.clone());
    let figures = recent.clone();
    metrics::register_recent(registry, Box::new(move || figures.stats()));
    let sessions = Sessions::new(ServerMetrics::register(registry));
    let matcher = Matcher::new(
        recent.clone(),
        settings::cluster::matcher(&node.config, node.urls.clone(), control),
        sessions.sink(),
        Progress::of(&node.bus),
        Arc::new(heliograph_matcher::Metrics::register(registry)),
    );
    Ok(Parts {
        matcher,
        recent,
        sessions,
    })
}

/// Once everything that was committed is known here: takes gateways, and fills the recent tier from
/// the database beside. Not before, so that what the stream still announces is known from there.
fn begin_work(
    node: &Node,
    recent: Recent<ScyllaStore>,
    ready: watch::Sender<bool>,
    mut caught_up: watch::Receiver<bool>,
) {
    let work = async move {
        if caught_up.wait_for(|caught_up| *caught_up).await.is_err() {
            return;
        }
        ready.send_replace(true);
        drop(ready);
        warm_up(recent).await;
    };
    node.background
        .spawn("warm-up", until_stopping(node.shutdown.clone(), work));
}

/// Gateways are sent away first, so that they go on elsewhere while everything here still works.
async fn finish(node: Node, edge: &Tasks, matching: &Tasks, lease: Membership, force: impl Future) {
    let plan = stop_plan(&node.config);
    let grace = Grace::begin(plan.grace);
    lease.set_ready(false);
    let report = stop(&node.shutdown, edge, plan, force).await;
    node.bus.close_feed();
    matching.wait(grace.left()).await;
    node.end(lease, grace, &report).await;
}
