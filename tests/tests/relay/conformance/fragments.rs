//! Group 5: fragmentation.

use heliograph_testkit::{
    frame::{BINARY, Frame, PING, PONG, TEXT},
    process::Relay,
};

use super::{Case, Chops, case, check_all, say};

const WAYS: [Chops; 3] = [Chops::None, Chops::Frames, Chops::Bytes(1)];

/// The echo of a message and its parts.
fn parts() -> (String, [String; 5]) {
    let text = say("fragments");
    let mut chars = text.chars();
    let parts = [3, 5, 1, 6, text.len()].map(|count| chars.by_ref().take(count).collect());
    ("fragments".to_owned(), parts)
}

/// A message in two frames.
fn two(name: impl Into<String>) -> Case {
    let (echo, [a, b, c, d, e]) = parts();
    case(name).send_parts(&[a + &b, c + &d + &e]).echo(&echo)
}

/// Frames of which the first may not come, then a message that isn't read any more.
fn wrong(name: impl Into<String>, frames: &[Frame]) -> Case {
    let hello = Frame::text(say("Hello, world!"));
    let frames = frames.iter().cloned().chain([hello]);
    frames.fold(case(name), Case::send).closes(1002)
}

#[test]
fn group_5_fragmented_control_frames_close_with_1002() {
    let relay = Relay::start();
    for (name, opcode) in [("5.1", PING), ("5.2", PONG)] {
        let first = Frame::new(opcode, "fragment1").unfinished();
        wrong(name, &[first, Frame::continuation("fragment2")]).check(&relay);
    }
}

#[test]
fn group_5_a_message_may_come_in_fragments_with_control_frames_between_them() {
    let relay = Relay::start();
    let mut cases = Vec::new();
    for (name, chops) in ["5.3", "5.4", "5.5"].into_iter().zip(WAYS) {
        cases.push(two(name).chops(chops));
    }
    for (name, chops) in ["5.6", "5.7", "5.8"].into_iter().zip(WAYS) {
        let (echo, [a, b, c, d, e]) = parts();
        let pinged = case(name)
            .send(Frame::text(a + &b).unfinished())
            .send(Frame::new(PING, "ping payload"))
            .send(Frame::continuation(c + &d + &e));
        cases.push(pinged.chops(chops).pong("ping payload").echo(&echo));
    }
    for (name, chops) in ["5.19", "5.20"].into_iter().zip(WAYS) {
        let (echo, [a, b, c, d, e]) = parts();
        let middle = |part: String| Frame::continuation(part).unfinished();
        let pinged = case(name)
            .send(Frame::text(a).unfinished())
            .send(middle(b))
            .send(Frame::new(PING, "pongme 1!"))
            .send(middle(c))
            .send(middle(d))
            .send(Frame::new(PING, "pongme 2!"))
            .send(Frame::continuation(e));
        let pinged = pinged.pong("pongme 1!").pong("pongme 2!");
        cases.push(pinged.chops(chops).echo(&echo));
    }
    let (echo, parts) = parts();
    let octets: Vec<Vec<u8>> = parts.concat().bytes().map(|byte| vec![byte]).collect();
    cases.push(case("5, byte by byte").send_parts(&octets).echo(&echo));
    check_all(&relay, cases);
}

#[test]
fn group_5_a_continuation_of_nothing_closes_with_1002() {
    let relay = Relay::start();
    let whole = || Frame::continuation("non-continuation payload");
    let mut cases = Vec::new();
    for (names, frame) in [
        (["5.9", "5.10", "5.11"], whole()),
        (["5.12", "5.13", "5.14"], whole().unfinished()),
    ] {
        for (name, chops) in names.into_iter().zip(WAYS) {
            cases.push(wrong(name, std::slice::from_ref(&frame)).chops(chops));
        }
    }
    let (echo, [a, b, c, d, e]) = parts();
    cases.push(
        case("5.15")
            .send_parts(&[a + &b, c + &d + &e])
            .send(Frame::continuation("fragment3").unfinished())
            .send(Frame::text("fragment4"))
            .echo(&echo)
            .closes(1002),
    );
    for (name, first) in [
        ("5.16", Frame::continuation("fragment1").unfinished()),
        ("5.17", Frame::continuation("fragment1")),
    ] {
        let rest = [
            Frame::text("fragment2").unfinished(),
            Frame::continuation("fragment3"),
        ];
        let once = [&[first], &rest[..]].concat();
        let twice = [&once[..], &once].concat();
        cases.push(wrong(name, &twice));
    }
    check_all(&relay, cases);
}

#[test]
fn group_5_a_message_inside_a_message_closes_with_1002() {
    let relay = Relay::start();
    for (name, first) in [("5.18", TEXT), ("5.18, binary", BINARY)] {
        for second in [TEXT, BINARY] {
            let first = Frame::new(first, "fragment1").unfinished();
            wrong(name, &[first, Frame::new(second, "fragment2")]).check(&relay);
        }
    }
}

#[test]
fn binary_in_fragments_gets_a_notice_and_the_connection_stays() {
    let relay = Relay::start();
    let binary = case("binary")
        .send(Frame::new(BINARY, [0xff]).unfinished())
        .send(Frame::continuation([0xfe]))
        .send(Frame::text(say("still here")));
    binary.notice().echo("still here").check(&relay);
}
