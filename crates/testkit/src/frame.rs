//! WebSocket frames as bytes, right and wrong (RFC 6455 §5.2).
//!
//! What a test sends may break any rule; what it receives may break none.

/// A further part of a fragmented message.
pub const CONTINUATION: u8 = 0;
/// The first frame of a text message.
pub const TEXT: u8 = 1;
/// The first frame of a binary message.
pub const BINARY: u8 = 2;
/// The closing handshake.
pub const CLOSE: u8 = 8;
/// Asks for a pong.
pub const PING: u8 = 9;
/// Answers a ping.
pub const PONG: u8 = 10;

/// RSV1 in [`Frame::rsv`]: the message is compressed, if that was negotiated (RFC 7692 §6).
pub const RSV1: u8 = 4;

/// Any frame masked by this client: the key's value plays no part.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame; the constructors build legal client frames, the methods break them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether the message ends here.
    pub fin: bool,
    /// The three reserved bits, `0..=7`.
    pub rsv: u8,
    /// What it is, `0..=15`.
    pub opcode: u8,
    /// Whether the payload is masked, as a client's has to be.
    pub masked: bool,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
    /// The length to announce instead of the payload's own, in bytes.
    pub announced: Option<u64>,
}

impl Frame {
    /// A whole message of one frame with any opcode.
    #[must_use]
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref().to_vec();
        Self {
            fin: true,
            rsv: 0,
            opcode,
            masked: true,
            payload,
            announced: None,
        }
    }

    /// A whole text message.
    #[must_use]
    pub fn text(payload: impl AsRef<[u8]>) -> Self {
        Self::new(TEXT, payload)
    }

    /// The last part of a fragmented message; [`Frame::unfinished`] makes it a middle part.
    #[must_use]
    pub fn continuation(payload: impl AsRef<[u8]>) -> Self {
        Self::new(CONTINUATION, payload)
    }

    /// Says that the message goes on.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// Leaves the mask out, which only a server may.
    #[must_use]
    pub fn unmasked(mut self) -> Self {
        self.masked = false;
        self
    }

    /// Sets the reserved bits, `0..=7`.
    #[must_use]
    pub fn rsv(mut self, bits: u8) -> Self {
        self.rsv = bits;
        self
    }

    /// Announces `bytes` of payload, whatever follows.
    #[must_use]
    pub fn announcing(mut self, bytes: u64) -> Self {
        self.announced = Some(bytes);
        self
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        let mask = u8::from(self.masked) << 7;
        let length = self.announced.unwrap_or(self.payload.len() as u64);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => out.push(mask | short),
            (_, Ok(medium)) => {
                out.push(mask | 126);
                out.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                out.push(mask | 127);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        if self.masked {
            out.extend_from_slice(&MASK);
            let masked = self
                .payload
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(byte, key)| byte ^ key);
            out.extend(masked);
        } else {
            out.extend_from_slice(&self.payload);
        }
        out
    }

    /// Reads one frame of a server and how many bytes it took; `None` until there are enough.
    ///
    /// # Errors
    ///
    /// What is illegal about it, by RFC 6455 §5 for frames that go to a client.
    pub fn decode(bytes: &[u8], compression: bool) -> Result<Option<(Self, usize)>, String> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let (fin, rsv, opcode) = (first >> 7 == 1, first >> 4 & 7, first & 15);
        let control = opcode >= CLOSE;
        let rsv_allowed = if compression && matches!(opcode, TEXT | BINARY) {
            RSV1
        } else {
            0
        };
        if rsv & !rsv_allowed != 0 {
            return Err(format!("reserved bits {rsv:03b} on opcode {opcode}"));
        }
        if !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(format!("reserved opcode {opcode}"));
        }
        if second >> 7 == 1 {
            return Err("a server must not mask".to_owned());
        }
        let (length, header): (u64, usize) = match (second & 127, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10)
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (u64::from(short), 2),
        };
        let minimal = match header {
            4 => length > 125,
            10 => length > u64::from(u16::MAX),
            _ => true,
        };
        if !minimal {
            return Err(format!("length {length} not in its shortest form"));
        }
        if control && (length > 125 || !fin) {
            return Err(format!(
                "control frame {opcode} of {length} bytes, fin {fin}"
            ));
        }
        let length = usize::try_from(length).map_err(|_too_long| "length too long".to_owned())?;
        let Some(payload) = bytes.get(header..header.saturating_add(length)) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        let frame = Self {
            fin,
            rsv,
            opcode,
            masked: false,
            payload,
            announced: None,
        };
        Ok(Some((frame, header + length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_may_send_reads_back() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let frame = Frame::text(vec![b'x'; length]).unmasked();
            let bytes = frame.encode();
            assert_eq!(Frame::decode(&bytes, false), Ok(Some((frame, bytes.len()))));
            assert_eq!(Frame::decode(&bytes[..bytes.len() - 1], false), Ok(None));
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_noticed() {
        let illegal = [
            Frame::text("masked"),
            Frame::text("reserved bit").unmasked().rsv(RSV1),
            Frame::new(3, "reserved opcode").unmasked(),
            Frame::new(PING, vec![0; 126]).unmasked(),
            Frame::new(PING, "fragment").unmasked().unfinished(),
        ];
        for frame in illegal {
            assert!(Frame::decode(&frame.encode(), false).is_err(), "{frame:?}");
        }
        assert!(Frame::decode(&[0x81, 126, 0, 5, 1, 2, 3, 4, 5], false).is_err());
    }

    #[test]
    fn the_reserved_bit_of_compression_is_legal_once_negotiated() {
        let bytes = Frame::text("x").unmasked().rsv(RSV1).encode();
        assert!(Frame::decode(&bytes, true).is_ok());
    }
}
