//! What operators and metrics ask for: figures, removal, purge, compaction. All of it blocks.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::atomic::{AtomicU64, Ordering},
};

use heliograph_protocol::{EventId, Kind, Timestamp};
use heliograph_store::StoreError;
use rustix::fs::StatVfs;

use crate::{
    apply::{remove_events, snapshot},
    error::Fault,
    layout::{SCHEMA, expires_key, meta, number},
    log::total_bytes,
    scan::{View, Viewable},
    store::EmbeddedStore,
    times::Times,
};

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreInfo {
    /// Stored events. Those superseded or deleted within the last second may still count; after
    /// [`EmbeddedStore::flush`] the figure is exact, but for authors with thousands of events who
    /// asked to vanish: theirs are hidden at once and removed behind ([`StoreStats::vanishing`]).
    pub events: u64,
    /// Bytes of their wire forms, uncompressed.
    pub payload_bytes: u64,
    /// Bytes of the database's file.
    pub file_bytes: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// The schema version of the database.
    pub schema: u32,
    /// The oldest `created_at`.
    pub oldest: Option<Timestamp>,
    /// The newest `created_at`.
    pub newest: Option<Timestamp>,
    /// Events of each kind, by kind; kinds without events are left out.
    pub per_kind: Vec<(Kind, u64)>,
}

/// Figures for metrics; those named totals count since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Records appended to the log, total: each is one fsync.
    pub groups: u64,
    /// Events in them, total.
    pub grouped_events: u64,
    /// Bytes of the newest log segment.
    pub log_bytes: u64,
    /// Bytes of the log's end that a crash had torn and that were cut off at open.
    pub log_cut_bytes: u64,
    /// Events in memory on their way to the database.
    pub overlay_events: usize,
    /// Batches moved to the database, total.
    pub flushes: u64,
    /// Attempts that failed and were repeated, total.
    pub flush_failures: u64,
    /// Bytes of the database's map.
    pub map_bytes: usize,
    /// Bytes of it that are in use.
    pub map_used_bytes: usize,
    /// Reads that wait for a thread.
    pub reads_queued: usize,
    /// Index rows and events looked at by scans, total.
    pub rows_scanned: u64,
    /// Authors who asked to vanish and of whose events, all hidden, some are still to be removed.
    pub vanishing: usize,
    /// Bytes of the file system that the store may still take; 0 if the system doesn't say.
    pub disk_free_bytes: u64,
    /// Bytes of the file system in all.
    pub disk_size_bytes: u64,
    /// Whether no more writes are taken.
    pub broken: bool,
}

impl EmbeddedStore {
    /// What the store holds.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database can't be read.
    pub fn info(&self) -> Result<StoreInfo, StoreError> {
        let core = &self.handle.core;
        let mut info = describe(&core.view()?, core.relay_urls())?;
        info.file_bytes = core.environment.file_bytes();
        info.log_bytes = total_bytes(&core.log_dir);
        Ok(info)
    }

    /// Removes events for the operator, durably and without guards: sent again, they are stored
    /// again, and so are older versions of their addresses. Returns how many were there.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: none of them was removed.
    #[expect(clippy::needless_pass_by_value, reason = "callers hand the list over")]
    pub fn remove(&self, ids: Vec<EventId>) -> Result<usize, StoreError> {
        self.flush()?;
        let removed = self.handle.core.environment.write(|txn, tables, codec| {
            let mut seqs = Vec::new();
            let mut reading = snapshot(txn, tables, codec);
            for id in &ids {
                seqs.extend(reading.find(id)?.map(|(seq, _found)| seq));
            }
            remove_events(txn, tables, codec, &seqs, false)
        })?;
        Ok(removed)
    }

    /// Removes events that expired by `now` from the disk, `max` at most; they are hidden already.
    /// Older versions of their addresses stay away (R40-3). Returns how many were removed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: none of them was removed.
    pub fn purge_expired(&self, now: Timestamp, max: usize) -> Result<usize, StoreError> {
        let removed = self.handle.core.environment.write(|txn, tables, codec| {
            let mut seqs = Vec::new();
            let end = expires_key(now, u64::MAX);
            let ended = (Bound::Unbounded, Bound::Included(&end[..]));
            for row in tables.expires.range(txn, &ended)?.take(max) {
                let (key, _empty) = row?;
                seqs.extend(key.get(8..).and_then(number));
            }
            remove_events(txn, tables, codec, &seqs, true)
        })?;
        Ok(removed)
    }

