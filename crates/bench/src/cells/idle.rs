//! What connections cost that do nothing, and whether memory comes back when they go.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, Figures, Measured, Seen, open, subscribe};
use crate::client::Connection;

/// What an idle client has open: mentions of a key that nobody has.
const FILTER: &str =
    r##"{"kinds":[1],"#p":["00000000000000000000000000000000000000000000000000000000000000aa"]}"##;

pub(super) async fn run(bench: &Bench<'_>, done: &mut impl FnMut(Measured)) {
    for (name, deflate) in [("idle, plain", false), ("idle, deflate offered", true)] {
        if bench.options.wants(name) {
            done((name.to_owned(), idle(bench, deflate).await));
        }
    }
    let name = "connect and disconnect";
    if bench.options.wants(name) {
        done((name.to_owned(), churn(bench).await));
    }
}

/// Connects, asks one thing, stays.
async fn idle(bench: &Bench<'_>, deflate: bool) -> Result<Figures> {
    let before = rest(bench).await?;
    let mut kept = Vec::new();
    let count = bench.sizes.idle;
    let mut figures = bench
        .measure("connection", async {
            let (seen, connections) = connect(bench, count, deflate).await?;
            kept = connections;
            Ok(seen)
        })
        .await?;
    let memory = figures.memory;
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
async fn churn(bench: &Bench<'_>) -> Result<Figures> {
    let (count, rounds) = bench.sizes.churn;
    let before = rest(bench).await?;
    let first = bench
        .measure("connection", come_and_go(bench, count, 1))
        .await?;
    let mut figures = bench
        .measure(
            "connection",
            come_and_go(bench, count, rounds.saturating_sub(1)),
        )
        .await?;
    let growth = |now: u64, before: u64| now as f64 - before as f64;
    let memory = figures.memory;
    let extra = [
        (
            "bytes grown in the first round",
            growth(first.memory.resident, before.resident),
        ),
        (
            "bytes grown in the others",
            growth(memory.resident, first.memory.resident),
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

async fn rest(bench: &Bench<'_>) -> Result<crate::process::Memory> {
    let patience = Duration::from_secs_f64(bench.sizes.settle_secs);
    bench.relay.settle(patience).await?;
    Ok(bench.relay.usage()?.memory)
}
