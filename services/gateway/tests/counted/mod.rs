//! What a gateway counts, where it happens.

use std::sync::Arc;

use heliograph_bus::{CommitNumber, IntakeItem as _, Receipt};
use heliograph_protocol::{Event, Origin, Outcome, TraceContext};
use heliograph_telemetry::unix_micros;
use heliograph_testkit::{
    client::{Client, query},
    keys::Key,
    websocket::WebSocket,
};
use serde_json::json;

use crate::bed::{Bed, GATED, LIVE, big_note, note, until};

/// A note that a gateway read so many microseconds ago.
fn received_ago(n: u64, micros: u64, trace: Option<TraceContext>) -> Arc<Event> {
    let event = Event::clone(&note(n));
    Arc::new(event.with_origin(Origin::new(unix_micros() - micros, trace)))
}

#[test]
fn live_events_say_how_long_they_took_and_stored_ones_do_not() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    client.send_req("sub", &[json!({"kinds": [GATED]})]);
    client.next_event("sub");
    // It comes before EOSE, so the stored part is what it waits for.
    bed.live(&received_ago(1, 2_000_000, None));
    bed.matcher.open_gate();
    client.stored("sub");
    client.next_event("sub");
    for (n, micros) in [(2, 60_000_000), (3, 2_000_000)] {
        bed.live(&received_ago(n, micros, None));
        client.next_event("sub");
    }
    // Nobody knows when this one was read, and the clock that read the last is ahead.
    bed.live(&note(4));
    let ahead = Origin::new(unix_micros() + 60_000_000, None);
    bed.live(&Arc::new(Event::clone(&note(5)).with_origin(ahead)));
    client.next_event("sub");
    client.next_event("sub");
    bed.counts(r#"delivery_seconds_count{reader="ok",traced="no"}"#, 3.0);
    let up_to = |le| {
        bed.metric(&format!(
            r#"delivery_seconds_bucket{{le="{le}",reader="ok",traced="no"}}"#
        ))
    };
    assert_eq!(up_to("0.0001"), 1.0, "0 where a clock is ahead");
    assert_eq!(up_to("1.0"), 1.0);
    assert_eq!(up_to("10.0"), 2.0);
    assert_eq!(up_to("30.0"), 2.0);
    assert_eq!(bed.metric("deliveries_total"), 5.0);
}

