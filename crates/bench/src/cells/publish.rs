//! EVENT → OK: with a window of events in flight, and by a clock.

use std::{collections::HashMap, time::Instant};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;

use super::{
    Bench, Effect, Measured, Seen, is_superseded, open,
    pacing::{Numbers, Schedule, wait},
};
use crate::client::{Answer, Connection, id_key};

/// Connections of the wide cells.
const MANY: u32 = 50;

/// Events that are published, ready to be sent.
#[derive(Debug)]
pub(super) struct Messages(Vec<(u64, Vec<u8>)>);

impl Messages {
    /// Wraps events in their canonical form.
    pub(super) fn of<'a>(events: impl Iterator<Item = &'a [u8]>) -> Result<Self> {
        let messages = events.map(|event| {
            let id = event.get(br#"{"id":""#.len()..).and_then(id_key);
            let message = [br#"["EVENT","#, event, b"]"].concat();
            Some((id?, message))
        });
        let messages: Option<Vec<_>> = messages.collect();
        Ok(Self(messages.context("an event without an id")?))
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn get(&self, nth: u64) -> Option<&(u64, Vec<u8>)> {
        self.0.get(usize::try_from(nth).ok()?)
    }
}

pub(super) async fn run(bench: &Bench<'_>, done: &mut impl FnMut(Measured)) {
    let sizes = bench.sizes;
    let windows = [
        ("publish 1×1", 1, 1, sizes.publish_single),
        ("publish 1×100", 1, 100, sizes.publish_window),
        ("publish 50×20", MANY, 20, sizes.publish_many),
    ];
    let mut skip = 0;
    for (name, connections, window, count) in windows {
        if bench.options.wants(name) {
            let events = bench.work.published(skip, count);
            let figures = match Messages::of(events) {
                Ok(messages) => {
                    let work = in_flight(bench, &messages, connections, window);
                    bench.measure("event", Effect::Writes, work).await
                }
                Err(error) => Err(error),
            };
            done((name.to_owned(), figures));
        }
        skip += count;
    }
    let name = format!("publish at {}/s", sizes.publish_rate);
    if bench.options.wants(&name) {
        let events = bench.work.published(skip, sizes.publish_paced);
        let figures = match Messages::of(events) {
            Ok(messages) => {
                let work = by_clock(bench, &messages);
                bench.measure("event", Effect::Writes, work).await
            }
            Err(error) => Err(error),
        };
        done((name, figures));
    }
}

/// Publishes with `window` events in flight on each connection. An event is due when a place is free.
pub(super) async fn in_flight(
    bench: &Bench<'_>,
    messages: &Messages,
    connections: u32,
    window: u32,
) -> Result<Seen> {
    let numbers = Numbers::below(messages.count());
    let connections = open(bench, connections, false).await?;
    let publishers = connections
        .into_iter()
        .map(|connection| publisher(connection, messages, &numbers, window as usize));
    sum(try_join_all(publishers).await?)
}

fn sum(parts: Vec<Seen>) -> Result<Seen> {
    let mut seen = Seen::default();
    parts.into_iter().for_each(|part| seen.add(part));
    seen.counts = vec![seen.operations];
    Ok(seen)
}

async fn publisher(
    mut connection: Connection,
    messages: &Messages,
    numbers: &Numbers,
    window: usize,
) -> Result<Seen> {
    let mut pending = Pending::default();
    let mut due = Instant::now();
    loop {
        while pending.count() < window
            && let Some((id, message)) = numbers.take().and_then(|nth| messages.get(nth))
        {
            pending.send(&mut connection, *id, message, due);
        }
        if pending.count() == 0 {
            return Ok(pending.end(&connection));
        }
        due = pending.receive(&mut connection).await?;
    }
}

/// Publishes at a fixed rate, event `n` on connection `n % 50`, answered or not.
async fn by_clock(bench: &Bench<'_>, messages: &Messages) -> Result<Seen> {
    let connections = open(bench, MANY, false).await?;
    let schedule = Schedule::start(bench.sizes.publish_rate);
    let publishers = connections
        .into_iter()
        .zip(0..)
        .map(|(connection, first)| timed_publisher(connection, messages, schedule, first));
    sum(try_join_all(publishers).await?)
}

async fn timed_publisher(
    mut connection: Connection,
    messages: &Messages,
    schedule: Schedule,
    first: u64,
) -> Result<Seen> {
    let mut pending = Pending::default();
    let mut next = first;
    while let Some((id, message)) = messages.get(next) {
        let due = schedule.due(next);
        while Instant::now() < due {
            // Cancelled reads lose nothing; the clock comes first, since it is what is promised.
            tokio::select! {
                biased;
                () = wait(due) => {}
                received = pending.receive(&mut connection) => { received?; }
            }
        }
        pending.send(&mut connection, *id, message, due);
        connection.push()?;
        next += u64::from(MANY);
    }
    while pending.count() > 0 {
        pending.receive(&mut connection).await?;
    }
    Ok(pending.end(&connection))
}

/// Events that wait for their OK on one connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    due: HashMap<u64, Instant>,
    /// Those that have got it, in order.
    pub(super) answered: Vec<u64>,
    seen: Seen,
}

impl Pending {
    pub(super) fn count(&self) -> usize {
        self.due.len()
    }

    /// Queues an event; it goes out with the next `receive`.
    pub(super) fn send(
        &mut self,
        connection: &mut Connection,
        id: u64,
        message: &[u8],
        due: Instant,
    ) {
        connection.queue(message);
        self.due.insert(id, due);
    }

    /// Sends what is queued and takes the answers that come; says when they came. Safe to cancel.
    pub(super) async fn receive(&mut self, connection: &mut Connection) -> Result<Instant> {
        connection.step().await?;
        let now = Instant::now();
        while let Some(message) = connection.message()? {
            let answer = Answer::parse(message);
            self.seen.refusals.note(&answer);
            if let Answer::Ok(id, accepted, message) = answer
                && let Some(due) = self.due.remove(&id)
            {
                self.answered.push(id);
                if accepted || is_superseded(message) {
                    self.seen.operations += 1;
                    self.seen.latencies.push(now - due);
                }
            }
        }
        Ok(now)
    }

    pub(super) fn end(mut self, connection: &Connection) -> Seen {
        self.seen.traffic(connection);
        self.seen
    }
}
