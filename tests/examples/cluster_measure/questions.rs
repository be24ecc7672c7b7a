//! REQ and COUNT: a few connections, each one question after the other under the same id, so that
//! each also opens a live subscription and ends the one before.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use heliograph_testkit::frame::Frame;
use serde_json::{Value, json};

use crate::{
    bed::Bed,
    connection::{Connection, Reply},
    corpus::Corpus,
    figures::{Sample, Seen},
    latency::Latency,
};

/// Different questions of each kind: more than are in flight, so that no two at a time are equal.
const VARIANTS: usize = 300;

/// One kind of question with its variants.
#[derive(Debug)]
pub(crate) struct Question {
    /// How the report calls it.
    pub(crate) name: &'static str,
    frames: Vec<Vec<u8>>,
}

/// What one connection saw.
#[derive(Debug, Default)]
struct Answers {
    latencies: Vec<Duration>,
    received: u64,
    closed: u64,
}

impl Question {
    /// Every kind. All ask for what is older than half of the events, so that the same questions
    /// can be put to a recent tier that holds the answers and to one that doesn't.
    pub(crate) fn all(corpus: &Corpus) -> Vec<Self> {
        let until = corpus.until;
        let note = |nth: usize| &corpus.notes[nth * 31 % corpus.notes.len()];
        let author = |nth: usize| &corpus.authors[nth * 7 % corpus.authors.len()];
        let req = |name, filter: &dyn Fn(usize) -> Value| Self::new(name, "REQ", filter);
        vec![
            req("by id", &|nth| json!({"ids": [note(nth)]})),
            req(
                "author and kind, limit 20",
                &|nth| json!({"authors": [author(nth)], "kinds": [1], "until": until, "limit": 20}),
            ),
            req(
                "home feed, 500 authors × 2 kinds, limit 200",
                &|nth| json!({"authors": corpus.feed(nth), "kinds": [1, 6], "until": until, "limit": 200}),
            ),
            req(
                "#e, reactions to a note",
                &|nth| json!({"#e": [note(nth)], "kinds": [7], "until": until, "limit": 100}),
            ),
            req(
                "#p, notifications, limit 50",
                &|nth| json!({"#p": [author(nth)], "kinds": [1, 6, 7], "until": until, "limit": 50}),
            ),
            Self::new(
                "COUNT of one author's notes",
                "COUNT",
                &|nth| json!({"authors": [author(nth)], "kinds": [1], "until": until}),
            ),
        ]
    }

    fn new(name: &'static str, verb: &str, filter: &dyn Fn(usize) -> Value) -> Self {
        let frame = |nth| {
            let message = json!([verb, "q", filter(nth)]).to_string();
            Frame::text(message).encode()
        };
        Self {
            name,
            frames: (0..VARIANTS).map(frame).collect(),
        }
    }
}

/// Asks for a while, by so many connections.
pub(crate) fn ask(
    bed: &Bed,
    question: &Question,
    duration: Duration,
    connections: usize,
) -> Result<Sample> {
    bed.measure(|| {
        let answers = thread::scope(|scope| {
            let askers: Vec<_> = (0..connections)
                .map(|nth| {
                    let first = nth * question.frames.len() / connections;
                    let frames = question.frames.iter().cycle().skip(first);
                    let gateway = bed.gateway();
                    scope.spawn(move || ask_one(gateway, frames, duration))
                })
                .collect();
            let joined = askers.into_iter().map(|asker| {
                let joined = asker.join();
                joined.map_err(|_panic| anyhow!("a client panicked"))?
            });
            joined.collect::<Result<Vec<Answers>>>()
        })?;
        let mut seen = Seen::default();
        let mut latencies = Vec::new();
        for answers in answers {
            seen.received += answers.received;
            seen.closed += answers.closed;
            latencies.extend(answers.latencies);
        }
        seen.count = latencies.len() as u64;
        seen.answer = Latency::of(latencies);
        Ok(seen)
    })
}

fn ask_one<'a>(
    gateway: SocketAddr,
    frames: impl Iterator<Item = &'a Vec<u8>>,
    duration: Duration,
) -> Result<Answers> {
    let mut connection = Connection::open(gateway);
    let mut answers = Answers::default();
    let start = Instant::now();
    for frame in frames {
        if start.elapsed() >= duration {
            break;
        }
        let asked = Instant::now();
        connection.send(frame)?;
        loop {
            match connection.read()? {
                Reply::Event(_) => answers.received += 1,
                Reply::Answered => break,
                // What costs too much ends like this, which is an answer and is reported.
                Reply::Closed(_) => {
                    answers.closed += 1;
                    break;
                }
                other => bail!("expected an answer, got {other:?}"),
            }
        }
        answers.latencies.push(asked.elapsed());
    }
    Ok(answers)
}
