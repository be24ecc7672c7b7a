//! One part of a cluster in this process: `heliograph gateway`, `ingest`, `matcher`.
//!
//! Each is started as often as needed. They find each other through NATS.

pub(crate) mod gateway;
pub(crate) mod ingest;
pub(crate) mod matcher;
mod node;
mod rebalance;
