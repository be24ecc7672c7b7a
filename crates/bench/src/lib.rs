//! The same work for several relays in one run: what each does a second, how long an answer takes,
//! what it costs the server in CPU time, memory, disk and bytes on the wire.
//!
//! Each relay is started on an empty directory, loaded with the same corpus and asked the same
//! questions, all relays in turn and then in reversed order, since a machine that warms up or is
//! shared favours one place. What always holds: latencies count from the moment an operation was due,
//! not from when the client got round to it; answers are counted and compared, with each other and with
//! what NIP-01 says; a cell in which anything was refused for its rate is marked invalid and takes no
//! part in ratios; the client's own CPU time stands beside the server's.
//!
//! `options` (the command line) → `work` (events and questions) → `relay` (a process) → `cells` (one
//! kind of work each, over `client`) → `report`.

pub mod cells;
mod client;
pub mod options;
mod process;
mod relay;
pub mod report;
mod run;
mod statistics;
mod work;

pub use run::run;
