//! A process that holds connections: told what by its only argument, it tells what happened by lines of
//! JSON, and ends when its input does.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
};

use super::microseconds;
use crate::{
    client::{Answer, Connection, Origin, key_of_event},
    process::own_cpu,
};

/// The first argument of such a process.
pub(crate) const WORKER: &str = "hold-sockets";

/// Connections that are being opened at once: fewer than any relay's queue of the kernel holds.
const OPENING_MAX: usize = 64;

/// Errors that are told as they were.
const ERRORS_MAX: usize = 3;

/// Events that wait to be counted; past it connections wait before they read on.
const EVENTS_MAX: usize = 65_536;

/// The first address that connections come from.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);

/// What is to be held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Where to; each in turn.
    pub(super) addresses: Vec<SocketAddr>,
    /// The number of the first connection, over all processes.
    pub(super) first: u32,
    pub(super) count: u32,
    /// Connections from one address.
    pub(super) per_address: u32,
    pub(super) filter: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Told {
    /// Every connection is open, or failed.
    Opened(Opened),
    /// All that are open have got so many notes.
    Got(usize),
    /// The rest, before it ends.
    Ended(Ended),
}

/// How connecting went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) opened: u64,
    /// From connecting to EOSE, in microseconds.
    latencies: Vec<u64>,
    pub(super) errors: Vec<String>,
    /// CPU time up to then.
    pub(super) cpu_secs: f64,
}

/// What came on the connections.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// For each note when it came, in nanoseconds of the machine's clock.
    came: BTreeMap<u64, Vec<u64>>,
    pub(super) duplicates: u64,
    /// Connections that ended before they should.
    pub(super) lost: u64,
    pub(super) errors: Vec<String>,
    /// CPU time of the whole life.
    cpu_secs: f64,
}

impl Opened {
    pub(super) fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.latencies.extend(other.latencies);
        self.cpu_secs += other.cpu_secs;
        keep(&mut self.errors, other.errors);
    }

    pub(super) fn latencies(&self) -> Vec<Duration> {
        microseconds(&self.latencies)
    }
}

impl Ended {
    pub(super) fn add(&mut self, other: Self) {
        for (note, times) in other.came {
            self.came.entry(note).or_default().extend(times);
        }
        self.duplicates += other.duplicates;
        self.lost += other.lost;
        self.cpu_secs += other.cpu_secs;
        keep(&mut self.errors, other.errors);
    }

    /// CPU time since everything was open.
    pub(super) fn cpu_since(&self, opened: &Opened) -> f64 {
        (self.cpu_secs - opened.cpu_secs).max(0.0)
    }

    /// From when each note was sent to when it came.
    pub(super) fn latencies(&self, sent: &[(u64, u64)]) -> Vec<Duration> {
        let each = sent.iter().flat_map(|(note, at)| {
            let times = self.came.get(note).into_iter().flatten();
            times.map(|time| Duration::from_nanos(time.saturating_sub(*at)))
        });
        each.collect()
    }
}

fn keep(errors: &mut Vec<String>, more: Vec<String>) {
    for error in more {
        if errors.len() < ERRORS_MAX && !errors.contains(&error) {
            errors.push(error);
        }
    }
}

/// Nanoseconds of the clock that all processes of a machine share.
pub(super) fn monotonic() -> u64 {
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// What a connection tells.
enum Event {
    Open(Result<Duration, String>),
    Note(u64, u64),
    Duplicate,
    Lost(String),
}

/// Runs such a process to its end.
///
/// # Errors
///
/// The order can't be read, or nobody listens any more.
pub(crate) fn work(order: &str) -> Result<()> {
    let order: Order = serde_json::from_str(order).context("what is to be held")?;
    let limit = getrlimit(Resource::Nofile);
    let whole = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where that is forbidden, connections fail and say why.
    let _as_it_was = setrlimit(Resource::Nofile, whole);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")?;
    runtime.block_on(hold(&order))
}

async fn hold(order: &Order) -> Result<()> {
    let (events, mut happened) = mpsc::channel(EVENTS_MAX);
    let mut connections = JoinSet::new();
    let turn = Arc::new(Semaphore::new(OPENING_MAX));
    for nth in order.first..order.first + order.count {
        let target = order.addresses[nth as usize % order.addresses.len()];
        let filter = order.filter.clone();
        let (events, turn, origin) = (events.clone(), Arc::clone(&turn), order.origin(nth)?);
        connections.spawn(async move {
            let ended = connection(origin, target, &filter, &turn, &events).await;
            if let Err(error) = ended {
                // Nobody listens any more: then it doesn't matter.
                let _gone = events.send(Event::Lost(format!("{error:#}"))).await;
            }
        });
    }
    let (end, mut ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        // Its end is all that matters.
        let _read = std::io::stdin().read_to_end(&mut rest);
        end.send(())
    });
    let mut state = State::default();
    loop {
        tokio::select! {
            event = happened.recv() => state.take(event.context("a sender is kept")?, order.count)?,
            _over = &mut ended => break,
        }
    }
    while let Ok(event) = happened.try_recv() {
        state.take(event, order.count)?;
    }
    state.ended.cpu_secs = own_cpu().as_secs_f64();
    tell(&Told::Ended(state.ended))
}

impl Order {
    /// Where connection `nth` comes from.
    fn origin(&self, nth: u32) -> Result<Origin> {
        let address = u32::from(FIRST) + nth / self.per_address.max(1);
        let address = Ipv4Addr::from(address);
        if !address.is_loopback() {
            bail!("more addresses than 127.0.0.0/8 has");
        }
        Ok(Origin {
            address: Some(address),
            ..Origin::default()
        })
    }
}

