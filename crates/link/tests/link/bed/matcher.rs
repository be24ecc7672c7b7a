//! A matcher over a list of events: every subscription is tested against every event.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use heliograph_bus::{
    AnswerEnd, AnswerPage, BoxFuture, BusError, CommitNumber, ConnectionId, Count, Counted,
    Delivery, Eose, Open, Pages, Place, Requests, Resume, Slot,
};
use heliograph_protocol::{EoseHint, Event, Filter, PublicKey, Refusal};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

/// The stream of commits: one event each, numbered from 1.
pub(crate) type Log = Arc<Mutex<Vec<Arc<Event>>>>;

type Sink = Box<dyn Fn(Delivery) + Send + Sync>;

/// A matcher whose answers and refusals a test decides.
pub(crate) struct Scripted {
    log: Log,
    sink: Sink,
    live: Mutex<Live>,
    applied: watch::Sender<CommitNumber>,
    /// Passes for `open`, `resume` and each page; plenty unless a test takes them.
    pub(crate) opens: Arc<Semaphore>,
    pub(crate) resumes: Semaphore,
    pub(crate) pages: Arc<Semaphore>,
    pub(crate) pages_read: Arc<AtomicUsize>,
    pub(crate) refuse_open: Mutex<Option<BusError>>,
    pub(crate) refuse_resume: Mutex<Option<Refusal>>,
    pub(crate) resumed_from: Mutex<Vec<u64>>,
}

#[derive(Default)]
struct Live {
    slots: BTreeMap<Slot, (ConnectionId, Vec<Filter>)>,
    keys: BTreeMap<ConnectionId, Vec<PublicKey>>,
}

const PLENTY: usize = 1 << 20;

impl Scripted {
    pub(crate) fn new(log: &Log, sink: Sink) -> Arc<Self> {
        Arc::new(Self {
            log: Arc::clone(log),
            sink,
            live: Mutex::default(),
            applied: watch::Sender::new(CommitNumber(log.lock().len() as u64)),
            opens: Arc::new(Semaphore::new(PLENTY)),
            resumes: Semaphore::new(PLENTY),
            pages: Arc::new(Semaphore::new(PLENTY)),
            pages_read: Arc::default(),
            refuse_open: Mutex::default(),
            refuse_resume: Mutex::default(),
            resumed_from: Mutex::default(),
        })
    }

    pub(crate) fn applied(&self) -> watch::Receiver<CommitNumber> {
        self.applied.subscribe()
    }

    /// Applies what the log has behind the last number.
    pub(crate) fn catch_up(&self) {
        let events: Vec<_> = self.log.lock().clone();
        let from = usize::try_from(self.applied.borrow().0).expect("small");
        for (number, event) in (1..).zip(&events).skip(from) {
            let live = self.live.lock();
            let number = CommitNumber(number);
            self.deliver(
                event,
                number,
                live.slots.iter().map(|(slot, (_, f))| (*slot, f)),
            );
            drop(live);
            self.applied.send_replace(number);
        }
    }

    fn deliver<'a>(
        &self,
        event: &Arc<Event>,
        number: CommitNumber,
        slots: impl Iterator<Item = (Slot, &'a Vec<Filter>)>,
    ) {
        let wanted = slots.filter(|(_, filters)| filters.iter().any(|f| f.matches(event)));
        // In no order, as the index has them.
        let slots: Vec<Slot> = wanted.map(|(slot, _)| slot).rev_sorted();
        if !slots.is_empty() {
            (self.sink)(Delivery::Event {
                event: Arc::clone(event),
                place: Some(Place { number, index: 0 }),
                slots,
            });
        }
    }

    pub(crate) fn ephemeral(&self, event: &Arc<Event>) {
        let slots = self.live.lock().slots.keys().copied().collect();
        (self.sink)(Delivery::Event {
            event: Arc::clone(event),
            place: None,
            slots,
        });
    }

    pub(crate) fn end(&self, refusal: &Refusal) {
        let slots: Vec<Slot> = self.live.lock().slots.keys().copied().collect();
        for slot in slots {
            (self.sink)(Delivery::Ended(slot, refusal.clone()));
        }
    }

    pub(crate) fn open_slots(&self) -> usize {
        self.live.lock().slots.len()
    }

