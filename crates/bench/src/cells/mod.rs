//! The work itself, one kind a module, and what is measured around each.

mod ask;
mod idle;
mod live;
mod load;
mod pacing;
mod publish;
mod sockets;
mod stalled;

pub(crate) use self::{
    ask::check,
    idle::TLS,
    sockets::{WORKER, work as hold_sockets},
};

use std::{
    collections::BTreeMap,
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    client::{Answer, Connection},
    options::{Options, Sizes},
    process::{Memory, Usage, own_cpu},
    relay::{REST, Relay},
    report::Metric,
    statistics::Latency,
    work::Work,
};

/// How long one cell may take. A relay that doesn't answer fails the cell, not the run.
const CELL_MAX: Duration = Duration::from_secs(900);

/// Refusals that are kept as they were.
const EXAMPLES_MAX: usize = 5;

/// Signs in a message that a limit of rates was at work, for relays without NIP-01's prefixes.
const LIMITER: [&str; 6] = [
    "rate-limit",
    "rate limit",
    "too many",
    "too fast",
    "slow down",
    "quota",
];

/// What one relay did in one cell of one pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// What is counted: event, request, delivery, connection.
    pub unit: String,
    /// How many of them.
    pub operations: u64,
    /// From the first to the last answer, in seconds.
    pub wall_secs: f64,
    /// CPU time of the relay until it was at rest again, in seconds.
    pub server_cpu_secs: f64,
    /// CPU time of this client, in seconds.
    pub client_cpu_secs: f64,
    /// From when an operation was due to its answer.
    pub latency: Latency,
    /// Bytes to and from the relay, frames included.
    pub bytes_sent: u64,
    /// See `bytes_sent`.
    pub bytes_received: u64,
    /// Stored events in answers.
    pub rows: u64,
    /// Rows of each question, or another count that has to be the same for all relays.
    pub counts: Vec<u64>,
    /// The counts that are right, where that is known.
    pub expected: Vec<u64>,
    /// What was refused.
    pub refusals: Refusals,
    /// Why the figures mean nothing, where that isn't a refusal.
    pub faults: Vec<String>,
    /// What takes away from them, but not all.
    pub remarks: Vec<String>,
    /// Memory when the relay was at rest again.
    pub memory: Memory,
    /// Bytes on the disk then.
    pub disk: u64,
    /// Figures of this cell alone, by name.
    pub extra: BTreeMap<String, f64>,
    /// What it reports in the format of the load scripts, by that format's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, Metric>,
}

impl Figures {
    /// Whether they may be compared: all was done as asked, and no limiter had a part in it.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let Refusals {
            limited, refused, ..
        } = self.refusals;
        limited == 0 && refused == 0 && self.faults.is_empty()
    }
}

/// What wasn't done as asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// Answers of a limiter, and every CLOSED and NOTICE: the figures mean nothing then.
    pub limited: u64,
    /// Events that were refused for another reason and not stored: the figures mean nothing either.
    pub refused: u64,
    /// Events that were refused because there is nothing left to do: duplicates, superseded and deleted
    /// ones. They count as done.
    pub superseded: u64,
    /// The first few.
    pub examples: Vec<String>,
}

impl Refusals {
    /// Notes what wasn't accepted; anything else is left alone.
    fn note(&mut self, answer: &Answer<'_>) {
        let (count, message) = match answer {
            Answer::Ok(_, false, message) if is_superseded(message) => {
                (&mut self.superseded, *message)
            }
            Answer::Ok(_, false, message) if is_limiter(message) => (&mut self.limited, *message),
            Answer::Ok(_, false, message) => (&mut self.refused, *message),
            Answer::Closed(_, message) | Answer::Notice(message) => (&mut self.limited, *message),
            _ => return,
        };
        *count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.example(String::from_utf8_lossy(message).into_owned());
        }
    }

    fn add(&mut self, other: Self) {
        self.limited += other.limited;
        self.refused += other.refused;
        self.superseded += other.superseded;
        other
            .examples
            .into_iter()
            .for_each(|text| self.example(text));
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES_MAX && !self.examples.contains(&text) {
            self.examples.push(text);
        }
    }
}

fn is_limiter(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message).to_lowercase();
    LIMITER.iter().any(|sign| text.contains(sign))
}

/// Whether a refusal says that the event is there already, or rightly isn't any more.
fn is_superseded(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message).to_lowercase();
    ["duplicate:", "replaced:", "deleted:"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
        || text.starts_with("blocked:") && text.contains("deleted")
        // All that nostr-relay-builder 0.44 says of events that are replaced, deleted or delete what is
        // another's; a database that fails has words of its own.
        || text == "error: unknown"
}

