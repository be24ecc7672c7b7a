//! Numbers that depend on the seed alone.

use std::{ops::Range, sync::Arc, time::Duration};

use parking_lot::Mutex;

/// A stream of numbers (`SplitMix64`). Clones share it; [`fork`](Self::fork) begins another one.
#[derive(Debug, Clone)]
pub struct Random {
    state: Arc<Mutex<heliograph_testkit::random::Random>>,
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(heliograph_testkit::random::Random::seeded(seed))),
        }
    }

    /// A stream of its own, so that one part's choices don't depend on how often another chose.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::new(self.next())
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        self.state.lock().number()
    }

    /// A number of a range that isn't empty.
    pub fn range(&self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// An index into something of this length, which isn't 0.
    pub fn index(&self, length: usize) -> usize {
        usize::try_from(self.next() % length as u64).expect("below a length")
    }

    /// True this many times in a thousand.
    pub fn chance(&self, thousandths: u64) -> bool {
        self.next() % 1_000 < thousandths
    }

    /// One of some.
    pub fn pick<'a, T>(&self, some: &'a [T]) -> Option<&'a T> {
        if some.is_empty() {
            return None;
        }
        some.get(self.index(some.len()))
    }

    /// A time of so many milliseconds.
    pub fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.range(range))
    }

    /// A delay: most are short, a few much longer, all below `max`.
    pub fn delay(&self, max: Duration) -> Duration {
        let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX).max(2);
        let bound = match self.range(0..100) {
            0..70 => max / 20,
            70..95 => max / 4,
            _ => max,
        };
        self.millis(0..bound.max(1))
    }
}
