//! The LMDB environment: opening, transactions, and a map that grows by itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use heed::{Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rustix::io::Errno;

use crate::{
    codec::Codec,
    disk::Disk,
    error::{Fault, OpenError},
    files::{has_no_room, make_dir, remove_dir, reserve_lock_file, sync_dir},
    layout::meta,
    tables::{Tables, check_schema},
};

/// Steps by which the map grows at most.
const MAP_STEP_MAX: usize = 16 << 30;
/// Transactions that read at the same time, all processes together.
const READERS_MAX: u32 = 512;
const TABLES_MAX: u32 = 16;
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// The open database. Whoever holds a [`ReadTxn`] keeps the map from being resized.
#[derive(Debug)]
pub(crate) struct Environment {
    dir: PathBuf,
    mode: Mode,
    slot: RwLock<Slot>,
    /// One writer at a time, and none while the map grows or the file is exchanged.
    write: Mutex<()>,
    /// Told of commits, in tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests ask"))]
    disk: Disk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Own {
        map_bytes_initial: usize,
    },
    /// Another process may write.
    Look,
}

#[derive(Debug)]
struct Slot {
    open: Option<Opened>,
    /// How many times the database was opened.
    epoch: u64,
    /// Closed for good. Otherwise a database that isn't open couldn't be opened again so far.
    closed: bool,
}

#[derive(Debug, Clone)]
struct Opened {
    env: Env<WithoutTls>,
    tables: Tables,
    codec: Arc<Codec>,
}

/// A snapshot to read from.
pub(crate) struct ReadTxn<'a> {
    txn: RoTxn<'static, WithoutTls>,
    pub(crate) tables: Tables,
    pub(crate) codec: Arc<Codec>,
    // After the transaction: fields drop in order.
    gate: RwLockReadGuard<'a, Slot>,
}

impl ReadTxn<'_> {
    /// Which state of the database this is: no two states have the same. LMDB's own numbers begin
    /// anew in a compacted database.
    pub(crate) fn generation(&self) -> (u64, usize) {
        (self.gate.epoch, self.txn.id())
    }
}

impl std::ops::Deref for ReadTxn<'_> {
    type Target = RoTxn<'static, WithoutTls>;

    fn deref(&self) -> &Self::Target {
        &self.txn
    }
}

impl Environment {
    /// Opens the database in `dir`, making it if it is absent.
    ///
    /// # Errors
    ///
    /// [`OpenError`], among others for a newer schema.
    pub(crate) fn open(
        dir: &Path,
        map_bytes_initial: usize,
        disk: Disk,
    ) -> Result<Self, OpenError> {
        make_dir(dir)?;
        let environment = Self::with_mode(dir, Mode::Own { map_bytes_initial }, disk)?;
        // Before anything is taken from the log because the database has it.
        for dir in [dir, parent(dir)] {
            sync_dir(dir).map_err(OpenError::io(dir))?;
        }
        #[cfg(test)]
        environment.disk.tape.committed(&environment.dir);
        Ok(environment)
    }

    /// Opens it read-only, while another process may write.
    ///
    /// # Errors
    ///
    /// [`OpenError`], among others if there is none.
    pub(crate) fn look(dir: &Path) -> Result<Self, OpenError> {
        if !dir.join("data.mdb").exists() {
            return Err(OpenError::Absent(dir.to_owned()));
        }
        Self::with_mode(dir, Mode::Look, Disk::default())
    }

    fn with_mode(dir: &Path, mode: Mode, disk: Disk) -> Result<Self, OpenError> {
        let opened = Opened::open(dir, mode)?;
        let slot = RwLock::new(Slot {
            open: Some(opened),
            epoch: 0,
            closed: false,
        });
        Ok(Self {
            dir: dir.to_owned(),
            mode,
            slot,
            write: Mutex::new(()),
            disk,
        })
    }

