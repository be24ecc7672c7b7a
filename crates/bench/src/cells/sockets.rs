//! Many sockets: connections from many addresses of this machine, held open at once, and then a few
//! notes that each of them has to get once.
//!
//! The connections are held by processes of their own, as many as the limit of open files asks for: the
//! relay is what should find its limit, not this client.

mod worker;

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use rustix::process::{Resource, getrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{Bench, Effect, Figures, Seen, publish::Messages};
use crate::{
    client::{Answer, Connection},
    report::Metric,
};
use worker::{Ended, Opened, Order, Told, monotonic};
pub(crate) use worker::{WORKER, work};

/// The name of the cell.
pub(super) const NAME: &str = "sockets";

/// Which authors of live notes write here.
const CELL: u32 = 4;

/// Open files that a process needs beside its connections; this relay keeps 512 for itself.
const OTHER_FILES: u64 = 600;

/// Processes that hold connections, at most.
const WORKERS_MAX: u64 = 64;

/// How long opening all may take.
const OPEN_MAX: Duration = Duration::from_secs(600);

/// How long a note may take to all of them.
const LATE: Duration = Duration::from_secs(60);

/// How long is waited for notes that come twice.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn run(bench: &Bench<'_>) -> Result<Figures> {
    let (count, notes) = bench.sizes.sockets;
    let share = share(count, bench.relay.addresses().len())?;
    let signed = bench.work.live_notes(CELL, notes);
    let messages = Messages::of(signed.iter().map(|event| event.as_str().as_bytes()))?;
    // What it does at its start may come by a clock, as what it writes does.
    let remark = bench.settle(Effect::Writes, "before").await?;
    let before = bench.relay.usage()?.memory;
    let mut workers = Vec::new();
    let mut opened = Opened::default();
    let connecting = bench
        .measure("connection", Effect::Reads, async {
            workers = start(bench, count, share)?;
            let each = workers.iter_mut().map(Worker::opened);
            let each = timeout(OPEN_MAX, try_join_all(each)).await;
            for part in each.with_context(|| format!("not all are open after {OPEN_MAX:?}"))?? {
                opened.add(part);
            }
            Ok(Seen {
                operations: opened.opened,
                latencies: opened.latencies(),
                ..Seen::default()
            })
        })
        .await?;
    let memory = bench.relay.usage()?.memory;
    let mut stamps = Vec::new();
    let mut ended = Ended::default();
    let mut figures = bench
        .measure("delivery", Effect::Writes, async {
            stamps = publish(bench, &messages, &mut workers).await?;
            tokio::time::sleep(AGAIN).await;
            for part in try_join_all(workers.drain(..).map(Worker::end)).await? {
                ended.add(part);
            }
            let latencies = ended.latencies(&stamps);
            Ok(Seen {
                operations: latencies.len() as u64,
                latencies,
                ..Seen::default()
            })
        })
        .await?;
    figures.client_cpu_secs += ended.cpu_since(&opened);
    figures.remarks.extend(remark);
    let grown = memory.resident as f64 - before.resident as f64;
    let result = Crowd {
        count,
        notes,
        opened,
        ended,
        bytes_each: grown / f64::from(count.max(1)),
    };
    result.tell(&connecting, &mut figures);
    Ok(figures)
}

/// How many connections a process here may hold.
///
/// # Errors
///
/// Neither this client nor a relay could hold as many under the limit of open files.
fn share(count: u32, gateways: usize) -> Result<u32> {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    share_of(count, gateways as u64, limit)
}

