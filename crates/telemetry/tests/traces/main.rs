//! Spans on their way to a collector: what arrives, what is dropped, and that nobody waits.
#![expect(clippy::unwrap_used, reason = "helpers of tests outside of them")]

mod collector;
mod failures;

use std::time::{Duration, UNIX_EPOCH};

use collector::Collector;
use heliograph_telemetry::{
    BuildInfo, ConfigState, Health, ProcessFacts, register_process_metrics, registry,
    trace::{self, Error, Options, Resource, Sampling, Span, SpanKind, TraceContext},
    wall_clock,
};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{span, status::StatusCode},
};
use prometheus_client::encoding::text::encode;
use tokio::sync::{Mutex, MutexGuard};

/// There is one exporter in a process, so one test at a time has it.
static TURN: Mutex<()> = Mutex::const_new(());

/// Everything is sampled.
const ALL: Sampling = Sampling {
    ratio: 1.0,
    per_second_max: u32::MAX,
    errors_per_second_max: u32::MAX,
};

async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

fn options(endpoint: String) -> Options {
    Options {
        endpoint,
        sampling: ALL,
        batch_delay: Duration::from_millis(5),
        retry_delay: Duration::from_millis(5),
        ..Options::default()
    }
}

/// A span of a trace of its own, which ends at once.
fn work(name: &'static str) -> TraceContext {
    let root = trace::sample().expect("everything is sampled");
    Span::begin(name, SpanKind::Internal, root).context()
}

