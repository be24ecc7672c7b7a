//! Open subscriptions of this gateway by slot, and the way of a live event to their outboxes.

use std::{sync::Arc, time::Duration};

use hashbrown::HashSet;
use heliograph_bus::{Deliver, Delivery, Eose, Place, Slot};
use heliograph_protocol::{Event, EventId, Refusal, RelayMessage, SubscriptionId, event_head};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::{Metrics, outbox::Outbox, seats::Seats};

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
    Ended,
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
        let open = !matches!(*state, State::Ended);
        if open {
            self.outbox.event(&self.head, event);
        }
        open
    }

    /// Sends EOSE, then what was held back, isn't in `sent`, isn't gone and isn't beaten by what was sent
    /// (CL-3), and goes live.
    ///
    /// # Errors
    ///
    /// [`Overrun`] if more had to be held back than is allowed; nothing was sent.
    pub(crate) fn go_live(
        &self,
        eose: Vec<u8>,
        end: Eose,
        sent: &mut HashSet<EventId>,
    ) -> Result<(), Overrun> {
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
                        self.outbox.event(&self.head, &event);
                    }
                }
                let fresh = Fresh::new(end.fresh, std::mem::take(seats));
                *state = State::Live { last, fresh };
                Ok(())
            }
            State::Overrun => {
                *state = State::Ended;
                Err(Overrun)
            }
            State::Live { .. } | State::Ended => Ok(()),
        }
    }

    /// From now on nothing goes out.
    pub(crate) fn end(&self) {
        *self.state.lock() = State::Ended;
    }

    /// Whether nothing goes out any more.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(*self.state.lock(), State::Ended)
    }

    /// Ends with CLOSED. Whether it was open.
    fn fail(&self, refusal: &Refusal) -> bool {
        let mut state = self.state.lock();
        if matches!(*state, State::Ended) {
            return false;
        }
        *state = State::Ended;
        self.outbox
            .text(RelayMessage::Closed(&self.id, refusal).encode());
        true
    }

    fn live(&self, event: &Arc<Event>, place: Option<Place>) {
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
                    self.outbox.event(&self.head, event);
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
            State::Overrun | State::Ended => {}
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
            self.metrics.req_closed(refusal.prefix).inc();
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
                let slots = self.slots.read();
                for slot in &wanted {
                    if let Some(Some(subscriber)) = slots.entries.get(slot.0 as usize) {
                        subscriber.live(&event, place);
                    }
                }
                drop(slots);
                self.metrics.deliveries.inc_by(wanted.len() as u64);
            }
            Delivery::Released(slot) => self.release(slot),
            Delivery::Ended(slot, refusal) => self.end(slot, &refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use heliograph_bus::CommitNumber;
    use heliograph_protocol::{EoseHint, Kind, PublicKey, Signature, Timestamp};
    use prometheus_client::registry::Registry;

    use super::*;

    /// One subscription of a gateway.
    struct Bed {
        hub: Hub,
        slot: Slot,
        subscriber: Arc<Subscriber>,
        outbox: Arc<Outbox>,
    }

    impl Bed {
        fn new() -> Self {
            let hub = Hub::new(Arc::new(Metrics::register(&mut Registry::default())));
            let outbox = Arc::new(Outbox::new(1 << 20, None));
            let id = SubscriptionId::new("s");
            let subscriber = Arc::new(Subscriber::new(&id, Arc::clone(&outbox)));
            let slot = hub.allot(Arc::clone(&subscriber));
            Self {
                hub,
                slot,
                subscriber,
                outbox,
            }
        }

        fn live(&self, event: &Arc<Event>, number: u64, index: u32) {
            let number = CommitNumber(number);
            self.hub.deliver(Delivery::Event {
                event: Arc::clone(event),
                place: Some(Place { number, index }),
                slots: vec![self.slot],
            });
        }

        fn go_live(&self, applied: u64, fresh: &[&Arc<Event>], sent: &[&Arc<Event>]) {
            self.go_live_without(&[], applied, fresh, sent);
        }

        fn go_live_without(
            &self,
            gone: &[&Arc<Event>],
            applied: u64,
            fresh: &[&Arc<Event>],
            sent: &[&Arc<Event>],
        ) {
            let ids = |events: &[&Arc<Event>]| events.iter().map(|event| *event.id()).collect();
            let eose = Eose {
                hint: EoseHint::None,
                applied: CommitNumber(applied),
                fresh: ids(fresh),
                gone: ids(gone),
            };
            let mut sent = sent.iter().map(|event| *event.id()).collect();
            let gone_live = self.subscriber.go_live(b"EOSE".to_vec(), eose, &mut sent);
            assert_eq!(gone_live, Ok(()));
        }

        /// The marks of what was sent since the last call, in order.
        #[track_caller]
        fn check(&self, expected: &str) {
            let mut out = Vec::new();
            self.outbox.take(&mut out, usize::MAX);
            let text = String::from_utf8_lossy(&out).into_owned();
            let marks = ["EOSE", "CLOSED", "note-a", "note-b", "note-c"];
            let mut found: Vec<_> = marks
                .iter()
                .flat_map(|mark| text.match_indices(mark))
                .collect();
            found.sort_unstable();
            let found: Vec<_> = found.into_iter().map(|(_, mark)| mark).collect();
            assert_eq!(found.join(" "), expected);
        }
    }

    fn note(content: &str) -> Arc<Event> {
        event(1, 1, content)
    }

    /// A version of a profile.
    fn profile(created_at: u64, content: &str) -> Arc<Event> {
        event(0, created_at, content)
    }

    fn event(kind: u16, created_at: u64, content: &str) -> Arc<Event> {
        let tags: [Vec<&str>; 0] = [];
        let sign = |_: &_| Signature::new([0; 64]);
        let key = PublicKey::new([1; 32]);
        let (at, kind) = (Timestamp::from_secs(created_at), Kind::new(kind));
        Arc::new(Event::build(key, at, kind, &tags, content, sign))
    }

    fn notes() -> [Arc<Event>; 3] {
        ["note-a", "note-b", "note-c"].map(note)
    }

    #[test]
    fn what_was_held_back_and_is_stored_goes_out_once() {
        let bed = Bed::new();
        let [a, b, _] = notes();
        bed.live(&a, 1, 0);
        bed.live(&b, 1, 1);
        // The question was asked again, and the other matcher delivered the same.
        bed.live(&b, 1, 1);
        bed.check("");
        bed.go_live(1, &[], &[&a]);
        bed.check("EOSE note-b");
    }

    /// It was deleted before the question was asked, and came live at a matcher that was behind.
    #[test]
    fn what_was_held_back_and_is_gone_does_not_come_live() {
        let bed = Bed::new();
        let [gone, beyond_the_limit, later] = notes();
        bed.live(&gone, 3, 0);
        bed.live(&beyond_the_limit, 4, 1);
        bed.go_live_without(&[&gone], 4, &[], &[]);
        bed.live(&gone, 3, 0);
        bed.live(&later, 5, 0);
        bed.check("EOSE note-b note-c");
    }

    #[test]
    fn a_place_that_was_delivered_is_not_delivered_by_another_matcher() {
        let bed = Bed::new();
        let [a, b, c] = notes();
        bed.go_live(4, &[], &[]);
        bed.live(&a, 4, 3);
        bed.check("EOSE");
        bed.live(&a, 5, 1);
        bed.live(&a, 5, 1);
        bed.live(&b, 5, 0);
        bed.live(&c, 5, 2);
        bed.check("note-a note-c");
    }

    #[test]
    fn what_was_held_back_counts_as_delivered() {
        let bed = Bed::new();
        let [a, b, _] = notes();
        bed.live(&a, 6, 0);
        bed.go_live(5, &[], &[]);
        bed.live(&a, 6, 0);
        bed.live(&b, 6, 1);
        bed.check("EOSE note-a note-b");
    }

    #[test]
    fn a_fresh_event_of_the_stored_part_is_dropped_when_it_is_announced() {
        let bed = Bed::new();
        let [a, b, _] = notes();
        bed.go_live(5, &[&a], &[&a]);
        bed.live(&b, 6, 0);
        bed.live(&a, 7, 0);
        bed.check("EOSE note-b");
    }

    #[test]
    fn a_version_that_the_stored_part_has_superseded_is_not_sent_after_it() {
        let bed = Bed::new();
        let (old, new) = (profile(1, "note-a"), profile(2, "note-b"));
        let newest = profile(3, "note-c");
        bed.live(&old, 1, 0);
        bed.live(&new, 1, 1);
        assert!(bed.subscriber.stored(&new));
        bed.live(&newest, 1, 2);
        bed.go_live(1, &[], &[&new]);
        bed.check("note-b EOSE note-c");
    }

    #[test]
    fn a_version_that_a_fresh_event_beats_is_not_sent_after_it() {
        let bed = Bed::new();
        let (old, new) = (profile(1, "note-a"), profile(2, "note-b"));
        assert!(bed.subscriber.stored(&new));
        bed.go_live(5, &[&new], &[&new]);
        bed.live(&old, 6, 0);
        bed.live(&new, 6, 1);
        bed.live(&profile(3, "note-c"), 7, 0);
        bed.check("note-b EOSE note-c");
    }

    #[test]
    fn a_subscription_that_its_matcher_lost_is_closed_once() {
        let bed = Bed::new();
        let [a, ..] = notes();
        bed.go_live(5, &[], &[]);
        let refusal = Refusal::error("lost");
        bed.hub.deliver(Delivery::Ended(bed.slot, refusal.clone()));
        bed.hub.deliver(Delivery::Ended(bed.slot, refusal));
        bed.live(&a, 6, 0);
        bed.check("EOSE CLOSED");
        assert!(bed.subscriber.is_ended());
    }
}