fn share_of(count: u32, gateways: u64, limit: u64) -> Result<u32> {
    let room = limit.saturating_sub(OTHER_FILES).max(1);
    let each = u64::from(count).div_ceil(gateways.max(1));
    ensure!(
        each <= room,
        "{each} connections to one process of the relay, which may open {limit} files here: run \
         `ulimit -n {}` first, as root if it is refused (LimitNOFILE= of a systemd unit, nofile in \
         /etc/security/limits.conf), ask for at most {} by --sockets, or spread them over more gateways \
         by --cluster",
        each + OTHER_FILES,
        room * gateways.max(1),
    );
    let workers = u64::from(count).div_ceil(room);
    ensure!(
        workers <= WORKERS_MAX,
        "{workers} processes for {count} connections: raise `ulimit -n`"
    );
    Ok(u32::try_from(room.min(u64::from(count)))?)
}

/// A process that holds connections.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// Starts as many as are needed.
fn start(bench: &Bench<'_>, count: u32, share: u32) -> Result<Vec<Worker>> {
    let program = match &bench.options.worker {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("where this program is")?,
    };
    let filter = json!({
        "kinds": [1],
        "authors": bench.work.live_authors(CELL),
        "since": bench.work.live_start(),
    });
    let mut workers = Vec::new();
    let mut first = 0;
    while first < count {
        let order = Order {
            addresses: bench.relay.addresses().to_vec(),
            first,
            count: share.min(count - first),
            per_address: bench.options.sockets_per_address.max(1),
            filter: filter.to_string(),
        };
        first += order.count;
        workers.push(Worker::start(&program, &order)?);
    }
    Ok(workers)
}

