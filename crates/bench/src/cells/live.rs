//! Live fan-out: from when a note was due to its delivery at every subscriber.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::{try_join, try_join_all};
use serde_json::json;
use tokio::sync::watch;

use super::{
    Bench, Effect, Measured, Refusals, Seen, open,
    pacing::{Numbers, Schedule, wait_exactly},
    publish::{Messages, Pending},
    subscribe,
};
use crate::{
    client::{Answer, Connection, key_of_event},
    statistics::Latency,
};

/// Notes in flight where they go as fast as they are answered.
const WINDOW: usize = 100;

/// How long deliveries may take after the last OK. What hasn't come then counts as lost, and the cell as
/// invalid.
pub(super) const LATE: Duration = Duration::from_secs(10);

/// System calls that write, for each delivery, where the relay counts them.
const WRITES: &str = "write calls each";

/// One live cell.
struct Fan {
    number: u32,
    subscribers: u32,
    notes: u64,
    /// Notes a second, or as many as are answered.
    rate: Option<u32>,
    /// Whether the subscribers offer compression; the notes are then as long and as varied as those of the
    /// corpus, since it is them that compression is for.
    deflate: bool,
}

/// What happened to the notes, in the order they are sent.
pub(super) struct Notes {
    numbers: HashMap<u64, usize>,
    state: RefCell<Vec<Note>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Note {
    due: Option<Instant>,
    answered: Option<Instant>,
    first: Option<Instant>,
    last: Option<Instant>,
}

pub(super) async fn run(bench: &Bench<'_>, done: &mut impl FnMut(Measured)) {
    let sizes = bench.sizes;
    let (single, wide, sustained) = (sizes.live_single, sizes.live_wide, sizes.live_sustained);
    let fans = [
        Fan {
            number: 0,
            subscribers: 1,
            notes: single.0,
            rate: Some(single.1),
            deflate: false,
        },
        Fan {
            number: 1,
            subscribers: wide.0,
            notes: wide.1,
            rate: Some(wide.2),
            deflate: false,
        },
        Fan {
            number: 2,
            subscribers: sustained.0,
            notes: sustained.1,
            rate: None,
            deflate: false,
        },
        Fan {
            number: 5,
            subscribers: sustained.0,
            notes: sustained.1,
            rate: None,
            deflate: true,
        },
    ];
    for fan in fans {
        let name = match fan.rate {
            Some(rate) => format!("live 1→{} at {rate}/s", fan.subscribers),
            None => format!("live 1→{}, {} notes", fan.subscribers, fan.notes),
        };
        let name = match fan.deflate {
            true => format!("{name}, deflate"),
            false => name,
        };
        if bench.options.wants(&name) {
            done((name, measure(bench, &fan).await));
        }
    }
}

/// Opens the subscriptions first: only publishing and delivering is measured.
async fn measure(bench: &Bench<'_>, fan: &Fan) -> Result<super::Figures> {
    let signed = match fan.deflate {
        true => bench.work.worded_notes(fan.number, fan.notes),
        false => bench.work.live_notes(fan.number, fan.notes),
    };
    let messages = Messages::of(signed.iter().map(|event| event.as_str().as_bytes()))?;
    let filter = json!({
        "kinds": [1],
        "authors": bench.work.live_authors(fan.number),
        "since": bench.work.live_start(),
    });
    let filter = filter.to_string();
    let mut refusals = Refusals::default();
    let mut subscribers = open(bench, fan.subscribers, fan.deflate).await?;
    for subscriber in &mut subscribers {
        subscribe(subscriber, &filter, &mut refusals).await?;
        subscriber.bytes_sent = 0;
        subscriber.bytes_received = 0;
    }
    let notes = Notes::of(&messages);
    let before = bench.relay.writes().await;
    let mut figures = bench
        .measure(
            "delivery",
            Effect::Writes,
            fan_out(bench, fan, &messages, &notes, subscribers),
        )
        .await?;
    if let Some((before, after)) = before.zip(bench.relay.writes().await) {
        // With the answers to the publisher, of which there is one a note.
        let each = after.saturating_sub(before) as f64 / figures.operations.max(1) as f64;
        figures.extra.insert(WRITES.to_owned(), each);
    }
    figures.refusals.add(refusals);
    figures.expected = vec![fan.notes; fan.subscribers as usize];
    Ok(figures)
}

async fn fan_out(
    bench: &Bench<'_>,
    fan: &Fan,
    messages: &Messages,
    notes: &Notes,
    mut subscribers: Vec<Connection>,
) -> Result<Seen> {
    let publisher = Connection::open(bench.relay.address(), false).await?;
    let (answered, end) = watch::channel(());
    let subscribers = subscribers
        .iter_mut()
        .map(|connection| subscriber(connection, notes, end.clone(), LATE));
    let publishing = async {
        let seen = publish(publisher, messages, notes, fan.rate).await?;
        // From now on the subscribers' time runs.
        drop(answered);
        Ok(seen)
    };
    let (published, delivered) = try_join(publishing, try_join_all(subscribers)).await?;
    let mut seen = Seen {
        counts: delivered.iter().map(|part| part.operations).collect(),
        ..Seen::default()
    };
    delivered.into_iter().for_each(|part| seen.add(part));
    seen.refusals.add(published.refusals);
    seen.sent += published.sent;
    seen.received += published.received;
    let due = fan.notes * u64::from(fan.subscribers);
    if seen.operations < due {
        let lost = due - seen.operations;
        let fault = format!("{lost} of {due} deliveries didn't come within {LATE:?}");
        seen.faults.push(fault);
    }
    notes.figures(&mut seen);
    Ok(seen)
}

/// Publishes the notes, by a clock or as they are answered.
///
/// # Errors
///
/// The connection ended.
pub(super) async fn publish(
    mut connection: Connection,
    messages: &Messages,
    notes: &Notes,
    rate: Option<u32>,
) -> Result<Seen> {
    let (numbers, schedule) = (Numbers::below(messages.count()), rate.map(Schedule::start));
    let mut pending = Pending::default();
    let mut free = Instant::now();
    while let Some((nth, (id, message))) = numbers
        .take()
        .and_then(|nth| Some((nth, messages.get(nth)?)))
    {
        let due = match schedule {
            Some(schedule) => schedule.due(nth),
            None => free,
        };
        while Instant::now() < due {
            tokio::select! {
                // The clock comes first, since it is what is promised.
                biased;
                () = wait_exactly(due) => {}
                received = receive(&mut pending, &mut connection, notes) => { received?; }
            }
        }
        notes.update(*id, |note| note.due = Some(due));
        pending.send(&mut connection, *id, message, due);
        if schedule.is_none() && pending.count() >= WINDOW {
            free = receive(&mut pending, &mut connection, notes).await?;
        } else if schedule.is_some() {
            connection.push()?;
        }
    }
    while pending.count() > 0 {
        receive(&mut pending, &mut connection, notes).await?;
    }
    Ok(pending.end(&connection))
}

/// Takes answers and notes when they came.
async fn receive(
    pending: &mut Pending,
    connection: &mut Connection,
    notes: &Notes,
) -> Result<Instant> {
    let before = pending.answered.len();
    let now = pending.receive(connection).await?;
    for id in &pending.answered[before..] {
        notes.update(*id, |note| note.answered = Some(now));
    }
    Ok(now)
}

/// Counts each note once, until all have come or `patience` after the last OK (when `end`
/// closes) is over.
///
/// # Errors
///
/// The connection ended.
pub(super) async fn subscriber(
    connection: &mut Connection,
    notes: &Notes,
    mut end: watch::Receiver<()>,
    patience: Duration,
) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut missing: HashSet<u64> = notes.numbers.keys().copied().collect();
    let late = async {
        // Nothing is ever sent: this is the end of the channel.
        let _closed = end.changed().await;
        tokio::time::sleep(patience).await;
    };
    tokio::pin!(late);
    while !missing.is_empty() {
        // Cancelled reads lose nothing.
        tokio::select! {
            biased;
            stepped = connection.step() => stepped?,
            () = &mut late => break,
        }
        let now = Instant::now();
        while let Some(message) = connection.message()? {
            match Answer::parse(message) {
                Answer::Event(_) => {
                    let id = key_of_event(message).filter(|id| notes.numbers.contains_key(id));
                    let Some(id) = id else { continue };
                    if !missing.remove(&id) {
                        seen.duplicates += 1;
                    } else if let Some(due) = notes.delivered(id, now) {
                        seen.operations += 1;
                        seen.latencies.push(now.saturating_duration_since(due));
                    }
                }
                other => seen.refusals.note(&other),
            }
        }
    }
    seen.traffic(connection);
    Ok(seen)
}

