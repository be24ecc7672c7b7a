//! The reader threads. Each takes a slice of a read at a time; a read that outlasts its first slice
//! goes to the end of a second queue, so that short reads never wait behind long ones.

use std::{collections::VecDeque, io, sync::Arc, thread, time::Duration};

use heliograph_protocol::{Event, EventId, Outcome};
use heliograph_store::{Page, StoreError, rules};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    error::Fault,
    lookup::{AllGuards, Snapshot, is_visible},
    overlay::Level,
    priority::give_way,
    scan::{Answer, ScanState, Viewable},
};

/// How long a thread works on one read before it looks at the queues again.
const SLICE: Duration = Duration::from_millis(5);
/// The same on the thread that is kept for short reads.
const SLICE_EXPRESS: Duration = Duration::from_millis(1);
/// One of so many short reads is a scan, if one waits; the others are look-ups of ids.
const SCAN_TURN: u32 = 4;
/// Short reads in a row before a long one gets its turn, if one waits.
const SHORT_IN_ROW_MAX: u32 = 16;

/// The threads and their queues.
#[derive(Debug)]
pub(crate) struct Pool {
    queues: Mutex<Queues>,
    ready: Condvar,
    permits: Arc<Semaphore>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Queues {
    /// Look-ups of single ids and of lists of ids: microseconds each.
    points: VecDeque<Queued>,
    /// Other reads that haven't taken long yet.
    short: VecDeque<Queued>,
    long: VecDeque<Queued>,
    short_in_row: u32,
    stopped: bool,
}

#[derive(Debug)]
struct Queued {
    job: Job,
    // Given back when the read is answered.
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Job {
    Scan(ScanJob),
    Contains {
        id: EventId,
        reply: oneshot::Sender<Result<bool, StoreError>>,
    },
}

/// One page of a scan.
#[derive(Debug)]
pub(crate) struct ScanJob {
    pub(crate) state: Box<ScanState>,
    pub(crate) page: Page,
    pub(crate) rows: usize,
    pub(crate) reply: oneshot::Sender<Answer>,
}

impl Pool {
    /// Starts `threads` threads that read `store`.
    pub(crate) fn start(
        store: &Arc<dyn Viewable>,
        threads: usize,
        queued_max: usize,
    ) -> io::Result<Arc<Self>> {
        let pool = Arc::new(Self {
            queues: Mutex::default(),
            ready: Condvar::new(),
            permits: Arc::new(Semaphore::new(queued_max.clamp(1, Semaphore::MAX_PERMITS))),
            threads: Mutex::default(),
        });
        let threads = threads.max(1);
        for number in 0..threads {
            let (worker, store) = (Arc::clone(&pool), Arc::clone(store));
            let express = number == 0 && threads > 1;
            let thread = thread::Builder::new().name(format!("store-read-{number}"));
            let thread = thread.spawn(move || {
                if !express {
                    give_way();
                }
                worker.work(&*store, express);
            })?;
            pool.threads.lock().push(thread);
        }
        Ok(pool)
    }

    /// Queues a page; the answer comes by the job's `reply`.
    pub(crate) async fn scan(&self, job: ScanJob) -> Result<(), StoreError> {
        self.submit(Job::Scan(job)).await
    }

    /// Whether this id is visible.
    pub(crate) async fn contains(&self, id: EventId) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Contains { id, reply }).await?;
        answer.await.map_err(|_stopped| StoreError::Closed)?
    }

    async fn submit(&self, job: Job) -> Result<(), StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_closed| StoreError::Closed)?;
        let mut queues = self.queues.lock();
        if queues.stopped {
            return Err(StoreError::Closed);
        }
        queues.push(Queued {
            job,
            permit: Some(permit),
        });
        drop(queues);
        self.ready.notify_all();
        Ok(())
    }

    /// Reads that wait for a thread.
    pub(crate) fn queued(&self) -> usize {
        let queues = self.queues.lock();
        queues.points.len() + queues.short.len() + queues.long.len()
    }

    /// Ends the threads and waits for them; reads that wait are answered `Closed`.
    pub(crate) fn stop(&self) {
        self.permits.close();
        let waiting = {
            let mut queues = self.queues.lock();
            queues.stopped = true;
            (
                std::mem::take(&mut queues.points),
                std::mem::take(&mut queues.short),
                std::mem::take(&mut queues.long),
            )
        };
        drop(waiting);
        self.ready.notify_all();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a store reader thread panicked");
            }
        }
    }

    fn work(&self, store: &dyn Viewable, express: bool) {
        let slice = if express { SLICE_EXPRESS } else { SLICE };
        while let Some(queued) = self.take(express) {
            match queued.job {
                Job::Scan(job) => self.run(store, job, slice, queued.permit),
                Job::Contains { id, reply } => {
                    // Nobody may wait for it any more.
                    drop(reply.send(contains(store, &id)));
                }
            }
        }
    }

    fn run(
        &self,
        store: &dyn Viewable,
        mut job: ScanJob,
        slice: Duration,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        if job.reply.is_closed() {
            return;
        }
        let done = job.state.slice(store, &mut job.page, job.rows, slice);
        let answer = match done {
            Err(error) => Err(error),
            // Part of a page is better than waiting.
            Ok(done) if done || !job.page.events.is_empty() => Ok((job.state, job.page)),
            Ok(_) => {
                let mut queues = self.queues.lock();
                if !queues.stopped {
                    queues.push(Queued {
                        job: Job::Scan(job),
                        permit,
                    });
                }
                drop(queues);
                self.ready.notify_all();
                return;
            }
        };
        drop(job.reply.send(answer));
    }

    fn take(&self, express: bool) -> Option<Queued> {
        let mut queues = self.queues.lock();
        loop {
            if queues.stopped {
                return None;
            }
            if let Some(queued) = queues.take(express) {
                return Some(queued);
            }
            self.ready.wait(&mut queues);
        }
    }
}

