//! Publishing to the new relay: a bounded number of events at once, each until it is answered.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use heliograph_canary::client::Message;
use heliograph_protocol::{Event, EventId};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};

use super::line::{Heard, Line, Pauses, Relay, shown};
use crate::tools::output::note;

/// Events that wait for their OK at once.
const WINDOW: usize = 128;

/// How often an event is sent again that the relay fails to store.
const FAILURES_MAX: u32 = 20;

/// Ids that are remembered, so that what several relays have is published once.
const KNOWN_MAX: usize = 200_000;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Stored,
    /// The relay has it, or something better.
    Known,
    /// The relay doesn't want it.
    Refused(String),
}

/// How many events got which verdict.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) stored: u64,
    pub(super) known: u64,
    pub(super) refused: u64,
}

/// One who publishes; cloning shares the connection.
#[derive(Debug, Clone)]
pub(super) struct Target {
    queue: mpsc::Sender<Item>,
    known: Arc<Mutex<Known>>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug)]
struct Item {
    event: Arc<Event>,
    verdict: oneshot::Sender<Verdict>,
    /// How often the relay has failed to store it.
    failures: u32,
}

/// The latest ids.
#[derive(Debug, Default)]
struct Known {
    ids: HashSet<EventId>,
    order: VecDeque<EventId>,
}

impl Known {
    /// Whether it is new.
    fn add(&mut self, id: EventId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    fn forget(&mut self, id: &EventId) {
        self.ids.remove(id);
        self.order.retain(|other| other != id);
    }
}

/// An event that was handed over and waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting {
    id: EventId,
    verdict: oneshot::Receiver<Verdict>,
}

impl Target {
    /// The other end is to be run.
    pub(super) fn new(relay: Relay) -> (Self, Publisher) {
        let (queue, items) = mpsc::channel(WINDOW);
        let target = Self {
            queue,
            known: Arc::default(),
            counts: Arc::default(),
        };
        let publisher = Publisher {
            relay,
            items,
            unsent: VecDeque::new(),
            sent: HashMap::new(),
            rest_until: None,
            rests: Pauses::default(),
        };
        (target, publisher)
    }

    /// Hands an event over; nothing to wait for if it was before.
    pub(super) async fn submit(&self, event: Event) -> Result<Option<Waiting>, String> {
        let id = *event.id();
        if !lock(&self.known).add(id) {
            return Ok(None);
        }
        let (verdict, receiver) = oneshot::channel();
        let item = Item {
            event: Arc::new(event),
            verdict,
            failures: 0,
        };
        let sent = self.queue.send(item).await;
        sent.map_err(|_gone| "publishing ended".to_owned())?;
        Ok(Some(Waiting {
            id,
            verdict: receiver,
        }))
    }

    /// Waits for the answer to an event.
    pub(super) async fn settle(&self, waiting: Waiting) -> Result<(), String> {
        let Waiting { id, verdict } = waiting;
        let Ok(verdict) = verdict.await else {
            lock(&self.known).forget(&id);
            return Err("publishing ended".to_owned());
        };
        let mut counts = lock(&self.counts);
        match verdict {
            Verdict::Stored => counts.stored += 1,
            Verdict::Known => counts.known += 1,
            Verdict::Refused(why) => {
                counts.refused += 1;
                note(&format!("{}: refused: {}", id.to_hex(), shown(&why)));
            }
        }
        Ok(())
    }

    /// What became of everything so far.
    pub(super) fn counts(&self) -> Counts {
        std::mem::take(&mut *lock(&self.counts))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end at the new relay.
pub(super) struct Publisher {
    relay: Relay,
    items: mpsc::Receiver<Item>,
    /// To be sent, again or for the first time on this connection.
    unsent: VecDeque<Item>,
    sent: HashMap<EventId, Item>,
    /// The relay wants to be left alone until then.
    rest_until: Option<Instant>,
    rests: Pauses,
}

impl Publisher {
    /// Runs until nobody publishes any more.
    pub(super) async fn run(mut self) {
        let mut pauses = Pauses::default();
        loop {
            let why = match Line::connect(&self.relay).await {
                Ok(line) => match self.speak(line, &mut pauses).await {
                    Ok(()) => return,
                    Err(why) => why,
                },
                Err(why) => why,
            };
            // Nobody knows whether they arrived.
            self.unsent
                .extend(self.sent.drain().map(|(_id, item)| item));
            let pause = pauses.next();
            let (url, secs) = (self.relay.target.as_str(), pause.as_secs_f32());
            let why = shown(&why);
            note(&format!("{url}: {why}; again in {secs:.1} s"));
            sleep(pause).await;
        }
    }

    async fn speak(&mut self, mut line: Line, pauses: &mut Pauses) -> Result<(), String> {
        let mut later = Vec::new();
        loop {
            let resting = self.rest_until.is_some_and(|until| Instant::now() < until);
            while !resting
                && self.sent.len() < WINDOW
                && let Some(item) = self.unsent.pop_front()
            {
                let text = format!(r#"["EVENT",{}]"#, item.event.as_str());
                self.sent.insert(*item.event.id(), item);
                line.send(text).await?;
            }
            let has_room = self.sent.len() + self.unsent.len() + later.len() < WINDOW;
            tokio::select! {
                biased; // answers first: they make room
                heard = line.next() => {
                    match heard? {
                        Heard::Authenticated => self.unsent.extend(later.drain(..)),
                        Heard::Later(message) => later.extend(self.take_back(&message)),
                        Heard::Unreadable(..) => {}
                        Heard::Said(message) => {
                            if self.answer(&message) {
                                pauses.reset();
                            }
                        }
                    }
                }
                item = self.items.recv(), if has_room => match item {
                    Some(item) => self.unsent.push_back(item),
                    None if self.sent.is_empty() && self.unsent.is_empty() => return Ok(()),
                    // Closed: only answers are waited for.
                    None => sleep(std::time::Duration::from_millis(20)).await,
                },
                () = sleep_until(self.rest_until.unwrap_or_else(Instant::now)), if resting => {
                    self.rest_until = None;
                }
            }
        }
    }

    fn take_back(&mut self, message: &Message) -> Option<Item> {
        match message {
            Message::Ok(id, ..) => self.sent.remove(id),
            _ => None,
        }
    }

    /// Takes an answer; whether it was a good one.
    fn answer(&mut self, message: &Message) -> bool {
        let Message::Ok(id, accepted, text) = message else {
            return false;
        };
        let Some(mut item) = self.sent.remove(id) else {
            return false;
        };
        let verdict = match (accepted, text.split(':').next().unwrap_or_default()) {
            (true, "duplicate") | (false, "duplicate") => Verdict::Known,
            (true, _) => Verdict::Stored,
            (false, "rate-limited" | "error") if item.failures < FAILURES_MAX => {
                // Later, and slower.
                item.failures += u32::from(text.starts_with("error"));
                self.unsent.push_back(item);
                if self.rest_until.is_none() {
                    self.rest_until = Some(Instant::now() + self.rests.next());
                }
                return false;
            }
            (false, _) => Verdict::Refused(text.clone()),
        };
        self.rests.reset();
        // Whoever asked may have stopped waiting.
        drop(item.verdict.send(verdict));
        true
    }
}
