//! How many lines a place in the source may write.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{Level, Metadata, callsite::Identifier};

use crate::rate_limit::count_suppressed;

/// Lines that one place may write at once: enough to see what goes on in a cluster that starts.
pub const LINES_AT_ONCE: u32 = 20;

/// Seconds after which a place that wrote so many may write one more.
pub const LINE_SECS: u64 = 10;

/// What the places wrote. There are as many as log statements in the source.
#[derive(Debug, Default)]
pub(super) struct Limit {
    places: Mutex<HashMap<Identifier, Place>>,
}

/// A bucket that fills with the lines that may be written.
#[derive(Debug)]
struct Place {
    left: u32,
    filled: Instant,
    suppressed: u64,
}

impl Limit {
    /// `Some` if a line of this place may be written, with how many of it were left out before.
    pub(super) fn pass(&self, place: &Metadata<'_>, now: Instant) -> Option<u64> {
        if *place.level() > Level::INFO {
            return Some(0);
        }
        let mut places = self.places.lock();
        let place = places.entry(place.callsite()).or_insert_with(|| Place {
            left: LINES_AT_ONCE,
            filled: now,
            suppressed: 0,
        });
        let suppressed = place.pass(now);
        if suppressed.is_none() {
            count_suppressed();
        }
        suppressed
    }
}

impl Place {
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let since = now.saturating_duration_since(self.filled).as_secs() / LINE_SECS;
        if since > 0 {
            self.filled += Duration::from_secs(since * LINE_SECS);
            let more = u32::try_from(since).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(LINES_AT_ONCE);
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return Some(std::mem::take(&mut self.suppressed));
        }
        self.suppressed += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_writes_some_lines_at_once_and_then_one_in_a_while() {
        let start = Instant::now();
        let mut place = Place {
            left: LINES_AT_ONCE,
            filled: start,
            suppressed: 0,
        };
        let mut written = |secs: u64, lines: u32| {
            let now = start + Duration::from_secs(secs);
            let passed = (0..lines).filter_map(|_| place.pass(now));
            passed.collect::<Vec<u64>>()
        };
        assert_eq!(written(0, 1_000), vec![0; 20]);
        assert!(written(LINE_SECS - 1, 5).is_empty());
        assert_eq!(written(LINE_SECS, 5), [985]);
        assert_eq!(written(3 * LINE_SECS, 5), [4, 0]);
        assert_eq!(written(3_600, 1_000).len(), 20);
    }
}
