//! The keys of a corpus, derived from its seed.

use std::thread;

use heliograph_protocol::{EventId, PublicKey};
use secp256k1::{Keypair, schnorr};
use sha2::{Digest, Sha256};

/// Every author's key pair and public key in hex.
#[derive(Debug)]
pub(crate) struct Authors(Vec<Author>);

#[derive(Debug)]
struct Author {
    pair: Keypair,
    public: PublicKey,
    hex: String,
}

impl Authors {
    pub(crate) fn derive(seed: u64, count: u32, threads: usize) -> Self {
        let numbers: Vec<u32> = (0..count).collect();
        let share = numbers.len().div_ceil(threads).max(1);
        let parts = thread::scope(|scope| {
            let derive = |part: &[u32]| -> Vec<Author> {
                part.iter().map(|nth| Author::derive(seed, *nth)).collect()
            };
            let threads: Vec<_> = numbers
                .chunks(share)
                .map(|part| scope.spawn(move || derive(part)))
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|part| part.expect("deriving a key doesn't panic"))
                .collect::<Vec<_>>()
        });
        Self(parts.into_iter().flatten().collect())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn hex(&self, nth: u32) -> &str {
        &self.0[nth as usize].hex
    }

    pub(crate) fn public(&self, nth: u32) -> PublicKey {
        self.0[nth as usize].public
    }

    /// The signature of an id (BIP-340); the same in every run, since its auxiliary randomness is
    /// fixed. These keys guard nothing.
    pub(crate) fn sign(&self, nth: u32, id: &EventId) -> [u8; 64] {
        let pair = &self.0[nth as usize].pair;
        schnorr::sign_with_aux_rand(id.as_bytes(), pair, &[0; 32]).to_byte_array()
    }
}

impl Author {
    fn derive(seed: u64, nth: u32) -> Self {
        let secret = Sha256::digest(format!("heliograph/corpus/{seed}/{nth}"));
        let pair = Keypair::from_secret_bytes(secret.into())
            .expect("a hash is no secret key once in 2^127 times");
        let public = PublicKey::new(pair.x_only_public_key().0.to_byte_array());
        Self {
            pair,
            public,
            hex: public.to_hex(),
        }
    }
}
