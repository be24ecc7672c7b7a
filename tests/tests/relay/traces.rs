//! Traces at a real OpenTelemetry collector: an event from its publisher's socket to a subscriber's, a
//! question through both tiers, errors. And the log under a flood of what can't be read.

use std::collections::{BTreeMap, BTreeSet};

use heliograph_sandbox::{
    collector::{Collector, Span},
    or_skip,
    wait::within,
};
use heliograph_testkit::{PATIENCE, http::request, keys::Key, process::Relay};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    operate::admin,
    support::{accept_all, metric, notes, now},
};

/// Everything is sampled.
pub(crate) const ALL: [&str; 2] = ["traces.sample_ratio=1", "traces.per_second_max=10000"];

/// Nothing but errors is.
pub(crate) const ERRORS: &str = "traces.sample_ratio=0";

/// A collector. `None` after saying so where it can't be had.
#[track_caller]
pub(crate) fn collector() -> Option<Collector> {
    or_skip(Collector::start())
}

/// The setting that has traces sent to it.
pub(crate) fn endpoint(collector: &Collector) -> String {
    format!("traces.endpoint={}", collector.endpoint())
}

/// One trace: its spans by their ids.
#[derive(Debug)]
pub(crate) struct Trace(BTreeMap<String, Span>);

impl Trace {
    /// Waits for a trace whose root is called so and that has spans of all these names.
    #[track_caller]
    pub(crate) fn complete(collector: &Collector, root: &str, names: &[&str]) -> Self {
        let what = format!("trace of {root} with {names:?}");
        let wanted: BTreeSet<&str> = names.iter().copied().collect();
        collector.within(PATIENCE, &what, |spans| {
            let mut traces: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
            for span in spans {
                traces.entry(&span.trace_id).or_default().push(span);
            }
            let mut whole = traces.into_values().filter(|spans| {
                let has = |name: &str| spans.iter().any(|span| span.name == name);
                let begins = |span: &&Span| span.parent_span_id.is_none() && span.name == root;
                spans.iter().any(begins) && wanted.iter().all(|name| has(name))
            });
            let spans = whole.next()?.into_iter();
            Some(Self(
                spans
                    .map(|span| (span.span_id.clone(), span.clone()))
                    .collect(),
            ))
        })
    }

    /// Checks that one span began it, every other has its cause in it, and nothing began before.
    #[track_caller]
    pub(crate) fn check_whole(&self) {
        let roots = self.0.values().filter(|span| span.parent_span_id.is_none());
        let roots: Vec<&Span> = roots.collect();
        assert_eq!(roots.len(), 1, "{roots:?}");
        for span in self.0.values() {
            assert!(
                span.start_nanos >= roots[0].start_nanos,
                "{span:?} before {:?}",
                roots[0]
            );
            assert!(span.end_nanos >= span.start_nanos, "{span:?}");
            if let Some(parent) = &span.parent_span_id {
                assert!(
                    self.0.contains_key(parent),
                    "an orphan: {span:?} in {self:?}"
                );
            }
        }
    }

    /// The spans of a name.
    pub(crate) fn named(&self, name: &str) -> Vec<&Span> {
        self.0.values().filter(|span| span.name == name).collect()
    }

    /// The only span of a name.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> &Span {
        let spans = self.named(name);
        assert_eq!(spans.len(), 1, "{name}: {spans:?}");
        spans[0]
    }

    /// Whether a span is `above` or was caused by it, directly or through others.
    pub(crate) fn is_under(&self, span: &Span, above: &Span) -> bool {
        let mut at = Some(span);
        while let Some(span) = at {
            if span.span_id == above.span_id {
                return true;
            }
            at = span.parent_span_id.as_ref().and_then(|id| self.0.get(id));
        }
        false
    }

    /// Its name, as hex.
    pub(crate) fn id(&self) -> &str {
        self.0
            .values()
            .next()
            .map_or("", |span| span.trace_id.as_str())
    }
}

/// The traces that the buckets of a histogram give as examples.
pub(crate) fn examples(page: &str, histogram: &str) -> BTreeSet<String> {
    let buckets = page.lines().filter(|line| {
        let rest = line.strip_prefix(histogram);
        rest.is_some_and(|rest| rest.starts_with("_bucket{"))
    });
    let example = |line: &str| {
        let (_, example) = line.split_once("# {trace_id=\"")?;
        Some(example.split_once('"')?.0.to_owned())
    };
    buckets.filter_map(example).collect()
}

/// Waits until the collector has a trace that one of these names, which there has to be.
#[track_caller]
pub(crate) fn check_examples(collector: &Collector, names: &BTreeSet<String>) {
    assert!(!names.is_empty(), "no examples");
    collector.within(PATIENCE, "trace of an example", |spans| {
        spans
            .iter()
            .find(|span| names.contains(&span.trace_id))
            .map(drop)
    });
}

