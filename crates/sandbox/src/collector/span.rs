//! Spans as the collector wrote them: OTLP in its JSON form, a request a line.

use std::collections::BTreeMap;

use serde_json::Value;

/// A span that the collector took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its trace, as hex.
    pub trace_id: String,
    /// Its own name within the trace, as hex.
    pub span_id: String,
    /// The span that caused it; none at the root of a trace.
    pub parent_span_id: Option<String>,
    /// What it is called.
    pub name: String,
    /// OpenTelemetry's number of its kind: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: u64,
    /// When it began, in nanoseconds since 1970.
    pub start_nanos: u64,
    /// When it ended.
    pub end_nanos: u64,
    /// What it notes, as text.
    pub attributes: BTreeMap<String, String>,
    /// What the process says of itself.
    pub resource: BTreeMap<String, String>,
    /// Why it failed, if it has.
    pub failure: Option<String>,
}

impl Span {
    /// A value that it notes; empty without one.
    #[must_use]
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    /// The process that it is from.
    #[must_use]
    pub fn instance(&self) -> &str {
        let instance = self.resource.get("service.instance.id");
        instance.map_or("", String::as_str)
    }
}

/// The spans of whole lines; the last line may still be under way.
pub(super) fn read(text: &str) -> Vec<Span> {
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let requests = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    requests.flat_map(|request| spans(&request)).collect()
}

fn spans(request: &Value) -> Vec<Span> {
    let mut found = Vec::new();
    for of_process in list(&request["resourceSpans"]) {
        let resource = attributes(&of_process["resource"]["attributes"]);
        for of_scope in list(&of_process["scopeSpans"]) {
            let spans = list(&of_scope["spans"]);
            found.extend(spans.map(|span| self::span(span, &resource)));
        }
    }
    found
}

fn span(span: &Value, resource: &BTreeMap<String, String>) -> Span {
    let failed = span["status"]["code"] == 2;
    Span {
        trace_id: text(&span["traceId"]),
        span_id: text(&span["spanId"]),
        parent_span_id: Some(text(&span["parentSpanId"])).filter(|parent| !parent.is_empty()),
        name: text(&span["name"]),
        kind: span["kind"].as_u64().unwrap_or_default(),
        start_nanos: number(&span["startTimeUnixNano"]),
        end_nanos: number(&span["endTimeUnixNano"]),
        attributes: attributes(&span["attributes"]),
        resource: resource.clone(),
        failure: failed.then(|| text(&span["status"]["message"])),
    }
}

fn attributes(attributes: &Value) -> BTreeMap<String, String> {
    let one = |attribute: &Value| {
        let value = attribute["value"].as_object()?.values().next()?;
        Some((text(&attribute["key"]), text(value)))
    };
    list(attributes).filter_map(one).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Numbers of 64 bits are text in this form.
fn number(value: &Value) -> u64 {
    text(value).parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_with_what_it_notes_and_whose_it_is() {
        let line = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.instance.id","value":{"stringValue":"a"}}]},"scopeSpans":[{"scope":{"name":"x"},"spans":[{"traceId":"01","spanId":"02","parentSpanId":"03","name":"store","kind":1,"startTimeUnixNano":"5","endTimeUnixNano":"7","attributes":[{"key":"events","value":{"intValue":"9"}},{"key":"late","value":{"boolValue":true}}],"status":{"message":"no","code":2}},{"traceId":"01","spanId":"04","parentSpanId":"","name":"b","kind":2,"status":{}}]}]}]}"#;
        let spans = read(&format!("{line}\n{}", &line[..40]));
        let [store, root] = &spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!((store.start_nanos, store.end_nanos), (5, 7));
        assert_eq!(store.parent_span_id.as_deref(), Some("03"));
        assert_eq!(
            (store.attribute("events"), store.attribute("late")),
            ("9", "true")
        );
        assert_eq!(
            (store.instance(), store.failure.as_deref()),
            ("a", Some("no"))
        );
        assert_eq!(
            (root.parent_span_id.as_ref(), root.failure.as_ref()),
            (None, None)
        );
    }
}
