//! What REQ and COUNT may ask for, and how often.

use heliograph_testkit::{
    client::{Client, End, query},
    keys::Key,
    process::Relay,
};
use serde_json::{Value, json};

use super::{Bucket, count_passed, default_of, relay};
use crate::{
    limits::limitation,
    support::{accept_all, ids, notes},
};

/// What CLOSED says to a REQ or COUNT, if that is the answer. A subscription is closed again.
#[track_caller]
fn refusal(client: &mut Client, verb: &str, id: &str, filters: &[Value]) -> Option<String> {
    if verb == "COUNT" {
        return client.count(id, filters).err();
    }
    match client.req(id, filters).end {
        End::Closed(text) => Some(text),
        End::Eose(_) => {
            client.close(id);
            None
        }
    }
}

/// Asserts that both doors take the first filters, which are at a limit, and not the second, which are
/// one past it.
#[track_caller]
fn check(relay: &Relay, taken: &[Value], refused: &[Value], prefix: &str) {
    for verb in ["REQ", "COUNT"] {
        let mut client = relay.client();
        assert_eq!(refusal(&mut client, verb, "s", taken), None, "{verb}");
        let text = refusal(&mut client, verb, "s", refused).unwrap_or_default();
        assert!(text.starts_with(&format!("{prefix}: ")), "{verb}: {text:?}");
    }
}

/// Subscriptions of one connection: 64, and as many COUNTs under way (CLOSED `blocked:`, R01-59); ids of
/// 64 characters (CLOSED `invalid:`, R01-24).
#[test]
fn subscriptions_per_connection() {
    let relay = relay("");
    let max = limitation(&relay, "max_subscriptions");
    assert_eq!(max, 64);
    let mut client = relay.client();
    let none = [json!({"ids": []})];
    for n in 0..max {
        let answered = client.req(&n.to_string(), &none).end;
        assert!(matches!(answered, End::Eose(_)), "{n}: {answered:?}");
    }
    let End::Closed(text) = client.req("one more", &none).end else {
        panic!("one more is open")
    };
    assert!(text.starts_with("blocked: "), "{text}");
    // One in use may be replaced, and one closed makes room (R01-56, R01-58).
    assert!(matches!(client.req("0", &none).end, End::Eose(_)));
    client.close("1");
    assert!(matches!(client.req("one more", &none).end, End::Eose(_)));
    // Others have their own; what is sent at once is under way at once.
    let mut other = relay.client();
    let frame = |n: usize| {
        let count = query("COUNT", &n.to_string(), &none);
        heliograph_testkit::frame::Frame::text(count).encode()
    };
    let frames: Vec<u8> = (0..=max).flat_map(frame).collect();
    other.socket.write(&frames).unwrap();
    let text = other.closed(&max.to_string());
    assert!(text.starts_with("blocked: "), "{text}");
    let counted = other.fence();
    assert_eq!(counted.len(), max, "{counted:?}");

    let max = limitation(&relay, "max_subid_length");
    assert_eq!(max, 64, "NIP-01 says so");
    for verb in ["REQ", "COUNT"] {
        let mut client = relay.client();
        for sign in ["x", "é", "😀"] {
            let id = sign.repeat(max);
            assert_eq!(refusal(&mut client, verb, &id, &none), None);
            let id = sign.repeat(max + 1);
            let text = refusal(&mut client, verb, &id, &none).unwrap_or_default();
            assert!(text.starts_with("invalid: "), "{verb}: {text:?}");
        }
    }
}

/// Filters of one REQ or COUNT: 20 (CLOSED `blocked:`, R01-68).
#[test]
fn filters_per_req() {
    let relay = relay("");
    let max = limitation(&relay, "max_filters");
    assert_eq!(max, 20);
    let filters = vec![json!({"kinds": [1], "limit": 1}); max + 1];
    check(&relay, &filters[..max], &filters, "blocked");
}

