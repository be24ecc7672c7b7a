//! What the matcher shows.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Metrics of the matcher; every series exists from the start.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) events: Counter,
    pub(crate) losers: Counter,
    pub(crate) matches: Counter,
    pub(crate) match_seconds: Histogram,
    pub(crate) applied: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) rows_scanned: Counter,
    pub(crate) rows_returned: Counter,
    pub(crate) hidden: Counter,
    pub(crate) resumed: Counter,
    pub(crate) replayed: Counter,
    pub(crate) answers_recent: Counter,
    pub(crate) answers_archive: Counter,
    pub(crate) answers_over_budget: Counter,
    pub(crate) answers_failed: Counter,
    pub(crate) oldest_needed_seconds: Histogram,
}

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("matcher");
        let counter = |registry: &mut Registry, name: &'static str, help: &'static str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let events = counter(registry, "events", "Committed and ephemeral events matched");
        let losers = counter(
            registry,
            "losers",
            "Committed events not delivered because a later commit had replaced or deleted them",
        );
        let matches = counter(
            registry,
            "matches",
            "Subscriptions that live events were sent to",
        );
        let rows_scanned = counter(registry, "rows_scanned", "Rows looked at for answers");
        let rows_returned = counter(registry, "rows_returned", "Stored events sent in answers");
        let hidden = counter(
            registry,
            "events_hidden",
            "Stored events left out for privacy",
        );
        let resumed = counter(
            registry,
            "subscriptions_resumed",
            "Subscriptions that went on here after their matcher was lost",
        );
        let replayed = counter(
            registry,
            "deliveries_replayed",
            "Live events that resumed subscriptions had missed, one for each subscription",
        );
        let failed = counter(
            registry,
            "answers_failed",
            "Answers that the store could not finish",
        );
        let match_seconds =
            Histogram::new([1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1]);
        registry.register(
            "match_seconds",
            "Time to find and deliver to the subscriptions that want one event",
            match_seconds.clone(),
        );
        let applied = Gauge::default();
        registry.register(
            "applied_commit",
            "Last commit number applied",
            applied.clone(),
        );
        let subscriptions = Gauge::default();
        registry.register(
            "subscriptions",
            "Subscriptions in the index",
            subscriptions.clone(),
        );
        let oldest_needed_seconds =
            Histogram::new([60.0, 600.0, 3600.0, 6e4, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8, 3e8]);
        registry.register(
            "oldest_needed_age_seconds",
            "Age of the oldest event that an answer needed; sizes the recent tier",
            oldest_needed_seconds.clone(),
        );
        let tiers = Family::<[(&'static str, &'static str); 1], Counter>::default();
        registry.register(
            "answers",
            "Stored answers by the tier they needed: recent only, or the archive too; and those \
             that went over budget",
            tiers.clone(),
        );
        let tier = |tier| tiers.get_or_create(&[("tier", tier)]).clone();
        Self {
            answers_recent: tier("recent"),
            answers_archive: tier("archive"),
            answers_over_budget: tier("over_budget"),
            answers_failed: failed,
            events,
            losers,
            matches,
            match_seconds,
            applied,
            subscriptions,
            rows_scanned,
            rows_returned,
            hidden,
            resumed,
            replayed,
            oldest_needed_seconds,
        }
    }
}
