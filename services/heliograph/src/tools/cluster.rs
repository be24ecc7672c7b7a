//! Tools that work on a cluster: its tables, its dead letters, its control records.

use std::{io::Write, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use heliograph_bus_nats::{DeadLetter, NatsBus, Side};
use heliograph_config::{Config, Loaded};
use heliograph_control::{Command, ControlStore, parse_until};
use heliograph_lifecycle::Tasks;
use heliograph_protocol::{Kind, Timestamp};
use heliograph_store_scylla as scylla;
use serde_json::json;

use super::output::note;
use crate::{
    cli::{BanTool, ClusterTool, ControlTool, DeadLettersTool, IpTool, KindAction, UnbanTool},
    settings,
};

/// Dead letters read at once.
const LETTERS: usize = 100;

/// How long the last messages may take to leave.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);

pub(super) fn run(tool: ClusterTool, loaded: &Loaded, out: &mut impl Write) -> anyhow::Result<()> {
    let config = loaded.config();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")?;
    runtime.block_on(async {
        match tool {
            ClusterTool::Migrate { check } => Box::pin(migrate(config, check, out)).await,
            ClusterTool::DeadLetters(tool) => {
                let bus = connect(config).await?;
                let done = dead_letters(tool, &bus, out).await;
                bus.close(LAST_WORDS).await;
                done
            }
            ClusterTool::Control(tool) => {
                let bus = connect(config).await?;
                let done = control(tool, config, &bus, out).await;
                bus.close(LAST_WORDS).await;
                done
            }
        }
    })
}

async fn migrate(config: &Config, check: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let urls = heliograph_policy::RelayUrls::default();
    let metrics = scylla::Metrics::register(&mut heliograph_telemetry::registry());
    let options = settings::cluster::archive(config, urls, metrics);
    let report = if check {
        scylla::check(&options).await?
    } else {
        let replication = settings::cluster::replication(config)?;
        scylla::migrate(&options, &replication, scylla::Mode::Apply).await?
    };
    for warning in &report.warnings {
        note(&format!("warning: {warning}"));
    }
    let keyspace = &options.keyspace;
    if report.is_current() {
        let version = report.found.max(report.known);
        writeln!(out, "keyspace {keyspace} is at version {version}")?;
        return Ok(());
    }
    let done = if check { "missing" } else { "done" };
    for (version, title) in &report.steps {
        writeln!(out, "{done}: {version} {title}")?;
    }
    if check {
        bail!(
            "keyspace {keyspace} is at version {}, this program needs {}: run heliograph migrate",
            report.found,
            report.known
        );
    }
    writeln!(out, "keyspace {keyspace} is at version {}", report.known)?;
    Ok(())
}

/// Connects to the bus of a cluster.
pub(super) async fn connect(config: &Config) -> anyhow::Result<NatsBus> {
    let node = settings::cluster::node(config)?;
    let options = settings::cluster::bus(config, &node)?;
    let metrics =
        heliograph_bus_nats::Metrics::register(&mut heliograph_telemetry::registry(), Side::All);
    NatsBus::connect(options, Arc::new(metrics), &Tasks::new())
        .await
        .with_context(|| format!("can't use the bus at {}", config.nats.servers.join(", ")))
}

async fn dead_letters(
    tool: DeadLettersTool,
    bus: &NatsBus,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let letters = bus.dead_letters();
    match tool {
        DeadLettersTool::List { json } => {
            let mut after = 0;
            loop {
                let page = letters.list(after, LETTERS).await?;
                let Some(last) = page.last() else {
                    return Ok(());
                };
                after = last.number;
                for letter in &page {
                    writeln!(out, "{}", if json { as_json(letter) } else { line(letter) })?;
                }
            }
        }
        DeadLettersTool::Replay {
            number: Some(number),
            ..
        } => {
            letters.replay(number).await?;
            writeln!(out, "given back: 1")?;
        }
        DeadLettersTool::Replay { number: None, .. } => {
            let count = letters.replay_all().await?;
            writeln!(out, "given back: {count}")?;
        }
        DeadLettersTool::Discard { number } => {
            letters.discard(number).await?;
            writeln!(out, "thrown away: 1")?;
        }
    }
    Ok(())
}

fn line(letter: &DeadLetter) -> String {
    format!(
        "{}\tat {}\t{} events, {} bytes\tfrom {}\tafter {} deliveries\t{}",
        letter.number,
        letter.at.as_secs(),
        letter.events.len(),
        letter.bytes,
        letter.gateway,
        letter.deliveries,
        letter.reason
    )
}

fn as_json(letter: &DeadLetter) -> String {
    let events = letter.events.iter();
    let events: Vec<_> = events
        .map(|(id, kind)| json!({"id": id.to_hex(), "kind": kind.as_u16()}))
        .collect();
    json!({
        "number": letter.number,
        "at": letter.at.as_secs(),
        "published": letter.published.as_secs(),
        "reason": letter.reason,
        "deliveries": letter.deliveries,
        "gateway": letter.gateway,
        "ingest": letter.ingest,
        "bytes": letter.bytes,
        "events": events,
    })
    .to_string()
}

async fn control(
    tool: ControlTool,
    config: &Config,
    bus: &NatsBus,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let store = ControlStore::new(bus.client(), settings::cluster::control(config));
    store.open().await?;
    for line in command(tool, now)?.run(&store, now).await? {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn command(tool: ControlTool, now: Timestamp) -> anyhow::Result<Command> {
    Ok(match tool {
        ControlTool::List => Command::List,
        ControlTool::Ban(BanTool::Pubkey { pubkey, reason }) => {
            Command::BanPubkey { pubkey, reason }
        }
        ControlTool::Ban(BanTool::Event { id, reason }) => Command::BanEvent { event: id, reason },
        ControlTool::Unban(UnbanTool::Pubkey { pubkey }) => Command::UnbanPubkey(pubkey),
        ControlTool::Unban(UnbanTool::Event { id }) => Command::UnbanEvent(id),
        ControlTool::Allow { pubkey } => Command::AllowPubkey(pubkey),
        ControlTool::Disallow { pubkey } => Command::DisallowPubkey(pubkey),
        ControlTool::Admit { pubkey, until } => {
            let until = until.map(|until| parse_until(&until, now)).transpose();
            let until = until.map_err(anyhow::Error::msg)?;
            Command::AdmitPubkey { pubkey, until }
        }
        ControlTool::Dismiss { pubkey } => Command::DismissPubkey(pubkey),
        ControlTool::Kind { action, kind } => {
            let kind = Kind::new(kind);
            match action {
                KindAction::Allow => Command::AllowKind(kind),
                KindAction::Block => Command::BlockKind(kind),
                KindAction::Clear => Command::ClearKind(kind),
            }
        }
        ControlTool::Ip(IpTool::Ban { network, reason }) => Command::BanNetwork { network, reason },
        ControlTool::Ip(IpTool::Unban { network }) => Command::UnbanNetwork(network),
        ControlTool::Name { text } => Command::Name(text),
        ControlTool::Description { text } => Command::Description(text),
        ControlTool::Icon { url } => Command::Icon(url),
    })
}
