//! Live fan-out: from when a note was due to its delivery at every subscriber.

use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::{try_join, try_join_all};
use serde_json::json;

use super::{
    Bench, Measured, Refusals, Seen, open,
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

/// One live cell.
struct Fan {
    number: u32,
    subscribers: u32,
    notes: u64,
    /// Notes a second, or as many as are answered.
    rate: Option<u32>,
}

/// What happened to the notes, in the order they are sent.
struct Notes {
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
        },
        Fan {
            number: 1,
            subscribers: wide.0,
            notes: wide.1,
            rate: Some(wide.2),
        },
        Fan {
            number: 2,
            subscribers: sustained.0,
            notes: sustained.1,
            rate: None,
        },
    ];
    for fan in fans {
        let name = match fan.rate {
            Some(rate) => format!("live 1→{} at {rate}/s", fan.subscribers),
            None => format!("live 1→{}, {} notes", fan.subscribers, fan.notes),
        };
        if bench.options.wants(&name) {
            done((name, measure(bench, &fan).await));
        }
    }
}

/// Opens the subscriptions first: only publishing and delivering is measured.
async fn measure(bench: &Bench<'_>, fan: &Fan) -> Result<super::Figures> {
    let signed = bench.work.live_notes(fan.number, fan.notes);
    let messages = Messages::of(signed.iter().map(|event| event.as_str().as_bytes()))?;
    let filter = json!({
        "kinds": [1],
        "authors": bench.work.live_authors(fan.number),
        "since": bench.work.live_start(),
    });
    let filter = filter.to_string();
    let mut refusals = Refusals::default();
    let mut subscribers = open(bench, fan.subscribers, false).await?;
    for subscriber in &mut subscribers {
        subscribe(subscriber, &filter, &mut refusals).await?;
        subscriber.bytes_sent = 0;
        subscriber.bytes_received = 0;
    }
    let notes = Notes::of(&messages);
    let mut figures = bench
        .measure(
            "delivery",
            fan_out(bench, fan, &messages, &notes, subscribers),
        )
        .await?;
    figures.refusals.add(refusals);
    figures.expected = vec![fan.notes; fan.subscribers as usize];
    Ok(figures)
}

async fn fan_out(
    bench: &Bench<'_>,
    fan: &Fan,
    messages: &Messages,
    notes: &Notes,
    subscribers: Vec<Connection>,
) -> Result<Seen> {
    let publisher = Connection::open(bench.relay.address(), false).await?;
    let subscribers = subscribers
        .into_iter()
        .map(|connection| subscriber(connection, notes, fan.notes));
    let (published, delivered) = try_join(
        publish(publisher, messages, notes, fan.rate),
        try_join_all(subscribers),
    )
    .await?;
    let mut seen = Seen {
        counts: delivered.iter().map(|part| part.operations).collect(),
        ..Seen::default()
    };
    delivered.into_iter().for_each(|part| seen.add(part));
    seen.refusals.add(published.refusals);
    seen.sent += published.sent;
    seen.received += published.received;
    notes.figures(&mut seen);
    Ok(seen)
}

async fn publish(
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

async fn subscriber(mut connection: Connection, notes: &Notes, count: u64) -> Result<Seen> {
    let mut seen = Seen::default();
    while seen.operations < count {
        connection.step().await?;
        let now = Instant::now();
        while let Some(message) = connection.message()? {
            match Answer::parse(message) {
                Answer::Event(_) => {
                    let Some(due) = key_of_event(message).and_then(|id| notes.delivered(id, now))
                    else {
                        continue;
                    };
                    seen.operations += 1;
                    seen.latencies.push(now.saturating_duration_since(due));
                }
                other => seen.refusals.note(&other),
            }
        }
    }
    seen.traffic(&connection);
    Ok(seen)
}

impl Notes {
    fn of(messages: &Messages) -> Self {
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
}
