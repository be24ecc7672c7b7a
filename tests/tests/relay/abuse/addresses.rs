//! What one address may do, and who it is that connects.

use heliograph_sandbox::wait::within;
use heliograph_testkit::{
    PATIENCE,
    client::Client,
    process::Relay,
    reply::Reply,
    websocket::{Handshake, WebSocket},
};
use serde_json::json;

use super::{Bucket, connect, default_of, forwarded, made_up, refused, relay};

/// Believes the machine that the tests run on.
const BEHIND_PROXY: &str = "trusted_proxies = [\"127.0.0.1/32\", \"10.0.0.0/8\"]";

/// A relay behind a proxy where each client may have one connection.
fn one_each() -> Relay {
    relay(&format!(
        "[gateway]\nconnections_per_ip_max = 1\n{BEHIND_PROXY}"
    ))
}

#[track_caller]
fn check_refused(relay: &Relay, handshake: &Handshake) {
    let answer = refused(relay, handshake);
    assert_eq!(answer.status, 429, "{handshake:?}: {}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert_eq!(answer.text(), "too many connections from you\n");
}

/// Connections of one address: 100 at a time, an address being a /64 in IPv6; 429 before the upgrade.
#[test]
fn connections_per_ip() {
    let relay = relay("");
    let mut held: Vec<Client> = (0..100).map(|_| relay.client()).collect();
    check_refused(&relay, &Handshake::default());
    for client in &mut held {
        assert_eq!(client.fence(), []);
    }
    drop(held.pop());
    within(PATIENCE, "room for one more", || {
        WebSocket::try_connect(relay.address(), PATIENCE).ok()
    });

    let relay = one_each();
    let _held = ["2001:db8::1", "192.0.2.1"].map(|from| connect(&relay, &forwarded(from)));
    for neighbour in ["2001:db8::2", "2001:db8::ffff:0:0:1", "::ffff:192.0.2.1"] {
        check_refused(&relay, &forwarded(neighbour));
    }
    for stranger in ["2001:db8:0:1::1", "192.0.2.2"] {
        assert_eq!(connect(&relay, &forwarded(stranger)).fence(), []);
    }
}

/// Connect rate of one address: 5 a second, 100 at once; 429 before the upgrade.
#[test]
fn connection_rate() {
    assert_eq!(default_of("gateway", "connections_per_ip_per_sec"), "5");
    assert_eq!(default_of("gateway", "connections_per_ip_burst"), "100");
    let lines = "connections_per_ip_per_sec = 1\nconnections_per_ip_burst = 3";
    let relay = relay(&format!("[gateway]\n{lines}\n{BEHIND_PROXY}"));
    let bucket = Bucket::new(3, 1);
    let from = forwarded("192.0.2.1");
    let connected = |_: &i32| {
        let socket = WebSocket::try_connect_with(relay.address(), &from, PATIENCE);
        socket.map_err(|refused| assert!(refused.contains("HTTP/1.1 429 "), "{refused}"))
    };
    let passed = (0..20).filter(|n| connected(n).is_ok()).count();
    bucket.check(passed);
    assert_eq!(connect(&relay, &forwarded("192.0.2.2")).fence(), []);
}

/// Allow-list: nothing is counted against the addresses of `gateway.unlimited_networks`, and none are
/// by default.
#[test]
fn unlimited_networks() {
    assert_eq!(default_of("gateway", "unlimited_networks"), "[]");
    let relay = relay(&format!(
        "[gateway]\nunlimited_networks = [\"192.0.2.0/24\"]\nconnections_per_ip_max = 1\n\
         connections_per_ip_burst = 1\nevents_per_ip_per_sec = 1\nevents_per_ip_burst = 1\n\
         reqs_per_ip_per_sec = 1\nreqs_per_ip_burst = 1\n{BEHIND_PROXY}"
    ));
    let mut held: Vec<Client> = (0..10)
        .map(|_| connect(&relay, &forwarded("192.0.2.1")))
        .collect();
    for (client, n) in held.iter_mut().zip(0..) {
        client.refuse(&made_up(n), "invalid");
        assert_eq!(client.count("c", &[json!({"ids": []})]), Ok(0));
    }
    let mut other = connect(&relay, &forwarded("203.0.113.1"));
    check_refused(&relay, &forwarded("203.0.113.1"));
    other.refuse(&made_up(0), "invalid");
    other.refuse(&made_up(1), "rate-limited");
}

/// `X-Forwarded-For` spoof: nobody is believed by default; from a trusted proxy it is the right-most
/// address that isn't one.
#[test]
fn forwarded_for_spoof() {
    let unproxied = relay("[gateway]\nconnections_per_ip_max = 3");
    let from = |n| forwarded(&format!("192.0.2.{n}"));
    let mut held = [1, 2, 3].map(|n| connect(&unproxied, &from(n)));
    for client in &mut held {
        assert_eq!(client.fence(), []);
    }
    check_refused(&unproxied, &from(4));

    let relay = one_each();
    let mut first = connect(&relay, &forwarded("192.0.2.1"));
    for spoofed in [
        "198.51.100.1, 192.0.2.1",
        "10.0.0.9, 198.51.100.1,192.0.2.1",
        // Through one more proxy of ours.
        "198.51.100.1, 192.0.2.1, 10.0.0.9",
        "198.51.100.1, 192.0.2.1:4711",
        "rubbish, 192.0.2.1",
    ] {
        check_refused(&relay, &forwarded(spoofed));
    }
    // The client's own line stands before that of the proxy.
    let two_lines = forwarded("198.51.100.1").field("X-Forwarded-For: 192.0.2.1");
    check_refused(&relay, &two_lines);
    let mut other = connect(&relay, &forwarded("192.0.2.1, 198.51.100.1"));
    check_refused(&relay, &forwarded("198.51.100.1"));
    for client in [&mut first, &mut other] {
        assert_eq!(client.fence(), []);
    }
}

/// What a connection sends beyond its own rate isn't counted against its address, which others share.
#[test]
fn a_flood_leaves_neighbours_their_rate() {
    let relay = relay("");
    let mut flooding = relay.client();
    let broken = format!(r#"["EVENT",{{"id":"{}"}}]"#, "0".repeat(64));
    for _ in 0..3_000 {
        flooding.close("s");
        flooding.send(&broken);
    }
    // Read by then, and refused itself.
    let mut replies = flooding.fence();
    replies.retain(|reply| {
        !matches!(
            reply,
            Reply::Ok {
                accepted: false,
                ..
            }
        )
    });
    assert_eq!(replies, []);
    let mut neighbour = relay.client();
    neighbour.refuse(&made_up(0), "invalid");
    assert_eq!(neighbour.count("c", &[json!({"ids": []})]), Ok(0));
}
