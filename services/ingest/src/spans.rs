//! Spans of the sampled events of a batch: mostly none.

use std::sync::Arc;

use heliograph_bus::IntakeItem;
use heliograph_protocol::{Event, Origin, TraceContext};
use heliograph_telemetry::trace::{Span, SpanKind, always};

/// One span for each sampled event of a batch, by its place there.
pub(crate) struct Spans(Vec<(usize, Span)>);

impl Spans {
    /// Begins the part of ingest for a batch.
    pub(crate) fn begin(batch: &[impl IntakeItem]) -> Self {
        let items = batch.iter().enumerate();
        let spans = items.filter_map(|(place, item)| {
            let trace = item.event().origin().trace()?;
            Some((place, Span::begin("ingest", SpanKind::Consumer, trace)))
        });
        Self(spans.collect())
    }

    /// A step that all of them take together; it ends when this is dropped.
    pub(crate) fn step(&self, name: &'static str, kind: SpanKind) -> Self {
        let spans = self.0.iter();
        let steps = spans.map(|(place, span)| (*place, Span::begin(name, kind, span.context())));
        Self(steps.collect())
    }

    /// One of the traces, as an example of how long the step took.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.0.first().map(|(_, span)| span.context())
    }

    /// The event at a place, as caused by this step.
    pub(crate) fn caused(&self, place: usize, event: &Arc<Event>) -> Arc<Event> {
        let span = self.0.iter().find(|(other, _)| *other == place);
        span.map_or_else(
            || Arc::clone(event),
            |(_, span)| {
                let received = event.origin().received_micros().unwrap_or_default();
                let origin = Origin::new(received, Some(span.context()));
                Arc::new(Event::clone(event).with_origin(origin))
            },
        )
    }

    /// Ends with an error, which is always seen: in this trace, if there may be one.
    pub(crate) fn fail(mut self, why: &str) -> Option<TraceContext> {
        if self.0.is_empty() {
            let seen = always().map(|trace| Span::begin("ingest", SpanKind::Consumer, trace));
            self.0.extend(seen.map(|span| (0, span)));
        }
        for (_, span) in &mut self.0 {
            span.fail(why);
        }
        self.trace()
    }
}
