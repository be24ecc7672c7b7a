//! Sessions over real sockets, without a store: a matcher that follows a script, over the bus of
//! one process.

mod bed;
mod counted;
mod own_doing;

use std::time::Duration;

use heliograph_bus::{CommitNumber, IntakeItem as _, Receipt};
use heliograph_lifecycle::Phase;
use heliograph_protocol::Outcome;
use heliograph_testkit::{
    client::{Client, query},
    keys::Key,
    reply::Reply,
    websocket::{Ending, Message, WebSocket},
};
use serde_json::json;

use self::bed::{Bed, ENDLESS, GATED, LIVE, big_note, note, until};

#[test]
fn a_slow_reader_is_closed_while_another_connection_keeps_getting_events() {
    let bed = Bed::new();
    let mut slow = WebSocket::connect_narrow(bed.address, 4_096);
    slow.send_text(&query("REQ", "slow", &[json!({"kinds": [LIVE]})]));
    let mut quick = Client::connect(bed.address);
    quick.req("quick", &[json!({"kinds": [LIVE]})]);
    until("both are open", || bed.matcher.open_slots() == 2);
    // Kernel buffers on both sides take some megabytes first.
    let mut sent = 0;
    while bed.matcher.open_slots() == 2 {
        let event = big_note(sent);
        bed.live(&event);
        assert_eq!(quick.next_event("quick").id(), event.id());
        sent += 1;
        assert!(sent < 2_000, "the slow reader is never closed");
    }
    let last = note(9_999);
    bed.live(&last);
    assert_eq!(quick.next_event("quick").id(), last.id());
    assert_eq!(slow.read_close().0, 1008);
}

#[test]
fn a_client_that_never_reads_again_does_not_stay_for_ever() {
    let bed = Bed::new();
    let mut stuck = WebSocket::connect_narrow(bed.address, 4_096);
    // Fills the kernel's buffers, but not the outbox: nothing but the stall tells.
    stuck.send_text(&query("REQ", "all", &[json!({"kinds": [ENDLESS]})]));
    until("the socket is full", || bed.matcher.pages_stand_still());
    until("it is closed", || bed.tasks.running() == 1);
    assert_eq!(bed.matcher.open_slots(), 0);
}

#[test]
fn no_page_is_asked_for_while_the_socket_is_full() {
    let bed = Bed::new();
    let mut client = WebSocket::connect_narrow(bed.address, 4_096);
    client.send_text(&query("REQ", "all", &[json!({"kinds": [ENDLESS]})]));
    until("the socket is full", || bed.matcher.pages_stand_still());
    let pulled = bed.matcher.pages();
    bed::pause(Duration::from_millis(200));
    assert_eq!(bed.matcher.pages(), pulled);
    until("reading makes room", || {
        let _read = client.read(Duration::from_secs(5));
        bed.matcher.pages() > pulled
    });
}

#[test]
fn a_req_that_is_replaced_while_its_answer_runs_sends_nothing_more() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    client.send_req("sub", &[json!({"kinds": [GATED]})]);
    let first = client.next_event("sub");
    assert_eq!(first.kind().as_u16(), 1);
    let stored = client.req("sub", &[json!({"kinds": [LIVE]})]);
    assert!(stored.events.is_empty());
    bed.matcher.open_gate();
    bed.live(&note(7));
    assert_eq!(client.next_event("sub").id(), note(7).id());
    assert_eq!(client.fence(), [], "neither an old event nor an old EOSE");
    assert_eq!(bed.matcher.open_slots(), 1);
}

#[test]
fn live_events_wait_for_eose_and_are_not_repeated() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    client.send_req("sub", &[json!({"kinds": [GATED]})]);
    let first = client.next_event("sub");
    bed.live(&bed::gated_note());
    bed.live(&note(8));
    bed.matcher.open_gate();
    let stored = client.stored("sub");
    assert_eq!(stored.contents(), ["gated"]);
    let live = client.next_event("sub");
    assert_eq!(live.id(), note(8).id());
    assert_ne!(first.id(), live.id());
    assert_eq!(client.fence(), []);
}

