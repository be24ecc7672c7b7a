//! A message from a client that is being answered: when it was read, and its span if it is sampled.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heliograph_protocol::{Prefix, Refusal, Timestamp, TraceContext};
use heliograph_telemetry::trace::{self, Span, SpanKind, Value};

/// When something was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// For durations.
    pub(crate) at: Instant,
    /// By the wall clock, in microseconds since 1970.
    pub(crate) unix_micros: u64,
}

impl Received {
    /// The second of the wall clock.
    pub(crate) fn now(self) -> Timestamp {
        Timestamp::from_secs(self.unix_micros / 1_000_000)
    }

    /// Time since then.
    pub(crate) fn seconds(self) -> f64 {
        self.at.elapsed().as_secs_f64()
    }
}

/// A moment of the wall clock.
pub(crate) fn wall_clock(unix_micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(unix_micros)
}

/// A message until its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    verb: &'static str,
    /// What a span says of the message, sampled or not.
    about: (&'static str, u32),
    pub(crate) received: Received,
    span: Option<Span>,
}

impl Asked {
    /// Begins with a span if this message is one of the share that is sampled. `about` is a number that
    /// tells such messages apart.
    pub(crate) fn begin(
        verb: &'static str,
        about: (&'static str, u32),
        received: Received,
    ) -> Self {
        let mut asked = Self {
            verb,
            about,
            received,
            span: None,
        };
        asked.span = trace::sample().map(|root| asked.span_in(root));
        asked
    }

    fn span_in(&self, root: TraceContext) -> Span {
        let start = wall_clock(self.received.unix_micros);
        let mut span = Span::begin_at(self.verb, SpanKind::Server, root, start);
        span.set(self.about.0, self.about.1);
        span
    }

    /// What causes the work for the answer, if it is sampled.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.span.as_ref().map(Span::context)
    }

    /// Begins a part of the work, if it is sampled.
    pub(crate) fn part(&self, name: &'static str, kind: SpanKind) -> Option<Span> {
        Some(Span::begin(name, kind, self.trace()?))
    }

    /// Notes a value, made only if it is sampled.
    pub(crate) fn set<V: Into<Value>>(&mut self, key: &'static str, value: impl FnOnce() -> V) {
        if let Some(span) = &mut self.span {
            span.set(key, value());
        }
    }

    /// Ends with a word for what became of it.
    pub(crate) fn end(&mut self, result: &'static str) {
        if let Some(mut span) = self.span.take() {
            span.set("result", result);
        }
    }

    /// Ends with a refusal. What is our fault is seen even if it wasn't sampled.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        let is_error = refusal.prefix == Prefix::Error;
        if is_error && self.span.is_none() {
            self.span = trace::always().map(|root| self.span_in(root));
        }
        if let Some(span) = &mut self.span
            && is_error
        {
            span.fail(refusal.message.clone());
        }
        self.end(refusal.prefix.as_str());
    }
}
