//! Group 7: the closing handshake.

use heliograph_testkit::{
    PATIENCE,
    frame::{CLOSE, Frame, PING},
    process::Relay,
    websocket::{Ending, Message, WebSocket},
};

use super::{Case, case, check_all, say, say_long};

fn close(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(CLOSE, payload)
}

fn with_reason(code: u16, reason: &[u8]) -> Frame {
    close([&code.to_be_bytes(), reason].concat())
}

/// A close frame, then frames that nobody reads any more.
fn closing(name: &str, frames: &[Frame]) -> Case {
    let frames = [Frame::text(say("Hello, world!")), with_reason(1000, b"")]
        .into_iter()
        .chain(frames.iter().cloned());
    let case = frames.fold(case(name), Case::send);
    case.echo("Hello, world!").closes(1000)
}

#[test]
fn group_7_1_nothing_that_follows_a_close_frame_is_answered() {
    let relay = Relay::start();
    let hello = || Frame::text(say("Hello, world!"));
    check_all(
        &relay,
        [
            closing("7.1.1", &[]),
            closing("7.1.2", &[with_reason(1000, b"")]),
            closing("7.1.3", &[Frame::new(PING, "")]),
            closing("7.1.4", &[hello()]),
            case("7.1.5")
                .send(Frame::text("[").unfinished())
                .send(with_reason(1000, b""))
                .send(Frame::continuation("]"))
                .closes(1000),
            case("7.1.6")
                .send(Frame::text(say_long("long", 256 << 10)))
                .send(hello())
                .send(with_reason(1000, b""))
                .send(Frame::new(PING, ""))
                .echo("long")
                .echo("Hello, world!")
                .closes(1000),
        ],
    );
}

#[test]
fn group_7_3_and_7_5_a_close_frame_is_checked_before_it_is_answered() {
    let relay = Relay::start();
    let invalid = [b"edited\xed\xa0\x80", &b"edited"[..]].concat();
    check_all(
        &relay,
        [
            case("7.3.1").send(close("")).closes(1000),
            case("7.3.2").send(close("a")).closes(1002),
            case("7.3.3").send(with_reason(1000, b"")).closes(1000),
            case("7.3.4")
                .send(with_reason(1000, b"Hello World!"))
                .closes(1000),
            case("7.3.5")
                .send(with_reason(1000, &[b'*'; 123]))
                .closes(1000),
            case("7.3.6")
                .send(with_reason(1000, &[b'*'; 124]))
                .closes(1002),
            case("7.5.1").send(with_reason(1000, &invalid)).closes(1007),
        ],
    );
}

#[test]
fn group_7_7_a_valid_code_is_echoed() {
    let relay = Relay::start();
    let valid = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ];
    for (nth, code) in (1..).zip(valid) {
        case(format!("7.7.{nth}, {code}"))
            .send(with_reason(code, b""))
            .closes(code)
            .check(&relay);
    }
    // Registered since.
    for code in [1012, 1013, 1014] {
        case(format!("7.7, {code}"))
            .send(with_reason(code, b""))
            .closes(code)
            .check(&relay);
    }
}

#[test]
fn group_7_9_and_7_13_an_invalid_code_closes_with_1002() {
    let relay = Relay::start();
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    let invalid = (1..)
        .zip(invalid)
        .map(|(nth, code)| (format!("7.9.{nth}"), code));
    // Of these the suite only tells what is done.
    let undefined = [(1, 5000), (2, 65_535)].map(|(nth, code)| (format!("7.13.{nth}"), code));
    let others = [1, 1015, 2500].map(|code| ("7.9".to_owned(), code));
    for (name, code) in invalid.chain(undefined).chain(others) {
        case(format!("{name}, {code}"))
            .send(with_reason(code, b""))
            .closes(1002)
            .check(&relay);
    }
}

/// The relay ends the connection, without waiting for its client to do so first.
#[track_caller]
fn check_ended(mut socket: WebSocket) {
    loop {
        match socket.read(PATIENCE) {
            Ok(Message::Close(..) | Message::Text(_)) => {}
            Err(Ending::Gone) => return,
            other => socket.fail(&format!("expected the end, got {other:?}")),
        }
    }
}

#[test]
fn the_relay_ends_a_connection_that_was_closed_by_either_side() {
    let relay = Relay::start();
    for frame in [with_reason(1000, b""), Frame::text("").unmasked()] {
        let mut socket = relay.socket();
        socket.send(&frame);
        check_ended(socket);
    }
}
