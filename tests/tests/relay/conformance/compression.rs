//! Groups 12 and 13: compressed messages of all sizes, whole and in fragments, for all offers of the suite.

use heliograph_protocol::Event;
use heliograph_testkit::{
    PATIENCE,
    frame::{BINARY, Frame, PING, RSV1},
    keys::Key,
    process::Relay,
    websocket::Message,
};
use serde_json::json;

use crate::{deflated::Deflated, support::now};

/// Bytes of a message, and of the fragments it comes in; 0 is one.
const SIZES: [(usize, usize); 18] = [
    (16, 0),
    (64, 0),
    (256, 0),
    (1_024, 0),
    (4_096, 0),
    (8_192, 0),
    (16_384, 0),
    (32_768, 0),
    (65_536, 0),
    (131_072, 0),
    (8_192, 256),
    (16_384, 256),
    (32_768, 256),
    (65_536, 256),
    (131_072, 256),
    (131_072, 1_024),
    (131_072, 4_096),
    (131_072, 32_768),
];

/// What 12 and 13.1 to 13.7 offer.
const OFFERS: [&str; 8] = [
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_no_context_takeover; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_max_window_bits",
    "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
    "permessage-deflate; server_max_window_bits=15; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=15",
    "permessage-deflate; server_no_context_takeover; server_max_window_bits=9, \
     permessage-deflate; server_no_context_takeover, permessage-deflate",
];

/// Data of the three sorts that the suite has and text can be: JSON, prose, and what hardly compresses.
fn data(bytes: usize) -> [String; 3] {
    let json: String = (0_u32..)
        .map(|n| json!({"id": n, "square": u64::from(n).pow(2), "even": n % 2 == 0}).to_string())
        .flat_map(|object| object.chars().collect::<Vec<_>>())
        .take(bytes)
        .collect();
    let words = [
        "Habe",
        "nun",
        "ach",
        "Philosophie",
        "Juristerei",
        "und",
        "Medizin",
    ];
    let mut random = crate::support::Random::seeded(1);
    let mut prose = String::new();
    while prose.len() < bytes {
        prose += words[usize::try_from(random.number() % 7).unwrap()];
        prose.push(' ');
    }
    prose.truncate(bytes);
    let noise = |_| char::from(b'#' + u8::try_from(random.number() % 57).unwrap());
    [json, prose, (0..bytes).map(noise).collect()]
}

