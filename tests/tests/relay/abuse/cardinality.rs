//! Who asks for what, and how much of it, is no name of a metric.

use std::{collections::BTreeSet, net::Ipv4Addr};

use heliograph_protocol::{Event, EventId, Kind, PublicKey, Signature, Timestamp};
use heliograph_sandbox::wait::within;
use heliograph_testkit::{PATIENCE, http::request, keys::Key, process::Relay};
use serde_json::json;

use super::{connect, forwarded};
use crate::{
    operate::admin,
    support::{metric, now},
};

/// What a process may show at most (docs/operate/monitoring.md).
const SERIES_MAX: usize = 5_000;

/// Series that tell kinds apart, at most.
const KINDS_MAX: usize = 30;

/// What stands before the values: names and labels. Each has to occur once.
#[track_caller]
fn series(page: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    let name = |line: &&str| {
        let end = line.find("} ").map_or(line.find(' '), |end| Some(end + 1));
        line[..end.expect("a value")].to_owned()
    };
    let series: BTreeSet<String> = lines.iter().map(name).collect();
    assert_eq!(series.len(), lines.len(), "a series occurs twice");
    series
}

/// Everything whose name begins so, added up.
fn sum(page: &str, name: &str) -> f64 {
    let series = series(page);
    let matching = series.iter().filter(|series| series.starts_with(name));
    matching.map(|series| metric(page, series)).sum()
}

/// An event that is refused for its time, before anybody looks at its signature.
fn too_late(kind: u16, author: u32) -> Event {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&author.to_be_bytes());
    let tags: [Vec<&str>; 0] = [];
    let sign = |_: &EventId| Signature::new([0; 64]);
    let at = Timestamp::from_secs(now() + 1_000_000);
    Event::build(PublicKey::new(key), at, Kind::new(kind), &tags, "", sign)
}

/// Cardinality: no message makes a series. Every kind there is, ten thousand authors, a thousand addresses, and
/// every sort of answer; kinds are told apart by 30 series at most.
#[test]
fn cardinality() {
    let relay = Relay::with(&[
        "policy.created_at_upper_limit_secs=900",
        "gateway.trusted_proxies=127.0.0.1/32",
    ]);
    let page = || {
        request(admin(&relay), "GET", "/metrics", &[])
            .text()
            .to_owned()
    };
    let start = series(&page());
    assert!(start.len() <= SERIES_MAX, "{} series", start.len());
    let by_kind = "heliograph_events_received_total{";
    let by_kind = start.iter().filter(|series| series.starts_with(by_kind));
    let kinds = by_kind.count();
    assert!((2..=KINDS_MAX).contains(&kinds), "{kinds} series");

    let mut client = relay.client();
    let mut sent = 0;
    for kinds in (0..=u16::MAX).collect::<Vec<_>>().chunks(1_000) {
        let events: Vec<Event> = kinds
            .iter()
            .map(|kind| too_late(*kind, u32::from(*kind) % 10_000))
            .collect();
        events.iter().for_each(|event| client.send_event(event));
        for event in &events {
            let (accepted, text) = client.ok(&event.id().to_hex());
            assert!(!accepted && text.starts_with("invalid: "), "{text}");
        }
        sent += events.len();
    }
    for n in 0..1_000_u32 {
        let mut client = connect(
            &relay,
            &forwarded(&Ipv4Addr::from_bits(0x0b00_0000 + n).to_string()),
        );
        let note = Key::nth(n as usize).note(now(), &n.to_string());
        client.accept(&note);
        assert!(client.publish(&note).0, "a duplicate");
        sent += 2;
        let stored = client.req(&format!("sub-{n}"), &[json!({"ids": [note.id().to_hex()]})]);
        assert_eq!(stored.events, [note]);
    }
    // An event that can't be read, one that nobody asked for, nonsense, too much.
    client.send(r#"["EVENT",{"id":"00"}]"#);
    client.send(r#"["EVENT",{}]"#);
    client.send("nonsense");
    client.send(r#"["REQ","s",{"what":1}]"#);
    client.send(r#"["COUNT","c",{"kinds":[1]}]"#);
    client.fence();
    let forged = Key::nth(0).note(now(), "forged");
    let forged = forged
        .as_str()
        .replace(&forged.sig().to_hex(), &"0".repeat(128));
    client.send(&format!(r#"["EVENT",{forged}]"#));
    sent += 1;
    client.fence();

    let end = within(PATIENCE, "every answer to be counted", || {
        let page = page();
        let answered = sum(&page, "heliograph_events_result_total{");
        (answered >= sent as f64).then_some(page)
    });
    let series = series(&end);
    let new: Vec<_> = series.difference(&start).collect();
    assert!(new.is_empty(), "{new:?}");
    assert_eq!(series.len(), start.len(), "none is gone either");
    let received = sum(&end, "heliograph_events_received_total{");
    assert_eq!(received, sum(&end, "heliograph_events_result_total{"));
    assert_eq!(
        received,
        metric(&end, r#"heliograph_client_messages_total{verb="EVENT"}"#)
    );
    let rejected = |limit: &str| {
        let series = format!(r#"heliograph_limit_rejections_total{{limit="{limit}"}}"#);
        metric(&end, &series)
    };
    assert_eq!(rejected("event_future"), 65_536.0);
    assert_eq!(
        sum(&end, "heliograph_publish_ok_seconds_count{"),
        sum(&end, r#"heliograph_events_result_total{result="accepted""#)
    );
}
