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

#[tokio::test(start_paused = true)]
async fn a_matcher_that_lags_takes_over_once_it_has_caught_up_however_long_that_takes() {
    let bed = Bed::new();
    let notes = notes(&bed, 1).await;
    *bed.commits.lock() = 10;
    let resuming = bed.matcher.resume(resume(9, "{}"));
    let apply = async {
        for number in 2..=10 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            bed.announce(number, Committed::Winner(Arc::clone(&notes[0])));
        }
    };
    let (resumed, ()) = tokio::join!(resuming, apply);
    resumed.unwrap();
    let live = event(1, 99, 1, &[], "live");
    bed.publish(&live).await;
    check(&bed, &[&live]);
}

#[tokio::test(start_paused = true)]
async fn a_matcher_that_gets_no_further_refuses() {
    let bed = Bed::new();
    notes(&bed, 1).await;
    *bed.commits.lock() = 2;
    let refusal = bed.matcher.resume(resume(2, "{}")).await.unwrap_err();
    assert_eq!(refusal.prefix, Prefix::Error);
}

#[tokio::test]
async fn a_number_that_the_stream_never_had_is_refused_at_once() {
    let bed = Bed::new();
    notes(&bed, 1).await;
    let refusal = bed.matcher.resume(resume(2, "{}")).await.unwrap_err();
    assert_eq!(refusal.prefix, Prefix::Error);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_can_not_be_read_for_a_while_is_waited_for() {
    let bed = forgetful();
    let notes = notes(&bed, 2).await;
    bed.history.failing.send_replace(true);
    let resuming = bed.matcher.resume(resume(1, "{}"));
    let mend = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        bed.history.failing.send_replace(false);
    };
    let (resumed, ()) = tokio::join!(resuming, mend);
    resumed.unwrap();
    check(&bed, &[&notes[1]]);
    bed.history.failing.send_replace(true);
    let refusal = bed.matcher.resume(resume(1, "{}")).await.unwrap_err();
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

/// A matcher whose recent tier covers everything; it read `note` from the archive at its start if so
/// desired, and none of the announcements.
async fn warm(bed: Bed, note: Option<&Arc<Event>>) -> Bed {
    if let Some(note) = note {
        bed.store.write(vec![Arc::clone(note)]).await.unwrap();
    }
    while !bed.matcher.recent().warm_step(100).await.unwrap() {}
    bed
}

#[tokio::test]
async fn an_event_that_another_worker_stored_is_seen_at_once_and_delivered_when_it_is_announced() {
    let note = event(1, 10, 1, &[], "note");
    for read in [None, Some(&note)] {
        let bed = warm(Bed::new(), read).await;
        bed.req(&["{}"], anyone()).await;
        bed.announce(1, Committed::Again(Arc::clone(&note)));
        let answer = bed.req(&["{}"], anyone()).await;
        assert_eq!(answer.0, [Arc::clone(&note)]);
        assert!(bed.delivered.lock().is_empty());
        bed.announce(2, Committed::Winner(Arc::clone(&note)));
        bed.announce(3, Committed::Again(Arc::clone(&note)));
        bed.announce(4, Committed::Winner(Arc::clone(&note)));
        assert_eq!(*bed.delivered.lock(), [(Arc::clone(&note), vec![Slot(0)])]);
    }
}

#[tokio::test]
async fn who_was_shown_an_event_before_its_announcement_is_told_that_it_may_still_come() {
    let note = event(1, 10, 1, &[], "note");
    let bed = warm(Bed::new(), None).await;
    *bed.unknown_horizon.lock() = true;
    bed.announce(1, Committed::Again(Arc::clone(&note)));
    let fresh = async || match bed.req(&["{}"], anyone()).await.1 {
        AnswerEnd::Eose(eose) => eose.fresh,
        AnswerEnd::Closed(refusal) => panic!("{refusal}"),
    };
    assert_eq!(fresh().await, [*note.id()]);
    bed.announce(2, Committed::Winner(Arc::clone(&note)));
    assert!(fresh().await.is_empty());
}

/// A worker died behind its store, another one found the event there and said so, the batch of the
/// first came to a third, which announced it, and died before it acknowledged; so it is announced
/// once more, much later.
#[tokio::test]
async fn every_matcher_delivers_an_event_at_one_place_however_often_workers_announce_it() {
    let note = event(1, 10, 1, &[], "note");
    let filler = event(2, 10, 1, &[], "filler");
    let mut stream = vec![Committed::Again(Arc::clone(&note))];
    stream.push(Committed::Winner(Arc::clone(&note)));
    stream.extend(vec![Committed::Again(filler); 200]);
    stream.push(Committed::Winner(Arc::clone(&note)));
    stream.push(Committed::Again(Arc::clone(&note)));
    for (bytes, read) in [(1 << 20, false), (0, false), (1 << 20, true), (0, true)] {
        let bed = Bed::build(Budget::UNLIMITED, Budget::UNLIMITED, bytes);
        let bed = warm(bed, read.then_some(&note)).await;
        for (number, change) in (1..).zip(&stream) {
            bed.announce(number, change.clone());
        }
        // Its place is 2: who has that has it, who hasn't gets it.
        for (from, times) in [(0, 1), (1, 1), (2, 0), (100, 0), (202, 0), (203, 0)] {
            bed.delivered.lock().clear();
            let filter = format!(r#"{{"ids":["{}"]}}"#, note.id().to_hex());
            bed.matcher.resume(resume(from, &filter)).await.unwrap();
            let got = bed.delivered.lock().len();
            assert_eq!(
                got, times,
                "from {from}, {bytes} bytes, read before: {read}"
            );
            bed.matcher.close(Slot(7));
        }
    }
}

#[tokio::test]
async fn what_the_stream_has_and_the_matcher_has_not_applied_yet_comes_live() {
    let bed = forgetful();
    let notes = notes(&bed, 2).await;
    let next = event(1, 99, 1, &[], "next");
    let batch = vec![Committed::Winner(Arc::clone(&next))];
    bed.history.kept.lock().push((CommitNumber(3), batch));
    bed.matcher.resume(resume(1, "{}")).await.unwrap();
    check(&bed, &[&notes[1]]);
    bed.publish(&next).await;
    check(&bed, &[&notes[1], &next]);
}

#[tokio::test]
async fn what_was_beaten_meanwhile_is_left_out_whether_it_comes_from_memory_or_from_the_stream() {
    for bed in [Bed::new(), forgetful()] {
        let (old, new) = (event(1, 10, 0, &[], "old"), event(1, 11, 0, &[], "new"));
        let note = event(1, 12, 1, &[], "to be deleted");
        let deletion = event(1, 13, 5, &[&["e", &note.id().to_hex()]], "");
        for event in [&old, &note, &new, &deletion] {
            bed.publish(event).await;
        }
        bed.matcher.resume(resume(0, "{}")).await.unwrap();
        check(&bed, &[&new, &deletion]);
    }
}

#[tokio::test]
async fn many_subscriptions_that_go_on_hold_nobody_up() {
    let bed = Bed::new();
    notes(&bed, 2).await;
    let authors = (0..500).map(|n| format!(r#""{n:064x}""#));
    let authors = authors.collect::<Vec<_>>().join(",");
    let mut many = resume(1, "{}");
    let mine = many.subscriptions.remove(0);
    for slot in 100..200 {
        // Each its own list.
        let feed = format!(r#"{{"authors":["{slot:0>64}",{authors}],"kinds":[1]}}"#);
        many.subscriptions.push(Resumed {
            slot: Slot(slot),
            filters: vec![Filter::parse(&feed).unwrap()],
            ..mine.clone()
        });
    }
    many.subscriptions.push(mine);
    let live = event(1, 99, 1, &[], "live");
    let resuming = bed.matcher.resume(many);
    // Published while the filters are being filed: delivered to the resumed ones in its turn.
    let publish = async {
        let filed = bed.matcher.index_stats().subscriptions;
        bed.publish(&live).await;
        filed
    };
    let (resumed, filed) = tokio::join!(resuming, publish);
    resumed.unwrap();
    assert!((1..100).contains(&filed), "{filed} were filed in one go");
    let delivered = bed.delivered.lock().clone();
    let delivered: Vec<_> = delivered.iter().map(|(event, _)| event.content()).collect();
    assert_eq!(delivered, ["2", "live"]);
    bed.publish(&event(1, 100, 1, &[], "later")).await;
    assert_eq!(bed.delivered.lock().len(), 3);
}

#[tokio::test]
async fn a_matcher_that_begins_after_a_quiet_time_answers_and_takes_over() {
    let bed = Bed::new();
    bed.matcher.apply(FeedItem::Begins(CommitNumber(1_000)));
    *bed.commits.lock() = 1_000;
    bed.req(&["{}"], anyone()).await;
    bed.matcher.close(Slot(0));
    bed.matcher.resume(resume(1_000, "{}")).await.unwrap();
    let note = event(1, 10, 1, &[], "note");
    bed.publish(&note).await;
    check(&bed, &[&note]);
    bed.matcher.apply(FeedItem::Begins(CommitNumber(1_000)));
    assert_eq!(*bed.matcher.applied().borrow(), CommitNumber(1_001));
    let older = bed.matcher.resume(resume(999, "{}"));
    assert_eq!(older.await.unwrap_err().prefix, Prefix::Error);
}

#[tokio::test]
async fn a_stream_that_was_made_anew_is_no_ground_for_an_answer() {
    let bed = Bed::new();
    notes(&bed, 3).await;
    *bed.commits.lock() = 2;
    let asked = bed.matcher.open(Bed::open(&["{}"], anyone())).await;
    assert_eq!(asked.err(), Some(BusError::NoMatcher));
}
