//! The LMDB environment: opening, transactions, and a map that grows by itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use heed::{
    Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls, types::Bytes,
};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::{
    codec::Codec,
    error::{Fault, OpenError},
    layout::{SCHEMA, meta, number},
    log::sync_dir,
};

pub(crate) type Table = Database<Bytes, Bytes>;

/// Steps by which the map grows at most.
const MAP_STEP_MAX: usize = 16 << 30;
/// Transactions that read at the same time, all processes together.
const READERS_MAX: u32 = 512;
const TABLES_MAX: u32 = 16;
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// The tables of [`crate::layout`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    pub(crate) payload: Table,
    pub(crate) by_id: Table,
    pub(crate) by_author: Table,
    pub(crate) by_kind: Table,
    pub(crate) by_time: Table,
    pub(crate) by_tag: Table,
    pub(crate) seats: Table,
    pub(crate) deleted_ids: Table,
    pub(crate) deleted_addresses: Table,
    pub(crate) vanished: Table,
    pub(crate) expires: Table,
    pub(crate) kinds: Table,
    pub(crate) meta: Table,
}

/// The open database. Whoever holds a [`ReadTxn`] keeps the map from being resized.
#[derive(Debug)]
pub(crate) struct Environment {
    dir: PathBuf,
    mode: Mode,
    slot: RwLock<Slot>,
    /// One writer at a time, and none while the map grows or the file is exchanged.
    write: Mutex<()>,
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
    _gate: RwLockReadGuard<'a, Slot>,
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
    pub(crate) fn open(dir: &Path, map_bytes_initial: usize) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
        Self::with_mode(dir, Mode::Own { map_bytes_initial })
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
        Self::with_mode(dir, Mode::Look)
    }

    fn with_mode(dir: &Path, mode: Mode) -> Result<Self, OpenError> {
        let opened = Opened::open(dir, mode)?;
        let slot = RwLock::new(Slot { open: Some(opened) });
        Ok(Self {
            dir: dir.to_owned(),
            mode,
            slot,
            write: Mutex::new(()),
        })
    }

    /// Begins a read transaction. A thread must not hold two.
    pub(crate) fn read(&self) -> Result<ReadTxn<'_>, Fault> {
        loop {
            let gate = self.slot.read();
            let opened = gate.open.as_ref().ok_or(Fault::Closed)?;
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
                        _gate: gate,
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
        if self.is_nearly_full()? {
            self.grow()?;
        }
        loop {
            match self.attempt(&mut work) {
                Err(fault) if fault.is_map_full() => self.grow()?,
                Err(Fault::Database(heed::Error::Mdb(MdbError::Panic))) => {
                    // LMDB gives an environment up when its meta page couldn't be written.
                    self.reopen(|| Ok(()))?;
                    return Err(Fault::Corrupt("the database had to be opened again"));
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
        let slot = self.slot.write();
        let opened = slot.open.as_ref().ok_or(Fault::Closed)?;
        let size = size(opened.env.info().map_size);
        // SAFETY: every transaction of this process lives while the read half of `slot` is held,
        // and this thread holds the write half.
        unsafe { opened.env.resize(size)? };
        Ok(())
    }

    /// Closes the database, runs `between` on the closed files and opens it again.
    pub(crate) fn reopen(&self, between: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let mut slot = self.slot.write();
        close(&mut slot)?;
        let result = between();
        let opened = Opened::open(&self.dir, self.mode);
        slot.open = Some(opened.map_err(|error| Fault::Io(io::Error::other(error)))?);
        result
    }

    /// Closes the database for good; later calls answer [`Fault::Closed`].
    pub(crate) fn close(&self) {
        let _writer = self.write.lock();
        if let Err(fault) = close(&mut self.slot.write()) {
            tracing::warn!(error = %fault, "database not closed in time");
        }
    }

    /// Writes a compacted copy beside the database, exchanges the two, and removes the old one.
    /// Reads go on while the copy is written, and wait for the exchange; writes wait for both.
    /// Returns the bytes of the file before and after.
    pub(crate) fn compact(&self) -> Result<(u64, u64), Fault> {
        let _writer = self.write.lock();
        let copy = compact_dir(&self.dir);
        let parent = self.dir.parent().unwrap_or(Path::new("."));
        remove_dir(&copy)?;
        fs::create_dir(&copy)?;
        let before = self.file_bytes();
        let copied = self.copy_to(&copy.join("data.mdb"));
        if let Err(fault) = copied {
            drop(remove_dir(&copy));
            return Err(fault);
        }
        sync_dir(&copy)?;
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

pub(crate) fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn round_up(bytes: usize) -> usize {
    const STEP: usize = 1 << 20;
    bytes.div_ceil(STEP) * STEP
}

impl Opened {
    fn open(dir: &Path, mode: Mode) -> Result<Self, OpenError> {
        let database = |error: heed::Error| OpenError::from(Fault::from(error));
        let env = open_env(dir, mode).map_err(database)?;
        let tables = match mode {
            Mode::Own { .. } => {
                let mut txn = env.write_txn().map_err(database)?;
                check_schema(&env, &txn)?;
                let tables = Tables::create(&env, &mut txn).map_err(database)?;
                txn.commit().map_err(database)?;
                tables
            }
            Mode::Look => {
                let txn = env.read_txn().map_err(database)?;
                check_schema(&env, &txn)?;
                let tables = Tables::open(&env, &txn).map_err(database)?;
                // Handles opened in a read transaction last only if it is committed.
                txn.commit().map_err(database)?;
                tables.ok_or_else(|| OpenError::Absent(dir.to_owned()))?
            }
        };
        let txn = env.read_txn().map_err(database)?;
        let dictionary = tables.meta.get(&txn, meta::DICTIONARY).map_err(database)?;
        let codec = Arc::new(Codec::new(dictionary));
        drop(txn);
        Ok(Self { env, tables, codec })
    }
}

#[expect(unsafe_code, reason = "LMDB maps a file that others must not truncate")]
fn open_env(dir: &Path, mode: Mode) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(TABLES_MAX).max_readers(READERS_MAX);
    match mode {
        Mode::Own { map_bytes_initial } => {
            let file = fs::metadata(dir.join("data.mdb")).map_or(0, |meta| meta.len());
            let file = usize::try_from(file).unwrap_or(usize::MAX / 4);
            options.map_size(round_up(map_bytes_initial.max(file.saturating_mul(2))));
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

fn check_schema<T>(env: &Env<WithoutTls>, txn: &RoTxn<'_, T>) -> Result<(), OpenError>
where
    for<'a> RoTxn<'a, T>: std::ops::Deref<Target = RoTxn<'a>>,
{
    let database = |error: heed::Error| OpenError::from(Fault::from(error));
    let table: Option<Table> = env.open_database(txn, Some("meta")).map_err(database)?;
    let Some(table) = table else { return Ok(()) };
    let Some(value) = table.get(txn, meta::SCHEMA).map_err(database)? else {
        return Ok(());
    };
    let found = value.try_into().map_or(u32::MAX, u32::from_be_bytes);
    if found > SCHEMA {
        return Err(OpenError::NewerSchema {
            found,
            known: SCHEMA,
        });
    }
    Ok(())
}

impl Tables {
    fn create(env: &Env<WithoutTls>, txn: &mut RwTxn<'_>) -> heed::Result<Self> {
        let mut table = |name| env.create_database(txn, Some(name));
        let tables = Self {
            payload: table("payload")?,
            by_id: table("by_id")?,
            by_author: table("by_author")?,
            by_kind: table("by_kind")?,
            by_time: table("by_time")?,
            by_tag: table("by_tag")?,
            seats: table("seats")?,
            deleted_ids: table("deleted_ids")?,
            deleted_addresses: table("deleted_addresses")?,
            vanished: table("vanished")?,
            expires: table("expires")?,
            kinds: table("kinds")?,
            meta: table("meta")?,
        };
        tables.meta.put(txn, meta::SCHEMA, &SCHEMA.to_be_bytes())?;
        Ok(tables)
    }

    fn open(env: &Env<WithoutTls>, txn: &RoTxn<'_>) -> heed::Result<Option<Self>> {
        let table = |name| env.open_database(txn, Some(name));
        let open = || -> heed::Result<Option<Self>> {
            let (Some(payload), Some(by_id), Some(by_author), Some(by_kind), Some(by_time)) = (
                table("payload")?,
                table("by_id")?,
                table("by_author")?,
                table("by_kind")?,
                table("by_time")?,
            ) else {
                return Ok(None);
            };
            let (Some(by_tag), Some(seats), Some(deleted_ids), Some(deleted_addresses)) = (
                table("by_tag")?,
                table("seats")?,
                table("deleted_ids")?,
                table("deleted_addresses")?,
            ) else {
                return Ok(None);
            };
            let (Some(vanished), Some(expires), Some(kinds), Some(meta)) = (
                table("vanished")?,
                table("expires")?,
                table("kinds")?,
                table("meta")?,
            ) else {
                return Ok(None);
            };
            Ok(Some(Self {
                payload,
                by_id,
                by_author,
                by_kind,
                by_time,
                by_tag,
                seats,
                deleted_ids,
                deleted_addresses,
                vanished,
                expires,
                kinds,
                meta,
            }))
        };
        open()
    }

    /// A number in `meta`, 0 if it was never written.
    pub(crate) fn number(&self, txn: &RoTxn<'_>, name: &[u8]) -> Result<u64, Fault> {
        Ok(self.meta.get(txn, name)?.and_then(number).unwrap_or(0))
    }
}
