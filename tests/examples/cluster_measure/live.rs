//! From a publisher at one gateway to subscribers at another.

use std::{
    collections::HashMap,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use crate::{
    bed::Bed,
    connection::Connection,
    corpus::{Corpus, Prepared},
    figures::{Sample, Seen},
    latency::Latency,
    options::Options,
    writes,
};

/// Threads that read for all subscribers.
const READERS: usize = 4;

/// Events read from one subscriber before the next one has its turn.
const TURN: usize = 20;

/// Connections that publish in the fan-out, and their windows: enough to keep the cluster busy.
const PUBLISHERS: usize = 4;
const IN_FLIGHT: usize = 8;

/// Publishes one event after the other, each once the one before it has got its OK, while one
/// subscriber notes when they come.
pub(crate) fn single(bed: &Bed, events: &[Prepared]) -> Result<Sample> {
    let (gateway, other) = (bed.gateway(), bed.other_gateway());
    let mut subscriber = Connection::open(other);
    subscriber.subscribe(r#"{"kinds":[1],"limit":0}"#)?;
    let mut publisher = Connection::open(gateway);
    bed.measure(|| {
        thread::scope(|scope| {
            let arrivals = scope.spawn(|| arrivals(&mut subscriber, events.len()));
            let mut sent = HashMap::with_capacity(events.len());
            let mut answers = Vec::with_capacity(events.len());
            for event in events {
                let at = Instant::now();
                publisher.send(&event.frame)?;
                writes::ok(&mut publisher)?;
                answers.push(at.elapsed());
                sent.insert(event.id.as_str(), at);
            }
            let arrivals = arrivals.join();
            let arrivals = arrivals.map_err(|_panic| anyhow!("the subscriber panicked"))??;
            let live = arrivals.into_iter().map(|(id, at)| {
                let sent = sent.get(&*id).context("an event that nobody sent")?;
                Ok(at.duration_since(*sent))
            });
            let live = live.collect::<Result<Vec<Duration>>>()?;
            Ok(Seen {
                count: events.len() as u64,
                received: live.len() as u64,
                answer: Latency::of(answers),
                live: Latency::of(live),
                ..Seen::default()
            })
        })
    })
}

fn arrivals(subscriber: &mut Connection, count: usize) -> Result<Vec<(String, Instant)>> {
    (0..count)
        .map(|_| Ok((subscriber.next_event()?, Instant::now())))
        .collect()
}

/// Publishes to many subscribers, each of which wants every event.
pub(crate) fn fan_out(
    bed: &Bed,
    corpus: &Corpus,
    events: &[Prepared],
    options: &Options,
) -> Result<Sample> {
    let mut subscribers = (0..usize::from(options.subscribers))
        .map(|nth| {
            let mut subscriber = Connection::open(bed.other_gateway());
            let filter = json!({"authors": corpus.feed(nth), "kinds": [1], "limit": 0});
            subscriber.subscribe(&filter.to_string())?;
            Ok(subscriber)
        })
        .collect::<Result<Vec<Connection>>>()?;
    bed.measure(|| {
        let share = subscribers.len().div_ceil(READERS).max(1);
        let begun = Barrier::new(subscribers.len().div_ceil(share) + 1);
        thread::scope(|scope| {
            let begun = &begun;
            let readers: Vec<_> = subscribers
                .chunks_mut(share)
                .map(|share| {
                    scope.spawn(move || {
                        begun.wait();
                        read_all(share, events.len())
                    })
                })
                .collect();
            begun.wait();
            let mut seen = writes::publish(bed.gateway(), events, PUBLISHERS, IN_FLIGHT)?;
            for reader in readers {
                let read = reader.join();
                seen.received += read.map_err(|_panic| anyhow!("a subscriber panicked"))??;
            }
            ensure!(
                seen.received == events.len() as u64 * u64::from(options.subscribers),
                "{} deliveries",
                seen.received
            );
            Ok(seen)
        })
    })
}

/// Reads so many events from each, in turns.
fn read_all(subscribers: &mut [Connection], each: usize) -> Result<u64> {
    let mut received = 0;
    let mut left = each;
    while left > 0 {
        let turn = left.min(TURN);
        for subscriber in &mut *subscribers {
            for _ in 0..turn {
                subscriber.next_event()?;
                received += 1;
            }
        }
        left -= turn;
    }
    Ok(received)
}
