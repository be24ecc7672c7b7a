//! A token bucket as a plain value: the caller brings the clock and keeps one per connection, per
//! address, or whatever is to be limited.

use std::time::{Duration, Instant};

/// The slowest rate: a token a year, so that clocks can say when the next one comes.
const TOKEN_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// How often something may happen: so often a second on average, `burst` times at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time in which one token comes; `None` if nothing is limited.
    token: Option<Duration>,
    /// Tokens that a bucket holds.
    burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self {
        token: None,
        burst: u32::MAX,
    };

    /// `per_sec` tokens a second: 0 (or what isn't a number) limits nothing, and less than one a year
    /// counts as that. `burst` tokens fit into a bucket, at least one.
    #[must_use]
    pub fn new(per_sec: f64, burst: u32) -> Self {
        if per_sec > 0.0 {
            let token = Duration::try_from_secs_f64(1.0 / per_sec).unwrap_or(TOKEN_MAX);
            Self {
                token: Some(token.min(TOKEN_MAX)),
                burst: burst.max(1),
            }
        } else {
            Self::UNLIMITED
        }
    }

    /// The most tokens that can be taken at once.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }
}

/// Lets through what a [`Rate`] allows. The rate is brought along too, so that a new one holds at once
/// for all buckets: an empty one stays empty and fills as the new rate says.
///
/// Tokens are kept as time: the bucket knows the moment from which on it is full, and taking
/// tokens moves that moment on. So there is nothing to refill.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenBucket {
    /// The bucket is full from this moment on; full since ever if `None`.
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// Takes `n` tokens if they are there. `false`: nothing was taken, and the client is too fast.
    ///
    /// More tokens than the bucket holds are never there. A clock that goes back gives nothing then.
    pub fn take(&mut self, rate: Rate, now: Instant, n: u32) -> bool {
        let Some(token) = rate.token else { return true };
        let room = token.saturating_mul(rate.burst);
        let mut owed = self
            .full_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        // What was taken at a slower rate is worth more than the bucket now holds.
        if owed > room {
            owed = room;
            self.full_at = now.checked_add(room);
        }
        let owed = owed.saturating_add(token.saturating_mul(n));
        let full_at = now.checked_add(owed).filter(|_| owed <= room);
        if full_at.is_some() {
            self.full_at = full_at;
        }
        full_at.is_some()
    }

    /// Whether nothing is missing at `now`: such a bucket may be forgotten and made anew.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let rate = Rate::new(10.0, 3);
        let mut bucket = TokenBucket::default();
        assert_eq!(
            [(); 4].map(|()| bucket.take(rate, start, 1)),
            [true, true, true, false]
        );
        assert!(!bucket.take(rate, after(start, 99), 1));
        assert!(bucket.take(rate, after(start, 100), 1));
        assert!(!bucket.take(rate, after(start, 199), 1));
        assert!(
            bucket.take(rate, after(start, 500), 3),
            "it never holds more than the burst"
        );
        assert!(!bucket.take(rate, after(start, 500), 1));
    }

    #[test]
    fn what_was_refused_costs_nothing() {
        let start = Instant::now();
        let rate = Rate::new(1.0, 2);
        let mut bucket = TokenBucket::default();
        assert!(!bucket.take(rate, start, 3));
        assert!(bucket.take(rate, start, 2));
    }

    #[test]
    fn rate_zero_limits_nothing() {
        let now = Instant::now();
        for per_sec in [0.0, -1.0, f64::NAN] {
            let rate = Rate::new(per_sec, 1);
            let mut bucket = TokenBucket::default();
            assert!((0..1000).all(|_| bucket.take(rate, now, u32::MAX)));
            assert!(bucket.is_full(now), "{per_sec}");
        }
    }

    #[test]
    fn a_bucket_is_full_again_after_its_debt() {
        let start = Instant::now();
        let mut bucket = TokenBucket::default();
        assert!(bucket.is_full(start));
        assert!(bucket.take(Rate::new(10.0, 5), start, 5));
        assert!(!bucket.is_full(after(start, 499)));
        assert!(bucket.is_full(after(start, 500)));
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_tokens() {
        let start = after(Instant::now(), 10_000);
        let rate = Rate::new(1.0, 1);
        let mut bucket = TokenBucket::default();
        assert!(bucket.take(rate, start, 1));
        assert!(!bucket.take(rate, start - Duration::from_secs(5), 1));
    }

    #[test]
    fn a_new_rate_holds_for_a_bucket_that_an_old_one_emptied() {
        let start = Instant::now();
        let (slow, fast) = (Rate::new(0.001, 10), Rate::new(10.0, 10));
        let mut bucket = TokenBucket::default();
        assert!(bucket.take(slow, start, 10));
        assert!(!bucket.take(fast, start, 1), "empty at any rate");
        assert!(!bucket.take(fast, after(start, 99), 1));
        assert!(bucket.take(fast, after(start, 100), 1));
        assert!(!bucket.take(slow, after(start, 200), 10));
        assert!(
            bucket.take(slow, after(start, 200), 9),
            "nearly full at the slow one"
        );
    }

    #[test]
    fn absurd_rates_do_not_panic() {
        let now = Instant::now();
        let slow = Rate::new(f64::MIN_POSITIVE, 1);
        let mut bucket = TokenBucket::default();
        assert!(bucket.take(slow, now, 1));
        assert!(!bucket.take(slow, after(now, 1_000_000_000), 1));
        let large = Rate::new(f64::MIN_POSITIVE, u32::MAX);
        assert!(TokenBucket::default().take(large, now, u32::MAX));
        let fast = Rate::new(f64::INFINITY, 0);
        assert!(TokenBucket::default().take(fast, now, 7));
    }
}
