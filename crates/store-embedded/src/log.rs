//! The write-ahead log: segments of checksummed records, one record for each group of writes.
//!
//! What is in the log is stored; what isn't never becomes visible. A segment is a file
//! `<number>.log`: a header (`heliolog`, version, flags, number), then records. A record is its
//! length, the CRC-32 of its payload, a CRC-32 over both and the record's own place, then the
//! payload: events in wire form, each behind its length. Numbers are little-endian.
//!
//! Because a record's head is checked apart and bound to its place, a torn tail (bytes that a crash
//! kept from the disk, after which no record can follow) is told from damage in the middle.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_protocol::Event;

use crate::{
    disk::{Disk, DiskFile},
    error::{OpenError, is_full},
};

const MAGIC: &[u8; 8] = b"heliolog";
const VERSION: u32 = 1;
const FLAG_SYNC: u32 = 1;
/// Bytes before the first record.
pub(crate) const SEGMENT_HEADER: usize = 24;
/// Bytes before a record's payload.
pub(crate) const RECORD_HEADER: usize = 12;

/// Appends to the newest segment.
#[derive(Debug)]
pub(crate) struct LogWriter {
    disk: Disk,
    dir: PathBuf,
    sync: bool,
    /// Absent until there is room for it.
    file: Option<DiskFile>,
    number: u64,
    /// Bytes of the segment that are good: everything acknowledged lies below.
    len: u64,
    /// Nobody knows what the segment ends with: it has to stay the newest.
    broken: bool,
    /// What a failed append left couldn't be cut for want of room: that comes before anything else.
    uncut: bool,
    /// The file of a segment that couldn't be begun, nor removed again.
    leftover: Option<u64>,
    buffer: Vec<u8>,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The device is full; the segment is as it was and the next append may succeed.
    Full,
    /// The device failed; the segment is as it was and the next append may succeed.
    Failed(io::Error),
    /// Nobody knows what is on the disk (a failed fsync may have dropped pages): no more writes.
    Broken(io::Error),
}

/// What reading a segment came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SegmentEnd {
    /// Every byte was read.
    Clean,
    /// From this byte on nothing is readable, and no record follows: a crash cut it.
    Torn {
        /// Bytes that are good.
        at: u64,
    },
    /// A record here is damaged, though others follow.
    Damaged {
        /// Where the record begins.
        at: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A segment as read: its events, in order, and how it ended.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) events: Vec<Event>,
    pub(crate) end: SegmentEnd,
    /// Whether it was written with fsync after each record.
    pub(crate) synced: bool,
}

