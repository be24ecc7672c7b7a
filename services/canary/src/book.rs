//! What became of every probe: published, delivered, found again.
//!
//! No IO and no clock; every call says when it happens. What always holds: a reader is blamed for
//! probes alone that were acknowledged, once for each; an acknowledged probe stays here until every
//! reader has looked for it or it is about to expire.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use heliograph_protocol::{Event, EventId, Timestamp};
use heliograph_telemetry::RateLimit;
use tokio::time::Instant;

use crate::{Metrics, Timing, run::Run};

/// Probes remembered at most, of which almost all wait to be read again; past it the oldest is
/// skipped. An hour at ten a second.
const PROBES_MAX: usize = 36_000;

/// How long after its time an OK may still come for the probe to be read again.
const OK_LATE_MAX: Duration = Duration::from_secs(60);

/// Probes are no longer looked for in the last part of their life, since clocks differ: this part
/// of it, and no more than [`EXPIRY_MARGIN_MAX`].
const EXPIRY_MARGIN_PART: u32 = 10;
const EXPIRY_MARGIN_MAX: Duration = Duration::from_secs(30);

/// How far back a new subscription looks beyond what it needs, for a clock that is set back.
const SINCE_MARGIN_SECS: u64 = 60;

/// Losses that are logged: one in so many seconds.
const LOSS_LOG_SECS: u64 = 10;

/// A set of readers, one bit each.
type Readers = u16;

/// One probe.
#[derive(Debug)]
struct Probe {
    event: Event,
    /// When it should have been sent.
    made: Instant,
    /// When it was, the first time.
    sent: Option<Instant>,
    answer: Answer,
    /// Those that it hasn't come to and that weren't blamed for it.
    awaited: Readers,
    /// Those that haven't read it again.
    unread: Readers,
    is_lost: bool,
    /// When it is no longer looked for.
    forgotten: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    /// Counted as failed; an acknowledgement may still come.
    Overdue,
    Accepted(Instant),
}

/// All probes that something is still to become of.
#[derive(Debug)]
pub(crate) struct Book {
    probes: BTreeMap<u64, Probe>,
    numbers: HashMap<EventId, u64>,
    next: u64,
    everyone: Readers,
    /// How long an answer without the probe isn't believed yet.
    loss_patience: Duration,
    metrics: Arc<Metrics>,
    failing: Run,
    missing: Vec<Run>,
    losses: RateLimit,
    /// The longest delivery, and the last reason why a probe wasn't taken.
    pub(crate) slowest: Duration,
    pub(crate) refusal: Option<String>,
}

impl Book {
    /// Empty, for as many readers as `metrics`. An answer without a probe means that it is lost
    /// `loss_patience` after it was due; before that it is asked for again.
    pub(crate) fn new(metrics: Arc<Metrics>, loss_patience: Duration) -> Self {
        let readers = metrics.missing.len();
        Self {
            probes: BTreeMap::new(),
            numbers: HashMap::new(),
            next: 0,
            everyone: (0..readers).fold(0, |all, reader| all | bit(reader)),
            loss_patience,
            metrics,
            failing: Run::default(),
            missing: (0..readers).map(|_| Run::default()).collect(),
            losses: RateLimit::every(LOSS_LOG_SECS),
            slowest: Duration::ZERO,
            refusal: None,
        }
    }

    /// Whether nothing is left to wait for but late answers.
    pub(crate) fn is_settled(&self) -> bool {
        let mut left = self.probes.values();
        left.all(|probe| probe.answer == Answer::Overdue)
    }

    /// A probe is to be published.
    pub(crate) fn add(&mut self, event: Event, now: Instant, life: Duration) {
        if self.probes.len() >= PROBES_MAX
            && let Some((_, oldest)) = self.probes.pop_first()
        {
            self.numbers.remove(oldest.event.id());
            self.skip(&oldest);
        }
        let margin = (life / EXPIRY_MARGIN_PART).min(EXPIRY_MARGIN_MAX);
        self.numbers.insert(*event.id(), self.next);
        let probe = Probe {
            event,
            made: now,
            sent: None,
            answer: Answer::Awaited,
            awaited: self.everyone,
            unread: self.everyone,
            is_lost: false,
            forgotten: now + life.saturating_sub(margin),
        };
        self.probes.insert(self.next, probe);
        self.next += 1;
    }

