//! The load of one cluster, and the cells that it gives.

use std::{
    collections::{BTreeMap, HashSet},
    iter::zip,
    net::SocketAddr,
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, bail, ensure};
use heliograph_protocol::Timestamp;
use heliograph_sandbox::cluster::Role;
use heliograph_testkit::{frame::Frame, keys::Key};
use serde_json::json;

use super::pin::{self, Core};
use crate::{
    bed::Bed,
    connection::{Connection, Reply},
    corpus::{Prepared, prepare, text},
    figures::{Sample, Seen, sum},
    writes::{self, Outcome},
};

/// Who writes, and of these, whom a home feed follows.
const AUTHORS: usize = 600;
const FOLLOWED: usize = 500;

/// Events of an answer to a home feed.
const FEED_LIMIT: usize = 50;

/// Events of one connection that wait for their OK.
const WINDOW: usize = 16;

/// Events before the clock starts, as many as make the code warm.
const WARM_UP: usize = 400;

/// Threads that read for all subscribers.
const READERS: usize = 4;

/// What every cluster is given; each one its own events.
#[derive(Debug)]
pub(super) struct Work {
    keys: Vec<Key>,
    load: Load,
    generator: Option<Core>,
    made: usize,
}

/// How much of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) events: usize,
    pub(super) questions: usize,
    /// At each gateway, as in a cluster that has grown with its load: what fewer share costs each more.
    pub(super) connections: usize,
    /// At each gateway.
    pub(super) subscribers: usize,
    pub(super) live_events: usize,
}

/// Counts over all members of the roles.
#[derive(Debug, Clone, Copy, Default)]
struct Messages {
    fetched: f64,
    commits: f64,
    matched: f64,
    links: f64,
}

impl Work {
    pub(super) fn new(load: Load, generator: Option<Core>) -> Self {
        Self {
            keys: (0..AUTHORS).map(Key::nth).collect(),
            load,
            generator,
            made: 0,
        }
    }

    /// Measures one cluster.
    ///
    /// # Errors
    ///
    /// Something was lost, refused or came twice.
    pub(super) fn cells(&mut self, bed: &Bed) -> Result<BTreeMap<&'static str, f64>> {
        let gateways = bed.gateways();
        let warm_up = self.notes(WARM_UP.min(self.load.events));
        bed.measure(|| self.publish(&gateways, &warm_up))?;
        let notes = self.notes(self.load.events);
        let mut cells = BTreeMap::new();

        let before = Messages::read(bed)?;
        let event = bed.measure(|| self.publish(&gateways, &notes))?;
        let after = Messages::read(bed)?;
        let count = count(event.seen.count);
        cells.insert("event_gateway", each(event.cpu.gateway(), count));
        cells.insert("event_ingest", each(event.cpu.ingest, count));
        cells.insert("event_matcher", each(event.cpu.matcher, count));
        cells.insert("event_nats", each(event.cpu.nats, count));
        cells.insert("event_cql", each(event.cpu.cql, count));
        cells.insert("events_batch", count / (after.fetched - before.fetched));
        cells.insert("events_commit", count / (after.commits - before.commits));
        cells.insert("matched_event", (after.matched - before.matched) / count);

        self.questions(bed, &notes, &mut cells)?;

