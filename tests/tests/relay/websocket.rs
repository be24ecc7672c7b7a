//! The framing (RFC 6455): what ends a connection, with which code, and what doesn't.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use heliograph_testkit::{
    PATIENCE,
    client::Client,
    frame::{BINARY, CLOSE, Frame, PING, PONG, RSV1, TEXT},
    process::Relay,
    reply::Reply,
    websocket::{Ending, Message, WebSocket},
};
use serde_json::json;

const REQ: &str = r#"["REQ","s",{"ids":[]}]"#;
const EOSE: &str = r#"["EOSE","s""#;

/// Sends frames and expects the closing handshake with this code, then the end.
#[track_caller]
fn check_closed(relay: &Relay, frames: &[Frame], code: u16) {
    let mut socket = relay.socket();
    for frame in frames {
        socket.send(frame);
    }
    let (got, reason) = socket.read_close();
    if got != code {
        socket.fail(&format!("expected close {code}, got {got} {reason:?}"));
    }
    socket.read_end();
}

/// Sends frames that make up [`REQ`] and expects its answer.
#[track_caller]
fn check_read(relay: &Relay, frames: &[Frame]) {
    let mut socket = relay.socket();
    for frame in frames {
        socket.send(frame);
    }
    loop {
        let text = socket.read_text();
        if text.starts_with(EOSE) {
            return;
        }
        assert!(text.starts_with(r#"["AUTH","#), "{text}");
    }
}

#[test]
fn a_frame_without_mask_closes_with_1002() {
    check_closed(&Relay::start(), &[Frame::text(REQ).unmasked()], 1002);
}

#[test]
fn reserved_bits_close_with_1002() {
    let relay = Relay::start();
    for rsv in 1..=7 {
        // Compression isn't negotiated here, so not even RSV1 has a meaning.
        check_closed(&relay, &[Frame::text(REQ).rsv(rsv)], 1002);
    }
    check_closed(&relay, &[Frame::new(PING, "").rsv(RSV1)], 1002);
}

#[test]
fn reserved_opcodes_close_with_1002() {
    let relay = Relay::start();
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        check_closed(&relay, &[Frame::new(opcode, "")], 1002);
    }
}

#[test]
fn a_message_may_come_in_fragments() {
    let relay = Relay::start();
    let (start, end) = REQ.split_at(9);
    check_read(
        &relay,
        &[Frame::text(start).unfinished(), Frame::continuation(end)],
    );
    let mut single: Vec<Frame> = REQ
        .bytes()
        .map(|byte| Frame::continuation([byte]).unfinished())
        .collect();
    single[0].opcode = TEXT;
    single.push(Frame::continuation(""));
    check_read(&relay, &single);
}

#[test]
fn a_ping_may_come_between_fragments() {
    let relay = Relay::start();
    let (start, end) = REQ.split_at(9);
    let mut socket = relay.socket();
    socket.send(&Frame::text(start).unfinished());
    socket.send(&Frame::new(PING, "between"));
    socket.send(&Frame::continuation(end));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match socket.read(PATIENCE) {
            Ok(Message::Pong(payload)) => seen.push(String::from_utf8(payload).unwrap()),
            Ok(Message::Text(text)) if text.starts_with(EOSE) => seen.push(EOSE.to_owned()),
            Ok(Message::Text(_)) => {}
            other => socket.fail(&format!("{other:?}")),
        }
    }
    assert_eq!(seen, ["between", EOSE]);
}

#[test]
fn a_new_message_between_fragments_closes_with_1002() {
    let relay = Relay::start();
    for opcode in [TEXT, BINARY] {
        check_closed(
            &relay,
            &[Frame::text("[").unfinished(), Frame::new(opcode, "[")],
            1002,
        );
    }
}

#[test]
fn a_continuation_of_nothing_closes_with_1002() {
    let relay = Relay::start();
    check_closed(&relay, &[Frame::continuation("x")], 1002);
    check_closed(&relay, &[Frame::text(REQ), Frame::continuation("x")], 1002);
}

#[test]
fn control_frames_are_short_and_whole() {
    let relay = Relay::start();
    for opcode in [PING, PONG, CLOSE] {
        check_closed(&relay, &[Frame::new(opcode, [0; 126])], 1002);
        check_closed(&relay, &[Frame::new(opcode, "").unfinished()], 1002);
    }
}

#[test]
fn a_length_not_in_its_shortest_form_closes_with_1002() {
    let relay = Relay::start();
    for header in [
        &[0x81, 0xfe, 0, 5][..],
        &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 5],
    ] {
        let mut socket = relay.socket();
        socket.write(&[header, &[0; 9]].concat()).unwrap();
        assert_eq!(socket.read_close().0, 1002);
    }
}

#[test]
fn a_ping_is_answered_with_its_own_payload() {
    let relay = Relay::start();
    let mut socket = relay.socket();
    for payload in [&b""[..], b"are you there?", &[0xff; 125]] {
        socket.send(&Frame::new(PING, payload));
        loop {
            match socket.read(PATIENCE) {
                Ok(Message::Pong(echo)) => break assert_eq!(echo, payload),
                Ok(Message::Text(_)) => {}
                other => socket.fail(&format!("expected a pong, got {other:?}")),
            }
        }
    }
}

#[test]
fn an_unasked_pong_is_ignored() {
    check_read(
        &Relay::start(),
        &[Frame::new(PONG, "hello"), Frame::text(REQ)],
    );
}

