//! The suite that every backend runs, with events in memory, in the database, and on the way.

use std::{ops::Deref, sync::Arc, time::Duration};

use heliograph_protocol::{Event, EventId, Outcome};
use heliograph_store::{EventStore, ScanRequest, StoreError, conformance::Backend};

use super::{block_on, options};
use crate::{EmbeddedScan, EmbeddedStore};

/// When events are moved to the database. One type for all three: each more would have the suite compiled
/// once more.
enum Flushed {
    Never,
    AfterEveryWrite,
    NowAndThen,
}

/// A store and its directory.
struct Bed {
    store: Flushing,
    _dir: tempfile::TempDir,
}

impl Deref for Bed {
    type Target = Flushing;

    fn deref(&self) -> &Flushing {
        &self.store
    }
}

/// Moves everything to the database before a write returns, if it is to.
struct Flushing {
    store: EmbeddedStore,
    each_write: bool,
}

impl EventStore for Flushing {
    type Scan = EmbeddedScan;

    async fn write(&self, events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = self.store.write(events).await?;
        if self.each_write {
            self.store.flush()?;
        }
        Ok(outcomes)
    }

    fn scan(&self, request: ScanRequest) -> EmbeddedScan {
        self.store.scan(request)
    }

    async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
        self.store.contains(id).await
    }
}

impl Backend for Flushed {
    type Store = Flushing;
    type Handle = Bed;

    async fn open(&self) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        if matches!(self, Self::NowAndThen) {
            options.flush_events = 3;
            options.flush_interval = Duration::from_millis(5);
            options.reader_threads = 1;
        }
        let store = Flushing {
            store: EmbeddedStore::open(options).unwrap(),
            each_write: matches!(self, Self::AfterEveryWrite),
        };
        Bed { store, _dir: dir }
    }
}

mod never_flushed {
    use super::*;

    heliograph_store::conformance_tests!(block_on, Flushed::Never);
}

mod flushed_after_every_write {
    use super::*;

    heliograph_store::conformance_tests!(block_on, Flushed::AfterEveryWrite);
}

mod flushed_now_and_then {
    use super::*;

    heliograph_store::conformance_tests!(block_on, Flushed::NowAndThen);
}
