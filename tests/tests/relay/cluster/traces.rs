//! One trace over all roles: from a publisher's socket at one gateway through NATS, ingest, the database
//! and the matcher to a subscriber's socket at another.

use std::collections::BTreeSet;

use heliograph_sandbox::{
    cluster::{ClusterOptions, Role},
    collector::Span,
};
use serde_json::json;

use super::bed::{Bed, own_key};
use crate::{
    support::{accept_all, metric, notes, now},
    traces::{ALL, ERRORS, Trace, check_examples, collector, config_hash, endpoint, examples},
};

/// The part of a process's name that says its role.
fn role(span: &Span) -> &str {
    span.instance().split('-').next().unwrap_or_default()
}

#[test]
fn an_event_is_followed_from_one_gateways_socket_to_anothers() {
    let Some(collector) = collector() else { return };
    let endpoint = endpoint(&collector);
    let Some(bed) = Bed::fresh(&[&endpoint, ALL[0], ALL[1]]) else {
        return;
    };
    let key = own_key();
    let [mut writer, mut reader] = bed.both();
    reader.req("s", &[json!({"authors": [key.hex()]})]);
    let note = key.note(now(), "followed");
    writer.accept(&note);
    assert_eq!(reader.next_event("s"), note);
    let steps = [
        "verify", "publish", "ingest", "store", "commit", "match", "deliver",
    ];
    let trace = Trace::complete(&collector, "EVENT", &steps);
    trace.check_whole();
    for name in ["EVENT", "verify", "publish"] {
        assert_eq!(trace.one(name).instance(), "gateway-0", "{name}");
    }
    let ingest = trace.one("ingest");
    for name in ["ingest", "store", "commit"] {
        let span = trace.one(name);
        assert_eq!(
            (role(span), span.instance()),
            ("ingest", ingest.instance()),
            "{name}"
        );
    }
    // Both matchers take the event; one of them serves the gateway of the subscriber.
    let matches = trace.named("match");
    assert!(
        matches.iter().all(|span| role(span) == "matcher"),
        "{matches:?}"
    );
    let deliver = trace.one("deliver");
    assert_eq!(deliver.instance(), "gateway-1");
    assert!(matches.iter().any(|span| trace.is_under(deliver, span)));
    for span in matches {
        assert!(trace.is_under(span, trace.one("commit")), "{span:?}");
    }
    for (step, cause) in [
        ("ingest", "publish"),
        ("store", "ingest"),
        ("commit", "ingest"),
    ] {
        let (step, cause) = (trace.one(step), trace.one(cause));
        assert!(trace.is_under(step, cause), "{step:?} under {cause:?}");
    }
    let resource = &trace.one("EVENT").resource;
    assert_eq!(resource["heliograph.cluster"], bed.name());
    assert_eq!(resource["heliograph.role"], "gateway");
    let example = |role, number, histogram: &str| {
        let page = bed.metrics(role, number).unwrap();
        let examples = examples(&page, histogram);
        assert!(examples.contains(trace.id()), "{histogram}: {examples:?}");
    };
    example(Role::Gateway, 0, "heliograph_publish_ok_seconds");
    example(Role::Gateway, 1, "heliograph_delivery_seconds");
}

#[test]
fn a_question_is_followed_to_the_matcher_and_through_both_tiers() {
    let Some(collector) = collector() else { return };
    let settings = [
        &endpoint(&collector),
        ALL[0],
        "traces.per_second_max=20",
        "recent.events_max=1000",
        "gateway.limit_max=2000",
        "gateway.limit_default=2000",
    ];
    let small = |options: &mut ClusterOptions| {
        (options.gateways, options.matchers, options.ingest) = (1, 1, 1);
    };
    let Some(bed) = Bed::with(small, &settings) else {
        return;
    };
    let (key, mut client) = (own_key(), bed.client());
    accept_all(&mut client, &notes(&key, now() - 10_000, 1_500));
    let whole = json!({"authors": [key.hex()]});
    let trace = loop {
        // As many traces begin in a second as may: one of the next questions is among them.
        assert_eq!(
            client.query(std::slice::from_ref(&whole)).events.len(),
            1_500
        );
        if collector.spans().iter().any(|span| span.name == "page") {
            break Trace::complete(&collector, "REQ", &["answer", "page"]);
        }
    };
    trace.check_whole();
    assert_eq!(trace.one("REQ").instance(), "gateway-0");
    assert_eq!(trace.one("answer").instance(), "matcher-0");
    let pages = trace.named("page").into_iter();
    let tiers: BTreeSet<&str> = pages.map(|page| page.attribute("tier")).collect();
    assert_eq!(tiers, BTreeSet::from(["archive", "recent"]));
    let page = bed.metrics(Role::Gateway, 0).unwrap();
    check_examples(&collector, &examples(&page, "heliograph_req_eose_seconds"));
}

#[test]
fn an_event_that_can_t_be_stored_is_seen_where_nothing_else_is() {
    let Some(collector) = collector() else { return };
    let small = |options: &mut ClusterOptions| {
        (options.gateways, options.matchers, options.ingest) = (1, 1, 1);
    };
    let Some(bed) = Bed::with(small, &[&endpoint(&collector), ERRORS]) else {
        return;
    };
    let (key, mut client) = (own_key(), bed.client());
    client.accept(&key.note(now(), "all right"));
    bed.kill(Role::Ingest, 0);
    let (accepted, text) = client.publish(&key.note(now(), "nobody stores this"));
    assert!(!accepted && text.starts_with("error: "), "{text}");
    let trace = Trace::complete(&collector, "EVENT", &[]);
    let event = trace.one("EVENT");
    let why = event.failure.as_deref().unwrap_or_default();
    assert!(!why.is_empty() && text.contains(why), "{why} in {text}");
    let events = collector.spans();
    let events = events.iter().filter(|span| span.name == "EVENT");
    assert_eq!(events.count(), 1, "only the failed one");
}

#[test]
fn processes_of_one_configuration_have_one_hash_of_it() {
    let Some(bed) = Bed::shared() else { return };
    let mut hashes = BTreeSet::new();
    for role in Role::ALL {
        for number in 0..bed.members(role).len() {
            let page = bed.metrics(role, number).unwrap();
            hashes.insert(config_hash(&page));
            assert!(metric(&page, "heliograph_ready") >= 0.0);
            assert!(metric(&page, "heliograph_runtime_workers") >= 1.0);
            assert!(metric(&page, "heliograph_runtime_busy_seconds_total") > 0.0);
        }
    }
    assert_eq!(hashes.len(), 1, "{hashes:?}");
}
