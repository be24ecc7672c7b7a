//! The same work for several relays in one run: what each does a second, how long an answer takes,
//! what it costs the server in CPU time, memory, disk and bytes on the wire.
//!
//! Each relay is started on an empty directory, loaded with the same corpus and asked the same
//! questions; for what idle connections cost it is started anew on its data. All relays take part in
//! turn and then in reversed order, since a machine that warms up or is shared favours one place.
//!
//! What always holds: latencies count from the moment an operation was due, not from when the client
//! got round to it; what a relay does after its last answer counts as the work it belongs to; answers
//! are counted and compared, with each other and with what NIP-01 says. A cell in which anything was
//! refused, but for events with nothing left to do about them, is marked invalid, one whose counts
//! differ between relays is marked as different, and neither has ratios. The client's own CPU time
//! stands beside the server's.
//!
//! Two cells have a generator of their own, for what load scripts can't do: readers that really stall, and
//! more connections than a process may have open. They also report in the format of those scripts.
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

/// Runs as a process that holds connections for the cell "sockets", where that is what the command line
/// says; `None` where it isn't.
pub fn run_as_worker(arguments: &[String]) -> Option<anyhow::Result<()>> {
    match arguments {
        [first, order] if first == cells::WORKER => Some(cells::hold_sockets(order)),
        _ => None,
    }
}
