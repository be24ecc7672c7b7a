//! Compression (RFC 7692): negotiated when offered, never required (R01-29).

use heliograph_protocol::Event;
use heliograph_sandbox::wait::within;
use heliograph_testkit::{
    PATIENCE,
    frame::{Frame, RSV1},
    http::request,
    keys::Key,
    process::Relay,
    websocket::WebSocket,
};
use serde_json::json;

use crate::{
    deflated::{Agreed, Deflated},
    operate::admin,
    support::{accept_all, metric, now},
};

/// The relay's settings with memory for that many compression windows of 32 KiB.
pub(crate) fn windows(count: usize) -> String {
    format!("gateway.compression_windows_bytes_max={}", count * 385_024)
}

/// Events that compress in different ways: hardly, well, only with a large window, only with a window that is
/// kept, and not at all since they are short.
pub(crate) fn events(key: &Key) -> Vec<Event> {
    let far = noise(1, 12_000);
    let near = noise(2, 700);
    let contents = [
        "short".to_owned(),
        near.clone(),
        near,
        "over and over, é 😀 \"quoted\" \\ \n ".repeat(60),
        [&*far, &far].concat(),
        far,
    ];
    let from = now() - 1_000;
    let contents = (0..).zip(&contents);
    contents
        .map(|(nth, content)| key.note(from + nth, content))
        .collect()
}

/// Text in which hardly anything comes twice.
pub(crate) fn noise(seed: u64, count: usize) -> String {
    let mut random = crate::support::Random::seeded(seed);
    let signs = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-";
    (0..count)
        .map(|_| char::from(signs[usize::try_from(random.number() % 64).unwrap()]))
        .collect()
}

/// The EVENT messages for these events, newest first.
pub(crate) fn messages(sub: &str, events: &[Event]) -> Vec<String> {
    let newest_first = events.iter().rev();
    newest_first
        .map(|event| format!(r#"["EVENT","{sub}",{}]"#, event.as_str()))
        .collect()
}

/// What an offer says.
#[derive(Debug, Clone, Copy)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// 0 is the parameter without a value.
    client_max_window_bits: Option<u8>,
}

impl Offer {
    /// Every combination of the four parameters and their values (RFC 7692 §7.1).
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        let values = |first: u8| [None].into_iter().chain((first..=15).map(Some));
        for server_no_context_takeover in [false, true] {
            for client_no_context_takeover in [false, true] {
                for server_max_window_bits in values(8) {
                    for client_max_window_bits in values(7) {
                        all.push(Self {
                            server_no_context_takeover,
                            client_no_context_takeover,
                            server_max_window_bits,
                            client_max_window_bits: client_max_window_bits
                                .map(|bits| if bits == 7 { 0 } else { bits }),
                        });
                    }
                }
            }
        }
        all
    }

    fn text(&self) -> String {
        let mut text = "permessage-deflate".to_owned();
        for (said, name) in [
            (
                self.server_no_context_takeover,
                "server_no_context_takeover",
            ),
            (
                self.client_no_context_takeover,
                "client_no_context_takeover",
            ),
        ] {
            if said {
                text += &format!("; {name}");
            }
        }
        if let Some(bits) = self.server_max_window_bits {
            text += &format!("; server_max_window_bits={bits}");
        }
        match self.client_max_window_bits {
            Some(0) => text += "; client_max_window_bits",
            Some(bits) => text += &format!("; client_max_window_bits={bits}"),
            None => {}
        }
        text
    }
}

/// Makes every offer to a relay, checks the answer and that all messages arrive as they are.
#[track_caller]
fn check_every_offer(settings: &[&str], has_windows: bool) {
    let relay = Relay::with(settings);
    let key = Key::nth(0);
    let events = events(&key);
    accept_all(&mut relay.client(), &events);
    let filter = json!({"authors": [key.hex()]}).to_string();
    let offers = Offer::all();
    assert_eq!(offers.len(), 2 * 2 * 9 * 10);
    for offer in offers {
        let mut client = Deflated::connect(&relay, &offer.text());
        let expected = Agreed {
            server_no_context_takeover: offer.server_no_context_takeover || !has_windows,
            client_no_context_takeover: true,
            server_max_window_bits: offer.server_max_window_bits,
            client_max_window_bits: None,
        };
        assert_eq!(client.agreed, Some(expected), "{offer:?}");
        if let Some(bits @ 9..) = offer.client_max_window_bits {
            client.narrow(bits);
        }
        // Twice, so that what is kept from message to message is used.
        for sub in ["once", "twice"] {
            assert_eq!(
                client.query(sub, &filter),
                messages(sub, &events),
                "{offer:?}"
            );
        }
        // A window of 256 bytes is agreed on, and nothing can be compressed for it.
        let compresses = offer.server_max_window_bits != Some(8);
        assert_eq!(!client.compressed.is_empty(), compresses, "{offer:?}");
    }
}

