//! permessage-deflate (RFC 7692): negotiated when offered, never required (R01-29).
//!
//! Outgoing, an event is compressed once and not once per subscriber: the head of the message, which
//! differs, goes out as a stored block, and the shared compressed body follows, byte-aligned. The
//! body refers to nothing before it, so any inflater gives the exact text, whatever window it keeps.
//! Where memory was set aside for it, a client that keeps a window gets messages that refer to earlier
//! ones; when that is used up, it gets the shared bodies. Incoming, each message stands for itself.

mod bodies;
mod inflate;
mod offer;
mod window;

use std::sync::Arc;

use flate2::{Compress, Compression, FlushCompress};
use heliograph_protocol::Event;
use parking_lot::Mutex;

use self::{
    bodies::Bodies,
    window::{Window, Windows},
};
use super::{Frame, RSV1, TEXT};
use crate::metrics::WindowMetrics;

pub(crate) use self::{inflate::inflate, offer::Agreement};

/// What every compressed message leaves out at its end (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The windows that can be compressed for: 2 to the power of this, in bytes. Messages for one of 256, the
/// smallest that can be agreed on, go out as they are.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOW_BITS_MAX: u8 = 15;

/// Messages shorter than this go out as they are, window or not.
const TEXT_BYTES_MIN: usize = 128;

/// What is spent on it. From the second level on zlib-rs fits its codes to the text, without which ids, keys
/// and signatures in hex stay as long as they are: 0.63 of the size instead of 0.90. Higher ones gain nothing.
const LEVEL: Compression = Compression::new(2);

/// Bytes of a stored block beside its content.
const STORED_BLOCK_BYTES: usize = 5;

/// What all connections that agreed on compression share.
#[derive(Debug)]
pub(crate) struct Deflate {
    bodies: Bodies,
    windows: Arc<Windows>,
}

impl Deflate {
    /// With so much memory for windows; none at all if it is 0.
    pub(crate) fn new(windows_bytes_max: usize, metrics: &WindowMetrics) -> Self {
        Self {
            bodies: Bodies::default(),
            windows: Arc::new(Windows::new(windows_bytes_max, metrics)),
        }
    }

    /// Whether messages may refer to earlier ones where a client lets them.
    pub(crate) fn has_windows(&self) -> bool {
        self.windows.are_wanted()
    }

    /// What compresses for one connection.
    pub(crate) fn compressor(self: &Arc<Self>, agreement: Agreement) -> Compressor {
        Compressor {
            shared: Arc::clone(self),
            agreement,
            window: Mutex::default(),
        }
    }
}

/// Compresses the messages to one client.
#[derive(Debug)]
pub(crate) struct Compressor {
    shared: Arc<Deflate>,
    agreement: Agreement,
    /// What was sent lately, if there is memory for it. As long as it is there, every compressed message goes
    /// through it: it has to know all that the client's window has.
    window: Mutex<Option<Box<Window>>>,
}

impl Compressor {
    /// Whether messages may refer to earlier ones: then each is compressed for this connection alone.
    pub(crate) fn takes_over(&self) -> bool {
        self.agreement.takeover
    }

    /// Appends `head` + event + `]` as a compressed frame; `false` if that gains nothing.
    pub(crate) fn event(&self, head: &[u8], event: &Event, out: &mut Vec<u8>) -> bool {
        if self.agreement.takeover {
            let mut window = self.window.lock();
            if window.is_none() {
                *window = self.shared.windows.open(self.agreement.window_bits);
            }
            if let Some(window) = window.as_mut() {
                window.message(&[head, event.json(), b"]"], out);
                return true;
            }
        }
        let bits = self.agreement.window_bits;
        let Some(body) = self.shared.bodies.get(event, bits) else {
            return false;
        };
        let length = STORED_BLOCK_BYTES + head.len() + body.len();
        Frame::header(TEXT | RSV1, length, out);
        stored_block(head, out);
        out.extend_from_slice(&body);
        true
    }

    /// Appends another message as a compressed frame; `false` if it is short or there is no window.
    pub(crate) fn text(&self, text: &[u8], out: &mut Vec<u8>) -> bool {
        if text.len() < TEXT_BYTES_MIN || !self.agreement.takeover {
            return false;
        }
        match self.window.lock().as_mut() {
            Some(window) => {
                window.message(&[text], out);
                true
            }
            None => false,
        }
    }

    /// The client is pinged: gives back a window that nothing went through since the last time.
    pub(crate) fn pinged(&self) {
        let mut window = self.window.lock();
        if window.as_mut().is_some_and(|window| !window.was_used()) {
            *window = None;
        }
    }
}

/// Appends what `deflater` makes of a message, without the tail that RFC 7692 leaves out.
fn deflate(deflater: &mut Compress, parts: &[&[u8]], out: &mut Vec<u8>) {
    for (nth, part) in parts.iter().enumerate() {
        let flush = match nth + 1 == parts.len() {
            true => FlushCompress::Sync,
            false => FlushCompress::None,
        };
        let start = deflater.total_in();
        loop {
            let used = usize::try_from(deflater.total_in() - start).unwrap_or(part.len());
            out.reserve(64);
            let result = deflater.compress_vec(&part[used..], out, flush);
            let done = deflater.total_in() - start == part.len() as u64;
            // With room left over nothing more is to come of this part.
            if result.is_err() || (done && out.len() < out.capacity()) {
                break;
            }
        }
    }
    // A sync flush ends so.
    if out.ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
}

