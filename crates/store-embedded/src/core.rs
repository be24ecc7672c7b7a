//! What the threads of a store share, and how they hand levels on.
//!
//! Locks are taken in this order: `levels`, then the database's gate (inside [`Environment`]), then
//! the levels' own; `vanishing` after `levels`. `flush` is held alone.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use heliograph_policy::RelayUrls;
use heliograph_store::StoreError;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::{
    disk::Disk,
    environment::Environment,
    error::Fault,
    options::Options,
    overlay::SharedLevel,
    scan::{View, Viewable},
    times::Times,
    vanish::{Vanishing, hiding},
};

/// The shared state of a store.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) disk: Disk,
    pub(crate) log_dir: PathBuf,
    pub(crate) environment: Environment,
    pub(crate) levels: RwLock<Levels>,
    pub(crate) flush: Mutex<FlushState>,
    pub(crate) flush_changed: Condvar,
    /// What `hiding` is made of: the flusher's own list.
    pub(crate) vanishing: Mutex<Vec<Vanishing>>,
    pub(crate) counters: Counters,
    /// Writes are over: the log failed in a way that can't be trusted, or the store is closing.
    pub(crate) broken: AtomicBool,
    /// Failures of flushing, on demand.
    #[cfg(test)]
    pub(crate) flush_errno: std::sync::atomic::AtomicI32,
    /// Keeps the flusher from beginning.
    #[cfg(test)]
    pub(crate) flush_held: AtomicBool,
}

/// The levels above the database, newest first.
#[derive(Debug)]
pub(crate) struct Levels {
    pub(crate) active: SharedLevel,
    /// On its way to the database.
    pub(crate) frozen: Option<Frozen>,
    /// Hides what requests to vanish have left in the database.
    pub(crate) hiding: Option<SharedLevel>,
}

#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    pub(crate) level: SharedLevel,
    /// The log is covered up to this segment once the level is in the database.
    pub(crate) segment: u64,
}

/// How far the flusher is.
#[derive(Debug, Default)]
pub(crate) struct FlushState {
    /// A frozen level waits or is being written.
    pub(crate) pending: bool,
    /// The last attempt failed like this; it is repeated.
    pub(crate) failing: Option<StoreError>,
    pub(crate) stopping: bool,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) groups: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    pub(crate) rows_scanned: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) log_cut_bytes: AtomicU64,
    pub(crate) times: Times,
}

impl Core {
    /// Waits until no level is on its way, or the flusher fails.
    ///
    /// # Errors
    ///
    /// What the flusher fails with; the level stays and is tried again.
    pub(crate) fn wait_flushed(&self) -> Result<(), StoreError> {
        let mut flush = self.flush.lock();
        while flush.pending {
            if let Some(error) = &flush.failing {
                return Err(error.clone());
            }
            self.flush_changed.wait(&mut flush);
        }
        Ok(())
    }

    /// Hides what these requests hide, as well, until it is removed. Holds for views that begin
    /// after this.
    pub(crate) fn hide(&self, levels: &mut Levels, more: Vec<Vanishing>) {
        let mut vanishing = self.vanishing.lock();
        for one in more {
            vanishing.retain(|other| other.owner != one.owner || other.until > one.until);
            vanishing.push(one);
        }
        levels.hiding = (!vanishing.is_empty()).then(|| Arc::new(RwLock::new(hiding(&vanishing))));
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

impl Viewable for Core {
    fn view(&self) -> Result<View<'_>, Fault> {
        let levels = self.levels.read();
        // Under the lock: what the flusher commits from here on is still in the levels below.
        let txn = self.environment.read()?;
        let frozen = levels.frozen.as_ref();
        let frozen_segment = frozen.map(|frozen| frozen.segment);
        let levels = std::iter::once(&levels.active)
            .chain(frozen.map(|frozen| &frozen.level))
            .chain(&levels.hiding)
            .cloned()
            .collect();
        Ok(View {
            txn,
            levels,
            frozen_segment,
        })
    }

    fn relay_urls(&self) -> &RelayUrls {
        &self.options.relay_urls
    }

    fn count_slice(&self, rows: u64, took: Duration) {
        self.counters
            .rows_scanned
            .fetch_add(rows, Ordering::Relaxed);
        self.counters.times.scan.observe(took.as_secs_f64());
    }
}
