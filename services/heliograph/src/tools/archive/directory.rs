//! The directory of an archive, as its writer has it.
//!
//! ```text
//! lock              held by the process that writes
//! manifest.jsonl    one line for each segment, only ever appended to; locked while it is read, so that
//!                   nothing is removed
//! 000001.jsonl.zst  a sealed segment: one event a line, never changed
//! 000002.seats.zst  vacant seats, one a line
//! *.partial         what is being written, worthless after a crash
//! ```
//! What always holds: a segment that the manifest names is complete and on the disk; a file that it
//! doesn't name is worthless. So a crash at any moment leaves an archive that the next run goes on with.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use heliograph_protocol::{Event, Timestamp};
use sha2::{Digest, Sha256};

use super::{
    super::output::{replace_file, sync_dir},
    contents::{Contents, MANIFEST, parse},
    manifest::{self, Cursor, FORMAT, Origin, Record, Seats, Segment, hex},
};

/// zstd's own default: a third of the size at some 100 MB a second.
const ZSTD_LEVEL: i32 = 3;

/// An archive that this process writes.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    manifest: File,
    contents: Contents,
    _lock: File,
}

/// A segment that is being written.
pub(crate) struct Open {
    path: PathBuf,
    number: u64,
    events: u64,
    text_bytes: u64,
    encoder: zstd::Encoder<'static, Digesting>,
}

/// A file of vacant seats that is being written.
pub(crate) struct OpenSeats {
    open: Open,
    /// Of the lines.
    text: Sha256,
}

/// A file of which the digest is known at its end.
struct Digesting {
    file: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
}

/// What the file of a number is called.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:06}.jsonl.zst")
}

/// What the file of vacant seats of a number is called.
pub(crate) fn seats_name(number: u64) -> String {
    format!("{number:06}.seats.zst")
}

impl Directory {
    /// Opens an archive, making it if it is absent, and takes it for this process. What a crash left is
    /// removed.
    ///
    /// # Errors
    ///
    /// Another process writes there, it is no archive or one of something else, or it is damaged.
    pub(crate) fn open(path: &Path, origin: Origin) -> anyhow::Result<Self> {
        let shown = path.display();
        make(path).with_context(|| format!("can't make {shown}"))?;
        let lock = lock(path)?;
        let name = path.join(MANIFEST);
        let mut manifest = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&name)
            .with_context(|| format!("can't write {}", name.display()))?;
        let mut bytes = Vec::new();
        manifest.read_to_end(&mut bytes)?;
        let parsed = parse(path, &bytes);
        if let Some(damage) = parsed.damage.into_iter().next() {
            bail!("{damage}. Nothing was written; archive into another directory");
        }
        if parsed.good_bytes < bytes.len() as u64 {
            // A crash cut it: whoever wrote it goes on from before.
            manifest.set_len(parsed.good_bytes)?;
            manifest.seek(SeekFrom::End(0))?;
            manifest.sync_all()?;
        }
        let mut directory = Self {
            path: path.to_owned(),
            manifest,
            contents: parsed.contents,
            _lock: lock,
        };
        match directory.contents.origin {
            Some(found) if found != origin => {
                bail!("{shown} is the archive of {found}, not of {origin}: name another directory")
            }
            Some(_) => {}
            None => {
                directory.refuse_strangers()?;
                directory.append(&Record::Archive {
                    format: FORMAT,
                    source: origin,
                })?;
                sync_dir(path)?;
            }
        }
        directory.tidy()?;
        Ok(directory)
    }

    /// What is in it.
    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Begins to archive everything anew; once that is complete, what was before is dropped unless this
    /// keeps it.
    pub(crate) fn begin_pass(&mut self, reason: &str, keeps: bool) -> anyhow::Result<()> {
        self.append(&Record::Pass {
            pass: self.contents.pass + 1,
            at: Timestamp::now().as_secs(),
            reason: reason.to_owned(),
            keeps,
        })
    }

    /// Notes which relay this is of.
    pub(crate) fn note_relay(&mut self, urls: Vec<String>) -> anyhow::Result<()> {
        if self.contents.relay_urls == urls {
            return Ok(());
        }
        self.append(&Record::Relay { urls })
    }

    /// Begins a segment.
    pub(crate) fn begin_segment(&self) -> anyhow::Result<Open> {
        let number = self.contents.last_number + 1;
        let path = self.path.join(format!("{}.partial", segment_name(number)));
        Open::create(path.clone(), number)
            .with_context(|| format!("can't write {}", path.display()))
    }

    /// Seals a segment: complete, on the disk under its name, then in the manifest.
    pub(crate) fn seal(&mut self, open: Open, cursor: Cursor) -> anyhow::Result<Segment> {
        let name = segment_name(open.number);
        let failed = || format!("can't write {}", self.path.join(&name).display());
        let sealed = open.finish(&self.path.join(&name)).with_context(failed)?;
        sync_dir(&self.path).with_context(failed)?;
        let segment = Segment {
            number: sealed.number,
            pass: self.contents.pass,
            events: sealed.events,
            bytes: sealed.bytes,
            text_bytes: sealed.text_bytes,
            sha256: sealed.sha256,
            at: Timestamp::now().as_secs(),
            cursor,
        };
        self.append(&Record::Segment(segment.clone()))?;
        Ok(segment)
    }

    /// Begins a file of vacant seats.
    pub(crate) fn begin_seats(&self) -> anyhow::Result<OpenSeats> {
        let number = self.contents.last_number + 1;
        let path = self.path.join(format!("{}.partial", seats_name(number)));
        let open = Open::create(path.clone(), number)
            .with_context(|| format!("can't write {}", path.display()))?;
        let text = Sha256::new();
        Ok(OpenSeats { open, text })
    }

    /// Keeps these seats, if they aren't those that are kept.
    pub(crate) fn keep_seats(&mut self, seats: OpenSeats) -> anyhow::Result<()> {
        let OpenSeats { open, text } = seats;
        let text_sha256 = hex(&text.finalize());
        let same = match &self.contents.seats {
            Some(old) => old.text_sha256 == text_sha256,
            None => open.events == 0,
        };
        if same {
            return remove(&open.path);
        }
        let path = self.path.join(seats_name(open.number));
        let failed = || format!("can't write {}", path.display());
        let sealed = open.finish(&path).with_context(failed)?;
        sync_dir(&self.path).with_context(failed)?;
        self.append(&Record::Seats(Seats {
            number: sealed.number,
            seats: sealed.events,
            bytes: sealed.bytes,
            sha256: sealed.sha256,
            text_sha256,
        }))
    }

    /// Notes that everything is in that was acknowledged before `at`, and drops what an earlier pass
    /// left.
    pub(crate) fn caught_up(&mut self, at: Timestamp, cursor: Cursor) -> anyhow::Result<()> {
        self.append(&Record::CaughtUp {
            pass: self.contents.pass,
            at: at.as_secs(),
            cursor,
        })?;
        self.tidy()
    }

    /// Puts a small file beside the segments, in place of the one that was there.
    pub(crate) fn put(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        replace_file(&path, text.as_bytes())
    }

    fn append(&mut self, record: &Record) -> anyhow::Result<()> {
        let line = manifest::write(record)?;
        let write = || -> io::Result<()> {
            (&self.manifest).write_all(line.as_bytes())?;
            self.manifest.sync_all()
        };
        write().with_context(|| format!("can't write {}", self.path.join(MANIFEST).display()))?;
        self.contents.add(record);
        Ok(())
    }

    /// A directory that was something else before is no place for an archive.
    fn refuse_strangers(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if name != MANIFEST && name != LOCK {
                bail!(
                    "{} holds other files and no archive: name an empty directory, or one that \
                     isn't there",
                    self.path.display()
                );
            }
        }
        Ok(())
    }

    /// Removes what no line of the manifest that counts names, unless somebody reads the archive: then
    /// another time.
    fn tidy(&self) -> anyhow::Result<()> {
        if matches!(self.manifest.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(());
        }
        let tidied = self.remove_surplus();
        // Where there are no locks, nobody waits for it.
        drop(self.manifest.unlock());
        tidied
    }

    fn remove_surplus(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if self.is_surplus(name) {
                remove(&self.path.join(name))?;
            }
        }
        Ok(())
    }

    fn is_surplus(&self, name: &str) -> bool {
        let number = |suffix: &str| name.strip_suffix(suffix)?.parse::<u64>().ok();
        if let Some(number) = number(".jsonl.zst") {
            return !self.contents.segments.iter().any(|s| s.number == number);
        }
        if let Some(number) = number(".seats.zst") {
            let kept = [&self.contents.seats, &self.contents.seats_before];
            return !kept.into_iter().flatten().any(|s| s.number == number);
        }
        name.ends_with(".partial")
    }
}

