//! Proof of work (NIP-13).

use crate::EventId;

/// The number of leading zero bits of an id, `0..=256` (R13-1).
#[must_use]
pub fn difficulty(id: &EventId) -> u32 {
    let mut bits = 0;
    for byte in id.as_bytes() {
        bits += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    bits
}