impl LogWriter {
    /// Starts segment `number`, which must not exist. If the device is full, the first append does it.
    ///
    /// # Errors
    ///
    /// Those of the file system; an unfinished file is removed.
    pub(crate) fn create(disk: &Disk, dir: &Path, number: u64, sync: bool) -> io::Result<Self> {
        let mut log = Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            sync,
            file: None,
            number,
            len: SEGMENT_HEADER as u64,
            broken: false,
            uncut: false,
            leftover: None,
            buffer: Vec::new(),
        };
        match log.begin(number) {
            Ok(file) => log.file = Some(file),
            Err(error) if is_full(&error) => {
                tracing::error!(%error, "no space left for the log, writes are refused until there is");
            }
            Err(error) => return Err(error),
        }
        Ok(log)
    }

    /// Makes the file of a segment, with its header.
    fn begin(&mut self, number: u64) -> io::Result<DiskFile> {
        let path = segment_path(&self.dir, number);
        if self.leftover == Some(number) {
            self.disk.remove(&path)?;
            self.leftover = None;
        }
        let mut file = self.disk.create(&path)?;
        let mut fill = || {
            file.write(&segment_header(number, self.sync))?;
            if self.sync {
                file.sync()?;
                self.disk.sync_dir(&self.dir)?;
            }
            Ok(())
        };
        if let Err(error) = fill() {
            if self.disk.remove(&path).is_err() {
                self.leftover = Some(number);
            } else if self.sync {
                // Else it may be there again after a power cut. It does no harm there.
                drop(self.disk.sync_dir(&self.dir));
            }
            return Err(error);
        }
        Ok(file)
    }

    /// Appends one record and syncs it. Returns how long the fsync took.
    ///
    /// A sync that fails for another reason than want of room ends all writing: the system may have
    /// dropped the pages, and a sync that succeeds afterwards would say nothing of them.
    ///
    /// # Errors
    ///
    /// [`AppendError`]: the record isn't in the log.
    pub(crate) fn append(&mut self, events: &[Arc<Event>]) -> Result<Duration, AppendError> {
        self.encode(events)?;
        if self.uncut
            && let Err(error) = self.cut()
        {
            return Err(self.not_cut(error));
        }
        if let Err(error) = self.write() {
            return Err(self.take_back(error));
        }
        let began = Instant::now();
        if self.sync
            && let Err(error) = self.sync_data()
        {
            if is_full(&error) {
                return Err(self.take_back(error));
            }
            // The system may go on showing a record that it will never write: gone, it can't be
            // read at the next start and taken for stored.
            drop(self.cut());
            self.broken = true;
            return Err(AppendError::Broken(error));
        }
        self.len += self.buffer.len() as u64;
        // A single giant batch must not pin its buffer for ever.
        self.buffer.shrink_to(16 << 20);
        Ok(began.elapsed())
    }

    fn encode(&mut self, events: &[Arc<Event>]) -> Result<(), AppendError> {
        let too_long = |_error| AppendError::Failed(io::ErrorKind::InvalidInput.into());
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; RECORD_HEADER]);
        for event in events {
            let len = u32::try_from(event.json().len()).map_err(too_long)?;
            self.buffer.extend_from_slice(&len.to_le_bytes());
            self.buffer.extend_from_slice(event.json());
        }
        let payload = &self.buffer[RECORD_HEADER..];
        let len = u32::try_from(payload.len()).map_err(too_long)?;
        let head = record_head(self.number, self.len, len, crc32fast::hash(payload));
        self.buffer[..RECORD_HEADER].copy_from_slice(&head);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(self.begin(self.number)?);
        }
        self.file
            .as_mut()
            .map_or(Ok(()), |file| file.write(&self.buffer))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), DiskFile::sync)
    }

    /// Cuts the segment where it was good.
    fn cut(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.cut(self.len)?;
            if self.sync {
                file.sync()?;
            }
        }
        self.uncut = false;
        Ok(())
    }

    /// Cuts what a failed append left.
    fn take_back(&mut self, error: io::Error) -> AppendError {
        match self.cut() {
            Err(error) => self.not_cut(error),
            Ok(()) if is_full(&error) => AppendError::Full,
            Ok(()) => AppendError::Failed(error),
        }
    }

    /// Some file systems need room to take something away.
    fn not_cut(&mut self, error: io::Error) -> AppendError {
        if is_full(&error) {
            self.uncut = true;
            return AppendError::Full;
        }
        self.broken = true;
        AppendError::Broken(error)
    }

    /// Starts the next segment and returns the number of the one that is now complete. A broken
    /// segment is complete as it is: nothing is appended any more, and a torn end is no damage only
    /// in the newest segment.
    ///
    /// # Errors
    ///
    /// Those of the file system; appending goes on in the old segment.
    pub(crate) fn rotate(&mut self) -> io::Result<u64> {
        if self.broken {
            return Ok(self.number);
        }
        if self.uncut {
            self.cut()?;
        }
        let file = self.begin(self.number + 1)?;
        let complete = self.number;
        self.file = Some(file);
        self.number += 1;
        self.len = SEGMENT_HEADER as u64;
        Ok(complete)
    }

    /// Cuts what a failed append left, if that is still to be done: whoever reads the segment next
    /// would take it for stored.
    pub(crate) fn close(mut self) {
        if self.uncut
            && let Err(error) = self.cut()
        {
            tracing::warn!(%error, "the log may end with events that were refused");
        }
    }

    /// Bytes in the newest segment.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

/// The bytes before a segment's first record.
pub(crate) fn segment_header(number: u64, sync: bool) -> Vec<u8> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(if sync { FLAG_SYNC } else { 0 }).to_le_bytes());
    header.extend_from_slice(&number.to_le_bytes());
    header
}

/// The file of a segment.
pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

/// The numbers of the segments in `dir`, oldest first; other files are ignored.
pub(crate) fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".log")?.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes the segments up to `number` and makes that durable.
pub(crate) fn remove_segments(disk: &Disk, dir: &Path, up_to: u64) -> io::Result<()> {
    let mut removed = false;
    for number in segments(dir)?.into_iter().filter(|number| *number <= up_to) {
        disk.remove(&segment_path(dir, number))?;
        removed = true;
    }
    if removed { disk.sync_dir(dir) } else { Ok(()) }
}

/// Bytes of all segments.
pub(crate) fn total_bytes(dir: &Path) -> u64 {
    let size = |number| fs::metadata(segment_path(dir, number)).map_or(0, |meta| meta.len());
    segments(dir).map_or(0, |numbers| numbers.into_iter().map(size).sum())
}

fn record_head(number: u64, at: u64, len: u32, payload_crc: u32) -> [u8; RECORD_HEADER] {
    let mut head = [0; RECORD_HEADER];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..8].copy_from_slice(&payload_crc.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..8]);
    crc.update(&number.to_le_bytes());
    crc.update(&at.to_le_bytes());
    head[8..].copy_from_slice(&crc.finalize().to_le_bytes());
    head
}

/// Reads a segment.
///
/// # Errors
///
/// Those of the file system; damage is reported in [`Segment::end`].
pub(crate) fn read_segment(dir: &Path, number: u64) -> io::Result<Segment> {
    let bytes = fs::read(segment_path(dir, number))?;
    Ok(parse_segment(&bytes, number))
}

