//! A piece of work: what it is called, what caused it, from when to when.

use std::{sync::Arc, time::SystemTime};

use heliograph_protocol::TraceContext;

use super::{TRACER, Tracer, random};
use crate::wall_clock;

/// Values that a span notes; further ones are counted only.
const VALUES_MAX: usize = 16;

/// Bytes of a text that a span notes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 256;

/// Whose work a span is (OpenTelemetry's span kind).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Answers a client.
    Server,
    /// Asks another role.
    Client,
    /// Hands something to the bus.
    Producer,
    /// Takes something from the bus.
    Consumer,
    /// Within a role.
    Internal,
}

/// What a span may note.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A word from a closed set, or a text of bounded length.
    Text(String),
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
}

/// A piece of work of a sampled trace; ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    context: TraceContext,
    /// Nothing where exporting is off.
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    tracer: Arc<Tracer>,
    record: Record,
}

/// What is known of a span.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) context: TraceContext,
    /// All zero at the root of a trace.
    pub(super) parent: [u8; 8],
    pub(super) name: &'static str,
    pub(super) kind: SpanKind,
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    pub(super) values: Vec<(&'static str, Value)>,
    pub(super) values_dropped: u32,
    pub(super) failure: Option<String>,
}

impl Span {
    /// Begins now, caused by `parent`.
    #[must_use]
    pub fn begin(name: &'static str, kind: SpanKind, parent: TraceContext) -> Self {
        Self::begin_at(name, kind, parent, wall_clock())
    }

    /// Began at `start`, caused by `parent`.
    #[must_use]
    pub fn begin_at(
        name: &'static str,
        kind: SpanKind,
        parent: TraceContext,
        start: SystemTime,
    ) -> Self {
        let off = Self {
            context: parent,
            open: None,
        };
        let (Some(tracer), Some(span_id)) = (TRACER.load_full(), random::name()) else {
            return off;
        };
        let context = TraceContext {
            trace_id: parent.trace_id,
            span_id,
        };
        let record = Record {
            context,
            parent: parent.span_id,
            name,
            kind,
            start,
            end: start,
            values: Vec::new(),
            values_dropped: 0,
            failure: None,
        };
        let open = Some(Box::new(Open { tracer, record }));
        Self { context, open }
    }

    /// What this span causes has this as its parent.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Notes a value: up to 16, texts up to 256 bytes.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let Some(open) = &mut self.open else { return };
        let record = &mut open.record;
        if record.values.len() == VALUES_MAX {
            record.values_dropped += 1;
            return;
        }
        let value = match value.into() {
            Value::Text(text) => Value::Text(cut(text)),
            other => other,
        };
        record.values.push((key, value));
    }

    /// Marks the work as failed.
    pub fn fail(&mut self, why: impl Into<String>) {
        if let Some(open) = &mut self.open {
            open.record.failure = Some(cut(why.into()));
        }
    }

    /// Ends at `end` instead of when it is dropped.
    pub fn end_at(mut self, end: SystemTime) {
        self.finish(end);
    }

    fn finish(&mut self, end: SystemTime) {
        if let Some(open) = self.open.take() {
            let Open { tracer, mut record } = *open;
            // A clock that was set back makes no negative time.
            record.end = end.max(record.start);
            tracer.ended(record);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.open.is_some() {
            self.finish(wall_clock());
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_exporting_is_off_a_span_hands_its_cause_on() {
        let parent = TraceContext {
            trace_id: [1; 16],
            span_id: [2; 8],
        };
        let mut span = Span::begin("EVENT", SpanKind::Server, parent);
        span.set("kind", 1_u32);
        span.fail("no");
        assert_eq!(span.context(), parent);
        assert!(span.open.is_none());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("short".to_owned()), "short");
        assert_eq!(cut("ä".repeat(200)).len(), TEXT_BYTES_MAX);
        assert_eq!(
            cut(format!("a{}", "ä".repeat(200))).len(),
            TEXT_BYTES_MAX - 1
        );
    }
}