/// Kinds that anybody may count.
fn kinds(count: usize) -> Vec<usize> {
    (30_000..30_000 + count).collect()
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

/// Values of one filter: 5,000 over all its lists, 3 tags, 50,000 combinations of what the lists have
/// (CLOSED `blocked:`, R01-68).
#[test]
fn values_per_filter() {
    let relay = relay("");
    let max = limitation(&relay, "max_filter_values");
    assert_eq!(max, 5_000);
    let values = |words_too: usize| json!({"kinds": kinds(max - 2), "#t": words(words_too)});
    check(&relay, &[values(2)], &[values(3)], "blocked");
    // Each filter by itself, and repetitions aren't counted.
    let twice = [kinds(max), kinds(max)].concat();
    let twice = json!({"kinds": twice});
    check(&relay, &[twice.clone(), twice], &[values(3)], "blocked");

    assert_eq!(limitation(&relay, "max_filter_tags"), 3);
    let three = json!({"#t": ["a"], "#r": ["b"], "#d": ["c"]});
    let four = json!({"#t": ["a"], "#r": ["b"], "#d": ["c"], "#T": ["d"]});
    check(&relay, &[three], &[four], "blocked");

    assert_eq!(limitation(&relay, "max_filter_combinations"), 50_000);
    let product = |kinds_too, words_too| json!({"authors": [Key::nth(0).hex()], "kinds": kinds(kinds_too), "#t": words(words_too)});
    check(
        &relay,
        &[product(2_500, 20)],
        &[product(2_381, 21)],
        "blocked",
    );
}

/// A relay that takes many events at once.
fn writable(lines: &str) -> Relay {
    relay(&format!(
        "[gateway]\nevents_per_sec = 0\nevents_per_ip_per_sec = 0\n{lines}"
    ))
}

/// Limit: 500 stored events for a filter, which is what one without `limit` gets (R01-54); a COUNT looks at
/// 1,000,000 rows (CLOSED `error:`).
#[test]
fn limit() {
    let relay = writable("");
    let (max, default) = (
        limitation(&relay, "max_limit"),
        limitation(&relay, "default_limit"),
    );
    assert_eq!((max, default), (500, 500));
    let mut client = relay.client();
    let mut all = notes(&Key::nth(0), 1_700_000_000, max + 2);
    accept_all(&mut client, &all);
    all.reverse();
    let all = ids(&all);
    for limit in [0, 1, max - 1, max] {
        let stored = client.query(&[json!({"kinds": [1], "limit": limit})]);
        assert_eq!(stored.ids(), all[..limit], "limit {limit}");
    }
    let clamped = client.query(&[json!({"kinds": [1], "limit": max + 1})]);
    assert_eq!(clamped.ids(), all[..max], "clamped without a word (R01-54)");
    assert_eq!(client.query(&[json!({"kinds": [1]})]).ids(), all[..default]);
    let filter = json!({"kinds": [1], "limit": 1});
    assert_eq!(client.count("c", &[filter]), Ok(all.len() as u64));

    assert_eq!(default_of("store", "count_rows_max"), "1000000");
    let relay = writable("[store]\nscan_rows_max = 1_000\ncount_rows_max = 1_000");
    let mut client = relay.client();
    let all = notes(&Key::nth(0), 1_700_000_000, 1_001);
    accept_all(&mut client, &all[..1_000]);
    assert_eq!(client.count("c", &[json!({"kinds": [1]})]), Ok(1_000));
    accept_all(&mut client, &all[1_000..]);
    let text = client.count("c", &[json!({"kinds": [1]})]).unwrap_err();
    assert!(text.starts_with("error: "), "{text}");
}

/// Expensive scans: 500,000 rows and 250 ms of reading for one filter, then CLOSED `error:` after what was
/// found, never EOSE.
#[test]
fn expensive_scans() {
    assert_eq!(default_of("store", "scan_rows_max"), "500000");
    assert_eq!(default_of("store", "scan_ms_max"), "250");
    let relay = writable("[store]\nscan_rows_max = 1_000");
    let mut client = relay.client();
    // Two people by turns, of whom one writes about this and the other about that.
    let (alice, bob) = (Key::nth(0), Key::nth(1));
    let by_turns = |n: u64| match n % 2 {
        0 => alice.sign(1_700_000_000 + n, 1, &[&["t", "this"]], ""),
        _ => bob.sign(1_700_000_000 + n, 1, &[&["t", "that"]], ""),
    };
    let all: Vec<_> = (0..2_400).map(by_turns).collect();
    accept_all(&mut client, &all[..800]);
    let never = [json!({"authors": [alice.hex()], "#t": ["that"]})];
    assert_eq!(client.query(&never).hint(), Some("finish"));
    accept_all(&mut client, &all[800..]);
    let text = refusal(&mut client, "REQ", "s", &never).unwrap_or_default();
    assert!(text.starts_with("error: "), "{text:?}");
    // What needn't be looked for is found as ever, the first of all included.
    let newest = client.query(&[json!({"limit": 5})]);
    assert_eq!(newest.events.len(), 5);
}

/// What is answered by CLOSED, whatever the limits: nobody has authenticated.
const PRIVATE: &str = r#"{"kinds":[4]}"#;

/// Sends so many messages at once that are each answered by CLOSED.
#[track_caller]
fn flood(client: &mut Client, verb: &str, count: usize) {
    for _ in 0..count {
        client.send(&format!(r#"["{verb}","s",{PRIVATE}]"#));
    }
}

/// REQ flood: 20 REQ, COUNT and CLOSE a second of one connection, 100 at once; 100 and 1,000 of one address
/// (CLOSED `rate-limited:`).
#[test]
fn req_flood() {
    for (key, value) in [
        ("reqs_per_sec", "20"),
        ("reqs_burst", "100"),
        ("reqs_per_ip_per_sec", "100"),
        ("reqs_per_ip_burst", "1000"),
    ] {
        assert_eq!(default_of("gateway", key), value, "{key}");
    }
    let relay = relay("");
    for verb in ["REQ", "COUNT"] {
        let mut client = relay.client();
        let bucket = Bucket::new(100, 20);
        flood(&mut client, verb, 300);
        bucket.check(count_passed(&mut client, 300));
    }
    // CLOSE isn't answered and counts too.
    let mut client = relay.client();
    (0..99).for_each(|_| client.close("s"));
    let bucket = Bucket::new(1, 20);
    flood(&mut client, "REQ", 200);
    bucket.check(count_passed(&mut client, 200));

    let relay = super::relay("");
    let bucket = Bucket::new(1_000, 100);
    let mut clients: Vec<Client> = (0..15).map(|_| relay.client()).collect();
    for client in &mut clients {
        flood(client, "REQ", 100);
    }
    let passed = clients.iter_mut().map(|client| count_passed(client, 100));
    bucket.check(passed.sum());
}