#[test]
fn an_event_is_followed_from_its_publishers_socket_to_a_subscribers() {
    let Some(collector) = collector() else { return };
    let relay = Relay::with(&[&endpoint(&collector), ALL[0], ALL[1], "cluster.node=alone"]);
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("s", &[json!({"kinds": [1]})]);
    let note = Key::nth(0).note(now(), "followed");
    writer.accept(&note);
    assert_eq!(reader.next_event("s"), note);
    let steps = [
        "verify", "publish", "ingest", "store", "commit", "match", "deliver",
    ];
    let trace = Trace::complete(&collector, "EVENT", &steps);
    trace.check_whole();
    let event = trace.one("EVENT");
    assert_eq!(event.failure, None);
    assert_eq!(
        (event.instance(), event.resource["heliograph.role"].as_str()),
        ("alone", "standalone")
    );
    assert!(!event.resource.contains_key("heliograph.cluster"));
    assert_eq!(event.resource["service.name"], "heliograph");
    // Each step was caused by one before it.
    let above = [
        ("ingest", "publish"),
        ("store", "ingest"),
        ("commit", "ingest"),
        ("match", "commit"),
        ("deliver", "match"),
    ];
    for (step, cause) in above {
        let (step, cause) = (trace.one(step), trace.one(cause));
        assert!(trace.is_under(step, cause), "{step:?} under {cause:?}");
    }
    let page = request(admin(&relay), "GET", "/metrics", &[]);
    for histogram in [
        "heliograph_verify_seconds",
        "heliograph_publish_ok_seconds",
        "heliograph_delivery_seconds",
    ] {
        let examples = examples(page.text(), histogram);
        assert!(examples.contains(trace.id()), "{histogram}: {examples:?}");
    }
}

#[test]
fn a_question_is_followed_through_both_tiers() {
    let Some(collector) = collector() else { return };
    let relay = Relay::with(&[
        &endpoint(&collector),
        ERRORS,
        "recent.events_max=1000",
        "gateway.limit_max=2000",
        "gateway.limit_default=2000",
    ]);
    let mut client = relay.client();
    let key = Key::nth(0);
    accept_all(&mut client, &notes(&key, now() - 10_000, 1_500));
    drop(client);
    // Only the question is of interest; the same store, everything sampled.
    let filter = json!({"authors": [key.hex()]});
    let data = relay.data().to_owned();
    let mut relay = relay;
    relay.terminate();
    assert!(relay.exit().success());
    let again = Relay::on(
        &data,
        &[
            &endpoint(&collector),
            ALL[0],
            ALL[1],
            "recent.events_max=1000",
            "gateway.limit_max=2000",
            "gateway.limit_default=2000",
        ],
    );
    let page = || {
        request(admin(&again), "GET", "/metrics", &[])
            .text()
            .to_owned()
    };
    within(PATIENCE, "warm recent tier", || {
        (metric(&page(), "heliograph_recent_events") >= 1_000.0).then_some(())
    });
    let stored = again.client().query(&[filter]);
    assert_eq!(stored.events.len(), 1_500);
    let trace = Trace::complete(&collector, "REQ", &["answer", "page"]);
    trace.check_whole();
    let answer = trace.one("answer");
    assert!(trace.is_under(answer, trace.one("REQ")));
    let pages = trace.named("page").into_iter();
    let tiers: BTreeSet<&str> = pages.map(|page| page.attribute("tier")).collect();
    assert_eq!(tiers, BTreeSet::from(["archive", "recent"]));
    check_examples(
        &collector,
        &examples(&page(), "heliograph_req_eose_seconds"),
    );
}

