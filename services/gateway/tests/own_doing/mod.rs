//! What a client is itself the cause of: counted, and kept apart from what the relay promises.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use heliograph_protocol::{Event, Origin, TraceContext};
use heliograph_telemetry::unix_micros;
use heliograph_testkit::{
    client::{Client, query},
    websocket::{Handshake, WebSocket},
};
use serde_json::json;

use crate::bed::{Bed, FLOWING, GATED, LIVE, big_note, pause, until};

/// Time that a client takes. Whatever is late by it on a busy machine is told from it by [`IN_TIME`].
const DAWDLING: Duration = Duration::from_secs(3);

/// The bucket for what took less.
const IN_TIME: &str = "2.0";

fn deliveries(bed: &Bed, reader: &str, traced: &str) -> f64 {
    let labels = format!(r#"reader="{reader}",traced="{traced}""#);
    bed.metric(&format!("delivery_seconds_count{{{labels}}}"))
}

/// A large event that a gateway has just read.
fn received(n: u64, trace: Option<TraceContext>) -> Arc<Event> {
    let event = Event::clone(&big_note(n));
    Arc::new(event.with_origin(Origin::new(unix_micros(), trace)))
}

#[test]
fn what_waits_for_a_full_socket_is_a_slow_readers_until_it_has_caught_up() {
    let bed = Bed::patient();
    let mut client = Client::over(WebSocket::connect_narrow(bed.address, 4_096));
    client.req("sub", &[json!({"kinds": [LIVE]})]);
    let counted = || deliveries(&bed, "ok", "no") + deliveries(&bed, "slow", "no");
    let mut sent = 0;
    while deliveries(&bed, "slow", "no") == 0.0 {
        bed.live(&received(sent, None));
        sent += 1;
        until("it is written", || counted() == sent as f64);
    }
    assert!(sent > 1, "an empty socket takes an event");
    let in_time = deliveries(&bed, "ok", "no");
    assert_eq!(in_time, sent as f64 - 1.0, "all but the one that filled it");
    let trace = TraceContext {
        trace_id: [7; 16],
        span_id: [1; 8],
    };
    bed.live(&received(sent, None));
    bed.live(&received(sent + 1, Some(trace)));

    (0..sent + 2).for_each(|_| drop(client.next_event("sub")));
    bed.counts(r#"delivery_seconds_count{reader="slow",traced="no"}"#, 2.0);
    bed.counts(r#"delivery_seconds_count{reader="slow",traced="yes"}"#, 1.0);
    // Answered only after all that was written.
    client.count("fence", &[json!({"kinds": [LIVE]})]).unwrap();
    bed.live(&received(sent + 2, None));
    client.next_event("sub");
    bed.counts(
        r#"delivery_seconds_count{reader="ok",traced="no"}"#,
        in_time + 1.0,
    );
}

#[test]
fn the_time_to_eose_leaves_out_the_wait_for_the_socket() {
    let bed = Bed::patient();
    let mut client = Client::connect(bed.address);
    client.send_req("sub", &[json!({"kinds": [FLOWING]})]);
    until("the socket is full", || bed.matcher.pages_stand_still());
    pause(DAWDLING);
    bed.matcher.open_gate();
    client.stored("sub");
    in_time(&bed, r#"req_eose_seconds"#, r#",plan="recent""#, 1.0);
}

#[test]
fn the_time_to_an_answer_leaves_out_the_wait_for_other_questions_of_the_client() {
    let bed = Bed::patient();
    let mut client = Client::connect(bed.address);
    for n in 0..4 {
        client.send_req(&format!("sub-{n}"), &[json!({"kinds": [GATED]})]);
    }
    until("all places are taken", || bed.matcher.open_slots() == 4);
    for n in 4..7 {
        client.send_req(&format!("sub-{n}"), &[json!({"kinds": [GATED]})]);
    }
    client.send(&query("COUNT", "count", &[json!({"kinds": [LIVE]})]));
    pause(DAWDLING);
    bed.matcher.open_gate();
    (0..7).for_each(|n| drop(client.stored(&format!("sub-{n}"))));
    // The first four waited for the matcher.
    bed.counts(r#"req_eose_seconds_count{plan="recent"}"#, 7.0);
    assert_eq!(early(&bed, "req_eose_seconds", r#",plan="recent""#), 3.0);
    assert_eq!(early(&bed, "req_first_event_seconds", ""), 7.0);
    in_time(&bed, "count_seconds", "", 1.0);
}

#[test]
fn the_time_of_a_handshake_leaves_out_what_the_client_takes_to_ask() {
    let bed = Bed::patient();
    let mut socket = TcpStream::connect(bed.address).unwrap();
    let request = Handshake::default().request(bed.address);
    let (begin, end) = request.split_at(20);
    socket.write_all(begin.as_bytes()).unwrap();
    pause(DAWDLING);
    socket.write_all(end.as_bytes()).unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    in_time(&bed, "handshake_seconds", "", 1.0);
}

/// How many took less than [`IN_TIME`].
#[track_caller]
fn early(bed: &Bed, histogram: &str, labels: &str) -> f64 {
    bed.metric(&format!("{histogram}_bucket{{le=\"{IN_TIME}\"{labels}}}"))
}

/// Waits until so many were counted; all of them took less than [`IN_TIME`].
#[track_caller]
fn in_time(bed: &Bed, histogram: &str, labels: &str, count: f64) {
    let own = labels.trim_start_matches(',');
    let series = match own {
        "" => format!("{histogram}_count"),
        own => format!("{histogram}_count{{{own}}}"),
    };
    bed.counts(&series, count);
    assert_eq!(early(bed, histogram, labels), count);
}
