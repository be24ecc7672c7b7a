//! What ingest shows.

use heliograph_protocol::Outcome;
use heliograph_telemetry::{Histogram, LATENCY, counter, counters, histogram, histograms};
use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// Metrics of the ingest service; every series exists from the start.
#[derive(Debug)]
pub struct Metrics {
    /// Events in one write.
    pub batch_size: Histogram,
    /// Time for one write, durable.
    pub write_seconds: Histogram,
    /// Time to ask which events of a batch were stored lately.
    pub fresh_seconds: Histogram,
    /// Writes that the store refused; their events got `OK false error:`.
    pub failed_batches: Counter,
    outcomes: Vec<Counter>,
}

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let r = registry.sub_registry_with_prefix("ingest");
        let store = histograms(
            r,
            "store_seconds",
            "Time that the store took for a batch, by operation: to write it durably, to say what is fresh",
            &LATENCY,
            ["write", "fresh"].map(|op| [("op", op)]),
        );
        let [write_seconds, fresh_seconds]: [Histogram; 2] =
            store.try_into().expect("one for each operation");
        Self {
            batch_size: histogram(
                r,
                "batch_size",
                "Events merged in one write",
                &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0],
            ),
            write_seconds,
            fresh_seconds,
            failed_batches: counter(
                r,
                "failed_batches",
                "Writes that the store refused; their events were answered with error:",
            ),
            outcomes: counters(
                r,
                "events",
                "Events merged, by what became of them",
                Outcome::ALL.map(|outcome| [("outcome", outcome.as_str())]),
            ),
        }
    }

    /// The counter of one outcome.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> &Counter {
        let index = Outcome::ALL.iter().position(|other| *other == outcome);
        &self.outcomes[index.expect("every outcome is in ALL")]
    }
}
