//! Group 6: text has to be UTF-8, wherever it is cut.

use heliograph_testkit::{frame::Frame, process::Relay};

use super::{Case, Chops, case, check_all, say};

/// The suite's Greek, whose second sign has three bytes.
const GREEK: &str = "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}";

/// A message with these bytes in the place of its echo.
fn saying(bytes: &[u8]) -> Vec<u8> {
    [br#"["COUNT",""#, bytes, br#""]"#].concat()
}

fn octets(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.iter().map(|byte| vec![*byte]).collect()
}

#[test]
fn group_6_1_text_of_no_length_is_text() {
    let relay = Relay::start();
    let middle = say("middle frame payload");
    check_all(
        &relay,
        [
            case("6.1.1").send(Frame::text("")).notice(),
            case("6.1.2").send_parts(&["", "", ""]).notice(),
            case("6.1.3")
                .send_parts(&["", &*middle, ""])
                .echo("middle frame payload"),
        ],
    );
}

#[test]
fn group_6_2_text_is_read_wherever_it_is_cut() {
    let relay = Relay::start();
    let text = "Hello-µ@ßöäüàá-UTF-8!!";
    let whole = saying(text.as_bytes());
    let boundary = whole.windows(2).position(|pair| pair == "ü".as_bytes());
    let (first, second) = whole.split_at(boundary.unwrap());
    let greek = GREEK;
    let mut cases = vec![
        case("6.2.1").send_parts(&[&*whole]).echo(text),
        case("6.2.2").send_parts(&[first, second]).echo(text),
        case("6.2.3").send_parts(&octets(&whole)).echo(text),
        case("6.2.4")
            .send_parts(&octets(&saying(greek.as_bytes())))
            .echo(greek),
    ];
    let signs = "é€😀\u{10ffff}";
    let whole = saying(signs.as_bytes());
    for at in 0..=whole.len() {
        let (first, second) = whole.split_at(at);
        let cut = case(format!("6.2, cut at {at}")).send_parts(&[first, second]);
        cases.push(cut.echo(signs));
    }
    check_all(&relay, cases);
}

/// What Autobahn sends in 6.3 and 6.4: `edited` behind a sign that there is none of.
fn edited(sign: &[u8]) -> [Vec<u8>; 3] {
    [GREEK.into(), sign.to_vec(), "edited".into()]
}

#[test]
fn group_6_3_and_6_4_invalid_text_closes_with_1007_wherever_it_is_cut() {
    let relay = Relay::start();
    let whole = edited(b"\xed\xa0\x80").concat();
    let parts = edited(b"\xf4\x90\x80\x80");
    let [first, second, third] = &parts;
    let within = [
        [&first[..], &second[..1]].concat(),
        second[1..2].to_vec(),
        [&second[2..], third].concat(),
    ];
    check_all(
        &relay,
        [
            case("6.3.1").send_parts(&[&*whole]).closes(1007),
            case("6.3.2").send_parts(&octets(&whole)).closes(1007),
            // Noticed when the message ends at the latest, which the suite calls non-strict.
            case("6.4.1").send_parts(&parts).closes(1007),
            case("6.4.2").send_parts(&within).closes(1007),
            case("6.4.3")
                .send_parts(&[parts.concat()])
                .chops(Chops::Frames)
                .closes(1007),
            case("6.4.4")
                .send_parts(&[parts.concat()])
                .chops(Chops::Bytes(1))
                .closes(1007),
        ],
    );
}

fn owned(sequences: &[&[u8]]) -> Vec<Vec<u8>> {
    sequences.iter().map(|sequence| sequence.to_vec()).collect()
}

/// Groups 6.5 to 6.23, each with its sequences; whether they are UTF-8 the standard library says.
fn groups() -> Vec<Vec<Vec<u8>>> {
    let greek = GREEK.as_bytes();
    let with_spaces =
        |first: u8, last: u8| -> Vec<u8> { (first..=last).flat_map(|byte| [byte, b' ']).collect() };
    let incomplete: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    let mut continuations = owned(&[
        b"\x80",
        b"\xbf",
        b"\x80\xbf",
        b"\x80\xbf\x80",
        b"\x80\xbf\x80\xbf",
        b"\x80\xbf\x80\xbf\x80",
        b"\x80\xbf\x80\xbf\x80\xbf",
    ]);
    continuations.push((0x80..=0xbf).collect());
    let lonely = [
        (0xc0, 0xdf),
        (0xe0, 0xef),
        (0xf0, 0xf7),
        (0xf8, 0xfb),
        (0xfc, 0xfd),
    ];
    let planes = (0x1_ffff_u32..=0x10_ffff).step_by(0x1_0000);
    let no_signs = [0xfffe, 0xffff]
        .into_iter()
        .chain(planes.flat_map(|last| [last - 1, last]));
    let encoded = |sign: u32| char::from_u32(sign).unwrap().to_string().into_bytes();
    let valid_and_cut = vec![
        // 6.5: some correct text; 6.6: all its prefixes
        owned(&[
            b"hello\x24world",
            b"hello\xc2\xa2world",
            b"hello\xe2\x82\xacworld",
            b"hello\xf0\xa4\xad\xa2world",
            greek,
        ]),
        (1..=greek.len()).map(|end| greek[..end].to_vec()).collect(),
        // 6.7, 6.8: the first sequence of each length; 6.9, 6.10: the last; 6.11: other boundaries
        owned(&[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
        owned(&[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
        owned(&[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
        owned(&[
            b"\xf7\xbf\xbf\xbf",
            b"\xfb\xbf\xbf\xbf\xbf",
            b"\xfd\xbf\xbf\xbf\xbf\xbf",
        ]),
        owned(&[
            b"\xed\x9f\xbf",
            b"\xee\x80\x80",
            b"\xef\xbf\xbd",
            b"\xf4\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80",
        ]),
        // 6.12: continuation bytes; 6.13: lonely first bytes; 6.14, 6.15: the last byte missing
        continuations,
        lonely
            .map(|(first, last)| with_spaces(first, last))
            .to_vec(),
        owned(&incomplete),
        vec![incomplete.concat()],
    ];
    let others = vec![
        // 6.22: code points that are no characters; 6.23: specials
        no_signs.map(encoded).collect(),
        (0xfff9..=0xffff).map(encoded).collect(),
    ];
    [valid_and_cut, malformed(), others].concat()
}

/// Groups 6.16 to 6.21.
fn malformed() -> Vec<Vec<Vec<u8>>> {
    vec![
        // 6.16: bytes that never occur; 6.17 to 6.19: overlong forms
        owned(&[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
        owned(&[
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"\xf8\x80\x80\x80\xaf",
            b"\xfc\x80\x80\x80\x80\xaf",
        ]),
        owned(&[
            b"\xc1\xbf",
            b"\xe0\x9f\xbf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf8\x87\xbf\xbf\xbf",
            b"\xfc\x83\xbf\xbf\xbf\xbf",
        ]),
        owned(&[
            b"\xc0\x80",
            b"\xe0\x80\x80",
            b"\xf0\x80\x80\x80",
            b"\xf8\x80\x80\x80\x80",
            b"\xfc\x80\x80\x80\x80\x80",
        ]),
        // 6.20, 6.21: surrogates, single and in pairs
        owned(&[
            b"\xed\xa0\x80",
            b"\xed\xad\xbf",
            b"\xed\xae\x80",
            b"\xed\xaf\xbf",
            b"\xed\xb0\x80",
            b"\xed\xbe\x80",
            b"\xed\xbf\xbf",
        ]),
        owned(&[
            b"\xed\xa0\x80\xed\xb0\x80",
            b"\xed\xa0\x80\xed\xbf\xbf",
            b"\xed\xad\xbf\xed\xb0\x80",
            b"\xed\xad\xbf\xed\xbf\xbf",
            b"\xed\xae\x80\xed\xb0\x80",
            b"\xed\xae\x80\xed\xbf\xbf",
            b"\xed\xaf\xbf\xed\xb0\x80",
            b"\xed\xaf\xbf\xed\xbf\xbf",
        ]),
    ]
}

fn of_sequence(name: &str, sequence: &[u8]) -> [Case; 2] {
    let message = saying(sequence);
    let whole = case(format!("{name}, {sequence:02x?}")).send_parts(&[&*message]);
    let parts = case(format!("{name}, {sequence:02x?}, byte by byte"));
    [whole, parts.send_parts(&octets(&message))].map(|case| match std::str::from_utf8(sequence) {
        // Text, but not JSON.
        Ok(text) if text.chars().any(|sign| sign < ' ') => case.notice(),
        Ok(text) => case.echo(text),
        Err(_) => case.closes(1007),
    })
}

#[test]
fn group_6_5_to_6_23_text_is_utf8_and_nothing_else_closes_with_1007() {
    let relay = Relay::start();
    let groups = groups();
    assert_eq!(groups.len(), 19);
    let valid = |group: &Vec<Vec<u8>>| {
        let valid = group
            .iter()
            .filter(|sequence| std::str::from_utf8(sequence).is_ok());
        (valid.count(), group.len())
    };
    // As the suite has them.
    let counts: Vec<(usize, usize)> = groups.iter().map(valid).collect();
    let expected = [
        (5, 5),
        (5, 11),
        (4, 4),
        (0, 2),
        (4, 4),
        (0, 3),
        (4, 5),
        (0, 8),
        (0, 5),
        (0, 10),
        (0, 1),
        (0, 3),
        (0, 5),
        (0, 5),
        (0, 5),
        (0, 7),
        (0, 8),
        (34, 34),
        (7, 7),
    ];
    assert_eq!(counts, expected);
    for (group, sequences) in (5..).zip(groups) {
        for (nth, sequence) in (1..).zip(sequences) {
            check_all(&relay, of_sequence(&format!("6.{group}.{nth}"), &sequence));
        }
    }
}

#[test]
fn every_sign_of_unicode_arrives_as_it_was_sent() {
    let relay = Relay::start();
    let mut client = relay.socket();
    let _challenge = client.read_text();
    let signs: Vec<char> = (' '..=char::MAX).collect();
    for part in signs.chunks(250 * 16) {
        // An echo has 1,024 bytes at most.
        let texts: Vec<String> = part.chunks(250).map(|part| part.iter().collect()).collect();
        for text in &texts {
            client.send_text(&say(text));
        }
        for text in &texts {
            assert_eq!(
                super::read(&mut client),
                Ok(super::Answer::Echo(text.clone()))
            );
        }
    }
}
