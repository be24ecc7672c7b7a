//! Publishing as fast as the cluster takes it: some connections, each with a window of events that
//! wait for their OK.

use std::{
    collections::HashMap,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    bed::Bed,
    connection::{Connection, Reply},
    corpus::Prepared,
    figures::{Sample, Seen},
    latency::Latency,
    options::Options,
};

/// Events of one connection in flight before the clock starts.
const WARM_UP_WINDOW: usize = 2;

/// What one connection saw.
#[derive(Debug, Default)]
struct Answers {
    latencies: Vec<Duration>,
    superseded: u64,
    late: u64,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// `OK true`.
    Taken,
    /// A newer version is stored.
    Superseded,
    /// The gateway gave up waiting. The event may be stored later.
    Late,
}

/// Publishes all events and waits for every OK.
pub(crate) fn saturate(bed: &Bed, events: &[Prepared], options: &Options) -> Result<Sample> {
    let connections = usize::from(options.publishers);
    let window = usize::from(options.in_flight);
    bed.measure(|| publish(bed.gateway(), events, connections, window))
}

/// Publishes with few events in flight: the first ones take long, until Java has compiled what it
/// needs.
pub(crate) fn warm_up(bed: &Bed, events: &[Prepared], options: &Options) -> Result<Sample> {
    let connections = usize::from(options.publishers);
    bed.measure(|| publish(bed.gateway(), events, connections, WARM_UP_WINDOW))
}

/// Publishes over `connections` at once, each with at most `window` events in flight.
pub(crate) fn publish(
    gateway: SocketAddr,
    events: &[Prepared],
    connections: usize,
    window: usize,
) -> Result<Seen> {
    let answers = thread::scope(|scope| {
        let publishers: Vec<_> = (0..connections)
            .map(|nth| {
                let share: Vec<&Prepared> = events.iter().skip(nth).step_by(connections).collect();
                scope.spawn(move || publish_share(gateway, &share, window))
            })
            .collect();
        let joined = publishers.into_iter().map(|publisher| {
            let joined = publisher.join();
            joined.map_err(|_panic| anyhow!("a publisher panicked"))?
        });
        joined.collect::<Result<Vec<Answers>>>()
    })?;
    let superseded = answers.iter().map(|answers| answers.superseded).sum();
    let late = answers.iter().map(|answers| answers.late).sum();
    let latencies = answers.into_iter().flat_map(|answers| answers.latencies);
    Ok(Seen {
        count: events.len() as u64,
        superseded,
        late,
        answer: Latency::of(latencies.collect()),
        ..Seen::default()
    })
}

fn publish_share(gateway: SocketAddr, events: &[&Prepared], window: usize) -> Result<Answers> {
    let mut connection = Connection::open(gateway);
    let mut sent: HashMap<&str, Instant> = HashMap::with_capacity(window);
    let mut answers = Answers::default();
    let mut waiting = events.iter();
    loop {
        while sent.len() < window
            && let Some(event) = waiting.next()
        {
            sent.insert(&event.id, Instant::now());
            connection.send(&event.frame)?;
        }
        if sent.is_empty() {
            return Ok(answers);
        }
        let (id, outcome) = ok(&mut connection)?;
        let at = sent.remove(&*id).context("an OK for another event")?;
        answers.latencies.push(at.elapsed());
        answers.superseded += u64::from(outcome == Outcome::Superseded);
        answers.late += u64::from(outcome == Outcome::Late);
    }
}

/// Reads an OK: the id, and what became of the event.
///
/// # Errors
///
/// It was refused for a reason that no [`Outcome`] is for: then nothing measured here would mean
/// anything.
pub(crate) fn ok(connection: &mut Connection) -> Result<(String, Outcome)> {
    match connection.read()? {
        Reply::Ok(id, None) => Ok((id, Outcome::Taken)),
        Reply::Ok(id, Some(text)) if text.starts_with("\"duplicate:") => {
            Ok((id, Outcome::Superseded))
        }
        Reply::Ok(id, Some(text)) if text.starts_with("\"error: no answer in time") => {
            Ok((id, Outcome::Late))
        }
        other => bail!("expected an OK, got {other:?}"),
    }
}
