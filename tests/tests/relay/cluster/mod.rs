//! Whole clusters: gateways, matchers and ingest workers as child processes over a real NATS server
//! and a real CQL database. A client must not be able to tell them from one process (CL-7).
//!
//! Most tests share one cluster of two each, with keys of their own; one that needs an empty store,
//! other settings or a fault starts its own.

mod bed;
mod canary;
mod control;
mod drain;
mod faults;
mod groups;
mod join;
mod live;
mod load;
mod moving;
mod oracle;
mod races;
mod reads;
mod real_events;
mod roles;
mod snapshot;
mod tiers;
mod traces;
mod vectors;