#[test]
fn a_close_frame_is_answered_and_ends_the_connection() {
    let relay = Relay::start();
    for payload in [&b"\x03\xe8"[..], b"\x03\xe8bye", b"\x0f\xa0ours"] {
        let mut socket = relay.socket();
        socket.send(&Frame::new(CLOSE, payload));
        let code = u16::from_be_bytes([payload[0], payload[1]]);
        assert_eq!(
            socket.read_close().0,
            code,
            "the code is echoed (RFC 6455 §5.5.1)"
        );
        socket.read_end();
    }
    let mut socket = relay.socket();
    socket.send(&Frame::new(CLOSE, ""));
    assert!(matches!(socket.read_close().0, 1000 | 1005));
    socket.read_end();
}

#[test]
fn a_malformed_close_frame_closes_with_1002_or_1007() {
    let relay = Relay::start();
    check_closed(&relay, &[Frame::new(CLOSE, [3])], 1002);
    check_closed(&relay, &[Frame::new(CLOSE, b"\x03\xed")], 1002);
    check_closed(&relay, &[Frame::new(CLOSE, b"\x03\xe8\xff")], 1007);
}

#[test]
fn text_that_is_not_utf8_closes_with_1007() {
    let relay = Relay::start();
    let invalid: [&[u8]; 6] = [
        b"[\"REQ\",\"\xff\",{}]",
        b"[\"REQ\",\"\xc0\xaf\",{}]",
        b"[\"REQ\",\"\xed\xa0\x80\",{}]",
        b"[\"REQ\",\"\xf4\x90\x80\x80\",{}]",
        b"[\"REQ\",\"\x80\",{}]",
        b"\xe2\x82",
    ];
    for text in invalid {
        check_closed(&relay, &[Frame::text(text)], 1007);
    }
}

#[test]
fn text_that_is_not_utf8_across_fragments_closes_with_1007() {
    let relay = Relay::start();
    // The second byte of a two-byte sign never comes.
    let parts = [
        Frame::text(b"[\"\xc3").unfinished(),
        Frame::continuation(b"x\"]"),
    ];
    check_closed(&relay, &parts, 1007);
    let parts = [
        Frame::text(b"[\"").unfinished(),
        Frame::continuation(b"\xe2\x82"),
    ];
    check_closed(&relay, &parts, 1007);
}

#[test]
fn a_sign_may_be_cut_by_a_fragment() {
    let relay = Relay::start();
    let mut client = relay.client();
    let text = r#"["REQ","é😀",{"ids":[]}]"#.as_bytes();
    for at in 8..16 {
        client.socket.send(&Frame::text(&text[..at]).unfinished());
        client.socket.send(&Frame::continuation(&text[at..]));
        assert!(matches!(client.next_reply(), Reply::Eose { sub, .. } if sub == "é😀"));
    }
}

#[test]
fn binary_gets_a_notice_and_the_connection_stays() {
    let relay = Relay::start();
    let mut client = relay.client();
    for frames in [
        &[Frame::new(BINARY, REQ)][..],
        &[
            Frame::new(BINARY, [0xff]).unfinished(),
            Frame::continuation([0xfe]),
        ],
    ] {
        for frame in frames {
            client.socket.send(frame);
        }
        assert!(matches!(client.next_reply(), Reply::Notice(_)));
        assert_eq!(client.query(&[json!({"ids": []})]).events, []);
    }
}

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
fn a_message_over_the_limit_gets_a_notice_and_closes_with_1009() {
    let relay = Relay::with(&SHORT_MESSAGES);
    let mut socket = relay.socket();
    socket.send(&Frame::text(vec![b' '; 65_601]));
    check_too_long(socket);
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
fn a_message_that_trickles_ends_the_connection() {
    let relay = Relay::with(&["gateway.message_timeout_secs=1"]);
    let mut socket = relay.socket();
    socket.send(&Frame::text("[").unfinished());
    socket.read_end();
    let mut socket = relay.socket();
    socket.write(&[0x81]).unwrap();
    socket.read_end();
}

#[test]
fn a_message_that_comes_byte_by_byte_for_too_long_ends_the_connection() {
    let relay = Relay::with(&["gateway.message_timeout_secs=2"]);
    let mut socket = relay.socket();
    let frame = Frame::text(vec![b' '; 1_000]).encode();
    let ended = frame.chunks(1).any(|byte| {
        let written = socket.write(byte);
        // The pace of the client, and the place where the end is noticed.
        let read = socket.read(Duration::from_millis(100));
        written.is_err() || matches!(read, Ok(Message::Close(..)) | Err(Ending::Gone))
    });
    assert!(ended, "a message may take 2 s and took 100");
}

#[test]
fn a_request_that_trickles_ends_the_connection() {
    let relay = Relay::with(&["gateway.handshake_timeout_secs=1"]);
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost").unwrap();
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("ended by the relay, not by the deadline");
}

#[test]
fn a_silent_connection_is_pinged_and_let_go_if_it_stays_silent() {
    let relay = Relay::with(&[
        "gateway.ping_interval_secs=1",
        "gateway.pong_timeout_secs=1",
    ]);
    let mut socket = relay.socket();
    loop {
        match socket.read(PATIENCE) {
            Ok(Message::Ping(_)) => break,
            Ok(Message::Text(_)) => {}
            other => socket.fail(&format!("expected a ping, got {other:?}")),
        }
    }
    socket.read_end();
}

#[test]
fn a_connection_that_answers_pings_stays() {
    let relay = Relay::with(&[
        "gateway.ping_interval_secs=1",
        "gateway.pong_timeout_secs=1",
    ]);
    let mut socket = relay.socket();
    let mut pings = 0;
    while pings < 4 {
        match socket.read(PATIENCE) {
            Ok(Message::Ping(payload)) => {
                socket.send(&Frame::new(PONG, payload));
                pings += 1;
            }
            Ok(Message::Text(_)) => {}
            other => socket.fail(&format!("expected a ping, got {other:?}")),
        }
    }
    assert_eq!(Client::over(socket).fence(), []);
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
