//! Readers that stall: of many subscribers a twentieth stops reading, with little room in the kernel.
//!
//! What is looked at: whether the others get their notes as soon as before, when as many with as many
//! subscriptions were there and read, what becomes of those that don't read, and how much memory the relay
//! keeps for them.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, anyhow};
use futures_util::future::{join_all, try_join, try_join_all};
use serde_json::json;
use tokio::{sync::watch, time::timeout};

use super::{
    Bench, Effect, Figures, Refusals, Seen,
    live::{LATE, Notes, publish, subscriber},
    open,
    publish::Messages,
    subscribe_as,
};
use crate::{
    client::{Answer, Connection, Origin},
    process::Usage,
    relay::Relay,
    report::Metric,
    statistics::Latency,
};

/// The name of the cell.
pub(super) const NAME: &str = "stalled readers";

/// Which authors of live notes write here.
const CELL: u32 = 3;

/// One of so many stalls.
const ONE_OF: u32 = 20;

/// What the kernel takes for one that doesn't read; it doubles this for its own use.
const RECEIVE_BYTES: u32 = 4_096;

/// Subscriptions of one that stalls, each of which gets every note: what waits for it grows so much
/// faster than what the others have to read.
const SUBSCRIPTIONS: u32 = 10;

/// Bytes that make a note longer than notes are, for the same reason.
const MORE_BYTES: usize = 4_000;

/// How long one that has stalled is read from without anything coming before it counts as open.
const SILENCE: Duration = Duration::from_secs(2);

/// How long it is read from at all.
const READ_MAX: Duration = Duration::from_secs(20);

/// How often the relay's memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(bench: &Bench<'_>) -> Result<Figures> {
    let (sockets, rate, before, during) = bench.sizes.stalled;
    let count = (sockets / ONE_OF).max(1);
    let signed = bench.work.long_notes(CELL, before + during, MORE_BYTES);
    let (quiet, loud) = signed.split_at(usize::try_from(before)?);
    let messages = |events: &[heliograph_protocol::Event]| {
        Messages::of(events.iter().map(|event| event.as_str().as_bytes()))
    };
    let (quiet, loud) = (messages(quiet)?, messages(loud)?);
    let filter = json!({
        "kinds": [1],
        "authors": bench.work.live_authors(CELL),
        "since": bench.work.live_start(),
    });
    let filter = filter.to_string();
    // Without what is stored by then.
    let later = json!({
        "kinds": [1],
        "authors": bench.work.live_authors(CELL),
        "since": bench.work.live_start() + before,
    });
    let later = later.to_string();
    let mut refusals = Refusals::default();
    let mut healthy = open(bench, sockets.saturating_sub(count), false).await?;
    for connection in &mut healthy {
        subscribe_as("s", connection, &filter, &mut refusals).await?;
    }
    // Nobody stalls: those that will later are there and read, or the relay would have less to do.
    let mut reading = many(bench, count, Origin::default(), &filter, &mut refusals).await?;
    let first = tokio::select! {
        biased; // the publisher has a clock to keep
        seen = fan_out(bench, &quiet, rate, &mut healthy) => seen?.0,
        // Without an end but by an error: there is at least one.
        ended = try_join_all(reading.iter_mut().map(read_on)) => {
            return Err(ended.map_or_else(|error| error, |_none| anyhow!("nobody reads")));
        }
    };
    for connection in reading {
        connection.close().await;
    }
    // Some never read what comes.
    let narrow = Origin {
        receive_bytes: Some(RECEIVE_BYTES),
        ..Origin::default()
    };
    let mut stalling = many(bench, count, narrow, &later, &mut refusals).await?;
    let watch = Watch::start(bench.relay);
    let mut lost = 0;
    let mut duplicates = 0;
    let mut figures = bench
        .measure("delivery", Effect::Writes, async {
            let (seen, missing) = fan_out(bench, &loud, rate, &mut healthy).await?;
            (lost, duplicates) = (missing, seen.duplicates);
            Ok(seen)
        })
        .await?;
    let (memory_before, memory_most) = watch.end();
    let ends = join_all(stalling.iter_mut().map(end_of)).await;
    figures.refusals.add(refusals);
    figures.refusals.add(first.refusals.clone());
    figures.faults.extend(first.faults.clone());
    tell(&mut figures, &first, &ends);
    for (name, count) in [("slow_missing", lost), ("slow_duplicate", duplicates)] {
        let metric = Metric::Count { count };
        figures.metrics.insert(name.to_owned(), metric);
    }
    let growth = memory_most.saturating_sub(memory_before);
    let grown = growth as f64 / f64::from(1 << 20);
    figures
        .extra
        .insert("RSS grown at most, MiB".to_owned(), grown);
    figures.metrics.insert(
        "slow_rss_growth_bytes".to_owned(),
        Metric::Value {
            value: growth as f64,
        },
    );
    Ok(figures)
}

/// Opens connections that get every note ten times.
async fn many(
    bench: &Bench<'_>,
    count: u32,
    origin: Origin,
    filter: &str,
    refusals: &mut Refusals,
) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open_from(origin, bench.relay.address(), false).await?;
        for nth in 0..SUBSCRIPTIONS {
            subscribe_as(&format!("s{nth}"), &mut connection, filter, refusals).await?;
        }
        connections.push(connection);
    }
    Ok(connections)
}

