//! The embedded event store: a write-ahead log with group fsync, and LMDB behind it in large batches
//! sorted by key.
//!
//! ```text
//! write ─▶ writer thread: decide → log → fsync ─▶ active level ─▶ frozen level ─▶ flusher ─▶ LMDB
//! scan  ─▶ reader threads: candidates from LMDB, merged with the levels above it
//! ```
//!
//! What always holds: what isn't in the log is never visible; a level is in memory until the database
//! has all of it; replaying the log changes nothing that is there already.

mod apply;
mod changes;
mod codec;
mod core;
mod cursor;
mod disk;
mod environment;
mod error;
mod files;
mod flusher;
mod layout;
mod lineage;
mod log;
mod lookup;
mod options;
mod overlay;
mod plan;
mod priority;
mod reader;
mod readers;
mod repair;
mod replay;
mod scan;
mod seats;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod times;
mod tools;
mod vanish;
mod writer;

pub use changes::{Changed, Changes, FollowError};
pub use error::OpenError;
pub use lineage::Cursor;
pub use options::Options;
pub use reader::EmbeddedReader;
pub use repair::Repaired;
pub use scan::EmbeddedScan;
pub use seats::{VacantSeat, VacantSeats};
pub use store::EmbeddedStore;
pub use times::Times;
pub use tools::{StoreInfo, StoreStats};
