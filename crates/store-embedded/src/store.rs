//! [`EmbeddedStore`]: opening, the seam's three calls, closing.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write as _},
    path::Path,
    sync::Arc,
    thread::JoinHandle,
};

use crossbeam_channel::Sender;
use heliograph_protocol::{Event, EventId, Outcome};
use heliograph_store::{EventStore, ScanRequest, StoreError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot};

use crate::{
    core::{Core, Counters, FlushState, Levels},
    disk::Disk,
    environment::{Environment, compact_dir},
    error::OpenError,
    files::{DATABASE_BYTES_MIN, make_dir, remove_dir},
    flusher,
    log::{LogWriter, segments},
    options::Options,
    readers::{Pool, contains_now, guarded_now},
    replay,
    scan::{EmbeddedScan, Viewable},
    writer::{Command, Write, Writer},
};

/// The embedded store. Cloning gives another handle to the same store; the last one closes it.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    pub(crate) handle: Arc<Handle>,
}

/// The threads of a store.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) core: Arc<Core>,
    pub(crate) pool: Arc<Pool>,
    commands: Sender<Command>,
    /// One for each write that may wait, so that sending a command never blocks an async caller.
    permits: Arc<Semaphore>,
    /// One caller at a time, so that the queue always has room for those who hold a permit.
    flushing: Mutex<()>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    flusher: JoinHandle<()>,
    _lock: DirLock,
}

/// Where the database stands in a data directory.
pub(crate) const DATABASE_DIR: &str = "db";
/// Where the log stands in a data directory.
pub(crate) const LOG_DIR: &str = "log";

impl EmbeddedStore {
    /// Opens the store in `options.dir`, making it if it is absent, and replays the log. Blocks.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the directory is as it was.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_on(Disk::default(), options)
    }

    /// The same, with the log's files on `disk`.
    pub(crate) fn open_on(disk: Disk, options: Options) -> Result<Self, OpenError> {
        let dir = options.dir.clone();
        make_dir(&dir)?;
        let lock = lock(&dir)?;
        let (database_dir, log_dir) = (dir.join(DATABASE_DIR), dir.join(LOG_DIR));
        make_dir(&log_dir)?;
        let leftover = compact_dir(&database_dir);
        remove_dir(&leftover).map_err(OpenError::io(&leftover))?;
        check_database(&database_dir, &log_dir)?;
        let environment =
            Environment::open(&database_dir, options.map_bytes_initial, disk.clone())?;
        let levels = Levels {
            active: Arc::new(RwLock::default()),
            frozen: None,
            hiding: None,
        };
        let core = Arc::new(Core {
            options,
            disk,
            log_dir,
            environment,
            levels: RwLock::new(levels),
            flush: Mutex::new(FlushState::default()),
            flush_changed: parking_lot::Condvar::new(),
            vanishing: Mutex::default(),
            counters: Counters::default(),
            broken: false.into(),
            #[cfg(test)]
            flush_errno: 0.into(),
            #[cfg(test)]
            flush_held: false.into(),
        });
        let next = replay::replay(&core)?;
        let log = LogWriter::create(&core.disk, &core.log_dir, next, core.options.sync);
        let log = log.map_err(OpenError::io(&core.log_dir))?;
        Self::start(core, log, lock)
    }

    fn start(core: Arc<Core>, log: LogWriter, lock: DirLock) -> Result<Self, OpenError> {
        let failed = |core: &Core| OpenError::io(core.options.dir.clone());
        let options = &core.options;
        let queued = options.writes_queued_max.clamp(1, Semaphore::MAX_PERMITS);
        let (commands, received) = crossbeam_channel::bounded(queued + 16);
        let viewable: Arc<dyn Viewable> = Arc::<Core>::clone(&core);
        let pool = Pool::start(&viewable, options.reader_threads, options.reads_queued_max);
        let pool = pool.map_err(failed(&core))?;
        let flusher = flusher::start(&core).map_err(failed(&core))?;
        let writer = Writer::start(Arc::clone(&core), received, log).map_err(failed(&core))?;
        let handle = Handle {
            core,
            pool,
            commands,
            permits: Arc::new(Semaphore::new(queued)),
            flushing: Mutex::default(),
            threads: Mutex::new(Some(Threads {
                writer,
                flusher,
                _lock: lock,
            })),
        };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Stops taking writes, moves everything into the database, ends the threads and releases the
    /// directory. Other handles answer [`StoreError::Closed`] from then on. Blocks; dropping the
    /// last handle does the same.
    pub fn close(self) {
        self.handle.close();
    }

    /// Waits until the database holds everything that was written before. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the events are safe in the log, but not all of them in the database.
    pub fn flush(&self) -> Result<(), StoreError> {
        let _one = self.handle.flushing.lock();
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let sent = self.handle.commands.send(Command::Flush(reply));
        sent.map_err(|_stopped| StoreError::Closed)?;
        answer.recv().map_err(|_stopped| StoreError::Closed)?
    }

    /// Whether this id is stored and neither deleted nor superseded, on the calling thread: some
    /// microseconds if the database is in memory, a disk read if not.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database can't be read.
    pub fn contains_blocking(&self, id: &EventId) -> Result<bool, StoreError> {
        Ok(contains_now(&*self.handle.core, id)?)
    }

    /// Whether a deletion or a request to vanish keeps this event out, on the calling thread: for
    /// ephemeral events, which are never merged (R62-4).
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database can't be read.
    pub fn guarded_blocking(&self, event: &Event) -> Result<Option<Outcome>, StoreError> {
        Ok(guarded_now(&*self.handle.core, event)?)
    }
}

