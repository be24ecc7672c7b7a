//! Frames from a client, checked before they are buffered (RFC 6455 §5).

use std::ops::Range;

use super::{RSV1, close, deflate};
use crate::metrics::Frames;

/// Frames of one fragmented message at most; a flood of empty ones ends the connection.
const FRAGMENTS_MAX: u32 = 1_024;

/// Something a client sent, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// A text message, valid UTF-8.
    Text(&'a str),
    /// A binary message; its content is of no interest (R01-20).
    Binary,
    /// A ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The client closes, with its code if it gave one.
    Close(Option<u16>),
}

/// The client broke RFC 6455 or a limit: the connection is closed with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The close code.
    pub(crate) code: u16,
    /// The close reason.
    pub(crate) reason: &'static str,
}

const fn protocol(reason: &'static str) -> Violation {
    Violation {
        code: close::PROTOCOL_ERROR,
        reason,
    }
}

/// What is kept of unfinished frames and messages between two reads.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Whether permessage-deflate was agreed on.
    deflate: bool,
    /// The start of a frame that hasn't arrived whole.
    partial: Vec<u8>,
    /// The unmasked fragments of a message that isn't finished.
    message: Vec<u8>,
    /// The first opcode of that message, with RSV1 if it is compressed.
    opcode: Option<u8>,
    fragments: u32,
}

struct FrameHeader {
    fin: bool,
    opcode: u8,
    /// The opcode, with RSV1 if it is set.
    first: u8,
    payload: Range<usize>,
    mask: [u8; 4],
}

impl Decoder {
    /// A decoder for a connection on which compression was agreed on, or not.
    pub(crate) fn new(deflate: bool) -> Self {
        Self {
            deflate,
            ..Self::default()
        }
    }

    /// Whether a message or frame has begun and not ended.
    pub(crate) fn is_partial(&self) -> bool {
        !self.partial.is_empty() || self.opcode.is_some()
    }

