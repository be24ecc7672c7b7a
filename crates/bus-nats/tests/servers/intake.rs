//! Workers: what comes to whom, and comes again.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use heliograph_bus::{
    Bus as _, BusError, IfStored, Intake as _, IntakeItem as _,
    conformance::{all, event, next_items, note, receipt, soon},
};
use heliograph_bus_nats::NatsOptions;
use heliograph_protocol::Outcome;
use tokio::time::timeout;

use crate::bed::{Bed, block_on, options, other, until};

#[test]
fn a_message_whose_worker_died_comes_to_another() {
    check_heir(&options(), IfStored::Elsewhere);
}

#[test]
fn a_message_that_comes_to_another_worker_late_may_have_been_stored_and_not_announced() {
    let options = options();
    let options = NatsOptions {
        fresh_max: options.ack_wait / 2,
        ..options
    };
    check_heir(&options, IfStored::Unknown);
}

/// A worker dies with a message that it announced; what its heir is told.
#[track_caller]
fn check_heir(options: &NatsOptions, if_stored: IfStored) {
    block_on(async {
        let gateway = Bed::open(options.clone()).await;
        let dying = Bed::open(other(options, "ingest-0")).await;
        let mut first = dying.intake();
        let worker = async {
            let items = next_items(&mut first, 10).await;
            assert_eq!(items[0].if_stored(), IfStored::Elsewhere);
            // Committed, but neither answered nor acknowledged.
            let changes = vec![heliograph_bus::Committed::Winner(note(1))];
            assert!(dying.commit(changes).await.is_ok());
            dying.client().drain().await.unwrap();
            let heir = Bed::open(other(options, "ingest-1")).await;
            let mut second = heir.intake();
            for item in next_items(&mut second, 10).await {
                assert_eq!(item.event(), &note(1));
                assert_eq!(item.if_stored(), if_stored);
                item.answer(Ok(receipt(Outcome::Duplicate, 2)));
            }
            (items, heir)
        };
        let (answer, _kept) = tokio::join!(soon("the receipt", gateway.publish(note(1))), worker);
        assert_eq!(answer, Ok(receipt(Outcome::Duplicate, 2)));
    });
}

#[test]
fn a_message_stays_with_a_worker_that_takes_its_time() {
    block_on(async {
        let options = options();
        let (slow, idle) = (
            Bed::open(options.clone()).await,
            Bed::open(other(&options, "ingest-1")).await,
        );
        let (mut first, mut second) = (slow.intake(), idle.intake());
        let worker = async {
            let mut items = next_items(&mut first, 10).await;
            let others = timeout(options.ack_wait * 3, second.next(10)).await;
            assert!(others.is_err(), "it came to another worker");
            items.remove(0).answer(Ok(receipt(Outcome::Stored, 1)));
        };
        let (answer, ()) = tokio::join!(soon("the receipt", slow.publish(note(1))), worker);
        assert_eq!(answer, Ok(receipt(Outcome::Stored, 1)));
        until("acknowledged", || {
            slow.metric("ingest_working_messages") == 0.0
        })
        .await;
    });
}

#[test]
fn what_is_answered_is_not_delivered_again() {
    block_on(async {
        let options = options();
        let bed = Bed::open(options.clone()).await;
        bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
        let answers = all((0..50).map(|n| bed.publish(note(n)))).await;
        assert!(answers.iter().all(Result::is_ok));
        tokio::time::sleep(options.ack_wait * 2).await;
        assert_eq!(bed.metric("ingest_redeliveries_total"), 0.0);
        let stream = format!("{}_events", options.cluster);
        let stream = bed.context().get_stream(stream).await.unwrap();
        assert_eq!(stream.cached_info().state.messages, 0, "a work queue");
    });
}

/// Else a worker that dies between the two leaves publishers without an answer.
#[test]
fn receipts_go_out_before_the_acknowledgement() {
    block_on(async {
        let options = options();
        let bed = Bed::open(options.clone()).await;
        let receipts = format!("{}.receipts.", options.cluster);
        let acknowledgements = format!("$JS.ACK.{}_events.", options.cluster);
        // One subscription to everything has the order in which the server took it.
        let spy = Bed::open(other(&options, "spy")).await;
        let mut heard = spy.client().subscribe(">").await.unwrap();
        spy.client().flush().await.unwrap();
        bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
        for n in 0..20 {
            assert!(soon("the receipt", bed.publish(note(n))).await.is_ok());
            let (mut answered, mut last) = (false, false);
            while !last {
                let message = soon("an acknowledgement", heard.next()).await.unwrap();
                answered |= message.subject.starts_with(&receipts);
                last = message.subject.starts_with(&acknowledgements)
                    && message.payload.starts_with(b"+ACK");
            }
            assert!(answered, "the batch was acknowledged first");
        }
    });
}

