//! The database of a simulated cluster: one set of events that all processes share, with answers that
//! are late, missing, or wrong about whether a write was carried out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use heliograph_policy::RelayUrls;
use heliograph_protocol::{Event, EventId, Outcome};
use heliograph_store::{EventStore, MemoryScan, MemoryStore, Page, Scan, ScanRequest, StoreError};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{Faults, Journal, journal::short, process::Process, random::Random};

/// Time after which a request to a database that is away fails.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Rows of a page at most: few, so that there are many.
const ROWS_MAX: u64 = 16;

/// What is stored. One for each run.
#[derive(Debug)]
pub struct Database {
    events: MemoryStore,
    /// Every event that was ever written, whatever became of it, and when first.
    written: Mutex<BTreeMap<EventId, (Instant, Arc<Event>)>>,
    down_until: Mutex<Option<Instant>>,
    random: Random,
    faults: Faults,
    journal: Journal,
}

/// The database as one process sees it.
#[derive(Debug, Clone)]
pub struct SimStore {
    database: Arc<Database>,
    process: Arc<Process>,
}

/// A running read.
#[derive(Debug)]
pub struct SimScan {
    store: SimStore,
    scan: MemoryScan,
}

impl Database {
    /// Nothing stored yet.
    #[must_use]
    pub fn new(random: Random, faults: Faults, journal: Journal, urls: RelayUrls) -> Arc<Self> {
        Arc::new(Self {
            events: MemoryStore::new(urls),
            written: Mutex::default(),
            down_until: Mutex::new(None),
            random,
            faults,
            journal,
        })
    }

    /// Requests fail for this time.
    pub fn go_down(&self, time: Duration) {
        *self.down_until.lock() = Some(Instant::now() + time);
    }

    /// What is stored, without anything that could go wrong.
    #[must_use]
    pub const fn events(&self) -> &MemoryStore {
        &self.events
    }

    /// Every event that was ever written, in no order that matters.
    #[must_use]
    pub fn written(&self) -> Vec<Arc<Event>> {
        let written = self.written.lock();
        written
            .values()
            .map(|(_, event)| Arc::clone(event))
            .collect()
    }

    /// Those that were written so lately that nobody may have announced them.
    fn fresh(&self, events: &[Arc<Event>]) -> Vec<EventId> {
        let written = self.written.lock();
        let ids = events.iter().map(|event| *event.id());
        let fresh = ids.filter(|id| {
            let stored = written.get(id).map(|(stored, _)| *stored);
            stored.is_some_and(|stored| stored.elapsed() < self.faults.fresh)
        });
        fresh.collect()
    }

    /// When each event was written first.
    pub(crate) fn stored_at(&self) -> BTreeMap<EventId, Instant> {
        let written = self.written.lock();
        written.iter().map(|(id, (at, _))| (*id, *at)).collect()
    }

    fn is_down(&self) -> bool {
        self.down_until
            .lock()
            .is_some_and(|until| until > Instant::now())
    }
}

impl SimStore {
    /// Connects a process.
    #[must_use]
    pub fn connect(database: &Arc<Database>, process: &Arc<Process>) -> Self {
        Self {
            database: Arc::clone(database),
            process: Arc::clone(process),
        }
    }

    /// Waits as long as a request takes.
    async fn request(&self, failures: u64) -> Result<(), StoreError> {
        let database = &self.database;
        if self.process.is_dead() {
            std::future::pending::<()>().await;
        }
        sleep(database.random.delay(database.faults.store_delay)).await;
        if database.is_down() || !self.process.is_connected() {
            sleep(TIMEOUT).await;
            return Err(StoreError::Failed("the database doesn't answer".to_owned()));
        }
        if database.random.chance(failures) {
            return Err(StoreError::Failed("the database failed".to_owned()));
        }
        Ok(())
    }

    async fn merge(&self, event: Arc<Event>) -> Result<Outcome, StoreError> {
        let database = &self.database;
        let now = Instant::now();
        let id = *event.id();
        let first = (now, Arc::clone(&event));
        database.written.lock().entry(id).or_insert(first);
        let outcomes = database.events.write(vec![event]).await?;
        let outcome = outcomes[0];
        database.journal.note(
            self.process.name(),
            format_args!("wrote {}: {outcome:?}", short(&id)),
        );
        Ok(outcome)
    }
}

impl EventStore for SimStore {
    type Scan = SimScan;

    /// One event after another, so that others write in between. A write that fails has carried out
    /// some of it, or all.
    async fn write(&self, events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
        let database = &self.database;
        let fails = database.random.chance(database.faults.store_failures);
        let mut outcomes = Vec::with_capacity(events.len());
        for event in events {
            self.request(0).await?;
            if fails && database.random.chance(500) {
                continue;
            }
            outcomes.push(self.merge(event).await?);
        }
        self.request(0).await?;
        if fails {
            return Err(StoreError::Failed("the database failed".to_owned()));
        }
        Ok(outcomes)
    }

    fn scan(&self, request: ScanRequest) -> SimScan {
        SimScan {
            store: self.clone(),
            scan: self.database.events.scan(request),
        }
    }

    async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
        self.request(self.database.faults.store_failures).await?;
        self.database.events.contains(id).await
    }
}

impl Scan for SimScan {
    async fn next(&mut self, rows: usize) -> Result<Page, StoreError> {
        let database = Arc::clone(&self.store.database);
        self.store.request(database.faults.store_failures).await?;
        let few = usize::try_from(database.random.range(1..ROWS_MAX)).unwrap_or(1);
        let mut page = self.scan.next(rows.min(few)).await?;
        page.cost.archive = true;
        page.fresh = database.fresh(&page.events);
        // What was read is on its way: others write meanwhile.
        sleep(database.random.delay(database.faults.store_delay)).await;
        Ok(page)
    }
}
