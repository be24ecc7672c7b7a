//! What happens to a message after the last of its events was answered: receipts, then
//! acknowledgements; or back to the server, or to the dead letters.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::AckKind;
use bytes::Bytes;
use heliograph_bus::BusError;
use heliograph_lifecycle::Failpoint;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::work::{Work, Workshop};
use crate::{
    codec::{self, Answer, Batch},
    dead_letters::{self, Letter},
    metrics::DeadReason,
};

/// Messages settled together: one flush for all their receipts.
const TOGETHER_MAX: usize = 256;

/// Time for receipts to reach the socket. Else the messages are delivered again.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Progress is reported for so many waits; a worker that takes longer has lost its message.
const PROGRESS_WAITS_MAX: u32 = 40;

/// Doublings after which a delay has reached any sensible maximum.
const DOUBLINGS_MAX: u32 = 24;

/// Settles until the workers are gone and nothing is left.
pub(super) async fn run(workshop: Arc<Workshop>, mut settling: mpsc::Receiver<Arc<Work>>) {
    let mut together = Vec::new();
    loop {
        // First what waits: it has to be settled even after the end of fetching.
        let count = tokio::select! {
            biased;
            count = settling.recv_many(&mut together, TOGETHER_MAX) => count,
            () = workshop.over() => 0,
        };
        if count == 0 {
            return;
        }
        settle(&workshop, &mut together).await;
    }
}

async fn settle(workshop: &Workshop, together: &mut Vec<Arc<Work>>) {
    Failpoint::Unanswered.reached();
    let mut verdicts = Vec::new();
    for work in together.drain(..) {
        let verdict = Verdict::of(&work, workshop.core.options.deliveries_max);
        send_receipts(workshop, &work, &verdict.stored).await;
        Failpoint::ReceiptHanded.reached();
        verdicts.push((work, verdict));
    }
    let flush = timeout(FLUSH_PATIENCE, workshop.core.client.flush()).await;
    let flushed = matches!(flush, Ok(Ok(())));
    Failpoint::ReceiptsSent.reached();
    let (letters, others): (Vec<_>, Vec<_>) = verdicts
        .into_iter()
        .partition(|(_, verdict)| matches!(verdict.end, End::Dead(_)));
    for (work, verdict) in others {
        if flushed {
            acknowledge(workshop, &work, verdict.end.kind(&work, workshop)).await;
            Failpoint::Acknowledged.reached();
        }
        work.forget();
    }
    for (work, verdict) in letters {
        bury(workshop, &work, verdict).await;
        work.forget();
    }
}

/// What is to be done with a message.
struct Verdict {
    /// Receipts for what was stored.
    stored: Vec<Answer>,
    /// What was not, and why.
    failed: Vec<(usize, String)>,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    /// All is stored.
    Done,
    /// Something isn't: another attempt, later.
    Again,
    /// No further attempt.
    Dead(DeadReason),
}

impl Verdict {
    fn of(work: &Work, deliveries_max: u32) -> Self {
        let Ok(batch) = &work.batch else {
            return Self {
                stored: Vec::new(),
                failed: Vec::new(),
                end: End::Dead(DeadReason::Unreadable),
            };
        };
        let (mut stored, mut failed) = (Vec::new(), Vec::new());
        for (index, answer) in work.answers().into_iter().enumerate() {
            match answer {
                Some(Ok(receipt)) => stored.push((*batch.events[index].id(), Ok(receipt))),
                Some(Err(error)) => failed.push((index, error.to_string())),
                None => failed.push((index, "its workers ended without an answer".to_owned())),
            }
        }
        let end = if failed.is_empty() {
            End::Done
        } else if work.is_hopeless() {
            End::Dead(DeadReason::Unanswered)
        } else if work.delivered() >= deliveries_max {
            End::Dead(DeadReason::Refused)
        } else {
            End::Again
        };
        Self {
            stored,
            failed,
            end,
        }
    }
}

impl End {
    fn kind(self, work: &Work, workshop: &Workshop) -> AckKind {
        match self {
            Self::Done => AckKind::Ack,
            Self::Dead(_) => AckKind::Term,
            Self::Again => {
                workshop.core.metrics.ingest_retries.inc();
                AckKind::Nak(Some(delay(workshop, work.delivered())))
            }
        }
    }
}