#[test]
fn gateways_get_their_own_receipts_from_any_worker() {
    block_on(async {
        let options = options();
        let beds =
            Bed::open_each(&options, ["gateway-0", "gateway-1", "ingest-0", "ingest-1"]).await;
        for ingest in &beds[2..] {
            ingest.work(|event| Ok(receipt(Outcome::Stored, event.created_at().as_secs())));
        }
        let publish = (0..2_000).map(|n| {
            let gateway = &beds[n as usize % 2];
            async move {
                let event = note(n);
                let secs = event.created_at().as_secs();
                (gateway.publish(event).await, secs)
            }
        });
        for (answer, secs) in soon("receipts", all(publish)).await {
            assert_eq!(answer, Ok(receipt(Outcome::Stored, secs)));
        }
        assert_eq!(
            beds[0].metric("bus_receipts_unclaimed_total"),
            0.0,
            "others' receipts"
        );
    });
}

/// A store that refuses the whole batch in which one event is.
fn refuse_batches_with(bed: &Bed, poison: &str) {
    let (mut intake, poison) = (bed.intake(), poison.to_owned());
    bed.tasks.spawn("test worker", async move {
        while let Some(items) = intake.next(1_000).await {
            let poisoned = items.iter().any(|item| item.event().content() == poison);
            for item in items {
                item.answer(if poisoned {
                    Err(BusError::Store("poisoned".to_owned()))
                } else {
                    Ok(receipt(Outcome::Stored, 1))
                });
            }
        }
    });
}

#[test]
fn one_event_that_can_not_be_stored_takes_no_others_with_it() {
    block_on(async {
        let mut options = options();
        options.deliveries_max = 6;
        let bed = Bed::open(options).await;
        let events: Vec<_> = (0..100)
            .map(|n| event(n, 1, if n == 50 { "poison" } else { "" }))
            .collect();
        let publish = all(events.iter().map(|event| bed.publish(Arc::clone(event))));
        refuse_batches_with(&bed, "poison");
        let answers = soon("receipts", publish).await;
        for (n, answer) in answers.into_iter().enumerate() {
            if n == 50 {
                assert_eq!(answer, Err(BusError::Store("poisoned".to_owned())));
            } else {
                assert_eq!(answer, Ok(receipt(Outcome::Stored, 1)), "event {n}");
            }
        }
        let letters = bed.dead_letters().list(0, 10).await.unwrap();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].events, [(*events[50].id(), events[50].kind())]);
        assert_eq!(bed.metric(r#"dead_letter_total{reason="refused"}"#), 1.0);
    });
}

#[test]
fn a_worker_waits_without_missing_a_beat() {
    block_on(async {
        let bed = Bed::open(options()).await;
        bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
        soon("the first", bed.publish(note(0))).await.unwrap();
        // Longer than the heartbeats of a request, so that it is one that waited.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut times = Vec::new();
        for n in 1..=50 {
            let started = tokio::time::Instant::now();
            soon("a receipt", bed.publish(note(n))).await.unwrap();
            times.push(started.elapsed());
        }
        times.sort();
        println!(
            "publish to receipt: p50 {:?}, max {:?}",
            times[25], times[49]
        );
        // A timer anywhere would show as its interval; this machine may be busy.
        assert!(times[25] < Duration::from_millis(25), "{times:?}");
    });
}

#[test]
fn a_closed_intake_leaves_what_waits_to_others() {
    block_on(async {
        let options = options();
        let bed = Bed::open(options.clone()).await;
        let mut closing = bed.intake();
        // Its request is with the server.
        assert!(
            timeout(Duration::from_millis(200), closing.next(10))
                .await
                .is_err()
        );
        bed.close_intake();
        assert!(soon("the end", closing.next(10)).await.is_none());
        drop(closing);
        until("the end of its tasks", || {
            !bed.tasks.left().to_string().contains("bus progress")
        })
        .await;
        let heir = Bed::open(other(&options, "ingest-1")).await;
        heir.work(|_| Ok(receipt(Outcome::Stored, 1)));
        let answer = soon("the receipt", bed.publish(note(1))).await;
        assert_eq!(answer, Ok(receipt(Outcome::Stored, 1)));
        assert_eq!(heir.metric("ingest_redeliveries_total"), 0.0);
    });
}

#[test]
fn ingest_shows_how_far_it_is_behind() {
    block_on(async {
        let mut options = options();
        options.durability = heliograph_bus_nats::Durability::Quorum;
        options.quorum_with_few_replicas = true;
        let bed = Bed::open(options).await;
        for n in 0..3 {
            bed.publish(note(n)).await.unwrap();
        }
        let mut intake = bed.intake();
        let items = next_items(&mut intake, 1).await;
        until("lag", || {
            bed.metric("ingest_oldest_unacked_seconds") > 0.0
                && bed.metric("ingest_unacked_messages") >= 1.0
                && bed.metric(r#"bus_stream_messages{stream="events"}"#) >= 1.0
        })
        .await;
        let bytes = bed.metric(r#"bus_stream_bytes{stream="events"}"#);
        let max_bytes = bed.metric(r#"bus_stream_max_bytes{stream="events"}"#);
        assert!(0.0 < bytes && bytes < max_bytes, "{bytes} of {max_bytes}");
        let behind = bed.metric(r#"bus_stream_replicas_behind{stream="committed"}"#);
        assert_eq!(behind, 0.0);
        let looked = bed.metric("ingest_looked_timestamp_seconds");
        let now = heliograph_telemetry::unix_micros() as f64 / 1e6;
        assert!((now - 60.0..=now).contains(&looked), "{looked} at {now}");
        drop(items);
    });
}
