//! What the store shows: its own counters, and the driver's at each scrape.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use heliograph_telemetry::{Histogram, LATENCY, counters, histograms};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::{ConstCounter, Counter},
        gauge::ConstGauge,
    },
    registry::Registry,
};

use crate::statement::Op;

/// Metrics of the store; every series exists from the start. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    statements: Vec<Counter>,
    failures: Vec<Counter>,
    seconds: Vec<Histogram>,
    retries: Counter,
    rows: Counter,
    batch_events: Histogram,
    races: Counter,
    removed: Counter,
    stale: Counter,
    shared_reads: Counter,
    full_buckets: Counter,
    driver: Arc<Driver>,
}

/// The driver's own numbers, once there is a session.
#[derive(Default)]
struct Driver(OnceLock<Arc<scylla::observability::metrics::Metrics>>);

impl Default for Metrics {
    /// Counts, and shows nobody.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("scylla");
        let driver = Arc::new(Driver::default());
        registry.register_collector(Box::new(Arc::clone(&driver)));
        let sorts = || Op::ALL.iter().map(|op| [("statement", op.as_str())]);
        let statements = counters(registry, "statements", "Statements sent, by sort", sorts());
        let failures = counters(
            registry,
            "failed_statements",
            "Statements given up after all retries, by sort",
            sorts(),
        );
        let seconds = histograms(
            registry,
            "statement_seconds",
            "Time until the database answered a statement, each try by itself, by sort",
            &LATENCY,
            sorts(),
        );
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let inner = Inner {
            statements,
            failures,
            seconds,
            retries: counter(
                "repeated_statements",
                "Statements tried again after a time-out or for lack of replicas, beyond the \
                 driver's own retries",
            ),
            rows: counter("read_rows", "Index rows that scans looked at"),
            races: counter(
                "lost_races",
                "Events taken back because another worker's guard or version came meanwhile",
            ),
            removed: counter("removed_events", "Events removed with all their index rows"),
            stale: counter(
                "stale_rows",
                "Index rows of events that are no more, removed by a scan that met them",
            ),
            shared_reads: counter(
                "shared_reads",
                "Look-ups of an event that another one in flight answered",
            ),
            full_buckets: counter("full_buckets", "Buckets that this process found to be full"),
            batch_events: Histogram::new(&[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0]),
            driver,
        };
        registry.register(
            "batch_events",
            "Events in one write",
            inner.batch_events.clone(),
        );
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn connected(&self, driver: Arc<scylla::observability::metrics::Metrics>) {
        // A second store with the same metrics adds its own counters; the driver's stay the first's.
        if self.inner.driver.0.set(driver).is_err() {
            tracing::debug!("metrics of a second session are not shown");
        }
    }

    pub(crate) fn statement(&self, op: Op) {
        self.inner.statements[op as usize].inc();
    }

    /// How long one try of a statement took, whatever came of it.
    pub(crate) fn took(&self, op: Op, time: Duration) {
        self.inner.seconds[op as usize].observe(time.as_secs_f64());
    }

    pub(crate) fn failure(&self, op: Op) {
        self.inner.failures[op as usize].inc();
    }

    pub(crate) fn retry(&self) {
        self.inner.retries.inc();
    }

    pub(crate) fn rows(&self, count: u64) {
        self.inner.rows.inc_by(count);
    }

    pub(crate) fn batch(&self, events: usize) {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.inner.batch_events.observe(f64::from(events));
    }

    pub(crate) fn lost_race(&self) {
        self.inner.races.inc();
    }

    pub(crate) fn removed(&self) {
        self.inner.removed.inc();
    }

    pub(crate) fn stale(&self) {
        self.inner.stale.inc();
    }

    pub(crate) fn shared_read(&self) {
        self.inner.shared_reads.inc();
    }

    pub(crate) fn full_bucket(&self) {
        self.inner.full_buckets.inc();
    }

    /// Statements sent so far, of all sorts.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.inner.statements.iter().map(Counter::get).sum()
    }

    /// Statements sent so far, by sort.
    #[must_use]
    pub fn statements_by_sort(&self) -> Vec<(&'static str, u64)> {
        let counts = self.inner.statements.iter().map(Counter::get);
        Op::ALL.iter().map(|op| op.as_str()).zip(counts).collect()
    }

    #[cfg(test)]
    pub(crate) fn count(&self, op: Op) -> u64 {
        self.inner.statements[op as usize].get()
    }

    #[cfg(test)]
    pub(crate) fn races(&self) -> u64 {
        self.inner.races.get()
    }

    #[cfg(test)]
    pub(crate) fn stale_rows(&self) -> u64 {
        self.inner.stale.get()
    }

    #[cfg(test)]
    pub(crate) fn reads_shared(&self) -> u64 {
        self.inner.shared_reads.get()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver")
            .field(&self.0.get().is_some())
            .finish()
    }
}

impl Collector for Driver {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let driver = self.0.get();
        let counters: [(&str, &str, u64); 5] = [
            (
                "driver_requests",
                "Requests that the driver sent",
                driver.map_or(0, |driver| {
                    driver.get_requests_unpaged_num() + driver.get_requests_manually_paged_num()
                }),
            ),
            (
                "driver_errors",
                "Requests that failed in the driver",
                driver.map_or(0, |driver| {
                    driver.get_errors_unpaged_num() + driver.get_errors_manually_paged_num()
                }),
            ),
            (
                "driver_retries",
                "Requests that the driver's policy tried again",
                driver.map_or(0, |driver| driver.get_retries_num()),
            ),
            (
                "driver_request_timeouts",
                "Requests that ran out of time",
                driver.map_or(0, |driver| driver.get_request_timeouts()),
            ),
            (
                "driver_connection_timeouts",
                "Connections that weren't made in time",
                driver.map_or(0, |driver| driver.get_connection_timeouts()),
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let seconds = |percentile: f64| {
            let latency =
                driver.and_then(|driver| driver.get_latency_percentile_ms(percentile).ok());
            latency.map_or(0.0, |millis| millis as f64 / 1000.0)
        };
        let gauges: [(&str, &str, f64); 3] = [
            (
                "driver_connections",
                "Open connections to nodes",
                driver.map_or(0.0, |driver| driver.get_total_connections() as f64),
            ),
            (
                "driver_latency_median_seconds",
                "Median latency of requests since the start",
                seconds(50.0),
            ),
            (
                "driver_latency_p99_seconds",
                "Latency since the start that one request in a hundred exceeds",
                seconds(99.0),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_exists_from_the_start() {
        let mut registry = Registry::with_prefix("heliograph");
        let metrics = Metrics::register(&mut registry);
        metrics.statement(Op::EventGet);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"heliograph_scylla_statements_total{statement="event_get"} 1"#,
            r#"heliograph_scylla_statements_total{statement="index_delete"} 0"#,
            r#"heliograph_scylla_failed_statements_total{statement="ping"} 0"#,
            "heliograph_scylla_driver_requests_total 0",
            "heliograph_scylla_driver_connections 0.0",
            "heliograph_scylla_read_rows_total 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
