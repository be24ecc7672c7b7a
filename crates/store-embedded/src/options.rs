//! How a store is opened.

use std::{path::PathBuf, time::Duration};

use heliograph_policy::RelayUrls;

/// Where the store is and what it may use.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory; made if absent.
    pub dir: PathBuf,
    /// Requests to vanish from these URLs are obeyed (R62-1).
    pub relay_urls: RelayUrls,
    /// Whether a write returns only after fsync. Without it a power cut may lose the last seconds;
    /// the end of the process alone loses nothing.
    pub sync: bool,
    /// Threads that read, `1..`. From two on, the first takes only reads that have just begun.
    pub reader_threads: usize,
    /// Events in memory before they are moved to the database in one batch. Batches of 10,000 cost a
    /// fifth of the CPU an event of batches of 100; at 1 KiB an event this holds 10 MiB, twice that at
    /// most while a batch is on its way. Past that, writes wait.
    pub flush_events: usize,
    /// The same in bytes of wire form.
    pub flush_bytes: usize,
    /// Events wait this long at most to be moved to the database.
    pub flush_interval: Duration,
    /// Writes that wait for the writer thread; past that, callers wait.
    pub writes_queued_max: usize,
    /// Reads that wait for a reader thread; past that, callers wait.
    pub reads_queued_max: usize,
    /// The first size of the database's memory map, in bytes; it grows by itself. Address space,
    /// not memory.
    pub map_bytes_initial: usize,
}

impl Options {
    /// The defaults for a directory: fsync, 2 to 4 reader threads, batches of 10,000 or one second.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            dir: dir.into(),
            relay_urls: RelayUrls::default(),
            sync: true,
            reader_threads: cores.clamp(2, 4),
            flush_events: 10_000,
            flush_bytes: 32 << 20,
            flush_interval: Duration::from_secs(1),
            writes_queued_max: 4096,
            reads_queued_max: 4096,
            map_bytes_initial: 256 << 20,
        }
    }
}
