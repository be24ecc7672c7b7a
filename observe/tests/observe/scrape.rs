//! What processes show on `/metrics`: what the reference says, and no more for whoever abuses them.

use std::collections::{BTreeMap, BTreeSet};

use heliograph_faults::bed::{say, until};
use heliograph_observe::{
    abuse::Abuse,
    live,
    load::BLOCKED,
    pages::{Families, differences, families, reference, series},
    stand::{CLUSTER, Stand},
};

/// Series that a process may show at most.
const SERIES_MAX: usize = 5_000;

/// Who comes: 65,536 kinds go over them.
const ABUSE: Abuse = Abuse {
    addresses: 10_000,
    threads: 8,
};

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
const TRACED: [&str; 3] = [
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

/// As many series as before, after everybody has come, at the relay in one process, which does everything.
#[track_caller]
pub(crate) fn does_not_grow(stand: &Stand) {
    let pages = stand.pages();
    let alone = pages.iter().find(|(role, ..)| role == "standalone");
    let (.., admin) = alone.expect("a relay in one process");
    let before = series(&Stand::page(*admin));
    let outcome = ABUSE.run(stand.alone.address());
    let after = series(&Stand::page(*admin));
    say(&format!(
        "{outcome:?}: {before} series before, {after} after"
    ));
    assert_eq!(outcome.connections, ABUSE.addresses);
    assert_eq!(outcome.authenticated, ABUSE.addresses);
    assert_eq!(outcome.refused, REFUSED);
    assert_eq!(outcome.accepted, (1 << 16) - REFUSED.len());
    assert_eq!(after, before, "series of one process");
    assert!(after <= SERIES_MAX, "{after} series");
}
