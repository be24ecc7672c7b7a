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
    /// Which file is read.
    inode: u64,
    /// How far the database was read.
    place: Cursor,
    /// How far the log was read.
    log: LogPlace,
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

/// Why nothing more comes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The store can't be read. Asking again goes on where it was.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// In the place of the store is another one: made anew, or brought back from a copy that went
    /// another way. Asking again says so again.
    #[error("the store was exchanged: it isn't the one that was followed")]
    Exchanged,
}

impl From<Fault> for FollowError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}

/// What the database had.
struct Rows {
    events: Vec<Arc<Event>>,
    /// Those that had come from the log.
    known: Vec<EventId>,
    /// The place behind them.
    place: Cursor,
    /// Up to which segment of the log it has everything.
    flushed: u64,
    is_end: bool,
}

/// A place in the log: behind everything of a segment up to a byte.
#[derive(Debug, Clone, Copy, Default)]
struct LogPlace {
    segment: u64,
    at: u64,
}

/// What the log had more.
#[derive(Default)]
struct Fresh {
    events: Vec<Arc<Event>>,
    /// Their segments.
    ids: HashMap<EventId, u64>,
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
        let inode = self.core.follow_compaction()?;
        if !self.is_place(from)? {
            return Ok(None);
        }
        Ok(Some(Changes {
            core: Arc::clone(&self.core),
            inode,
            place: *from,
            log: LogPlace::default(),
            seen: HashMap::new(),
        }))
    }

    fn is_place(&self, place: &Cursor) -> Result<bool, Fault> {
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
    /// [`FollowError::Store`] if it can't be read; asking again goes on where it was.
    /// [`FollowError::Exchanged`] if another store stands in its place.
    pub fn next(&mut self, max: usize) -> Result<Changed, FollowError> {
        loop {
            let inode = self.core.follow_compaction()?;
            if std::mem::replace(&mut self.inode, inode) != inode {
                // What was in the log is in the database by then, or the log is another one.
                self.log = LogPlace::default();
            }
            let rows = self.rows(max)?;
            if rows.is_end {
                return Ok(self.end(rows)?);
            }
            self.passed(&rows);
            if !rows.events.is_empty() {
                return Ok(Changed {
                    events: rows.events,
                    cursor: rows.place,
                    caught_up: false,
                });
            }
        }
    }

    /// The next events of the database, but for those that came from the log.
    fn rows(&self, max: usize) -> Result<Rows, FollowError> {
        let txn = self.core.environment.read()?;
        if !lineage::holds(&txn, &txn.tables, &self.place)? {
            return Err(FollowError::Exchanged);
        }
        let flushed = self.core.flushed(&txn)?;
        let decoder = txn.codec.decoder();
        let from = self.place.seq.to_be_bytes();
        let range = (Bound::Included(&from[..]), Bound::Unbounded);
        let (mut events, mut known, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut is_end = true;
        let mut next = self.place.seq;
        let payload = &txn.tables.payload;
        for row in payload.range(&txn, &range).map_err(Fault::from)? {
            if events.len() + known.len() >= max.max(1) || bytes >= BATCH_BYTES_MAX {
                is_end = false;
                break;
            }
            let (key, value) = row.map_err(Fault::from)?;
            let event = decoder.decode(value)?.event;
            next = number(key).ok_or(Fault::Corrupt("number of an event"))? + 1;
            if self.seen.contains_key(event.id()) {
                known.push(*event.id());
            } else {
                bytes += event.json().len();
                events.push(Arc::new(event));
            }
        }
        Ok(Rows {
            events,
            known,
            place: lineage::place(&txn, &txn.tables, next)?,
            flushed,
            is_end,
        })
    }

    /// Notes that these have come.
    fn passed(&mut self, rows: &Rows) {
        self.place = rows.place;
        for id in &rows.known {
            self.seen.remove(id);
        }
        if rows.is_end {
            // The database has passed them, or has something better.
            self.seen.retain(|_id, segment| *segment > rows.flushed);
        }
    }

    /// The last rows of the database and what the log has more. Nothing is noted before all of it could
    /// be read.
    fn end(&mut self, rows: Rows) -> Result<Changed, Fault> {
        let mut fresh = Fresh::default();
        let (log, complete) = self.tail(rows.flushed, &mut fresh)?;
        self.passed(&rows);
        self.log = log;
        self.seen.extend(fresh.ids);
        Ok(Changed {
            events: [rows.events, fresh.events].concat(),
            cursor: rows.place,
            caught_up: complete,
        })
    }

    /// What the log has more, behind what the database has; the place behind it, and whether that is all.
    fn tail(&self, flushed: u64, fresh: &mut Fresh) -> Result<(LogPlace, bool), Fault> {
        let dir = &self.core.log_dir;
        let mut place = self.log;
        for segment in segments(dir)? {
            if segment <= flushed || segment < place.segment {
                continue;
            }
            if segment > place.segment {
                place = LogPlace { segment, at: 0 };
            }
            match self.segment_on(dir, &mut place, fresh) {
                Ok(()) => {}
                // It went into the database meanwhile.
                Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok((place, false));
                }
                Err(fault) => return Err(fault),
            }
        }
        let txn = self.core.environment.read()?;
        // Of a database that was exchanged nothing can be said: the log went on with the new one.
        let complete = self.core.flushed(&txn)? == flushed && !self.core.is_exchanged()?;
        Ok((place, complete))
    }

    /// Reads on in the segment that is read.
    fn segment_on(&self, dir: &Path, place: &mut LogPlace, fresh: &mut Fresh) -> Result<(), Fault> {
        let path = segment_path(dir, place.segment);
        let mut bad_at = None;
        while place.at > 0 {
            let Some(read) = read_on(&path, *place)? else {
                // A write that failed was cut off it.
                break;
            };
            self.take(read.events, place.segment, fresh);
            place.at = read.at;
            if read.is_end {
                return Ok(());
            }
            // Somebody may be writing there: once more.
            if bad_at.replace(place.at) == Some(place.at) {
                break;
            }
        }
        // From its beginning: it wasn't read yet, or what stands there is no record twice.
        let bytes = fs::read(&path)?;
        let segment = parse_segment(&bytes, place.segment);
        if matches!(segment.end, SegmentEnd::Damaged { .. }) && segment.synced {
            return Err(Fault::Corrupt("log record"));
        }
        place.at = match segment.end {
            SegmentEnd::Clean => bytes.len() as u64,
            SegmentEnd::Torn { at } | SegmentEnd::Damaged { at, .. } => at,
        };
        if place.at < SEGMENT_HEADER as u64 {
            place.at = 0;
        }
        self.take(segment.events, place.segment, fresh);
        Ok(())
    }

    fn take(&self, events: Vec<Event>, segment: u64, fresh: &mut Fresh) {
        for event in events {
            let id = *event.id();
            if !self.seen.contains_key(&id) && fresh.ids.insert(id, segment).is_none() {
                fresh.events.push(Arc::new(event));
            }
        }
    }
}

