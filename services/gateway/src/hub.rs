//! Open subscriptions of this gateway by slot, and the way of a live event to their outboxes.

use std::{sync::Arc, time::Duration};

use hashbrown::HashSet;
use heliograph_bus::{Deliver, Delivery, Eose, Place, Slot};
use heliograph_protocol::{
    Event, EventId, Refusal, RelayMessage, SubscriptionId, TraceContext, event_head,
};
use heliograph_telemetry::unix_micros;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::{Metrics, budget::Charge, outbox::Outbox, seats::Seats};

/// How long a subscription remembers events of its stored part that the stream may still announce:
/// as long as the stream keeps commits. After that an announcement could only come from a worker
/// that was away for all that time.
const FRESH_MEMORY: Duration = Duration::from_mins(15);

/// One open subscription, as seen by deliveries.
#[derive(Debug)]
pub(crate) struct Subscriber {
    id: SubscriptionId,
    outbox: Arc<Outbox>,
    head: Arc<[u8]>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// The stored part is on its way: live events wait for EOSE (R01-51), as many
    /// bytes as the outbox has room for; past it the subscription ends with CLOSED.
    Holding {
        events: Vec<(Option<Place>, Arc<Event>)>,
        bytes: usize,
        /// What the stored part had: a version that it has superseded may come live meanwhile.
        seats: Seats,
    },
    /// More live events came than are held back.
    Overrun,
    /// Live events go out at once.
    Live {
        /// What isn't behind this place has been sent, whichever matcher sends it again (CL-2).
        last: Place,
        /// What the stored part had and the stream may still announce; rarely anything.
        fresh: Option<Box<Fresh>>,
    },
    /// Nothing goes out any more (R01-56).
    Ended {
        /// Whether the client was told so, by CLOSED.
        told: bool,
    },
}

/// Events that were sent before they were announced.
#[derive(Debug)]
struct Fresh {
    ids: HashSet<EventId>,
    /// Those of them that have an address: what they beat may be announced before them.
    seats: Seats,
    until: Instant,
}

impl Subscriber {
    /// A subscription whose stored part hasn't ended.
    pub(crate) fn new(id: &SubscriptionId, outbox: Arc<Outbox>) -> Self {
        let state = State::Holding {
            events: Vec::new(),
            bytes: 0,
            seats: Seats::default(),
        };
        Self {
            id: id.clone(),
            outbox,
            head: event_head(id).into(),
            state: Mutex::new(state),
        }
    }

    /// Sends a stored event, unless it is beaten by one that was sent: memory and database, which an
    /// answer is read from, don't learn of a write at the same moment (CL-3). `false` if the
    /// subscription has ended meanwhile.
    pub(crate) fn stored(&self, event: &Arc<Event>) -> bool {
        let mut state = self.state.lock();
        if let State::Holding { seats, .. } = &mut *state {
            if seats.beat(event) {
                return true;
            }
            seats.note(event);
        }
        let open = !matches!(*state, State::Ended { .. });
        if open {
            self.outbox.stored(&self.head, event);
        }
        open
    }

    /// Sends EOSE, then what was held back, isn't in `sent`, isn't gone and isn't beaten by what was sent
    /// (CL-3), and goes live; `false` if the subscription has ended meanwhile.
    ///
    /// # Errors
    ///
    /// [`Overrun`] if more had to be held back than is allowed; nothing was sent.
    pub(crate) fn go_live(
        &self,
        eose: Vec<u8>,
        end: Eose,
        sent: &mut HashSet<EventId>,
    ) -> Result<bool, Overrun> {
        let mut state = self.state.lock();
        match &mut *state {
            State::Holding { events, seats, .. } => {
                let mut last = Place::end_of(end.applied);
                let gone: HashSet<_> = end.gone.into_iter().collect();
                self.outbox.text(eose);
                for (place, event) in events.drain(..) {
                    last = last.max(place.unwrap_or_default());
                    if gone.contains(event.id()) {
                        continue;
                    }
                    // A question that was asked twice may have held an event twice.
                    if sent.insert(*event.id()) && !seats.beat(&event) {
                        seats.note(&event);
                        // It waited for the stored part, so its time says nothing of the live way.
                        self.outbox.stored(&self.head, &event);
                    }
                }
                let fresh = Fresh::new(end.fresh, std::mem::take(seats));
                *state = State::Live { last, fresh };
                Ok(true)
            }
            State::Overrun => {
                *state = State::Ended { told: false };
                Err(Overrun)
            }
            State::Live { .. } => Ok(true),
            State::Ended { .. } => Ok(false),
        }
    }

    /// From now on nothing goes out.
    pub(crate) fn end(&self) {
        *self.state.lock() = State::Ended { told: false };
    }

