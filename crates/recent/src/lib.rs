//! The newest events indexed in memory, in front of either store.
//!
//! Stands between the matcher and the archive: it is fed with committed events and answers reads.
//! What always holds: every stored event from the **floor** on is in the index, whatever its
//! author, kind and tags; a read takes what is above the floor from memory and what is below from
//! the archive, and misses or repeats nothing in between. A newest-first answer that is full before
//! the floor never touches the archive. Losing the index loses nothing.
//!
//! | you want to know | look at |
//! | --- | --- |
//! | how a filter is answered | `cursor.rs`, then `seam.rs`, `scan.rs` |
//! | what an event removes, what is remembered | `state.rs` |
//! | how it is filled at start | `warm.rs` |
//! | what it takes in memory | `index.rs`, `entry.rs`, `list.rs`, `tables.rs` |

mod cursor;
mod entry;
mod index;
mod keys;
mod lately;
mod list;
#[cfg(test)]
mod model;
mod scan;
mod seam;
mod slab;
mod state;
mod tables;
mod warm;

use std::sync::Arc;

use heliograph_policy::RelayUrls;
use heliograph_protocol::{Event, EventId, Kind, Outcome, Timestamp};
use heliograph_store::{EventStore, ScanRequest, StoreError};
use parking_lot::{RwLock, RwLockWriteGuard};

pub use scan::RecentScan;

use state::{NOTHING, State, is_undecided, takes_effect};

/// Events merged under one hold of the lock: some hundred microseconds.
const APPLY_SLICE: usize = 64;

/// How much the index may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentOptions {
    /// Events indexed at most, about 120 bytes each beside their texts; at most 2^30 are taken.
    /// Past it the oldest are evicted and the floor rises.
    pub events_max: usize,
    /// Memory for texts at most, in bytes. Past it the oldest texts are dropped; their events are
    /// still found by the index, and read from the archive by id.
    pub text_bytes_max: usize,
    /// Deletions and winners of addresses remembered beyond the index at most, each; about 60 bytes
    /// an entry. If more were committed since, an event that is applied later than the one that
    /// beat it is taken for a winner, as long as it isn't in the index itself.
    pub remembered_max: usize,
}

impl Default for RecentOptions {
    fn default() -> Self {
        Self {
            events_max: 2_000_000,
            text_bytes_max: 512 << 20,
            remembered_max: 1_000_000,
        }
    }
}

/// What became of a committed event here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// First seen, and visible: to be delivered.
    New,
    /// Applied before: the stream repeated it.
    Known,
    /// What beat it came first: a newer version, a deletion, a request to vanish. Not to be
    /// delivered (CL-3).
    Lost,
}

/// What the index holds, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentStats {
    /// Events indexed.
    pub events: usize,
    /// Of these, how many have their text in memory.
    pub texts: usize,
    /// Memory of the texts, in bytes.
    pub text_bytes: usize,
    /// Memory of the index and of what is remembered, in bytes, estimated.
    pub index_bytes: usize,
    /// Deletions and winners of addresses remembered beyond the index.
    pub remembered: usize,
    /// See [`Recent::floor`].
    pub floor: Option<Timestamp>,
    /// Events evicted since the start.
    pub evictions: u64,
}

/// The newest events of `S` in memory, and `S` behind them. Cloning shares them.
///
/// # Guarantees
///
/// Those of [`EventStore`], if every event that any writer commits to the archive is passed to
/// [`apply`](Self::apply), [`take_seat`](Self::take_seat) or [`write`](EventStore::write) after it
/// is visible in the archive, from before the first [`warm_step`](Self::warm_step) on. Order and
/// repetition don't matter. An event is seen here from the moment it is applied.
///
/// Where several workers commit, the stream has to begin early enough that of two events one of
/// which removed the other it never holds the removed one alone.
#[derive(Debug)]
pub struct Recent<S> {
    shared: Arc<Shared<S>>,
}

#[derive(Debug)]
pub(crate) struct Shared<S> {
    pub(crate) archive: S,
    pub(crate) state: RwLock<State>,
}

impl<S> Clone for Recent<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: EventStore> Recent<S> {
    /// An empty index before `archive`, which follows requests to vanish from these URLs. Until
    /// [`warm_step`](Self::warm_step) has run, every read goes to the archive.
    #[must_use]
    pub fn new(archive: S, options: RecentOptions, relay_urls: RelayUrls) -> Self {
        let options = RecentOptions {
            events_max: options.events_max.min(1 << 30),
            ..options
        };
        let state = RwLock::new(State::new(options, relay_urls));
        Self {
            shared: Arc::new(Shared { archive, state }),
        }
    }

    /// The store behind.
    #[must_use]
    pub fn archive(&self) -> &S {
        &self.shared.archive
    }

    /// Takes in events that were committed as [`Outcome::Stored`], and says of each, in the same
    /// order, whether it is to be delivered.
    pub fn apply(&self, events: &[Arc<Event>]) -> Vec<Applied> {
        let mut applied = Vec::with_capacity(events.len());
        for slice in events.chunks(APPLY_SLICE) {
            let mut state = self.shared.state.write();
            applied.extend(slice.iter().map(|event| apply(&mut state, event, true)));
        }
        applied
    }