impl EventStore for EmbeddedStore {
    type Scan = EmbeddedScan;

    async fn write(&self, events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
        let permit = Arc::clone(&self.handle.permits).acquire_owned().await;
        let permit = permit.map_err(|_closed| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Write(Write {
            events,
            reply,
            _permit: permit,
        });
        self.handle
            .commands
            .try_send(command)
            .map_err(|_stopped| StoreError::Closed)?;
        answer.await.map_err(|_stopped| StoreError::Closed)?
    }

    fn scan(&self, request: ScanRequest) -> EmbeddedScan {
        EmbeddedScan::new(Arc::clone(&self.handle.pool), request)
    }

    async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
        self.handle.pool.contains(*id).await
    }
}

impl Handle {
    fn close(&self) {
        let Some(threads) = self.threads.lock().take() else {
            return;
        };
        self.permits.close();
        // The writer may be gone already; then there is nothing to stop.
        drop(self.commands.send(Command::Stop));
        join(threads.writer);
        self.core.flush.lock().stopping = true;
        self.core.flush_changed.notify_all();
        join(threads.flusher);
        self.pool.stop();
        self.core.environment.close();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a store thread panicked");
    }
}

/// Looks for a database that is gone, and removes one that LMDB couldn't finish, for want of room, and
/// would never open again.
fn check_database(database_dir: &Path, log_dir: &Path) -> Result<(), OpenError> {
    let file = database_dir.join("data.mdb");
    let is_unfinished = match fs::metadata(&file) {
        Ok(meta) if meta.len() >= DATABASE_BYTES_MIN => return Ok(()),
        Ok(_unfinished) => true,
        Err(_absent) => false,
    };
    let log = segments(log_dir).map_err(OpenError::io(log_dir))?;
    // The first segment is begun after the database, and removed only after it has gone there.
    if let Some(segment) = log.first().copied().filter(|segment| *segment > 1) {
        return Err(OpenError::Lost {
            path: database_dir.to_owned(),
            segment,
        });
    }
    if is_unfinished && log.is_empty() {
        fs::remove_file(&file).map_err(OpenError::io(&file))?;
    }
    Ok(())
}

/// The directory is this process's own until this is dropped.
#[derive(Debug)]
pub(crate) struct DirLock(File);

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file isn't enough: a child that this process is just forking has it too.
        if let Err(error) = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock) {
            tracing::warn!(%error, "failed to release the data directory");
        }
    }
}

/// Takes the directory for this process.
pub(crate) fn lock(dir: &Path) -> Result<DirLock, OpenError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let mut file = file.map_err(OpenError::io(&path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Only for the message: 0 if it can't be read.
            let pid = file
                .read_to_string(&mut text)
                .ok()
                .and_then(|_len| text.trim().parse().ok());
            return Err(OpenError::Locked {
                pid: pid.unwrap_or(0),
            });
        }
        Err(error) => {
            return Err(OpenError::Io {
                path,
                error: error.into(),
            });
        }
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    match write(&mut file) {
        // A full disk must not keep the store from being read.
        Err(error) if !crate::error::is_full(&error) => Err(OpenError::Io { path, error }),
        _ => Ok(DirLock(file)),
    }
}
