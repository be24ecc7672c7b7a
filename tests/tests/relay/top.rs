//! The lists of who sends most and what costs most, on the admin listener.

use std::net::SocketAddr;

use heliograph_testkit::{
    client::Client,
    http::request,
    keys::Key,
    process::Relay,
    websocket::{Handshake, WebSocket},
};
use serde_json::{Value, json};

use crate::{
    operate::admin,
    support::{accept_all, notes, now},
};

/// The page at this query.
#[track_caller]
fn top(admin: SocketAddr, query: &str) -> Value {
    let page = request(admin, "GET", &format!("/top{query}"), &[]);
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.header("content-type"), Some("application/json"));
    serde_json::from_str(page.text()).unwrap()
}

/// The first key of a list.
#[track_caller]
fn first<'a>(page: &'a Value, list: &str, measure: &str) -> &'a str {
    let entries = &page["lists"][list][measure]["entries"];
    let key = entries[0]["key"].as_str();
    key.unwrap_or_else(|| panic!("{list} by {measure}: {page}"))
}

/// Connects as a client behind a proxy.
fn connect_as(relay: &Relay, address: &str) -> Client {
    let handshake = Handshake::default().field(&format!("X-Forwarded-For: {address}"));
    Client::over(WebSocket::connect_with(relay.address(), &handshake))
}

#[test]
fn the_heaviest_author_address_and_filter_come_first() {
    let relay = Relay::with(&["gateway.trusted_proxies=127.0.0.1/32"]);
    let admin = admin(&relay);
    let (busy, wordy) = (Key::nth(0), Key::nth(1));
    let mut many = connect_as(&relay, "192.0.2.1");
    accept_all(&mut many, &notes(&busy, now() - 500, 200));
    let mut few = connect_as(&relay, "2001:db8::1");
    few.accept(&wordy.note(now(), &"x".repeat(100_000)));
    for n in 2..100 {
        few.accept(&Key::nth(n).note(now(), "one"));
    }
    // Others at the same address, from the point of view of limits.
    let mut refused = connect_as(&relay, "2001:db8::2");
    for _ in 0..50 {
        refused.send("nonsense");
    }
    refused.fence();
    let ids: Vec<String> = many.query(&[json!({"limit": 20})]).ids();
    for _ in 0..10 {
        many.query(&[json!({"authors": [busy.hex()], "kinds": [1], "limit": 150})]);
        many.query(&[json!({"ids": ids})]);
    }

    let page = top(admin, "");
    assert_eq!(page["half_life_seconds"], 60);
    assert_eq!(first(&page, "authors", "events"), busy.hex());
    assert_eq!(first(&page, "authors", "bytes"), wordy.hex());
    assert_eq!(first(&page, "addresses", "messages"), "192.0.2.1");
    assert_eq!(first(&page, "addresses", "rejected"), "2001:db8::/64");
    assert_eq!(first(&page, "addresses", "bytes"), "2001:db8::/64");
    assert_eq!(first(&page, "filters", "rows"), "authors:1,kinds:1,limit");
    let shapes = &page["lists"]["filters"]["micros"]["entries"];
    assert!(shapes.to_string().contains("ids:20+"), "{shapes}");
    let events = &page["lists"]["authors"]["events"];
    assert_eq!(events["entries"].as_array().unwrap().len(), 20);
    // Two of three were by this author; halving, should a minute have passed, doesn't change that.
    let number = |value: &Value| value.as_u64().unwrap();
    let (total, first) = (number(&events["total"]), &events["entries"][0]);
    let (count, error) = (number(&first["count"]), number(&first["error"]));
    assert!(
        error < count && count <= total && 2 * count > total,
        "{events}"
    );

    let one = top(admin, "?list=authors&n=3");
    assert_eq!(one["lists"].as_object().unwrap().len(), 1);
    let entries = &one["lists"]["authors"]["bytes"]["entries"];
    assert_eq!(entries.as_array().unwrap().len(), 3);
    assert_eq!(request(admin, "GET", "/top?list=secrets", &[]).status, 400);
    assert_eq!(request(admin, "GET", "/top?n=-1", &[]).status, 400);
}

/// Anybody can write anybody's name into an event, but not sign it.
#[test]
fn a_forged_event_does_not_put_its_author_on_the_list() {
    let relay = Relay::start();
    let mut client = relay.client();
    let (victim, other) = (Key::nth(0), Key::nth(1).note(now(), "signed"));
    client.accept(&other);
    for n in 0..5 {
        let note = victim.note(now(), &n.to_string());
        let forged = note
            .as_str()
            .replace(&note.sig().to_hex(), &other.sig().to_hex());
        client.send(&format!(r#"["EVENT",{forged}]"#));
        assert!(!client.ok(&note.id().to_hex()).0);
    }
    let page = top(admin(&relay), "?list=authors");
    assert!(!page.to_string().contains(&victim.hex()), "{page}");
    assert_eq!(first(&page, "authors", "events"), Key::nth(1).hex());
}
