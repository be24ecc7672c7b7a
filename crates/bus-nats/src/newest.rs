//! The newest commit, asked of the leader of the stream.
//!
//! An answer counts only for those who asked before it was requested: what was acknowledged before
//! they asked is then in it. So one request is under way at a time, and all who come meanwhile share
//! the next one, however many they are.
//!
//! A server that led a replicated stream, stood still while another was elected, and goes on, believes
//! for some milliseconds that it leads. So a leader's word counts only if a message of ours that a
//! majority has taken is in its stream, and that message isn't older than an election takes. The
//! message is an empty batch of commits, one every [`PROOF_LASTS`] while somebody asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use heliograph_bus::{BusError, CommitNumber};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{committer::announcement, core::Core};

/// How long no other leader can have been elected after a majority heard from one: NATS servers wait at
/// least four seconds.
const PROOF_LASTS: Duration = Duration::from_secs(2);

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
    /// Numbers the messages of its own.
    proofs: AtomicU64,
}

/// A message that a majority has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Proof {
    sequence: u64,
    /// When it was sent.
    sent: Instant,
}

/// What is known of who leads.
#[derive(Debug, Default)]
struct Led {
    /// Whether there may be more than one who believes to.
    replicated: bool,
    proof: Option<Proof>,
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
            proofs: AtomicU64::new(0),
        }
    }

    /// Starts the task that asks; it ends when the bus is closed.
    pub(crate) fn start(self: &Arc<Self>) {
        let newest = Arc::clone(self);
        self.core.tasks.spawn("bus newest", async move {
            let mut led = Led::default();
            loop {
                // Closing first: nobody asks any more.
                tokio::select! {
                    biased;
                    () = newest.core.closed() => return,
                    () = newest.asked.notified() => newest.ask(&mut led).await,
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
    async fn ask(&self, led: &mut Led) {
        let upto = self.tickets.load(Ordering::Acquire);
        let started = Instant::now();
        self.core.metrics.newest_requests.inc();
        let asking = self.ask_leader(led);
        let ends = match timeout(self.core.options.newest_deadline, asking).await {
            Ok(Ok(ends)) => Some(ends),
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

    /// What the leader says, and nobody who only believes to be it.
    async fn ask_leader(&self, led: &mut Led) -> Result<Ends, String> {
        if led.replicated && led.proof.is_none_or(|proof| proof.is_old(Instant::now())) {
            let (ends, proof) = tokio::try_join!(self.ask_ends(), self.prove())?;
            return Ok(led.prove(ends.0, proof));
        }
        let (ends, replicated) = self.ask_ends().await?;
        led.replicated = replicated;
        let proven = |proof: Proof| proof.holds(ends.last, Instant::now());
        if !replicated || led.proof.is_some_and(proven) {
            return Ok(ends);
        }
        let proof = self.prove().await?;
        Ok(led.prove(ends, proof))
    }

    /// What somebody who believes to lead says of the stream, and whether there may be another.
    async fn ask_ends(&self) -> Result<(Ends, bool), String> {
        let stream = self.core.names.committed_stream();
        let info = self.core.stream_info(stream).await?;
        let ends = Ends {
            first: info.state.first_sequence.max(1),
            last: info.state.last_sequence,
        };
        Ok((ends, info.config.num_replicas > 1))
    }

    async fn prove(&self) -> Result<Proof, String> {
        let sent = Instant::now();
        let sequence = self.announce_nothing(sent).await?;
        Ok(Proof { sequence, sent })
    }

    /// Puts an empty batch at the end of the stream and returns its number.
    async fn announce_nothing(&self, now: Instant) -> Result<u64, String> {
        let core = &self.core;
        let number = self.proofs.fetch_add(1, Ordering::Relaxed);
        let outgoing = announcement(core, &format!("end-{number}"), &[]);
        let deadline = now + core.options.newest_deadline;
        let taken = core.acked.publish(&outgoing, deadline).await;
        taken.map_err(|error| error.to_string())
    }
}

impl Proof {
    /// Whether a stream that ends so is the leader's.
    fn holds(self, last: u64, now: Instant) -> bool {
        last >= self.sequence && !self.is_old(now)
    }

    fn is_old(self, now: Instant) -> bool {
        now.saturating_duration_since(self.sent) >= PROOF_LASTS
    }
}

impl Led {
    /// The ends of the stream by what a majority has just taken.
    fn prove(&mut self, ends: Ends, proof: Proof) -> Ends {
        self.proof = Some(proof);
        Ends {
            first: ends.first,
            last: ends.last.max(proof.sequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_leader_counts_only_with_a_fresh_message_of_ours_in_its_stream() {
        let sent = Instant::now();
        let proof = Proof { sequence: 7, sent };
        assert!(proof.holds(7, sent));
        assert!(proof.holds(9, sent + PROOF_LASTS / 2));
        assert!(!proof.holds(6, sent), "it stood still since before");
        assert!(!proof.holds(9, sent + PROOF_LASTS), "another may lead");
    }
}
