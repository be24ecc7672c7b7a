//! Compression (RFC 7692): negotiated when offered, never required (R01-29).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use heliograph_testkit::{
    PATIENCE,
    frame::{Frame, PONG, RSV1},
    keys::Key,
    process::Relay,
    websocket::{Handshake, Message, WebSocket},
};

use crate::support::now;

/// What every compressed message leaves out at its end (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A connection with compression and the two windows of this side.
struct Deflated {
    socket: WebSocket,
    compress: Compress,
    decompress: Decompress,
    /// Compressed messages received.
    compressed: usize,
}

impl Deflated {
    fn connect(relay: &Relay, offer: &str) -> Self {
        let offer = format!("Sec-WebSocket-Extensions: {offer}");
        let handshake = Handshake::default().field(&offer);
        let socket = WebSocket::connect_with(relay.address(), &handshake);
        let (compress, decompress) = (
            Compress::new(Compression::default(), false),
            Decompress::new(false),
        );
        Self {
            socket,
            compress,
            decompress,
            compressed: 0,
        }
    }

    fn deflate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        self.compress
            .compress_vec(bytes, &mut out, FlushCompress::Sync)
            .unwrap();
        out.strip_suffix(&TAIL)
            .expect("a sync flush ends so")
            .to_vec()
    }

    /// Sends a text in one compressed frame. This side takes no context over.
    fn send(&mut self, text: &str) {
        let payload = self.deflate(text.as_bytes());
        self.compress.reset();
        self.socket.send(&Frame::text(payload).rsv(RSV1));
    }

    fn inflate(&mut self, mut payload: Vec<u8>) -> String {
        payload.extend_from_slice(&TAIL);
        let mut out = Vec::new();
        let start = self.decompress.total_in();
        while self.decompress.total_in() - start < payload.len() as u64 {
            out.reserve(64 * 1024);
            let done = usize::try_from(self.decompress.total_in() - start).unwrap();
            let rest = &payload[done..];
            self.decompress
                .decompress_vec(rest, &mut out, FlushDecompress::Sync)
                .unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    /// The next text, inflated if it has to be.
    fn read(&mut self) -> String {
        loop {
            match self.socket.read(PATIENCE) {
                Ok(Message::Text(text)) => return text,
                Ok(Message::Compressed(payload)) => {
                    self.compressed += 1;
                    return self.inflate(payload);
                }
                Ok(Message::Ping(payload)) => self.socket.send(&Frame::new(PONG, payload)),
                other => self.socket.fail(&format!("expected a text, got {other:?}")),
            }
        }
    }

    /// The next text with this verb.
    fn read_verb(&mut self, verb: &str) -> String {
        loop {
            let text = self.read();
            if text.starts_with(&format!("[\"{verb}\"")) {
                return text;
            }
        }
    }
}

/// The offers that browsers and libraries make.
const OFFERS: [&str; 5] = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "x-webkit-deflate-frame, permessage-deflate",
    "permessage-deflate; server_max_window_bits=10; client_max_window_bits, permessage-deflate",
];

#[test]
fn events_arrive_intact_through_every_offer() {
    let relay = Relay::start();
    let key = Key::nth(0);
    for offer in OFFERS {
        let mut client = Deflated::connect(&relay, offer);
        let agreed = client
            .socket
            .response
            .header("sec-websocket-extensions")
            .map(str::to_owned);
        assert!(
            agreed.is_some_and(|agreed| agreed.starts_with("permessage-deflate")),
            "{offer}"
        );
        client.send(r#"["REQ","live",{"kinds":[1],"limit":0}]"#);
        client.read_verb("EOSE");
        for n in 0..20 {
            let event = key.note(
                now(),
                &format!("{offer} {n} {}", "over and over ".repeat(60)),
            );
            client.send(&format!(r#"["EVENT",{}]"#, event.as_str()));
            let delivered = client.read_verb("EVENT");
            assert_eq!(
                delivered,
                format!(r#"["EVENT","live",{}]"#, event.as_str()),
                "{offer}"
            );
        }
        client.send(r#"["REQ","stored",{"kinds":[1],"limit":5}]"#);
        for _ in 0..5 {
            assert!(
                client
                    .read_verb("EVENT")
                    .starts_with(r#"["EVENT","stored",{"id":""#)
            );
        }
        assert!(
            client.compressed >= 10,
            "only {} were compressed",
            client.compressed
        );
    }
}

#[test]
fn an_uncompressed_message_is_taken_where_compression_was_agreed_on() {
    let relay = Relay::start();
    let mut client = Deflated::connect(&relay, "permessage-deflate");
    client.socket.send_text(r#"["REQ","s",{"ids":[]}]"#);
    assert!(client.read_verb("EOSE").starts_with(r#"["EOSE","s""#));
}

#[test]
fn a_compressed_message_may_come_in_fragments() {
    let relay = Relay::start();
    let mut client = Deflated::connect(&relay, "permessage-deflate");
    let payload = client.deflate(br#"["REQ","s",{"ids":[]}]"#);
    let (start, end) = payload.split_at(payload.len() / 2);
    client
        .socket
        .send(&Frame::text(start).unfinished().rsv(RSV1));
    client.socket.send(&Frame::continuation(end));
    assert!(client.read_verb("EOSE").starts_with(r#"["EOSE","s""#));
}

#[test]
fn a_bomb_closes_with_1009_before_it_is_inflated() {
    let relay = Relay::start();
    let mut client = Deflated::connect(&relay, "permessage-deflate");
    let payload = client.deflate(&vec![b' '; 64 << 20]);
    assert!(payload.len() < 100_000, "64 MiB in {} bytes", payload.len());
    client.socket.send(&Frame::text(payload).rsv(RSV1));
    assert_eq!(client.socket.read_close().0, 1009);
}

#[test]
fn what_is_not_deflate_closes_the_connection() {
    let relay = Relay::start();
    let mut client = Deflated::connect(&relay, "permessage-deflate");
    client.socket.send(&Frame::text([0xff; 32]).rsv(RSV1));
    let (code, _) = client.socket.read_close();
    assert!(matches!(code, 1002 | 1007), "{code}");
}

#[test]
fn nothing_is_compressed_unless_offered_or_if_switched_off() {
    let relay = Relay::start();
    let plain = WebSocket::connect(relay.address());
    assert_eq!(plain.response.header("sec-websocket-extensions"), None);
    let off = Relay::with(&["gateway.compression=false"]);
    let client = Deflated::connect(&off, "permessage-deflate");
    assert_eq!(
        client.socket.response.header("sec-websocket-extensions"),
        None
    );
}