/// What the clients of a cell saw.
#[derive(Debug, Default)]
struct Seen {
    operations: u64,
    rows: u64,
    counts: Vec<u64>,
    /// Deliveries that had come before.
    duplicates: u64,
    latencies: Vec<Duration>,
    refusals: Refusals,
    sent: u64,
    received: u64,
    extra: BTreeMap<String, f64>,
    faults: Vec<String>,
}

impl Seen {
    /// Adds what another connection saw.
    fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.rows += other.rows;
        self.duplicates += other.duplicates;
        self.latencies.extend(other.latencies);
        self.refusals.add(other.refusals);
        self.sent += other.sent;
        self.received += other.received;
    }

    /// Adds the traffic of a connection that is done.
    fn traffic(&mut self, connection: &Connection) {
        self.sent += connection.bytes_sent;
        self.received += connection.bytes_received;
    }
}

/// Whether work leaves a relay more to do than it has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It answers from what is stored: what it does is done with the answer.
    Reads,
    /// It may move events to its database later.
    Writes,
}

/// A relay under work.
#[derive(Clone, Copy)]
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) sizes: &'a Sizes,
    pub(crate) work: &'a Work,
    pub(crate) relay: &'a Relay,
}

/// The cells that need a relay which has just been started, in order.
pub(crate) const FRESH: [&str; 8] = {
    let [plain, deflate, equal, distinct, churned] = idle::NAMES;
    [
        plain,
        deflate,
        TLS,
        equal,
        distinct,
        churned,
        stalled::NAME,
        sockets::NAME,
    ]
};

/// A cell's name with what was measured, or why it wasn't.
pub(crate) type Measured = (String, Result<Figures>);

impl Bench<'_> {
    /// Has a cluster ready for work that is measured.
    ///
    /// # Errors
    ///
    /// It refuses events for minutes.
    pub(crate) async fn warm_up(&self) -> Result<()> {
        load::warm_up(self).await
    }

    /// Runs the cells of one process in order: questions before anything is published, so that their
    /// answers are known.
    pub(crate) async fn run(&self, done: &mut impl FnMut(Measured)) {
        done(load::run(self).await);
        ask::run(self, done).await;
        publish::run(self, done).await;
        live::run(self, done).await;
    }

    /// Runs one of the [`FRESH`] cells on a relay that has just been started.
    pub(crate) async fn run_fresh(&self, name: &str) -> Measured {
        let figures = match name {
            stalled::NAME => stalled::run(self).await,
            sockets::NAME => sockets::run(self).await,
            _ => idle::run(self, name).await,
        };
        (name.to_owned(), figures)
    }

    /// Waits for rest; a remark if it doesn't come.
    async fn settle(&self, effect: Effect, place: &str) -> Result<Option<String>> {
        let sizes = self.sizes;
        let quiet = match effect {
            Effect::Reads => REST,
            Effect::Writes => Duration::from_secs_f64(sizes.quiet_secs),
        };
        let patience = Duration::from_secs_f64(sizes.settle_secs).max(quiet);
        let rested = self.relay.settle(quiet, patience).await?;
        Ok((!rested).then(|| {
            format!(
                "not at rest {place} it within {:.1} s: CPU time may be another cell's",
                patience.as_secs_f64()
            )
        }))
    }

    /// Measures around `work`, with rest before and behind. The wall time ends with the work, the CPU time
    /// of the relay with its rest.
    async fn measure(
        &self,
        unit: &str,
        effect: Effect,
        work: impl Future<Output = Result<Seen>>,
    ) -> Result<Figures> {
        let mut remarks = Vec::new();
        remarks.extend(self.settle(effect, "before").await?);
        let (before, servers) = (self.relay.usage()?, self.relay.servers_usage()?);
        let (client, start) = (own_cpu(), Instant::now());
        let seen = tokio::time::timeout(CELL_MAX, work).await;
        let seen = seen.context("some answers never came")??;
        let (wall, client) = (start.elapsed(), own_cpu().saturating_sub(client));
        remarks.extend(self.settle(effect, "behind").await?);
        let after = self.relay.usage()?;
        let cost = Cost::of((&before, &after), &servers, &self.relay.servers_usage()?);
        let mut extra = seen.extra;
        extra.extend(cost.parts(seen.operations));
        Ok(Figures {
            unit: unit.to_owned(),
            operations: seen.operations,
            wall_secs: wall.as_secs_f64(),
            server_cpu_secs: cost.cpu.as_secs_f64(),
            client_cpu_secs: client.as_secs_f64(),
            latency: Latency::of(seen.latencies),
            bytes_sent: seen.sent,
            bytes_received: seen.received,
            rows: seen.rows,
            counts: seen.counts,
            expected: Vec::new(),
            refusals: seen.refusals,
            faults: seen.faults,
            remarks,
            memory: cost.memory,
            disk: self.relay.disk(),
            extra,
            metrics: BTreeMap::new(),
        })
    }
}

