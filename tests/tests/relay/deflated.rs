//! A client with compression (RFC 7692) that holds the relay to what was agreed on: it keeps no larger window
//! than that, and none from message to message if that was promised not to be needed.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use heliograph_testkit::{
    PATIENCE,
    frame::{Frame, PONG, RSV1},
    process::Relay,
    websocket::{Handshake, Message, WebSocket},
};

/// What every compressed message leaves out at its end (RFC 7692 §7.2.1).
pub(crate) const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Bytes inflated at a time: what was inflated in one go would serve as a window however small that is.
const STEP: usize = 128;

/// The answer to an offer, checked for its form (RFC 7692 §7.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) server_no_context_takeover: bool,
    pub(crate) client_no_context_takeover: bool,
    pub(crate) server_max_window_bits: Option<u8>,
    pub(crate) client_max_window_bits: Option<u8>,
}

impl Agreed {
    /// Reads the value of `Sec-WebSocket-Extensions`.
    #[track_caller]
    pub(crate) fn read(header: &str) -> Self {
        let mut parts = header.split("; ");
        assert_eq!(parts.next(), Some("permessage-deflate"), "{header}");
        let mut agreed = Self::default();
        let bits = |text: &str| {
            let bits: u8 = text.parse().unwrap_or_else(|_| panic!("{header}"));
            assert!(
                (8..=15).contains(&bits) && !text.starts_with('0'),
                "{header}"
            );
            bits
        };
        for part in parts {
            let before = agreed;
            match part.split_once('=') {
                None if part == "server_no_context_takeover" => {
                    agreed.server_no_context_takeover = true;
                }
                None if part == "client_no_context_takeover" => {
                    agreed.client_no_context_takeover = true;
                }
                Some(("server_max_window_bits", value)) => {
                    agreed.server_max_window_bits = Some(bits(value));
                }
                Some(("client_max_window_bits", value)) => {
                    agreed.client_max_window_bits = Some(bits(value));
                }
                _ => panic!("{part:?} in {header}"),
            }
            assert_ne!(before, agreed, "twice in {header}");
        }
        agreed
    }
}

/// A connection with compression and the two windows of this side.
pub(crate) struct Deflated {
    pub(crate) socket: WebSocket,
    pub(crate) agreed: Option<Agreed>,
    compress: Compress,
    decompress: Decompress,
    /// Bytes of the payloads of compressed messages received, in order.
    pub(crate) compressed: Vec<usize>,
}

impl Deflated {
    /// Connects with this offer, whatever becomes of it.
    #[track_caller]
    pub(crate) fn connect(relay: &Relay, offer: &str) -> Self {
        let offer = format!("Sec-WebSocket-Extensions: {offer}");
        let handshake = Handshake::default().field(&offer);
        let socket = WebSocket::connect_with(relay.address(), &handshake);
        let agreed = socket
            .response
            .header("sec-websocket-extensions")
            .map(Agreed::read);
        let window = agreed.and_then(|agreed| agreed.server_max_window_bits);
        // zlib has none of 256 bytes.
        let window = window.unwrap_or(15).max(9);
        Self {
            socket,
            agreed,
            compress: Compress::new(Compression::default(), false),
            decompress: Decompress::new_with_window_bits(false, window),
            compressed: Vec::new(),
        }
    }

    /// Compresses with a window of 2 to the power of `bits` bytes from now on.
    pub(crate) fn narrow(&mut self, bits: u8) {
        self.compress = Compress::new_with_window_bits(Compression::default(), false, bits);
    }

    pub(crate) fn deflate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 1_024);
        self.compress
            .compress_vec(bytes, &mut out, FlushCompress::Sync)
            .unwrap();
        // As was agreed on: the relay always asks for it.
        self.compress.reset();
        out.strip_suffix(&TAIL)
            .expect("a sync flush ends so")
            .to_vec()
    }

    /// Sends a text in one compressed frame.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        let payload = self.deflate(text.as_bytes());
        self.socket.send(&Frame::text(payload).rsv(RSV1));
    }

    /// Sends a text compressed, in frames of so many bytes.
    #[track_caller]
    pub(crate) fn send_fragmented(&mut self, text: &str, bytes: usize) {
        let payload = self.deflate(text.as_bytes());
        let count = payload.chunks(bytes).count();
        for (nth, part) in payload.chunks(bytes).enumerate() {
            let mut frame = match nth {
                0 => Frame::text(part).rsv(RSV1),
                _ => Frame::continuation(part),
            };
            frame.fin = nth + 1 == count;
            self.socket.send(&frame);
        }
    }

    #[track_caller]
    fn inflate(&mut self, payload: &[u8]) -> String {
        let agreed = self.agreed.expect("nothing is compressed otherwise");
        if agreed.server_no_context_takeover {
            self.decompress.reset(false);
        }
        let whole = [payload, &TAIL].concat();
        let (mut text, mut rest) = (Vec::new(), &whole[..]);
        loop {
            let (before, mut step) = (self.decompress.total_in(), Vec::with_capacity(STEP));
            let done = self
                .decompress
                .decompress_vec(rest, &mut step, FlushDecompress::Sync);
            if let Err(error) = done {
                self.socket.fail(&format!("{error} in {payload:02x?}"));
            }
            rest = &rest[usize::try_from(self.decompress.total_in() - before).unwrap()..];
            text.extend_from_slice(&step);
            if rest.is_empty() && step.len() < step.capacity() {
                return String::from_utf8(text).unwrap();
            }
        }
    }

    /// The next text, inflated if it has to be.
    #[track_caller]
    pub(crate) fn read(&mut self) -> String {
        loop {
            match self.socket.read(PATIENCE) {
                Ok(Message::Text(text)) => return text,
                Ok(Message::Compressed(payload)) => {
                    self.compressed.push(payload.len());
                    return self.inflate(&payload);
                }
                Ok(Message::Ping(payload)) => self.socket.send(&Frame::new(PONG, payload)),
                other => self.socket.fail(&format!("expected a text, got {other:?}")),
            }
        }
    }

    /// The next text with this verb.
    #[track_caller]
    pub(crate) fn read_verb(&mut self, verb: &str) -> String {
        loop {
            let text = self.read();
            if text.starts_with(&format!("[\"{verb}\"")) {
                return text;
            }
        }
    }

    /// Asks for stored events and returns the EVENT messages as they came.
    #[track_caller]
    pub(crate) fn query(&mut self, sub: &str, filter: &str) -> Vec<String> {
        self.send(&format!(r#"["REQ","{sub}",{filter}]"#));
        let mut events = Vec::new();
        loop {
            let text = self.read();
            if text.starts_with(&format!(r#"["EOSE","{sub}""#)) {
                return events;
            }
            if text.starts_with(&format!(r#"["EVENT","{sub}""#)) {
                events.push(text);
            }
        }
    }
}
