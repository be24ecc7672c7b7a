//! Groups 1, 3 and 4: messages of all lengths, reserved bits, opcodes. And what the suite leaves out: masks and
//! forms of lengths.

use heliograph_testkit::{
    frame::{BINARY, CLOSE, Frame, PING, PONG, TEXT},
    process::Relay,
};

use super::{Case, Chops, case, check_all, say, say_long};

/// The lengths at which the form of the header changes (1.1.2–1.1.7).
const LENGTHS: [usize; 6] = [125, 126, 127, 128, 65_535, 65_536];

/// Bytes that aren't UTF-8.
const BYTES: &[u8] = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";

#[test]
fn group_1_text_and_binary_messages_of_all_lengths() {
    let relay = Relay::start();
    let mut cases = vec![
        case("1.1.1").send(Frame::text("")).notice(),
        case("1.2.1").send(Frame::new(BINARY, "")).notice(),
    ];
    for (nth, length) in (2..).zip(LENGTHS) {
        let text = Frame::text(say_long("here", length));
        cases.push(case(format!("1.1.{nth}")).send(text).echo("here"));
        // No client message of Nostr is binary: it is read and answered by a NOTICE, and nothing else happens.
        let binary = Frame::new(BINARY, vec![0xfe; length]);
        cases.push(case(format!("1.2.{nth}")).send(binary).notice());
    }
    let chops = Chops::Bytes(997);
    let text = Frame::text(say_long("here", 65_536));
    cases.push(case("1.1.8").send(text).chops(chops).echo("here"));
    let binary = Frame::new(BINARY, vec![0xfe; 65_536]);
    cases.push(case("1.2.8").send(binary).chops(chops).notice());
    check_all(&relay, cases);
}

/// A message, then a frame that may not come, then a ping that nobody answers.
fn after_a_message(name: impl Into<String>, wrong: Frame, chops: Chops) -> Case {
    case(name)
        .send(Frame::text(say("Hello, world!")))
        .send(wrong)
        .send(Frame::new(PING, ""))
        .chops(chops)
        .echo("Hello, world!")
        .closes(1002)
}

#[test]
fn group_3_reserved_bits_close_with_1002() {
    let relay = Relay::start();
    let text = || Frame::text(say("Hello, world!"));
    let alone = |name: &str, frame: Frame| case(name).send(frame).closes(1002);
    let mut cases = vec![
        alone("3.1", text().rsv(1)),
        after_a_message("3.2", text().rsv(2), Chops::None),
        after_a_message("3.3", text().rsv(3), Chops::Frames),
        after_a_message("3.4", text().rsv(4), Chops::Bytes(1)),
        alone("3.5", Frame::new(BINARY, BYTES).rsv(5)),
        alone("3.6", Frame::new(PING, "Hello, world!").rsv(6)),
        alone("3.7", Frame::new(CLOSE, "").rsv(7)),
    ];
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        for rsv in 1..=7 {
            let name = format!("3, opcode {opcode}, bits {rsv}");
            cases.push(alone(&name, Frame::new(opcode, "").rsv(rsv)));
        }
    }
    for rsv in 1..=7 {
        let parts = Frame::text("[").unfinished();
        let rest = Frame::continuation("]").rsv(rsv);
        let name = format!("3, continuation, bits {rsv}");
        cases.push(case(name).send(parts).send(rest).closes(1002));
    }
    check_all(&relay, cases);
}

#[test]
fn group_4_reserved_opcodes_close_with_1002() {
    let relay = Relay::start();
    let hello = "Hello, world!";
    let mut cases = Vec::new();
    for (group, first) in [(1, 3), (2, 11)] {
        let alone = |nth, frame| case(format!("4.{group}.{nth}")).send(frame).closes(1002);
        let after = |nth, frame, chops| after_a_message(format!("4.{group}.{nth}"), frame, chops);
        cases.extend([
            alone(1, Frame::new(first, "")),
            alone(2, Frame::new(first + 1, "reserved opcode payload")),
            after(3, Frame::new(first + 2, ""), Chops::None),
            after(4, Frame::new(first + 3, hello), Chops::None),
            after(5, Frame::new(first + 4, hello), Chops::Bytes(1)),
        ]);
    }
    for opcode in (3..=7).chain(11..=15) {
        let unfinished = Frame::new(opcode, hello).unfinished();
        cases.push(
            case(format!("4, opcode {opcode}, unfinished"))
                .send(unfinished)
                .closes(1002),
        );
    }
    check_all(&relay, cases);
}

#[test]
fn a_frame_without_mask_closes_with_1002() {
    let relay = Relay::start();
    let mut cases = Vec::new();
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        let unmasked = Frame::new(opcode, "").unmasked();
        cases.push(case(format!("opcode {opcode}")).send(unmasked).closes(1002));
    }
    let rest = Frame::continuation("]").unmasked();
    let parts = case("continuation").send(Frame::text("[").unfinished());
    cases.push(parts.send(rest).closes(1002));
    cases.push(after_a_message(
        "second",
        Frame::text(say("x")).unmasked(),
        Chops::None,
    ));
    check_all(&relay, cases);
}

#[test]
fn a_length_not_in_its_shortest_form_closes_with_1002() {
    let relay = Relay::start();
    for opcode in [TEXT, BINARY, PING] {
        for header in [
            &[126, 0, 0][..],
            &[126, 0, 125],
            &[127, 0, 0, 0, 0, 0, 0, 0, 125],
            &[127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        ] {
            let mut socket = relay.socket();
            let (first, mask) = (0x80 | opcode, 0x80 | header[0]);
            let bytes = [&[first, mask][..], &header[1..], &[0; 4 + 125]].concat();
            // The header is enough to close, so there may be nobody left to write to.
            drop(socket.write(&bytes));
            let (code, _) = socket.read_close();
            assert_eq!(code, 1002, "{header:?}");
            socket.read_end();
        }
    }
}