impl Queues {
    fn push(&mut self, queued: Queued) {
        let (long, point) = match &queued.job {
            Job::Scan(job) => (job.state.spent >= SLICE_EXPRESS, job.state.is_point()),
            Job::Contains { .. } => (false, true),
        };
        let queue = match (long, point) {
            (true, _) => &mut self.long,
            (false, true) => &mut self.points,
            (false, false) => &mut self.short,
        };
        queue.push_back(queued);
    }

    /// The next read: short ones first, but a long one now and then. An express thread takes short
    /// ones only.
    fn take(&mut self, express: bool) -> Option<Queued> {
        let long_turn = self.short_in_row >= SHORT_IN_ROW_MAX && !self.long.is_empty();
        if express || !long_turn {
            if let Some(queued) = self.take_short() {
                self.short_in_row = self.short_in_row.saturating_add(1);
                return Some(queued);
            }
            if express {
                return None;
            }
        }
        self.short_in_row = 0;
        self.long.pop_front()
    }

    /// A look-up first, so that it doesn't wait behind the first slices of many scans; but every
    /// fourth time one of those, so that look-ups without end don't hold them up.
    fn take_short(&mut self) -> Option<Queued> {
        let scan_turn = self.short_in_row % SCAN_TURN == SCAN_TURN - 1;
        let (first, second) = if scan_turn {
            (&mut self.short, &mut self.points)
        } else {
            (&mut self.points, &mut self.short)
        };
        first.pop_front().or_else(|| second.pop_front())
    }
}

fn contains(store: &dyn Viewable, id: &EventId) -> Result<bool, StoreError> {
    contains_now(store, id).map_err(StoreError::from)
}

/// Whether this id is visible, on the calling thread.
pub(crate) fn contains_now(store: &dyn Viewable, id: &EventId) -> Result<bool, Fault> {
    look(store, |levels, snapshot| {
        is_visible(id, levels, snapshot, store.relay_urls())
    })
}

/// What the guards say of an event, stored or not, on the calling thread.
pub(crate) fn guarded_now(store: &dyn Viewable, event: &Event) -> Result<Option<Outcome>, Fault> {
    look(store, |levels, snapshot| {
        rules::guarded(event, &AllGuards { snapshot, levels }, store.relay_urls())
    })
}

/// Reads one state of the store: its levels, and the database below them.
fn look<T>(
    store: &dyn Viewable,
    read: impl FnOnce(&[&Level], &mut Snapshot<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let view = store.view()?;
    let levels: Vec<_> = view.levels.iter().map(|level| level.read()).collect();
    let levels: Vec<_> = levels.iter().map(|level| &**level).collect();
    let mut snapshot = Snapshot {
        txn: &view.txn,
        tables: view.txn.tables,
        decoder: view.txn.codec.decoder(),
    };
    read(&levels, &mut snapshot)
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::{Filter, Timestamp};
    use heliograph_store::{Budget, ScanRequest};

    use super::*;

    fn scan(spent: Duration) -> Queued {
        let request = ScanRequest {
            filter: Arc::new(Filter::default()),
            after: None,
            now: Timestamp::default(),
            budget: Budget::UNLIMITED,
        };
        let mut state = Box::new(ScanState::new(request));
        state.spent = spent;
        let reply = oneshot::channel().0;
        Queued {
            job: Job::Scan(ScanJob {
                state,
                page: Page::default(),
                rows: 1,
                reply,
            }),
            permit: None,
        }
    }

    fn look_up() -> Queued {
        let job = Job::Contains {
            id: EventId::new([0; 32]),
            reply: oneshot::channel().0,
        };
        Queued { job, permit: None }
    }

    fn is_long(queued: Option<Queued>) -> Option<bool> {
        queued.map(|queued| matches!(queued.job, Job::Scan(job) if job.state.spent > SLICE))
    }

    const HEAVY: Duration = Duration::from_secs(1);

    #[test]
    fn a_look_up_goes_before_every_heavy_scan_that_waits() {
        let mut queues = Queues::default();
        (0..100).for_each(|_| queues.push(scan(HEAVY)));
        queues.push(look_up());
        assert_eq!(is_long(queues.take(false)), Some(false));
        assert_eq!(is_long(queues.take(false)), Some(true));
    }

    #[test]
    fn a_look_up_waits_for_no_crowd_of_new_scans_and_they_for_no_crowd_of_look_ups() {
        let is_scan = |queued: Option<Queued>| matches!(queued.unwrap().job, Job::Scan(_));
        let mut queues = Queues::default();
        (0..100).for_each(|_| queues.push(scan(Duration::ZERO)));
        queues.push(look_up());
        assert!(!is_scan(queues.take(true)));
        (0..100).for_each(|_| queues.push(look_up()));
        let scans = (0..8).filter(|_| is_scan(queues.take(true))).count();
        assert_eq!(scans, 2);
    }

    #[test]
    fn the_express_thread_takes_no_heavy_scan() {
        let mut queues = Queues::default();
        queues.push(scan(HEAVY));
        assert_eq!(is_long(queues.take(true)), None);
        queues.push(scan(Duration::ZERO));
        assert_eq!(is_long(queues.take(true)), Some(false));
    }

    #[test]
    fn heavy_scans_are_not_starved_by_look_ups() {
        let mut queues = Queues::default();
        queues.push(scan(HEAVY));
        (0..100).for_each(|_| queues.push(look_up()));
        let place = (0..100).position(|_| is_long(queues.take(false)) == Some(true));
        assert_eq!(place, Some(SHORT_IN_ROW_MAX as usize));
    }
}
