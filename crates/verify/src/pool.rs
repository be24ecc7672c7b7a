//! The pool: a bounded queue, a fixed number of threads, one verdict per event.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use heliograph_protocol::{Event, EventId};
use tokio::sync::oneshot;

use crate::{
    VerifyError,
    keys::{KEYS_MAX, KeyCache},
    verify_with,
};

/// How long an event may wait for its check. A client gives up after about 4.4 s, and the event has
/// to be stored in that time too; what waited longer is answered with [`VerifyError::Busy`] and
/// counted in [`Counters::overdue`].
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Jobs that a thread takes from the queue at once: enough that waking up costs little (36 µs of
/// work each), few enough that no event waits behind more than half a millisecond of others while
/// another thread is idle.
const JOBS_PER_WAKE_UP_MAX: usize = 16;

/// What the check of an event found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The signature is good.
    Valid,
    /// The look-up before the check said that the event is known; its signature wasn't checked.
    Known,
}

/// What the pool did since it started. Read them with any ordering; they only ever grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Signatures found good.
    pub valid: AtomicU64,
    /// Signatures or keys found bad.
    pub bad: AtomicU64,
    /// Events that the look-up knew.
    pub known: AtomicU64,
    /// Events turned away because the queue was full.
    pub rejected: AtomicU64,
    /// Events turned away because they had waited longer than [`QUEUE_WAIT_MAX`].
    pub overdue: AtomicU64,
    /// Keys found parsed.
    pub key_hits: AtomicU64,
    /// Keys that had to be parsed.
    pub key_misses: AtomicU64,
    /// Nanoseconds that threads spent on jobs, look-ups included, added up over all threads.
    pub busy_nanos: AtomicU64,
}

/// The pool. Dropping it ends the threads and waits for them.
pub struct Verifier {
    /// `None` in a pool without threads.
    queue: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    keys: KeyCache,
    counters: Counters,
    wait_max: Duration,
    threads: usize,
}

/// Whether an event of this id is known; it may block.
type LookUp = Box<dyn FnOnce(&EventId) -> bool + Send>;

struct Job {
    event: Arc<Event>,
    known: Option<LookUp>,
    queued_at: Instant,
    answer: oneshot::Sender<Result<Verdict, VerifyError>>,
}

impl Verifier {
    /// Starts `threads` threads, at least one, for a queue of `queue_max` events, at least one.
    /// More threads than cores gain nothing; 1,000 events a thread wait 36 ms.
    ///
    /// # Errors
    ///
    /// The system can't start a thread.
    pub fn start(threads: usize, queue_max: usize) -> io::Result<Self> {
        Self::start_with(threads, queue_max, QUEUE_WAIT_MAX)
    }

    /// A pool without threads: each check runs where it is asked for, so that everything happens
    /// on one thread, as in a simulation.
    #[must_use]
    pub fn inline() -> Self {
        Self {
            queue: None,
            threads: Vec::new(),
            shared: Arc::new(Shared {
                keys: KeyCache::new(KEYS_MAX),
                counters: Counters::default(),
                wait_max: Duration::MAX,
                threads: 0,
            }),
        }
    }

    fn start_with(threads: usize, queue_max: usize, wait_max: Duration) -> io::Result<Self> {
        let threads = threads.max(1);
        let (queue, jobs) = bounded(queue_max.max(1));
        let shared = Arc::new(Shared {
            keys: KeyCache::new(KEYS_MAX),
            counters: Counters::default(),
            wait_max,
            threads,
        });
        let mut verifier = Self {
            queue: Some(queue),
            threads: Vec::new(),
            shared,
        };
        for index in 0..threads {
            let (jobs, shared) = (jobs.clone(), Arc::clone(&verifier.shared));
            let thread = thread::Builder::new().name(format!("verify-{index}"));
            verifier
                .threads
                .push(thread.spawn(move || work(&jobs, &shared))?);
        }
        Ok(verifier)
    }

    /// Checks an event's signature on the pool. Dropping the future takes the event out of the
    /// queue, unless its check has begun.
    ///
    /// # Errors
    ///
    /// Any [`VerifyError`].
    pub async fn verify(&self, event: &Arc<Event>) -> Result<(), VerifyError> {
        self.submit(Arc::clone(event), None).await.map(|_valid| ())
    }