#[cfg(test)]
impl Changes {
    /// Whether it says so of the log behind what the database has, as that is open.
    pub(crate) fn is_tail_complete(&self) -> bool {
        let environment = &self.core.environment;
        let flushed = self.core.flushed(&environment.read().unwrap()).unwrap();
        self.tail(flushed, &mut Fresh::default()).unwrap().1
    }
}

/// What stands in a segment behind a place.
struct ReadOn {
    events: Vec<Event>,
    /// Where the next record begins.
    at: u64,
    /// Whether nothing stands there.
    is_end: bool,
}

/// The whole records of a segment from a place on, where one begins. The owner may be writing there.
/// `None` if the segment is shorter by now.
///
/// # Errors
///
/// Those of the file system.
fn read_on(path: &Path, place: LogPlace) -> io::Result<Option<ReadOn>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() < place.at {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(place.at))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (mut events, mut read) = (Vec::new(), 0);
    while let Some(payload) = record_behind(&bytes, place.segment, read, place.at) {
        let good = events.len();
        if !read_events(payload, &mut events) {
            events.truncate(good);
            break;
        }
        read += RECORD_HEADER + payload.len();
    }
    Ok(Some(ReadOn {
        events,
        at: place.at + read as u64,
        is_end: read == bytes.len(),
    }))
}