/// One connection: opens in its turn, then counts notes until it is closed.
async fn connection(
    origin: Origin,
    target: SocketAddr,
    filter: &str,
    turn: &Semaphore,
    events: &mpsc::Sender<Event>,
) -> Result<()> {
    let opened = {
        let _turn = turn.acquire().await?;
        let start = Instant::now();
        let opened = open(origin, target, filter).await;
        let told = match &opened {
            Ok(_) => Ok(start.elapsed()),
            Err(error) => Err(format!("{error:#}")),
        };
        events.send(Event::Open(told)).await?;
        opened
    };
    let Ok(mut connection) = opened else {
        return Ok(());
    };
    let mut got: Vec<u64> = Vec::new();
    loop {
        connection.step().await?;
        let now = monotonic();
        while let Some(message) = connection.message()? {
            match Answer::parse(message) {
                Answer::Event(_) => {
                    let Some(note) = key_of_event(message) else {
                        continue;
                    };
                    if got.contains(&note) {
                        events.send(Event::Duplicate).await?;
                    } else {
                        got.push(note);
                        events.send(Event::Note(note, now)).await?;
                    }
                }
                Answer::Closed(_, why) => bail!("CLOSED: {}", String::from_utf8_lossy(why)),
                _ => {}
            }
        }
    }
}

async fn open(origin: Origin, target: SocketAddr, filter: &str) -> Result<Connection> {
    let mut connection = Connection::open_from(origin, target, false).await?;
    connection.queue(format!(r#"["REQ","s",{filter}]"#).as_bytes());
    loop {
        connection.step().await?;
        while let Some(message) = connection.message()? {
            match Answer::parse(message) {
                Answer::Eose(_) => return Ok(connection),
                Answer::Closed(_, why) | Answer::Notice(why) => {
                    bail!(
                        "the subscription was refused: {}",
                        String::from_utf8_lossy(why)
                    )
                }
                _ => {}
            }
        }
    }
}

/// What has happened so far.
#[derive(Debug, Default)]
struct State {
    tried: u32,
    opened: Opened,
    ended: Ended,
    /// Notes that all have got, as last told.
    told: usize,
}

impl State {
    fn take(&mut self, event: Event, count: u32) -> Result<()> {
        match event {
            Event::Open(result) => {
                self.tried += 1;
                match result {
                    Ok(took) => {
                        self.opened.opened += 1;
                        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                        self.opened.latencies.push(took);
                    }
                    Err(error) => keep(&mut self.opened.errors, vec![error]),
                }
                if self.tried == count {
                    self.opened.cpu_secs = own_cpu().as_secs_f64();
                    tell(&Told::Opened(self.opened.clone()))?;
                }
            }
            Event::Note(note, at) => {
                self.ended.came.entry(note).or_default().push(at);
                self.tell_complete()?;
            }
            Event::Duplicate => self.ended.duplicates += 1,
            Event::Lost(why) => {
                self.ended.lost += 1;
                keep(&mut self.ended.errors, vec![why]);
                self.tell_complete()?;
            }
        }
        Ok(())
    }

    /// Tells when one more note has come to all that are open.
    fn tell_complete(&mut self) -> Result<()> {
        let open = self.opened.opened.saturating_sub(self.ended.lost);
        let all = |times: &&Vec<u64>| times.len() as u64 >= open;
        let complete = self.ended.came.values().filter(all).count();
        if complete > self.told {
            self.told = complete;
            tell(&Told::Got(complete))?;
        }
        Ok(())
    }
}

fn tell(told: &Told) -> Result<()> {
    let mut line = serde_json::to_string(told)?;
    line.push('\n');
    let mut output = std::io::stdout().lock();
    output.write_all(line.as_bytes())?;
    output.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_from_one_address_after_the_other() {
        let order = Order {
            addresses: Vec::new(),
            first: 0,
            count: 0,
            per_address: 300,
            filter: String::new(),
        };
        let address = |nth| order.origin(nth).unwrap().address.unwrap().to_string();
        assert_eq!(address(0), "127.64.0.1");
        assert_eq!(address(299), "127.64.0.1");
        assert_eq!(address(300), "127.64.0.2");
        assert_eq!(address(300 * 256), "127.64.1.1");
        assert!(order.origin(u32::MAX).is_err(), "past 127.255.255.255");
    }

    #[test]
    fn latencies_are_of_the_notes_that_were_sent() {
        let mut ended = Ended::default();
        let mut opened = Opened::default();
        let came = |note: u64, times: &[u64]| Ended {
            came: BTreeMap::from([(note, times.to_vec())]),
            lost: 1,
            errors: vec!["closed".to_owned()],
            cpu_secs: 5.0,
            ..Ended::default()
        };
        ended.add(came(1, &[5_000]));
        ended.add(came(1, &[4_000, 2_000]));
        ended.add(came(9, &[4_000]));
        let latencies = ended.latencies(&[(1, 3_000), (2, 0)]);
        let nanos: Vec<u128> = latencies.iter().map(Duration::as_nanos).collect();
        assert_eq!(nanos, [2_000, 1_000, 0]);
        assert_eq!((ended.lost, ended.errors.len()), (3, 1));
        for cpu_secs in [4.0, 3.0, 4.5] {
            opened.add(Opened {
                cpu_secs,
                ..Opened::default()
            });
        }
        let delivering = ended.cpu_since(&opened);
        assert_eq!(delivering, 3.5, "opening isn't part of delivering");
    }
}
