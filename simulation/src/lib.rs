//! Gateway, ingest and matcher on one thread with a paused clock, under faults drawn from a seed.
//!
//! What runs is the code of the services as it is: sessions of gateways, the pipeline of ingest,
//! matchers with their recent tier, the direct link with its HTTP/2. What is simulated lies below the
//! seams: the bus ([`bus`]), the database ([`store`]), connections ([`network`]), the clocks, and the
//! death of processes ([`process`]). Every choice comes from the seed, so that a run can be repeated
//! to the byte; afterwards [`check`] decides whether what clients saw is what is promised.

pub mod bus;
mod census;
pub mod check;
mod client;
pub mod cluster;
mod connection;
pub mod history;
mod journal;
mod nemesis;
pub mod network;
mod panics;
mod pipe;
pub mod process;
mod random;
mod run;
pub mod store;
mod traffic;
mod workload;

pub use census::{Census, Size, census};
pub use journal::{BEGINNING, Journal};
pub use pipe::End;
pub use random::Random;
pub use run::{Counts, Faults, Report, simulate};
pub use traffic::{Counter, Traffic};
