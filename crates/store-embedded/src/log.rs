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
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_protocol::Event;

use crate::{
    error::{OpenError, is_full},
    files::sync_dir,
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
    dir: PathBuf,
    sync: bool,
    /// Absent until there is room for it.
    file: Option<File>,
    number: u64,
    /// Bytes of the segment that are good: everything acknowledged lies below.
    len: u64,
    /// Nobody knows what the segment ends with: it has to stay the newest.
    broken: bool,
    buffer: Vec<u8>,
    #[cfg(test)]
    pub(crate) faults: Arc<faults::Faults>,
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
    pub(crate) fn create(dir: &Path, number: u64, sync: bool) -> io::Result<Self> {
        let file = match create_segment(dir, number, sync) {
            Ok(file) => Some(file),
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, "no space left for the log, writes are refused until there is");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            dir: dir.to_owned(),
            sync,
            file,
            number,
            len: SEGMENT_HEADER as u64,
            broken: false,
            buffer: Vec::new(),
            #[cfg(test)]
            faults: Arc::default(),
        })
    }

    /// Appends one record and syncs it. Returns how long the fsync took.
    ///
    /// # Errors
    ///
    /// [`AppendError`]: the record isn't in the log.
    pub(crate) fn append(&mut self, events: &[Arc<Event>]) -> Result<Duration, AppendError> {
        self.encode(events)?;
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
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create_segment(&self.dir, self.number, self.sync)?),
        };
        #[cfg(test)]
        self.faults.on_write(file, &self.buffer)?;
        file.write_all(&self.buffer)
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.on_sync()?;
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Cuts what a failed append left.
    fn take_back(&mut self, error: io::Error) -> AppendError {
        let cut = self.file.as_mut().map_or(Ok(()), |file| {
            #[cfg(test)]
            self.faults.on_cut()?;
            file.set_len(self.len)?;
            io::Seek::seek(file, io::SeekFrom::Start(self.len))?;
            if self.sync { file.sync_data() } else { Ok(()) }
        });
        match cut {
            Err(error) => {
                self.broken = true;
                AppendError::Broken(error)
            }
            Ok(()) if is_full(&error) => AppendError::Full,
            Ok(()) => AppendError::Failed(error),
        }
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
        let file = create_segment(&self.dir, self.number + 1, self.sync)?;
        let complete = self.number;
        self.file = Some(file);
        self.number += 1;
        self.len = SEGMENT_HEADER as u64;
        Ok(complete)
    }

    /// Bytes in the newest segment.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

fn create_segment(dir: &Path, number: u64, sync: bool) -> io::Result<File> {
    let path = segment_path(dir, number);
    let create = || -> io::Result<File> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        let mut header = Vec::with_capacity(SEGMENT_HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(if sync { FLAG_SYNC } else { 0 }).to_le_bytes());
        header.extend_from_slice(&number.to_le_bytes());
        file.write_all(&header)?;
        if sync {
            file.sync_data()?;
            sync_dir(dir)?;
        }
        Ok(file)
    };
    create().inspect_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            drop(fs::remove_file(&path));
        }
    })
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
pub(crate) fn remove_segments(dir: &Path, up_to: u64) -> io::Result<()> {
    let mut removed = false;
    for number in segments(dir)?.into_iter().filter(|number| *number <= up_to) {
        fs::remove_file(segment_path(dir, number))?;
        removed = true;
    }
    if removed { sync_dir(dir) } else { Ok(()) }
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
    let head = bytes.get(at..at + RECORD_HEADER)?;
    let field =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if record_head(number, at as u64, field(0), field(4)) != head {
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

fn read_events(mut payload: &[u8], events: &mut Vec<Event>) -> bool {
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

/// Failures on demand, for tests.
#[cfg(test)]
pub(crate) mod faults {
    use std::{
        fs::File,
        io::{self, Write},
        sync::atomic::{AtomicI32, AtomicUsize, Ordering},
    };

    /// Errors that the next calls answer; 0 is none.
    #[derive(Debug, Default)]
    pub(crate) struct Faults {
        pub(crate) write_errno: AtomicI32,
        /// Bytes that a failing write leaves in the file.
        pub(crate) write_partial: AtomicUsize,
        pub(crate) sync_errno: AtomicI32,
        /// What cutting off a failed append answers.
        pub(crate) cut_errno: AtomicI32,
    }

    impl Faults {
        pub(super) fn on_write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
            let errno = self.write_errno.load(Ordering::SeqCst);
            if errno == 0 {
                return Ok(());
            }
            let partial = self.write_partial.load(Ordering::SeqCst).min(bytes.len());
            file.write_all(&bytes[..partial])?;
            Err(io::Error::from_raw_os_error(errno))
        }

        pub(super) fn on_sync(&self) -> io::Result<()> {
            answer(&self.sync_errno)
        }

        pub(super) fn on_cut(&self) -> io::Result<()> {
            answer(&self.cut_errno)
        }
    }

    fn answer(errno: &AtomicI32) -> io::Result<()> {
        match errno.load(Ordering::SeqCst) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}
