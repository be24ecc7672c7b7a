//! The key of a canary and what it signs.

use std::fmt;

use heliograph_protocol::{Event, Kind, PublicKey, Signature, Timestamp, decode_hex};
use secp256k1::{Keypair, schnorr};

use crate::CanaryError;

/// How often random bytes may be no key: each time with a chance of 1 in 2^127.
const DRAWS: usize = 8;

/// A key pair.
#[derive(Clone)]
pub struct Signer {
    pair: Keypair,
    public: PublicKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.public).finish()
    }
}

impl Signer {
    /// Takes the secret key as 64 hex digits.
    ///
    /// # Errors
    ///
    /// [`CanaryError::Key`]: it is no secret key.
    pub fn from_hex(hex: &str) -> Result<Self, CanaryError> {
        let secret = decode_hex(hex.as_bytes()).ok_or(CanaryError::Key)?;
        Self::from_secret(secret).ok_or(CanaryError::Key)
    }

    /// Draws a fresh key.
    ///
    /// # Errors
    ///
    /// [`CanaryError::Random`].
    pub fn random() -> Result<Self, CanaryError> {
        for _draw in 0..DRAWS {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret)?;
            if let Some(signer) = Self::from_secret(secret) {
                return Ok(signer);
            }
        }
        Err(CanaryError::Key)
    }

    fn from_secret(secret: [u8; 32]) -> Option<Self> {
        let pair = Keypair::from_secret_bytes(secret).ok()?;
        let public = PublicKey::new(pair.x_only_public_key().0.to_byte_array());
        Some(Self { pair, public })
    }

    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Builds and signs an event.
    pub fn sign(
        &self,
        created_at: Timestamp,
        kind: Kind,
        tags: &[Vec<&str>],
        content: &str,
    ) -> Event {
        Event::build(self.public, created_at, kind, tags, content, |id| {
            let mut random = [0; 32];
            // Without it the signature is as good (BIP-340), only easier to spy on.
            getrandom::fill(&mut random).unwrap_or_default();
            let sig = schnorr::sign_with_aux_rand(id.as_bytes(), &self.pair, &random);
            Signature::new(sig.to_byte_array())
        })
    }

    /// Signs the answer to a challenge of the relay at this URL (NIP-42).
    pub fn answer(&self, created_at: Timestamp, relay: &str, challenge: &str) -> Event {
        let tags = [vec!["relay", relay], vec!["challenge", challenge]];
        self.sign(created_at, Kind::CLIENT_AUTH, &tags, "")
    }
}

#[cfg(test)]
mod tests {
    use heliograph_testkit::keys::Key;

    use super::*;

    #[test]
    fn a_key_from_the_configuration_is_that_key() {
        let signer = Signer::from_hex(&"01".repeat(32)).unwrap();
        assert_eq!(signer.public(), Key::from_secret([1; 32]).public());
        assert!(!format!("{signer:?}").contains("0101"), "{signer:?}");
    }

    #[test]
    fn zero_is_no_key() {
        assert!(matches!(
            Signer::from_hex(&"00".repeat(32)),
            Err(CanaryError::Key)
        ));
    }

    #[test]
    fn fresh_keys_differ() {
        let key = || Signer::random().unwrap().public();
        assert_ne!(key(), key());
    }
}
