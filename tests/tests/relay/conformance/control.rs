//! Group 2: pings and pongs.

use heliograph_testkit::{
    frame::{CLOSE, Frame, PING, PONG},
    process::Relay,
};

use super::{Chops, case, check_all, say};

#[test]
fn group_2_pings_are_answered_and_pongs_are_not() {
    let relay = Relay::start();
    let ping = |payload: &[u8]| Frame::new(PING, payload);
    let answered = |name: &str, payload: &[u8]| case(name).send(ping(payload)).pong(payload);
    let full = [0xfe; 125];
    let mut cases = vec![
        answered("2.1", b""),
        answered("2.2", b"Hello, world!"),
        answered("2.3", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
        answered("2.4", &full),
        case("2.5").send(ping(&[0xfe; 126])).closes(1002),
        answered("2.6", &full).chops(Chops::Bytes(1)),
        case("2.7").send(Frame::new(PONG, "")),
        case("2.8").send(Frame::new(PONG, "unsolicited pong payload")),
        case("2.9")
            .send(Frame::new(PONG, "unsolicited pong payload"))
            .send(ping(b"ping payload"))
            .pong(b"ping payload"),
    ];
    for (name, chops) in [("2.10", Chops::None), ("2.11", Chops::Bytes(1))] {
        let ten = (0..10).fold(case(name).chops(chops), |case, n| {
            let payload = format!("payload-{n}");
            case.send(ping(payload.as_bytes())).pong(payload)
        });
        cases.push(ten);
    }
    check_all(&relay, cases);
}

#[test]
fn control_frames_are_short_and_whole() {
    let relay = Relay::start();
    let mut cases = Vec::new();
    for opcode in [PING, PONG, CLOSE] {
        for (what, frame) in [
            ("126 bytes", Frame::new(opcode, [0; 126])),
            ("65,536 bytes", Frame::new(opcode, vec![0; 65_536])),
            ("unfinished", Frame::new(opcode, "").unfinished()),
        ] {
            let name = format!("opcode {opcode}, {what}");
            cases.push(case(name).send(frame.clone()).closes(1002));
            let name = format!("opcode {opcode}, {what}, inside a message");
            let inside = case(name).send(Frame::text("[").unfinished());
            cases.push(inside.send(frame).closes(1002));
        }
    }
    check_all(&relay, cases);
}

#[test]
fn pongs_and_echoes_come_in_the_order_of_what_they_answer() {
    let relay = Relay::start();
    let mixed = (0..50).fold(case("mixed"), |case, n| {
        let payload = n.to_string();
        case.send(Frame::new(PING, &payload))
            .pong(&payload)
            .send(Frame::text(say(&payload)))
            .echo(&payload)
    });
    mixed.check(&relay);
}
