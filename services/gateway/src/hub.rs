//! Open subscriptions of this gateway by slot, and the way of a live event to their outboxes.

use std::sync::Arc;

use hashbrown::HashSet;
use heliograph_bus::{Deliver, Delivery, Slot};
use heliograph_protocol::{Event, EventId, SubscriptionId, event_head};
use parking_lot::{Mutex, RwLock};

use crate::{Metrics, outbox::Outbox};

/// One open subscription, as seen by deliveries.
#[derive(Debug)]
pub(crate) struct Subscriber {
    outbox: Arc<Outbox>,
    head: Arc<[u8]>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// The stored part is on its way: live events wait for EOSE (R01-51), as many
    /// bytes as the outbox has room for; past it the subscription ends with CLOSED.
    Holding {
        events: Vec<Arc<Event>>,
        bytes: usize,
    },
    /// More live events came than are held back.
    Overrun,
    /// Live events go out at once.
    Live,
    /// Nothing goes out any more (R01-56).
    Ended,
}

impl Subscriber {
    /// A subscription whose stored part hasn't ended.
    pub(crate) fn new(id: &SubscriptionId, outbox: Arc<Outbox>) -> Self {
        let state = State::Holding {
            events: Vec::new(),
            bytes: 0,
        };
        Self {
            outbox,
            head: event_head(id).into(),
            state: Mutex::new(state),
        }
    }

    /// Sends a stored event. `false` if the subscription has ended meanwhile.
    pub(crate) fn stored(&self, event: &Arc<Event>) -> bool {
        let state = self.state.lock();
        let open = !matches!(*state, State::Ended);
        if open {
            self.outbox.event(&self.head, event);
        }
        open
    }

    /// Sends EOSE, then what was held back and isn't in `sent`, and goes live.
    ///
    /// # Errors
    ///
    /// [`Overrun`] if more had to be held back than is allowed; nothing was sent.
    pub(crate) fn go_live(&self, eose: Vec<u8>, sent: &HashSet<EventId>) -> Result<(), Overrun> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Live) {
            State::Holding { events, .. } => {
                self.outbox.text(eose);
                for event in events.iter().filter(|event| !sent.contains(event.id())) {
                    self.outbox.event(&self.head, event);
                }
                Ok(())
            }
            State::Overrun => {
                *state = State::Ended;
                Err(Overrun)
            }
            other => {
                *state = other;
                Ok(())
            }
        }
    }

    /// From now on nothing goes out.
    pub(crate) fn end(&self) {
        *self.state.lock() = State::Ended;
    }

    fn live(&self, event: &Arc<Event>) {
        let mut state = self.state.lock();
        match &mut *state {
            State::Live => self.outbox.event(&self.head, event),
            State::Holding { events, bytes } => {
                *bytes += event.json().len();
                if *bytes > self.outbox.bytes_max() {
                    *state = State::Overrun;
                } else {
                    events.push(Arc::clone(event));
                }
            }
            State::Overrun | State::Ended => {}
        }
    }
}

/// More live events came before EOSE than a subscription may hold back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overrun;

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Option<Arc<Subscriber>>>,
    free: Vec<u32>,
}

/// All open subscriptions of this gateway.
#[derive(Debug)]
pub struct Hub {
    slots: RwLock<Slots>,
    metrics: Arc<Metrics>,
}

impl Hub {
    /// No subscriptions yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            slots: RwLock::default(),
            metrics,
        }
    }

    /// Gives a subscription a slot.
    pub(crate) fn allot(&self, subscriber: Arc<Subscriber>) -> Slot {
        let mut slots = self.slots.write();
        let number = slots.free.pop().unwrap_or_else(|| {
            slots.entries.push(None);
            u32::try_from(slots.entries.len() - 1).expect("fewer than 2^32 open subscriptions")
        });
        slots.entries[number as usize] = Some(subscriber);
        Slot(number)
    }

    fn release(&self, slot: Slot) {
        let mut slots = self.slots.write();
        let released = slots
            .entries
            .get_mut(slot.0 as usize)
            .and_then(Option::take);
        debug_assert!(released.is_some(), "a slot is released once");
        if released.is_some() {
            slots.free.push(slot.0);
        }
    }
}

impl Deliver for Hub {
    fn deliver(&self, delivery: Delivery) {
        match delivery {
            Delivery::Event {
                event,
                slots: wanted,
            } => {
                let slots = self.slots.read();
                for slot in &wanted {
                    if let Some(Some(subscriber)) = slots.entries.get(slot.0 as usize) {
                        subscriber.live(&event);
                    }
                }
                drop(slots);
                self.metrics.deliveries.inc_by(wanted.len() as u64);
            }
            Delivery::Released(slot) => self.release(slot),
        }
    }
}
