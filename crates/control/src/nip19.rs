//! Keys and ids as people write them: 64 hex digits, or `npub1…` and `note1…` (NIP-19).

use heliograph_protocol::{EventId, PublicKey};

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [
    0x3b6a_57b2,
    0x2650_8e6d,
    0x1ea1_19fa,
    0x3d42_33dd,
    0x2a14_62b3,
];

/// Signs of the checksum at the end.
const CHECKSUM: usize = 6;

/// Reads a public key from 64 hex digits, of either case, or from an `npub1…`.
///
/// # Errors
///
/// A text for the operator.
pub fn parse_pubkey(text: &str) -> Result<PublicKey, String> {
    read(text.trim(), "npub")
        .map(PublicKey::new)
        .ok_or_else(|| "not a public key: 64 hex digits or npub1… are expected".to_owned())
}

/// Reads an event's id from 64 hex digits, of either case, or from a `note1…`.
///
/// # Errors
///
/// A text for the operator.
pub fn parse_event_id(text: &str) -> Result<EventId, String> {
    read(text.trim(), "note")
        .map(EventId::new)
        .ok_or_else(|| "not an event id: 64 hex digits or note1… are expected".to_owned())
}

fn read(text: &str, prefix: &str) -> Option<[u8; 32]> {
    let text = text.to_ascii_lowercase();
    match text.strip_prefix(prefix) {
        Some(rest) => decode(prefix, rest.strip_prefix('1')?),
        None => heliograph_protocol::decode_hex(text.as_bytes()),
    }
}

/// Reads the part of a bech32 text after its separator, whose data are 32 bytes.
fn decode(prefix: &str, data: &str) -> Option<[u8; 32]> {
    let values: Option<Vec<u8>> = data.bytes().map(value_of).collect();
    let values = values?;
    if checksum(prefix, &values) != 1 {
        return None;
    }
    let (data, _checksum) = values.split_at_checked(values.len().checked_sub(CHECKSUM)?)?;
    let (mut bits, mut held, mut out) = (0_u32, 0, Vec::with_capacity(32));
    for value in data {
        bits = (bits << 5) | u32::from(*value);
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push(byte(bits >> held));
            bits &= (1 << held) - 1;
        }
    }
    // What is left over are fewer than five bits of padding, all zero.
    (held < 5 && bits == 0).then_some(())?;
    out.try_into().ok()
}

fn byte(bits: u32) -> u8 {
    bits.to_le_bytes()[0]
}

fn value_of(sign: u8) -> Option<u8> {
    let at = ALPHABET.iter().position(|known| *known == sign)?;
    u8::try_from(at).ok()
}

fn checksum(prefix: &str, values: &[u8]) -> u32 {
    let high = prefix.bytes().map(|b| b >> 5);
    let low = prefix.bytes().map(|b| b & 31);
    let expanded = high.chain(std::iter::once(0)).chain(low);
    expanded
        .chain(values.iter().copied())
        .fold(1, |sum: u32, value| {
            let top = sum >> 25;
            let shifted = ((sum & 0x01ff_ffff) << 5) ^ u32::from(value);
            GENERATOR
                .iter()
                .enumerate()
                .filter(|(bit, _)| (top >> bit) & 1 == 1)
                .fold(shifted, |sum, (_, generator)| sum ^ generator)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of NIP-19.
    const HEX: &str = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";
    const NPUB: &str = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";

    #[test]
    fn hex_and_npub_are_the_same_key() {
        for text in [HEX, NPUB, &HEX.to_uppercase(), &format!(" {NPUB}\n")] {
            assert_eq!(
                parse_pubkey(text).map(|key| key.to_hex()),
                Ok(HEX.to_owned())
            );
        }
    }

    #[test]
    fn a_changed_sign_is_noticed() {
        for at in 5..NPUB.len() {
            let mut changed = NPUB.to_owned();
            let sign = if &NPUB[at..=at] == "q" { "p" } else { "q" };
            changed.replace_range(at..=at, sign);
            assert!(parse_pubkey(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "npub",
            "npub1",
            "npub1qqqqqq",
            &HEX[1..],
            "é",
            "note1é",
            &NPUB[..40],
        ] {
            assert!(parse_pubkey(text).is_err(), "{text}");
            assert!(parse_event_id(text).is_err(), "{text}");
        }
        assert!(parse_event_id(NPUB).is_err(), "a key is no event");
        assert!(parse_event_id(HEX).is_ok());
    }
}
