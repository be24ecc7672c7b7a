//! What a socket may send, below the messages: bytes, fragments, time.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use flate2::{Compress, Compression, FlushCompress};
use heliograph_protocol::Event;
use heliograph_testkit::{
    PATIENCE,
    client::{Client, query},
    frame::{Frame, PONG, RSV1},
    keys::Key,
    process::Relay,
    reply::Reply,
    websocket::{Ending, Handshake, Message, WebSocket},
};
use serde_json::json;

use super::{connect, default_of, forwarded, refused, relay};
use crate::{limits::limitation, support::now};

const COUNT: &str = r#"["COUNT","c",{"ids":[]}"#;

/// A message of this length: what it begins with, spaces, and its end.
fn padded(begin: &str, bytes: usize) -> String {
    format!("{begin}{}]", " ".repeat(bytes - begin.len() - 1))
}

/// An event of this length in its wire form.
fn sized(kind: u16, bytes: usize) -> Event {
    let signed = |content: &str| Key::nth(0).sign(1_700_000_000, kind, &[], content);
    signed(&"x".repeat(bytes - signed("").json().len()))
}

/// Reads NOTICE, close 1009 and nothing else of meaning (R01-23).
#[track_caller]
fn check_too_long(client: &mut Client) {
    assert!(matches!(client.next_reply(), Reply::Notice(_)));
    assert!(matches!(client.next_reply(), Reply::Close(1009, _)));
}

