//! Gateways: batches, bounds, durability.

use std::time::Duration;

use heliograph_bus::{
    Bus as _, BusError,
    conformance::{all, event, note, receipt, soon},
};
use heliograph_bus_nats::{Durability, LinkState, NatsError, NatsOptions, OptionsError};
use heliograph_protocol::Outcome;
use tokio::time::timeout;

use crate::bed::{Bed, block_on, options, until};

#[test]
fn a_publisher_that_gives_up_leaves_nothing_behind() {
    block_on(async {
        let bed = Bed::open(options()).await;
        let publish = all((0..10).map(|n| bed.publish(note(n))));
        assert!(timeout(Duration::from_millis(200), publish).await.is_err());
        assert_eq!(bed.metric("bus_pending_receipts"), 0.0);
        assert_eq!(
            bed.metric(r#"bus_receipts_missing_total{reason="abandoned"}"#),
            10.0
        );
        // Their receipts come all the same, for nobody.
        bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
        until("late receipts", || {
            bed.metric("bus_receipts_unclaimed_total") == 10.0
        })
        .await;
    });
}

#[test]
fn a_publisher_without_a_receipt_is_told_in_time() {
    block_on(async {
        let bed = Bed::open(NatsOptions {
            receipt_deadline: Duration::from_millis(100),
            ..options()
        })
        .await;
        assert_eq!(bed.publish(note(1)).await, Err(BusError::TimedOut));
    });
}

#[test]
fn batches_grow_while_one_is_in_flight() {
    block_on(async {
        let bed = Bed::open(options()).await;
        bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
        let publish = all((0..5_000).map(|n| bed.publish(note(n))));
        let answers = soon("receipts", publish).await;
        assert!(answers.iter().all(Result::is_ok));
        let batches = bed.metric("bus_batch_events_count");
        assert!(batches <= 500.0, "{batches} batches of 5,000 events");
    });
}

#[test]
fn large_events_are_spread_over_messages_that_fit() {
    block_on(async {
        let bed = Bed::open(options()).await;
        bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
        let text = "x".repeat(128 << 10);
        let publish = all((0..60).map(|n| bed.publish(event(n, 1, &text))));
        let answers = soon("receipts", publish).await;
        assert!(answers.iter().all(Result::is_ok));
        assert!(bed.metric(r#"bus_batch_bytes_bucket{le="1048576.0"}"#) >= 20.0);
        let larger = bed.metric("bus_batch_bytes_count");
        assert_eq!(
            bed.metric(r#"bus_batch_bytes_bucket{le="1048576.0"}"#),
            larger
        );
    });
}

#[test]
fn an_event_larger_than_a_batch_goes_alone_and_one_larger_than_a_message_is_refused() {
    block_on(async {
        let bed = Bed::open(options()).await;
        bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
        let fits = event(1, 1, &"x".repeat(900 << 10));
        assert!(soon("the receipt", bed.publish(fits)).await.is_ok());
        let too_large = event(2, 1, &"x".repeat(1 << 20));
        let refused = soon("the refusal", bed.publish(too_large)).await;
        assert!(matches!(refused, Err(BusError::Store(_))), "{refused:?}");
    });
}

#[test]
fn a_full_stream_refuses_and_keeps_what_it_has() {
    block_on(async {
        let options = NatsOptions {
            events_bytes_max: 256 << 10,
            publish_deadline: Duration::from_millis(300),
            durability: Durability::Quorum,
            quorum_with_few_replicas: true,
            ..options()
        };
        let bed = Bed::open(options.clone()).await;
        let text = "x".repeat(32 << 10);
        let mut taken = 0;
        let refused = loop {
            assert!(taken < 100, "what isn't in the stream was acknowledged");
            match soon("an answer", bed.publish(event(taken, 1, &text))).await {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused, BusError::Unavailable);
        assert!(
            (4..=8).contains(&taken),
            "{taken} events of 32 KiB in 256 KiB"
        );
        let stream = format!("{}_events", options.cluster);
        let stream = bed.context().get_stream(stream).await.unwrap();
        assert_eq!(stream.cached_info().state.messages, u64::from(taken));
        assert!(bed.metric(r#"bus_publish_retries_total{what="events"}"#) >= 1.0);
    });
}

#[test]
fn quorum_answers_when_the_stream_has_it() {
    block_on(async {
        let bed = Bed::open(NatsOptions {
            durability: Durability::Quorum,
            quorum_with_few_replicas: true,
            ..options()
        })
        .await;
        // Nobody works.
        let answer = soon("the receipt", bed.publish(note(1))).await;
        assert_eq!(answer, Ok(receipt(Outcome::Stored, 0)));
    });
}

#[test]
fn options_that_can_not_hold_are_refused_before_anything_is_made() {
    block_on(async {
        let options = NatsOptions {
            durability: Durability::Quorum,
            ..options()
        };
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics =
            heliograph_bus_nats::Metrics::register(&mut registry, heliograph_bus_nats::Side::All)
                .into();
        let tasks = heliograph_lifecycle::Tasks::new();
        let connected = heliograph_bus_nats::NatsBus::connect(options, metrics, &tasks).await;
        let error = connected.unwrap_err();
        assert!(
            matches!(error, NatsError::Options(OptionsError::Quorum(1))),
            "{error}"
        );
    });
}

#[test]
fn a_second_process_with_other_options_changes_the_streams() {
    block_on(async {
        let options = options();
        let bed = Bed::open(options.clone()).await;
        assert_eq!(bed.state(), LinkState::Up);
        let changed = NatsOptions {
            committed_age_max: Duration::from_secs(600),
            events_bytes_max: 16 << 20,
            ..options.clone()
        };
        let _other = Bed::open(changed).await;
        let config = async |stream: &str| {
            let name = format!("{}_{stream}", options.cluster);
            let stream = bed.context().get_stream(name).await.unwrap();
            stream.cached_info().config.clone()
        };
        assert_eq!(config("committed").await.max_age, Duration::from_secs(600));
        assert_eq!(config("events").await.max_bytes, 16 << 20);
    });
}

#[test]
fn a_closed_bus_takes_no_events_but_sends_what_it_took() {
    block_on(async {
        let bed = Bed::open(options()).await;
        let publish = async {
            // Few enough to be queued before the next is polled.
            let first = all((0..20).map(|n| bed.publish(note(n))));
            let close = async {
                bed.close_publish();
                bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
            };
            tokio::join!(first, close).0
        };
        let answers = soon("receipts", publish).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(bed.publish(note(1)).await, Err(BusError::Closed));
        bed.close(Duration::from_secs(10)).await;
        let left = bed.tasks.wait(Duration::from_secs(10)).await;
        assert_eq!(left.count(), 0, "{left}");
    });
}
