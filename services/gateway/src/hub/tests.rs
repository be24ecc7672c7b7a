//! What reaches the outbox of a subscription, in which order.

use heliograph_bus::CommitNumber;
use heliograph_protocol::{EoseHint, Kind, PublicKey, Signature, Timestamp};
use prometheus_client::registry::Registry;

use super::*;
use crate::{Durability, budget::Budget};

/// One subscription of a gateway.
struct Bed {
    hub: Hub,
    slot: Slot,
    subscriber: Arc<Subscriber>,
    outbox: Arc<Outbox>,
}

impl Bed {
    fn new() -> Self {
        let hub = Hub::new(Arc::new(Metrics::register(
            &mut Registry::default(),
            Durability::Fsync,
        )));
        let outbox = Outbox::new(1 << 20, None, &Budget::new(1 << 24));
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
            archive: false,
        };
        let mut sent = sent.iter().map(|event| *event.id()).collect();
        let gone_live = self.subscriber.go_live(b"EOSE".to_vec(), eose, &mut sent);
        assert_eq!(gone_live, Ok(true));
    }

    /// The marks of what was sent since the last call, in order.
    #[track_caller]
    fn check(&self, expected: &str) {
        let mut out = Vec::new();
        self.outbox.take(&mut out, usize::MAX, || 0);
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