/// Reads whatever comes.
///
/// # Errors
///
/// The connection ended.
async fn read_on(connection: &mut Connection) -> Result<Infallible> {
    loop {
        connection.step().await?;
        while connection.message()?.is_some() {}
    }
}

/// Adds what became of whom.
fn tell(figures: &mut Figures, first: &Seen, ends: &[String]) {
    let before = Latency::of(first.latencies.clone());
    let during = figures.latency;
    let mut reasons: BTreeMap<String, f64> = BTreeMap::new();
    for end in ends {
        *reasons.entry(format!("stalled: {end}")).or_default() += 1.0;
    }
    let open = ends.iter().filter(|end| *end == OPEN).count() as u64;
    figures.extra.extend(reasons);
    figures.extra.extend([
        ("others before, p50 ms".to_owned(), before.p50_ms),
        ("others before, p99 ms".to_owned(), before.p99_ms),
    ]);
    let slowdown = during.p99_ms / before.p99_ms.max(f64::MIN_POSITIVE);
    let count = |count: u64| Metric::Count { count };
    figures.metrics.extend(
        [
            ("slow_before_ms", Metric::from(before)),
            ("slow_healthy_ms", Metric::from(during)),
            ("slow_healthy_slowdown", Metric::Value { value: slowdown }),
            ("slow_stalled", count(ends.len() as u64)),
            ("slow_closed", count(ends.len() as u64 - open)),
            ("slow_close_missing", count(open)),
            ("slow_readers_done", count(during.count)),
        ]
        .map(|(name, metric)| (name.to_owned(), metric)),
    );
    if open > 0 {
        let remark = format!("{open} of {} stalled readers were not closed", ends.len());
        figures.remarks.push(remark);
    }
}

/// Publishes by the clock to all who read; says also how many deliveries are missing.
async fn fan_out(
    bench: &Bench<'_>,
    messages: &Messages,
    rate: u32,
    healthy: &mut [Connection],
) -> Result<(Seen, u64)> {
    let notes = Notes::of(messages);
    let publisher = Connection::open(bench.relay.address(), false).await?;
    let (answered, end) = watch::channel(());
    let due = messages.count() * healthy.len() as u64;
    let readers = healthy
        .iter_mut()
        .map(|connection| subscriber(connection, &notes, end.clone(), LATE));
    let publishing = async {
        let seen = publish(publisher, messages, &notes, Some(rate)).await?;
        drop(answered);
        Ok(seen)
    };
    let (published, delivered) = try_join(publishing, try_join_all(readers)).await?;
    let mut seen = Seen {
        counts: delivered.iter().map(|part| part.operations).collect(),
        ..Seen::default()
    };
    delivered.into_iter().for_each(|part| seen.add(part));
    seen.refusals.add(published.refusals);
    let lost = due.saturating_sub(seen.operations);
    if lost > 0 {
        let fault = format!("{lost} of {due} deliveries to healthy readers didn't come");
        seen.faults.push(fault);
    }
    if seen.duplicates > 0 {
        let fault = format!("{} deliveries came twice", seen.duplicates);
        seen.faults.push(fault);
    }
    Ok((seen, lost))
}

/// What a reader finds that comes back and is not closed.
const OPEN: &str = "still open";

/// Reads what there is, up to the end of the connection if it has one, and says how it ended.
async fn end_of(connection: &mut Connection) -> String {
    let reading = async {
        loop {
            match timeout(SILENCE, connection.step()).await {
                Err(_silent) => return OPEN.to_owned(),
                Ok(Err(error)) => return format!("{error:#}"),
                Ok(Ok(())) => {}
            }
            loop {
                match connection.message() {
                    Ok(None) => break,
                    Ok(Some(message)) => drop(Answer::parse(message)),
                    Err(error) => return format!("{error:#}"),
                }
            }
        }
    };
    let end = timeout(READ_MAX, reading).await;
    end.unwrap_or_else(|_still_sending| OPEN.to_owned())
}

/// The relay's memory while something happens, looked at from a thread of its own.
struct Watch {
    before: u64,
    most: Arc<AtomicU64>,
    /// Ends the thread when it is dropped.
    end: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(relay: &Relay) -> Self {
        let (leader, without) = (relay.leader(), relay.server_pids());
        let resident = move || {
            let usage = Usage::of_group(leader, &without);
            usage.map_or(0, |usage| usage.memory.resident)
        };
        let before = resident();
        let most = Arc::new(AtomicU64::new(before));
        let (end, ended) = mpsc::channel();
        let thread = thread::spawn({
            let most = Arc::clone(&most);
            move || {
                while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    most.fetch_max(resident(), Ordering::Relaxed);
                }
            }
        });
        Self {
            before,
            most,
            end,
            thread,
        }
    }

    /// Resident bytes before, and at most.
    fn end(self) -> (u64, u64) {
        drop(self.end);
        // It can't panic, and would only have seen less.
        drop(self.thread.join());
        (self.before, self.most.load(Ordering::Relaxed))
    }
}
