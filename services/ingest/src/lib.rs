//! Ingest: takes verified events off the bus, merges them into the store, announces the winners
//! and answers the publishers.
//!
//! Fourth step of the path: socket → parse → id → admit → verify → bus → **store** → match →
//! deliver. The order of its steps is the promise: stored, then committed, then answered. A crash
//! between any two leads to the same event being sent again, which changes nothing.

mod metrics;
mod pipeline;
mod spans;

pub use metrics::Metrics;
pub use pipeline::{BATCH_EVENTS_MAX, run};
