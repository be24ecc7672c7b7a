//! A message from a client that is being answered: when it was read, and its span if it is sampled.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heliograph_bus::is_too_dear;
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
    /// Time that it waited for its own client.
    waited: Duration,
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
            waited: Duration::ZERO,
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

    /// Notes time that was spent waiting for the client: for room in its socket, for answers to other
    /// questions of its own.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Time since it was read, without what its client is the cause of.
    pub(crate) fn seconds(&self) -> f64 {
        let since = self.received.at.elapsed();
        since.saturating_sub(self.waited).as_secs_f64()
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
            if !self.waited.is_zero() {
                let waited = u64::try_from(self.waited.as_micros());
                span.set("waited_us", waited.unwrap_or(u64::MAX));
            }
            span.set("result", result);
        }
    }

    /// Ends with a refusal. What is our fault is seen even if it wasn't sampled.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        let is_error = refusal.prefix == Prefix::Error;
        if is_ours(refusal) && self.span.is_none() {
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

/// Whether a refusal is our fault. Questions that are too dear are not: who asks many of them must not use
/// up the traces that are kept for faults.
fn is_ours(refusal: &Refusal) -> bool {
    refusal.prefix == Prefix::Error && !is_too_dear(refusal)
}

#[cfg(test)]
mod tests {
    use heliograph_bus::too_dear;

    use super::*;

    #[test]
    fn faults_are_traced_and_dear_questions_are_not() {
        assert!(is_ours(&Refusal::error("the database is away")));
        assert!(!is_ours(&too_dear("search")));
        assert!(!is_ours(&too_dear("count")));
        assert!(!is_ours(&Refusal::rate_limited("slow down")));
    }

    #[test]
    fn what_the_client_is_waited_for_is_left_out() {
        let read = Instant::now() - Duration::from_secs(100);
        let received = Received {
            at: read,
            unix_micros: 0,
        };
        let mut asked = Asked::begin("REQ", ("filters", 1), received);
        assert!((100.0..150.0).contains(&asked.seconds()));
        asked.waited(Duration::from_secs(50));
        asked.waited(Duration::from_secs(30));
        assert!((20.0..70.0).contains(&asked.seconds()));
        asked.waited(Duration::from_secs(9_000));
        assert_eq!(asked.seconds(), 0.0);
    }
}