    /// Like [`verify`](Self::verify), but asks `known` first, on the pool's thread, so that it may
    /// block: what is known needs no check (R01-16).
    ///
    /// # Errors
    ///
    /// Any [`VerifyError`].
    pub async fn check(
        &self,
        event: Arc<Event>,
        known: impl FnOnce(&EventId) -> bool + Send + 'static,
    ) -> Result<Verdict, VerifyError> {
        self.submit(event, Some(Box::new(known))).await
    }

    async fn submit(
        &self,
        event: Arc<Event>,
        known: Option<LookUp>,
    ) -> Result<Verdict, VerifyError> {
        let (answer, answered) = oneshot::channel();
        let job = Job {
            event,
            known,
            queued_at: Instant::now(),
            answer,
        };
        let Some(queue) = &self.queue else {
            run(job, &self.shared);
            return answered.await.unwrap_or(Err(VerifyError::Stopped));
        };
        match queue.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.shared.counters.rejected.fetch_add(1, Relaxed);
                return Err(VerifyError::Busy);
            }
            Err(TrySendError::Disconnected(_)) => return Err(VerifyError::Stopped),
        }
        answered.await.unwrap_or(Err(VerifyError::Stopped))
    }

    /// What the pool did so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// How many events wait at this moment.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.queue.as_ref().map_or(0, Sender::len)
    }

    /// How many threads the pool has.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.threads
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        // Without a sender, the threads end once the queue is empty. Nobody waits for what is left
        // in it, since waiting borrows the pool, so that goes fast.
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A look-up may have held the last reference to the pool: no thread waits for itself.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("threads", &self.shared.threads)
            .field("queue_len", &self.queue_len())
            .field("counters", &self.shared.counters)
            .finish_non_exhaustive()
    }
}

/// A thread: sleeps until there is a job, then takes its share of what waits.
fn work(jobs: &Receiver<Job>, shared: &Shared) {
    let mut batch = Vec::with_capacity(JOBS_PER_WAKE_UP_MAX);
    while let Ok(job) = jobs.recv() {
        batch.push(job);
        let share = (jobs.len() / shared.threads).min(JOBS_PER_WAKE_UP_MAX - 1);
        batch.extend(jobs.try_iter().take(share));
        let start = Instant::now();
        for job in batch.drain(..) {
            run(job, shared);
        }
        shared
            .counters
            .busy_nanos
            .fetch_add(nanos(start.elapsed()), Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn run(job: Job, shared: &Shared) {
    if job.answer.is_closed() {
        return;
    }
    if job.queued_at.elapsed() > shared.wait_max {
        shared.counters.overdue.fetch_add(1, Relaxed);
        reply(job.answer, Err(VerifyError::Busy));
        return;
    }
    let Job {
        event,
        known,
        answer,
        ..
    } = job;
    // A look-up that panics costs its event an answer, not the pool a thread.
    let verdict = catch_unwind(AssertUnwindSafe(|| {
        if known.is_some_and(|known| known(event.id())) {
            return Ok(Verdict::Known);
        }
        shared.check(&event).map(|()| Verdict::Valid)
    }));
    if let Ok(verdict) = verdict {
        shared.counters.count(verdict);
        reply(answer, verdict);
    }
}

fn reply(
    answer: oneshot::Sender<Result<Verdict, VerifyError>>,
    verdict: Result<Verdict, VerifyError>,
) {
    // An error says that the asker has left: then nobody wants to know.
    answer.send(verdict).unwrap_or_default();
}

impl Shared {
    fn check(&self, event: &Event) -> Result<(), VerifyError> {
        verify_with(event, &self.keys, |known| {
            let counter = if known {
                &self.counters.key_hits
            } else {
                &self.counters.key_misses
            };
            counter.fetch_add(1, Relaxed);
        })
    }
}

impl Counters {
    fn count(&self, verdict: Result<Verdict, VerifyError>) {
        let counter = match verdict {
            Ok(Verdict::Valid) => &self.valid,
            Ok(Verdict::Known) => &self.known,
            Err(_) => &self.bad,
        };
        counter.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
