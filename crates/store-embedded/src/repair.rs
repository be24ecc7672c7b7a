//! Makes a damaged log readable again, at an operator's word: whole records are kept, what lies between
//! them is left out, and the damaged file stays beside the new one.
//!
//! Merges commute, so records behind the damage are as good as those before it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    disk::Disk,
    environment::Environment,
    error::OpenError,
    layout::meta,
    log::{
        SEGMENT_HEADER, Salvaged, check_end, parse_segment, salvage, segment_header, segment_path,
        segments,
    },
    replay::newest_begun,
    store::{DATABASE_DIR, EmbeddedStore, LOG_DIR, lock},
};

/// A segment of the log that was written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The segment.
    pub path: PathBuf,
    /// The damaged file; none if the segment was missing.
    pub damaged: Option<PathBuf>,
    /// Events that could be read.
    pub events: usize,
    /// Bytes that couldn't.
    pub bytes_lost: u64,
}

impl EmbeddedStore {
    /// Mends a log for which [`open`](Self::open) answers [`OpenError::Log`] or [`OpenError::Missing`]:
    /// damaged segments are written anew with the records that are whole, missing ones made empty.
    /// Returns what was done; nothing if nothing is damaged. Blocks.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: segments that weren't mended yet are as they were.
    pub fn repair(dir: &Path) -> Result<Vec<Repaired>, OpenError> {
        repair_on(&Disk::default(), dir)
    }
}

pub(crate) fn repair_on(disk: &Disk, dir: &Path) -> Result<Vec<Repaired>, OpenError> {
    let database = dir.join(DATABASE_DIR);
    let log = dir.join(LOG_DIR);
    if !database.exists() {
        return Err(OpenError::Absent(dir.to_owned()));
    }
    let _lock = lock(dir)?;
    let flushed = flushed(&database)?;
    let numbers = segments(&log).map_err(OpenError::io(&log))?;
    let needed: Vec<u64> = numbers.into_iter().filter(|n| *n > flushed).collect();
    let begun = newest_begun(&log, &needed);
    let mut repaired = Vec::new();
    let mut next = flushed + 1;
    for number in &needed {
        for missing in next..*number {
            repaired.push(fill_in(disk, &log, missing)?);
        }
        let newest = Some(*number) >= begun;
        repaired.extend(mend(disk, &log, *number, newest)?);
        next = number + 1;
    }
    Ok(repaired)
}

fn flushed(database: &Path) -> Result<u64, OpenError> {
    let environment = Environment::look(database)?;
    let txn = environment.read()?;
    let flushed = txn.tables.number(&txn, meta::FLUSHED_SEGMENT)?;
    drop(txn);
    environment.close();
    Ok(flushed)
}

fn fill_in(disk: &Disk, log: &Path, number: u64) -> Result<Repaired, OpenError> {
    let path = segment_path(log, number);
    write_anew(disk, log, number, &segment_header(number, true)).map_err(OpenError::io(&path))?;
    Ok(Repaired {
        path,
        damaged: None,
        events: 0,
        bytes_lost: 0,
    })
}

fn mend(disk: &Disk, log: &Path, number: u64, newest: bool) -> Result<Option<Repaired>, OpenError> {
    let path = segment_path(log, number);
    let bytes = fs::read(&path).map_err(OpenError::io(&path))?;
    let segment = parse_segment(&bytes, number);
    if check_end(&segment, &path, newest).is_ok() {
        return Ok(None);
    }
    let Salvaged {
        segment,
        events,
        bytes_read,
    } = salvage(&bytes, number, segment.synced);
    let keep = || -> io::Result<PathBuf> {
        let damaged = keep_beside(&path)?;
        write_anew(disk, log, number, &segment)?;
        Ok(damaged)
    };
    let damaged = keep().map_err(OpenError::io(&path))?;
    Ok(Some(Repaired {
        path,
        damaged: Some(damaged),
        events,
        bytes_lost: (bytes.len().saturating_sub(SEGMENT_HEADER + bytes_read)) as u64,
    }))
}

/// Gives the damaged file a second name, which the store doesn't read.
fn keep_beside(path: &Path) -> io::Result<PathBuf> {
    for number in 0_u32.. {
        let beside = path.with_extension(format!("damaged.{number}"));
        match fs::hard_link(path, &beside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done.map(|()| beside),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn write_anew(disk: &Disk, log: &Path, number: u64, bytes: &[u8]) -> io::Result<()> {
    let path = segment_path(log, number);
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&new)?;
    file.write(bytes)?;
    file.sync()?;
    disk.rename(&new, &path)?;
    disk.sync_dir(log)
}
