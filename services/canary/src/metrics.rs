//! What a canary shows.

use heliograph_telemetry::{
    Histogram, LATENCY, counter, counters, gauge, gauges, histogram, histograms,
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Relays that are read from at most.
pub const READERS_MAX: usize = VIA.len();

/// The label of each of them: its place in `canary.read`.
const VIA: [&str; 16] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
];

/// Metrics of the canary; every series exists from the start.
#[derive(Debug)]
pub struct Metrics {
    /// From sending to receipt, by reader.
    pub delivery_seconds: Vec<Histogram>,
    /// From EVENT to OK true.
    pub publish_seconds: Histogram,
    /// Probes with OK true in time.
    pub accepted: Counter,
    /// Probes that the relay didn't want.
    pub refused: Counter,
    /// Probes without an answer in time, or with `error:`.
    pub failed: Counter,
    /// Acknowledged probes that didn't come in time, by reader.
    pub missing: Vec<Counter>,
    /// Reads by id that were answered.
    pub audited: Counter,
    /// Reads by id that weren't answered before the probe expired.
    pub audit_skipped: Counter,
    /// Acknowledged probes that such a read didn't find.
    pub lost: Counter,
    /// 1 while a reader's subscription is open.
    pub connected: Vec<Gauge>,
    /// When the newest probe that came everywhere in time was published.
    pub last_success: Gauge,
}

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's, for this many readers,
    /// [`READERS_MAX`] at most.
    #[must_use]
    pub fn register(registry: &mut Registry, readers: usize) -> Self {
        let registry = registry.sub_registry_with_prefix("canary");
        let via = || VIA.into_iter().take(readers).map(|via| [("via", via)]);
        let delivery_seconds = histograms(
            registry,
            "delivery_seconds",
            "From sending a probe to its receipt, by the reader that got it in time",
            &LATENCY,
            via(),
        );
        let publish_seconds = histogram(
            registry,
            "publish_seconds",
            "From sending a probe to OK true",
            &LATENCY,
        );
        let results = counters(
            registry,
            "published",
            "Probes published, by result; error: no answer in time, or one that begins with error:",
            ["accepted", "refused", "error"].map(|result| [("result", result)]),
        );
        let [accepted, refused, failed]: [Counter; 3] =
            results.try_into().expect("as many as labels");
        Self {
            delivery_seconds,
            publish_seconds,
            accepted,
            refused,
            failed,
            missing: counters(
                registry,
                "missing",
                "Acknowledged probes that didn't come to a reader in time",
                via(),
            ),
            audited: counter(
                registry,
                "audited",
                "Reads of an acknowledged probe by its id that were answered",
            ),
            audit_skipped: counter(
                registry,
                "audit_skipped",
                "Reads of an acknowledged probe by its id that weren't answered before it expired",
            ),
            lost: counter(
                registry,
                "lost",
                "Acknowledged probes that a later read by id didn't find: any increase is a loss",
            ),
            connected: gauges(
                registry,
                "connected",
                "1 while the subscription of a reader is open, else 0",
                via(),
            ),
            last_success: gauge(
                registry,
                "last_success_timestamp_seconds",
                "Unix time of the newest probe that came to every reader in time",
            ),
        }
    }
}
