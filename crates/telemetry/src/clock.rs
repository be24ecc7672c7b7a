//! The wall clock of measurements that begin on one machine and end on another.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is shown to people and decides nothing"
)]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// The wall clock in microseconds since 1970.
#[must_use]
pub fn unix_micros() -> u64 {
    let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since a moment in microseconds since 1970; 0 if another machine's clock is ahead.
#[must_use]
pub fn seconds_since(unix_micros_then: u64) -> f64 {
    let now = Duration::from_micros(unix_micros());
    now.saturating_sub(Duration::from_micros(unix_micros_then))
        .as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_ahead_is_no_time_ago() {
        let now = unix_micros();
        assert_eq!(seconds_since(now + 60_000_000), 0.0);
        let minute = seconds_since(now - 60_000_000);
        assert!((60.0..70.0).contains(&minute), "{minute}");
    }
}
