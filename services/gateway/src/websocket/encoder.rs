//! Frames to a client: never masked, never fragmented (RFC 6455 §5.1).

/// A text frame.
pub(crate) const TEXT: u8 = 1;
/// A close frame.
const CLOSE: u8 = 8;
/// A ping frame.
pub(crate) const PING: u8 = 9;
/// A pong frame.
pub(crate) const PONG: u8 = 10;

/// Marks a frame as compressed (RFC 7692 §6); added to its opcode.
pub(crate) const RSV1: u8 = 0x40;

/// Room for the longest header.
pub(crate) const HEADER_BYTES_MAX: usize = 10;

/// Writes frames into a buffer.
pub(crate) struct Frame;

impl Frame {
    /// Appends the header of a frame whose payload of `length` bytes follows.
    pub(crate) fn header(opcode: u8, length: usize, out: &mut Vec<u8>) {
        out.reserve(HEADER_BYTES_MAX + length);
        out.push(0x80 | opcode);
        if let Ok(short @ 0..=125) = u8::try_from(length) {
            out.push(short);
        } else if let Ok(medium) = u16::try_from(length) {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        } else {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }

    /// Appends a whole frame.
    pub(crate) fn whole(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        Self::header(opcode, payload.len(), out);
        out.extend_from_slice(payload);
    }

    /// Appends a close frame; `reason` is cut to what a control frame holds.
    pub(crate) fn close(code: u16, reason: &str, out: &mut Vec<u8>) {
        let end = reason.floor_char_boundary(123);
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        Self::whole(CLOSE, &payload, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_use_the_shortest_form() {
        for (length, header) in [
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (0xffff, vec![0x81, 126, 0xff, 0xff]),
            (0x1_0000, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            Frame::header(TEXT, length, &mut out);
            assert_eq!(out, header);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        Frame::close(1008, &"é".repeat(100), &mut out);
        assert_eq!(out[1], 2 + 122);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }
}
