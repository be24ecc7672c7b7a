//! Subscriptions that were live at another matcher.

use heliograph_bus::{Resume, Resumed};

use super::*;

fn resume(from: u64, filter: &str) -> Resume {
    let resumed = Resumed {
        slot: Slot(7),
        connection: ConnectionId(1),
        filters: vec![Filter::parse(filter).unwrap()],
        reader: Arc::default(),
    };
    Resume {
        from: CommitNumber(from),
        subscriptions: vec![resumed],
    }
}

/// A matcher that holds no events for replay.
fn forgetful() -> Bed {
    Bed::build(Budget::UNLIMITED, Budget::UNLIMITED, 0)
}

#[track_caller]
fn check(bed: &Bed, expected: &[&Arc<Event>]) {
    let delivered = bed.delivered.lock();
    let got: Vec<_> = delivered
        .iter()
        .map(|(event, slots)| (event, slots))
        .collect();
    let slots = vec![Slot(7)];
    let want: Vec<_> = expected.iter().map(|event| (*event, &slots)).collect();
    assert_eq!(got, want);
}

#[tokio::test]
async fn what_came_after_the_last_number_is_delivered_then_what_comes() {
    for bed in [Bed::new(), forgetful()] {
        let notes = notes(&bed, 4).await;
        bed.matcher
            .resume(resume(2, r#"{"kinds":[1]}"#))
            .await
            .unwrap();
        check(&bed, &[&notes[2], &notes[3]]);
        let live = event(1, 99, 1, &[], "live");
        bed.publish(&live).await;
        check(&bed, &[&notes[2], &notes[3], &live]);
    }
}

#[tokio::test]
async fn filters_and_privacy_hold_for_what_was_missed() {
    for bed in [Bed::new(), forgetful()] {
        notes(&bed, 2).await;
        let secret = event(2, 100, 4, &[&["p", &key(3).to_hex()]], "secret");
        bed.publish(&secret).await;
        let reaction = event(2, 101, 7, &[], "+");
        bed.publish(&reaction).await;
        let filter = r#"{"kinds":[4,7]}"#;
        bed.matcher.resume(resume(0, filter)).await.unwrap();
        check(&bed, &[&reaction]);
    }
}

#[tokio::test]
async fn a_version_that_was_replaced_meanwhile_is_left_out_of_old_history() {
    let bed = forgetful();
    let (old, new) = (event(1, 10, 0, &[], "old"), event(1, 11, 0, &[], "new"));
    bed.publish(&new).await;
    bed.publish(&old).await;
    bed.matcher.resume(resume(0, "{}")).await.unwrap();
    check(&bed, &[&new]);
}

#[tokio::test]
async fn an_event_that_was_announced_before_is_not_delivered_for_its_second_announcement() {
    let bed = forgetful();
    let note = event(1, 10, 1, &[], "announced twice");
    bed.publish(&note).await;
    bed.publish(&note).await;
    bed.matcher.resume(resume(1, "{}")).await.unwrap();
    check(&bed, &[]);
}

#[tokio::test]
async fn a_stream_that_no_longer_goes_back_ends_the_subscription() {
    let bed = forgetful();
    notes(&bed, 4).await;
    bed.history.kept.lock().drain(..3);
    let refusal = bed.matcher.resume(resume(2, "{}")).await.unwrap_err();
    assert_eq!(refusal.prefix, Prefix::Error);
    bed.publish(&event(1, 99, 1, &[], "live")).await;
    check(&bed, &[]);
}

#[tokio::test]
async fn a_matcher_that_is_behind_the_gateway_refuses() {
    let bed = Bed::new();
    notes(&bed, 1).await;
    let refusal = bed.matcher.resume(resume(2, "{}")).await.unwrap_err();
    assert_eq!(refusal.prefix, Prefix::Error);
}

#[tokio::test]
async fn a_slot_that_is_closed_meanwhile_stays_closed() {
    let bed = forgetful();
    notes(&bed, 3).await;
    bed.history.gate.send_replace(false);
    let resuming = bed.matcher.resume(resume(1, "{}"));
    let close = async {
        let mut readings = bed.history.readings.subscribe();
        drop(readings.wait_for(|readings| *readings > 0).await);
        bed.matcher.close(Slot(7));
        bed.history.gate.send_replace(true);
    };
    let (resumed, ()) = tokio::join!(resuming, close);
    resumed.unwrap();
    bed.publish(&event(1, 99, 1, &[], "live")).await;
    check(&bed, &[]);
}

#[tokio::test]
async fn an_event_that_another_worker_stored_is_delivered_once() {
    let bed = Bed::new();
    while !bed.matcher.recent().warm_step(100).await.unwrap() {}
    bed.req(&["{}"], anyone()).await;
    let note = event(1, 10, 1, &[], "note");
    let again = |number, change: fn(Arc<Event>) -> Committed| {
        bed.matcher.apply(FeedItem::Committed {
            number: CommitNumber(number),
            events: vec![change(Arc::clone(&note))],
        });
    };
    again(1, Committed::Again);
    again(2, Committed::Winner);
    again(3, Committed::Again);
    assert_eq!(*bed.delivered.lock(), [(Arc::clone(&note), vec![Slot(0)])]);
}