    /// Takes in an event that was stored long before it was written once more. From here on it is seen,
    /// if it wasn't; it is never to be delivered for this: only what the stream announces as new is,
    /// so that all who follow the stream deliver it at the same place, whatever they have read from
    /// the archive.
    pub fn take_again(&self, event: &Arc<Event>) {
        let mut state = self.shared.state.write();
        state.take_again(event);
        if event.kind() == Kind::VANISH {
            vanish(&mut state, event);
        }
    }

    /// Whether something that beats this event has been seen lately: a deletion, a request to
    /// vanish, a better version of its address. "No" means nothing.
    #[must_use]
    pub fn beats(&self, event: &Event) -> bool {
        self.shared.state.read().beats(event)
    }

    /// Takes in an event whose outcome was [`Outcome::Deleted`]. It isn't visible, but a version of
    /// an address supersedes the older ones all the same (see [`heliograph_store::rules`]), so the
    /// stream has to carry such events too.
    pub fn take_seat(&self, event: &Event) {
        if event.kind().has_address() {
            self.shared
                .state
                .write()
                .unseat(event, Some(Outcome::Deleted));
        }
    }

    /// Takes out events that an operator has removed from the archive, and returns how many were
    /// here.
    pub fn remove(&self, ids: &[EventId]) -> usize {
        let slices = ids.chunks(APPLY_SLICE);
        let gone = slices.map(|slice| {
            let mut state = self.shared.state.write();
            slice.iter().filter(|id| state.remove(id)).count()
        });
        gone.sum()
    }

    /// Whether this id is indexed, so that the event needn't be looked at again. "No" means nothing.
    #[must_use]
    pub fn known(&self, id: &EventId) -> bool {
        let state = self.shared.state.read();
        state
            .index
            .find(id)
            .is_some_and(|slot| !is_undecided(state.index.get(slot)))
    }

    /// Whether this very event is indexed, its signature included, as far as its text is in memory.
    /// "No" means nothing. An id says nothing of the signature, so an event that is known with
    /// another one has to be looked at.
    #[must_use]
    pub fn holds(&self, event: &Event) -> bool {
        let state = self.shared.state.read();
        let Some(slot) = state.index.find(event.id()) else {
            return false;
        };
        let entry = state.index.get(slot);
        !is_undecided(entry) && entry.text().is_none_or(|known| **known == *event)
    }

    /// Every stored event from this second on is indexed; `None` while that can't be said of any.
    #[must_use]
    pub fn floor(&self) -> Option<Timestamp> {
        Some(self.shared.state.read().floor).filter(|floor| *floor != NOTHING)
    }

    /// What the index holds. Walks its largest lists: for metrics, not for every event.
    #[must_use]
    pub fn stats(&self) -> RecentStats {
        let state = self.shared.state.read();
        RecentStats {
            events: state.index.len(),
            texts: state.index.texts(),
            text_bytes: state.index.text_bytes(),
            index_bytes: state.bytes(),
            remembered: state.remembered(),
            floor: Some(state.floor).filter(|floor| *floor != NOTHING),
            evictions: state.evictions,
        }
    }
}

/// Merges one event, and removes what a request to vanish takes along.
fn apply(state: &mut RwLockWriteGuard<'_, State>, event: &Arc<Event>, announced: bool) -> Applied {
    let applied = state.apply(event, announced);
    let vanishes = event.kind() == Kind::VANISH && applied != Applied::Lost;
    if vanishes && takes_effect(applied, announced) {
        vanish(state, event);
    }
    applied
}

/// Removes in slices what a request takes along; others get the lock in between.
fn vanish(state: &mut RwLockWriteGuard<'_, State>, request: &Event) {
    while state.vanish(request) {
        RwLockWriteGuard::bump(state);
    }
}

impl<S: EventStore> EventStore for Recent<S> {
    type Scan = RecentScan<S>;

    /// Writes to the archive and indexes what it stored. An event that comes by the stream as well
    /// is still [`Applied::New`] there.
    async fn write(&self, events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = self.shared.archive.write(events.clone()).await?;
        let written: Vec<_> = events.iter().zip(&outcomes).collect();
        for slice in written.chunks(APPLY_SLICE) {
            let mut state = self.shared.state.write();
            for (event, outcome) in slice {
                match outcome {
                    // A duplicate may have been stored by a write that failed half-way.
                    Outcome::Stored | Outcome::Duplicate => {
                        apply(&mut state, event, false);
                    }
                    Outcome::Deleted => state.unseat(event, Some(Outcome::Deleted)),
                    Outcome::Superseded | Outcome::Vanished => {}
                }
            }
        }
        Ok(outcomes)
    }

    fn scan(&self, request: ScanRequest) -> RecentScan<S> {
        RecentScan::new(Arc::clone(&self.shared), request)
    }

    async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
        if self.known(id) {
            Ok(true)
        } else {
            self.shared.archive.contains(id).await
        }
    }
}
