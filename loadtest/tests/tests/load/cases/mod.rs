//! For each threshold what a relay does that breaks it.

mod edits;
mod feeds;
mod single;

use std::time::Duration;

use crate::proxy::rules::Rule;
use heliograph_loadtest::Threshold;

/// By how much a breach of a limit on time goes past it.
const MARGIN: f64 = 1.5;

/// What limits on time are multiplied by where a case doesn't say: several runs at a time disturb each
/// other, and only what is broken may be late.
pub(crate) const LATENCY_FACTOR: &str = "8";

/// One way to breach one threshold.
pub(crate) struct Case {
    pub(crate) scenario: &'static str,
    pub(crate) metric: &'static str,
    /// What the relay does; takes a time past the limit.
    broken: fn(Duration) -> Vec<Rule>,
    /// Metrics whose thresholds can't but fail too.
    pub(crate) also: &'static [&'static str],
    /// Options of the script.
    pub(crate) options: &'static [(&'static str, &'static str)],
    /// What is broken.
    pub(crate) behind: Behind,
}

/// What stands behind the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// This relay.
    Heliograph,
    /// Another, for what this one can't do.
    Peer,
    /// This relay, and metrics of one whose memory grows.
    Growing,
}

impl Case {
    pub(crate) fn is_for(&self, threshold: &Threshold) -> bool {
        self.scenario == threshold.scenario && self.metric == threshold.metric
    }

    pub(crate) fn rules(&self, threshold: &Threshold) -> Vec<Rule> {
        let limit = threshold.expression.rsplit(['<', '=', '>']).next();
        let limit: f64 = limit.and_then(|limit| limit.parse().ok()).unwrap_or(0.0);
        let mut options = self.options.iter();
        let factor = options.find(|(name, _)| *name == "LATENCY_FACTOR");
        let factor = factor.map_or(LATENCY_FACTOR, |(_, factor)| *factor);
        let factor: f64 = factor.parse().expect("a number");
        (self.broken)(Duration::from_secs_f64(limit * factor * MARGIN / 1_000.0))
    }

    const fn of(
        (scenario, metric): (&'static str, &'static str),
        broken: fn(Duration) -> Vec<Rule>,
    ) -> Self {
        Self {
            scenario,
            metric,
            broken,
            also: &[],
            options: &[],
            behind: Behind::Heliograph,
        }
    }

    const fn also(mut self, metrics: &'static [&'static str]) -> Self {
        self.also = metrics;
        self
    }

    const fn behind(mut self, behind: Behind) -> Self {
        self.behind = behind;
        self
    }

    const fn with(mut self, options: &'static [(&'static str, &'static str)]) -> Self {
        self.options = options;
        self
    }
}

/// Every case.
pub(crate) fn cases() -> Vec<Case> {
    // Those first that take longest.
    let mut cases = feeds::cases();
    cases.extend(single::cases());
    cases
}
