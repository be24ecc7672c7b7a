//! The suite that every backend runs, with events in memory, in the database, and on the way.

use std::{ops::Deref, sync::Arc, time::Duration};

use heliograph_protocol::{Event, EventId, Outcome};
use heliograph_store::{EventStore, ScanRequest, StoreError, conformance::Backend};

use super::options;
use crate::{EmbeddedScan, EmbeddedStore, Options};

/// A store and its directory.
pub(super) struct Bed<S> {
    store: S,
    _dir: tempfile::TempDir,
}

impl<S> Deref for Bed<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.store
    }
}

/// Moves everything to the database before a write returns.
pub(super) struct FlushEach(EmbeddedStore);

impl EventStore for FlushEach {
    type Scan = EmbeddedScan;

    async fn write(&self, events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = self.0.write(events).await?;
        self.0.flush()?;
        Ok(outcomes)
    }

    fn scan(&self, request: ScanRequest) -> EmbeddedScan {
        self.0.scan(request)
    }

    async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
        self.0.contains(id).await
    }
}

fn bed<S>(tune: impl Fn(&mut Options), wrap: impl Fn(EmbeddedStore) -> S) -> Bed<S> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    tune(&mut options);
    Bed {
        store: wrap(EmbeddedStore::open(options).unwrap()),
        _dir: dir,
    }
}

mod never_flushed {
    use super::*;

    struct Fresh;

    impl Backend for Fresh {
        type Store = EmbeddedStore;
        type Handle = Bed<EmbeddedStore>;

        async fn open(&self) -> Self::Handle {
            bed(|_options| {}, |store| store)
        }
    }

    heliograph_store::conformance_tests!(super::super::block_on, Fresh);
}

mod flushed_after_every_write {
    use super::*;

    struct Fresh;

    impl Backend for Fresh {
        type Store = FlushEach;
        type Handle = Bed<FlushEach>;

        async fn open(&self) -> Self::Handle {
            bed(|_options| {}, FlushEach)
        }
    }

    heliograph_store::conformance_tests!(super::super::block_on, Fresh);
}

mod flushed_now_and_then {
    use super::*;

    struct Fresh;

    impl Backend for Fresh {
        type Store = EmbeddedStore;
        type Handle = Bed<EmbeddedStore>;

        async fn open(&self) -> Self::Handle {
            let tune = |options: &mut Options| {
                options.flush_events = 3;
                options.flush_interval = Duration::from_millis(5);
                options.reader_threads = 1;
            };
            bed(tune, |store| store)
        }
    }

    heliograph_store::conformance_tests!(super::super::block_on, Fresh);
}
