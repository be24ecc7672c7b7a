//! A gateway: sockets on one side, the bus and a matcher on the other. It needs no database.

use std::{
    io::Write as _,
    sync::{Arc, Mutex},
};

use anyhow::Context;
use heliograph_bus::Deliver;
use heliograph_bus_nats::{NatsBus, Role, Side};
use heliograph_config::Loaded;
use heliograph_control::ControlState;
use heliograph_gateway::{Gateway, Hub, Known, Verified};
use heliograph_lifecycle::{Phase, Signals, Tasks, stop};
use heliograph_link::{Client, ClientMetrics};
use heliograph_policy::{LiveControl, NetworkSet};
use heliograph_verify::Verifier;
use tokio::sync::watch;

use super::{node::Node, rebalance};
use crate::{
    certificate, metrics,
    process::{self, Grace, Reload, block_on, listen, stop_plan, until_stopped},
    readiness, settings,
};

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
    let (listener, address) = listen(loaded.config().gateway.listen).await?;
    let tls = certificate::tls(loaded.config())?;
    let mut node = Node::start(&loaded, Side::Gateway, tls.as_ref()).await?;
    let (control, state) = node.control().await?;
    let edge = Tasks::new();
    let gateway = connect(&mut node, &control, &edge)?;
    node.background.spawn(
        "networks",
        until_stopped(
            node.shutdown.clone(),
            follow_networks(Arc::clone(&gateway), state),
        ),
    );
    let lease = node.join(Role::Gateway, String::new(), true).await?;
    let _admin = node.admin()?;
    edge.spawn(
        "accept",
        heliograph_gateway::run(Arc::clone(&gateway), listener, tls.clone()),
    );
    certificate::follow(tls.as_ref(), &node.shutdown, &node.background);
    let scheme = certificate::scheme(&node.config);
    let line = format!("gateway {} listening on {scheme}://{address}\n", node.name);
    // A closed stdout is no reason not to serve.
    drop(std::io::stdout().write_all(line.as_bytes()));

    let loaded = Mutex::new(loaded);
    let again = || {
        process::reload(&loaded, reload, &node.telemetry, |config| {
            let urls = node.urls.clone();
            gateway.reload(settings::cluster::gateway(config, urls, &control));
            tls.iter().for_each(certificate::refresh);
        });
    };
    signals.stop(again).await;
    let plan = stop_plan(&node.config);
    let grace = Grace::begin(plan.grace);
    let report = stop(&node.shutdown, &edge, plan, signals.stop(|| ())).await;
    drop(gateway);
    node.end(lease, grace, &report).await;
    Ok(())
}

/// Has open connections looked at whenever other networks are banned.
async fn follow_networks(
    gateway: Arc<Gateway<NatsBus>>,
    mut control: watch::Receiver<ControlState>,
) {
    let mut banned = NetworkSet::default();
    while control.changed().await.is_ok() {
        let rules = Arc::clone(&control.borrow_and_update().rules);
        if rules.networks_banned != banned {
            banned = rules.networks_banned.clone();
            gateway.networks_changed();
        }
    }
}

/// Puts the gateway together and follows the matchers.
fn connect(
    node: &mut Node,
    control: &LiveControl,
    edge: &Tasks,
) -> anyhow::Result<Arc<Gateway<NatsBus>>> {
    let config = &node.config;
    let durability = config.cluster.durability.into();
    let metrics = heliograph_gateway::Metrics::register(&mut node.registry, durability);
    let metrics = Arc::new(metrics);
    let hub = Arc::new(Hub::new(Arc::clone(&metrics)));
    let verifier = Verifier::start(settings::verify_threads(config), config.verify.queue_max)
        .context("failed to start the threads that check signatures")?;
    let verifier = Arc::new(verifier);
    metrics::register_verifier(&mut node.registry, Arc::clone(&verifier));

    let members = node.bus.members(Role::Matcher);
    let (targets, chosen) = watch::channel(None);
    let options = settings::cluster::link_client(config, &node.name, node.bus.incarnation())?;
    let link_metrics = ClientMetrics::register(&mut node.registry);
    let deliver: Arc<dyn Deliver> = Arc::<Hub>::clone(&hub);
    let (client, link) = Client::new(options, chosen, deliver, link_metrics)?;
    let asked = client.clone();
    let choose = rebalance::follow(node.name.clone(), members, targets, move || {
        asked.is_connected()
    });
    node.bus.serve_requests(Arc::new(client.clone()));
    // Both serve the sessions, which end before they do.
    node.background
        .spawn("matchers", until_stopped(node.shutdown.clone(), choose));
    node.background
        .spawn("link", async move { link.run().await });
    let mut phase = node.shutdown.watch();
    node.background.spawn("link end", async move {
        phase.reached(Phase::Stopped).await;
        client.stop();
    });
    let gateway = Gateway::new(
        node.bus.clone(),
        settings::cluster::gateway(config, node.urls.clone(), control),
        verifier,
        Known::remembered(Arc::new(Verified::default())),
        hub,
        metrics,
        node.shutdown.clone(),
        edge.clone(),
    );
    node.pages.add("/top", gateway.top_page());
    readiness::of_edge(&node.health, &gateway, config.verify.queue_max);
    Ok(gateway)
}