#[test]
fn a_traced_event_is_followed_to_eight_receivers() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    for n in 0..10 {
        client.req(&format!("sub-{n}"), &[json!({"kinds": [LIVE]})]);
    }
    let trace = TraceContext {
        trace_id: [7; 16],
        span_id: [1; 8],
    };
    bed.live(&received_ago(1, 2_000_000, Some(trace)));
    (0..10).for_each(|_| drop(client.next_reply()));
    bed.counts(r#"delivery_seconds_count{reader="ok",traced="yes"}"#, 8.0);
    bed.counts(r#"delivery_seconds_count{reader="ok",traced="no"}"#, 2.0);
    assert_eq!(
        bed.metric(r#"delivery_seconds_bucket{le="5.0",reader="ok",traced="yes"}"#),
        8.0
    );
}

#[test]
fn a_req_counts_once_by_what_ended_its_stored_part() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    client.req("eose", &[json!({"kinds": [LIVE]})]);
    bed.counts(r#"req_total{result="eose"}"#, 1.0);
    bed.counts(r#"req_eose_seconds_count{plan="recent"}"#, 1.0);
    bed.counts("subscriptions", 1.0);

    client.send_req("ended", &[json!({"kinds": [GATED]})]);
    client.next_event("ended");
    bed.counts("query_inflight", 1.0);
    client.send(r#"["CLOSE","ended"]"#);
    bed.counts(r#"req_total{result="ended"}"#, 1.0);
    bed.counts("query_inflight", 0.0);
    bed.counts("req_first_event_seconds_count", 1.0);

    let filters = vec![json!({}); 1_000];
    client.send_req("closed", &filters);
    client.closed("closed");
    bed.counts(r#"req_total{result="closed"}"#, 1.0);
    bed.counts(r#"limit_rejections_total{limit="filters"}"#, 1.0);
    bed.counts(r#"reqs_closed_total{reason="blocked"}"#, 1.0);

    client.send_req("left", &[json!({"kinds": [GATED]})]);
    client.next_event("left");
    drop(client);
    bed.counts(r#"req_total{result="ended"}"#, 2.0);
    bed.counts("subscriptions", 0.0);
}

#[test]
fn an_event_counts_once_by_its_kind_and_once_by_its_answer() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    let receipt = |outcome| {
        Ok(Receipt {
            outcome,
            commit: CommitNumber(1),
        })
    };
    let outcomes = [Outcome::Stored, Outcome::Duplicate, Outcome::Superseded];
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let event = Key::nth(0).sign(1_000 + n as u64, 30_023, &[&["d", "a"]], "");
        client.send_event(&event);
        bed.next_published().answer(receipt(outcome));
        client.ok(&event.id().to_hex());
    }
    bed.counts(r#"events_received_total{kind_class="long_form"}"#, 3.0);
    let result = |result: &str, reason: &str| {
        bed.metric(&format!(
            r#"events_result_total{{result="{result}",reason="{reason}"}}"#
        ))
    };
    assert_eq!(result("accepted", "stored"), 1.0);
    assert_eq!(result("accepted", "duplicate"), 1.0);
    assert_eq!(result("refused", "duplicate"), 1.0);
    assert_eq!(
        bed.metric(r#"publish_ok_seconds_count{durability="fsync"}"#),
        2.0
    );
    assert_eq!(bed.metric("verify_seconds_count"), 3.0);
}

#[test]
fn an_event_of_a_connection_that_is_closed_before_the_answer_is_unanswered() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    client.send_event(&Key::nth(0).note(1, "never answered"));
    let item = bed.next_published();
    client.socket.write(&[0xff, 0xff]).unwrap();
    assert_eq!(client.socket.read_close().0, 1002);
    bed.counts(
        r#"events_result_total{result="unanswered",reason="closed"}"#,
        1.0,
    );
    bed.counts(
        r#"connections_closed_total{code="1002",reason="protocol"}"#,
        1.0,
    );
    drop(item);
}

#[test]
fn a_slow_reader_counts_where_it_is_closed_with_what_waited_for_it() {
    let bed = Bed::new();
    let mut slow = WebSocket::connect_narrow(bed.address, 4_096);
    slow.send_text(&query("REQ", "slow", &[json!({"kinds": [LIVE]})]));
    until("it is open", || bed.matcher.open_slots() == 1);
    for n in 0.. {
        if bed.matcher.open_slots() == 0 {
            break;
        }
        bed.live(&big_note(n));
    }
    bed.counts(r#"slow_consumer_total{action="close"}"#, 1.0);
    bed.counts(
        r#"connections_closed_total{code="1008",reason="slow"}"#,
        1.0,
    );
    bed.counts("connection_age_seconds_count", 1.0);
    let large = bed.metric("outbound_queue_bytes_count")
        - bed.metric(r#"outbound_queue_bytes_bucket{le="262144.0"}"#);
    assert!(large >= 1.0, "four times the outbox is 262,144 bytes");
}

#[test]
fn an_answer_that_holds_back_too_much_counts_as_dropped() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    client.send_req("sub", &[json!({"kinds": [GATED]})]);
    client.next_event("sub");
    // An outbox has room for 64 KiB.
    (0..5).for_each(|n| bed.live(&big_note(n)));
    bed.matcher.open_gate();
    client.next_event("sub");
    assert!(client.closed("sub").starts_with("error: "));
    bed.counts(r#"slow_consumer_total{action="drop"}"#, 1.0);
    bed.counts(r#"req_total{result="closed"}"#, 1.0);
    // The reader is the cause, so it isn't among the errors.
    bed.counts(r#"reqs_closed_total{reason="overrun"}"#, 1.0);
    bed.counts(r#"reqs_closed_total{reason="error"}"#, 0.0);
}