    /// Each connection's keys, in order of connections.
    pub(crate) fn keys(&self) -> Vec<Vec<PublicKey>> {
        self.live.lock().keys.values().cloned().collect()
    }
}

trait RevSorted: Iterator<Item = Slot> + Sized {
    fn rev_sorted(self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.collect();
        slots.sort_unstable_by(|a, b| b.cmp(a));
        slots
    }
}

impl<I: Iterator<Item = Slot>> RevSorted for I {}

impl Requests for Scripted {
    fn open(&self, open: Open) -> BoxFuture<'_, Result<Box<dyn Pages>, BusError>> {
        Box::pin(async move {
            // Registered late, so that a close in between would be lost if nobody took care.
            self.opens.acquire().await.expect("open").forget();
            let mut live = self.live.lock();
            live.slots
                .insert(open.slot, (open.connection, open.filters.clone()));
            let applied = *self.applied.borrow();
            drop(live);
            if let Some(error) = self.refuse_open.lock().clone() {
                return Err(error);
            }
            let count = usize::try_from(applied.0).expect("small");
            let stored: Vec<_> = self.log.lock()[..count]
                .iter()
                .rev()
                .filter(|event| open.filters.iter().any(|filter| filter.matches(event)))
                .cloned()
                .collect();
            Ok(Box::new(Stored {
                rest: stored,
                applied: self.applied.subscribe(),
                pages: Arc::clone(&self.pages),
                read: Arc::clone(&self.pages_read),
            }) as Box<dyn Pages>)
        })
    }

    fn resume(&self, resume: Resume) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            self.resumed_from.lock().push(resume.from.0);
            self.resumes.acquire().await.expect("open").forget();
            if let Some(refusal) = self.refuse_resume.lock().clone() {
                return Err(refusal);
            }
            let mut live = self.live.lock();
            let events: Vec<_> = self.log.lock().clone();
            let applied = self.applied.borrow().0;
            for (number, event) in (1..=applied).zip(&events) {
                if number > resume.from.0 {
                    let slots = resume.subscriptions.iter().map(|r| (r.slot, &r.filters));
                    self.deliver(event, CommitNumber(number), slots);
                }
            }
            for resumed in resume.subscriptions {
                live.slots
                    .insert(resumed.slot, (resumed.connection, resumed.filters));
            }
            Ok(())
        })
    }

    fn close(&self, slot: Slot) {
        let mut live = self.live.lock();
        live.slots.remove(&slot);
        (self.sink)(Delivery::Released(slot));
    }

    fn authenticate(&self, connection: ConnectionId, key: PublicKey) {
        let mut live = self.live.lock();
        let keys = live.keys.entry(connection).or_default();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }

    fn disconnect(&self, connection: ConnectionId) {
        self.live.lock().keys.remove(&connection);
    }

    fn count(&self, count: Count) -> BoxFuture<'_, Result<Counted, Refusal>> {
        Box::pin(async move {
            if count.reader.is_anonymous() {
                return Err(Refusal::auth_required("who are you?"));
            }
            let events = self.log.lock().clone();
            let matching = events
                .iter()
                .filter(|event| count.filters.iter().any(|filter| filter.matches(event)));
            Ok(Counted {
                count: matching.count() as u64,
                approximate: true,
            })
        })
    }
}

/// One event a page.
struct Stored {
    rest: Vec<Arc<Event>>,
    applied: watch::Receiver<CommitNumber>,
    pages: Arc<Semaphore>,
    read: Arc<AtomicUsize>,
}

impl Pages for Stored {
    fn next(&mut self) -> BoxFuture<'_, Result<AnswerPage, BusError>> {
        Box::pin(async move {
            self.pages.acquire().await.expect("open").forget();
            self.read.fetch_add(1, Ordering::SeqCst);
            if self.rest.is_empty() {
                let eose = Eose {
                    hint: EoseHint::Finish,
                    gone: Vec::new(),
                    archive: false,
                    applied: *self.applied.borrow(),
                    fresh: Vec::new(),
                };
                return Ok(AnswerPage {
                    events: Vec::new(),
                    end: Some(AnswerEnd::Eose(eose)),
                });
            }
            Ok(AnswerPage {
                events: vec![self.rest.remove(0)],
                end: None,
            })
        })
    }
}
