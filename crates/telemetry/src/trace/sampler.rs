//! What is sampled: a share of everything, and never more than so many a second.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use heliograph_protocol::TraceContext;

use super::{Sampling, random};

const NANOS: u64 = 1_000_000_000;

/// Decides which traces begin.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Random 64 bits below this are sampled; the maximum takes them all.
    below: AtomicU64,
    shares: Cap,
    errors: Cap,
    started: Instant,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Self {
        let sampler = Self {
            below: AtomicU64::new(0),
            shares: Cap::default(),
            errors: Cap::default(),
            started: Instant::now(),
        };
        sampler.set(sampling);
        sampler
    }

    pub(super) fn set(&self, sampling: Sampling) {
        self.below
            .store(threshold(sampling.ratio), Ordering::Relaxed);
        self.shares.set(sampling.per_second_max);
        self.errors.set(sampling.errors_per_second_max);
    }

    /// A new trace for the share that is sampled. The clock is read for that share alone.
    pub(super) fn sample(&self, now: impl FnOnce() -> Instant) -> Option<TraceContext> {
        let below = self.below.load(Ordering::Relaxed);
        if below == 0 || (below < u64::MAX && random::bits()? >= below) {
            return None;
        }
        self.begin(&self.shares, now())
    }

    /// A new trace for an error.
    pub(super) fn always(&self, now: Instant) -> Option<TraceContext> {
        self.begin(&self.errors, now)
    }

    fn begin(&self, cap: &Cap, now: Instant) -> Option<TraceContext> {
        let now = now.saturating_duration_since(self.started).as_nanos();
        if !cap.pass(u64::try_from(now).unwrap_or(u64::MAX)) {
            return None;
        }
        Some(TraceContext {
            trace_id: random::name()?,
            span_id: [0; 8],
        })
    }
}

/// The part of all 64-bit numbers that lie below the threshold.
fn threshold(ratio: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and the ratio is clamped"
    )]
    let threshold = (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    threshold
}

/// At most so many a second, of which as many may come at once.
#[derive(Debug, Default)]
struct Cap {
    per_second: AtomicU64,
    /// When all that passed would have passed at an even pace, in nanoseconds.
    paid_until: AtomicU64,
}

impl Cap {
    fn set(&self, per_second: u32) {
        self.per_second.store(per_second.into(), Ordering::Relaxed);
    }

    fn pass(&self, now: u64) -> bool {
        let Some(interval) = NANOS.checked_div(self.per_second.load(Ordering::Relaxed)) else {
            return false;
        };
        let pay = |paid_until: u64| {
            let next = paid_until.max(now) + interval;
            (next <= now + NANOS).then_some(next)
        };
        self.paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sampler(ratio: f64, per_second_max: u32) -> Sampler {
        Sampler::new(Sampling {
            ratio,
            per_second_max,
            errors_per_second_max: 3,
        })
    }

    /// How many of a number of events begin a trace.
    fn sampled(sampler: &Sampler, events: usize, now: Instant) -> usize {
        let traces = (0..events).filter_map(|_| sampler.sample(|| now));
        traces
            .inspect(|root| assert_eq!(root.span_id, [0; 8]))
            .count()
    }

    #[test]
    fn the_ratio_says_how_much_is_sampled() {
        let now = Instant::now();
        assert_eq!(sampled(&sampler(0.0, u32::MAX), 10_000, now), 0);
        assert_eq!(sampled(&sampler(1.0, u32::MAX), 10_000, now), 10_000);
        let tenth = sampled(&sampler(0.1, u32::MAX), 100_000, now);
        // Nine standard deviations to either side.
        assert!((9_150..10_850).contains(&tenth), "{tenth}");
    }

    #[test]
    fn a_flood_begins_so_many_traces_a_second() {
        let sampler = sampler(1.0, 20);
        let start = Instant::now();
        assert_eq!(sampled(&sampler, 1_000, start), 20);
        assert_eq!(
            sampled(&sampler, 1_000, start + Duration::from_millis(500)),
            10
        );
        assert_eq!(
            sampled(&sampler, 1_000, start + Duration::from_secs(60)),
            20
        );
    }

    #[test]
    fn errors_have_a_limit_of_their_own() {
        let (sampler, now) = (sampler(0.0, 0), Instant::now());
        let errors = || (0..10).filter_map(|_| sampler.always(now)).count();
        assert_eq!((errors(), errors()), (3, 0));
    }

    #[test]
    fn the_share_changes_while_it_runs() {
        let (sampler, now) = (sampler(0.0, 5), Instant::now());
        assert_eq!(sampled(&sampler, 100, now), 0);
        sampler.set(Sampling {
            ratio: 1.0,
            per_second_max: 7,
            errors_per_second_max: 0,
        });
        assert_eq!(sampled(&sampler, 100, now), 7);
        assert_eq!(sampler.always(now), None);
    }
}