    /// Begins a read transaction. A thread must not hold two.
    pub(crate) fn read(&self) -> Result<ReadTxn<'_>, Fault> {
        loop {
            let gate = self.slot.read();
            let Some(opened) = &gate.open else {
                drop(gate);
                self.recover()?;
                continue;
            };
            match opened.env.clone().static_read_txn() {
                Ok(txn) => {
                    if self.mode == Mode::Look
                        && !opened.codec.has_dictionary()
                        && opened.tables.meta.get(&txn, meta::DICTIONARY)?.is_some()
                    {
                        drop((txn, gate));
                        self.reload_codec()?;
                        continue;
                    }
                    let (tables, codec) = (opened.tables, Arc::clone(&opened.codec));
                    return Ok(ReadTxn {
                        txn,
                        tables,
                        codec,
                        gate,
                    });
                }
                Err(heed::Error::Mdb(MdbError::MapResized)) => {
                    drop(gate);
                    self.resize(|_current| 0)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Runs `work` in one durable transaction, growing the map as needed. `work` may run several
    /// times; only the last one counts. It must not begin another transaction.
    pub(crate) fn write<T>(
        &self,
        mut work: impl FnMut(&mut RwTxn<'_>, &Tables, &Codec) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let _writer = self.write.lock();
        self.recover()?;
        // Before it has to be. There may be room enough, though it can't grow.
        if self.is_nearly_full()?
            && let Err(error) = self.grow()
        {
            tracing::warn!(%error, "failed to grow the database map");
        }
        loop {
            match self.attempt(&mut work) {
                Err(fault) if fault.is_map_full() => self.grow()?,
                Err(Fault::Database(heed::Error::Mdb(MdbError::Panic))) => {
                    // LMDB gives an environment up when its meta page couldn't be written.
                    self.reopen(|| Ok(()))?;
                    return Err(Fault::Corrupt("the database had to be opened again"));
                }
                // LMDB's word for a write that had room for a part only.
                Err(Fault::Database(heed::Error::Io(error)))
                    if Errno::from_io_error(&error) == Some(Errno::IO)
                        && has_no_room(&self.dir.join("data.mdb")) =>
                {
                    return Err(Fault::Io(Errno::NOSPC.into()));
                }
                result => return result,
            }
        }
    }

    /// Uses the dictionary that the database now has.
    pub(crate) fn reload_codec(&self) -> Result<(), Fault> {
        let mut slot = self.slot.write();
        let opened = slot.open.as_mut().ok_or(Fault::Closed)?;
        let txn = opened.env.read_txn()?;
        let codec = Codec::new(opened.tables.meta.get(&txn, meta::DICTIONARY)?);
        drop(txn);
        opened.codec = Arc::new(codec);
        Ok(())
    }

    fn attempt<T>(
        &self,
        work: &mut impl FnMut(&mut RwTxn<'_>, &Tables, &Codec) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let gate = self.slot.read();
        let opened = gate.open.as_ref().ok_or(Fault::Closed)?;
        // Readers of other processes that were killed would keep old pages for ever.
        opened.env.clear_stale_readers()?;
        let mut txn = opened.env.write_txn()?;
        let result = work(&mut txn, &opened.tables, &opened.codec)?;
        txn.commit()?;
        #[cfg(test)]
        self.disk.tape.committed(&self.dir);
        Ok(result)
    }

    fn is_nearly_full(&self) -> Result<bool, Fault> {
        let usage = self.usage()?;
        Ok(usage.used_bytes > usage.map_bytes / 10 * 7)
    }

    /// How much of the map is used.
    pub(crate) fn usage(&self) -> Result<Usage, Fault> {
        let gate = self.slot.read();
        let opened = gate.open.as_ref().ok_or(Fault::Closed)?;
        let info = opened.env.info();
        let page = opened.env.stat().page_size as usize;
        let used_bytes = (info.last_page_number + 1) * page;
        Ok(Usage {
            map_bytes: info.map_size,
            used_bytes,
        })
    }

    fn grow(&self) -> Result<(), Fault> {
        self.resize(|current| round_up(current + current.min(MAP_STEP_MAX)))?;
        let usage = self.usage()?;
        tracing::info!(map_bytes = usage.map_bytes, "database map grown");
        Ok(())
    }

    #[expect(
        unsafe_code,
        reason = "LMDB can't check that no transaction is open while it resizes"
    )]
    fn resize(&self, size: impl Fn(usize) -> usize) -> Result<(), Fault> {
        let mut slot = self.slot.write();
        let opened = slot.open.as_ref().ok_or(Fault::Closed)?;
        let size = size(opened.env.info().map_size);
        // SAFETY: every transaction of this process lives while the read half of `slot` is held,
        // and this thread holds the write half.
        let resized = unsafe { opened.env.resize(size) };
        if resized.is_err() {
            // LMDB has given up the old map: whoever touched the environment now would crash.
            close(&mut slot)?;
            self.open_again(&mut slot)?;
        }
        Ok(resized?)
    }

    /// Closes the database, runs `between` on the closed files and opens it again.
    pub(crate) fn reopen(&self, between: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let mut slot = self.slot.write();
        close(&mut slot)?;
        let result = between();
        self.open_again(&mut slot)?;
        result
    }

    /// Opens the database again if that failed before.
    fn recover(&self) -> Result<(), Fault> {
        if self.slot.read().open.is_some() {
            return Ok(());
        }
        let mut slot = self.slot.write();
        if slot.closed {
            return Err(Fault::Closed);
        }
        if slot.open.is_none() {
            self.open_again(&mut slot)?;
        }
        Ok(())
    }

    fn open_again(&self, slot: &mut Slot) -> Result<(), Fault> {
        let opened = Opened::open(&self.dir, self.mode);
        slot.open = Some(opened.map_err(|error| Fault::Io(io::Error::other(error)))?);
        slot.epoch += 1;
        Ok(())
    }

    /// Closes the database for good; later calls answer [`Fault::Closed`].
    pub(crate) fn close(&self) {
        let _writer = self.write.lock();
        let mut slot = self.slot.write();
        slot.closed = true;
        if let Err(fault) = close(&mut slot) {
            tracing::warn!(error = %fault, "database not closed in time");
        }
    }

    /// Writes a compacted copy beside the database, exchanges the two, and removes the old one.
    /// Reads go on while the copy is written, and wait for the exchange; writes wait for both.
    /// Returns the bytes of the file before and after.
    pub(crate) fn compact(&self) -> Result<(u64, u64), Fault> {
        let _writer = self.write.lock();
        let copy = compact_dir(&self.dir);
        let parent = parent(&self.dir);
        remove_dir(&copy)?;
        fs::create_dir(&copy)?;
        let before = self.file_bytes();
        // Everything that opening it takes, so that it can be opened once the two are exchanged.
        let copied = self
            .copy_to(&copy.join("data.mdb"))
            .and_then(|()| Ok(reserve_lock_file(&copy)?))
            .and_then(|()| Ok(sync_dir(&copy)?));
        if let Err(fault) = copied {
            drop(remove_dir(&copy));
            return Err(fault);
        }
        self.reopen(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            renameat_with(CWD, &copy, CWD, &self.dir, RenameFlags::EXCHANGE)
                .map_err(io::Error::from)?;
            sync_dir(parent)?;
            Ok(())
        })?;
        remove_dir(&copy)?;
        Ok((before, self.file_bytes()))
    }

    fn copy_to(&self, path: &Path) -> Result<(), Fault> {
        let env = {
            let gate = self.slot.read();
            gate.open.as_ref().ok_or(Fault::Closed)?.env.clone()
        };
        // The copy reads the map without our gate; `write` is held, so that nobody resizes it.
        let file = env.copy_to_path(path, heed::CompactionOption::Enabled)?;
        file.sync_all()?;
        Ok(())
    }

    /// Bytes of the database's file.
    pub(crate) fn file_bytes(&self) -> u64 {
        fs::metadata(self.dir.join("data.mdb")).map_or(0, |meta| meta.len())
    }
}

/// How much of the map is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) map_bytes: usize,
    pub(crate) used_bytes: usize,
}

fn close(slot: &mut Slot) -> Result<(), Fault> {
    let Some(opened) = slot.open.take() else {
        return Ok(());
    };
    let closing = opened.env.prepare_for_closing();
    if closing.wait_timeout(CLOSE_WAIT) {
        Ok(())
    } else {
        Err(Fault::Closed)
    }
}

/// Where a compacted copy is written; what a crash left there is worthless.
pub(crate) fn compact_dir(dir: &Path) -> PathBuf {
    dir.with_extension("compact")
}

fn parent(dir: &Path) -> &Path {
    dir.parent().unwrap_or(Path::new("."))
}

fn round_up(bytes: usize) -> usize {
    const STEP: usize = 1 << 20;
    bytes.div_ceil(STEP) * STEP
}

impl Opened {
    fn open(dir: &Path, mode: Mode) -> Result<Self, OpenError> {
        let database = |error: heed::Error| OpenError::from(Fault::from(error));
        if mode != Mode::Look {
            reserve_lock_file(dir).map_err(OpenError::io(dir.join("lock.mdb")))?;
        }
        let env = open_env(dir, mode, 2).or_else(|error| {
            // Not even address space for that: then as little as will do.
            let scarce = matches!(
                &error,
                heed::Error::Io(error) if Errno::from_io_error(error) == Some(Errno::NOMEM)
            );
            if scarce {
                open_env(dir, mode, 1)
            } else {
                Err(error)
            }
        });
        let env = env.map_err(database)?;
        let txn = env.read_txn().map_err(database)?;
        check_schema(&env, &txn)?;
        let tables = Tables::open(&env, &txn).map_err(database)?;
        // Handles opened in a read transaction last only if it is committed.
        txn.commit().map_err(database)?;
        let tables = match (tables, mode) {
            // Nothing is written if all is there: a full disk must not keep it from being read.
            (Some(tables), _) => tables,
            (None, Mode::Look) => return Err(OpenError::Absent(dir.to_owned())),
            (None, Mode::Own { .. }) => {
                let mut txn = env.write_txn().map_err(database)?;
                let tables = Tables::create(&env, &mut txn).map_err(database)?;
                txn.commit().map_err(database)?;
                tables
            }
        };
        let txn = env.read_txn().map_err(database)?;
        let dictionary = tables.meta.get(&txn, meta::DICTIONARY).map_err(database)?;
        let codec = Arc::new(Codec::new(dictionary));
        drop(txn);
        Ok(Self { env, tables, codec })
    }
}

/// Opens LMDB with a map of so many times the size of its file, and of the first size at least.
#[expect(unsafe_code, reason = "LMDB maps a file that others must not truncate")]
fn open_env(dir: &Path, mode: Mode, times: usize) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(TABLES_MAX).max_readers(READERS_MAX);
    match mode {
        Mode::Own { map_bytes_initial } => {
            let file = fs::metadata(dir.join("data.mdb")).map_or(0, |meta| meta.len());
            let file = usize::try_from(file).unwrap_or(usize::MAX / 4);
            options.map_size(round_up(map_bytes_initial.max(file.saturating_mul(times))));
        }
        Mode::Look => {
            // SAFETY: read-only access with the usual locking.
            unsafe { options.flags(EnvFlags::READ_ONLY) };
        }
    }
    // SAFETY: the directory belongs to this program: the owner holds the `lock` file beside it, and
    // nothing truncates the file; lookers take LMDB's own reader slots.
    unsafe { options.open(dir) }
}