    /// Takes what was read and calls `take` for each thing that is now whole. `chunk` is used as
    /// work space. Whole frames are added to `counted`.
    ///
    /// # Errors
    ///
    /// The [`Violation`] to close with; what came before it has been handed on.
    pub(crate) fn decode(
        &mut self,
        chunk: &mut [u8],
        message_bytes_max: usize,
        counted: &mut Frames,
        mut take: impl FnMut(Incoming<'_>),
    ) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let used = self.frames(chunk, message_bytes_max, counted, &mut take)?;
            self.partial.extend_from_slice(&chunk[used..]);
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.partial);
        buffer.extend_from_slice(chunk);
        let used = self.frames(&mut buffer, message_bytes_max, counted, &mut take)?;
        if used < buffer.len() {
            buffer.drain(..used);
            self.partial = buffer;
        }
        Ok(())
    }

    /// Handles every whole frame at the start of `buffer`; returns how many bytes they took.
    fn frames(
        &mut self,
        buffer: &mut [u8],
        message_bytes_max: usize,
        counted: &mut Frames,
        take: &mut impl FnMut(Incoming<'_>),
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while let Some(header) = self.header(&buffer[used..], message_bytes_max)? {
            // A fragment is compressed if the first one of its message says so.
            let first = self.opcode.filter(|_| header.opcode == 0);
            if first.unwrap_or(header.first) & RSV1 == 0 {
                counted.plain += header.payload.end as u64;
            } else {
                counted.compressed += header.payload.end as u64;
            }
            let range = used + header.payload.start..used + header.payload.end;
            used = range.end;
            let payload = &mut buffer[range];
            unmask(payload, header.mask);
            self.frame(&header, payload, message_bytes_max, counted, take)?;
        }
        Ok(used)
    }

    /// Reads a frame's header and refuses what may not come; `None` until the frame is whole.
    fn header(
        &self,
        buffer: &[u8],
        message_bytes_max: usize,
    ) -> Result<Option<FrameHeader>, Violation> {
        let [first, second, ..] = *buffer else {
            return Ok(None);
        };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let compressed = first & RSV1 != 0;
        if first & 0x30 != 0 || (compressed && !(self.deflate && matches!(opcode, 1 | 2))) {
            return Err(protocol("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(protocol("client frames must be masked"));
        }
        let control = opcode >= 8;
        match opcode {
            0 if self.opcode.is_none() => return Err(protocol("nothing to continue")),
            1 | 2 if self.opcode.is_some() => return Err(protocol("message inside a message")),
            0..=2 | 8..=10 => {}
            _ => return Err(protocol("reserved opcode")),
        }
        let (length, at) = match second & 0x7f {
            126 => match buffer.get(2..4) {
                Some(bytes) => (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4),
                None => return Ok(None),
            },
            127 => match buffer.get(2..10) {
                Some(bytes) => (
                    u64::from_be_bytes(bytes.try_into().expect("eight bytes were taken")),
                    10,
                ),
                None => return Ok(None),
            },
            length => (u64::from(length), 2),
        };
        if control && (length > 125 || !fin) {
            return Err(protocol("control frames are short and whole"));
        }
        if (at == 4 && length < 126) || (at == 10 && length <= 0xffff) {
            return Err(protocol("a length has one form, the shortest"));
        }
        let before = if control { 0 } else { self.message.len() };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !control && length.saturating_add(before) > message_bytes_max {
            return Err(Violation {
                code: close::TOO_BIG,
                reason: "message too big",
            });
        }
        let start = at + 4;
        if buffer.len() < start + length {
            return Ok(None);
        }
        let mask = buffer[at..start].try_into().expect("four bytes were taken");
        let first = opcode | first & RSV1;
        Ok(Some(FrameHeader {
            fin,
            opcode,
            first,
            payload: start..start + length,
            mask,
        }))
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        message_bytes_max: usize,
        counted: &mut Frames,
        take: &mut impl FnMut(Incoming<'_>),
    ) -> Result<(), Violation> {
        match header.opcode {
            8 => take(Incoming::Close(close_code(payload)?)),
            9 => take(Incoming::Ping(payload)),
            10 => take(Incoming::Pong),
            _ if header.fin && self.opcode.is_none() => {
                message(header.first, payload, message_bytes_max, counted, take)?;
            }
            _ => {
                self.fragments += 1;
                if self.fragments > FRAGMENTS_MAX {
                    return Err(Violation {
                        code: close::POLICY,
                        reason: "too many fragments",
                    });
                }
                let first = *self.opcode.get_or_insert(header.first);
                self.message.extend_from_slice(payload);
                if header.fin {
                    let whole = std::mem::take(&mut self.message);
                    self.opcode = None;
                    self.fragments = 0;
                    message(first, &whole, message_bytes_max, counted, take)?;
                }
            }
        }
        Ok(())
    }
}

fn message(
    first: u8,
    payload: &[u8],
    message_bytes_max: usize,
    counted: &mut Frames,
    take: &mut impl FnMut(Incoming<'_>),
) -> Result<(), Violation> {
    if first & RSV1 != 0 {
        let plain = deflate::inflate(payload, message_bytes_max)?;
        return message(first & !RSV1, &plain, message_bytes_max, counted, take);
    }
    counted.payload += payload.len() as u64;
    if first == 2 {
        take(Incoming::Binary);
        return Ok(());
    }
    let text = simdutf8::basic::from_utf8(payload).map_err(|_invalid| Violation {
        code: close::INVALID_TEXT,
        reason: "not UTF-8",
    })?;
    take(Incoming::Text(text));
    Ok(())
}

/// Checks a close frame's payload (RFC 6455 §5.5.1, §7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(protocol("close code of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(protocol("close code out of range"));
            }
            simdutf8::basic::from_utf8(reason).map_err(|_invalid| Violation {
                code: close::INVALID_TEXT,
                reason: "close reason is not UTF-8",
            })?;
            Ok(Some(code))
        }
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let plain = u64::from_ne_bytes((&*word).try_into().expect("eight bytes")) ^ wide;
        word.copy_from_slice(&plain.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = vec![first];
        match payload.len() {
            length @ 0..=125 => out.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..=0xffff => {
                out.push(0x80 | 126);
                out.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        out
    }

    /// Decodes `bytes` in chunks of `size` and writes down what came out.
    fn decode(bytes: &[u8], size: usize) -> (Vec<String>, Option<u16>) {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for chunk in bytes.chunks(size) {
            let mut chunk = chunk.to_vec();
            let result = decoder.decode(&mut chunk, 1_000, &mut Frames::default(), |incoming| {
                seen.push(format!("{incoming:?}"));
            });
            if let Err(violation) = result {
                return (seen, Some(violation.code));
            }
        }
        assert!(!decoder.is_partial());
        (seen, None)
    }

    #[track_caller]
    fn check(frames: &[Vec<u8>], expected: &[&str], code: Option<u16>) {
        let bytes = frames.concat();
        for size in 1..=bytes.len() {
            let (seen, closed) = decode(&bytes, size);
            assert_eq!(
                (seen, closed),
                (expected.iter().map(|s| (*s).to_owned()).collect(), code)
            );
        }
    }

    #[test]
    fn messages_arrive_whatever_the_chunks() {
        let long = "é".repeat(300);
        check(
            &[
                frame(0x81, b"hello"),
                frame(0x81, long.as_bytes()),
                frame(0x82, b"x"),
            ],
            &["Text(\"hello\")", &format!("Text({long:?})"), "Binary"],
            None,
        );
    }

    #[test]
    fn fragments_are_joined_around_control_frames() {
        check(
            &[
                frame(0x01, b"ab\xc3"),
                frame(0x89, b"p"),
                frame(0x00, b""),
                frame(0x80, b"\xa9d"),
            ],
            &["Ping([112])", "Text(\"abéd\")"],
            None,
        );
    }

    #[test]
    fn what_rfc_6455_forbids_is_refused() {
        check(&[vec![0x81, 0x01, b'a']], &[], Some(1002));
        check(&[frame(0xc1, b"a")], &[], Some(1002));
        check(&[frame(0x83, b"a")], &[], Some(1002));
        check(&[frame(0x80, b"a")], &[], Some(1002));
        check(&[frame(0x01, b"a"), frame(0x81, b"b")], &[], Some(1002));
        check(&[frame(0x09, b"a")], &[], Some(1002));
        check(&[frame(0x89, &[0; 126])], &[], Some(1002));
        check(&[frame(0x88, b"a")], &[], Some(1002));
        check(&[frame(0x88, &1005_u16.to_be_bytes())], &[], Some(1002));
        check(&[frame(0x88, b"\x03\xe8ok")], &["Close(Some(1000))"], None);
    }

    #[test]
    fn a_length_has_one_form() {
        check(&[vec![0x81, 0xfe, 0, 125]], &[], Some(1002));
        check(
            &[[&[0x81, 0xff][..], &0xffff_u64.to_be_bytes()].concat()],
            &[],
            Some(1002),
        );
    }

    #[test]
    fn invalid_utf_8_is_refused_with_1007() {
        check(&[frame(0x81, b"\xff")], &[], Some(1007));
        check(&[frame(0x01, b"\xc3"), frame(0x80, b"")], &[], Some(1007));
        check(&[frame(0x88, b"\x03\xe8\xff")], &[], Some(1007));
    }

    #[test]
    fn an_announced_length_over_the_limit_is_refused_before_the_payload() {
        let mut huge = vec![0x81, 0xff];
        huge.extend_from_slice(&(1_u64 << 62).to_be_bytes());
        check(&[huge], &[], Some(1009));
        check(
            &[frame(0x01, &[b'a'; 600]), frame(0x80, &[b'a'; 401])],
            &[],
            Some(1009),
        );
        check(
            &[frame(0x01, &[b'a'; 600]), frame(0x80, &[b'a'; 400])],
            &[&format!("Text({:?})", "a".repeat(1000))],
            None,
        );
    }

    #[test]
    fn a_flood_of_empty_fragments_is_refused() {
        let mut frames = vec![frame(0x01, b"")];
        frames.resize(1 + 1_024, frame(0x00, b""));
        let (_, code) = decode(&frames.concat(), 4_096);
        assert_eq!(code, Some(1008));
    }

    #[test]
    fn bytes_are_counted_as_they_are_on_the_wire_and_as_they_are_meant() {
        let mut decoder = Decoder::new(true);
        let mut counted = Frames::default();
        // "Hello", compressed (RFC 7692 §7.2.3.1), in one frame and in two.
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let frames = [
            frame(0x81, b"plain"),
            frame(0xc1, &hello),
            frame(0x41, &hello[..3]),
            frame(0x89, b"p"),
            frame(0x80, &hello[3..]),
        ];
        // Two bytes at a time: a frame counts once it is whole.
        for chunk in frames.concat().chunks_mut(2) {
            let decoded = decoder.decode(chunk, 1_000, &mut counted, |_| ());
            assert_eq!(decoded, Ok(()));
        }
        let expected = Frames {
            plain: (6 + 5) + (6 + 1),
            compressed: (6 + 7) + (6 + 3) + (6 + 4),
            payload: 15,
        };
        assert_eq!(counted, expected);
    }
}