/// Publishes an event with this content and reads it back, both compressed.
#[track_caller]
fn check_content(client: &mut Deflated, key: &Key, n: u64, content: &str, fragment: usize) {
    let event: Event = key.note(now() - 100_000 + n, content);
    let message = format!(r#"["EVENT",{}]"#, event.as_str());
    match fragment {
        0 => client.send(&message),
        bytes => client.send_fragmented(&message, bytes),
    }
    let id = event.id().to_hex();
    let ok = client.read_verb("OK");
    assert!(ok.starts_with(&format!(r#"["OK","{id}",true"#)), "{ok}");
    let stored = client.query("s", &format!(r#"{{"ids":["{id}"]}}"#));
    let expected = format!(r#"["EVENT","s",{}]"#, event.as_str());
    assert!(
        stored == [expected],
        "{} bytes came back otherwise",
        content.len()
    );
}

#[track_caller]
fn check_sizes(settings: &[&str]) {
    let relay = Relay::with(settings);
    let key = Key::nth(0);
    for (group, offer) in OFFERS.into_iter().enumerate() {
        let mut client = Deflated::connect(&relay, offer);
        assert!(client.agreed.is_some(), "{offer}");
        for (nth, (bytes, fragment)) in (0..).zip(SIZES) {
            // Every sort of data in every size over the first, and one of them over each of the others.
            for (sort, content) in (0..).zip(data(bytes)) {
                if group == 0 || nth % 3 == sort {
                    let n = u64::try_from(group).unwrap() * 100 + nth * 3 + sort;
                    check_content(&mut client, &key, n, &content, fragment);
                }
            }
        }
    }
}

#[test]
fn group_12_and_13_messages_of_all_sizes_arrive_as_they_are() {
    check_sizes(&[]);
}

#[test]
fn group_12_and_13_messages_of_all_sizes_arrive_as_they_are_with_windows() {
    check_sizes(&["gateway.compression_windows_bytes_max=4194304"]);
}

#[test]
fn a_thousand_compressed_messages_one_after_the_other() {
    let relay = Relay::start();
    let mut client = Deflated::connect(&relay, OFFERS[0]);
    client.read_verb("AUTH");
    for n in 0..1_000 {
        client.send(&super::say_long(&n.to_string(), 16 + n));
        assert!(client.read().starts_with(&format!(r#"["CLOSED","{n}""#)));
    }
}

#[test]
fn the_reserved_bit_stands_on_the_first_frame_of_a_message_alone() {
    let relay = Relay::start();
    let text = super::say("fragments");
    for (what, second_bits) in [("right", 0), ("wrong", RSV1)] {
        let mut client = Deflated::connect(&relay, OFFERS[0]);
        client.read_verb("AUTH");
        let payload = client.deflate(text.as_bytes());
        let (first, second) = payload.split_at(payload.len() / 2);
        client
            .socket
            .send(&Frame::text(first).rsv(RSV1).unfinished());
        client.socket.send(&Frame::new(PING, "between"));
        let between = client.socket.read(PATIENCE);
        assert_eq!(between, Ok(Message::Pong(b"between".to_vec())), "{what}");
        client
            .socket
            .send(&Frame::continuation(second).rsv(second_bits));
        match second_bits {
            0 => assert!(client.read().starts_with(r#"["CLOSED","fragments""#)),
            _ => assert_eq!(client.socket.read_close().0, 1002),
        }
    }
    // A message that began without it isn't compressed, and control frames never are (RFC 7692 §6.1).
    for frames in [
        vec![
            Frame::text("[").unfinished(),
            Frame::continuation("]").rsv(RSV1),
        ],
        vec![Frame::new(PING, "").rsv(RSV1)],
        vec![Frame::text("").rsv(2)],
        vec![Frame::text("").rsv(RSV1 | 1)],
    ] {
        let mut client = Deflated::connect(&relay, OFFERS[0]);
        for frame in &frames {
            client.socket.send(frame);
        }
        assert_eq!(client.socket.read_close().0, 1002, "{frames:?}");
    }
}

#[test]
fn compressed_text_has_to_be_utf8_and_compressed_binary_gets_a_notice() {
    let relay = Relay::start();
    let mut client = Deflated::connect(&relay, OFFERS[0]);
    client.read_verb("AUTH");
    let payload = client.deflate(b"\xff\xfe");
    let binary = Frame::new(BINARY, &payload).rsv(RSV1);
    client.socket.send(&binary);
    client.read_verb("NOTICE");
    client.send(&super::say("still here"));
    assert!(client.read().starts_with(r#"["CLOSED","still here""#));
    client.socket.send(&Frame::text(&payload).rsv(RSV1));
    assert_eq!(client.socket.read_close().0, 1007);
}

#[test]
fn blocks_of_every_sort_are_inflated() {
    let relay = Relay::start();
    let mut client = Deflated::connect(&relay, OFFERS[0]);
    client.read_verb("AUTH");
    let text = super::say("blocks");
    let payload = client.deflate(text.as_bytes());
    let stored = |bytes: &[u8], last: u8| {
        let length = u16::try_from(bytes.len()).unwrap();
        let head = [&[last][..], &length.to_le_bytes(), &(!length).to_le_bytes()].concat();
        [&head[..], bytes].concat()
    };
    let (first, second) = text.as_bytes().split_at(7);
    for (what, payload) in [
        ("one block", payload.clone()),
        (
            "empty blocks before it",
            [&stored(b"", 0).repeat(3)[..], &payload].concat(),
        ),
        ("stored", [stored(text.as_bytes(), 0), vec![0]].concat()),
        (
            "stored in two",
            [stored(first, 0), stored(second, 0), vec![0]].concat(),
        ),
        // RFC 7692 §7.2.3.4
        (
            "marked as the last",
            [stored(text.as_bytes(), 1), vec![0]].concat(),
        ),
        (
            "two marked as the last",
            [stored(first, 1), stored(second, 1), vec![0]].concat(),
        ),
    ] {
        client.socket.send(&Frame::text(&payload).rsv(RSV1));
        let answer = client.read();
        assert!(
            answer.starts_with(r#"["CLOSED","blocks""#),
            "{what}: {answer}"
        );
    }
    // The empty message (RFC 7692 §7.2.3.6).
    client.socket.send(&Frame::text([0]).rsv(RSV1));
    client.read_verb("NOTICE");
}
