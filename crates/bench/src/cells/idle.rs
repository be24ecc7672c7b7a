//! What connections cost that do nothing, and whether memory comes back when they go.
//!
//! Each cell has a relay of its own, started anew on the data of the cells before: memory that other
//! connections have left free would be taken again and not show.

use std::time::Instant;

use anyhow::{Result, bail};

use super::{Bench, Effect, Figures, Seen, open, subscribe};
use crate::{client::Connection, process::Memory};

/// What an idle client has open: mentions of a key that nobody has.
const FILTER: &str =
    r##"{"kinds":[1],"#p":["00000000000000000000000000000000000000000000000000000000000000aa"]}"##;

/// The cells, in order.
pub(super) const NAMES: [&str; 3] = [
    "idle, plain",
    "idle, deflate offered",
    "connect and disconnect",
];

/// Runs one of them.
pub(super) async fn run(bench: &Bench<'_>, name: &str) -> Result<Figures> {
    let [plain, deflate, churned] = NAMES;
    // What it does at its start may come by a clock, as what it writes does.
    let remark = bench.settle(Effect::Writes, "before").await?;
    let before = bench.relay.usage()?.memory;
    let mut figures = match name {
        _ if name == plain => idle(bench, before, false).await,
        _ if name == deflate => idle(bench, before, true).await,
        _ if name == churned => churn(bench, before).await,
        _ => bail!("no such cell"),
    }?;
    figures.remarks.extend(remark);
    Ok(figures)
}

/// Connects, asks one thing, stays.
async fn idle(bench: &Bench<'_>, before: Memory, deflate: bool) -> Result<Figures> {
    let mut kept = Vec::new();
    let count = bench.sizes.idle;
    let mut figures = bench
        .measure("connection", Effect::Reads, async {
            let (seen, connections) = connect(bench, count, deflate).await?;
            kept = connections;
            Ok(seen)
        })
        .await?;
    // Without the servers of a cluster, whose memory has other reasons.
    let memory = bench.relay.usage()?.memory;
    let each = |now: u64, before: u64| (now as f64 - before as f64) / f64::from(count.max(1));
    let agreed = kept
        .iter()
        .filter(|connection| connection.is_deflated())
        .count();
    let extra = [
        ("bytes a connection", each(memory.resident, before.resident)),
        (
            "anonymous bytes a connection",
            each(memory.anonymous, before.anonymous),
        ),
        ("with deflate", agreed as f64),
    ];
    figures
        .extra
        .extend(extra.map(|(name, value)| (name.to_owned(), value)));
    for connection in kept {
        connection.close().await;
    }
    Ok(figures)
}

/// Connects many, asks, goes, again and again; the growth is from after the first round on, when pools
/// are filled.
async fn churn(bench: &Bench<'_>, before: Memory) -> Result<Figures> {
    let (count, rounds) = bench.sizes.churn;
    bench
        .measure("connection", Effect::Reads, come_and_go(bench, count, 1))
        .await?;
    let filled = bench.relay.usage()?.memory;
    let mut figures = bench
        .measure(
            "connection",
            Effect::Reads,
            come_and_go(bench, count, rounds.saturating_sub(1)),
        )
        .await?;
    let growth = |now: u64, before: u64| now as f64 - before as f64;
    let memory = bench.relay.usage()?.memory;
    let extra = [
        (
            "bytes grown in the first round",
            growth(filled.resident, before.resident),
        ),
        (
            "bytes grown in the others",
            growth(memory.resident, filled.resident),
        ),
    ];
    figures
        .extra
        .extend(extra.map(|(name, value)| (name.to_owned(), value)));
    Ok(figures)
}

async fn come_and_go(bench: &Bench<'_>, count: u32, rounds: u32) -> Result<Seen> {
    let mut all = Seen::default();
    for _ in 0..rounds {
        let (seen, connections) = connect(bench, count, false).await?;
        all.add(seen);
        for connection in connections {
            connection.close().await;
        }
    }
    all.counts = vec![all.operations];
    Ok(all)
}

async fn connect(bench: &Bench<'_>, count: u32, deflate: bool) -> Result<(Seen, Vec<Connection>)> {
    let mut seen = Seen::default();
    let mut connections = Vec::new();
    for _ in 0..count {
        let due = Instant::now();
        let mut opened = open(bench, 1, deflate).await?;
        for connection in &mut opened {
            subscribe(connection, FILTER, &mut seen.refusals).await?;
            seen.traffic(connection);
        }
        seen.latencies.push(due.elapsed());
        seen.operations += 1;
        connections.append(&mut opened);
    }
    seen.counts = vec![seen.operations];
    Ok((seen, connections))
}