impl Worker {
    fn start(program: &PathBuf, order: &Order) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(WORKER)
            .arg(serde_json::to_string(order)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        let input = child.stdin.take().context("it was piped")?;
        let output = child.stdout.take().context("it was piped")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    async fn hear(&mut self) -> Result<Told> {
        let line = self.output.next_line().await?;
        let line = line.context("a process that holds connections has ended")?;
        serde_json::from_str(&line).with_context(|| format!("what it said: {line}"))
    }

    async fn opened(&mut self) -> Result<Opened> {
        match self.hear().await? {
            Told::Opened(opened) => Ok(opened),
            other => bail!("out of turn: {other:?}"),
        }
    }

    /// Waits until all that are open have got so many notes.
    async fn got(&mut self, notes: usize) -> Result<()> {
        loop {
            match self.hear().await? {
                Told::Got(got) if got >= notes => return Ok(()),
                Told::Got(_) => {}
                other => bail!("out of turn: {other:?}"),
            }
        }
    }

    /// Has it close everything and takes what it counted.
    async fn end(mut self) -> Result<Ended> {
        // The end of its input is what it waits for.
        self.input.shutdown().await?;
        drop(self.input);
        loop {
            let line = self.output.next_line().await?;
            let line = line.context("a process that holds connections has ended")?;
            if let Told::Ended(ended) = serde_json::from_str(&line)? {
                let _status = self.child.wait().await?;
                return Ok(ended);
            }
        }
    }
}

/// Publishes each note when all have got the one before, or don't get it any more; returns the key of
/// each with the time when it was sent.
async fn publish(
    bench: &Bench<'_>,
    messages: &Messages,
    workers: &mut [Worker],
) -> Result<Vec<(u64, u64)>> {
    let mut connection = Connection::open(bench.relay.address(), false).await?;
    let mut stamps = Vec::new();
    for nth in 0..messages.count() {
        let Some((id, message)) = messages.get(nth) else {
            break;
        };
        stamps.push((*id, monotonic()));
        connection.queue(message);
        accepted(&mut connection, *id).await?;
        let deadline = Instant::now() + LATE;
        let got = workers.iter_mut().map(|worker| worker.got(stamps.len()));
        // What is missing is counted in the end.
        let _late = tokio::time::timeout_at(deadline.into(), join_all(got)).await;
    }
    Ok(stamps)
}

async fn accepted(connection: &mut Connection, note: u64) -> Result<()> {
    loop {
        connection.step().await?;
        while let Some(message) = connection.message()? {
            match Answer::parse(message) {
                Answer::Ok(id, true, _) if id == note => return Ok(()),
                Answer::Ok(id, false, why) if id == note => {
                    bail!("the note was refused: {}", String::from_utf8_lossy(why))
                }
                _ => {}
            }
        }
    }
}

/// What was seen.
struct Crowd {
    count: u32,
    notes: u64,
    opened: Opened,
    ended: Ended,
    bytes_each: f64,
}

impl Crowd {
    fn tell(&self, connecting: &Figures, figures: &mut Figures) {
        // One that isn't open has failed already.
        let due = self.opened.opened * self.notes;
        let missing = due.saturating_sub(figures.operations);
        let failed = u64::from(self.count) - self.opened.opened;
        for (count, what) in [
            (failed, format!("of {} connections failed", self.count)),
            (
                self.ended.lost,
                "connections ended before the end".to_owned(),
            ),
            (missing, format!("of {due} deliveries didn't come")),
            (self.ended.duplicates, "deliveries came twice".to_owned()),
        ] {
            if count > 0 {
                figures.faults.push(format!("{count} {what}"));
            }
        }
        let examples = self.opened.errors.iter().chain(&self.ended.errors);
        figures.faults.extend(examples.cloned());
        figures.counts = vec![figures.operations];
        figures.expected = vec![due];
        let each = connecting.operations.max(1) as f64;
        let extra = [
            ("connections", self.opened.opened as f64),
            (
                "connections a second",
                each / connecting.wall_secs.max(1e-9),
            ),
            ("connect p50 ms", connecting.latency.p50_ms),
            ("connect p99 ms", connecting.latency.p99_ms),
            (
                "CPU µs a connection",
                connecting.server_cpu_secs * 1e6 / each,
            ),
            (
                "client CPU µs a connection",
                (connecting.client_cpu_secs + self.opened.cpu_secs) * 1e6 / each,
            ),
            ("bytes a connection", self.bytes_each),
            ("missing", missing as f64),
            ("duplicate", self.ended.duplicates as f64),
        ];
        let extra = extra.map(|(name, value)| (name.to_owned(), value));
        figures.extra.extend(extra);
        let count = |count: u64| Metric::Count { count };
        let metrics = [
            ("connect_ms", Metric::from(connecting.latency)),
            ("connect_failed", count(failed)),
            ("hold_failed", count(self.ended.lost)),
            (
                "connect_per_sec",
                Metric::Value {
                    value: each / connecting.wall_secs.max(1e-9),
                },
            ),
            (
                "connection_bytes",
                Metric::Value {
                    value: self.bytes_each,
                },
            ),
            ("delivery_ms", Metric::from(figures.latency)),
            ("delivery_missing", count(missing)),
            ("delivery_duplicate", count(self.ended.duplicates)),
            ("sockets_done", count(figures.operations)),
        ];
        let metrics = metrics.map(|(name, metric)| (name.to_owned(), metric));
        figures.metrics.extend(metrics);
    }
}

/// Latencies as they are told between processes.
fn microseconds(times: &[u64]) -> Vec<Duration> {
    times.iter().copied().map(Duration::from_micros).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_processes_hold_connections_as_the_limit_asks_for() {
        assert_eq!(share_of(1_000, 1, 20_000).unwrap(), 1_000);
        assert_eq!(share_of(100_000, 6, 20_000).unwrap(), 19_400);
        assert_eq!(share_of(100_000, 1, 1_048_576).unwrap(), 100_000);
    }

    #[test]
    fn a_limit_that_the_relay_would_meet_is_told_with_what_to_raise() {
        let error = share_of(100_000, 1, 20_000).unwrap_err().to_string();
        assert!(error.contains("`ulimit -n 100600`"), "{error}");
        assert!(error.contains("at most 19400 by --sockets"), "{error}");
        assert!(share_of(100_000, 2, 20_000).is_err());
        assert!(share_of(10_000, 1_000, 300).is_err(), "a hundred processes");
    }
}