/// Spans exported and dropped since the process started, as `/metrics` says.
fn counted() -> (u64, u64) {
    let mut registry = registry();
    let build = BuildInfo {
        version: "0",
        revision: "unknown",
    };
    let facts = ProcessFacts {
        build,
        started_secs: 1,
        cores: 1,
        health: Health::new(),
        config: ConfigState::default(),
        tasks_panicked: || 0,
        certificates: Vec::new(),
    };
    register_process_metrics(&mut registry, facts);
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    let value = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    (
        value("heliograph_traces_exported_total"),
        value("heliograph_traces_dropped_total"),
    )
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> &'a Value {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref());
    value
        .and_then(|value| value.value.as_ref())
        .unwrap_or_else(|| panic!("{key} in {attributes:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_arrives_as_it_was_made() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    let guard = trace::start(options(collector.endpoint())).unwrap();
    let cause = TraceContext {
        trace_id: [7; 16],
        span_id: [9; 8],
    };
    let at = |nanos: u64| UNIX_EPOCH + Duration::from_nanos(1_790_000_000_000_000_000 + nanos);
    let mut span = Span::begin_at("store", SpanKind::Consumer, cause, at(5));
    span.set("tier", "archive");
    span.set("events", 3_usize);
    span.set("late", true);
    span.fail("disk full");
    let context = span.context();
    span.end_at(at(905));
    let spans = collector.wait_for(1).await;
    let [span] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(span.trace_id, cause.trace_id);
    assert_eq!(span.parent_span_id, cause.span_id);
    assert_eq!(span.span_id, context.span_id);
    assert_eq!(context.trace_id, cause.trace_id);
    assert_eq!(
        (span.name.as_str(), span.kind()),
        ("store", span::SpanKind::Consumer)
    );
    assert_eq!(span.start_time_unix_nano, 1_790_000_000_000_000_005);
    assert_eq!(span.end_time_unix_nano, 1_790_000_000_000_000_905);
    let attributes = &span.attributes;
    assert_eq!(
        value(attributes, "tier"),
        &Value::StringValue("archive".to_owned())
    );
    assert_eq!(value(attributes, "events"), &Value::IntValue(3));
    assert_eq!(value(attributes, "late"), &Value::BoolValue(true));
    let status = span.status.as_ref().unwrap();
    assert_eq!(
        (status.code(), status.message.as_str()),
        (StatusCode::Error, "disk full")
    );
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_span_causes_has_it_as_its_parent() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    let guard = trace::start(options(collector.endpoint())).unwrap();
    let before = wall_clock();
    let root = trace::sample().unwrap();
    {
        let event = Span::begin("EVENT", SpanKind::Server, root);
        let verify = Span::begin("verify", SpanKind::Internal, event.context());
        // Text as it travels between processes.
        let far = TraceContext::parse(&verify.context().to_string()).unwrap();
        drop(Span::begin("ingest", SpanKind::Consumer, far));
    }
    let spans = collector.wait_for(3).await;
    let of = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (event, verify, ingest) = (of("EVENT"), of("verify"), of("ingest"));
    assert!(event.parent_span_id.is_empty());
    assert_eq!(verify.parent_span_id, event.span_id);
    assert_eq!(ingest.parent_span_id, verify.span_id);
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id));
    let nanos = before.duration_since(UNIX_EPOCH).unwrap().as_nanos();
    assert!(u128::from(event.start_time_unix_nano) >= nanos);
    assert!(event.start_time_unix_nano <= ingest.start_time_unix_nano);
    assert!(ingest.end_time_unix_nano <= event.end_time_unix_nano);
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_says_whose_spans_it_has() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    let guard = trace::start(Options {
        resource: Resource {
            service_name: "heliograph".to_owned(),
            service_version: "1.2.3".to_owned(),
            instance: "gateway-1".to_owned(),
            role: "gateway".to_owned(),
            cluster: String::new(),
        },
        headers: vec![("authorization".to_owned(), "Bearer abc".to_owned())],
        ..options(collector.endpoint())
    })
    .unwrap();
    work("EVENT");
    collector.wait_for(1).await;
    let spans = collector.resource_spans();
    let attributes = &spans[0].resource.as_ref().unwrap().attributes;
    for (key, text) in [
        ("service.name", "heliograph"),
        ("service.version", "1.2.3"),
        ("service.instance.id", "gateway-1"),
        ("heliograph.role", "gateway"),
    ] {
        assert_eq!(value(attributes, key), &Value::StringValue(text.to_owned()));
    }
    assert_eq!(attributes.len(), 4, "{attributes:?}");
    let metadata = collector.metadata();
    assert_eq!(metadata.get("authorization").unwrap(), "Bearer abc");
    let agent = metadata.get("user-agent").unwrap().to_str().unwrap();
    assert!(agent.starts_with("heliograph/1.2.3"), "{agent}");
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_spans_arrive_in_batches_each_once() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    let (exported, dropped) = counted();
    let guard = trace::start(Options {
        queue_spans_max: 5_000,
        batch_spans_max: 500,
        batch_delay: Duration::from_secs(60),
        ..options(collector.endpoint())
    })
    .unwrap();
    let mut ids: Vec<_> = (0..5_000).map(|_| work("match").span_id.to_vec()).collect();
    let spans = collector.wait_for(5_000).await;
    let mut arrived: Vec<_> = spans.into_iter().map(|span| span.span_id).collect();
    ids.sort();
    arrived.sort();
    assert!(ids == arrived);
    assert_eq!(collector.requests(), 10);
    guard.stop().await;
    assert_eq!(counted(), (exported + 5_000, dropped));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_sends_what_waits() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    let guard = trace::start(Options {
        batch_delay: Duration::from_secs(60),
        ..options(collector.endpoint())
    })
    .unwrap();
    for _ in 0..10 {
        work("deliver");
    }
    guard.stop().await;
    assert_eq!(collector.spans().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_cut_and_there_are_so_many_values() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    let guard = trace::start(options(collector.endpoint())).unwrap();
    let mut span = Span::begin("REQ", SpanKind::Server, trace::sample().unwrap());
    span.set("filter", "x".repeat(100_000));
    for _ in 0..100 {
        span.set("more", 1_i64);
    }
    span.fail("y".repeat(100_000));
    drop(span);
    let span = collector.wait_for(1).await.remove(0);
    assert_eq!(
        value(&span.attributes, "filter"),
        &Value::StringValue("x".repeat(256))
    );
    assert_eq!(
        (span.attributes.len(), span.dropped_attributes_count),
        (16, 85)
    );
    assert_eq!(span.status.unwrap().message.len(), 256);
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sampled_where_nothing_is_exported() {
    let _turn = turn().await;
    assert_eq!((trace::sample(), trace::always()), (None, None));
    let collector = Collector::start().await;
    let guard = trace::start(options(collector.endpoint())).unwrap();
    assert!(trace::sample().is_some() && trace::always().is_some());
    let twice = trace::start(options(collector.endpoint()));
    assert!(matches!(twice, Err(Error::Twice)), "{twice:?}");
    guard.stop().await;
    assert_eq!((trace::sample(), trace::always()), (None, None));
    drop(trace::start(options(collector.endpoint())).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn sampling_changes_while_it_runs() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    let guard = trace::start(options(collector.endpoint())).unwrap();
    trace::set_sampling(Sampling {
        ratio: 0.0,
        ..Sampling::default()
    });
    assert!((0..1_000).all(|_| trace::sample().is_none()));
    let errors = (0..1_000).filter_map(|_| trace::always()).count();
    // As many as may come at once, and what a slow machine adds.
    assert!((10..1_000).contains(&errors), "{errors}");
    trace::set_sampling(ALL);
    assert!((0..1_000).all(|_| trace::sample().is_some()));
    guard.stop().await;
}
