//! Incoming messages: each stands for itself, and its inflated size is capped while it is inflated.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use super::{
    super::{Violation, close},
    TAIL,
};

/// Bytes inflated at a time, so that a bomb is found early.
const INFLATE_STEP: usize = 16 * 1024;

const BROKEN: Violation = Violation {
    code: close::PROTOCOL_ERROR,
    reason: "not deflate",
};

const TOO_BIG: Violation = Violation {
    code: close::TOO_BIG,
    reason: "message too big",
};

thread_local! {
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Inflates one message.
///
/// # Errors
///
/// [`Violation`] with 1009 as soon as it is longer than `bytes_max`, with 1002 if it isn't deflate.
pub(crate) fn inflate(payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, Violation> {
    DECOMPRESS.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let mut out = Vec::with_capacity((payload.len() * 3).clamp(64, INFLATE_STEP));
        for part in [payload, &TAIL] {
            let mut rest = part;
            loop {
                if out.len() == out.capacity() {
                    // No more than a step beyond what may come.
                    out.reserve_exact(out.len().clamp(64, INFLATE_STEP.max(bytes_max / 4)));
                }
                let (consumed, produced) = (inflater.total_in(), out.len());
                let status = inflater
                    .decompress_vec(rest, &mut out, FlushDecompress::Sync)
                    .map_err(|_error| BROKEN)?;
                if out.len() > bytes_max {
                    return Err(TOO_BIG);
                }
                let used = usize::try_from(inflater.total_in() - consumed);
                let used = used.expect("no more than there was");
                rest = &rest[used..];
                if status == Status::StreamEnd {
                    // A block may say that it is the last, and others follow it (RFC 7692 §7.2.3.4).
                    inflater.reset(false);
                } else if used == 0 && out.len() == produced && !rest.is_empty() {
                    return Err(BROKEN);
                }
                // With room left over nothing more is to come of this part.
                if rest.is_empty() && out.len() < out.capacity() {
                    break;
                }
            }
        }
        Ok(out)
    })
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;
    use crate::websocket::deflate::deflate;

    fn compressed(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut deflater = Compress::new(Compression::fast(), false);
        deflate(&mut deflater, parts, &mut out);
        out
    }

    #[test]
    fn the_examples_of_rfc_7692_are_inflated() {
        let examples: [&[u8]; 5] = [
            // One block, one stored block, one that says it is the last, and two blocks in one message (§7.2.3).
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ];
        for payload in examples {
            assert_eq!(inflate(payload, 5), Ok(b"Hello".to_vec()), "{payload:02x?}");
        }
        assert_eq!(inflate(&[0x00], 0), Ok(Vec::new()), "the empty message");
    }

    #[test]
    fn what_follows_a_last_block_is_read_too() {
        let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let twice = [&hello[..], &hello, &[0x00]].concat();
        assert_eq!(inflate(&twice, 100), Ok(b"HelloHello".to_vec()));
    }

    #[test]
    fn a_message_is_found_too_long_wherever_the_limit_is() {
        let text = b"abcdefghij ".repeat(20_000);
        let payload = compressed(&[&text]);
        for bytes_max in [text.len(), text.len() + 1] {
            assert_eq!(inflate(&payload, bytes_max).as_deref(), Ok(&text[..]));
        }
        for bytes_max in [0, 1, 64, INFLATE_STEP, text.len() - 1] {
            assert_eq!(inflate(&payload, bytes_max), Err(TOO_BIG), "{bytes_max}");
        }
    }

    #[test]
    fn a_bomb_is_found_while_it_is_inflated() {
        let bomb = compressed(&[&vec![b' '; 8 << 20]]);
        assert_eq!(inflate(&bomb, 100_000), Err(TOO_BIG));
        let whole = inflate(&bomb, 8 << 20).map(|text| text.len());
        assert_eq!(whole, Ok(8 << 20));
    }

    #[test]
    fn what_is_left_of_a_message_does_not_reach_the_next() {
        let payload =
            compressed(&[b"what one client wrote, and wrote again: what one client wrote"]);
        let whole = inflate(&payload, 1_000);
        // Cut in the middle, broken, and too long: all leave the inflater where they ended.
        drop(inflate(&payload[..payload.len() / 2], 1_000));
        assert_eq!(inflate(&[0xff; 32], 1_000), Err(BROKEN));
        assert_eq!(inflate(&payload, 3), Err(TOO_BIG));
        assert_eq!(inflate(&payload, 1_000), whole);
        // A reference to what came before the message.
        let mut deflater = Compress::new(Compression::default(), false);
        let text = b"over and over and over and over";
        let mut first = Vec::new();
        deflate(&mut deflater, &[text], &mut first);
        let mut second = Vec::with_capacity(100);
        let flushed = deflater.compress_vec(text, &mut second, FlushCompress::Sync);
        assert!(flushed.is_ok() && second.len() < first.len());
        drop(inflate(&first, 1_000));
        assert_eq!(inflate(&second, 1_000), Err(BROKEN));
    }
}
