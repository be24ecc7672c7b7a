//! How long things took.

use std::time::Duration;

/// Two quantiles of many durations, and the longest: what hangs shows nowhere else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Latency {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Latency {
    /// Zero if there are none.
    pub(crate) fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let quantile = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100);
            durations.get(rank.saturating_sub(1)).copied()
        };
        Self {
            p50: quantile(50).unwrap_or_default(),
            p99: quantile(99).unwrap_or_default(),
            max: quantile(100).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(count: u64, p50: u64, p99: u64) {
        let durations = (1..=count).rev().map(Duration::from_millis).collect();
        let expected = Latency {
            p50: Duration::from_millis(p50),
            p99: Duration::from_millis(p99),
            max: Duration::from_millis(count),
        };
        assert_eq!(Latency::of(durations), expected);
    }

    #[test]
    fn a_quantile_is_the_least_that_so_many_do_not_exceed() {
        check(0, 0, 0);
        check(1, 1, 1);
        check(2, 1, 2);
        check(100, 50, 99);
        check(1_000, 500, 990);
    }
}
