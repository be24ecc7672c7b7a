//! Percentiles of latencies, and the middle and spread of repetitions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Latencies of one cell, in milliseconds; all zero if there were none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half are shorter or as long.
    pub p50_ms: f64,
    /// Nine of ten are shorter or as long.
    #[serde(default)]
    pub p90_ms: f64,
    /// 99 of a hundred are shorter or as long.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Latency {
    /// Summarises them by the nearest rank: every figure is one that occurred.
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let Some(max) = samples.last() else {
            return Self::default();
        };
        let at = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1);
            milliseconds(samples[rank - 1])
        };
        Self {
            count: samples.len() as u64,
            p50_ms: at(50),
            p90_ms: at(90),
            p99_ms: at(99),
            max_ms: milliseconds(*max),
        }
    }
}

/// The middle of some figures and how far apart they are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Middle {
    /// The median; the mean of the two in the middle if their number is even.
    pub(crate) median: f64,
    /// Half the distance of the least and the greatest, as a share of the median; 0 for one figure.
    pub(crate) spread: f64,
}

/// Summarises repetitions; `None` of none.
pub(crate) fn middle(figures: impl IntoIterator<Item = f64>) -> Option<Middle> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_unstable_by(f64::total_cmp);
    let (first, last) = (figures.first()?, figures.last()?);
    let half = figures.len() / 2;
    let median = if figures.len().is_multiple_of(2) {
        f64::midpoint(figures[half - 1], figures[half])
    } else {
        figures[half]
    };
    let spread = if median == 0.0 {
        0.0
    } else {
        (last - first) / 2.0 / median
    };
    Some(Middle { median, spread })
}

/// `figure` as a multiple of `first`; `None` where that says nothing.
pub(crate) fn ratio(figure: f64, first: f64) -> Option<f64> {
    let ratio = figure / first;
    (first > 0.0 && figure > 0.0 && ratio.is_finite()).then_some(ratio)
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_of_the_nearest_rank() {
        let samples = (1..=200).rev().map(Duration::from_millis).collect();
        let latency = Latency::of(samples);
        assert_eq!((latency.count, latency.p50_ms), (200, 100.0));
        assert_eq!((latency.p90_ms, latency.p99_ms), (180.0, 198.0));
        assert_eq!(latency.max_ms, 200.0);
    }

    #[test]
    fn one_sample_is_every_percentile() {
        let latency = Latency::of(vec![Duration::from_micros(1_500)]);
        assert_eq!(
            (latency.p50_ms, latency.p99_ms, latency.max_ms),
            (1.5, 1.5, 1.5)
        );
    }

    #[test]
    fn no_samples_are_zeros() {
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between() {
        let found = middle([30.0, 10.0]).unwrap();
        assert_eq!(
            found,
            Middle {
                median: 20.0,
                spread: 0.5
            }
        );
        let found = middle([30.0, 10.0, 11.0]).unwrap();
        assert_eq!(found.median, 11.0);
        assert_eq!(middle([5.0]).unwrap().spread, 0.0);
        assert_eq!(middle([]), None);
    }

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(ratio(6.0, 2.0), Some(3.0));
        assert_eq!(ratio(6.0, 0.0), None);
        assert_eq!(ratio(0.0, 2.0), None);
    }
}
