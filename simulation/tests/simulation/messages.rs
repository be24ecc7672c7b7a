//! What an event makes in a cluster of one to forty gateways, against the model of the capacity document.

use std::collections::BTreeSet;

use heliograph_capacity::messages::{Messages, Reach, SIMULATED, reach};
use heliograph_simulation::{Census, Size, census};

/// Events of each cluster, published at its gateways in turn.
const EVENTS: u64 = 6;

/// Bytes of a delivery beside the event: place, time, first receiver; and for each further one.
const OVERHEAD_MAX: u64 = 40;
const FURTHER_MAX: u64 = 1;

#[track_caller]
fn check(reach: Reach, census: &Census) {
    let messages = Messages::of(reach).times(EVENTS);
    let mut counted = census.traffic.messages;
    // A place that a newer one overtakes isn't told.
    assert!(
        (1..=messages.places).contains(&counted.places),
        "{reach:?} {counted:?}"
    );
    counted.places = messages.places;
    counted.received = census
        .received
        .iter()
        .map(|events| events.len() as u64)
        .sum();
    assert_eq!(counted, messages, "{reach:?}");
    assert_eq!(
        census.traffic.unknown, 0,
        "messages of the link that can't be read"
    );
    check_clients(reach, census);

    let copies = Messages::of(reach).copies_on_bus();
    assert_eq!(
        census.traffic.bus_bytes,
        census.event_bytes * copies,
        "{reach:?}"
    );
    let link_bytes = census.event_bytes * reach.matching;
    assert_eq!(census.traffic.link_bytes, link_bytes, "{reach:?}");
    let further = reach.subscriptions - reach.matching;
    let overhead_max = EVENTS * (reach.matching * OVERHEAD_MAX + further * FURTHER_MAX);
    assert!(
        census.traffic.link_overhead <= overhead_max,
        "{reach:?} {census:?}"
    );

    let expected: Vec<(String, u64)> = names(reach.matching);
    let deliveries: Vec<(String, u64)> = census.traffic.deliveries.clone().into_iter().collect();
    assert_eq!(
        deliveries, expected,
        "one delivery of each event to each gateway with a match"
    );
}

/// Every event once and in order to each that wants them, none to the others.
#[track_caller]
fn check_clients(reach: Reach, census: &Census) {
    let once: BTreeSet<_> = census.published.iter().collect();
    assert_eq!(once.len() as u64, EVENTS, "as many different events");
    assert_eq!(census.received.len() as u64, reach.subscriptions);
    for (number, events) in census.received.iter().enumerate() {
        assert_eq!(*events, census.published, "{reach:?}: subscriber {number}");
    }
    assert_eq!(census.unwanted.len() as u64, reach.gateways);
    let unwanted = census.unwanted.concat();
    assert_eq!(unwanted, [], "{reach:?}: events that nobody asked for");
}

/// The gateways with a match, as they are sorted, each with all events.
fn names(matching: u64) -> Vec<(String, u64)> {
    let names = (0..matching).map(|number| (format!("gateway-{number}"), EVENTS));
    let mut names: Vec<(String, u64)> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn messages_of_an_event_are_those_of_the_model_from_one_gateway_to_forty() {
    for [gateways, matchers, matching, each] in SIMULATED {
        let number = |count: u64| usize::try_from(count).unwrap();
        let size = Size {
            gateways: number(gateways),
            matchers: number(matchers),
            ingest: 2,
            matching: number(matching),
            each: number(each),
        };
        let census = census(size, number(EVENTS));
        check(reach([gateways, matchers, matching, each]), &census);
    }
}
