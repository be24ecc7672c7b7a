//! A bounded memory of what happened lately: the oldest is forgotten first.

use std::{collections::VecDeque, hash::Hash};

use hashbrown::HashMap;

/// A map that holds the entries put in last, at most `max`.
#[derive(Debug)]
pub(crate) struct Lately<K, V> {
    map: HashMap<K, (V, u64)>,
    /// Keys with the number of the time they were put in; numbers that no longer agree with the
    /// map are left over.
    order: VecDeque<(u64, K)>,
    max: usize,
    count: u64,
    forgotten: u64,
}

impl<K: Copy + Eq + Hash, V> Lately<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            map: HashMap::new(),
            order: VecDeque::new(),
            max,
            count: 0,
            forgotten: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(value, _count)| value)
    }

    /// Puts a value in the place of what was there, as the newest.
    pub(crate) fn put(&mut self, key: K, value: V) {
        self.count += 1;
        self.map.insert(key, (value, self.count));
        self.order.push_back((self.count, key));
        while self.map.len() > self.max
            && let Some((count, key)) = self.order.pop_front()
        {
            if self
                .map
                .get(&key)
                .is_some_and(|(_value, current)| *current == count)
            {
                self.map.remove(&key);
                self.forgotten = count;
            }
        }
        if self.order.len() > 2 * self.map.len() + 64 {
            self.order.retain(|(count, key)| {
                self.map
                    .get(key)
                    .is_some_and(|(_value, current)| current == count)
            });
        }
    }

    /// How often something was put in: a point in time for [`Self::remembers_since`].
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether everything that was put in after `count` is still here.
    pub(crate) const fn remembers_since(&self, count: u64) -> bool {
        self.forgotten <= count
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.map.allocation_size() + self.order.capacity() * size_of::<(u64, K)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_first() {
        let mut lately = Lately::new(2);
        lately.put(1, "a");
        lately.put(2, "b");
        lately.put(1, "c");
        lately.put(3, "d");
        assert_eq!(lately.get(&1), Some(&"c"));
        assert_eq!(lately.get(&2), None);
        assert_eq!(lately.get(&3), Some(&"d"));
    }

    #[test]
    fn tells_what_it_has_forgotten() {
        let mut lately = Lately::new(1);
        lately.put(1, ());
        let before = lately.count();
        lately.put(2, ());
        assert!(lately.remembers_since(before), "only an older one is gone");
        lately.put(3, ());
        assert!(!lately.remembers_since(before));
    }

    #[test]
    fn stays_small_when_one_key_comes_again_and_again() {
        let mut lately = Lately::new(10);
        (0..10_000).for_each(|turn| lately.put(turn % 2, ()));
        assert!(lately.order.len() < 100);
    }
}
