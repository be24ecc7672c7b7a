//! Throw-away keys and the events they sign.

use heliograph_protocol::{Event, Kind, PublicKey, Signature, Timestamp};
use secp256k1::{Keypair, schnorr};
use sha2::{Digest, Sha256};

/// A key pair for tests. Its signatures are deterministic: the same event has the same bytes in
/// every run.
#[derive(Debug, Clone)]
pub struct Key {
    pair: Keypair,
}

impl Key {
    /// Wraps a secret key.
    ///
    /// # Panics
    ///
    /// If it is zero or not below the order of the curve.
    #[must_use]
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self {
            pair: Keypair::from_secret_bytes(secret).expect("a secret key"),
        }
    }

    /// Key `n` of the vector files, where the first eight are used; any other `n` is as good.
    #[must_use]
    pub fn nth(n: usize) -> Self {
        Self::from_secret(Sha256::digest(format!("relay-protocol-vectors/key/{n}")).into())
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::new(self.pair.x_only_public_key().0.to_byte_array())
    }

    /// The public key in hex, as tags and filters have it.
    #[must_use]
    pub fn hex(&self) -> String {
        self.public().to_hex()
    }

    /// Builds and signs an event; `created_at` in Unix seconds.
    #[must_use]
    pub fn sign(&self, created_at: u64, kind: u16, tags: &[&[&str]], content: &str) -> Event {
        let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.to_vec()).collect();
        let at = Timestamp::from_secs(created_at);
        Event::build(self.public(), at, Kind::new(kind), &tags, content, |id| {
            let sig = schnorr::sign_with_aux_rand(id.as_bytes(), &self.pair, &[0; 32]);
            Signature::new(sig.to_byte_array())
        })
    }

    /// Signs a note without tags.
    #[must_use]
    pub fn note(&self, created_at: u64, content: &str) -> Event {
        self.sign(created_at, 1, &[], content)
    }

    /// Signs the answer to an AUTH challenge (NIP-42).
    #[must_use]
    pub fn auth(&self, created_at: u64, relay: &str, challenge: &str) -> Event {
        let tags: &[&[&str]] = &[&["relay", relay], &["challenge", challenge]];
        self.sign(created_at, Kind::CLIENT_AUTH.as_u16(), tags, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Row {
        n: usize,
        secret: String,
        pubkey: String,
    }

    #[test]
    fn the_keys_are_those_of_the_vectors() {
        let rows: Vec<Row> = crate::vectors::json("keys.json");
        assert_eq!(rows.len(), 8);
        for row in rows {
            let secret = heliograph_protocol::decode_hex(row.secret.as_bytes()).unwrap();
            assert_eq!(Key::nth(row.n).hex(), row.pubkey);
            assert_eq!(Key::from_secret(secret).hex(), row.pubkey);
        }
    }

    #[test]
    fn a_signed_event_is_the_one_in_the_vectors() {
        let rows: Vec<serde_json::Value> = crate::vectors::lines("auth.jsonl");
        let event = Key::nth(0).auth(
            1_767_225_600,
            "wss://relay.example.com/",
            "c2f1b9e0d4a84b7f",
        );
        let theirs = rows[0]["event"].to_string();
        assert_eq!(event, Event::parse(&theirs).unwrap());
    }
}
