//! What a canary does, and when: publishes, subscribes, looks for what was acknowledged, judges.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use heliograph_lifecycle::Tasks;
use heliograph_protocol::{Event, Kind, Timestamp, encode_hex};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use crate::{
    Metrics, Timing,
    audit::{Audit, IDS_MAX},
    book::Book,
    line::Line,
    link::{LIVE, Link, Place, Report, What, Wiring},
    message::Message,
    signer::Signer,
    socket::CONNECT_TIMEOUT,
};

/// How often deadlines are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Reports that wait for the engine; past it sockets aren't read.
const REPORTS_MAX: usize = 1_024;

/// A process that stood still for so long, or for half of the deadline, has seen nothing meanwhile
/// and blames nobody.
const STALL_MAX: Duration = Duration::from_secs(1);

/// What it is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To watch a relay for good: believes at once that a probe is lost, and blames nobody while it
    /// stands still itself.
    Watch,
    /// For a handful of probes that are read again at once, when they may not be stored yet.
    Once,
}

/// A running canary. Its connections end when it is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) book: Book,
    mode: Mode,
    publisher: Line,
    readers: Vec<Line>,
    audits: Vec<Audit>,
    reports: mpsc::Receiver<Report>,
    timing: watch::Receiver<Timing>,
    metrics: Arc<Metrics>,
    signer: Signer,
    kind: Kind,
    /// What the contents of this process's probes begin with.
    name: String,
    published: u64,
    tried: Arc<AtomicBool>,
    started: Instant,
    looked: Instant,
}

impl Engine {
    /// Starts to connect. Publishing begins once every connection was tried.
    pub(crate) fn start(
        wiring: &Wiring,
        timing: watch::Receiver<Timing>,
        metrics: Arc<Metrics>,
        tried: Arc<AtomicBool>,
        mode: Mode,
        tasks: &Tasks,
    ) -> Self {
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let line = |place, url: &str| {
            let link = Link::start(place, wiring, timing.clone(), sender.clone(), tasks);
            Line::new(place, url, link)
        };
        let publisher = line(Place::Publisher, wiring.publish.as_str());
        let readers = wiring.read.iter().enumerate();
        let readers: Vec<Line> = readers
            .map(|(via, target)| line(Place::Reader(via), target.as_str()))
            .collect();
        let now = Instant::now();
        let loss_patience = match mode {
            Mode::Watch => Duration::ZERO,
            Mode::Once => timing.borrow().deadline,
        };
        Self {
            book: Book::new(Arc::clone(&metrics), loss_patience),
            mode,
            publisher,
            audits: readers.iter().map(|_| Audit::new(now)).collect(),
            readers,
            reports,
            timing,
            metrics,
            signer: wiring.signer.clone(),
            kind: wiring.kind,
            name: name(),
            published: 0,
            tried,
            started: now,
            looked: now,
        }
    }

