//! Parsed public keys of authors who wrote lately: parsing a key again costs an eighth of a check.

use std::{collections::HashMap, mem};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use secp256k1::XOnlyPublicKey;

/// Parsed keys that are held at most: about 100 bytes each, so 6.5 MB. A relay sees fewer authors
/// than that in an hour; past it the keys that weren't used for longest go.
pub const KEYS_MAX: usize = 65_536;

/// So that two threads rarely want the same lock.
const SHARDS: usize = 16;

/// A bounded cache. Only keys that made a good signature are put in, so that a flood of made-up
/// keys can't empty it.
#[derive(Debug)]
pub struct KeyCache {
    shards: [Mutex<Shard>; SHARDS],
    /// Keys in one generation of one shard at most.
    generation_max: usize,
}

type Generation = HashMap<[u8; 32], XOnlyPublicKey, RandomState>;

/// Two generations: what is used moves to the young one; when that is full it becomes the old one,
/// and what is in the old one is forgotten.
#[derive(Debug, Default)]
struct Shard {
    young: Generation,
    old: Generation,
}

impl KeyCache {
    /// An empty cache for about `keys_max` keys.
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        Self {
            shards: Default::default(),
            generation_max: (keys_max / (2 * SHARDS)).max(1),
        }
    }

    pub(crate) fn get(&self, key: &[u8; 32]) -> Option<XOnlyPublicKey> {
        let mut shard = self.shard(key).lock();
        if let Some(parsed) = shard.young.get(key) {
            return Some(*parsed);
        }
        let parsed = shard.old.remove(key)?;
        shard.insert(*key, parsed, self.generation_max);
        Some(parsed)
    }

    pub(crate) fn insert(&self, key: [u8; 32], parsed: XOnlyPublicKey) {
        self.shard(&key)
            .lock()
            .insert(key, parsed, self.generation_max);
    }

    fn shard(&self, key: &[u8; 32]) -> &Mutex<Shard> {
        &self.shards[usize::from(key[31]) % SHARDS]
    }
}

impl Shard {
    fn insert(&mut self, key: [u8; 32], parsed: XOnlyPublicKey, generation_max: usize) {
        if self.young.len() >= generation_max {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, parsed);
    }
}

#[cfg(test)]
mod tests {
    use heliograph_testkit::keys::Key;

    use super::*;

    /// Keys of one shard, so that the bound of a shard can be seen.
    fn keys(count: usize) -> Vec<([u8; 32], XOnlyPublicKey)> {
        let key = |n| *Key::nth(n).public().as_bytes();
        let mut of_one_shard = (0..).map(key).filter(|key| key[31] % 16 == 0);
        let mut next = || of_one_shard.next().expect("endless");
        (0..count)
            .map(|_| next())
            .map(|key| {
                (
                    key,
                    XOnlyPublicKey::from_byte_array(key).expect("on the curve"),
                )
            })
            .collect()
    }

    #[test]
    fn what_was_put_in_is_found() {
        let cache = KeyCache::new(KEYS_MAX);
        for (key, parsed) in keys(3) {
            assert_eq!(cache.get(&key), None);
            cache.insert(key, parsed);
            assert_eq!(cache.get(&key), Some(parsed));
        }
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let cache = KeyCache::new(4 * SHARDS);
        let keys = keys(20);
        for (key, parsed) in &keys {
            cache.insert(*key, *parsed);
            let held = keys.iter().filter(|(key, _)| {
                let shard = cache.shard(key).lock();
                shard.young.contains_key(key) || shard.old.contains_key(key)
            });
            assert!(held.count() <= 4);
        }
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache = KeyCache::new(4 * SHARDS);
        let keys = keys(20);
        let (used, unused) = (keys[0], keys[1]);
        cache.insert(used.0, used.1);
        cache.insert(unused.0, unused.1);
        for (key, parsed) in &keys[2..] {
            cache.insert(*key, *parsed);
            assert!(cache.get(&used.0).is_some());
        }
        assert_eq!(cache.get(&unused.0), None);
    }
}
