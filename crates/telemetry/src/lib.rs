//! Logs, the metrics registry and the listener for operators.
//!
//! Each service registers its metrics on a [`Registry`] that is passed in; `main` fills it, then
//! hands it to the [`AdminServer`], which answers on a thread and runtime of its own, so that it
//! does when the data threads are full. What always holds: metric names begin with `heliograph_`.

mod admin;
mod health;
mod limits;
mod logs;
mod process;
mod rate_limit;
mod reference;

pub use admin::{AdminError, AdminServer};
pub use health::{HEARTBEAT_AGE_MAX, Health, Heartbeat, ReadyCheck};
pub use limits::{memory_limit_bytes, open_files_limit, raise_open_files_limit};
pub use logs::{LogError, LogStyle, init_logs};
pub use process::{BuildInfo, register_process_metrics};
pub use prometheus_client::registry::Registry;
pub use rate_limit::RateLimit;
pub use reference::metrics_reference;

#[doc(hidden)]
pub use tracing as __tracing;

/// A registry whose metrics begin with `heliograph_`.
#[must_use]
pub fn registry() -> Registry {
    Registry::with_prefix("heliograph")
}