impl Notes {
    pub(super) fn of(messages: &Messages) -> Self {
        let ids = (0..messages.count()).filter_map(|nth| messages.get(nth));
        let numbers: HashMap<u64, usize> = ids.map(|(id, _)| *id).zip(0..).collect();
        let state = RefCell::new(vec![Note::default(); numbers.len()]);
        Self { numbers, state }
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Note)) {
        if let Some(nth) = self.numbers.get(&id) {
            change(&mut self.state.borrow_mut()[*nth]);
        }
    }

    /// Notes one delivery and says when the note was due; `None` for a stranger.
    fn delivered(&self, id: u64, now: Instant) -> Option<Instant> {
        let nth = self.numbers.get(&id)?;
        let mut state = self.state.borrow_mut();
        let note = &mut state[*nth];
        note.first.get_or_insert(now);
        note.last = Some(now);
        note.due
    }

    /// Adds the times to the first and to the last subscriber, and from OK to the first.
    fn figures(&self, seen: &mut Seen) {
        type Ends = fn(&Note) -> (Option<Instant>, Option<Instant>);
        let spans: [(&str, Ends); 3] = [
            ("first", |note| (note.due, note.first)),
            ("last", |note| (note.due, note.last)),
            ("first after OK", |note| (note.answered, note.first)),
        ];
        let state = self.state.borrow();
        for (name, ends) in spans {
            let times = state.iter().filter_map(|note| {
                let (from, to) = ends(note);
                // A delivery before the OK has waited for nothing.
                Some(to?.saturating_duration_since(from?))
            });
            let latency = Latency::of(times.collect::<Vec<Duration>>());
            seen.extra.insert(format!("{name} p50 ms"), latency.p50_ms);
            seen.extra.insert(format!("{name} p99 ms"), latency.p99_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn times_go_from_the_due_time_and_from_the_answer() {
        let event = heliograph_testkit::keys::Key::nth(0).note(1, "x");
        let messages = Messages::of([event.as_str().as_bytes()].into_iter()).unwrap();
        let notes = Notes::of(&messages);
        let (id, _) = messages.get(0).unwrap();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        notes.update(*id, |note| note.due = Some(start));
        assert_eq!(notes.delivered(*id, after(7)), Some(start));
        assert_eq!(notes.delivered(*id, after(9)), Some(start));
        assert_eq!(notes.delivered(1, after(9)), None);
        notes.update(*id, |note| note.answered = Some(after(5)));
        let mut seen = Seen::default();
        notes.figures(&mut seen);
        assert_eq!(seen.extra["first p50 ms"], 7.0);
        assert_eq!(seen.extra["last p50 ms"], 9.0);
        assert_eq!(seen.extra["first after OK p50 ms"], 2.0);
    }

    /// A relay that delivers what it is given as soon as someone connects, and stays.
    async fn deliver(listener: TcpListener, messages: Vec<String>) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let mut out = b"HTTP/1.1 101 Yes\r\n\r\n".to_vec();
        for message in messages {
            let length = u16::try_from(message.len()).unwrap();
            out.extend([0x81, 126]);
            out.extend(length.to_be_bytes());
            out.extend(message.as_bytes());
        }
        stream.write_all(&out).await.unwrap();
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn a_note_counts_once_and_lost_ones_are_not_waited_for_for_ever() {
        let key = heliograph_testkit::keys::Key::nth(0);
        let events = [1, 2, 3].map(|at| key.note(at, "x"));
        let messages = Messages::of(events.iter().map(|event| event.as_str().as_bytes())).unwrap();
        let notes = Notes::of(&messages);
        for (id, _) in (0..3).filter_map(|nth| messages.get(nth)) {
            notes.update(*id, |note| note.due = Some(Instant::now()));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // The first twice, the second once, the third never.
        let delivered = [0, 0, 1].map(|nth| format!(r#"["EVENT","s",{}]"#, events[nth].as_str()));
        let (answered, end) = watch::channel(());
        drop(answered);
        let counted = async {
            let mut connection = Connection::open(address, false).await.unwrap();
            let patience = Duration::from_millis(300);
            subscriber(&mut connection, &notes, end, patience)
                .await
                .unwrap()
        };
        let seen = tokio::select! {
            seen = counted => seen,
            () = deliver(listener, delivered.to_vec()) => unreachable!("it stays"),
        };
        assert_eq!((seen.operations, seen.latencies.len()), (2, 2));
        assert_eq!(seen.duplicates, 1);
    }
}
