//! The writer thread. It alone decides what becomes of an event.
//!
//! take all that waits → decide each → append one record → fsync → show → answer.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use heliograph_protocol::{Event, Outcome};
use heliograph_store::StoreError;
use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    core::{Core, Frozen},
    error::Fault,
    log::{AppendError, LogWriter},
    lookup::{Snapshot, merge},
    overlay::{Change, Level},
    scan::Viewable,
};

/// Events in one group at most, unless one caller brings more.
const GROUP_EVENTS_MAX: usize = 4096;
/// Bytes in one group at most, unless one caller brings more.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// How often a writer that waits for the flusher looks whether it still has to.
const BACKLOG_WAIT: Duration = Duration::from_millis(100);

/// What the writer thread is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Write(Write),
    /// Move everything into the database and answer.
    Flush(std::sync::mpsc::SyncSender<Result<(), StoreError>>),
    /// The same, and end.
    Stop,
}

/// One caller's events.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

pub(crate) struct Writer {
    core: Arc<Core>,
    commands: Receiver<Command>,
    log: LogWriter,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        core: Arc<Core>,
        commands: Receiver<Command>,
        log: LogWriter,
    ) -> io::Result<JoinHandle<()>> {
        let writer = Self {
            core,
            commands,
            log,
        };
        std::thread::Builder::new()
            .name("store-write".to_owned())
            .spawn(move || writer.run())
    }

    fn run(mut self) {
        loop {
            match self.commands.recv_timeout(self.freeze_in()) {
                Ok(Command::Write(write)) => {
                    if self.write_group(write) {
                        break;
                    }
                }
                Ok(Command::Flush(reply)) => drop(reply.send(self.flush())),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.freeze_if_due();
        }
        self.core.broken.store(true, Ordering::Release);
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "stopped with events in the log only; they are read at the next start");
        }
        self.log.close();
        // Callers that still wait see their reply dropped: `Closed`.
    }

    /// How long until the active level is due to be frozen.
    fn freeze_in(&self) -> Duration {
        let interval = self.core.options.flush_interval;
        let since = self.core.levels.read().active.read().since;
        let left = since.map_or(interval, |since| interval.saturating_sub(since.elapsed()));
        // A level that is due but can't be frozen yet isn't asked for in a busy loop.
        left.max(Duration::from_millis(20))
    }

    /// Takes what else waits and writes it all; whether a stop was among it.
    fn write_group(&mut self, first: Write) -> bool {
        let mut events = first.events.len();
        let bytes = |write: &Write| write.events.iter().map(|e| e.json().len()).sum::<usize>();
        let mut group_bytes = bytes(&first);
        let mut group = vec![first];
        let mut then = None;
        while events < GROUP_EVENTS_MAX && group_bytes < GROUP_BYTES_MAX {
            match self.commands.try_recv() {
                Ok(Command::Write(write)) => {
                    events += write.events.len();
                    group_bytes += bytes(&write);
                    group.push(write);
                }
                Ok(command) => {
                    then = Some(command);
                    break;
                }
                Err(_empty) => break,
            }
        }
        let outcomes = self.wait_for_room().and_then(|()| self.store(&group));
        answer(group, outcomes);
        match then {
            Some(Command::Stop) => return true,
            Some(Command::Flush(reply)) => drop(reply.send(self.flush())),
            Some(Command::Write(_)) | None => {}
        }
        false
    }

    /// Decides, logs and shows a group; returns all outcomes in order.
    fn store(&mut self, group: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        if self.core.is_broken() {
            return Err(StoreError::Closed);
        }
        let events = group.iter().flat_map(|write| &write.events);
        let (outcomes, changes) = decide(&*self.core, events)?;
        if changes.is_empty() {
            return Ok(outcomes);
        }
        self.append(&changes)?;
        {
            let levels = self.core.levels.read();
            let mut active = levels.active.write();
            changes.iter().for_each(|change| active.apply(change));
        }
        let counters = &self.core.counters;
        counters.groups.fetch_add(1, Ordering::Relaxed);
        counters
            .events
            .fetch_add(changes.len() as u64, Ordering::Relaxed);
        Ok(outcomes)
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let events: Vec<_> = changes
            .iter()
            .map(|change| Arc::clone(&change.event))
            .collect();
        let began = Instant::now();
        match self.log.append(&events) {
            Ok(fsync) => {
                let counters = &self.core.counters;
                counters.times.fsync.observe(fsync.as_secs_f64());
                counters.times.append.observe(began.elapsed().as_secs_f64());
                counters.log_bytes.store(self.log.len(), Ordering::Relaxed);
                Ok(())
            }
            Err(AppendError::Full) => Err(StoreError::Full),
            Err(AppendError::Failed(error)) => Err(StoreError::Failed(error.to_string())),
            Err(AppendError::Broken(error)) => {
                tracing::error!(%error, "the log can't be trusted any more, no more writes are taken");
                self.core.broken.store(true, Ordering::Release);
                Err(StoreError::Closed)
            }
        }
    }

    /// Waits while two batches are in memory already.
    fn wait_for_room(&mut self) -> Result<(), StoreError> {
        loop {
            let options = &self.core.options;
            let full = {
                let levels = self.core.levels.read();
                let active = levels.active.read();
                active.len() >= 2 * options.flush_events || active.bytes >= 2 * options.flush_bytes
            };
            let mut flush = self.core.flush.lock();
            if !full {
                return Ok(());
            }
            if !flush.pending {
                drop(flush);
                return Ok(self.freeze().map_err(Fault::Io)?);
            }
            if let Some(error) = &flush.failing {
                return Err(error.clone());
            }
            self.core.flush_changed.wait_for(&mut flush, BACKLOG_WAIT);
        }
    }

    fn freeze_if_due(&mut self) {
        let due = {
            let options = &self.core.options;
            let levels = self.core.levels.read();
            let active = levels.active.read();
            active.len() >= options.flush_events
                || active.bytes >= options.flush_bytes
                || active
                    .since
                    .is_some_and(|since| since.elapsed() >= options.flush_interval)
        };
        if due
            && !self.core.flush.lock().pending
            && let Err(error) = self.freeze()
        {
            tracing::warn!(%error, "failed to start a log segment, trying again");
        }
    }

    /// Hands the active level to the flusher, which must be idle.
    fn freeze(&mut self) -> io::Result<()> {
        if self.core.levels.read().active.read().is_empty() {
            return Ok(());
        }
        let segment = self.log.rotate()?;
        {
            let mut levels = self.core.levels.write();
            let level = std::mem::replace(&mut levels.active, Arc::new(RwLock::default()));
            levels.frozen = Some(Frozen { level, segment });
        }
        self.core.flush.lock().pending = true;
        self.core.flush_changed.notify_all();
        Ok(())
    }

    /// Moves everything into the database.
    fn flush(&mut self) -> Result<(), StoreError> {
        self.core.wait_flushed()?;
        self.freeze()
            .map_err(|error| StoreError::from(Fault::Io(error)))?;
        self.core.wait_flushed()
    }
}