    /// Writes the database anew without free pages and returns the bytes of its file before and
    /// after. Reads go on meanwhile; writes are taken until the memory for them is full. Needs room
    /// for the new file beside the old one. A look from another process goes on with the new file.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the database is as it was.
    pub fn compact(&self) -> Result<(u64, u64), StoreError> {
        self.flush()?;
        Ok(self.handle.core.environment.compact()?)
    }

    /// How long operations take.
    #[must_use]
    pub fn times(&self) -> Times {
        self.handle.core.counters.times.clone()
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let core = &self.handle.core;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &core.counters;
        let overlay_events = {
            let levels = core.levels.read();
            let frozen = levels
                .frozen
                .as_ref()
                .map_or(0, |frozen| frozen.level.read().len());
            levels.active.read().len() + frozen
        };
        let usage = core.environment.usage().ok();
        let disk = rustix::fs::statvfs(&core.options.dir).ok();
        let disk_bytes = |blocks: fn(&StatVfs) -> u64| {
            let bytes = |disk: &StatVfs| blocks(disk).saturating_mul(disk.f_frsize);
            disk.as_ref().map_or(0, bytes)
        };
        StoreStats {
            groups: get(&counters.groups),
            grouped_events: get(&counters.events),
            log_bytes: get(&counters.log_bytes),
            log_cut_bytes: get(&counters.log_cut_bytes),
            overlay_events,
            flushes: get(&counters.flushes),
            flush_failures: get(&counters.flush_failures),
            map_bytes: usage.map_or(0, |usage| usage.map_bytes),
            map_used_bytes: usage.map_or(0, |usage| usage.used_bytes),
            reads_queued: self.handle.pool.queued(),
            rows_scanned: get(&counters.rows_scanned),
            vanishing: core.vanishing.lock().len(),
            disk_free_bytes: disk_bytes(|disk| disk.f_bavail),
            disk_size_bytes: disk_bytes(|disk| disk.f_blocks),
            broken: core.is_broken(),
        }
    }
}

/// The figures of a view, those of files left out.
pub(crate) fn describe(
    view: &View<'_>,
    relay_urls: &heliograph_policy::RelayUrls,
) -> Result<StoreInfo, Fault> {
    let tables = &view.txn.tables;
    let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
    for row in tables.kinds.iter(&view.txn)? {
        let (key, count) = row?;
        let kind = key
            .try_into()
            .map(u16::from_be_bytes)
            .map_err(|_len| Fault::Corrupt("kind"))?;
        kinds.insert(Kind::new(kind), number(count).unwrap_or(0));
    }
    let mut info = StoreInfo {
        payload_bytes: tables.number(&view.txn, meta::PAYLOAD_BYTES)?,
        schema: SCHEMA,
        ..StoreInfo::default()
    };
    let time = |key: &[u8]| {
        key.get(..8)
            .and_then(number)
            .map(|time| Timestamp::from_secs(!time))
    };
    info.newest = tables
        .by_time
        .first(&view.txn)?
        .and_then(|(key, _value)| time(key));
    info.oldest = tables
        .by_time
        .last(&view.txn)?
        .and_then(|(key, _value)| time(key));
    let flushed = tables.number(&view.txn, meta::FLUSHED_SEGMENT)?;
    let is_flushed = view.frozen_segment.is_some_and(|frozen| frozen <= flushed);
    let levels = &view.levels[..view.levels.len().min(if is_flushed { 1 } else { 2 })];
    let levels: Vec<_> = levels.iter().map(|level| level.read()).collect();
    for entry in levels.iter().flat_map(|level| level.events.values()) {
        let event = &entry.event;
        if levels.iter().any(|level| level.hides(event, relay_urls)) {
            continue;
        }
        *kinds.entry(event.kind()).or_default() += 1;
        info.payload_bytes += event.json().len() as u64;
        let at = event.created_at();
        info.newest = info.newest.max(Some(at));
        info.oldest = Some(info.oldest.map_or(at, |oldest| oldest.min(at)));
    }
    info.events = kinds.values().sum();
    info.per_kind = kinds
        .into_iter()
        .filter(|(_kind, events)| *events > 0)
        .collect();
    Ok(info)
}
