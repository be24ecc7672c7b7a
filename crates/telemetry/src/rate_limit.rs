//! Log lines that can come often, at most one in so many seconds.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Log lines that were left out, of all places.
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Log lines left out since the process started.
pub(crate) fn suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// One more log line is left out.
pub(crate) fn count_suppressed() {
    SUPPRESSED.fetch_add(1, Ordering::Relaxed);
}

/// Lets a log line happen at most once per interval and counts what it held back.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    started: OnceLock<Instant>,
    /// When the next one may pass, in milliseconds since `started`.
    next_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimit {
    /// At most one in `seconds`.
    #[must_use]
    pub const fn every(seconds: u64) -> Self {
        Self {
            interval: Duration::from_secs(seconds),
            started: OnceLock::new(),
            next_ms: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// `Some` if it may happen now, with how often it was held back since the last time.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    /// [`pass`](Self::pass) with the clock as an argument.
    pub fn pass_at(&self, now: Instant) -> Option<u64> {
        let started = *self.started.get_or_init(|| now);
        let now_ms = millis(now.saturating_duration_since(started));
        let next = self.next_ms.load(Ordering::Relaxed);
        let taken = now_ms >= next
            && self
                .next_ms
                .compare_exchange(
                    next,
                    now_ms.saturating_add(millis(self.interval)),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if taken {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        count_suppressed();
        None
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Warns at most once in so many seconds per place in the source; the field `suppressed` says how
/// many warnings were left out since the last one.
///
/// ```
/// # let error = "disk full";
/// heliograph_telemetry::warn_every!(10, %error, "failed to write");
/// ```
#[macro_export]
macro_rules! warn_every {
    ($seconds:expr, $($fields:tt)+) => {{
        static LIMIT: $crate::RateLimit = $crate::RateLimit::every($seconds);
        if let Some(suppressed) = LIMIT.pass() {
            $crate::__tracing::warn!(suppressed, $($fields)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_passes_per_interval_and_the_others_are_counted() {
        let limit = RateLimit::every(10);
        let start = Instant::now();
        let at = |secs| limit.pass_at(start + Duration::from_secs(secs));
        assert_eq!(at(0), Some(0));
        assert_eq!((at(1), at(9)), (None, None));
        assert_eq!(at(10), Some(2));
        assert_eq!(at(19), None);
        assert_eq!(at(60), Some(1));
    }

    #[test]
    fn what_is_held_back_is_counted_for_the_process() {
        let limit = RateLimit::every(10);
        let (now, before) = (Instant::now(), suppressed());
        let passed = (0..100).filter(|_| limit.pass_at(now).is_some()).count();
        assert_eq!(passed, 1);
        // Other tests may count too.
        assert!(suppressed() - before >= 99);
    }
}