#[test]
fn every_legal_combination_of_parameters_is_agreed_to_and_kept() {
    check_every_offer(&[], false);
}

#[test]
fn every_legal_combination_of_parameters_is_agreed_to_and_kept_with_windows() {
    check_every_offer(&[&windows(4)], true);
}

#[test]
fn an_offer_that_is_not_legal_is_declined() {
    let relay = Relay::start();
    for parameters in [
        "server_max_window_bits",
        "server_max_window_bits=",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=0x0a",
        "server_max_window_bits=-10",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=",
        "client_max_window_bits=08",
        "client_max_window_bits; client_max_window_bits",
        "server_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover=1",
        "client_no_context_takeover; client_no_context_takeover",
        "unknown_parameter",
        "unknown_parameter=1",
        "",
    ] {
        let offer = format!("permessage-deflate; {parameters}");
        let mut client = Deflated::connect(&relay, &offer);
        assert_eq!(client.agreed, None, "{offer}");
        client.socket.send_text(r#"["REQ","s",{"ids":[]}]"#);
        assert!(client.read_verb("EOSE").starts_with(r#"["EOSE","s""#));
        // Without an agreement the reserved bit has no meaning.
        client.send(r#"["REQ","s",{"ids":[]}]"#);
        assert_eq!(client.socket.read_close().0, 1002, "{offer}");
        // The next offer counts (RFC 7692 §5.1).
        let offers = format!("{offer}, permessage-deflate; server_max_window_bits=11");
        let agreed = Deflated::connect(&relay, &offers).agreed;
        let bits = agreed.and_then(|agreed| agreed.server_max_window_bits);
        assert_eq!(bits, Some(11), "{offers}");
    }
}

#[test]
fn other_extensions_are_passed_over_and_values_may_be_quoted() {
    let relay = Relay::start();
    for (offer, bits) in [
        ("x-webkit-deflate-frame, permessage-deflate", None),
        (
            "x-other; server_max_window_bits=9, permessage-deflate",
            None,
        ),
        (
            "permessage-deflate; server_max_window_bits=\"12\"",
            Some(12),
        ),
        ("permessage-deflate;server_max_window_bits=10", Some(10)),
        (
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            Some(9),
        ),
    ] {
        let agreed = Deflated::connect(&relay, offer).agreed.expect(offer);
        assert_eq!(agreed.server_max_window_bits, bits, "{offer}");
    }
    for offer in ["x-webkit-deflate-frame", "permessage-deflat", "deflate"] {
        assert_eq!(Deflated::connect(&relay, offer).agreed, None, "{offer}");
    }
}

#[test]
fn a_live_event_arrives_intact_and_compressed() {
    for settings in [vec![], vec![windows(1)]] {
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let relay = Relay::with(&settings);
        let (mut reader, mut writer) = (
            Deflated::connect(&relay, "permessage-deflate"),
            Deflated::connect(&relay, "permessage-deflate; client_max_window_bits"),
        );
        reader.send(r#"["REQ","live",{"kinds":[1],"limit":0}]"#);
        reader.read_verb("EOSE");
        for event in events(&Key::nth(0)) {
            writer.send(&format!(r#"["EVENT",{}]"#, event.as_str()));
            let expected = format!(r#"["EVENT","live",{}]"#, event.as_str());
            assert_eq!(reader.read_verb("EVENT"), expected);
        }
        assert!(reader.compressed.len() >= 5, "{:?}", reader.compressed);
    }
}

#[test]
fn short_messages_go_out_as_they_are() {
    for settings in [vec![], vec![windows(1)]] {
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let relay = Relay::with(&settings);
        let mut client = Deflated::connect(&relay, "permessage-deflate");
        client.read_verb("AUTH");
        client.send(r#"["REQ","s",{"ids":[]}]"#);
        client.read_verb("EOSE");
        client.send(r#"["COUNT","c",{"ids":[]}]"#);
        client.read_verb("COUNT");
        let note = Key::nth(0).note(now(), "short");
        client.send(&format!(r#"["EVENT",{}]"#, note.as_str()));
        client.read_verb("OK");
        client.send("nonsense");
        client.read_verb("NOTICE");
        assert_eq!(client.compressed, [0_usize; 0]);
        if settings.is_empty() {
            // Ids, keys and signatures don't compress, and there is little else in it.
            assert_eq!(client.query("q", r#"{"kinds":[1]}"#).len(), 1);
            assert_eq!(client.compressed, [0_usize; 0]);
        }
    }
}

#[test]
fn a_window_is_kept_where_there_is_memory_for_it_and_given_back() {
    let relay = Relay::with(&[&windows(2)]);
    let address = admin(&relay);
    let page = || request(address, "GET", "/metrics", &[]).text().to_owned();
    let used = || metric(&page(), "heliograph_compression_window_bytes");
    let refused = || metric(&page(), "heliograph_compression_windows_refused_total");
    assert_eq!((used(), refused()), (0.0, 0.0));
    let key = Key::nth(0);
    let note = key.note(now(), &noise(1, 3_000));
    accept_all(&mut relay.client(), std::slice::from_ref(&note));
    let filter = json!({"authors": [key.hex()]}).to_string();
    let mut clients = [0; 3].map(|_| Deflated::connect(&relay, "permessage-deflate"));
    for client in &mut clients {
        for sub in ["a", "b", "c"] {
            assert_eq!(
                client.query(sub, &filter),
                messages(sub, std::slice::from_ref(&note))
            );
        }
    }
    let [first, second, third] = clients;
    for client in [&first, &second] {
        assert!(
            client.compressed[1] < client.compressed[0] / 10,
            "{:?}",
            client.compressed
        );
        assert!(
            client.compressed[2] < client.compressed[0] / 10,
            "{:?}",
            client.compressed
        );
    }
    assert!(
        third.compressed[1..]
            .iter()
            .all(|bytes| *bytes == third.compressed[0])
    );
    assert!(used() > 0.0);
    assert_eq!(refused(), 3.0);
    drop((first, second, third));
    within(PATIENCE, "memory of windows to be given back", || {
        (used() == 0.0).then_some(())
    });
}

#[test]
fn an_uncompressed_message_is_taken_where_compression_was_agreed_on() {
    let relay = Relay::start();
    let mut client = Deflated::connect(&relay, "permessage-deflate");
    client.socket.send_text(r#"["REQ","s",{"ids":[]}]"#);
    assert!(client.read_verb("EOSE").starts_with(r#"["EOSE","s""#));
}

/// The most that a process has had in memory, in KiB.
fn peak_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("Linux says VmHWM")
}

#[test]
fn a_bomb_closes_with_1009_before_it_is_inflated() {
    const INFLATED: usize = 64 << 20;
    let relay = Relay::start();
    let mut clients: Vec<Deflated> = (0..40)
        .map(|_| Deflated::connect(&relay, "permessage-deflate"))
        .collect();
    let bomb = clients[0].deflate(&vec![b' '; INFLATED]);
    assert!(bomb.len() < 100_000, "64 MiB in {} bytes", bomb.len());
    for client in &mut clients {
        assert_eq!(client.query("s", r#"{"ids":[]}"#), [""; 0]);
    }
    let before = peak_kib(relay.id());
    for client in &mut clients {
        client.socket.send(&Frame::text(&bomb).rsv(RSV1));
    }
    for client in &mut clients {
        assert_eq!(client.socket.read_close().0, 1009);
    }
    let grown = peak_kib(relay.id()) - before;
    assert!(
        grown < INFLATED as u64 / 1_024 / 2,
        "{grown} KiB for forty bombs of 64 MiB"
    );
    assert_eq!(relay.client().fence(), []);
}

#[test]
fn a_message_is_held_to_its_inflated_size() {
    let relay = Relay::with(&[
        "gateway.message_bytes_max=65600",
        "gateway.event_bytes_max=65536",
        "gateway.large_event_bytes_max=65536",
    ]);
    let padded = |bytes: usize| {
        let message = r#"["COUNT","c",{"ids":[]}]"#;
        message.to_owned() + &" ".repeat(bytes - message.len())
    };
    let mut client = Deflated::connect(&relay, "permessage-deflate");
    client.send(&padded(65_600));
    client.read_verb("COUNT");
    client.send_fragmented(&padded(65_600), 40);
    client.read_verb("COUNT");
    client.send(&padded(65_601));
    assert_eq!(client.socket.read_close().0, 1009);
    let mut client = Deflated::connect(&relay, "permessage-deflate");
    client.send_fragmented(&padded(65_601), 40);
    assert_eq!(client.socket.read_close().0, 1009);
}

#[test]
fn what_is_not_deflate_closes_the_connection() {
    let relay = Relay::start();
    for payload in [&[0xff; 32][..], &[0x06], &[0x00, 5, 0, 0, 0, b'x']] {
        let mut client = Deflated::connect(&relay, "permessage-deflate");
        client.socket.send(&Frame::text(payload).rsv(RSV1));
        let (code, _) = client.socket.read_close();
        assert!(matches!(code, 1002 | 1007), "{code}");
    }
}

#[test]
fn nothing_is_compressed_unless_offered_or_if_switched_off() {
    let relay = Relay::start();
    let plain = WebSocket::connect(relay.address());
    assert_eq!(plain.response.header("sec-websocket-extensions"), None);
    let off = Relay::with(&["gateway.compression=false"]);
    let client = Deflated::connect(&off, "permessage-deflate");
    assert_eq!(client.agreed, None);
}
