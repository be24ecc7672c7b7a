//! The proxy itself: what it doesn't break passes, and what it breaks is broken.

use std::time::Duration;

use heliograph_loadtest::{Single, now};
use heliograph_protocol::Event;
use heliograph_testkit::{
    PATIENCE, client::Client, http::request, keys::Key, reply::Reply, websocket::WebSocket,
};
use serde_json::{Value, json};

use crate::{
    bed::single,
    proxy::{
        Proxy,
        messages::What,
        rules::{Act, Rule, Way},
    },
};

/// A relay behind a proxy with these rules.
fn proxied(rules: Vec<Rule>) -> (Proxy, Single) {
    let mut proxy = Proxy::bind();
    let relay = single(&[&format!("relay.url={}", proxy.url())]);
    proxy.serve(relay.address(), rules, 0);
    (proxy, relay)
}

fn note(text: &str) -> Event {
    Key::nth(0).note(now(), text)
}

#[test]
fn without_rules_everything_passes() {
    let (proxy, _relay) = proxied(Vec::new());
    let (mut writer, mut reader) = (proxy.client(), proxy.client());
    reader.req("live", &[json!({"kinds": [1]})]);
    let event = note("passes");
    writer.accept(&event);
    let stored = writer.query(&[json!({"kinds": [1]})]);
    assert_eq!(stored.events, [event]);
    let long = note(&"x".repeat(60_000));
    writer.accept(&long);
    let head = ["Accept: application/nostr+json"];
    let page = request(proxy.address(), "GET", "/", &head);
    assert_eq!(page.status, 200);
    assert!(page.text().contains("supported_nips"), "{}", page.text());
}

#[test]
fn a_close_reaches_the_client_with_its_code() {
    let mut proxy = Proxy::bind();
    let relay = single(&["gateway.invalid_messages_max=1"]);
    proxy.serve(relay.address(), Vec::new(), 0);
    let mut socket = WebSocket::connect(proxy.address());
    socket.send_text("nonsense");
    socket.send_text("nonsense");
    assert_eq!(socket.read_close().0, 1008);
}

#[test]
fn a_rule_breaks_what_it_is_for_and_nothing_else() {
    let refuse: fn(&mut Value) = |message| {
        message[2] = json!(false);
        message[3] = json!("error: broken");
    };
    let (proxy, _relay) = proxied(vec![
        Rule::on(What::Ok, Act::Edit(refuse)).one_in(2),
        Rule::on(What::Stored, Act::Repeat),
        Rule::on(What::Live, Act::Drop),
    ]);
    let (mut writer, mut reader) = (proxy.client(), proxy.client());
    reader.query(&[json!({"kinds": [1]})]);
    let (first, second) = (note("refused"), note("accepted"));
    assert!(!writer.publish(&first).0);
    assert!(writer.publish(&second).0);
    let stored = writer.query(&[json!({"kinds": [1], "limit": 1})]);
    assert_eq!(stored.events.len(), 2);
}

#[test]
fn a_late_message_is_overtaken() {
    let wait = Duration::from_millis(300);
    let (proxy, _relay) = proxied(vec![Rule::on(What::Ok, Act::Delay(wait))]);
    let mut client = proxy.client();
    let _first = client.challenge();
    client.send_event(&note("late"));
    client.send_req("a", &[json!({"kinds": [2]})]);
    assert!(matches!(client.next_reply(), Reply::Eose { .. }));
    assert!(matches!(client.next_reply(), Reply::Ok { .. }));
}

#[test]
fn some_handshakes_are_refused() {
    let (proxy, _relay) = proxied(vec![Rule::upgrade_is(Way::Refuse).one_in(2)]);
    let connect = || WebSocket::try_connect(proxy.address(), PATIENCE);
    assert!(connect().unwrap_err().contains("503"));
    assert!(connect().is_ok());
}

#[test]
fn who_comes_first_may_be_spared() {
    let mut proxy = Proxy::bind();
    let relay = single(&[]);
    proxy.serve(relay.address(), vec![Rule::upgrade_is(Way::Refuse)], 1);
    let connect = || WebSocket::try_connect(proxy.address(), PATIENCE);
    assert!(connect().is_ok());
    assert!(connect().is_err());
}

#[test]
fn a_reader_that_stops_stops_the_relay() {
    // The proxy would hide a stall if it took what nobody reads.
    let (proxy, relay) = proxied(Vec::new());
    let mut slow = Client::over(WebSocket::connect_narrow(proxy.address(), 4_096));
    slow.send(r#"["REQ","slow",{"kinds":[1]}]"#);
    let mut writer = Client::connect(relay.address());
    let text = "x".repeat(60_000);
    let closed = "heliograph_slow_consumer_total{action=\"close\"} 0";
    for round in 0..20 {
        // Past what the sockets on the way hold.
        let events = (0..50).map(|n| note(&format!("{round} {n} {text}")));
        let events: Vec<Event> = events.collect();
        for event in &events {
            writer.send_event(event);
        }
        for event in &events {
            writer.ok(&event.id().to_hex());
        }
        if !relay.metrics().unwrap().contains(closed) {
            return;
        }
    }
    panic!("nobody is too slow:\n{}", relay.metrics().unwrap());
}
