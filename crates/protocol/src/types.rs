//! The fixed-size values of NIP-01, each a type of its own.

use std::fmt;

use crate::hex::{decode_hex, encode_hex};

/// A value that had to be lower-case hex of a fixed length isn't (NIP-01).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lowercase hex digits")]
pub struct HexError {
    /// How many digits the value has.
    pub digits: usize,
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Wraps raw bytes, most significant first.
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            #[doc = concat!("Reads the wire form: exactly ", stringify!($len), " bytes as lower-case hex (NIP-01).")]
            ///
            /// # Errors
            ///
            /// [`HexError`] for any other length or alphabet, upper case included.
            pub fn from_hex(text: &[u8]) -> Result<Self, HexError> {
                decode_hex(text).map(Self).ok_or(HexError { digits: $len * 2 })
            }

            /// The raw bytes, most significant first.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The wire form.
            #[must_use]
            pub fn to_hex(&self) -> String {
                let mut out = Vec::with_capacity($len * 2);
                encode_hex(&self.0, &mut out);
                out.into_iter().map(char::from).collect()
            }

            pub(crate) fn write_hex(&self, out: &mut Vec<u8>) {
                encode_hex(&self.0, out);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

fixed_bytes! {
    /// SHA-256 over an event's canonical form (NIP-01), 32 bytes. Ordered as its hex is.
    EventId, 32
}
fixed_bytes! {
    /// The x coordinate of an author's key (BIP-340), 32 bytes. Not proven to lie on the curve.
    PublicKey, 32
}
fixed_bytes! {
    /// A BIP-340 signature over the 32 bytes of an id, 64 bytes, unchecked.
    Signature, 64
}