/// Message size: 131,072 bytes in a message (close 1009), 65,536 in an event, 131,008 in one of a kind
/// that is long by nature (OK `false`, `invalid:`).
#[test]
fn message_size() {
    let relay = relay("");
    let max = limitation(&relay, "max_message_length");
    assert_eq!(max, 131_072);
    let event = Key::nth(0).note(now(), "padded");
    for begin in [
        &*format!(r#"["EVENT",{}"#, event.as_str()),
        &*format!(r#"["AUTH",{}"#, event.as_str()),
        r#"["REQ","s",{"ids":[]}"#,
        COUNT,
    ] {
        let mut client = relay.client();
        client.send(&padded(begin, max));
        let reply = client.next_reply();
        let answered = matches!(reply.verb(), "OK" | "EOSE" | "COUNT");
        assert!(answered, "{reply:?}");
        client.socket.send(&Frame::text(padded(begin, max + 1)));
        check_too_long(&mut client);
    }
    let mut client = relay.client();
    for (kind, max) in [
        (1, 65_536),
        (7, 65_536),
        (10_002, 131_008),
        (30_023, 131_008),
    ] {
        client.accept(&sized(kind, max));
        client.refuse(&sized(kind, max + 1), "invalid");
    }
}

/// What a message is compressed to (RFC 7692 §7.2.1).
fn deflated(message: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(message.len() / 500 + 1_024);
    let done = compress.compress_vec(message, &mut out, FlushCompress::Sync);
    done.unwrap();
    let tail = [0, 0, 0xff, 0xff];
    out.strip_suffix(&tail).expect("a sync flush").to_vec()
}

/// The most memory that a process ever had, in KiB.
fn peak_kib(relay: &Relay) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.and_then(|peak| peak.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap()
}

/// Compression bomb: a message is as long as its inflated form, which is held against the limit while
/// it is inflated: close 1009, and memory as it was.
#[test]
fn compression_bomb() {
    let relay = relay("");
    let max = limitation(&relay, "max_message_length");
    let offer = Handshake::default().field("Sec-WebSocket-Extensions: permessage-deflate");
    let connect = || connect(&relay, &offer);
    let compressed = |bytes: &[u8]| Frame::text(deflated(bytes)).rsv(RSV1);
    let mut client = connect();
    let longest = padded(COUNT, max);
    client.socket.send(&compressed(longest.as_bytes()));
    assert!(matches!(client.next_reply(), Reply::Count { .. }));
    let longer = padded(COUNT, max + 1);
    client.socket.send(&compressed(longer.as_bytes()));
    check_too_long(&mut client);

    let zeros = compressed(&vec![0; 1 << 20]);
    assert!(zeros.payload.len() <= 1_100, "{}", zeros.payload.len());
    let mut client = connect();
    client.socket.send(&zeros);
    check_too_long(&mut client);

    let bomb = compressed(&vec![b' '; 64 << 20]);
    assert!(bomb.payload.len() < max, "{}", bomb.payload.len());
    let before = peak_kib(&relay);
    for _ in 0..10 {
        let mut client = connect();
        client.socket.send(&bomb);
        check_too_long(&mut client);
    }
    let grown = peak_kib(&relay) - before;
    assert!(grown < 16 * 1024, "{grown} KiB for bombs of 64 MiB");
}

/// A message in so many frames.
fn fragments(text: &str, count: usize) -> Vec<u8> {
    let first = Frame::text(text).unfinished();
    let middle = Frame::continuation("").unfinished();
    let last = Frame::continuation("");
    let mut bytes = first.encode();
    bytes.extend(middle.encode().repeat(count - 2));
    bytes.extend(last.encode());
    bytes
}

/// Fragment flood: 1,024 frames in one message (close 1008), most of which may well be empty.
#[test]
fn fragment_flood() {
    let relay = relay("");
    let event = Key::nth(0).note(now(), "in parts");
    for message in [
        format!(r#"["EVENT",{}]"#, event.as_str()),
        query("REQ", "s", &[json!({"ids": []})]),
        query("COUNT", "c", &[json!({"ids": []})]),
    ] {
        let mut client = relay.client();
        client.socket.write(&fragments(&message, 1_024)).unwrap();
        let reply = client.next_reply();
        let answered = matches!(reply.verb(), "OK" | "EOSE" | "COUNT");
        assert!(answered, "{reply:?}");
        // It closes at the last of them, so that all are read.
        client.socket.write(&fragments(&message, 1_025)).unwrap();
        assert!(matches!(client.next_reply(), Reply::Close(1008, _)));
    }
}

/// What the relay says to the head of a request before it ends the connection, and after how long.
#[track_caller]
fn until_ended(relay: &Relay, head: &[u8]) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    // What the relay doesn't read makes its end a reset, here or there.
    let ended = stream
        .write_all(head)
        .and_then(|()| stream.read_to_end(&mut said));
    if let Err(error) = ended {
        let reset = matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        );
        assert!(reset, "not ended by the relay: {error}");
    }
    (said, begun.elapsed())
}

/// Slow handshake: 10 s for the head of a request, which may be as long as heads are.
#[test]
fn slow_handshake() {
    assert_eq!(default_of("gateway", "handshake_timeout_secs"), "10");
    let relay = relay("[gateway]\nhandshake_timeout_secs = 1");
    let request = Handshake::default().request(relay.address());
    for part in [1, request.len() / 2, request.len() - 1] {
        let (said, took) = until_ended(&relay, &request.as_bytes()[..part]);
        assert!(took >= Duration::from_secs(1), "{part} bytes: {took:?}");
        assert!(!said.starts_with(b"HTTP/1.1 1"), "{part} bytes upgrade");
    }
    let cookie = |bytes| Handshake::default().field(&format!("Cookie: {}", "x".repeat(bytes)));
    assert_eq!(connect(&relay, &cookie(8_000)).fence(), []);
    let head = cookie(64_000).request(relay.address());
    let (said, _) = until_ended(&relay, head.as_bytes());
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 431 "),
        "{said}"
    );
}