    /// Works until `stop`.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut looks = ticks(LOOK);
        let mut publishing = ticks(self.timing().interval);
        loop {
            // Stopping first, then what has its time; reports wait for a moment at most.
            tokio::select! {
                biased;
                () = &mut stop => return,
                _at = looks.tick() => self.look(),
                _at = publishing.tick(), if self.has_started() => self.publish(),
                Ok(()) = self.timing.changed() => {
                    publishing = ticks(self.timing().interval);
                }
                Some(report) = self.reports.recv() => self.take(report),
            }
        }
    }

    /// Publishes so many probes and works until nothing is left to wait for, or `patience` is over.
    pub(crate) async fn run_once(&mut self, probes: u64, patience: Duration) {
        let mut looks = ticks(LOOK);
        let mut publishing = ticks(self.timing().interval);
        let end = Instant::now() + patience;
        loop {
            let is_done = self.published == probes && self.book.is_settled();
            if is_done || Instant::now() >= end {
                return;
            }
            // As above.
            tokio::select! {
                biased;
                _at = looks.tick() => self.look(),
                _at = publishing.tick(), if self.has_started() && self.published < probes => {
                    self.publish();
                }
                Some(report) = self.reports.recv() => self.take(report),
            }
        }
    }

    /// Why the publishing connection is down.
    pub(crate) fn publisher_trouble(&self) -> Option<&str> {
        self.publisher.trouble.as_deref()
    }

    /// Why a reader is.
    pub(crate) fn reader_trouble(&self, via: usize) -> Option<&str> {
        self.readers[via].trouble.as_deref()
    }

    fn timing(&self) -> Timing {
        *self.timing.borrow()
    }

    fn has_started(&self) -> bool {
        self.tried.load(Ordering::Acquire)
    }

    fn publish(&mut self) {
        let now = Instant::now();
        let timing = self.timing();
        let event = self.probe(Timestamp::now(), timing.expiration);
        self.published += 1;
        self.book.add(event.clone(), now, timing.expiration);
        if self.publisher.is_ready {
            self.send(&event, now);
        }
    }

    fn send(&mut self, event: &Event, now: Instant) {
        self.book.sent(event.id(), now);
        let text = format!(r#"["EVENT",{}]"#, event.as_str());
        self.publisher.link.send(text);
    }

    fn probe(&self, now: Timestamp, life: Duration) -> Event {
        let expires = now.plus(life.as_secs()).to_string();
        let content = format!("{} {}", self.name, self.published);
        let tags = [vec!["expiration", expires.as_str()]];
        self.signer.sign(now, self.kind, &tags, &content)
    }

    /// Looks at everything that depends on the time, after everything that is there was taken.
    fn look(&mut self) {
        for _report in 0..REPORTS_MAX {
            match self.reports.try_recv() {
                Ok(report) => self.take(report),
                Err(_empty) => break,
            }
        }
        let (now, timing) = (Instant::now(), self.timing());
        let stood = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        let stalled = stood > LOOK + STALL_MAX.min(timing.deadline / 2);
        if stalled && self.mode == Mode::Watch {
            let seconds = stood.as_secs_f64();
            heliograph_telemetry::warn_every!(
                60,
                seconds,
                "the canary stood still: probes on their way aren't judged"
            );
            self.book.excuse();
        }
        self.book.judge(now, &timing);
        self.ask(now, &timing);
        self.note_tried(now, &timing);
    }

    fn note_tried(&self, now: Instant, timing: &Timing) {
        let mut lines = std::iter::once(&self.publisher).chain(&self.readers);
        let is_late = now >= self.started + CONNECT_TIMEOUT + timing.deadline;
        if is_late || lines.all(|line| line.is_tried) {
            self.tried.store(true, Ordering::Release);
        }
    }

    fn take(&mut self, report: Report) {
        let Report { from, at, what } = report;
        match (from, what) {
            (from, What::Down(why)) => self.down(from, why),
            (Place::Publisher, What::Ready) => {
                self.publisher.up();
                for event in self.book.unanswered() {
                    self.send(&event, at);
                }
            }
            (Place::Publisher, What::Said(Message::Ok(id, accepted, text))) => {
                self.book.answered(&id, accepted, &text, at);
            }
            (Place::Reader(via), What::Ready) => self.subscribe(via),
            (Place::Reader(via), What::Said(message)) => self.heard(via, message, at),
            (Place::Publisher, What::Said(_)) => {}
        }
    }

    fn down(&mut self, from: Place, why: String) {
        match from {
            Place::Publisher => self.publisher.down(why),
            Place::Reader(via) => {
                self.metrics.connected[via].set(0);
                self.audits[via].put_off(Instant::now());
                self.readers[via].down(why);
            }
        }
    }

    /// Opens the subscription of a reader, with what it may have missed.
    fn subscribe(&mut self, via: usize) {
        let since = self.book.since(via, Timestamp::now()).as_secs();
        let filter = json!({
            "authors": [self.signer.public().to_hex()],
            "kinds": [self.kind.as_u16()],
            "since": since,
        });
        let line = &mut self.readers[via];
        line.is_ready = true;
        line.link.send(json!(["REQ", LIVE, filter]).to_string());
    }

    fn heard(&mut self, via: usize, message: Message, at: Instant) {
        let deadline = self.timing().deadline;
        match message {
            Message::Event(sub, event) if sub == LIVE => {
                self.book.received(via, &event, at, deadline);
            }
            Message::Event(sub, event) => {
                if self.audits[via].is_about(&sub) && self.book.holds(&event) {
                    self.audits[via].find(*event.id());
                }
            }
            Message::Eose(sub) if sub == LIVE => {
                self.metrics.connected[via].set(1);
                self.audits[via].resume(at);
                self.readers[via].up();
            }
            Message::Eose(sub) if self.audits[via].is_about(&sub) => self.found(via, at),
            Message::Closed(sub, why) if self.audits[via].is_about(&sub) => {
                tracing::debug!(via, why, "a read by id was refused");
                self.audits[via].put_off(at);
            }
            Message::Eose(_) | Message::Closed(..) => {}
            Message::Ok(..) | Message::Auth(_) | Message::Other => {}
        }
    }

    /// A reader was sent all there is of what it asked for.
    fn found(&mut self, via: usize, now: Instant) {
        let after = self.timing().audit_after;
        if let Some(question) = self.audits[via].end(now) {
            let (asked, found) = (&question.asked, &question.found);
            self.book.audited(via, asked, found, now, after);
        }
        let close = self.audits[via].close();
        self.readers[via].link.send(close);
    }

    /// Has readers look for what is due, and gives up questions that aren't answered.
    fn ask(&mut self, now: Instant, timing: &Timing) {
        for (via, audit) in self.audits.iter_mut().enumerate() {
            let line = &self.readers[via];
            if let Some(close) = audit.give_up(now, timing.deadline) {
                line.link.send(close);
            }
            if !line.is_ready || !audit.is_free(now) {
                continue;
            }
            let due = self.book.due(via, now, timing.audit_after, IDS_MAX);
            if !due.is_empty() {
                line.link.send(audit.ask(due, now));
            }
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What tells the probes of this process from those of others.
fn name() -> String {
    let mut random = [0; 8];
    // Without random numbers the time of each probe does nearly as well.
    getrandom::fill(&mut random).unwrap_or_default();
    let mut hex = Vec::new();
    encode_hex(&random, &mut hex);
    let hex: String = hex.into_iter().map(char::from).collect();
    format!("canary {hex}")
}
