//! Real servers and roles as child processes on loopback, for development and tests.
//!
//! Everything blocks and needs no runtime, so it works in any test. What always holds: a child dies
//! with the value that started it, and with this process however that ends; instances don't get in
//! each other's way, as each has loopback addresses of its own; nothing waits for a
//! time, only for a state with a deadline.
//!
//! Made for Linux: it counts on all of 127.0.0.0/8 being local and on `setpriv` (util-linux).

pub mod clients;
pub mod cluster;
pub mod collector;
pub mod cql;
pub mod databases;
mod directory;
mod environment;
mod error;
pub mod http;
mod install;
pub mod k6;
pub mod kubernetes;
mod loopback;
pub mod nats;
pub mod network;
pub mod peers;
pub mod process;
mod program;
pub mod prometheus;
mod skip;
pub mod tools;
pub mod wait;

pub use directory::{Storage, disk_usage};
pub use error::Error;
pub use skip::or_skip;
