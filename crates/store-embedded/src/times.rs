//! How long the store's operations take.

use heliograph_telemetry::{Histogram, LATENCY, Registry};
use prometheus_client::metrics::family::Family;

type Labels = [(&'static str, &'static str); 1];

/// Latencies by operation, in seconds. Clones share them.
#[derive(Debug, Clone)]
pub struct Times {
    family: Family<Labels, Histogram, fn() -> Histogram>,
    /// To append a group to the log, fsync included.
    pub(crate) append: Histogram,
    /// The fsync in it.
    pub(crate) fsync: Histogram,
    /// To move a batch to the database.
    pub(crate) flush: Histogram,
    /// One time slice of a scan.
    pub(crate) scan: Histogram,
}

impl Default for Times {
    /// All at zero.
    fn default() -> Self {
        let new: fn() -> Histogram = || Histogram::new(&LATENCY);
        let family = Family::new_with_constructor(new);
        let of = |op| Family::get_or_create_owned(&family, &[("op", op)]);
        Self {
            append: of("append"),
            fsync: of("fsync"),
            flush: of("flush"),
            scan: of("scan"),
            family,
        }
    }
}

impl Times {
    /// Shows them as `store_seconds` on `registry`, whose prefix is the program's.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "store_seconds",
            "Time in the embedded store, by operation",
            self.family.clone(),
        );
    }
}
