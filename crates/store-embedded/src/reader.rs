//! [`EmbeddedReader`]: a look into a store, also while another process has it open.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use heliograph_policy::RelayUrls;
use heliograph_protocol::{Event, EventId};
use heliograph_store::{ScanRequest, StoreError};
use parking_lot::{Mutex, RwLock};

use crate::{
    environment::{Environment, ReadTxn},
    error::{Fault, OpenError},
    layout::meta,
    log::{SegmentEnd, read_segment, segments, total_bytes},
    lookup::{Snapshot, merge},
    overlay::{Level, SharedLevel},
    readers::{Pool, contains_now},
    scan::{EmbeddedScan, View, Viewable},
    store::{DATABASE_DIR, LOG_DIR},
    tools::{StoreInfo, describe},
    vanish::{hiding, noted},
};

/// Reader threads of a look: tools read one thing at a time.
const THREADS: usize = 1;
const QUEUED_MAX: usize = 64;
/// How often the log is read again because its segments went into the database meanwhile.
const ATTEMPTS_MAX: usize = 100;

/// A read-only view of a store, for tools. Each page shows what was written before it was asked for.
#[derive(Debug)]
pub struct EmbeddedReader {
    pub(crate) core: Arc<LookCore>,
    pool: Arc<Pool>,
}

#[derive(Debug)]
pub(crate) struct LookCore {
    pub(crate) environment: Environment,
    data_file: PathBuf,
    pub(crate) log_dir: PathBuf,
    relay_urls: RelayUrls,
    /// Which file is open: a compaction exchanges it.
    inode: AtomicU64,
    tail: Mutex<Option<Tail>>,
}

/// The log's tail as a level.
#[derive(Debug)]
struct Tail {
    /// The segment up to which the database had it when this was built.
    flushed: u64,
    log_bytes: u64,
    level: SharedLevel,
}

impl EmbeddedReader {
    /// Opens the store in `dir` for reading. `relay_urls` as the relay has them.
    ///
    /// # Errors
    ///
    /// [`OpenError`], among others if there is no store.
    pub fn open(dir: &Path, relay_urls: RelayUrls) -> Result<Self, OpenError> {
        let database_dir = dir.join(DATABASE_DIR);
        let data_file = database_dir.join("data.mdb");
        // First, so that an exchange in between is noticed.
        let inode = fs::metadata(&data_file).map_or(0, |meta| meta.ino());
        let environment = Environment::look(&database_dir)?;
        let core = Arc::new(LookCore {
            environment,
            data_file,
            log_dir: dir.join(LOG_DIR),
            relay_urls,
            inode: inode.into(),
            tail: Mutex::default(),
        });
        core.view()?;
        let viewable: Arc<dyn Viewable> = Arc::<LookCore>::clone(&core);
        let pool = Pool::start(&viewable, THREADS, QUEUED_MAX).map_err(OpenError::io(dir))?;
        Ok(Self { core, pool })
    }

    /// Prepares a read, as [`EventStore::scan`](heliograph_store::EventStore::scan) does.
    #[must_use]
    pub fn scan(&self, request: ScanRequest) -> EmbeddedScan {
        EmbeddedScan::new(Arc::clone(&self.pool), request)
    }

    /// What the store holds. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it can't be read.
    pub fn info(&self) -> Result<StoreInfo, StoreError> {
        let mut info = describe(&self.core.view()?, &self.core.relay_urls)?;
        info.file_bytes = self.core.environment.file_bytes();
        info.log_bytes = total_bytes(&self.core.log_dir);
        Ok(info)
    }

    /// Whether this id is stored and neither deleted nor superseded. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store can't be read.
    pub fn contains_blocking(&self, id: &EventId) -> Result<bool, StoreError> {
        Ok(contains_now(&*self.core, id)?)
    }
}

impl Drop for EmbeddedReader {
    fn drop(&mut self) {
        self.pool.stop();
        self.core.environment.close();
    }
}

impl Viewable for LookCore {
    fn view(&self) -> Result<View<'_>, Fault> {
        let mut tail = self.tail.lock();
        for _attempt in 0..ATTEMPTS_MAX {
            self.follow_compaction()?;
            let flushed = self.flushed(&self.environment.read()?)?;
            let log_bytes = total_bytes(&self.log_dir);
            let known = tail
                .as_ref()
                .filter(|t| (t.flushed, t.log_bytes) == (flushed, log_bytes));
            let events = match known {
                Some(_) => Vec::new(),
                None => match read_tail(&self.log_dir, flushed) {
                    Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                    events => events?,
                },
            };
            let txn = self.environment.read()?;
            // Segments go only after the database has said so: none went if it says the same, and
            // still is the one that is written to.
            if self.flushed(&txn)? != flushed || self.is_exchanged()? {
                continue;
            }
            let hiding = hiding(&noted(&txn, &txn.tables)?);
            let level = match known {
                Some(tail) => Arc::clone(&tail.level),
                None => Arc::new(RwLock::new(self.build(&txn, &hiding, &events)?)),
            };
            *tail = Some(Tail {
                flushed,
                log_bytes,
                level: Arc::clone(&level),
            });
            return Ok(View {
                txn,
                levels: vec![level, Arc::new(RwLock::new(hiding))],
                frozen_segment: None,
            });
        }
        Err(Fault::Io(io::Error::other(
            "the log changes faster than it can be read",
        )))
    }

    fn relay_urls(&self) -> &RelayUrls {
        &self.relay_urls
    }

    fn count_slice(&self, _rows: u64, _took: Duration) {}
}

impl LookCore {
    pub(crate) fn flushed(&self, txn: &ReadTxn<'_>) -> Result<u64, Fault> {
        txn.tables.number(txn, meta::FLUSHED_SEGMENT)
    }

    /// Opens the new file if the old one was exchanged. Returns which one is open.
    pub(crate) fn follow_compaction(&self) -> Result<u64, Fault> {
        let inode = fs::metadata(&self.data_file)?.ino();
        if self.inode.load(Ordering::Acquire) != inode {
            self.environment.reopen(|| Ok(()))?;
            self.inode.store(inode, Ordering::Release);
        }
        Ok(inode)
    }

    pub(crate) fn is_exchanged(&self) -> Result<bool, Fault> {
        Ok(self.inode.load(Ordering::Acquire) != fs::metadata(&self.data_file)?.ino())
    }

    fn build(
        &self,
        txn: &ReadTxn<'_>,
        hiding: &Level,
        events: &[Arc<Event>],
    ) -> Result<Level, Fault> {
        let mut level = Level::default();
        let mut snapshot = Snapshot {
            txn,
            tables: txn.tables,
            decoder: txn.codec.decoder(),
        };
        for event in events {
            let (_outcome, change) =
                merge(event, &[&level, hiding], &mut snapshot, &self.relay_urls)?;
            if let Some(change) = change {
                level.apply(&change);
            }
        }
        Ok(level)
    }
}

/// The events of the segments after `flushed`. The newest segment may end anywhere: its owner is
/// writing it.
fn read_tail(dir: &Path, flushed: u64) -> Result<Vec<Arc<Event>>, Fault> {
    let numbers = segments(dir)?;
    let mut events = Vec::new();
    for number in numbers.into_iter().filter(|number| *number > flushed) {
        let segment = read_segment(dir, number)?;
        if matches!(segment.end, SegmentEnd::Damaged { .. }) && segment.synced {
            return Err(Fault::Corrupt("log record"));
        }
        events.extend(segment.events.into_iter().map(Arc::new));
    }
    Ok(events)
}