/// What some work cost a relay: all its processes together, and where it is a cluster its parts.
#[derive(Debug, Default)]
struct Cost {
    cpu: Duration,
    memory: Memory,
    parts: Vec<(&'static str, Duration, Memory)>,
}

impl Cost {
    fn of(
        own: (&Usage, &Usage),
        servers: &[(&'static str, Usage)],
        later: &[(&'static str, Usage)],
    ) -> Self {
        let (before, after) = own;
        let mut cost = Self {
            cpu: after.cpu_since(before),
            memory: after.memory,
            parts: Vec::new(),
        };
        if later.is_empty() {
            return cost;
        }
        cost.parts.push(("roles", cost.cpu, cost.memory));
        for ((name, before), (_, after)) in servers.iter().zip(later) {
            let cpu = after.cpu_since(before);
            cost.cpu += cpu;
            cost.memory.add(after.memory);
            cost.parts.push((name, cpu, after.memory));
        }
        cost
    }

    /// As figures of their own.
    fn parts(&self, operations: u64) -> impl Iterator<Item = (String, f64)> {
        let count = operations.max(1) as f64;
        self.parts.iter().flat_map(move |(name, cpu, memory)| {
            let each = cpu.as_secs_f64() * 1e6 / count;
            let resident = memory.resident as f64 / f64::from(1 << 20);
            [
                (format!("CPU µs each, {name}"), each),
                (format!("RSS MiB, {name}"), resident),
            ]
        })
    }
}

/// Opens connections one after the other, so that no queue of the kernel overflows.
async fn open(bench: &Bench<'_>, count: u32, deflate: bool) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Connection::open(bench.relay.address(), deflate).await?);
    }
    Ok(connections)
}

/// Sends a REQ and reads until its EOSE; what is refused is noted.
async fn subscribe(
    connection: &mut Connection,
    filter: &str,
    refusals: &mut Refusals,
) -> Result<()> {
    subscribe_as("s", connection, filter, refusals).await
}

/// The same under another name.
async fn subscribe_as(
    name: &str,
    connection: &mut Connection,
    filter: &str,
    refusals: &mut Refusals,
) -> Result<()> {
    connection.queue(format!(r#"["REQ","{name}",{filter}]"#).as_bytes());
    loop {
        connection.step().await?;
        while let Some(message) = connection.message()? {
            let answer = Answer::parse(message);
            refusals.note(&answer);
            if matches!(answer, Answer::Eose(_) | Answer::Closed(..)) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_limiter_says_is_told_from_other_refusals() {
        let mut refusals = Refusals::default();
        refusals.note(&Answer::Ok(1, true, b""));
        refusals.note(&Answer::Eose(b"s"));
        assert_eq!(refusals, Refusals::default());
        refusals.note(&Answer::Ok(1, false, b"replaced: have newer event"));
        refusals.note(&Answer::Ok(1, false, b"blocked: this event is deleted"));
        assert_eq!((refusals.limited, refusals.superseded), (0, 2));
        assert!(is_superseded(b"error: unknown") && !is_superseded(b"error: unknown kind"));
        refusals.note(&Answer::Ok(1, false, b"blocked: not on the list"));
        assert_eq!((refusals.limited, refusals.refused), (0, 1));
        refusals.note(&Answer::Ok(1, false, b"rate-limited: slow down there"));
        refusals.note(&Answer::Ok(1, false, b"error: Too many events"));
        refusals.note(&Answer::Closed(b"s", b"error: x"));
        refusals.note(&Answer::Notice(b"hello"));
        assert_eq!((refusals.limited, refusals.refused), (4, 1));
        assert_eq!((refusals.superseded, refusals.examples.len()), (2, 5));
    }

    #[test]
    fn few_examples_are_kept_and_none_twice() {
        let mut refusals = Refusals::default();
        for nth in 0..20 {
            let text = format!("notice {}", nth / 2);
            refusals.note(&Answer::Notice(text.as_bytes()));
        }
        assert_eq!(
            (refusals.limited, refusals.examples.len()),
            (20, EXAMPLES_MAX)
        );
        assert_eq!(refusals.examples[1], "notice 1");
        refusals.add(refusals.clone());
        assert_eq!(
            (refusals.limited, refusals.examples.len()),
            (40, EXAMPLES_MAX)
        );
    }
}
