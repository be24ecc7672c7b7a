//! The newest commit, asked of the leader of the stream.
//!
//! An answer counts only for those who asked before it was requested: what was acknowledged before
//! they asked is then in it. So one request is under way at a time, and all who come meanwhile share
//! the next one, however many they are.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use heliograph_bus::{BusError, CommitNumber};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::core::Core;

/// Where the stream begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The oldest number that is kept, or the next one if none is.
    pub(crate) first: u64,
    /// The newest number, 0 before the first.
    pub(crate) last: u64,
}

/// Asks on behalf of everyone.
#[derive(Debug)]
pub(crate) struct Newest {
    core: Arc<Core>,
    /// The last ticket given out.
    tickets: AtomicU64,
    asked: Notify,
    answers: watch::Sender<Answer>,
    /// The newest number seen anywhere: no less than this is in the stream.
    known: AtomicU64,
}

/// The answer to every ticket up to one.
#[derive(Debug, Clone, Copy)]
struct Answer {
    upto: u64,
    ends: Option<Ends>,
}

impl Newest {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            tickets: AtomicU64::new(0),
            asked: Notify::new(),
            answers: watch::Sender::new(Answer {
                upto: 0,
                ends: None,
            }),
            known: AtomicU64::new(0),
        }
    }

    /// Starts the task that asks; it ends when the bus is closed.
    pub(crate) fn start(self: &Arc<Self>) {
        let newest = Arc::clone(self);
        self.core.tasks.spawn("bus newest", async move {
            loop {
                // Closing first: nobody asks any more.
                tokio::select! {
                    biased;
                    () = newest.core.closed() => return,
                    () = newest.asked.notified() => newest.ask().await,
                }
            }
        });
    }

    /// The ends of the stream at a moment after this call began. Safe to cancel.
    ///
    /// # Errors
    ///
    /// [`BusError::Unavailable`] if the leader doesn't answer in time.
    pub(crate) async fn ends(&self) -> Result<Ends, BusError> {
        let deadline = Instant::now() + self.core.options.newest_deadline;
        let mut answers = self.answers.subscribe();
        let ticket = self.tickets.fetch_add(1, Ordering::AcqRel) + 1;
        self.asked.notify_one();
        let answered = answers.wait_for(|answer| answer.upto >= ticket);
        match timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer.ends.ok_or(BusError::Unavailable),
            Ok(Err(_gone)) => Err(BusError::Closed),
            Err(_elapsed) => Err(BusError::Unavailable),
        }
    }

    /// At least so much has been committed, as far as this process has seen.
    pub(crate) fn known(&self) -> CommitNumber {
        CommitNumber(self.known.load(Ordering::Acquire))
    }

    /// Notes a number that was seen.
    pub(crate) fn saw(&self, number: CommitNumber) {
        self.known.fetch_max(number.0, Ordering::AcqRel);
    }

    /// One request, for all tickets given out before it.
    async fn ask(&self) {
        let upto = self.tickets.load(Ordering::Acquire);
        let started = Instant::now();
        self.core.metrics.newest_requests.inc();
        let asking = self.core.stream_info(self.core.names.committed_stream());
        let ends = match timeout(self.core.options.newest_deadline, asking).await {
            Ok(Ok(info)) => Some(Ends {
                first: info.state.first_sequence.max(1),
                last: info.state.last_sequence,
            }),
            Ok(Err(error)) => {
                tracing::debug!(error, "can't learn the newest commit");
                None
            }
            Err(_elapsed) => None,
        };
        self.core
            .metrics
            .newest_seconds
            .observe(started.elapsed().as_secs_f64());
        if let Some(ends) = ends {
            self.saw(CommitNumber(ends.last));
        }
        self.answers.send_replace(Answer { upto, ends });
    }
}
