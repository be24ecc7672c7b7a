//! [`Changes`]: everything that a store took since a place, also while another process writes to it.
//!
//! First the database, in the order of its numbers; then the log's tail, record by record as it grows.
//! What came from the log is remembered until the database has it, so that nothing comes twice unless
//! whoever follows was away.
//!
//! What always holds: an event that was acknowledged before [`Changes::next`] was called, and that is
//! still stored, comes before it says that it has caught up. What has been superseded or deleted
//! meanwhile may be missing; that which did so comes.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Bound,
    path::Path,
    sync::Arc,
};

use hashbrown::HashMap;
use heliograph_protocol::{Event, EventId};
use heliograph_store::StoreError;
use rustix::fs::FlockOperation;

use crate::{
    error::Fault,
    layout::number,
    lineage::{self, Cursor},
    log::{
        RECORD_HEADER, SEGMENT_HEADER, SegmentEnd, parse_segment, read_events, record_behind,
        segment_path, segments,
    },
    reader::{EmbeddedReader, LookCore},
};

/// Bytes of events in one batch of the database, so that a batch of long ones doesn't fill memory.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// Follows a store, as long as its reader is open.
#[derive(Debug)]
pub struct Changes {
    core: Arc<LookCore>,
    /// The first number of the database that wasn't read.
    seq: u64,
    /// The segment that is read, and how far.
    segment: u64,
    at: u64,
    /// What came from the log and not yet from the database, with its segment.
    seen: HashMap<EventId, u64>,
}

/// Some of what a store took.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The events, superseded and deleted ones among them; none if there was nothing.
    pub events: Vec<Arc<Event>>,
    /// Where to go on another time. What came from the log comes once more from there.
    pub cursor: Cursor,
    /// Whether everything came that was stored when this was asked for.
    pub caught_up: bool,
}

/// What the database had.
struct Rows {
    events: Vec<Arc<Event>>,
    cursor: Cursor,
    /// Up to which segment of the log it has everything.
    flushed: u64,
    is_end: bool,
}

impl EmbeddedReader {
    /// Follows the store from a place on, or from the beginning. `None` if that isn't a place in this
    /// store: it was made anew, or brought back from a copy that is older.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it can't be read.
    pub fn changes(&self, from: Option<&Cursor>) -> Result<Option<Changes>, StoreError> {
        let from = from.unwrap_or(&Cursor::START);
        if !self.is_place(from)? {
            return Ok(None);
        }
        Ok(Some(Changes {
            core: Arc::clone(&self.core),
            seq: from.seq,
            segment: 0,
            at: 0,
            seen: HashMap::new(),
        }))
    }

    fn is_place(&self, place: &Cursor) -> Result<bool, Fault> {
        self.core.follow_compaction()?;
        let txn = self.core.environment.read()?;
        lineage::holds(&txn, &txn.tables, place)
    }

    /// Whether a process has the store open for writing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the lock can't be looked at.
    pub fn is_in_use(&self) -> Result<bool, StoreError> {
        let dir = self.core.log_dir.parent().unwrap_or(Path::new("."));
        Ok(is_locked(&dir.join("lock"))?)
    }
}

/// Whether somebody has this file locked for itself.
fn is_locked(path: &Path) -> Result<bool, Fault> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            rustix::fs::flock(&file, FlockOperation::Unlock).map_err(io::Error::from)?;
            Ok(false)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

impl Changes {
    /// Reads on: some `max` events of the database, or what the log has more. Blocks, but for nothing
    /// to come.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it can't be read. Asking again goes on where it was.
    pub fn next(&mut self, max: usize) -> Result<Changed, StoreError> {
        Ok(self.read(max)?)
    }

    fn read(&mut self, max: usize) -> Result<Changed, Fault> {
        loop {
            self.core.follow_compaction()?;
            let rows = self.rows(max)?;
            if rows.is_end {
                let (events, complete) = self.tail(rows.flushed)?;
                return Ok(Changed {
                    events: [rows.events, events].concat(),
                    cursor: rows.cursor,
                    caught_up: complete,
                });
            }
            if !rows.events.is_empty() {
                return Ok(Changed {
                    events: rows.events,
                    cursor: rows.cursor,
                    caught_up: false,
                });
            }
        }
    }

