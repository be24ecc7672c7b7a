//! What the matcher shows.

use heliograph_telemetry::{Histogram, LATENCY, counter, counters, gauge, histogram};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Metrics of the matcher; every series exists from the start.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) events: Counter,
    pub(crate) losers: Counter,
    pub(crate) matches: Counter,
    pub(crate) match_seconds: Histogram,
    pub(crate) match_candidates: Histogram,
    pub(crate) lag_seconds: Histogram,
    pub(crate) applied: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) filters: Gauge,
    pub(crate) rows_scanned: Histogram,
    pub(crate) rows_returned: Histogram,
    pub(crate) hidden: Counter,
    pub(crate) resumed: Counter,
    pub(crate) replayed: Counter,
    pub(crate) answers_recent: Counter,
    pub(crate) answers_archive: Counter,
    pub(crate) answers_over_budget: Counter,
    pub(crate) answers_failed: Counter,
    pub(crate) oldest_needed_seconds: Histogram,
}

/// Buckets of counts, of candidates and rows.
const COUNTS: [f64; 8] = [0.0, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let r = registry;
        let answers = counters(
            r,
            "matcher_answers",
            "Stored answers by the tier they needed: recent only, or the archive too; and those, \
             COUNTs among them, that went over budget",
            ["recent", "archive", "over_budget"].map(|tier| [("tier", tier)]),
        );
        let [answers_recent, answers_archive, answers_over_budget]: [Counter; 3] =
            answers.try_into().expect("one for each tier");
        Self {
            answers_recent,
            answers_archive,
            answers_over_budget,
            answers_failed: counter(
                r,
                "matcher_answers_failed",
                "Answers that the store could not finish",
            ),
            events: counter(
                r,
                "matcher_events",
                "Committed and ephemeral events matched",
            ),
            losers: counter(
                r,
                "matcher_losers",
                "Committed events not delivered because a later commit had replaced or deleted them",
            ),
            matches: counter(r, "matches", "Subscriptions that live events were sent to"),
            match_seconds: histogram(
                r,
                "match_seconds",
                "Time to find and deliver to the subscriptions that want one event",
                &[1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1],
            ),
            match_candidates: histogram(
                r,
                "match_candidates",
                "Filters looked at for one event",
                &COUNTS,
            ),
            lag_seconds: histogram(
                r,
                "matcher_lag_seconds",
                "Time from reading an EVENT at its gateway until it is matched here; what was read before this process began isn't counted",
                &LATENCY,
            ),
            applied: gauge(r, "matcher_applied_commit", "Last commit number applied"),
            subscriptions: gauge(r, "matcher_subscriptions", "Subscriptions in the index"),
            filters: gauge(
                r,
                "matcher_filters",
                "Distinct filters in the index, those that wait for a purge included",
            ),
            rows_scanned: histogram(
                r,
                "req_rows_scanned",
                "Rows looked at for one stored answer",
                &COUNTS,
            ),
            rows_returned: histogram(
                r,
                "req_rows_returned",
                "Stored events sent in one answer",
                &[0.0, 1.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 5_000.0],
            ),
            hidden: counter(
                r,
                "matcher_events_hidden",
                "Stored events left out for privacy",
            ),
            resumed: counter(
                r,
                "matcher_subscriptions_resumed",
                "Subscriptions that went on here after their matcher was lost",
            ),
            replayed: counter(
                r,
                "matcher_deliveries_replayed",
                "Live events that resumed subscriptions had missed, one for each subscription",
            ),
            oldest_needed_seconds: histogram(
                r,
                "oldest_needed_age_seconds",
                "Age of the oldest event that an answer needed; sizes the recent tier",
                &[60.0, 600.0, 3600.0, 6e4, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8, 3e8],
            ),
        }
    }
}
