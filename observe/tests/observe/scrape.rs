//! What processes show on `/metrics`: what the reference says, and no more for whoever abuses them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use heliograph_faults::bed::{say, until};
use heliograph_observe::{
    abuse::{Abuse, KINDS},
    live,
    load::BLOCKED,
    pages::{Families, differences, families, reference, series},
    stand::{CLUSTER, Stand},
};
use heliograph_sandbox::cluster::Role;

/// Series that a process may show at most.
const SERIES_MAX: usize = 5_000;

/// Who comes to the relay in one process: 65,536 kinds go over them.
const ABUSE: Abuse = Abuse {
    addresses: 10_000,
    kinds: KINDS,
    threads: 8,
};

/// Who comes to a gateway of the cluster: as many as its servers take in a minute.
const CLUSTER_ABUSE: Abuse = Abuse {
    addresses: 1_000,
    kinds: 4_096,
    threads: 8,
};

/// Entries of a list of `/top`, for each thread that serves sockets.
const ENTRIES_MAX: usize = 100;

/// Lists that the abuse fills, and what they weigh by.
const FILLED: [(&str, &str); 3] = [
    ("authors", "events"),
    ("addresses", "messages"),
    ("filters", "micros"),
];

/// Kinds that are refused as they are sent: a seal with tags, a request to vanish from nowhere, one that is
/// configured, and an answer to a challenge.
const REFUSED: [u16; 4] = [13, 62, BLOCKED, 22_242];

#[track_caller]
pub(crate) fn is_documented(stand: &Stand) {
    let mut pages: BTreeMap<String, Families> = BTreeMap::new();
    for (role, pod, address) in stand.pages() {
        let page = Stand::page(address);
        let count = series(&page);
        say(&format!(
            "{pod} ({role}): {count} series, {} bytes",
            page.len()
        ));
        assert!(count <= SERIES_MAX, "{pod}: {count} series");
        pages.insert(pod, families(&page));
    }
    let differences = differences(&reference(), &pages);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Latencies that have examples of traces, so that a panel leads to one.
const TRACED: [&str; 4] = [
    "heliograph_verify_seconds_bucket",
    "heliograph_publish_ok_seconds_bucket",
    "heliograph_req_eose_seconds_bucket",
    "heliograph_delivery_seconds_bucket",
];

/// Each of these has exemplars in Prometheus, and the collector has a trace of several processes that one names.
#[track_caller]
pub(crate) fn leads_to_traces(stand: &Stand, started: f64) {
    for histogram in TRACED {
        let selector = format!("{histogram}{{cluster=\"{CLUSTER}\"}}");
        let (trace, processes) = until(&format!("trace of {histogram}"), || {
            let range = (started, live::now(&stand.prometheus));
            let named = stand.prometheus.traces(&selector, range).ok()?;
            let spans = stand.collector.spans();
            named.into_iter().find_map(|trace| {
                let spans = spans.iter().filter(|span| span.trace_id == trace);
                let processes: BTreeSet<String> =
                    spans.map(|span| span.instance().to_owned()).collect();
                (processes.len() > 1).then_some((trace, processes))
            })
        });
        say(&format!(
            "    {histogram}: trace {trace} through {processes:?}"
        ));
    }
}

/// As many series as before, and no longer lists, after everybody has come: at the relay in one process, which does
/// everything, and at a gateway.
#[track_caller]
pub(crate) fn does_not_grow(stand: &Stand) {
    let pages = stand.pages();
    let alone = pages.iter().find(|(role, ..)| role == "standalone");
    let (.., admin) = alone.expect("a relay in one process");
    check_abuse(ABUSE, stand.alone.address(), *admin);
    let admin = stand.bed.member(Role::Gateway, 0).admin;
    check_abuse(CLUSTER_ABUSE, stand.bed.gateway(0), admin);
}

#[track_caller]
fn check_abuse(abuse: Abuse, relay: SocketAddr, admin: SocketAddr) {
    let before = series(&Stand::page(admin));
    let outcome = abuse.run(relay);
    let page = Stand::page(admin);
    let after = series(&page);
    say(&format!(
        "{outcome:?}: {before} series before, {after} after"
    ));
    let comes = |kind: &u16| usize::from(*kind) % (KINDS / abuse.kinds) == 0;
    let refused: Vec<u16> = REFUSED.into_iter().filter(comes).collect();
    assert_eq!(outcome.connections, abuse.addresses);
    assert_eq!(outcome.authenticated, abuse.addresses);
    assert_eq!(outcome.refused, refused);
    assert_eq!(outcome.accepted, abuse.kinds - refused.len());
    assert_eq!(after, before, "series of one process");
    assert!(after <= SERIES_MAX, "{after} series");
    check_top(admin, workers(&page));
}

/// Every list is bounded, however long a one is asked for, and those that the abuse fills are full.
#[track_caller]
fn check_top(admin: SocketAddr, workers: usize) {
    let top = Stand::top(admin);
    let lists = top["lists"].as_object().expect("lists");
    let mut lengths = BTreeMap::new();
    for (list, measures) in lists {
        for (measure, found) in measures.as_object().expect("measures") {
            let length = found["entries"].as_array().map_or(0, Vec::len);
            lengths.insert((list.as_str(), measure.as_str()), length);
        }
    }
    say(&format!("    {workers} workers, entries: {lengths:?}"));
    for filled in FILLED {
        assert!(lengths[&filled] >= ENTRIES_MAX, "{filled:?} is not full");
    }
    let bounded = |length: &usize| *length <= ENTRIES_MAX * workers;
    assert!(lengths.values().all(bounded), "{lengths:?}");
}

/// How many threads serve sockets.
#[track_caller]
fn workers(page: &str) -> usize {
    let name = "heliograph_runtime_workers ";
    let found = page.lines().find_map(|line| line.strip_prefix(name));
    found
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in the page"))
}