    /// Probes without an answer, which a new connection has to be sent.
    pub(crate) fn unanswered(&self) -> Vec<Event> {
        let awaited = self.probes.values();
        let awaited = awaited.filter(|probe| probe.answer == Answer::Awaited);
        awaited.map(|probe| probe.event.clone()).collect()
    }

    /// A probe is handed to the socket.
    pub(crate) fn sent(&mut self, id: &EventId, now: Instant) {
        if let Some(probe) = self.probe(id) {
            probe.sent.get_or_insert(now);
        }
    }

    /// OK came.
    pub(crate) fn answered(&mut self, id: &EventId, accepted: bool, text: &str, now: Instant) {
        let Some(probe) = self.probe(id) else {
            return;
        };
        let before = probe.answer;
        let took = now.saturating_duration_since(probe.sent.unwrap_or(now));
        match (accepted, before) {
            (_, Answer::Accepted(_)) => return,
            (true, _) => probe.answer = Answer::Accepted(now),
            (false, _) => self.remove(id),
        }
        if before == Answer::Overdue {
            return tracing::debug!(%id, accepted, "a late answer");
        }
        match accepted {
            true => self.accepted(id, took),
            false if text.starts_with("error:") => self.failed(text),
            false => {
                self.metrics.refused.inc();
                self.complain(text);
            }
        }
    }

    fn accepted(&mut self, id: &EventId, took: Duration) {
        self.metrics.accepted.inc();
        self.metrics.publish_seconds.observe(took.as_secs_f64());
        if let Some(failures) = self.failing.end() {
            tracing::info!(failures, "probes are accepted again");
        }
        self.note_success(id);
    }

    fn failed(&mut self, why: &str) {
        self.metrics.failed.inc();
        self.complain(why);
    }

    fn complain(&mut self, why: &str) {
        self.refusal = Some(why.to_owned());
        if self.failing.fail() {
            tracing::warn!(why, "probes are not accepted");
        }
    }

    /// An event came to a reader by its subscription, live or from what was stored.
    pub(crate) fn received(&mut self, via: usize, event: &Event, at: Instant, deadline: Duration) {
        let Some(probe) = self.probe(event.id()).filter(|probe| probe.event == *event) else {
            return;
        };
        let Some(sent) = probe.sent else { return };
        let took = at.saturating_duration_since(sent);
        if took > deadline {
            let seconds = took.as_secs_f64();
            return tracing::debug!(via, id = %event.id(), seconds, "a probe came late");
        }
        if probe.awaited & bit(via) == 0 {
            return;
        }
        probe.awaited &= !bit(via);
        self.slowest = self.slowest.max(took);
        self.metrics.delivery_seconds[via].observe(took.as_secs_f64());
        if let Some(missed) = self.missing[via].end() {
            tracing::info!(via, missed, "probes come again");
        }
        self.note_success(event.id());
    }

    /// Notes the time if this probe is accepted and everywhere.
    fn note_success(&mut self, id: &EventId) {
        let Some(probe) = self.probe(id) else { return };
        if probe.awaited == 0 && matches!(probe.answer, Answer::Accepted(_)) {
            let at = probe.event.created_at().as_secs();
            let at = i64::try_from(at).unwrap_or(i64::MAX);
            self.metrics.last_success.set(at);
        }
    }

    /// Counts what has passed its deadline, and drops what is over.
    pub(crate) fn judge(&mut self, now: Instant, timing: &Timing) {
        let mut late = Vec::new();
        let mut failed = Vec::new();
        for probe in self.probes.values_mut() {
            let since = |start: Instant| now.saturating_duration_since(start);
            match probe.answer {
                Answer::Awaited if since(probe.made) > timing.deadline => {
                    probe.answer = Answer::Overdue;
                    // Nobody has to have what may never have been stored.
                    probe.awaited = 0;
                    failed.push(match probe.sent {
                        Some(_) => "no answer in time",
                        None => "no connection to publish through",
                    });
                }
                Answer::Accepted(_) if since(probe.sent.unwrap_or(now)) > timing.deadline => {
                    late.push(std::mem::take(&mut probe.awaited));
                }
                _ => {}
            }
        }
        for why in failed {
            self.failed(why);
        }
        for readers in late {
            self.blame(readers);
        }
        self.drop_over(now);
    }

    fn blame(&mut self, readers: Readers) {
        for via in (0..self.missing.len()).filter(|via| readers & bit(*via) != 0) {
            self.metrics.missing[via].inc();
            if self.missing[via].fail() {
                tracing::warn!(via, "probes are missing");
            }
        }
    }