    /// Whether nothing goes out any more.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(*self.state.lock(), State::Ended { .. })
    }

    /// Whether it ended with CLOSED that its matcher was the cause of.
    pub(crate) fn was_failed(&self) -> bool {
        matches!(*self.state.lock(), State::Ended { told: true })
    }

    /// Ends with CLOSED. Whether it was open.
    fn fail(&self, refusal: &Refusal) -> bool {
        let mut state = self.state.lock();
        if matches!(*state, State::Ended { .. }) {
            return false;
        }
        *state = State::Ended { told: true };
        self.outbox
            .text(RelayMessage::Closed(&self.id, refusal).encode());
        true
    }

    fn live(&self, event: &Arc<Event>, place: Option<Place>, followed: &mut Followed) {
        let mut state = self.state.lock();
        match &mut *state {
            State::Live { last, fresh } => {
                if let Some(place) = place {
                    if place <= *last {
                        return;
                    }
                    *last = place;
                }
                if fresh.as_mut().is_none_or(|fresh| fresh.is_new(event)) {
                    let charge = followed.charge(event, &self.outbox);
                    match followed.next() {
                        None => self.outbox.live(&self.head, event, charge),
                        Some(cause) => {
                            self.outbox.live_traced(&self.head, event, charge, cause);
                        }
                    }
                }
                if fresh.as_ref().is_some_and(|fresh| fresh.is_over()) {
                    *fresh = None;
                }
            }
            State::Holding { events, bytes, .. } => {
                *bytes += event.json().len();
                if *bytes > self.outbox.bytes_max() {
                    *state = State::Overrun;
                } else {
                    events.push((place, Arc::clone(event)));
                }
            }
            State::Overrun | State::Ended { .. } => {}
        }
    }
}

impl Fresh {
    fn new(ids: Vec<EventId>, mut seats: Seats) -> Option<Box<Self>> {
        let until = Instant::now() + FRESH_MEMORY;
        let ids: HashSet<_> = ids.into_iter().collect();
        seats.keep(&ids);
        (!ids.is_empty()).then(|| Box::new(Self { ids, seats, until }))
    }

    /// Whether an event wasn't sent yet, nor beaten by one that was; asked once for each.
    fn is_new(&mut self, event: &Event) -> bool {
        !self.ids.remove(event.id()) && !self.seats.beat(event)
    }

    fn is_over(&self) -> bool {
        self.ids.is_empty() || Instant::now() >= self.until
    }
}

/// Receivers of one event whose share of its way is in its trace.
const FOLLOWED_MAX: u32 = 8;

/// An event on its way to its receivers.
struct Followed {
    /// Whether it goes to more than one subscription.
    shared: bool,
    charge: Option<Arc<Charge>>,
    /// How many more deliveries of it are followed: none, unless its trace is sampled.
    left: u32,
    /// The span that caused them, and when the event came here.
    cause: Option<(TraceContext, u64)>,
}

impl Followed {
    fn new(event: &Event, receivers: usize) -> Self {
        let cause = event.origin().trace();
        Self {
            shared: receivers > 1,
            charge: None,
            left: FOLLOWED_MAX,
            cause: cause.map(|trace| (trace, unix_micros())),
        }
    }

    /// What counts the event once for all.
    fn charge(&mut self, event: &Event, outbox: &Outbox) -> Option<Arc<Charge>> {
        if self.shared && self.charge.is_none() {
            self.charge = Some(outbox.charge(event));
        }
        self.charge.clone()
    }

    fn next(&mut self) -> Option<(TraceContext, u64)> {
        let cause = self.cause?;
        self.left = self.left.checked_sub(1)?;
        Some(cause)
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

    /// Ends a subscription that its matcher lost; its session gives the slot back.
    fn end(&self, slot: Slot, refusal: &Refusal) {
        let slots = self.slots.read();
        if let Some(Some(subscriber)) = slots.entries.get(slot.0 as usize)
            && subscriber.fail(refusal)
        {
            self.metrics.questions.closed(refusal.prefix).inc();
        }
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
                place,
                slots: wanted,
            } => {
                let mut followed = Followed::new(&event, wanted.len());
                let slots = self.slots.read();
                for slot in &wanted {
                    if let Some(Some(subscriber)) = slots.entries.get(slot.0 as usize) {
                        subscriber.live(&event, place, &mut followed);
                    }
                }
                drop(slots);
                let deliveries = &self.metrics.traffic.deliveries;
                deliveries.inc_by(wanted.len() as u64);
            }
            Delivery::Released(slot) => self.release(slot),
            Delivery::Ended(slot, refusal) => self.end(slot, &refusal),
        }
    }
}

#[cfg(test)]
mod tests;
