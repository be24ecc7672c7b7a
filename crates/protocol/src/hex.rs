//! Lower-case hex, the only hex that NIP-01 knows. Upper case is refused, not folded (R01-1).

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const BAD: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut table = [BAD; 256];
    let mut i: u8 = 0;
    while i < 16 {
        table[DIGITS[i as usize] as usize] = i;
        i += 1;
    }
    table
};

/// Reads exactly `2 * N` lower-case hex digits; `None` for any other length or alphabet.
#[must_use]
pub fn decode_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    let mut bad = 0;
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (VALUES[pair[0] as usize], VALUES[pair[1] as usize]);
        bad |= high | low;
        *byte = high << 4 | low & 0x0f;
    }
    (bad & 0xf0 == 0).then_some(out)
}

/// Appends `bytes` as lower-case hex.
pub fn encode_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[(byte >> 4) as usize]);
        out.push(DIGITS[(byte & 15) as usize]);
    }
}