/// Decides events in order, each against all before it.
pub(crate) fn decide<'a>(
    store: &dyn Viewable,
    events: impl Iterator<Item = &'a Arc<Event>>,
) -> Result<(Vec<Outcome>, Vec<Change>), Fault> {
    let view = store.view()?;
    let levels: Vec<_> = view.levels.iter().map(|level| level.read()).collect();
    let mut snapshot = Snapshot {
        txn: &view.txn,
        tables: view.txn.tables,
        decoder: view.txn.codec.decoder(),
    };
    let mut staged = Level::default();
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    for event in events {
        let mut above: Vec<&Level> = Vec::with_capacity(levels.len() + 1);
        above.push(&staged);
        above.extend(levels.iter().map(|level| &**level));
        let (outcome, change) = merge(event, &above, &mut snapshot, store.relay_urls())?;
        if let Some(change) = change {
            staged.apply(&change);
            changes.push(change);
        }
        outcomes.push(outcome);
    }
    Ok((outcomes, changes))
}

fn answer(group: Vec<Write>, outcomes: Result<Vec<Outcome>, StoreError>) {
    let mut outcomes = outcomes.map(Vec::into_iter);
    for write in group {
        let answer = match &mut outcomes {
            Ok(outcomes) => Ok(outcomes.by_ref().take(write.events.len()).collect()),
            Err(error) => Err(error.clone()),
        };
        // A caller that gave up may send the events again.
        drop(write.reply.send(answer));
    }
}
