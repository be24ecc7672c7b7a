//! One part of a cluster in this process: `heliograph gateway`, `ingest`, `matcher`; and the canary,
//! which is a client of it.
//!
//! Each is started as often as needed. The parts of a cluster find each other through NATS.

pub(crate) mod canary;
pub(crate) mod gateway;
pub(crate) mod ingest;
pub(crate) mod matcher;
mod node;
mod rebalance;
