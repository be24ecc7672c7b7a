//! permessage-deflate (RFC 7692): negotiated when offered, never required (R01-29).
//!
//! Outgoing, an event is compressed once and not once per subscriber: the head of the message, which
//! differs, goes out as a stored block, and the shared compressed body follows, byte-aligned. The
//! body refers to nothing before it, so any inflater gives the exact text, whatever window it keeps.
//! Incoming, each message stands for itself, and its inflated size is capped while inflating.

use std::{cell::RefCell, sync::Arc};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use hashbrown::HashMap;
use heliograph_protocol::{Event, EventId};
use hyper::{HeaderMap, header::SEC_WEBSOCKET_EXTENSIONS};
use parking_lot::Mutex;

use super::{Violation, close};

/// What is agreed on: neither side refers to earlier messages.
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The same for an offer that names our window: it has to be named back (RFC 7692 §7.1.2.1).
const AGREED_WITH_WINDOW: &str = "permessage-deflate; server_no_context_takeover; \
                                  client_no_context_takeover; server_max_window_bits=15";

/// What every compressed message leaves out at its end (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Wire forms shorter than this aren't worth it: ids, keys and signatures don't compress.
const BODY_BYTES_MIN: usize = 480;

/// Memory of compressed bodies in one of two generations; an event that is sent again finds its body
/// until twice as much has been compressed after it.
const GENERATION_BYTES_MAX: usize = 8 << 20;

/// Bytes inflated at a time, so that a bomb is found early.
const INFLATE_STEP: usize = 16 * 1024;

/// The answer to the first of the client's offers that can be agreed to.
pub(crate) fn agree(headers: &HeaderMap) -> Option<&'static str> {
    headers
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(agree_to)
}

/// Reads one offer (RFC 7692 §7.1). A smaller window of ours is declined: bodies are shared by all
/// clients and use the full one.
fn agree_to(offer: &str) -> Option<&'static str> {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return None;
    }
    let mut seen = Vec::new();
    for parameter in parts {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        let acceptable = match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            | ("client_max_window_bits", None)
            | ("server_max_window_bits", Some("15")) => true,
            ("client_max_window_bits", Some(bits)) => {
                matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
            }
            _ => false,
        };
        if !acceptable || seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    let names_window = seen.contains(&"server_max_window_bits");
    Some(if names_window {
        AGREED_WITH_WINDOW
    } else {
        AGREED
    })
}

