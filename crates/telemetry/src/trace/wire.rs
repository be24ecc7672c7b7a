//! Spans as OTLP says them.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1 as resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status, span, status},
};

use super::{Resource, SpanKind, Value, span::Record};

/// What all these spans were made by.
const SCOPE: &str = "heliograph";

/// One request with the spans of this process.
pub(super) fn request(
    resource: &resource::Resource,
    records: &[Record],
) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = ScopeSpans {
        scope: Some(scope),
        spans: records.iter().map(span).collect(),
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        }],
    }
}

/// The process. What it doesn't say is left out.
pub(super) fn resource(of: &Resource) -> resource::Resource {
    let attributes = [
        ("service.name", &of.service_name),
        ("service.version", &of.service_version),
        ("service.instance.id", &of.instance),
        ("heliograph.role", &of.role),
        ("heliograph.cluster", &of.cluster),
    ];
    let attributes = attributes.into_iter().filter(|(_, text)| !text.is_empty());
    resource::Resource {
        attributes: attributes
            .map(|(key, text)| attribute(key, &Value::Text(text.clone())))
            .collect(),
        ..resource::Resource::default()
    }
}

fn span(record: &Record) -> Span {
    let values = record.values.iter();
    let parent = match record.parent {
        [0, 0, 0, 0, 0, 0, 0, 0] => Vec::new(),
        parent => parent.to_vec(),
    };
    Span {
        trace_id: record.context.trace_id.to_vec(),
        span_id: record.context.span_id.to_vec(),
        parent_span_id: parent,
        // Sampled, as everything that gets here.
        flags: 1 & SpanFlags::TraceFlagsMask as u32,
        name: record.name.to_owned(),
        kind: kind(record.kind).into(),
        start_time_unix_nano: nanos(record.start),
        end_time_unix_nano: nanos(record.end),
        attributes: values.map(|(key, value)| attribute(key, value)).collect(),
        dropped_attributes_count: record.values_dropped,
        status: record.failure.as_ref().map(|why| Status {
            message: why.clone(),
            code: status::StatusCode::Error.into(),
        }),
        ..Span::default()
    }
}

fn kind(kind: SpanKind) -> span::SpanKind {
    match kind {
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Producer => span::SpanKind::Producer,
        SpanKind::Consumer => span::SpanKind::Consumer,
        SpanKind::Internal => span::SpanKind::Internal,
    }
}

fn attribute(key: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.clone()),
        Value::Int(number) => any_value::Value::IntValue(*number),
        Value::Bool(value) => any_value::Value::BoolValue(*value),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