/// The wait before the next delivery; doubles with each.
fn delay(workshop: &Workshop, delivered: u32) -> Duration {
    let options = &workshop.core.options;
    let doublings = delivered.saturating_sub(1).min(DOUBLINGS_MAX);
    options
        .retry_delay
        .saturating_mul(1 << doublings)
        .min(options.retry_delay_max)
}

async fn send_receipts(workshop: &Workshop, work: &Work, answers: &[Answer]) {
    let Ok(batch) = &work.batch else {
        return;
    };
    if answers.is_empty() {
        return;
    }
    let subject = workshop.core.names.receipts_subject(&batch.gateway);
    let payload = codec::write_receipts(batch.number, answers);
    let sent = workshop.core.client.publish(subject, payload).await;
    if let Err(error) = sent {
        // Its publishers time out; the event is stored all the same.
        tracing::debug!(%error, "failed to send receipts");
    }
}

async fn acknowledge(workshop: &Workshop, work: &Work, kind: AckKind) {
    let reply = work.origin.reply.clone();
    let sent = workshop.core.client.publish(reply, kind.into()).await;
    if let Err(error) = sent {
        tracing::debug!(%error, "failed to acknowledge; the message is delivered again");
    }
}

/// Writes the dead letter, tells the publishers, ends the message. If the letter can't be written
/// the message stays.
async fn bury(workshop: &Workshop, work: &Work, verdict: Verdict) {
    let End::Dead(reason) = verdict.end else {
        return;
    };
    let letter = letter(work, &verdict);
    tracing::error!(
        ?reason,
        cause = letter.reason,
        deliveries = letter.deliveries,
        sequence = work.origin.sequence,
        "a message became a dead letter"
    );
    if let Err(error) = dead_letters::write(&workshop.core, &letter).await {
        tracing::error!(%error, "failed to write a dead letter; the message stays");
        let later = AckKind::Nak(Some(workshop.core.options.retry_delay_max));
        return acknowledge(workshop, work, later).await;
    }
    workshop.core.metrics.dead(reason).inc();
    if let Ok(batch) = &work.batch {
        let refused = |(index, reason): (usize, String)| {
            (*batch.events[index].id(), Err(BusError::Store(reason)))
        };
        let refusals: Vec<Answer> = verdict.failed.into_iter().map(refused).collect();
        send_receipts(workshop, work, &refusals).await;
    }
    acknowledge(workshop, work, AckKind::Term).await;
}

/// The part of a message that isn't stored.
fn letter(work: &Work, verdict: &Verdict) -> Letter {
    let (payload, reason) = match &work.batch {
        Err(error) => (work.origin.payload.clone(), error.to_string()),
        Ok(batch) => (remainder(batch, verdict), first_reason(verdict)),
    };
    Letter {
        payload,
        reason,
        deliveries: work.delivered(),
        published: work.origin.published,
        subject: work.origin.subject.clone(),
        sequence: work.origin.sequence,
    }
}

fn remainder(batch: &Batch, verdict: &Verdict) -> Bytes {
    let failed = verdict.failed.iter();
    codec::write_batch(&Batch {
        events: failed
            .map(|(index, _)| Arc::clone(&batch.events[*index]))
            .collect(),
        ..batch.clone()
    })
}

fn first_reason(verdict: &Verdict) -> String {
    let first = verdict.failed.first();
    first.map_or_else(String::new, |(_, reason)| reason.clone())
}

/// Says every third of the wait that the messages here are being worked on.
pub(super) async fn report_progress(workshop: Arc<Workshop>) {
    let wait = workshop.core.options.ack_wait;
    let mut ticks = interval((wait / 3).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        // The end first: nobody needs a further report.
        tokio::select! {
            biased;
            () = workshop.over() => return,
            now = ticks.tick() => report(&workshop, now).await,
        }
    }
}

async fn report(workshop: &Workshop, now: Instant) {
    let wait = workshop.core.options.ack_wait;
    for working in workshop.working() {
        let age = now.saturating_duration_since(working.since);
        if age < wait / 4 || age > wait * PROGRESS_WAITS_MAX {
            continue;
        }
        let progress = AckKind::Progress.into();
        if let Err(error) = workshop.core.client.publish(working.reply, progress).await {
            tracing::debug!(%error, "failed to report progress");
        }
    }
}
