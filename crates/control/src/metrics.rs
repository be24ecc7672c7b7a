//! What a process shows about the control records it obeys.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Metrics of a follower; every series exists from the start.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) records: Gauge,
    pub(crate) ignored: Gauge,
    pub(crate) changes: Counter,
    pub(crate) loads: Counter,
    pub(crate) failures: Counter,
    pub(crate) read: Gauge,
    pub(crate) current: Gauge,
}

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("control");
        let (records, ignored, read, current) = <(Gauge, Gauge, Gauge, Gauge)>::default();
        let (changes, loads, failures) = <(Counter, Counter, Counter)>::default();
        registry.register("records", "Control records in force", records.clone());
        registry.register(
            "records_ignored",
            "Control records that this version can't follow",
            ignored.clone(),
        );
        registry.register(
            "changes",
            "Changes of control records seen since the start",
            changes.clone(),
        );
        registry.register(
            "loads",
            "Times that all control records were read",
            loads.clone(),
        );
        registry.register(
            "failures",
            "Times that the control records could not be read or followed",
            failures.clone(),
        );
        registry.register(
            "read",
            "1 once the control records have been read; until then no event is taken",
            read.clone(),
        );
        registry.register(
            "current",
            "1 while the rules in force are known to be the newest",
            current.clone(),
        );
        Self {
            records,
            ignored,
            changes,
            loads,
            failures,
            read,
            current,
        }
    }
}