        let live = self.notes(self.load.live_events);
        let before = Messages::read(bed)?;
        let live_sample = self.deliver(bed, &live)?;
        let after = Messages::read(bed)?;
        let deliveries = live_sample.seen.received as f64;
        cells.insert(
            "delivery_gateway",
            each(live_sample.cpu.gateway(), deliveries),
        );
        cells.insert(
            "delivery_matcher",
            each(live_sample.cpu.matcher, deliveries),
        );
        cells.insert("delivery_nats", each(live_sample.cpu.nats, deliveries));
        let events = live_sample.seen.count as f64;
        cells.insert("links_event", (after.links - before.links) / events);
        Ok(cells)
    }

    fn questions(
        &self,
        bed: &Bed,
        notes: &[Prepared],
        cells: &mut BTreeMap<&'static str, f64>,
    ) -> Result<()> {
        let by_id = |nth: usize| {
            let id = &notes[nth * 31 % notes.len()].id;
            (json!({"ids": [id]}), vec![id.clone()])
        };
        let by_id = self.ask(bed, &by_id, 1)?;
        let feed = |nth: usize| {
            let others = self.keys.iter().cycle().skip(nth * 7 % AUTHORS);
            let authors: Vec<String> = others.take(FOLLOWED).map(Key::hex).collect();
            (
                json!({"authors": authors, "kinds": [1], "limit": FEED_LIMIT}),
                Vec::new(),
            )
        };
        let limit = FEED_LIMIT.min(notes.len() * FOLLOWED / AUTHORS);
        let before = newest(bed)?;
        let feed = self.ask(bed, &feed, limit)?;
        let asked = newest(bed)? - before;
        cells.insert("newest_question", asked / count(feed.seen.count));
        let keys = [
            (by_id, ["id_gateway", "id_matcher", "id_nats"]),
            (feed, ["feed_gateway", "feed_matcher", "feed_nats"]),
        ];
        for (sample, keys) in keys {
            let times = [sample.cpu.gateway(), sample.cpu.matcher, sample.cpu.nats];
            for (key, time) in zip(keys, times) {
                cells.insert(key, each(time, count(sample.seen.count)));
            }
        }
        Ok(())
    }

    /// Signs notes of all authors in turn, none of which was there before.
    fn notes(&mut self, number: usize) -> Vec<Prepared> {
        let now = Timestamp::now().as_secs();
        let first = self.made;
        self.made += number;
        let notes = (first..self.made).map(|nth| {
            let content = text(nth, 40 + nth % 300);
            prepare(&self.keys[nth % AUTHORS].note(now, &content))
        });
        notes.collect()
    }

    /// Publishes over all gateways; everything has to be taken.
    fn publish(&self, gateways: &[SocketAddr], events: &[Prepared]) -> Result<Seen> {
        let connections = self.load.connections * gateways.len();
        self.spread(connections, |nth| {
            let share = events.iter().skip(nth).step_by(connections);
            publish_share(gateways[nth % gateways.len()], share)
        })?;
        Ok(Seen {
            count: events.len() as u64,
            ..Seen::default()
        })
    }

    /// Asks over all gateways. A question is a filter and the ids that have to come, if they are known.
    fn ask(
        &self,
        bed: &Bed,
        question: &(dyn Fn(usize) -> (serde_json::Value, Vec<String>) + Sync),
        expected: usize,
    ) -> Result<Sample> {
        let gateways = bed.gateways();
        let connections = self.load.connections * gateways.len();
        let frames = (0..connections).map(|nth| {
            let share = (0..self.load.questions).skip(nth).step_by(connections);
            let frame = |nth| {
                let (filter, ids) = question(nth);
                (
                    Frame::text(json!(["REQ", "q", filter]).to_string()).encode(),
                    ids,
                )
            };
            share.map(frame).collect::<Vec<_>>()
        });
        let frames: Vec<_> = frames.collect();
        bed.measure(|| {
            self.spread(connections, |nth| {
                let mut connection = Connection::open(gateways[nth % gateways.len()]);
                for (frame, ids) in &frames[nth] {
                    let events = answer(&mut connection, frame)?;
                    ensure!(
                        events.len() == expected,
                        "{} events, not {expected}",
                        events.len()
                    );
                    ensure!(ids.is_empty() || *ids == events, "{events:?}, not {ids:?}");
                }
                Ok(())
            })?;
            Ok(Seen {
                count: self.load.questions as u64,
                received: (self.load.questions * expected) as u64,
                ..Seen::default()
            })
        })
    }

    /// Publishes to subscribers at all gateways, each of which has to get every event once.
    fn deliver(&self, bed: &Bed, events: &[Prepared]) -> Result<Sample> {
        let gateways = bed.gateways();
        let authors: Vec<String> = self.keys.iter().map(Key::hex).collect();
        let subscribers = self.load.subscribers * gateways.len();
        let mut subscribers = (0..subscribers)
            .map(|nth| {
                let mut subscriber = Connection::open(gateways[nth % gateways.len()]);
                let filter = json!({"authors": authors, "kinds": [1], "limit": 0, "since": nth});
                subscriber.subscribe(&filter.to_string())?;
                Ok(subscriber)
            })
            .collect::<Result<Vec<Connection>>>()?;
        let ids: HashSet<&str> = events.iter().map(|event| &*event.id).collect();
        bed.measure(|| {
            let received = events.len() * subscribers.len();
            let share = subscribers.len().div_ceil(READERS).max(1);
            let read = thread::scope(|scope| {
                let (ids, core) = (&ids, self.generator);
                let readers: Vec<_> = subscribers
                    .chunks_mut(share)
                    .map(|share| {
                        scope.spawn(move || {
                            pin::take(core)?;
                            share
                                .iter_mut()
                                .try_for_each(|subscriber| every_one(subscriber, ids))
                        })
                    })
                    .collect();
                self.publish(&gateways, events)?;
                let join = |reader: thread::ScopedJoinHandle<'_, Result<()>>| {
                    reader
                        .join()
                        .map_err(|_panic| anyhow!("a subscriber panicked"))?
                };
                readers.into_iter().try_for_each(join)
            });
            read?;
            Ok(Seen {
                count: events.len() as u64,
                received: received as u64,
                ..Seen::default()
            })
        })
    }

    /// Does something over every connection at once, on the generator's core.
    fn spread(&self, connections: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        thread::scope(|scope| {
            let (work, core) = (&work, self.generator);
            let threads: Vec<_> = (0..connections)
                .map(|nth| {
                    scope.spawn(move || {
                        pin::take(core)?;
                        work(nth)
                    })
                })
                .collect();
            let mut joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
            joined.try_for_each(|joined| joined.map_err(|_panic| anyhow!("a client panicked"))?)
        })
    }
}