/// Appends `head` as a stored block of deflate, which ends on a byte boundary.
fn stored_block(head: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(head.len()).expect("subscription ids are short");
    out.push(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(head);
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use heliograph_protocol::{EventId, Kind, PublicKey, Signature, Timestamp};
    use hyper::{HeaderMap, header::SEC_WEBSOCKET_EXTENSIONS};

    use super::*;

    pub(super) fn event(content: &str) -> Event {
        let key = PublicKey::new([7; 32]);
        let tags: [Vec<&str>; 0] = [];
        let sign = |_: &EventId| Signature::new([9; 64]);
        Event::build(
            key,
            Timestamp::from_secs(1),
            Kind::new(1),
            &tags,
            content,
            sign,
        )
    }

    /// So many characters in which hardly anything comes twice.
    pub(super) fn noise(count: usize) -> String {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'0' + u8::try_from(state >> 58).unwrap() % 42)
        };
        (0..count).map(|_| next()).collect()
    }

    const HEAD: &[u8] = b"[\"EVENT\",\"a\",";

    fn message(event: &Event) -> Vec<u8> {
        [HEAD, event.json(), b"]"].concat()
    }

    fn compressor(deflate: &Arc<Deflate>, offer: &str) -> Compressor {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap());
        let agreement = Agreement::with(&headers, deflate.has_windows()).unwrap();
        deflate.compressor(agreement)
    }

    /// A client that keeps its window from message to message.
    struct Client {
        inflater: Decompress,
        compressor: Compressor,
    }

    impl Client {
        fn new(deflate: &Arc<Deflate>) -> Self {
            Self {
                inflater: Decompress::new(false),
                compressor: compressor(deflate, "permessage-deflate"),
            }
        }

        /// Sends an event, reads it and returns how many bytes it took.
        #[track_caller]
        fn send(&mut self, event: &Event) -> usize {
            let mut frame = Vec::new();
            assert!(self.compressor.event(HEAD, event, &mut frame));
            self.read(&frame, &message(event));
            frame.len()
        }

        #[track_caller]
        fn read(&mut self, frame: &[u8], expected: &[u8]) {
            assert_eq!(frame[0], 0x80 | RSV1 | TEXT);
            let header = match frame[1] {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            let mut rest = [&frame[header..], &TAIL].concat();
            let mut text = Vec::with_capacity(1 << 20);
            while !rest.is_empty() {
                let before = self.inflater.total_in();
                let done = self
                    .inflater
                    .decompress_vec(&rest, &mut text, FlushDecompress::Sync);
                assert!(done.is_ok(), "{done:?}");
                rest.drain(..usize::try_from(self.inflater.total_in() - before).unwrap());
            }
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_window_makes_messages_shorter_that_are_like_earlier_ones() {
        let metrics = WindowMetrics::default();
        let deflate = Arc::new(Deflate::new(1 << 20, &metrics));
        let mut client = Client::new(&deflate);
        let event = event(&noise(2_000));
        let (first, second) = (client.send(&event), client.send(&event));
        assert!(second < first / 10, "{first}, {second}");
        assert!(metrics.bytes.get() > 200_000);
        let mut frame = Vec::new();
        let text = "over and over ".repeat(20);
        assert!(client.compressor.text(text.as_bytes(), &mut frame));
        client.read(&frame, text.as_bytes());
        assert!(
            !client.compressor.text(b"[\"EOSE\",\"a\"]", &mut frame),
            "short"
        );
        drop(client);
        assert_eq!(metrics.bytes.get(), 0);
    }

    #[test]
    fn without_memory_for_a_window_the_shared_body_goes_out_and_later_a_window_may_begin() {
        let metrics = WindowMetrics::default();
        // Enough for one.
        let deflate = Arc::new(Deflate::new(window::bytes(15), &metrics));
        let (mut first, mut second) = (Client::new(&deflate), Client::new(&deflate));
        let event = event(&noise(2_000));
        first.send(&event);
        let (shared, again) = (second.send(&event), second.send(&event));
        assert_eq!(shared, again);
        assert_eq!(metrics.refused.get(), 2);
        drop(first);
        let (alone, like) = (second.send(&event), second.send(&event));
        assert!(alone > 10 * like, "{alone}, {like}");
        assert_eq!(metrics.refused.get(), 2);
    }

    #[test]
    fn a_window_that_nothing_went_through_between_two_pings_is_given_back() {
        let metrics = WindowMetrics::default();
        let deflate = Arc::new(Deflate::new(1 << 20, &metrics));
        let mut client = Client::new(&deflate);
        let event = event(&noise(2_000));
        client.send(&event);
        client.compressor.pinged();
        client.send(&event);
        client.compressor.pinged();
        assert!(metrics.bytes.get() > 0);
        client.compressor.pinged();
        assert_eq!(metrics.bytes.get(), 0);
        // The client's window is as it was; what comes next doesn't refer to it.
        client.send(&event);
        let second = client.send(&event);
        assert!(second < 200, "{second}");
    }

    #[test]
    fn a_client_that_keeps_no_window_gets_shared_bodies() {
        let metrics = WindowMetrics::default();
        let deflate = Arc::new(Deflate::new(1 << 20, &metrics));
        for offer in [
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=8",
        ] {
            let compressor = compressor(&deflate, offer);
            let mut frame = Vec::new();
            let event = event(&"again ".repeat(400));
            let compressed = compressor.event(HEAD, &event, &mut frame);
            // For a window of 256 bytes nothing can be compressed here.
            assert_eq!(compressed, !offer.ends_with('8'), "{offer}");
            assert_eq!((metrics.bytes.get(), metrics.refused.get()), (0, 0));
        }
    }
}
