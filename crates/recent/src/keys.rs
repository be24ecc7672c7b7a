//! Seeded hashes that stand for ids, tag values, addresses and guards.
//!
//! The seeds are drawn at start, so nobody can prepare values that collide. Tag keys have 32 bits
//! and may collide: who finds an entry by one compares the text. Keys of addresses and guards have
//! 128 bits and are taken for the value itself.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;
use heliograph_protocol::{Address, Event, EventId, PublicKey};

/// A tag's letter and value.
pub(crate) type TagKey = u32;

/// An address or a guard.
pub(crate) type Key = u128;

/// The hash functions of one index.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    first: RandomState,
    second: RandomState,
}

impl Hashes {
    pub(crate) fn id(&self, id: &EventId) -> u64 {
        self.first.hash_one(id.as_bytes())
    }

    pub(crate) fn author(&self, author: &PublicKey) -> u64 {
        self.first.hash_one(author.as_bytes())
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of the hash is meant")]
    pub(crate) fn tag(&self, letter: u8, value: &str) -> TagKey {
        self.first.hash_one((letter, value)) as TagKey
    }

    /// The keys of an event's tags, each once.
    pub(crate) fn tags(&self, event: &Event) -> Vec<TagKey> {
        let tags = event.indexed_tags();
        let mut keys: Vec<_> = tags
            .map(|(letter, value)| self.tag(letter, &value))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    pub(crate) fn address(&self, address: &Address) -> Key {
        self.wide(&(0_u8, address))
    }

    /// The guard that `owner` asked to delete `id`.
    pub(crate) fn deleted(&self, owner: &PublicKey, id: &EventId) -> Key {
        self.wide(&(1_u8, owner, id))
    }

    /// The guard that `owner` asked to vanish.
    pub(crate) fn vanished(&self, owner: &PublicKey) -> Key {
        self.wide(&(2_u8, owner))
    }

    fn wide(&self, value: &impl Hash) -> Key {
        u128::from(self.first.hash_one(value)) << 64 | u128::from(self.second.hash_one(value))
    }
}

/// The four words of a key, highest first.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a key is cut into its words"
)]
pub(crate) const fn words(key: Key) -> [u32; 4] {
    [
        (key >> 96) as u32,
        (key >> 64) as u32,
        (key >> 32) as u32,
        key as u32,
    ]
}

/// Puts a key together from its words.
pub(crate) fn from_words(words: &[u32]) -> Key {
    words
        .iter()
        .fold(0, |key, word| key << 32 | Key::from(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_being_cut_into_words() {
        let key = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978;
        assert_eq!(from_words(&words(key)), key);
    }
}
