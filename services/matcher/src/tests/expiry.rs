//! Events that expire on their way to a subscription (R40-2).

use std::sync::atomic::{AtomicU64, Ordering};

use heliograph_bus::{Resume, Resumed};
use heliograph_protocol::Timestamp;

use super::*;

fn expiring(at: u64, kind: u16, end: u64) -> Arc<Event> {
    event(1, at, kind, &[&["expiration", &end.to_string()]], "")
}

/// A matcher whose clock shows what is in the number.
fn clocked() -> (Bed, Arc<AtomicU64>) {
    let (bed, clock) = (Bed::new(), Arc::new(AtomicU64::new(100)));
    let shown = Arc::clone(&clock);
    bed.matcher.set_clock(Box::new(move || {
        Timestamp::from_secs(shown.load(Ordering::Relaxed))
    }));
    (bed, clock)
}

#[tokio::test]
async fn an_event_that_was_over_when_it_was_committed_is_not_delivered() {
    let (bed, _clock) = clocked();
    bed.req(&["{}"], anyone()).await;
    let (over, left) = (expiring(10, 1, 100), expiring(11, 1, 101));
    let typing = [expiring(12, 20_001, 100), expiring(13, 20_001, 101)];
    bed.publish(&over).await;
    bed.publish(&left).await;
    for typing in &typing {
        bed.matcher.apply(FeedItem::Ephemeral(Arc::clone(typing)));
    }
    let [_over, typing] = typing;
    let slots = vec![Slot(0)];
    assert_eq!(
        *bed.delivered.lock(),
        [(left, slots.clone()), (typing, slots)]
    );
}

#[tokio::test]
async fn what_expired_meanwhile_is_no_part_of_what_a_subscription_missed() {
    let (bed, clock) = clocked();
    let events = [expiring(10, 1, 150), event(1, 11, 1, &[], "stays")];
    for event in &events {
        bed.publish(event).await;
    }
    clock.store(150, Ordering::Relaxed);
    let resumed = Resumed {
        slot: Slot(7),
        connection: ConnectionId(1),
        filters: vec![Filter::default()],
        reader: Arc::default(),
    };
    let resume = Resume {
        from: CommitNumber(0),
        subscriptions: vec![resumed],
    };
    bed.matcher.resume(resume).await.unwrap();
    let [_over, stays] = events;
    assert_eq!(*bed.delivered.lock(), [(stays, vec![Slot(7)])]);
}
