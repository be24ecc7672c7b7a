//! What a store does to the files of its log, step by step; and failures of any step on demand.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering},
    },
};

use heliograph_protocol::Event;
use parking_lot::Mutex;

/// A step that changes files, or a mark between such steps.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Cut(PathBuf, u64),
    Sync(PathBuf),
    /// A sync that failed: a later one doesn't cover what was written before.
    SyncFailed(PathBuf),
    SyncDir,
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    /// The database is durable as in this copy.
    Database(PathBuf),
    /// The store has these events to decide.
    Sent(Vec<Arc<Event>>),
    /// It has answered with outcomes.
    Acknowledged,
    /// It has answered with an error: none of them shows, now or later, unless they are sent again.
    Refused,
    /// It has answered with an error and takes no more: nobody knows whether they show after a restart.
    Closed,
}

/// Which steps fail, counted from 0 over creates, writes, cuts, syncs, removals and renames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) from: usize,
    /// Steps in a row that fail.
    pub(crate) steps: usize,
    pub(crate) errno: i32,
    /// Bytes that a failing write leaves in the file.
    pub(crate) written: usize,
}

/// Records the steps, if asked to, and lets them fail, if asked to.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    steps: Mutex<Vec<Step>>,
    recording: AtomicBool,
    /// Where copies of the database go.
    copies: Mutex<Option<PathBuf>>,
    taken: AtomicUsize,
    failure: Mutex<Option<Failure>>,
    /// Errors that calls of one sort answer; 0 is none.
    pub(crate) write_errno: AtomicI32,
    /// Bytes that a failing write leaves in the file.
    pub(crate) write_partial: AtomicUsize,
    pub(crate) sync_errno: AtomicI32,
    /// What cutting answers.
    pub(crate) cut_errno: AtomicI32,
}

impl Tape {
    /// Records from now on; copies of the database go to `copies`.
    pub(crate) fn recording(copies: &Path) -> Arc<Self> {
        let tape = Self::default();
        tape.recording.store(true, Ordering::SeqCst);
        *tape.copies.lock() = Some(copies.to_owned());
        Arc::new(tape)
    }

    pub(crate) fn fail(&self, failure: Failure) {
        *self.failure.lock() = Some(failure);
    }

    /// Steps that were taken, failed ones too.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    pub(crate) fn mark(&self, mark: Step) {
        if self.recording.load(Ordering::SeqCst) {
            self.steps.lock().push(mark);
        }
    }

    /// What was recorded.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().clone()
    }

    pub(crate) fn step(&self, step: Step) -> io::Result<()> {
        let sort = match &step {
            Step::Sync(_) => &self.sync_errno,
            Step::Cut(..) => &self.cut_errno,
            _ => &NEVER,
        };
        if let Some(failure) = self.next_failure(sort) {
            if let Step::Sync(path) = step
                && failure.errno == rustix::io::Errno::IO.raw_os_error()
            {
                self.mark(Step::SyncFailed(path));
            }
            return Err(io::Error::from_raw_os_error(failure.errno));
        }
        self.mark(step);
        Ok(())
    }

    /// A write; if it fails, how many bytes are written all the same.
    pub(crate) fn write(
        &self,
        path: PathBuf,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), (usize, io::Error)> {
        let Some(failure) = self.next_failure(&self.write_errno) else {
            self.mark(Step::Write(path, at, bytes.to_vec()));
            return Ok(());
        };
        let written = failure.written.min(bytes.len());
        self.mark(Step::Write(path, at, bytes[..written].to_vec()));
        Err((written, io::Error::from_raw_os_error(failure.errno)))
    }

    fn next_failure(&self, sort: &AtomicI32) -> Option<Failure> {
        let number = self.taken.fetch_add(1, Ordering::SeqCst);
        let here = |failure: &Failure| {
            (failure.from..failure.from.saturating_add(failure.steps)).contains(&number)
        };
        let planned = self.failure.lock().filter(here);
        let errno = sort.load(Ordering::SeqCst);
        let asked = (errno != 0).then(|| Failure {
            from: number,
            steps: 1,
            errno,
            written: self.write_partial.load(Ordering::SeqCst),
        });
        planned.or(asked)
    }

    /// Notes that the database in `dir` has committed and is durable.
    pub(crate) fn committed(&self, dir: &Path) {
        if !self.recording.load(Ordering::SeqCst) {
            return;
        }
        let copies = self.copies.lock().clone().expect("set with recording");
        let mut steps = self.steps.lock();
        let copy = copies.join(format!("{}.mdb", steps.len()));
        fs::copy(dir.join("data.mdb"), &copy).unwrap();
        steps.push(Step::Database(copy));
    }
}

static NEVER: AtomicI32 = AtomicI32::new(0);
