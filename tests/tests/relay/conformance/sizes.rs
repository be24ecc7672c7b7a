//! Groups 9 and 10: large messages, many fragments, small writes, one message after the other.

use heliograph_testkit::{
    frame::{BINARY, Frame},
    process::Relay,
};

use super::{Chops, case, check_all, say, say_long};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Fragments of one message at most: a flood of them ends the connection, as one of 9.3.1 (65,536) does.
const FRAGMENTS_MAX: usize = 1_024;

/// A relay for messages as long as the suite's.
fn relay() -> Relay {
    Relay::with(&["gateway.message_bytes_max=16777216"])
}

fn parts(bytes: &[u8], size: usize) -> Vec<&[u8]> {
    bytes.chunks(size).collect()
}

#[test]
fn group_9_1_and_9_2_messages_of_up_to_16_mib() {
    let relay = relay();
    let sizes = [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB];
    for (nth, size) in (1..).zip(sizes) {
        let text = Frame::text(say_long("long", size));
        case(format!("9.1.{nth}"))
            .send(text)
            .echo("long")
            .check(&relay);
        let binary = Frame::new(BINARY, vec![0xfe; size]);
        case(format!("9.2.{nth}"))
            .send(binary)
            .notice()
            .check(&relay);
    }
    let text = Frame::text(say_long("long", 16 * MIB + 1));
    // A NOTICE says how long a message may be.
    case("one byte more")
        .send(text)
        .notice()
        .closes(1009)
        .check(&relay);
}

#[test]
fn group_9_3_and_9_4_messages_in_fragments_of_all_sizes() {
    let relay = relay();
    let sizes = [
        64,
        256,
        KIB,
        4 * KIB,
        16 * KIB,
        64 * KIB,
        256 * KIB,
        MIB,
        4 * MIB,
    ];
    for (nth, size) in (1..).zip(sizes) {
        // 4 MiB as in the suite, unless these would be too many fragments.
        let text = say_long("long", (4 * MIB).min(size * FRAGMENTS_MAX));
        let text = text.as_bytes();
        case(format!("9.3.{nth}"))
            .send_parts(&parts(text, size))
            .echo("long")
            .check(&relay);
        let mut binary = case(format!("9.4.{nth}")).send_parts(&parts(text, size));
        binary.frames[0].opcode = BINARY;
        binary.notice().check(&relay);
    }
    let text = say_long("long", 64 * (FRAGMENTS_MAX + 1));
    let many = case("9.3.1, one fragment more").send_parts(&parts(text.as_bytes(), 64));
    many.closes(1008).check(&relay);
}

#[test]
fn group_9_5_and_9_6_messages_of_1_mib_in_small_writes() {
    let relay = relay();
    let sizes = [64, 128, 256, 512, KIB, 2 * KIB];
    for (nth, size) in (1..).zip(sizes) {
        let chops = Chops::Bytes(size);
        let text = Frame::text(say_long("long", MIB));
        let text = case(format!("9.5.{nth}")).send(text).chops(chops);
        text.echo("long").check(&relay);
        let binary = Frame::new(BINARY, vec![0xfe; MIB]);
        let binary = case(format!("9.6.{nth}")).send(binary).chops(chops);
        binary.notice().check(&relay);
    }
}

#[test]
fn group_9_7_and_9_8_a_thousand_messages_each_after_the_answer_to_the_one_before() {
    let relay = relay();
    for (nth, size) in (1..).zip([0, 16, 64, 256, KIB, 4 * KIB]) {
        let mut socket = relay.socket();
        let _challenge = socket.read_text();
        let (text, expected) = match size {
            0 => (String::new(), super::Answer::Notice),
            16 => (say("1234"), super::Answer::Echo("1234".to_owned())),
            _ => (
                say_long("long", size),
                super::Answer::Echo("long".to_owned()),
            ),
        };
        assert_eq!(text.len(), size, "9.7.{nth}");
        for _ in 0..1_000 {
            socket.send_text(&text);
            assert_eq!(
                super::read(&mut socket).as_ref(),
                Ok(&expected),
                "9.7.{nth}"
            );
        }
        let binary = Frame::new(BINARY, vec![0xfe; size]);
        for _ in 0..1_000 {
            socket.send(&binary);
            assert_eq!(
                super::read(&mut socket),
                Ok(super::Answer::Notice),
                "9.8.{nth}"
            );
        }
    }
}

#[test]
fn group_9_9_a_message_without_end_closes_with_1009() {
    let relay = Relay::start();
    let endless = (0..600).map(|_| vec![b' '; 4 * KIB]).collect::<Vec<_>>();
    let endless = case("9.9.1").send_parts(&endless);
    endless.notice().closes(1009).check(&relay);
}

#[test]
fn group_10_a_message_in_fragments_of_1_300_bytes() {
    let relay = Relay::start();
    let text = say_long("long", 65_536);
    let parts = parts(text.as_bytes(), 1_300);
    let fragmented = [Chops::None, Chops::Frames].map(|chops| {
        let case = case("10.1.1").send_parts(&parts).chops(chops);
        case.echo("long")
    });
    check_all(&relay, fragmented);
}