#[test]
fn a_pending_event_is_answered_at_drain_and_open_subscriptions_are_closed() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    client.req("sub", &[json!({"kinds": [LIVE]})]);
    let event = Key::nth(0).note(1, "pending");
    client.send(&format!(r#"["EVENT",{}]"#, event.as_str()));
    let item = bed.next_published();
    bed.shutdown.advance(Phase::Draining);
    assert_eq!(client.closed("sub"), "error: shutting down");
    // A restart is no failure, so it burns no error budget.
    bed.counts(r#"reqs_closed_total{reason="draining"}"#, 1.0);
    bed.counts(r#"reqs_closed_total{reason="error"}"#, 0.0);
    assert_eq!(client.poll(Duration::from_millis(100)), None, "it waits");
    item.answer(Ok(Receipt {
        outcome: Outcome::Stored,
        commit: CommitNumber(1),
    }));
    assert_eq!(client.ok(&event.id().to_hex()), (true, String::new()));
    assert!(matches!(client.next_reply(), Reply::Close(1001, _)));
    client.socket.read_end();
    until("every task ends", || bed.tasks.running() == 0);
}

#[test]
fn an_event_is_published_although_its_client_leaves_at_once() {
    let bed = Bed::new();
    let mut socket = WebSocket::connect(bed.address);
    let event = Key::nth(0).note(1, "last words");
    socket.send_text(&format!(r#"["EVENT",{}]"#, event.as_str()));
    socket.send(&heliograph_testkit::frame::Frame::new(8, [0x03, 0xe8]));
    assert_eq!(bed.next_published().event().id(), event.id());
    assert_eq!(socket.read_close().0, 1000);
}

#[test]
fn more_than_a_message_may_hold_is_a_notice_and_then_1009() {
    let bed = Bed::new();
    let mut socket = WebSocket::connect(bed.address);
    assert!(socket.read_text().starts_with(r#"["AUTH","#));
    socket.send_text(&"x".repeat(bed::MESSAGE_BYTES_MAX + 1));
    assert!(socket.read_text().starts_with(r#"["NOTICE","invalid: "#));
    assert_eq!(socket.read_close().0, 1009);
}

#[test]
fn keys_add_up_on_a_connection_until_it_has_too_many() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    (0..100).for_each(|n| client.authenticate(&Key::nth(n)));
    let (accepted, text) = client.auth(&Key::nth(100));
    assert!(!accepted && text.starts_with("restricted: "), "{text}");
    client.authenticate(&Key::nth(5));
}

#[test]
fn questions_of_one_connection_wait_for_each_other_and_all_are_answered() {
    let bed = Bed::new();
    let mut client = Client::connect(bed.address);
    for n in 0..10 {
        client.send_req(&format!("sub-{n}"), &[json!({"kinds": [GATED]})]);
    }
    until("some run", || bed.matcher.open_slots() == 4);
    bed.matcher.open_gate();
    for n in 0..10 {
        assert_eq!(client.stored(&format!("sub-{n}")).contents().len(), 2);
    }
    assert_eq!(bed.matcher.open_slots(), 10);
    drop(client);
    until("all are closed", || bed.matcher.open_slots() == 0);
}

#[test]
fn an_unread_socket_shows_the_close_frame_last() {
    let bed = Bed::new();
    let mut socket = WebSocket::connect(bed.address);
    socket.send_text(&query("REQ", "sub", &[json!({"kinds": [LIVE]})]));
    until("it is open", || bed.matcher.open_slots() == 1);
    bed.shutdown.advance(Phase::Draining);
    let mut seen = Vec::new();
    loop {
        match socket.read(heliograph_testkit::PATIENCE) {
            Ok(Message::Text(text)) => seen.push(text),
            Ok(Message::Close(code, _)) => seen.push(code.to_string()),
            Ok(_) => {}
            Err(ending) => {
                assert_eq!(ending, Ending::Gone);
                break;
            }
        }
    }
    assert_eq!(seen.last().map(String::as_str), Some("1001"));
    assert_eq!(
        seen[seen.len() - 2],
        r#"["CLOSED","sub","error: shutting down"]"#
    );
}