    fn drop_over(&mut self, now: Instant) {
        let is_over = |probe: &Probe| match probe.answer {
            Answer::Awaited => false,
            Answer::Overdue => now.saturating_duration_since(probe.made) > OK_LATE_MAX,
            Answer::Accepted(_) => {
                probe.awaited == 0 && (probe.unread == 0 || now >= probe.forgotten)
            }
        };
        let over = self.probes.iter().filter(|(_, probe)| is_over(probe));
        let over: Vec<u64> = over.map(|(number, _)| *number).collect();
        for number in over {
            if let Some(probe) = self.probes.remove(&number) {
                self.numbers.remove(probe.event.id());
                self.skip(&probe);
            }
        }
    }

    /// Counts the readers that haven't looked for a probe that is dropped.
    fn skip(&self, probe: &Probe) {
        if matches!(probe.answer, Answer::Accepted(_)) {
            let skipped = u64::from(probe.unread.count_ones());
            self.metrics.audit_skipped.inc_by(skipped);
        }
    }

    /// This process stood still, so that nobody is to blame for what wasn't seen meanwhile. What was
    /// acknowledged is read again as ever.
    pub(crate) fn excuse(&mut self) {
        for probe in self.probes.values_mut() {
            probe.awaited = 0;
            if probe.answer == Answer::Awaited {
                probe.answer = Answer::Overdue;
            }
        }
    }

    /// From when on a reader that subscribes has to be sent what is stored: a little before the
    /// oldest probe that it waits for, or before now.
    pub(crate) fn since(&self, via: usize, now: Timestamp) -> Timestamp {
        let missed = self.probes.values();
        let missed = missed.filter(|probe| probe.awaited & bit(via) != 0);
        let oldest = missed.map(|probe| probe.event.created_at()).min();
        oldest.unwrap_or(now).min(now).minus(SINCE_MARGIN_SECS)
    }

    /// Probes that this reader has to look for by now, the oldest first, `max` at most.
    pub(crate) fn due(
        &self,
        via: usize,
        now: Instant,
        after: Duration,
        max: usize,
    ) -> Vec<EventId> {
        let is_due = |probe: &&Probe| {
            probe.unread & bit(via) != 0
                && now < probe.forgotten
                && accepted_at(probe).is_some_and(|accepted| now >= accepted + after)
        };
        let due = self.probes.values().filter(is_due);
        due.map(|probe| *probe.event.id()).take(max).collect()
    }

    /// Whether this is a probe, as it was published.
    pub(crate) fn holds(&self, event: &Event) -> bool {
        let number = self.numbers.get(event.id());
        let probe = number.and_then(|number| self.probes.get(number));
        probe.is_some_and(|probe| probe.event == *event)
    }

    /// A reader has looked for `asked`, has found `found`, and was told that this is all.
    pub(crate) fn audited(
        &mut self,
        via: usize,
        asked: &[EventId],
        found: &HashSet<EventId>,
        now: Instant,
        after: Duration,
    ) {
        let patience = after + self.loss_patience;
        for id in asked {
            let Some(probe) = self.probe(id) else {
                continue;
            };
            // Past that it may have expired while the question was under way.
            let is_valid = now < probe.forgotten;
            let is_found = found.contains(id);
            let waits = accepted_at(probe).is_some_and(|accepted| now < accepted + patience);
            if !is_found && (waits || !is_valid) {
                continue;
            }
            probe.unread &= !bit(via);
            let is_first_loss = !is_found && !probe.is_lost;
            probe.is_lost |= !is_found;
            self.metrics.audited.inc();
            if is_first_loss {
                self.metrics.lost.inc();
                if let Some(suppressed) = self.losses.pass() {
                    tracing::error!(via, %id, suppressed, "an acknowledged probe is lost");
                }
            }
        }
        self.drop_over(now);
    }

    fn probe(&mut self, id: &EventId) -> Option<&mut Probe> {
        self.probes.get_mut(self.numbers.get(id)?)
    }

    fn remove(&mut self, id: &EventId) {
        if let Some(number) = self.numbers.remove(id) {
            self.probes.remove(&number);
        }
    }
}

fn accepted_at(probe: &Probe) -> Option<Instant> {
    match probe.answer {
        Answer::Accepted(at) => Some(at),
        Answer::Awaited | Answer::Overdue => None,
    }
}

fn bit(reader: usize) -> Readers {
    1 << reader
}
