//! Whole relays on port 0: the built binary as a child process, spoken to over real sockets.
//!
//! Every test starts its own relay on an empty directory, so that tests run side by side and in
//! any order. Nothing sleeps: what should come is waited for with a deadline, and what should not
//! come is shown not to have come before something that had to come after it (a *fence*).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it didn't expect, and says which seed or skip it was"
)]

mod abuse;
mod archive;
mod auth;
mod canary;
mod canary_bed;
mod clients;
mod cluster;
mod conformance;
mod crash;
mod deflate;
mod deflated;
mod handshake;
mod http;
mod inflaters;
mod limits;
mod live;
mod live_writes;
mod metrics;
mod mirror;
mod mirror_misled;
mod moving;
mod moving_bed;
mod operate;
mod oracle;
mod private;
mod proxied;
mod reading;
mod real_events;
mod scenarios;
mod shutdown;
mod support;
mod tls;
mod tls_bed;
mod tools;
mod top;
mod traces;
mod vectors;
mod websocket;
