//! Frames as this client needs them (RFC 6455 §5.2): its own are masked text, those of servers are read
//! in place.

use anyhow::{Result, ensure};

/// The key of every mask: its value plays no part.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Payload of one message that a server may send; an answer is one event, at most some 100 KiB.
const PAYLOAD_MAX: usize = 64 << 20;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Where a server's frame lies in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    /// RSV1: the message is compressed (RFC 7692).
    pub(crate) compressed: bool,
    pub(crate) opcode: u8,
    /// Bytes before the payload.
    pub(crate) length: usize,
    pub(crate) payload: usize,
}

impl Header {
    /// Reads the header at the begin of `bytes`; `None` until it is complete.
    ///
    /// # Errors
    ///
    /// The frame is masked, or longer than any answer.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        ensure!(second >> 7 == 0, "the relay masks its frames");
        let (payload, length) = match (second & 127, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10)
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (u64::from(short), 2),
        };
        ensure!(payload <= PAYLOAD_MAX as u64, "a frame of {payload} bytes");
        Ok(Some(Self {
            fin: first >> 7 == 1,
            compressed: first >> 6 & 1 == 1,
            opcode: first & 15,
            length,
            payload: usize::try_from(payload)?,
        }))
    }
}

/// Appends one whole masked message.
pub(crate) fn write(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(1 << 7 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(1 << 7 | short),
        (_, Ok(medium)) => {
            out.push(1 << 7 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(1 << 7 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let from = out.len();
    out.extend_from_slice(payload);
    // By words of four, which the compiler turns into wide ones.
    for word in out[from..].chunks_mut(4) {
        for (byte, key) in word.iter_mut().zip(MASK) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use heliograph_testkit::frame::Frame;

    use super::*;

    #[test]
    fn what_is_written_is_what_the_test_kit_writes() {
        for length in [0, 1, 5, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut out = Vec::new();
            write(TEXT, &payload, &mut out);
            assert_eq!(out, Frame::text(&payload).encode());
        }
    }

    #[test]
    fn a_servers_frame_is_found_in_the_buffer() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let frame = Frame::text(vec![b'x'; length]).unmasked();
            let bytes = frame.encode();
            let header = Header::parse(&bytes).unwrap().unwrap();
            assert_eq!(
                (header.fin, header.opcode, header.compressed),
                (true, TEXT, false)
            );
            assert_eq!(header.length + header.payload, bytes.len());
            assert_eq!(header.payload, length);
        }
    }

    #[test]
    fn an_incomplete_header_is_waited_for() {
        let bytes = Frame::text(vec![b'x'; 70_000]).unmasked().encode();
        for end in 0..10 {
            assert_eq!(Header::parse(&bytes[..end]).unwrap(), None);
        }
        assert!(Header::parse(&bytes[..10]).unwrap().is_some());
    }

    #[test]
    fn masked_and_endless_frames_are_errors() {
        assert!(Header::parse(&Frame::text("x").encode()).is_err());
        let endless = Frame::text("x").unmasked().announcing(u64::MAX).encode();
        assert!(Header::parse(&endless).is_err());
    }
}
