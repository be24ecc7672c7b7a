//! The archive of a cluster: ScyllaDB, or Apache Cassandra 5, behind
//! [`EventStore`](heliograph_store::EventStore).
//!
//! Last step of an event's way in, first of an old one's way out. Any number of ingest workers write
//! and any number of matchers read, at once and without asking each other; what makes that right is
//! told in `write.rs`, what keeps partitions small in `bucket.rs`, how answers are read in
//! `walk.rs`, and why it is so in `docs/adr/0007-cql-layout.md`.
//!
//! ```text
//! events    id → text, address, expiry, levels, writer's clock
//! seats     address → who sits there, written at the version's own time: the database keeps the best
//! guards    (owner, what) → until; never expire
//! by_author, by_author_kind, by_kind, by_time, by_tag
//!           (key, bucket) → place → kind, author, expiry
//! buckets   (path, key) → buckets that exist, the latest first      marks: how full they are
//! removals  requests to vanish whose removal isn't finished
//! ```
//!
//! What always holds:
//!
//! - Every cell that is merged has a timestamp that follows from the event, never from a clock; a
//!   removal's is one higher. So merging is the database's own, in any order, and no clock that is
//!   wrong, no worker that was held up, and no mutation that comes late brings back what is gone.
//! - An event is visible if it stands in `events`, hasn't expired, and holds the seat of its address,
//!   if it has one. Index rows only lead to it.
//! - Nothing is removed that could count again.
//! - No statement is sent that isn't prepared, token-aware and idempotent; none waits without bound.

mod bucket;
mod client;
mod core;
mod error;
mod flight;
mod key;
mod ladder;
mod lately;
mod merge;
mod metrics;
mod migrate;
mod options;
mod plan;
mod remove;
mod replication;
mod scan;
mod schema;
mod statement;
mod store;
#[cfg(test)]
mod tests;
mod tls;
mod vanish;
mod walk;
mod write;

pub use error::ConnectError;
pub use metrics::Metrics;
pub use migrate::{Dialect, MigrationReport, Mode, check, migrate};
pub use options::{
    BucketOptions, ClientCertificate, Consistency, Login, ScyllaOptions, TlsOptions,
};
pub use replication::Replication;
pub use scan::{FRESH_WINDOW, ScyllaScan};
pub use schema::SCHEMA_VERSION;
pub use store::ScyllaStore;
