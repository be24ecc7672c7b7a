//! What connections and subscriptions cost that do nothing, and whether memory comes back when they go.
//!
//! Each cell has a relay of its own, started anew on the data of the cells before: memory that other
//! connections have left free would be taken again and not show.

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{Bench, Effect, Figures, Seen, open, subscribe, subscribe_as};
use crate::{
    client::{Connection, TlsConnection},
    process::Memory,
};

/// What an idle client has open: mentions of a key that nobody has.
const FILTER: &str =
    r##"{"kinds":[1],"#p":["00000000000000000000000000000000000000000000000000000000000000aa"]}"##;

/// Authors of a home feed.
const FEED_AUTHORS: usize = 500;

/// The number of the feed that is asked for before anything is measured, and by nobody else.
const FIRST_FEED: u32 = u32::MAX;

/// The cells of every relay, in order.
pub(super) const NAMES: [&str; 5] = [
    "idle, plain",
    "idle, deflate offered",
    "idle, equal feeds",
    "idle, distinct feeds",
    "connect and disconnect",
];

/// The cell of relays that have TLS.
pub(crate) const TLS: &str = "idle, TLS";

/// Runs one of them.
pub(super) async fn run(bench: &Bench<'_>, name: &str) -> Result<Figures> {
    let [plain, deflate, equal, distinct, churned] = NAMES;
    // What it does at its start may come by a clock, as what it writes does.
    let remark = bench.settle(Effect::Writes, "before").await?;
    let before = bench.relay.usage()?.memory;
    let mut figures = match name {
        _ if name == plain => idle(bench, before, false).await,
        _ if name == deflate => idle(bench, before, true).await,
        TLS => idle_behind_tls(bench, before).await,
        _ if name == equal => feeds(bench, |_nth| 0).await,
        _ if name == distinct => feeds(bench, |nth| nth).await,
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
    tell_growth(bench, before, count, &mut figures)?;
    let agreed = kept
        .iter()
        .filter(|connection| connection.is_deflated())
        .count();
    figures
        .extra
        .insert("with deflate".to_owned(), agreed as f64);
    for connection in kept {
        connection.close().await;
    }
    Ok(figures)
}

/// The same over TLS.
async fn idle_behind_tls(bench: &Bench<'_>, before: Memory) -> Result<Figures> {
    let certificate = bench.relay.certificate.as_ref();
    let connector = certificate.context("it has no TLS")?.connector()?;
    let mut kept = Vec::new();
    let count = bench.sizes.idle;
    let mut figures = bench
        .measure("connection", Effect::Reads, async {
            let mut seen = Seen::default();
            for _ in 0..count {
                let due = Instant::now();
                let address = bench.relay.address();
                let mut connection = TlsConnection::open(address, &connector).await?;
                connection
                    .subscribe(FILTER, |answer| seen.refusals.note(answer))
                    .await?;
                seen.sent += connection.bytes_sent;
                seen.received += connection.bytes_received;
                seen.latencies.push(due.elapsed());
                seen.operations += 1;
                kept.push(connection);
            }
            seen.counts = vec![seen.operations];
            Ok(seen)
        })
        .await?;
    tell_growth(bench, before, count, &mut figures)?;
    for connection in kept {
        connection.close().await;
    }
    Ok(figures)
}

/// Opens home feeds on connections that are there: what the subscriptions take, and not what carries them.
/// `number` says which feed the nth asks for.
async fn feeds(bench: &Bench<'_>, number: impl Fn(u32) -> u32) -> Result<Figures> {
    let count = bench.sizes.idle;
    let (_, mut connections) = connect(bench, count, false).await?;
    let mut first = Connection::open(bench.relay.address(), false).await?;
    let mut seen = Seen::default();
    // What the relay keeps for its work with the first of its kind isn't a subscription's.
    subscribe(&mut first, &feed(bench, FIRST_FEED), &mut seen.refusals).await?;
    first.close().await;
    let remark = bench.settle(Effect::Writes, "before").await?;
    let before = bench.relay.usage()?.memory;
    let mut figures = bench
        .measure("subscription", Effect::Reads, async {
            for (connection, nth) in connections.iter_mut().zip(0..) {
                let filter = feed(bench, number(nth));
                let due = Instant::now();
                subscribe_as("feed", connection, &filter, &mut seen.refusals).await?;
                seen.traffic(connection);
                seen.latencies.push(due.elapsed());
                seen.operations += 1;
            }
            seen.counts = vec![seen.operations];
            Ok(seen)
        })
        .await?;
    figures.remarks.extend(remark);
    tell_growth(bench, before, count, &mut figures)?;
    for connection in connections {
        connection.close().await;
    }
    Ok(figures)
}

/// A home feed without stored events: authors drawn from all, none more often than others, so that feeds
/// have less in common than those of people, who follow the same few.
fn feed(bench: &Bench<'_>, number: u32) -> String {
    let corpus = &bench.work.corpus;
    let population = corpus.options().authors;
    let authors = picked(number, population).into_iter();
    let authors: Vec<&str> = authors.map(|nth| corpus.author(nth)).collect();
    json!({"authors": authors, "kinds": [1, 6], "limit": 0}).to_string()
}

/// The authors of a feed, the same ones in every run.
fn picked(number: u32, population: u32) -> BTreeSet<u32> {
    let wanted = FEED_AUTHORS.min(population as usize);
    let mut picked = BTreeSet::new();
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while picked.len() < wanted {
        // The generator of Knuth's MMIX; its upper bits are the better ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let drawn = (state >> 32) % u64::from(population);
        picked.extend(u32::try_from(drawn));
    }
    picked
}

/// Adds by how much the relay has grown, without the servers of a cluster, whose memory has other reasons.
fn tell_growth(bench: &Bench<'_>, before: Memory, count: u32, figures: &mut Figures) -> Result<()> {
    let memory = bench.relay.usage()?.memory;
    let each = |now: u64, before: u64| (now as f64 - before as f64) / f64::from(count.max(1));
    let unit = &figures.unit;
    let extra = [
        (
            format!("bytes a {unit}"),
            each(memory.resident, before.resident),
        ),
        (
            format!("anonymous bytes a {unit}"),
            each(memory.anonymous, before.anonymous),
        ),
    ];
    figures.extra.extend(extra);
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_has_its_500_authors_and_no_other_feed_has_them_all() {
        let feeds: BTreeSet<BTreeSet<u32>> = (0..1_000).map(|nth| picked(nth, 5_000)).collect();
        assert_eq!(feeds.len(), 1_000);
        let own = |feed: &BTreeSet<u32>| feed.len() == FEED_AUTHORS && feed.last() < Some(&5_000);
        assert!(feeds.iter().all(own));
        assert_eq!(picked(7, 5_000), picked(7, 5_000));
        assert_eq!(picked(7, 30).len(), 30, "all that there are");
    }
}
