//! Reads the log back: at open into the store, and for a look from another process.

use std::{fs::OpenOptions, sync::Arc};

use heliograph_protocol::Event;

use crate::{
    apply::write_level,
    core::Core,
    error::{Fault, OpenError},
    layout::meta,
    log::{check_end, read_segment, remove_segments, segment_path, segments},
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
    let flushed = {
        let txn = core.environment.read()?;
        txn.tables.number(&txn, meta::FLUSHED_SEGMENT)?
    };
    remove_segments(dir, flushed).map_err(OpenError::io(dir))?;
    let numbers = segments(dir).map_err(OpenError::io(dir))?;
    let mut replayed = 0;
    for number in &numbers {
        let path = segment_path(dir, *number);
        let segment = read_segment(dir, *number).map_err(OpenError::io(&path))?;
        let newest = numbers.last() == Some(number);
        if let Some(at) = check_end(&segment, &path, newest)? {
            tracing::warn!(path = %path.display(), at, "log cut where a crash left it");
            cut(&path, at).map_err(OpenError::io(&path))?;
        }
        let events: Vec<Arc<Event>> = segment.events.into_iter().map(Arc::new).collect();
        replayed += events.len();
        for chunk in events.chunks(CHUNK) {
            apply(core, chunk)?;
            flush_if_large(core, number - 1)?;
        }
    }
    if replayed > 0 {
        tracing::info!(events = replayed, segments = numbers.len(), "log replayed");
    }
    Ok(numbers.last().copied().unwrap_or(flushed).max(flushed) + 1)
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
        Ok(()) => {
            levels.active = Arc::default();
            Ok(())
        }
        Err(fault) if fault.is_full() => {
            tracing::warn!("no space left to move events from the log to the database");
            Ok(())
        }
        Err(fault) => Err(fault),
    }
}

/// Cuts a torn tail, so that the segment is whole once newer ones follow.
fn cut(path: &std::path::Path, at: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if at == 0 {
        // Not even its header was written.
        return std::fs::remove_file(path);
    }
    file.set_len(at)?;
    file.sync_all()
}
