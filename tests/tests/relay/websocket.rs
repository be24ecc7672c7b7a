//! What a connection may send: lengths as they are announced, memory, rubbish. Limits and times are in `abuse`,
//! and the framing itself is held to RFC 6455 in `conformance`.

use heliograph_testkit::{
    PATIENCE,
    frame::{Frame, PING},
    process::Relay,
    websocket::{Ending, Message, WebSocket},
};
use serde_json::json;

/// Messages of 65,600 bytes at most.
const SHORT_MESSAGES: [&str; 3] = [
    "gateway.message_bytes_max=65600",
    "gateway.event_bytes_max=65536",
    "gateway.large_event_bytes_max=65536",
];

/// Expects a NOTICE, then close 1009, then the end (R01-23).
#[track_caller]
fn check_too_long(mut socket: WebSocket) {
    let mut notices = 0;
    loop {
        match socket.read(PATIENCE) {
            Ok(Message::Text(text)) if text.starts_with(r#"["NOTICE","#) => notices += 1,
            Ok(Message::Text(_)) => {}
            Ok(Message::Close(code, _)) => break assert_eq!(code, 1009),
            other => socket.fail(&format!("expected NOTICE and close 1009, got {other:?}")),
        }
    }
    assert_eq!(notices, 1, "{}", socket.transcript());
}

#[test]
fn fragments_together_over_the_limit_close_with_1009() {
    let relay = Relay::with(&SHORT_MESSAGES);
    let mut socket = relay.socket();
    socket.send(&Frame::text(vec![b' '; 65_536]).unfinished());
    socket.send(&Frame::continuation([b' '; 64]).unfinished());
    socket.send(&Frame::continuation([b' ']));
    check_too_long(socket);
}

#[test]
fn an_announced_length_over_the_limit_closes_at_once() {
    let relay = Relay::start();
    for announced in [1 << 62, u64::from(u32::MAX), u64::MAX] {
        let mut socket = relay.socket();
        // Not one byte of it is sent: a relay that waits for it fails here.
        socket.send(&Frame::text("").announcing(announced));
        check_too_long(socket);
    }
}

/// Resident memory of a process in KiB.
fn resident_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a running process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("Linux says VmRSS");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn what_is_announced_is_not_reserved() {
    let relay = Relay::with(&["gateway.message_bytes_max=67108864"]);
    let before = resident_kib(relay.id());
    let mut sockets: Vec<WebSocket> = (0..40).map(|_| relay.socket()).collect();
    for socket in &mut sockets {
        socket.send(&Frame::text(vec![b' '; 1_000]).announcing(67_000_000));
        socket.send(&Frame::new(PING, ""));
    }
    // Another connection is answered while those wait.
    assert_eq!(relay.client().fence(), []);
    let grown = resident_kib(relay.id()).saturating_sub(before);
    assert!(
        grown < 200 * 1024,
        "{grown} KiB for 40 connections that sent 1 kB each"
    );
}

#[test]
fn a_client_that_ends_its_direction_is_let_go() {
    let relay = Relay::start();
    let mut client = relay.client();
    client.req("s", &[json!({"limit": 0})]);
    client.socket.half_close();
    client.socket.read_end();
}

#[test]
fn rubbish_below_the_framing_ends_the_connection_and_no_other() {
    let relay = Relay::start();
    let mut witness = relay.client();
    let mut random = crate::support::seeded();
    for _ in 0..50 {
        let mut socket = relay.socket();
        let bytes: Vec<u8> = (0..64)
            .flat_map(|_| random.number().to_le_bytes())
            .collect();
        // The relay may close in the middle of it.
        let _closed = socket.write(&bytes);
        socket.half_close();
        loop {
            match socket.read(PATIENCE) {
                Ok(_) => {}
                Err(Ending::Gone) => break,
                Err(ending) => socket.fail(&format!("{ending:?}")),
            }
        }
    }
    assert_eq!(witness.fence(), []);
}