/// Checks that a segment came to a good end, or to one that a crash explains.
///
/// # Errors
///
/// [`OpenError::Log`] for anything else.
pub(crate) fn check_end(
    segment: &Segment,
    path: &Path,
    newest: bool,
) -> Result<Option<u64>, OpenError> {
    let (offset, reason) = match segment.end {
        SegmentEnd::Clean => return Ok(None),
        SegmentEnd::Torn { at } if newest || !segment.synced => return Ok(Some(at)),
        SegmentEnd::Torn { at } => (at, "cut short, though newer segments exist"),
        // Without fsync the system writes pages in any order: a power cut may leave holes.
        SegmentEnd::Damaged { at, .. } if !segment.synced => return Ok(Some(at)),
        SegmentEnd::Damaged { at, reason } => (at, reason),
    };
    Err(OpenError::Log {
        path: path.to_owned(),
        offset,
        reason,
    })
}

pub(crate) fn parse_segment(bytes: &[u8], number: u64) -> Segment {
    let header = bytes.get(..SEGMENT_HEADER);
    let synced = header.is_none_or(|header| header[12] & 1 == FLAG_SYNC.to_le_bytes()[0]);
    let mut segment = Segment {
        events: Vec::new(),
        end: SegmentEnd::Clean,
        synced,
    };
    let header_good = header.is_some_and(|header| {
        header[..8] == *MAGIC
            && header[8..12] == VERSION.to_le_bytes()
            && header[16..24] == number.to_le_bytes()
    });
    if !header_good {
        segment.end = failure(bytes, number, 0, "not a log segment of this program");
        return segment;
    }
    let mut at = SEGMENT_HEADER;
    while at < bytes.len() {
        let Some(payload) = record(bytes, number, at) else {
            segment.end = failure(bytes, number, at, "checksum mismatch");
            return segment;
        };
        let good = segment.events.len();
        if !read_events(payload, &mut segment.events) {
            segment.events.truncate(good);
            let at = at as u64;
            segment.end = SegmentEnd::Damaged {
                at,
                reason: "not events in wire form",
            };
            return segment;
        }
        at += RECORD_HEADER + payload.len();
    }
    segment
}

/// The payload of the record at `at`, if it is whole.
fn record(bytes: &[u8], number: u64, at: usize) -> Option<&[u8]> {
    record_behind(bytes, number, at, 0)
}

/// The same of bytes that begin at `base` of the segment; `at` is counted from there.
pub(crate) fn record_behind(bytes: &[u8], number: u64, at: usize, base: u64) -> Option<&[u8]> {
    let head = bytes.get(at..at + RECORD_HEADER)?;
    let field =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if record_head(number, base + at as u64, field(0), field(4)) != head {
        return None;
    }
    let start = at + RECORD_HEADER;
    let payload = bytes.get(start..start.checked_add(field(0) as usize)?)?;
    (crc32fast::hash(payload) == field(4)).then_some(payload)
}

/// Whether a bad record is a torn tail: then no whole record stands anywhere behind it.
fn failure(bytes: &[u8], number: u64, at: usize, reason: &'static str) -> SegmentEnd {
    let follows = (at + 1..bytes.len()).any(|at| record(bytes, number, at).is_some());
    let at = at as u64;
    if follows {
        SegmentEnd::Damaged { at, reason }
    } else {
        SegmentEnd::Torn { at }
    }
}

/// A segment made of what is whole in a damaged one.
#[derive(Debug)]
pub(crate) struct Salvaged {
    /// Its bytes.
    pub(crate) segment: Vec<u8>,
    pub(crate) events: usize,
    /// Bytes of the damaged one that are in it.
    pub(crate) bytes_read: usize,
}

/// Collects every whole record of a segment, wherever it stands.
pub(crate) fn salvage(bytes: &[u8], number: u64, synced: bool) -> Salvaged {
    let mut salvaged = Salvaged {
        segment: segment_header(number, synced),
        events: 0,
        bytes_read: 0,
    };
    let mut at = SEGMENT_HEADER;
    while at < bytes.len() {
        let mut events = Vec::new();
        let whole = record(bytes, number, at).filter(|payload| read_events(payload, &mut events));
        let Some(payload) = whole else {
            at += 1;
            continue;
        };
        let place = salvaged.segment.len() as u64;
        // As long as it was: the length came from a head of 32 bits.
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let head = record_head(number, place, len, crc32fast::hash(payload));
        salvaged.segment.extend_from_slice(&head);
        salvaged.segment.extend_from_slice(payload);
        salvaged.events += events.len();
        salvaged.bytes_read += RECORD_HEADER + payload.len();
        at += RECORD_HEADER + payload.len();
    }
    salvaged
}

/// Adds the events of a record; whether it was one.
pub(crate) fn read_events(mut payload: &[u8], events: &mut Vec<Event>) -> bool {
    while !payload.is_empty() {
        let Some((len, rest)) = payload.split_first_chunk::<4>() else {
            return false;
        };
        let len = u32::from_le_bytes(*len) as usize;
        let Some((json, rest)) = rest.split_at_checked(len) else {
            return false;
        };
        let Ok(event) = Event::from_wire(bytes::Bytes::copy_from_slice(json)) else {
            return false;
        };
        events.push(event);
        payload = rest;
    }
    true
}
