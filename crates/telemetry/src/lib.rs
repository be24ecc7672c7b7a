//! Logs, the metrics registry and the listener for operators.
//!
//! Each service registers its metrics on a [`Registry`] that is passed in; `main` fills it, then
//! hands it to the [`AdminServer`], which answers on a thread and runtime of its own, so that it
//! does when the data threads are full. What always holds: metric names begin with `heliograph_`.

mod admin;
mod certificates;
mod clock;
mod health;
mod limits;
mod logs;
mod metrics;
mod pages;
mod process;
mod rate_limit;
mod reference;
mod top;
pub mod trace;

pub use admin::{AdminError, AdminServer};
pub use certificates::{CertificateError, ShownCertificate, certificate_not_after};
pub use clock::{seconds_since, unix_micros, wall_clock};
pub use health::{HEARTBEAT_AGE_MAX, Health, Heartbeat, ReadyCheck};
pub use limits::{memory_limit_bytes, open_files_limit, raise_open_files_limit};
pub use logs::{LINE_SECS, LINES_AT_ONCE, LogError, LogStyle, identify_logs, init_logs};
pub use metrics::{Histogram, LATENCY, counter, counters, gauge, gauges, histogram, histograms};
pub use pages::{Pages, Query};
pub use process::{BuildInfo, ConfigState, ProcessFacts, register_process_metrics};
pub use prometheus_client::registry::Registry;
pub use rate_limit::RateLimit;
pub use reference::metrics_reference;
pub use top::{TOP_CAPACITY, TOP_HALF_LIFE, Top, TopEntry, TopList};

#[doc(hidden)]
pub use tracing as __tracing;

/// A registry whose metrics begin with `heliograph_`.
#[must_use]
pub fn registry() -> Registry {
    Registry::with_prefix("heliograph")
}
