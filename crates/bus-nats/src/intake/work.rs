//! Messages that workers of this process have, until they are settled.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_nats::{HeaderMap, Subject, datetime::DateTime};
use bytes::Bytes;
use hashbrown::HashMap;
use heliograph_bus::{BusError, IfStored, Receipt};
use heliograph_proto::FormError;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};

use super::{NatsItem, lag, settle};
use crate::{
    clock,
    codec::{self, Batch},
    core::Core,
    latch::Latch,
};

/// Marks a dead letter that is tried again. Part of it may have been stored, and seen, for days.
pub(crate) const REPLAY_HEADER: &str = "Heliograph-Replay";

/// Messages that may wait to be settled beyond those that have a place; past it they are delivered
/// again.
const SETTLE_SPARE: usize = 1_024;

/// What the workers of one process share.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(super) core: Arc<Core>,
    /// A place for each message that isn't settled.
    pub(super) places: Arc<Semaphore>,
    pub(super) closed: Latch,
    settle: mpsc::Sender<Arc<Work>>,
    /// The other end, until the task takes it.
    settling: Mutex<Option<mpsc::Receiver<Arc<Work>>>>,
    started: AtomicBool,
    load: watch::Sender<Load>,
    working: Mutex<HashMap<u64, Working>>,
    keys: AtomicU64,
}

/// What still needs the tasks behind the workers.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// Workers that may still fetch or drain.
    workers: usize,
    /// Messages that aren't settled.
    messages: usize,
}

/// A message that isn't settled yet.
#[derive(Debug, Clone)]
pub(super) struct Working {
    /// Where progress is reported.
    pub(super) reply: Subject,
    /// Since when.
    pub(super) since: Instant,
}

/// What is known of a message beside its events.
#[derive(Debug)]
pub(super) struct Origin {
    /// Where it is acknowledged.
    pub(super) reply: Subject,
    pub(super) subject: String,
    pub(super) sequence: u64,
    /// How often it was delivered, this time included.
    pub(super) delivered: u32,
    pub(super) published: DateTime,
    pub(super) replayed: bool,
    pub(super) payload: Bytes,
}

/// One message and what became of its events so far.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) origin: Origin,
    pub(super) batch: Result<Batch, FormError>,
    key: u64,
    state: Mutex<State>,
    workshop: Arc<Workshop>,
    _place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct State {
    answers: Vec<Option<Result<Receipt, BusError>>>,
    left: usize,
    stored: usize,
    failed: usize,
}

impl Workshop {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let places = core.options.working_messages_max;
        let (settle, settling) = mpsc::channel(places + SETTLE_SPARE);
        Self {
            core,
            places: Arc::new(Semaphore::new(places)),
            closed: Latch::default(),
            settle,
            settling: Mutex::new(Some(settling)),
            started: AtomicBool::new(false),
            load: watch::Sender::new(Load::default()),
            working: Mutex::default(),
            keys: AtomicU64::new(0),
        }
    }

    /// Counts a worker in, and starts the tasks behind all of them with the first.
    pub(super) fn join(self: &Arc<Self>) {
        self.load.send_modify(|load| load.workers += 1);
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let settling = self.settling.lock().take();
        let settling = settling.expect("taken once, by whoever starts");
        let tasks = &self.core.tasks;
        tasks.spawn(
            "bus acknowledgements",
            settle::run(Arc::clone(self), settling),
        );
        tasks.spawn("bus progress", settle::report_progress(Arc::clone(self)));
        tasks.spawn("bus ingest lag", lag::watch(Arc::clone(self)));
    }

    /// No more messages are fetched; workers drain what they have, then end.
    pub(crate) fn close(&self) {
        self.closed.set();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_set()
    }

    /// Counts a worker out.
    pub(super) fn leave(&self) {
        self.load.send_modify(|load| load.workers -= 1);
    }

    /// Waits until it is closed, the workers are gone and every message is settled.
    pub(crate) async fn over(&self) {
        self.closed.wait().await;
        let mut load = self.load.subscribe();
        let idle = load.wait_for(|load| load.workers == 0 && load.messages == 0);
        let idle = idle.await.is_ok();
        debug_assert!(idle, "the sender lives in self");
    }

    /// Every message that isn't settled.
    pub(super) fn working(&self) -> Vec<Working> {
        self.working.lock().values().cloned().collect()
    }

    /// Makes work of a message. What can't be offered is settled at once.
    pub(super) fn receive(
        self: &Arc<Self>,
        origin: Origin,
        place: Option<OwnedSemaphorePermit>,
    ) -> Arc<Work> {
        let metrics = &self.core.metrics;
        metrics.fetched_messages.inc();
        if origin.delivered > 1 {
            metrics.redeliveries.inc();
        }
        let batch = codec::read_batch(origin.payload.clone());
        let key = self.keys.fetch_add(1, Ordering::Relaxed);
        let working = Working {
            reply: origin.reply.clone(),
            since: Instant::now(),
        };
        self.working.lock().insert(key, working);
        self.load.send_modify(|load| load.messages += 1);
        metrics.working_messages.inc();
        let count = batch.as_ref().map_or(0, |batch| batch.events.len());
        let work = Arc::new(Work {
            origin,
            batch,
            key,
            state: Mutex::new(State::new(count)),
            workshop: Arc::clone(self),
            _place: place,
        });
        if work.is_hopeless() || count == 0 {
            work.settle();
        }
        work
    }
}