thread_local! {
    static COMPRESS: RefCell<Compress> =
        RefCell::new(Compress::new(Compression::fast(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Inflates one message.
///
/// # Errors
///
/// [`Violation`] with 1009 as soon as it is longer than `bytes_max`, with 1002 if it isn't deflate.
pub(crate) fn inflate(payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, Violation> {
    let broken = Violation {
        code: close::PROTOCOL_ERROR,
        reason: "not deflate",
    };
    DECOMPRESS.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let mut out = Vec::with_capacity((payload.len() * 3).clamp(64, INFLATE_STEP));
        for part in [payload, &TAIL] {
            let start = inflater.total_in();
            loop {
                let used = usize::try_from(inflater.total_in() - start).unwrap_or(usize::MAX);
                let Some(rest) = part.get(used..) else {
                    return Err(broken);
                };
                if out.len() == out.capacity() {
                    out.reserve(INFLATE_STEP);
                }
                let before = out.len();
                let status = inflater
                    .decompress_vec(rest, &mut out, FlushDecompress::Sync)
                    .map_err(|_error| broken)?;
                if out.len() > bytes_max {
                    return Err(Violation {
                        code: close::TOO_BIG,
                        reason: "message too big",
                    });
                }
                let done = usize::try_from(inflater.total_in() - start) == Ok(part.len());
                if status == Status::StreamEnd {
                    return Ok(out);
                }
                if done && out.len() < out.capacity() {
                    break;
                }
                let idle = out.len() == before && out.len() < out.capacity();
                if idle && inflater.total_in() - start == used as u64 {
                    return Err(broken);
                }
            }
        }
        Ok(out)
    })
}

/// Compressed bodies of events sent lately, shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<EventId, Arc<[u8]>>,
    old: HashMap<EventId, Arc<[u8]>>,
    young_bytes: usize,
}

impl Bodies {
    /// The event's wire form and the closing bracket, compressed; `None` if that gains nothing.
    pub(crate) fn get(&self, event: &Event) -> Option<Arc<[u8]>> {
        if event.json().len() < BODY_BYTES_MIN {
            return None;
        }
        let body = self.find(event.id()).unwrap_or_else(|| {
            let body: Arc<[u8]> = deflate(event.json()).into();
            self.keep(*event.id(), &body);
            body
        });
        (body.len() < event.json().len()).then_some(body)
    }

    fn find(&self, id: &EventId) -> Option<Arc<[u8]>> {
        let generations = self.generations.lock();
        generations
            .young
            .get(id)
            .or_else(|| generations.old.get(id))
            .cloned()
    }

    fn keep(&self, id: EventId, body: &Arc<[u8]>) {
        let mut generations = self.generations.lock();
        generations.young_bytes += body.len() + size_of::<EventId>();
        generations.young.insert(id, Arc::clone(body));
        if generations.young_bytes > GENERATION_BYTES_MAX {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
    }
}

fn deflate(json: &[u8]) -> Vec<u8> {
    COMPRESS.with_borrow_mut(|deflater| {
        deflater.reset();
        let mut out = Vec::with_capacity(json.len() + 64);
        for (part, flush) in [
            (json, FlushCompress::None),
            (b"]".as_slice(), FlushCompress::Sync),
        ] {
            let start = deflater.total_in();
            loop {
                let used = usize::try_from(deflater.total_in() - start).unwrap_or(part.len());
                out.reserve(64);
                let result = deflater.compress_vec(&part[used..], &mut out, flush);
                let done = deflater.total_in() - start == part.len() as u64;
                // With room left over nothing more is to come of this part.
                if result.is_err() || (done && out.len() < out.capacity()) {
                    break;
                }
            }
        }
        // A sync flush ends with the tail that RFC 7692 leaves out.
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        out
    })
}

/// Appends `head` as a stored block of deflate, which ends on a byte boundary.
pub(crate) fn stored_block(head: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(head.len()).expect("subscription ids are short");
    out.push(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(head);
}

/// Bytes of a stored block beside its content.
pub(crate) const STORED_BLOCK_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use heliograph_protocol::{Kind, PublicKey, Signature, Timestamp};

    use super::*;

    #[track_caller]
    fn check(offer: &str, agreed: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap());
        assert_eq!(agree(&headers), agreed, "{offer}");
    }

    #[test]
    fn offers_are_agreed_to_only_if_every_parameter_is_understood() {
        check("permessage-deflate", Some(AGREED));
        check("permessage-deflate; client_max_window_bits", Some(AGREED));
        check(
            "permessage-deflate; client_max_window_bits=10",
            Some(AGREED),
        );
        check(
            "permessage-deflate; server_max_window_bits=15",
            Some(AGREED_WITH_WINDOW),
        );
        check("permessage-deflate; server_max_window_bits=10", None);
        check(
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            Some(AGREED),
        );
        check("permessage-deflate; client_max_window_bits=7", None);
        check("permessage-deflate; what=1", None);
        check(
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            None,
        );
        check("x-webkit-deflate-frame", None);
    }

    fn event(content: &str) -> Event {
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

    #[test]
    fn a_stored_head_and_a_shared_body_inflate_to_the_message() {
        let bodies = Bodies::default();
        let event = event(&"the same words ".repeat(3_000));
        let body = bodies.get(&event).unwrap();
        assert!(body.len() < event.json().len() / 10);
        for head in [&b"[\"EVENT\",\"a\","[..], &b"[\"EVENT\",\"another\","[..]] {
            let mut message = Vec::new();
            stored_block(head, &mut message);
            message.extend_from_slice(&body);
            let expected = [head, event.json(), b"]"].concat();
            assert_eq!(inflate(&message, 1 << 20), Ok(expected));
        }
    }

    #[test]
    fn a_bomb_is_found_while_it_is_inflated() {
        let bomb = deflate(&vec![b' '; 8 << 20]);
        assert_eq!(inflate(&bomb, 100_000).unwrap_err().code, 1009);
        assert_eq!(
            inflate(&bomb, (8 << 20) + 1).map(|text| text.len()),
            Ok((8 << 20) + 1)
        );
    }

    #[test]
    fn rubbish_is_refused() {
        assert_eq!(inflate(&[0xff; 32], 1_000).unwrap_err().code, 1002);
    }

    #[test]
    fn short_events_are_not_compressed() {
        assert_eq!(Bodies::default().get(&event("")), None);
    }
}
