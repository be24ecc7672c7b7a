//! A token bucket as a plain value: the caller brings the clock and keeps one per connection, per
//! address, or whatever is to be limited.

use std::time::{Duration, Instant};

/// Lets `rate_per_sec` tokens a second through on average, `burst` at once.
///
/// Tokens are kept as time: the bucket knows the moment from which on it is full, and taking
/// tokens moves that moment on. So there is nothing to refill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBucket {
    /// What one token costs; `None` if nothing is limited.
    token: Option<Duration>,
    /// What a full bucket is worth.
    burst: Duration,
    /// The bucket is full from this moment on; full since ever if `None`.
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// Makes a full bucket. A rate of 0 (or one that isn't a number) limits nothing. `burst`
    /// tokens fit in, at least one.
    #[must_use]
    pub fn new(rate_per_sec: f64, burst: u32) -> Self {
        let token = (rate_per_sec > 0.0)
            .then(|| Duration::try_from_secs_f64(1.0 / rate_per_sec).unwrap_or(Duration::MAX));
        let burst = token.unwrap_or_default().saturating_mul(burst.max(1));
        Self {
            token,
            burst,
            full_at: None,
        }
    }

    /// Takes `n` tokens if they are there. `false`: nothing was taken, and the client is too fast.
    ///
    /// More tokens than the bucket holds are never there. A clock that goes back gives nothing.
    pub fn take(&mut self, now: Instant, n: u32) -> bool {
        let Some(token) = self.token else { return true };
        let owed = self
            .full_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let owed = owed.saturating_add(token.saturating_mul(n));
        if owed > self.burst {
            return false;
        }
        match now.checked_add(owed) {
            Some(full_at) => self.full_at = Some(full_at),
            // So slow a rate that the clock can't say when a token comes back: none does.
            None => self.burst = Duration::ZERO,
        }
        true
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
        let mut bucket = TokenBucket::new(10.0, 3);
        assert_eq!(
            [(); 4].map(|()| bucket.take(start, 1)),
            [true, true, true, false]
        );
        assert!(!bucket.take(after(start, 99), 1));
        assert!(bucket.take(after(start, 100), 1));
        assert!(!bucket.take(after(start, 199), 1));
        assert!(
            bucket.take(after(start, 500), 3),
            "it never holds more than the burst"
        );
        assert!(!bucket.take(after(start, 500), 1));
    }

    #[test]
    fn what_was_refused_costs_nothing() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1.0, 2);
        assert!(!bucket.take(start, 3));
        assert!(bucket.take(start, 2));
    }

    #[test]
    fn rate_zero_limits_nothing() {
        let now = Instant::now();
        for rate in [0.0, -1.0, f64::NAN] {
            let mut bucket = TokenBucket::new(rate, 1);
            assert!((0..1000).all(|_| bucket.take(now, u32::MAX)), "{rate}");
        }
    }

    #[test]
    fn a_bucket_is_full_again_after_its_debt() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 5);
        assert!(bucket.is_full(start));
        assert!(bucket.take(start, 5));
        assert!(!bucket.is_full(after(start, 499)));
        assert!(bucket.is_full(after(start, 500)));
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_tokens() {
        let start = after(Instant::now(), 10_000);
        let mut bucket = TokenBucket::new(1.0, 1);
        assert!(bucket.take(start, 1));
        assert!(!bucket.take(start - Duration::from_secs(5), 1));
    }

    #[test]
    fn absurd_rates_do_not_panic() {
        let now = Instant::now();
        let mut slow = TokenBucket::new(f64::MIN_POSITIVE, u32::MAX);
        assert!(slow.take(now, 1));
        assert!(!slow.take(now, 1));
        assert!(TokenBucket::new(f64::INFINITY, 0).take(now, 7));
    }
}