impl Origin {
    /// Reads what the server says of a message; `None` if it didn't come from the stream.
    pub(super) fn of(message: async_nats::jetstream::Message) -> Option<Self> {
        let info = message.info().ok()?;
        let (sequence, published) = (info.stream_sequence, info.published);
        let delivered = u32::try_from(info.delivered).unwrap_or(u32::MAX);
        let message = message.message;
        let header = |headers: &HeaderMap| headers.get(REPLAY_HEADER).is_some();
        Some(Self {
            reply: message.reply?,
            subject: message.subject.to_string(),
            sequence,
            delivered,
            published,
            replayed: message.headers.as_ref().is_some_and(header),
            payload: message.payload,
        })
    }
}

impl State {
    fn new(count: usize) -> Self {
        Self {
            answers: vec![None; count],
            left: count,
            stored: 0,
            failed: 0,
        }
    }
}

impl Work {
    pub(super) fn delivered(&self) -> u32 {
        self.origin.delivered
    }

    /// As long as the store calls fresh what an earlier delivery wrote, it says itself which events are
    /// new; of a dead letter always: what readers have seen for days must not come live.
    pub(super) fn if_stored(&self) -> IfStored {
        let origin = &self.origin;
        let fresh_max = self.workshop.core.options.fresh_max.as_secs_f64();
        let fresh = clock::age_seconds(origin.published) < fresh_max;
        if origin.delivered > 1 && !origin.replayed && !fresh {
            IfStored::Unknown
        } else {
            IfStored::Elsewhere
        }
    }

    /// Whether it was delivered more often than is allowed: its workers died of it, or never
    /// answered.
    pub(super) fn is_hopeless(&self) -> bool {
        self.origin.delivered > self.workshop.core.options.deliveries_max
    }

    /// Whether so many of its events failed and none was stored in this delivery.
    pub(super) fn fails(&self, count: usize) -> bool {
        let state = self.state.lock();
        state.stored == 0 && state.failed >= count
    }

    /// Its events, one item each; none if it isn't to be offered.
    pub(super) fn items(self: &Arc<Self>) -> VecDeque<NatsItem> {
        let Ok(batch) = &self.batch else {
            return VecDeque::new();
        };
        if self.is_hopeless() {
            return VecDeque::new();
        }
        let item = |(index, event)| NatsItem {
            event: Arc::clone(event),
            work: Arc::clone(self),
            index,
            answered: false,
        };
        batch.events.iter().enumerate().map(item).collect()
    }

    /// Notes what became of one event; after the last one the message is settled.
    pub(super) fn answer(self: &Arc<Self>, index: usize, answer: Result<Receipt, BusError>) {
        let mut state = self.state.lock();
        debug_assert!(state.answers[index].is_none(), "each item answers once");
        match &answer {
            Ok(_) => state.stored += 1,
            Err(_) => state.failed += 1,
        }
        state.answers[index] = Some(answer);
        state.left -= 1;
        let last = state.left == 0;
        drop(state);
        if last {
            self.settle();
        }
    }

    /// What became of each event, in order; `None` where nobody said.
    pub(super) fn answers(&self) -> Vec<Option<Result<Receipt, BusError>>> {
        self.state.lock().answers.clone()
    }

    fn settle(self: &Arc<Self>) {
        if self.workshop.settle.try_send(Arc::clone(self)).is_err() {
            // Too many at once, or the process ends: it comes again after the wait.
            tracing::warn!("a message could not be settled and is delivered again");
            self.forget();
        }
    }

    /// No more progress is reported for it.
    pub(super) fn forget(&self) {
        if self.workshop.working.lock().remove(&self.key).is_some() {
            self.workshop.core.metrics.working_messages.dec();
            self.workshop.load.send_modify(|load| load.messages -= 1);
        }
    }
}
