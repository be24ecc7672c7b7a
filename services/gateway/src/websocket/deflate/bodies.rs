//! Compressed events that all receivers share.

use std::{cell::RefCell, sync::Arc};

use flate2::Compress;
use hashbrown::HashMap;
use heliograph_protocol::{Event, EventId};
use parking_lot::Mutex;

use super::{LEVEL, WINDOW_BITS_MAX, WINDOW_BITS_MIN, deflate};

/// Wire forms shorter than this aren't worth it: ids, keys and signatures don't compress.
const BODY_BYTES_MIN: usize = 480;

/// Memory of compressed bodies in one of two generations; an event that is sent again finds its body
/// until twice as much has been compressed after it.
const GENERATION_BYTES_MAX: usize = 8 << 20;

/// An event, and the window that its body needs.
type Key = (EventId, u8);

/// Compressed bodies of events sent lately, shared by all connections. Each refers to nothing before
/// itself, so that any inflater gives the exact text, whatever it has got before.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Arc<[u8]>>,
    old: HashMap<Key, Arc<[u8]>>,
    young_bytes: usize,
}

thread_local! {
    /// One for each window, made when it is first needed.
    static COMPRESS: RefCell<[Option<Compress>; WINDOWS]> = const { RefCell::new([const { None }; WINDOWS]) };
}

/// How many windows there are.
const WINDOWS: usize = (WINDOW_BITS_MAX - WINDOW_BITS_MIN + 1) as usize;

impl Bodies {
    /// The event's wire form and the closing bracket, compressed for inflaters that keep 2 to the power of
    /// `window_bits` bytes; `None` if that gains nothing.
    pub(super) fn get(&self, event: &Event, window_bits: u8) -> Option<Arc<[u8]>> {
        let json = event.json();
        if json.len() < BODY_BYTES_MIN {
            return None;
        }
        // Nothing refers further back than the text is long, so most bodies fit all windows.
        let window_bits = match json.len() >> window_bits {
            0 => WINDOW_BITS_MAX,
            _ if window_bits < WINDOW_BITS_MIN => return None,
            _ => window_bits,
        };
        let key = (*event.id(), window_bits);
        let body = self.find(&key).unwrap_or_else(|| {
            let body: Arc<[u8]> = compress(json, window_bits).into();
            self.keep(key, &body);
            body
        });
        (body.len() < json.len()).then_some(body)
    }

    fn find(&self, key: &Key) -> Option<Arc<[u8]>> {
        let generations = self.generations.lock();
        generations
            .young
            .get(key)
            .or_else(|| generations.old.get(key))
            .cloned()
    }

    fn keep(&self, key: Key, body: &Arc<[u8]>) {
        let mut generations = self.generations.lock();
        generations.young_bytes += body.len() + size_of::<Key>();
        generations.young.insert(key, Arc::clone(body));
        if generations.young_bytes > GENERATION_BYTES_MAX {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
    }
}

fn compress(json: &[u8], window_bits: u8) -> Vec<u8> {
    COMPRESS.with_borrow_mut(|deflaters| {
        let nth = usize::from(window_bits - WINDOW_BITS_MIN);
        let deflater = deflaters[nth]
            .get_or_insert_with(|| Compress::new_with_window_bits(LEVEL, false, window_bits));
        deflater.reset();
        let mut out = Vec::with_capacity(json.len() + 64);
        deflate(deflater, &[json, b"]"], &mut out);
        out
    })
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;
    use crate::websocket::deflate::{
        TAIL,
        inflate::inflate,
        stored_block,
        tests::{event, noise},
    };

    #[test]
    fn a_stored_head_and_a_shared_body_inflate_to_the_message() {
        let bodies = Bodies::default();
        let event = event(&"the same words ".repeat(3_000));
        let body = bodies.get(&event, WINDOW_BITS_MAX).unwrap();
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
    fn an_event_is_compressed_once() {
        let bodies = Bodies::default();
        let long = event(&"the same words ".repeat(100));
        let get = |bits| bodies.get(&long, bits).unwrap();
        let body = get(WINDOW_BITS_MAX);
        assert!(Arc::ptr_eq(&body, &get(WINDOW_BITS_MAX)));
        // It is 1,800 bytes long: where the window holds that, it is the same body.
        assert!(Arc::ptr_eq(&body, &get(11)));
        assert!(!Arc::ptr_eq(&body, &get(10)) && Arc::ptr_eq(&get(10), &get(10)));
    }

    #[test]
    fn a_body_refers_no_further_back_than_the_window_that_was_agreed_on() {
        // What comes again does so 10,000 bytes later.
        let event = event(&noise(10_000).repeat(4));
        let expected = [&event.json()[..], b"]"].concat();
        for bits in WINDOW_BITS_MIN..=WINDOW_BITS_MAX {
            let body = Bodies::default().get(&event, bits).unwrap();
            assert_eq!(body.len() < 15_000, bits > 13, "{bits}: {}", body.len());
            let mut inflater = Decompress::new_with_window_bits(false, bits);
            let (mut text, mut rest) = (Vec::new(), [&body[..], &TAIL].concat());
            // In small steps, or the inflater would find old text in what it writes to.
            loop {
                let (mut step, consumed) = (Vec::with_capacity(100), inflater.total_in());
                let part = &rest[..rest.len().min(10)];
                let done = inflater.decompress_vec(part, &mut step, FlushDecompress::Sync);
                assert!(done.is_ok(), "{bits}: {done:?}");
                rest.drain(..usize::try_from(inflater.total_in() - consumed).unwrap());
                text.extend_from_slice(&step);
                if rest.is_empty() && step.len() < step.capacity() {
                    break;
                }
            }
            assert!(text == expected, "{bits}");
        }
    }

    #[test]
    fn short_events_and_those_beyond_the_smallest_window_are_not_compressed() {
        assert_eq!(Bodies::default().get(&event(""), WINDOW_BITS_MAX), None);
        assert_eq!(Bodies::default().get(&event(&"a".repeat(2_000)), 8), None);
    }
}
