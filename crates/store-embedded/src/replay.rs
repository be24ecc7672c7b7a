//! Reads the log back: at open into the store.
//!
//! What is read counts as stored from then on, so it has to be on the disk: a process that was killed
//! may have left records that only the system's memory has.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use heliograph_protocol::Event;

use crate::{
    apply::write_level,
    core::Core,
    error::{Fault, OpenError},
    layout::meta,
    log::{
        SEGMENT_HEADER, Segment, check_end, read_segment, remove_segments, segment_path, segments,
    },
    vanish::noted,
    writer::decide,
};

/// Events that are decided in one go.
const CHUNK: usize = 4096;

/// Brings the store to what the log says and returns the number of the next segment. What has no
/// place in memory goes into the database at once; the rest stays in the active level.
///
/// # Errors
///
/// [`OpenError`]: damage that a crash can't explain, or a file that can't be read.
pub(crate) fn replay(core: &Core) -> Result<u64, OpenError> {
    let dir = &core.log_dir;
    let (flushed, vanishing) = {
        let txn = core.environment.read()?;
        let flushed = txn.tables.number(&txn, meta::FLUSHED_SEGMENT)?;
        (flushed, noted(&txn, &txn.tables)?)
    };
    core.hide(&mut core.levels.write(), vanishing);
    remove_segments(&core.disk, dir, flushed).map_err(OpenError::io(dir))?;
    let numbers = segments(dir).map_err(OpenError::io(dir))?;
    let begun = newest_begun(dir, &numbers);
    let (mut replayed, mut next) = (0, flushed + 1);
    for number in &numbers {
        let path = segment_path(dir, *number);
        let segment = read_segment(dir, *number).map_err(OpenError::io(&path))?;
        // Without fsync a power cut may take a whole segment.
        if *number != next && segment.synced {
            return Err(OpenError::Missing {
                path: segment_path(dir, next),
                follows: path,
            });
        }
        let newest = Some(*number) >= begun;
        let kept = settle(core, &segment, &path, newest)?;
        next = if kept { number + 1 } else { *number };
        let events: Vec<Arc<Event>> = segment.events.into_iter().map(Arc::new).collect();
        replayed += events.len();
        for chunk in events.chunks(CHUNK) {
            apply(core, chunk)?;
            flush_if_large(core, number - 1)?;
        }
    }
    if core.options.sync && !numbers.is_empty() {
        core.disk.sync_dir(dir).map_err(OpenError::io(dir))?;
    }
    if replayed > 0 {
        tracing::info!(events = replayed, segments = numbers.len(), "log replayed");
    }
    Ok(next)
}

/// The newest segment that has its header. One without is what a full disk or a crash left of a start:
/// the one before it was written on, and may have a torn end.
pub(crate) fn newest_begun(dir: &Path, numbers: &[u64]) -> Option<u64> {
    let begun = |number: &&u64| {
        let meta = fs::metadata(segment_path(dir, **number));
        meta.is_ok_and(|meta| meta.len() >= SEGMENT_HEADER as u64)
    };
    numbers.iter().rev().find(begun).copied()
}

/// Cuts a torn tail, so that the segment is whole once newer ones follow, and makes durable what is
/// left. Whether anything is: of some segments not even the header was written.
fn settle(core: &Core, segment: &Segment, path: &Path, newest: bool) -> Result<bool, OpenError> {
    let cut = check_end(segment, path, newest)?;
    if let Some(at) = cut {
        let bytes = fs::metadata(path).map_or(at, |meta| meta.len());
        let lost = bytes.saturating_sub(at);
        tracing::warn!(path = %path.display(), at, bytes = lost, "log cut where a crash left it");
        core.counters
            .log_cut_bytes
            .fetch_add(lost, Ordering::Relaxed);
    }
    if cut == Some(0) {
        core.disk.remove(path).map_err(OpenError::io(path))?;
        return Ok(false);
    }
    // Complete segments of a store that syncs were synced when their last record was.
    let unsynced = core.options.sync && (newest || !segment.synced);
    let work = || {
        if cut.is_none() && !unsynced {
            return Ok(());
        }
        let mut file = core.disk.open(path)?;
        if let Some(at) = cut {
            file.cut(at)?;
        }
        file.sync()
    };
    work().map_err(OpenError::io(path))?;
    Ok(true)
}

fn apply(core: &Core, events: &[Arc<Event>]) -> Result<(), Fault> {
    let (_outcomes, changes) = decide(core, events.iter())?;
    let levels = core.levels.read();
    let mut active = levels.active.write();
    changes.iter().for_each(|change| active.apply(change));
    Ok(())
}

/// Moves a large level to the database. A full disk is no reason not to start: the log is still
/// there, and reads work.
fn flush_if_large(core: &Core, complete_segment: u64) -> Result<(), Fault> {
    let mut levels = core.levels.write();
    let level = Arc::clone(&levels.active);
    let level = level.read();
    if level.len() < core.options.flush_events && level.bytes < core.options.flush_bytes {
        return Ok(());
    }
    let written = core.environment.write(|txn, tables, codec| {
        write_level(
            txn,
            tables,
            codec,
            &level,
            complete_segment,
            &core.options.relay_urls,
        )
    });
    match written {
        Ok(vanishing) => {
            levels.active = Arc::default();
            core.hide(&mut levels, vanishing);
            Ok(())
        }
        Err(fault) if fault.is_full() => {
            tracing::warn!("no space left to move events from the log to the database");
            Ok(())
        }
        Err(fault) => Err(fault),
    }
}
