//! The flusher thread: writes the frozen level into the database, then drops it and the log segments
//! that it covered. A failure loses nothing: level and log stay, and it tries again. While there is
//! none, it removes what requests to vanish have left.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use heliograph_store::StoreError;

use crate::{
    apply::write_level,
    codec::{TRAINING_EVENTS, train},
    core::{Core, Frozen},
    error::Fault,
    layout::meta,
    log::remove_segments,
    priority::give_way,
    vanish::Vanishing,
};

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1_000 });
/// How often a lasting failure is logged.
const WARN_EVERY: Duration = Duration::from_secs(30);
/// Bytes of events from which a dictionary is trained at most.
const TRAINING_BYTES_MAX: usize = 6 << 20;
/// Levels of fewer events replace few pages, which isn't worth another sync.
const RELEASING_EVENTS_MIN: usize = if cfg!(test) { 4 } else { 2_000 };
/// Larger events say little about the common ones.
const TRAINING_EVENT_BYTES_MAX: usize = 16 << 10;

/// Runs until the store stops and nothing is pending, or can't be written.
pub(crate) fn run(core: &Core) {
    let mut warned: Option<Instant> = None;
    let mut may_train = true;
    while let Some(work) = wait_for_work(core) {
        let result = match work {
            Work::Flush => flush(core),
            Work::Vanish => vanish(core),
        };
        let failed = result.is_err();
        if let Err(fault) = &result {
            core.counters.flush_failures.fetch_add(1, Ordering::Relaxed);
            if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                tracing::warn!(error = %fault, "failed to move events to the database, trying again");
                warned = Some(Instant::now());
            }
        } else {
            warned = None;
        }
        let stopping = match work {
            Work::Flush => report(core, result.map_err(StoreError::from).err()),
            Work::Vanish => core.flush.lock().stopping,
        };
        if failed && stopping {
            return;
        }
        if failed {
            let mut state = core.flush.lock();
            if !state.stopping {
                core.flush_changed.wait_for(&mut state, RETRY);
            }
        } else if may_train && work == Work::Flush {
            may_train = train_if_due(core);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Write the frozen level.
    Flush,
    /// Remove some of what a request to vanish hides.
    Vanish,
}

/// What there is to do; nothing if the store stops.
fn wait_for_work(core: &Core) -> Option<Work> {
    // Only this thread changes it.
    let vanishing = !core.vanishing.lock().is_empty();
    let mut state = core.flush.lock();
    loop {
        #[cfg(test)]
        let held = core.flush_held.load(Ordering::SeqCst);
        #[cfg(not(test))]
        let held = false;
        if state.pending && !held {
            return Some(Work::Flush);
        }
        if state.stopping {
            return None;
        }
        if vanishing && !held {
            return Some(Work::Vanish);
        }
        core.flush_changed.wait(&mut state);
    }
}

fn report(core: &Core, error: Option<StoreError>) -> bool {
    let mut state = core.flush.lock();
    state.pending = error.is_some();
    state.failing = error;
    core.flush_changed.notify_all();
    state.stopping
}

/// Writes the frozen level. Doing it again after a failure at any step is harmless.
fn flush(core: &Core) -> Result<(), Fault> {
    let Some(frozen) = core.levels.read().frozen.clone() else {
        return Ok(());
    };
    let began = Instant::now();
    let vanishing = write_frozen(core, &frozen)?;
    {
        let mut levels = core.levels.write();
        levels.frozen = None;
        core.hide(&mut levels, vanishing);
    }
    remove_segments(&core.disk, &core.log_dir, frozen.segment)?;
    let events = frozen.level.read().events.len();
    if events >= RELEASING_EVENTS_MIN {
        release_pages(core, frozen.segment);
    }
    core.counters.flushes.fetch_add(1, Ordering::Relaxed);
    let took = began.elapsed().as_secs_f64();
    core.counters.times.flush.observe(took);
    Ok(())
}

/// Removes some of what a request to vanish hides.
fn vanish(core: &Core) -> Result<(), Fault> {
    let Some(one) = core.vanishing.lock().first().cloned() else {
        return Ok(());
    };
    let next = core
        .environment
        .write(|txn, tables, codec| one.step(txn, tables, codec, &core.options.relay_urls))?;
    let mut levels = core.levels.write();
    {
        let mut vanishing = core.vanishing.lock();
        if next.is_done() {
            vanishing.remove(0);
        } else {
            vanishing[0] = next;
            return Ok(());
        }
    }
    core.hide(&mut levels, Vec::new());
    Ok(())
}

/// Commits once more, next to nothing. LMDB lets a transaction use only the pages that the last but
/// one before it had no use for any more, and writing a level replaces about every page of the indexes:
/// without this the file holds them three times, with it twice.
fn release_pages(core: &Core, segment: u64) {
    let committed = core.environment.write(|txn, tables, _codec| {
        tables
            .meta
            .put(txn, meta::FLUSHED_SEGMENT, &segment.to_be_bytes())?;
        Ok(())
    });
    if let Err(fault) = committed {
        // The next level takes new pages, or says what is wrong.
        tracing::debug!(error = %fault, "failed to release pages");
    }
}

fn write_frozen(core: &Core, frozen: &Frozen) -> Result<Vec<Vanishing>, Fault> {
    #[cfg(test)]
    match core.flush_errno.load(Ordering::SeqCst) {
        0 => {}
        i32::MIN => panic!("asked for by a test"),
        errno => return Err(io::Error::from_raw_os_error(errno).into()),
    }
    let level = frozen.level.read();
    core.environment.write(|txn, tables, codec| {
        write_level(
            txn,
            tables,
            codec,
            &level,
            frozen.segment,
            &core.options.relay_urls,
        )
    })
}

/// Trains a dictionary once there are events enough. Returns whether to ask again.
fn train_if_due(core: &Core) -> bool {
    match try_train(core) {
        Ok(again) => again,
        Err(fault) => {
            tracing::warn!(error = %fault, "no dictionary for compression");
            false
        }
    }
}

fn try_train(core: &Core) -> Result<bool, Fault> {
    let Some(samples) = samples(core)? else {
        return Ok(true);
    };
    if samples.is_empty() {
        return Ok(false);
    }
    let Some(dictionary) = train(&samples) else {
        return Ok(false);
    };
    core.environment.write(|txn, tables, _codec| {
        tables.meta.put(txn, meta::DICTIONARY, &dictionary)?;
        Ok(())
    })?;
    core.environment.reload_codec()?;
    tracing::info!(bytes = dictionary.len(), "compression dictionary trained");
    Ok(false)
}

/// The newest events, if there are enough; none if there is a dictionary already.
fn samples(core: &Core) -> Result<Option<Vec<Bytes>>, Fault> {
    let txn = core.environment.read()?;
    if txn.codec.has_dictionary() {
        return Ok(Some(Vec::new()));
    }
    if txn.tables.payload.len(&txn)? < TRAINING_EVENTS as u64 {
        return Ok(None);
    }
    let decoder = txn.codec.decoder();
    let (mut samples, mut bytes) = (Vec::new(), 0);
    for row in txn.tables.payload.rev_iter(&txn)? {
        let (_seq, value) = row?;
        let event = decoder.decode(value)?.event;
        if event.json().len() <= TRAINING_EVENT_BYTES_MAX {
            bytes += event.json().len();
            samples.push(event.json().clone());
        }
        if bytes > TRAINING_BYTES_MAX || samples.len() >= 2 * TRAINING_EVENTS {
            break;
        }
    }
    Ok(Some(samples))
}

/// Starts the thread.
pub(crate) fn start(core: &Arc<Core>) -> io::Result<std::thread::JoinHandle<()>> {
    let ending = Ending(Arc::clone(core));
    std::thread::Builder::new()
        .name("store-flush".to_owned())
        .spawn(move || {
            give_way();
            run(&ending.0);
        })
}

/// Nobody may wait for a thread that has panicked.
struct Ending(Arc<Core>);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Release);
            report(&self.0, Some(StoreError::Closed));
        }
    }
}