/// Slow message: 30 s from the first to the last byte of a message, however its bytes trickle in
/// (close 1008).
#[test]
fn slow_message() {
    assert_eq!(default_of("gateway", "message_timeout_secs"), "30");
    let relay = relay("[gateway]\nmessage_timeout_secs = 1");
    // Half a frame, half a message, and a message byte by byte.
    for begin in [vec![0x81], Frame::text("[").unfinished().encode()] {
        let mut socket = relay.socket();
        socket.write(&begin).unwrap();
        assert_eq!(socket.read_close().0, 1008);
    }
    let mut socket = relay.socket();
    let frame = Frame::text(vec![b' '; 1_000]).encode();
    let ended = frame.chunks(1).any(|byte| {
        let written = socket.write(byte);
        // The pace of the client, and the place where the end is noticed.
        let read = socket.read(Duration::from_millis(100));
        written.is_err() || matches!(read, Ok(Message::Close(..)) | Err(Ending::Gone))
    });
    assert!(ended, "a message may take 1 s and took 100");
}

/// The next ping of an idle connection.
#[track_caller]
fn ping(socket: &mut WebSocket) -> Vec<u8> {
    loop {
        match socket.read(PATIENCE) {
            Ok(Message::Ping(payload)) => return payload,
            Ok(Message::Text(_)) => {}
            other => socket.fail(&format!("expected a ping, got {other:?}")),
        }
    }
}

/// Silent connection: pinged after 55 s without a byte (R01-29), ended 30 s later unless it says
/// something.
#[test]
fn silent_connection() {
    assert_eq!(default_of("gateway", "ping_interval_secs"), "55");
    assert_eq!(default_of("gateway", "pong_timeout_secs"), "30");
    let relay = relay("[gateway]\nping_interval_secs = 1\npong_timeout_secs = 1");
    let mut answering = relay.socket();
    for _ in 0..4 {
        let payload = ping(&mut answering);
        answering.send(&Frame::new(PONG, payload));
    }
    assert_eq!(Client::over(answering).fence(), []);
    let mut silent = relay.socket();
    ping(&mut silent);
    silent.read_end();
}

/// Slow reader: 1 MiB waits for one client before no more stored events are read for it, past four
/// times that it is closed (1008), and nobody else waits (R01-28).
#[test]
fn slow_reader() {
    assert_eq!(default_of("gateway", "outbox_bytes_max"), "1048576");
    let relay = relay(
        "[gateway]\noutbox_bytes_max = 65_536\nevents_per_sec = 0\nevents_per_ip_per_sec = 0",
    );
    // 5 % of the readers stop.
    let mut stopped = Client::over(WebSocket::connect_narrow(relay.address(), 4_096));
    let mut reading: Vec<Client> = (0..19).map(|_| relay.client()).collect();
    for client in reading.iter_mut().chain([&mut stopped]) {
        client.req("s", &[json!({"kinds": [1], "limit": 0})]);
    }
    let mut writer = relay.client();
    // The kernel holds some megabytes for the one that stopped, then its queue fills.
    let total = 200;
    for n in 0..total {
        let event = Key::nth(0).note(1_700_000_000 + n, &"x".repeat(60_000));
        writer.accept(&event);
        for client in &mut reading {
            let text = client.socket.read_text();
            assert!(text.contains(&event.id().to_hex()), "{text}");
        }
    }
    let mut seen = 0;
    let code = loop {
        match stopped.socket.read(PATIENCE) {
            Ok(Message::Text(_)) => seen += 1,
            Ok(Message::Close(code, _)) => break Some(code),
            Ok(_) => {}
            // What the kernel still held may have hidden the close frame.
            Err(_) => break None,
        }
    };
    assert!(seen < total, "the reader that stopped got everything");
    assert!(matches!(code, Some(1008) | None), "{code:?}");
    for client in &mut reading {
        assert_eq!(client.fence(), []);
    }
}

/// Too many connections: 503 and when to come back, before the upgrade.
#[test]
fn connections() {
    assert_eq!(default_of("gateway", "connections_max"), "50000");
    let relay = relay("[gateway]\nconnections_max = 3\ntrusted_proxies = [\"127.0.0.1/32\"]");
    let held: Vec<Client> = (1..=3)
        .map(|n| connect(&relay, &forwarded(&format!("192.0.2.{n}"))))
        .collect();
    let answer = refused(&relay, &forwarded("192.0.2.4"));
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("10"));
    for mut client in held {
        assert_eq!(client.fence(), []);
    }
}