fn publish_share<'a>(
    gateway: SocketAddr,
    mut waiting: impl Iterator<Item = &'a Prepared>,
) -> Result<()> {
    let mut connection = Connection::open(gateway);
    let mut sent = HashSet::with_capacity(WINDOW);
    loop {
        while sent.len() < WINDOW
            && let Some(event) = waiting.next()
        {
            sent.insert(event.id.as_str());
            connection.send(&event.frame)?;
        }
        if sent.is_empty() {
            return Ok(());
        }
        match writes::ok(&mut connection)? {
            (id, Outcome::Taken) => ensure!(sent.remove(&*id), "an OK for another event"),
            (id, outcome) => bail!("{id} wasn't taken: {outcome:?}"),
        }
    }
}

/// The ids of an answer, up to its EOSE.
fn answer(connection: &mut Connection, frame: &[u8]) -> Result<Vec<String>> {
    connection.send(frame)?;
    let mut ids = Vec::new();
    loop {
        match connection.read()? {
            Reply::Event(id) => ids.push(id),
            Reply::Answered => return Ok(ids),
            other => bail!("expected an answer, got {other:?}"),
        }
    }
}

fn every_one(subscriber: &mut Connection, ids: &HashSet<&str>) -> Result<()> {
    let mut missing = ids.clone();
    while !missing.is_empty() {
        let id = subscriber.next_event()?;
        ensure!(missing.remove(&*id), "{id} came twice, or wasn't published");
    }
    Ok(())
}

impl Messages {
    fn read(bed: &Bed) -> Result<Self> {
        let total = |role, name: &str| -> Result<f64> {
            let pages = bed.pages(role)?;
            Ok(pages.iter().map(|page| sum(page, name)).sum())
        };
        let applied = bed.pages(Role::Matcher)?;
        let applied = applied
            .iter()
            .map(|page| sum(page, "heliograph_matcher_applied_commit"));
        Ok(Self {
            fetched: total(Role::Ingest, "heliograph_ingest_fetched_messages_total")?,
            commits: applied.fold(0.0, f64::max),
            matched: total(Role::Matcher, "heliograph_matcher_events_total")?,
            links: total(Role::Matcher, "heliograph_link_deliveries_sent_total")?,
        })
    }
}

/// Questions for the newest commit, by whoever asks.
fn newest(bed: &Bed) -> Result<f64> {
    let name = "heliograph_bus_newest_requests_total";
    let mut total = 0.0;
    for role in Role::ALL {
        total += bed
            .pages(role)?
            .iter()
            .map(|page| sum(page, name))
            .sum::<f64>();
    }
    Ok(total)
}

fn each(time: Duration, count: f64) -> f64 {
    time.as_secs_f64() * 1e6 / count
}

/// Counts here are far below 2^53.
fn count(number: u64) -> f64 {
    number as f64
}
