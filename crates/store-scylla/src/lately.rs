//! A set that remembers what was put in lately, in bounded memory: facts that stay true, so that
//! forgetting one only costs finding it out again.

use std::{collections::HashSet, hash::Hash};

use parking_lot::Mutex;

/// The last `capacity` to `2 * capacity` members that were put in or asked for.
#[derive(Debug)]
pub(crate) struct Lately<K> {
    capacity: usize,
    sets: Mutex<Sets<K>>,
}

#[derive(Debug)]
struct Sets<K> {
    new: HashSet<K>,
    old: HashSet<K>,
}

impl<K: Clone + Eq + Hash> Lately<K> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            sets: Mutex::new(Sets {
                new: HashSet::new(),
                old: HashSet::new(),
            }),
        }
    }

    /// Puts it in; whether it wasn't there.
    pub(crate) fn insert(&self, key: K) -> bool {
        let mut sets = self.sets.lock();
        let known = sets.old.contains(&key);
        let new = sets.new.insert(key);
        self.turn(&mut sets);
        new && !known
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        let mut sets = self.sets.lock();
        if sets.new.contains(key) {
            return true;
        }
        let Some(key) = sets.old.take(key) else {
            return false;
        };
        sets.new.insert(key);
        self.turn(&mut sets);
        true
    }

    fn turn(&self, sets: &mut Sets<K>) {
        if sets.new.len() > self.capacity {
            sets.old = std::mem::take(&mut sets.new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let set = Lately::new(10);
        assert!(set.insert(0));
        assert!(!set.insert(0));
        for key in 1..100 {
            assert!(set.insert(key));
            assert!(set.contains(&0));
        }
        assert!(!set.contains(&1));
        let sets = set.sets.lock();
        assert!(sets.new.len() + sets.old.len() <= 22);
    }
}