    /// The next events of the database, but for those that came from the log.
    fn rows(&mut self, max: usize) -> Result<Rows, Fault> {
        let txn = self.core.environment.read()?;
        let flushed = self.core.flushed(&txn)?;
        let decoder = txn.codec.decoder();
        let from = self.seq.to_be_bytes();
        let range = (Bound::Included(&from[..]), Bound::Unbounded);
        let (mut events, mut bytes, mut rows) = (Vec::new(), 0, 0);
        let mut is_end = true;
        let mut next = self.seq;
        for row in txn.tables.payload.range(&txn, &range)? {
            if rows >= max.max(1) || bytes >= BATCH_BYTES_MAX {
                is_end = false;
                break;
            }
            let (key, value) = row?;
            let event = decoder.decode(value)?.event;
            next = number(key).ok_or(Fault::Corrupt("number of an event"))? + 1;
            rows += 1;
            if self.seen.remove(event.id()).is_none() {
                bytes += event.json().len();
                events.push(Arc::new(event));
            }
        }
        let cursor = lineage::place(&txn, &txn.tables, next)?;
        drop(txn);
        self.seq = next;
        if is_end {
            // The database has passed them, or has something better.
            self.seen.retain(|_id, segment| *segment > flushed);
        }
        Ok(Rows {
            events,
            cursor,
            flushed,
            is_end,
        })
    }

    /// What the log has more, behind what the database has, and whether that is all.
    fn tail(&mut self, flushed: u64) -> Result<(Vec<Arc<Event>>, bool), Fault> {
        let dir = self.core.log_dir.clone();
        let mut fresh = Vec::new();
        for number in segments(&dir)? {
            if number <= flushed || number < self.segment {
                continue;
            }
            if number > self.segment {
                (self.segment, self.at) = (number, 0);
            }
            match self.segment_on(&dir, &mut fresh) {
                Ok(()) => {}
                // It went into the database meanwhile.
                Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok((fresh, false));
                }
                Err(fault) => return Err(fault),
            }
        }
        let txn = self.core.environment.read()?;
        let complete = self.core.flushed(&txn)? == flushed;
        Ok((fresh, complete))
    }

    /// Reads on in the segment that is read.
    fn segment_on(&mut self, dir: &Path, fresh: &mut Vec<Arc<Event>>) -> Result<(), Fault> {
        if self.at > 0 {
            let (events, at) = read_on(dir, self.segment, self.at)?;
            self.take(events, fresh);
            self.at = at;
            if fs::metadata(segment_path(dir, self.segment))?.len() == at {
                return Ok(());
            }
        }
        // From its beginning: it wasn't read yet, somebody is writing at its end, or a write that
        // failed was cut off it.
        let bytes = fs::read(segment_path(dir, self.segment))?;
        let segment = parse_segment(&bytes, self.segment);
        if matches!(segment.end, SegmentEnd::Damaged { .. }) && segment.synced {
            return Err(Fault::Corrupt("log record"));
        }
        self.at = match segment.end {
            SegmentEnd::Clean => bytes.len() as u64,
            SegmentEnd::Torn { at } | SegmentEnd::Damaged { at, .. } => at,
        };
        if self.at < SEGMENT_HEADER as u64 {
            self.at = 0;
        }
        self.take(segment.events, fresh);
        Ok(())
    }

    fn take(&mut self, events: Vec<Event>, fresh: &mut Vec<Arc<Event>>) {
        for event in events {
            if self.seen.insert(*event.id(), self.segment).is_none() {
                fresh.push(Arc::new(event));
            }
        }
    }
}

/// The whole records of a segment from `at` on, where one begins, and where the next one will. The
/// owner may be writing there.
///
/// # Errors
///
/// Those of the file system.
fn read_on(dir: &Path, number: u64, at: u64) -> io::Result<(Vec<Event>, u64)> {
    let mut file = File::open(segment_path(dir, number))?;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (mut events, mut read) = (Vec::new(), 0);
    while let Some(payload) = record_behind(&bytes, number, read, at) {
        let good = events.len();
        if !read_events(payload, &mut events) {
            events.truncate(good);
            break;
        }
        read += RECORD_HEADER + payload.len();
    }
    Ok((events, at + read as u64))
}
