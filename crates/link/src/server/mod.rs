//! A matcher's end: sessions of gateways, and the way of a delivery to them.

mod answer;
mod blocks;
mod serve;
mod service;
mod session;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use hashbrown::HashMap;
use heliograph_bus::{CommitNumber, Delivery, Place, Requests, Slot};
use heliograph_proto::{
    v1::{self, matcher_message::Message},
    write_origin,
};
use heliograph_protocol::Event;
use parking_lot::RwLock;

use self::session::{Numbers, Session};
use crate::{ServerMetrics, queue::Queue};

pub use serve::{serve, serve_incoming};

/// All sessions of a matcher. Made before the matcher, which needs the [`sink`](Self::sink). Clones
/// share it.
#[derive(Debug, Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    numbers: Numbers,
    metrics: ServerMetrics,
    index: RwLock<Index>,
    /// Makes session numbers that can't be guessed from others.
    random: RandomState,
    opened: AtomicU64,
}

#[derive(Debug, Default)]
struct Index {
    by_id: HashMap<u64, Arc<Session>>,
    by_gateway: BTreeMap<String, Arc<Session>>,
    /// Set at the end: no new ones.
    closed: bool,
}

impl Sessions {
    /// None yet.
    #[must_use]
    pub fn new(metrics: ServerMetrics) -> Self {
        let shared = Shared {
            numbers: Numbers::default(),
            metrics,
            index: RwLock::default(),
            random: RandomState::new(),
            opened: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Where the matcher hands its deliveries to. Never waits; to be called in the order in which
    /// the matcher decides.
    #[must_use]
    pub fn sink(&self) -> Box<dyn Fn(Delivery) + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Box::new(move |delivery| shared.deliver(delivery))
    }

    /// How many gateways are served.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.index.read().by_id.len()
    }

    fn metrics(&self) -> &ServerMetrics {
        &self.shared.metrics
    }

    fn numbers(&self) -> &Numbers {
        &self.shared.numbers
    }

    /// Opens a session and greets. The one that the gateway had so far ends. `None` when no new
    /// ones are taken.
    fn open(
        &self,
        hello: &v1::Hello,
        matcher: &str,
        applied: CommitNumber,
        queue_bytes_max: usize,
    ) -> Option<Arc<Session>> {
        let shared = &self.shared;
        let number = shared.opened.fetch_add(1, Ordering::Relaxed);
        let id = shared.random.hash_one(number);
        let queue = Queue::new(queue_bytes_max, shared.metrics.queue_bytes.clone());
        let cut_off = shared.metrics.cut_off.clone();
        let session = Arc::new(Session::new(id, hello.gateway.clone(), queue, cut_off));
        let welcome = v1::Welcome {
            session: id,
            position: applied.0,
            matcher: matcher.to_owned(),
        };
        session.send(Message::Welcome(welcome), 0);
        let mut index = shared.index.write();
        if index.closed || index.by_id.contains_key(&id) {
            return None;
        }
        index.by_id.insert(id, Arc::clone(&session));
        let gateway = hello.gateway.clone();
        let before = index.by_gateway.insert(gateway, Arc::clone(&session));
        drop(index);
        if let Some(before) = before {
            tracing::info!(gateway = before.gateway, "session of a gateway replaced");
            before.end();
        }
        shared.metrics.sessions.inc();
        shared.metrics.sessions_opened.inc();
        Some(session)
    }

    fn find(&self, id: u64) -> Option<Arc<Session>> {
        let index = self.shared.index.read();
        index
            .by_id
            .get(&id)
            .filter(|session| !session.is_over())
            .cloned()
    }

    /// Closes what a session that has ended left open, and forgets it.
    async fn clear(&self, session: &Arc<Session>, requests: &dyn Requests) {
        self.forget(session);
        session.clear(self.numbers(), requests).await;
        self.metrics().sessions.dec();
    }

    fn forget(&self, session: &Arc<Session>) {
        let mut index = self.shared.index.write();
        index.by_id.remove(&session.id);
        let current = index.by_gateway.get(&session.gateway);
        if current.is_some_and(|current| Arc::ptr_eq(current, session)) {
            index.by_gateway.remove(&session.gateway);
        }
    }

    /// Tells every gateway up to where it has everything.
    fn position(&self, applied: CommitNumber) {
        let sessions: Vec<_> = self
            .shared
            .index
            .read()
            .by_gateway
            .values()
            .cloned()
            .collect();
        for session in sessions {
            session.position(applied.0);
        }
    }

    /// Ends all sessions and takes no new ones.
    fn close(&self) {
        let mut index = self.shared.index.write();
        index.closed = true;
        for session in index.by_gateway.values() {
            session.end();
        }
    }
}

impl Shared {
    fn deliver(&self, delivery: Delivery) {
        match delivery {
            Delivery::Event {
                event,
                place,
                slots,
            } => self.event(&event, place, slots),
            Delivery::Released(slot) => {
                if let Some((session, slot)) = self.numbers.blocks.find(slot) {
                    session.released(&self.numbers, slot);
                }
            }
            Delivery::Ended(slot, refusal) => {
                if let Some((session, slot)) = self.numbers.blocks.find(slot) {
                    session.lost(slot, &refusal);
                }
            }
        }
    }

    /// Queues an event for every gateway that wants it. All share one text.
    fn event(&self, event: &Event, place: Option<Place>, slots: Vec<Slot>) {
        let place = place.map(v1::Place::from);
        let (received_micros, traceparent) = write_origin(event.origin());
        for (session, slots) in self.numbers.blocks.split(slots) {
            let slots = v1::SlotSet::pack(&slots);
            let packed = |slots: &v1::SlotSet| slots.deltas.len() + slots.bits.len();
            let bytes = event.json().len() + slots.as_ref().map_or(0, packed);
            let delivery = v1::Delivery {
                json: Bytes::clone(event.json()),
                place,
                slots,
                received_micros,
                traceparent: traceparent.clone(),
            };
            session.send(Message::Delivery(delivery), bytes);
            self.metrics.deliveries.inc();
        }
    }
}