impl OpenSeats {
    /// Adds a seat as a line.
    pub(crate) fn write(&mut self, line: &str) -> anyhow::Result<()> {
        self.text.update(line);
        self.text.update("\n");
        let written = self.open.line(line.as_bytes());
        written.context("can't write the vacant seats")
    }
}

/// A file under its name.
struct Sealed {
    number: u64,
    events: u64,
    bytes: u64,
    text_bytes: u64,
    sha256: String,
}

impl Open {
    fn create(path: PathBuf, number: u64) -> io::Result<Self> {
        let file = BufWriter::with_capacity(256 << 10, File::create(&path)?);
        let digesting = Digesting {
            file,
            digest: Sha256::new(),
            bytes: 0,
        };
        let mut encoder = zstd::Encoder::new(digesting, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self {
            path,
            number,
            events: 0,
            text_bytes: 0,
            encoder,
        })
    }

    /// Adds an event.
    pub(crate) fn write(&mut self, event: &Event) -> io::Result<()> {
        self.line(event.json())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.encoder.write_all(line)?;
        self.encoder.write_all(b"\n")?;
        self.events += 1;
        self.text_bytes += line.len() as u64 + 1;
        Ok(())
    }

    /// Bytes of lines so far.
    pub(crate) fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    fn finish(self, name: &Path) -> io::Result<Sealed> {
        let Self {
            path,
            number,
            events,
            text_bytes,
            encoder,
        } = self;
        let Digesting {
            file,
            digest,
            bytes,
        } = encoder.finish()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(path, name)?;
        Ok(Sealed {
            number,
            events,
            bytes,
            text_bytes,
            sha256: hex(&digest.finalize()),
        })
    }
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

const LOCK: &str = "lock";

fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("can't write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another process archives into {}: only one can at a time",
            dir.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("can't lock {}", path.display()))
        }
    }
}

/// Keeps the writer of an archive from removing anything as long as this is held; `None` where files
/// can't be locked.
///
/// # Errors
///
/// It is no archive.
pub(crate) fn hold(dir: &Path) -> anyhow::Result<Option<File>> {
    // The manifest: whoever may only read the archive can lock it as well.
    let file = File::open(dir.join(MANIFEST))
        .with_context(|| format!("{} is no archive: can't read its {MANIFEST}", dir.display()))?;
    Ok(file.lock_shared().is_ok().then_some(file))
}

/// Makes a directory whose name is on the disk.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => sync_dir(parent),
        None => sync_dir(Path::new(".")),
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
