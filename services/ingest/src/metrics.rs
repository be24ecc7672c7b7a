//! What ingest shows.

use heliograph_protocol::Outcome;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Metrics of the ingest service; every series exists from the start.
#[derive(Debug)]
pub struct Metrics {
    /// Events in one write.
    pub batch_events: Histogram,
    /// Time for one write, durable.
    pub store_seconds: Histogram,
    /// Writes that the store refused; their events got `OK false error:`.
    pub failed_batches: Counter,
    outcomes: [Counter; Outcome::ALL.len()],
}

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("ingest");
        let batch_events = Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0]);
        registry.register(
            "batch_events",
            "Events merged in one write",
            batch_events.clone(),
        );
        let store_seconds = Histogram::new([
            0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0,
        ]);
        registry.register(
            "store_seconds",
            "Time from handing a batch to the store until it is durable",
            store_seconds.clone(),
        );
        let failed_batches = Counter::default();
        registry.register(
            "failed_batches",
            "Writes that the store refused; their events were answered with error:",
            failed_batches.clone(),
        );
        let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
        registry.register(
            "events",
            "Events merged, by what became of them",
            family.clone(),
        );
        let outcomes = Outcome::ALL.map(|outcome| {
            family
                .get_or_create(&[("outcome", outcome.as_str())])
                .clone()
        });
        Self {
            batch_events,
            store_seconds,
            failed_batches,
            outcomes,
        }
    }

    /// The counter of one outcome.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> &Counter {
        let index = Outcome::ALL.iter().position(|other| *other == outcome);
        &self.outcomes[index.expect("every outcome is in ALL")]
    }
}
