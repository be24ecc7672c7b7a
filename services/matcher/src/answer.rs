//! The stored part of a REQ: the union of its filters, each event once, sorted as a whole
//! (R01-52, R01-53), each filter with a limit of its own (R01-55).

use std::sync::Arc;

use hashbrown::HashSet;
use heliograph_bus::{
    AnswerEnd, AnswerPage, BoxFuture, BusError, CommitNumber, Eose, Pages, too_dear,
};
use heliograph_lifecycle::Failpoint;
use heliograph_policy::{Reader, Visibility};
use heliograph_protocol::{EoseHint, Event, EventId, Refusal, Timestamp};
use heliograph_store::{Scan, StoreError};
use heliograph_telemetry::trace::{Span, SpanKind, TraceContext, Value, always, log_id};

use crate::{
    Metrics,
    stream::{Cut, Stream},
};

/// Events handed to the gateway at once.
const PAGE_EVENTS: usize = 100;

/// Bytes of events after which a page ends, so that a slow client holds little of large ones.
const PAGE_BYTES: usize = 1 << 20;

/// What an answer needs of the matcher at its end.
pub(crate) trait Settle: Send {
    /// Waits until every event that the answer may hold has also been delivered live, so that the
    /// gateway, which still holds live events back, can drop the repetition.
    fn settle(&self, archive: bool) -> BoxFuture<'_, Result<Settled, Refusal>>;

    /// Ends the subscription: its stored part could not be finished.
    fn abandon(&self);
}

/// Where the live part of a subscription begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    /// Everything up to here was delivered live.
    pub(crate) applied: CommitNumber,
    /// Whether that includes all that the archive can have shown.
    pub(crate) known_horizon: bool,
}

/// A running stored answer.
pub(crate) struct Answer<S> {
    streams: Vec<Stream<S>>,
    seen: HashSet<EventId>,
    reader: Arc<Reader>,
    visibility: Visibility,
    now: Timestamp,
    oldest: Option<Timestamp>,
    returned: u64,
    /// What was sent and may still be announced.
    fresh: Vec<EventId>,
    /// What came live before the first look and was beaten by then.
    gone: Vec<EventId>,
    end: Box<dyn Settle>,
    metrics: Arc<Metrics>,
    /// Of a sampled question, until the answer ends.
    span: Option<Span>,
}