/// Else a client that asks too much again and again would use up the traces that are kept for faults.
#[test]
fn a_question_that_is_too_dear_is_no_fault_that_is_always_seen() {
    let Some(collector) = collector() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    let write = |ratio: f64| {
        let endpoint = collector.endpoint();
        let text = format!(
            "[traces]\nendpoint = \"{endpoint}\"\nsample_ratio = {ratio:?}\n\
             [store]\nscan_rows_max = 1000\ncount_rows_max = 1000\n\
             [gateway]\nevents_per_sec = 0\nevents_per_ip_per_sec = 0\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    write(0.0);
    let relay = Relay::configured(&file);
    let mut client = relay.client();
    accept_all(&mut client, &notes(&Key::nth(0), 1_000, 1_500));
    let mut count = || {
        let text = client
            .count("c", &[json!({"kinds": [1]})])
            .expect_err("more rows than a count may look at");
        assert!(text.starts_with("error: "), "{text}");
        text
    };
    (0..5).for_each(|_| drop(count()));
    let page = || {
        request(admin(&relay), "GET", "/metrics", &[])
            .text()
            .to_owned()
    };
    let before = config_hash(&page());
    write(1.0);
    relay.signal(Signal::HUP);
    within(PATIENCE, "another hash", || {
        (config_hash(&page()) != before).then_some(())
    });
    // One of the share that is sampled is seen, and says why it was refused.
    let text = count();
    let trace = Trace::complete(&collector, "COUNT", &[]);
    let why = trace.one("COUNT").failure.as_deref().unwrap_or_default();
    assert!(!why.is_empty() && text.contains(why), "{why} in {text}");
    let spans = collector.spans();
    let counts = spans.iter().filter(|span| span.name == "COUNT");
    assert_eq!(counts.count(), 1, "none of those before");
    assert_eq!(metric(&page(), "heliograph_traces_dropped_total"), 0.0);
}

/// The hash of the configuration in force, as a metrics page says.
#[track_caller]
pub(crate) fn config_hash(page: &str) -> String {
    let mut lines = page.lines();
    let hash = lines.find_map(|line| line.strip_prefix("heliograph_config_hash{hash=\""));
    let hash = hash.and_then(|rest| rest.strip_suffix("\"} 1"));
    hash.unwrap_or_else(|| panic!("no hash in {page}"))
        .to_owned()
}

#[test]
fn sighup_changes_what_is_sampled_and_the_hash_of_the_configuration() {
    let Some(collector) = collector() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    let write = |ratio: f64| {
        let endpoint = collector.endpoint();
        let text = format!("[traces]\nendpoint = \"{endpoint}\"\nsample_ratio = {ratio:?}\n");
        std::fs::write(&file, text).unwrap();
    };
    write(0.0);
    let relay = Relay::configured(&file);
    let hash = || config_hash(request(admin(&relay), "GET", "/metrics", &[]).text());
    let before = hash();
    let mut client = relay.client();
    client.accept(&Key::nth(0).note(now(), "not followed"));
    write(1.0);
    relay.signal(Signal::HUP);
    let after = within(PATIENCE, "another hash", || {
        let hash = hash();
        (hash != before).then_some(hash)
    });
    client.accept(&Key::nth(0).note(now(), "followed"));
    Trace::complete(&collector, "EVENT", &["store"]).check_whole();
    let spans = collector.spans();
    assert_eq!(spans.iter().filter(|span| span.name == "EVENT").count(), 1);
    write(0.0);
    relay.signal(Signal::HUP);
    within(PATIENCE, "the first hash", || {
        (hash() == before).then_some(())
    });
    assert_ne!(before, after);
}

#[test]
fn a_relay_without_a_collector_does_its_work() {
    // Nobody listens there.
    let relay = Relay::with(&["traces.endpoint=http://127.0.0.1:9", ALL[0], ALL[1]]);
    let mut client = relay.client();
    accept_all(&mut client, &notes(&Key::nth(0), now() - 500, 300));
    assert_eq!(client.query(&[json!({"kinds": [1]})]).events.len(), 300);
    let page = || {
        request(admin(&relay), "GET", "/metrics", &[])
            .text()
            .to_owned()
    };
    within(PATIENCE, "count of dropped spans", || {
        (metric(&page(), "heliograph_traces_dropped_total") > 0.0).then_some(())
    });
    assert_eq!(metric(&page(), "heliograph_traces_exported_total"), 0.0);
    let said = relay.log();
    let said = said
        .lines()
        .filter(|line| line.contains("traces can't be exported"));
    assert_eq!(said.count(), 1);
}

#[test]
fn bad_messages_by_the_thousand_leave_few_lines_in_the_log() {
    const SENT: usize = 5_000;
    let relay = Relay::with(&[
        "gateway.invalid_messages_max=0",
        "gateway.invalid_signatures_max=0",
    ]);
    let mut client = relay.client();
    let (good, other) = (Key::nth(0).note(now(), "x"), Key::nth(1).note(now(), "y"));
    let signature = other.sig().to_hex();
    let forged = good.as_str().replace(&good.sig().to_hex(), &signature);
    let bad = [
        "nonsense".to_owned(),
        "[\"EVENT\",{}]".to_owned(),
        "[\"REQ\",\"s\",{\"kinds\":[-1]}]".to_owned(),
        format!("[\"EVENT\",{forged}]"),
    ];
    for message in bad.iter().cycle().take(SENT) {
        client.send(message);
    }
    // Connections that end in the middle of something, and requests that aren't any.
    for _ in 0..200 {
        drop(relay.socket());
        assert_eq!(request(relay.address(), "POST", "/", &[]).status, 405);
    }
    // All of them have been read when this is answered.
    client.accept(&Key::nth(2).note(now(), "fence"));
    let log = relay.log();
    // The others are what it says on its standard output at the start.
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with('{')).collect();
    assert!(
        (2..30).contains(&lines.len()),
        "{} lines: {log}",
        lines.len()
    );
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap();
        for field in [
            "timestamp",
            "level",
            "message",
            "target",
            "role",
            "instance",
        ] {
            assert!(line[field].is_string(), "{field} in {line}");
        }
    }
    // There were none to leave out either.
    let page = request(admin(&relay), "GET", "/metrics", &[]);
    let suppressed = metric(page.text(), "heliograph_log_lines_suppressed_total");
    assert_eq!(suppressed, 0.0);
}
