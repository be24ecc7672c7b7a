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
    VerifyError, check_signature,
    keys::{KEYS_MAX, KeyCache},
    parse_key,
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
    /// Only `None` while it is dropped.
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
        let queue = self.queue.as_ref().ok_or(VerifyError::Stopped)?;
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
        let key = event.pubkey().as_bytes();
        if let Some(parsed) = self.keys.get(key) {
            self.counters.key_hits.fetch_add(1, Relaxed);
            return check_signature(event, &parsed);
        }
        self.counters.key_misses.fetch_add(1, Relaxed);
        let parsed = parse_key(event)?;
        check_signature(event, &parsed)?;
        self.keys.insert(*key, parsed);
        Ok(())
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
mod tests {
    use std::sync::mpsc::{Receiver as StdReceiver, SyncSender, sync_channel};

    use heliograph_testkit::keys::Key;

    use super::*;

    fn note(n: usize) -> Arc<Event> {
        Arc::new(Key::nth(n).note(1, "hello"))
    }

    /// A note whose signature is another's.
    fn forged() -> Arc<Event> {
        let text = Key::nth(0).note(1, "hello").as_str().to_owned();
        let sig = Key::nth(0).note(2, "other").sig().to_hex();
        let cut = text.len() - 130;
        let text = format!("{}{sig}\"}}", &text[..cut]);
        Arc::new(Event::parse(&text).expect("the id says nothing about the signature"))
    }

    /// A look-up that says when it began and ends when told to.
    fn gate() -> (
        impl FnOnce(&EventId) -> bool + Send,
        StdReceiver<()>,
        SyncSender<()>,
    ) {
        let (began, has_begun) = sync_channel(1);
        let (open, opened) = sync_channel::<()>(1);
        let known = move |_: &EventId| {
            began.send(()).expect("the test waits for it");
            opened.recv().is_err()
        };
        (known, has_begun, open)
    }

    #[tokio::test]
    async fn good_signatures_are_valid_and_others_are_not() {
        let verifier = Verifier::start(2, 100).unwrap();
        for n in [0, 1, 0] {
            assert_eq!(verifier.verify(&note(n)).await, Ok(()));
        }
        assert_eq!(
            verifier.verify(&forged()).await,
            Err(VerifyError::BadSignature)
        );
        let counters = verifier.counters();
        assert_eq!(counters.valid.load(Relaxed), 3);
        assert_eq!(counters.bad.load(Relaxed), 1);
        assert_eq!(counters.key_misses.load(Relaxed), 2);
        assert_eq!(counters.key_hits.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn what_is_known_is_not_checked() {
        let verifier = Verifier::start(1, 100).unwrap();
        let event = forged();
        let id = *event.id();
        assert_eq!(
            verifier.check(event, move |known| *known == id).await,
            Ok(Verdict::Known)
        );
        assert_eq!(verifier.check(note(0), |_| false).await, Ok(Verdict::Valid));
        assert_eq!(
            verifier.check(forged(), |_| false).await,
            Err(VerifyError::BadSignature)
        );
        assert_eq!(verifier.counters().known.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_full_queue_turns_events_away_at_once() {
        let verifier = Verifier::start(1, 1).unwrap();
        let (known, has_begun, open) = gate();
        let mut running = Box::pin(verifier.check(note(0), known));
        assert!(futures_pending(&mut running).await);
        has_begun.recv().unwrap();
        let one = note(1);
        let mut waiting = Box::pin(verifier.verify(&one));
        assert!(futures_pending(&mut waiting).await);
        assert_eq!(verifier.queue_len(), 1);
        assert_eq!(verifier.verify(&note(2)).await, Err(VerifyError::Busy));
        assert_eq!(verifier.counters().rejected.load(Relaxed), 1);
        open.send(()).unwrap();
        assert_eq!(running.await, Ok(Verdict::Valid));
        assert_eq!(waiting.await, Ok(()));
    }

    /// Polls once; whether the future isn't ready.
    async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }

    #[tokio::test]
    async fn what_waited_too_long_is_not_checked_any_more() {
        let verifier = Verifier::start_with(1, 100, Duration::ZERO).unwrap();
        assert_eq!(verifier.verify(&note(0)).await, Err(VerifyError::Busy));
        assert_eq!(verifier.counters().overdue.load(Relaxed), 1);
        assert_eq!(verifier.counters().valid.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn an_event_whose_asker_left_is_skipped() {
        let verifier = Verifier::start(1, 10).unwrap();
        let (known, has_begun, open) = gate();
        let mut running = Box::pin(verifier.check(note(0), known));
        assert!(futures_pending(&mut running).await);
        has_begun.recv().unwrap();
        let one = note(1);
        let mut left = Box::pin(verifier.verify(&one));
        assert!(futures_pending(&mut left).await);
        drop(left);
        open.send(()).unwrap();
        assert_eq!(running.await, Ok(Verdict::Valid));
        assert_eq!(verifier.verify(&note(2)).await, Ok(()));
        assert_eq!(verifier.counters().valid.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn a_look_up_that_panics_costs_one_answer_and_no_thread() {
        let verifier = Verifier::start(1, 10).unwrap();
        let panics = |_: &EventId| panic!("for the test");
        assert_eq!(
            verifier.check(note(0), panics).await,
            Err(VerifyError::Stopped)
        );
        assert_eq!(verifier.verify(&note(0)).await, Ok(()));
    }

    #[tokio::test]
    async fn many_events_each_get_their_own_verdict() {
        let verifier = Arc::new(Verifier::start(3, 1_000).unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..200 {
            let verifier = Arc::clone(&verifier);
            tasks.spawn(async move {
                let event = if n % 7 == 0 { forged() } else { note(n) };
                (n, verifier.verify(&event).await)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let (n, verdict) = done.unwrap();
            let expected = if n % 7 == 0 {
                Err(VerifyError::BadSignature)
            } else {
                Ok(())
            };
            assert_eq!(verdict, expected, "{n}");
        }
    }

    #[tokio::test]
    async fn dropping_the_pool_ends_its_threads() {
        let verifier = Verifier::start(2, 10).unwrap();
        let shared = Arc::clone(&verifier.shared);
        assert_eq!(verifier.verify(&note(0)).await, Ok(()));
        drop(verifier);
        assert_eq!(
            Arc::strong_count(&shared),
            1,
            "the threads have dropped theirs"
        );
    }

    #[tokio::test]
    async fn a_look_up_may_hold_the_last_reference_to_the_pool() {
        let verifier = Arc::new(Verifier::start(1, 10).unwrap());
        let held = Arc::clone(&verifier);
        let (known, has_begun, open) = gate();
        let (done, is_done) = sync_channel(1);
        let look_up = move |id: &EventId| {
            let answer = known(id);
            drop(held);
            done.send(()).expect("the test waits for it");
            answer
        };
        let mut running = Box::pin(verifier.check(note(0), look_up));
        assert!(futures_pending(&mut running).await);
        has_begun.recv().unwrap();
        drop(running);
        drop(verifier);
        open.send(()).unwrap();
        is_done.recv().unwrap();
    }
}
