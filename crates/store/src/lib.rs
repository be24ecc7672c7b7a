//! Seam 2: the event store. The trait, the rules that every backend follows, a memory version and
//! the conformance suite.
//!
//! A store holds a set of *winners* and *guards*, and every rule is a merge that commutes: the same
//! end state for any order and any repetition (`docs/architecture.md`). [`EventStore`] says what a backend
//! promises; [`rules`] says what an event does to the others.
#![warn(missing_docs)]

pub mod conformance;
mod guards;
mod memory;
pub mod rules;

use std::{future::Future, sync::Arc, time::Duration};

use heliograph_protocol::{Event, EventId, Filter, Outcome, Timestamp, TraceContext};

pub use guards::GuardSet;
pub use memory::{MemoryScan, MemoryStore};

/// Where events are kept: the memory version for tests, the embedded one, the CQL one.
///
/// # Guarantees
///
/// - **Durable on return.** When [`write`](Self::write) returns `Ok`, each outcome is durable in the
///   backend's class (fsync, quorum) and visible to every scan that starts later.
/// - **Order free.** Any order, repetition or interleaving of writes of the same accepted events
///   leads to the same visible set (CL-1).
/// - **Safe to retry.** A write that failed may be repeated whole.
/// - **No loss in scans.** A scan returns each event that was visible for its whole duration exactly
///   once, in order; an event that came or went meanwhile may or may not be there.
pub trait EventStore: Send + Sync + 'static {
    /// A running read.
    type Scan: Scan;

    /// Merges events in order and returns one outcome for each, in the same order. Events of
    /// ephemeral kinds must not be passed. Signatures are not looked at.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: nothing of the batch may be taken as stored; it is safe to repeat it.
    fn write(
        &self,
        events: Vec<Arc<Event>>,
    ) -> impl Future<Output = Result<Vec<Outcome>, StoreError>> + Send;

    /// Prepares a read. Costs nothing until the first [`Scan::next`].
    fn scan(&self, request: ScanRequest) -> Self::Scan;

    /// Whether this id is stored and neither deleted nor superseded. May be wrong for a moment in
    /// the direction "no": it only saves work.
    fn contains(&self, id: &EventId) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// What a scan reads: the matches of one filter, newest first, lowest id first within one second
/// (R01-53). The filter's `limit` plays no part: the caller stops when it has enough.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// What to match.
    pub filter: Arc<Filter>,
    /// Start after this place in the order, excluding it; from the newest if absent.
    pub after: Option<(Timestamp, EventId)>,
    /// Events expired by then are left out (R40-2).
    pub now: Timestamp,
    /// When to give up.
    pub budget: Budget,
}

/// What one scan may cost; past either bound it ends with [`End::Budget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Index rows or events looked at.
    pub rows: u64,
    /// Time spent reading, waiting for the caller not counted.
    pub time: Duration,
}

impl Budget {
    /// For tools that read everything.
    pub const UNLIMITED: Self = Self {
        rows: u64::MAX,
        time: Duration::MAX,
    };
}

/// A running read. Dropping it ends it.
pub trait Scan: Send {
    /// Reads on: at most `rows` more matches, `1..`. Fewer than `rows` come only together with
    /// [`Page::end`], or because a time slice ended; an empty page without `end` is possible.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the scan is over and its answer incomplete.
    fn next(&mut self, rows: usize) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Belongs to a sampled question: what it reads from now on may be noted as spans below `parent`.
    fn trace(&mut self, parent: TraceContext) {
        let _unless_the_store_notes_it = parent;
    }
}

/// Some matches, in order, continuing where the page before stopped.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The matches.
    pub events: Vec<Arc<Event>>,
    /// Of these, the ones stored so lately that the stream of commits may not have announced them
    /// yet, by any worker. Empty where the bus knows that by itself, as in one process.
    pub fresh: Vec<EventId>,
    /// Set on the last page; no call may follow it.
    pub end: Option<End>,
    /// What the whole scan cost so far.
    pub cost: ScanCost,
}

/// Why a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every match was returned.
    Complete,
    /// The budget is spent; others may exist.
    Budget,
}

/// What a scan cost so far, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanCost {
    /// Index rows or events looked at, in both tiers.
    pub rows: u64,
    /// Whether the archive was needed, not only the recent tier.
    pub archive: bool,
}

/// A store can't do what was asked. Every variant is safe to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room on the device. Reads go on.
    #[error("no space left on the device")]
    Full,
    /// The store is stopping or has failed for good.
    #[error("the store is closed")]
    Closed,
    /// The device or the database failed; the text is for the operator.
    #[error("{0}")]
    Failed(String),
}