impl<S: Scan> Answer<S> {
    pub(crate) fn new(
        streams: Vec<Stream<S>>,
        reader: Arc<Reader>,
        visibility: Visibility,
        now: Timestamp,
        end: Box<dyn Settle>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            streams,
            seen: HashSet::new(),
            reader,
            visibility,
            now,
            oldest: None,
            returned: 0,
            fresh: Vec::new(),
            gone: Vec::new(),
            end,
            metrics,
            span: None,
        }
    }

    /// Belongs to a sampled question.
    pub(crate) fn traced(mut self, span: Option<Span>) -> Self {
        if let Some(span) = &span {
            for stream in &mut self.streams {
                stream.trace(span.context());
            }
        }
        Self { span, ..self }
    }

    /// An answer that fails is always seen: in this trace, if there may be one.
    fn fail(&mut self, why: &str) -> Option<TraceContext> {
        let seen = || always().map(|trace| Span::begin("answer", SpanKind::Server, trace));
        let mut span = self.span.take().or_else(seen)?;
        span.fail(why);
        Some(span.context())
    }

    /// Names live events that the gateway is to drop.
    pub(crate) fn without(self, gone: Vec<EventId>) -> Self {
        Self { gone, ..self }
    }

    async fn page(&mut self) -> AnswerPage {
        let mut page = AnswerPage::default();
        let mut bytes = 0;
        while page.events.len() < PAGE_EVENTS && bytes < PAGE_BYTES {
            match self.next().await {
                Ok(Some(event)) => {
                    bytes += event.json().len();
                    page.events.push(event);
                }
                Ok(None) => {
                    page.end = Some(self.finish().await);
                    break;
                }
                Err(error) => {
                    self.metrics.answers_failed.inc();
                    let trace_id = log_id(self.fail(&error.to_string()));
                    tracing::warn!(%error, trace_id, "failed to read a stored answer");
                    page.end = Some(AnswerEnd::Closed(Refusal::error(error.to_string())));
                    self.end.abandon();
                    break;
                }
            }
        }
        page
    }

    /// The next event of the union; `None` when every filter's part is over, or when one of them
    /// went over budget, since what follows could miss its matches.
    async fn next(&mut self) -> Result<Option<Arc<Event>>, StoreError> {
        loop {
            let mut first: Option<(usize, _)> = None;
            for (index, stream) in self.streams.iter_mut().enumerate() {
                if let Some(event) = stream.peek(&self.reader, &self.visibility).await? {
                    let position = event.position();
                    if first.as_ref().is_none_or(|(_, other)| position < *other) {
                        first = Some((index, position));
                    }
                } else if stream.cut() == Some(Cut::Budget) {
                    return Ok(None);
                }
            }
            let Some((index, _)) = first else {
                return Ok(None);
            };
            let stream = &mut self.streams[index];
            let Some(event) = stream.take() else {
                return Ok(None);
            };
            let fresh = stream.is_fresh(event.id());
            if self.streams.len() == 1 || self.seen.insert(*event.id()) {
                self.oldest = Some(event.created_at());
                self.returned += 1;
                self.fresh.extend(fresh.then_some(*event.id()));
                return Ok(Some(event));
            }
        }
    }

    async fn finish(&mut self) -> AnswerEnd {
        self.observe();
        if self
            .streams
            .iter()
            .any(|stream| stream.cut() == Some(Cut::Budget))
        {
            self.metrics.answers_over_budget.inc();
            self.end.abandon();
            return AnswerEnd::Closed(too_dear("search"));
        }
        let archive = self.streams.iter().any(|stream| stream.cost.archive);
        let settled = match self.end.settle(archive).await {
            Ok(settled) => settled,
            Err(refusal) => {
                self.end.abandon();
                return AnswerEnd::Closed(refusal);
            }
        };
        let any = |cut| self.streams.iter().any(|stream| stream.cut() == Some(cut));
        // What one filter had to leave out may have been sent for another.
        let more = |stream: &Stream<S>| {
            stream.cut() == Some(Cut::ByRelay)
                && stream
                    .left_out()
                    .is_some_and(|event| !self.seen.contains(event.id()))
        };
        let hint = if self.streams.iter().any(more) {
            EoseHint::More
        } else if any(Cut::ByClient) || any(Cut::ByRelay) {
            EoseHint::None
        } else {
            EoseHint::Finish
        };
        let mut fresh = std::mem::take(&mut self.fresh);
        if settled.known_horizon {
            fresh.clear();
        }
        AnswerEnd::Eose(Eose {
            hint,
            applied: settled.applied,
            fresh,
            gone: std::mem::take(&mut self.gone),
            archive,
        })
    }

    fn observe(&mut self) {
        let rows = self.streams.iter().map(|stream| stream.cost.rows).sum();
        self.metrics.rows_scanned.observe(number(rows));
        self.metrics.rows_returned.observe(number(self.returned));
        if let Some(span) = &mut self.span {
            span.set("rows_scanned", Value::Int(signed(rows)));
            span.set("rows_returned", Value::Int(signed(self.returned)));
        }
        self.metrics
            .hidden
            .inc_by(self.streams.iter().map(|stream| stream.hidden).sum());
        if self.streams.iter().any(|stream| stream.cost.archive) {
            self.metrics.answers_archive.inc();
        } else {
            self.metrics.answers_recent.inc();
        }
        if let Some(oldest) = self.oldest {
            let age = self.now.as_secs().saturating_sub(oldest.as_secs());
            self.metrics.oldest_needed_seconds.observe(number(age));
        }
    }
}

fn number(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl<S: Scan> Pages for Answer<S> {
    fn next(&mut self) -> BoxFuture<'_, Result<AnswerPage, BusError>> {
        Box::pin(async move {
            if self.returned > 0 {
                Failpoint::PageGiven.reached();
            }
            Ok(self.page().await)
        })
    }
}
