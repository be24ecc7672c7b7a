//! Clients behind a balancer that speaks the PROXY protocol, version 2: each has its own address and limits.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use heliograph_testkit::{
    PATIENCE,
    client::Client,
    http::exchange,
    process::Relay,
    websocket::{Handshake, WebSocket},
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header of a balancer's own connection, as of a health check.
const LOCAL: [u8; 4] = [0x20, 0, 0, 0];

/// A relay that expects headers from where tests connect, and takes one connection an address.
fn behind_balancer(set: &[&str]) -> Relay {
    let ours = [
        "gateway.trusted_proxies=127.0.0.1/32,10.0.0.0/8",
        "gateway.proxy_protocol=true",
        "gateway.connections_per_ip_max=1",
    ];
    Relay::with(&[&ours, set].concat())
}

/// The header for a client on TCP, with a field of the balancer's own behind the addresses.
fn header(client: &str) -> Vec<u8> {
    const NOOP: [u8; 5] = [0x04, 0, 2, 0, 0];
    const PORTS: [u8; 4] = [0x30, 0x39, 0x1e, 0x61];
    let (family, addresses) = match client.parse().unwrap() {
        IpAddr::V4(address) => (0x11, [&address.octets()[..], &[10, 0, 0, 1]].concat()),
        IpAddr::V6(address) => (0x21, [&address.octets()[..], &[0; 16]].concat()),
    };
    let length = u8::try_from(addresses.len() + PORTS.len() + NOOP.len()).unwrap();
    let fields = [0x21, family, 0, length];
    [SIGNATURE, &fields, &addresses, &PORTS, &NOOP].concat()
}

fn connect(relay: &Relay, handshake: &Handshake) -> Client {
    Client::over(WebSocket::connect_with(relay.address(), handshake))
}

/// The status that an upgrade gets.
fn status(relay: &Relay, handshake: &Handshake) -> u16 {
    let request = handshake.request(relay.address());
    let bytes = [&handshake.preface[..], request.as_bytes()].concat();
    exchange(relay.address(), &bytes).status
}

/// Asserts that an address has all the connections that it may have.
#[track_caller]
fn assert_refused(relay: &Relay, handshake: &Handshake) {
    let mut stream = TcpStream::connect(relay.address()).expect("the relay listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = handshake.request(relay.address());
    let bytes = [&handshake.preface[..], request.as_bytes()].concat();
    stream.write_all(&bytes).unwrap();
    let mut said = [0; 1024];
    let read = match stream.read(&mut said) {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
        Err(error) => panic!("neither an answer nor an end: {error}"),
    };
    let said = String::from_utf8_lossy(&said[..read]).into_owned();
    // Without a word while the handshake of the one before still counts.
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 429 "),
        "{said:?}"
    );
}

/// What the relay says to these bytes before it closes the connection, and after how long.
fn until_closed(relay: &Relay, bytes: &[u8]) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(relay.address()).expect("the relay listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        // What it didn't read makes it a reset.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    (said, begun.elapsed())
}

#[test]
fn each_client_counts_as_itself() {
    let relay = behind_balancer(&[]);
    let client = |address: &str| Handshake::default().after(&header(address));
    let mut first = connect(&relay, &client("192.0.2.1"));
    let mut second = connect(&relay, &client("192.0.2.2"));
    let mut third = connect(&relay, &client("2001:db8::1"));
    // A second connection of each, also from the same /64 and in the mapped form.
    for address in ["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::2"] {
        assert_refused(&relay, &client(address));
    }
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.fence(), []);
    }
}

#[test]
fn a_balancer_without_a_client_counts_as_itself() {
    let relay = behind_balancer(&[]);
    let own = Handshake::default().after(&[SIGNATURE, &LOCAL].concat());
    let mut first = connect(&relay, &own);
    assert_refused(&relay, &own);
    assert_eq!(first.fence(), []);
}

#[test]
fn forwarded_addresses_are_believed_only_from_proxies_behind_the_balancer() {
    let relay = behind_balancer(&[]);
    let forwarded = |hop: &str, client: &str| {
        let handshake = Handshake::default().after(&header(hop));
        handshake.field(&format!("X-Forwarded-For: {client}"))
    };
    let mut inner = connect(&relay, &forwarded("10.1.1.1", "192.0.2.1"));
    let mut other = connect(&relay, &forwarded("10.1.1.1", "192.0.2.2"));
    assert_refused(&relay, &forwarded("10.1.1.1", "192.0.2.1"));
    // A client that names another: still the same client.
    let mut liar = connect(&relay, &forwarded("203.0.113.1", "192.0.2.3"));
    assert_refused(&relay, &forwarded("203.0.113.1", "192.0.2.4"));
    for client in [&mut inner, &mut other, &mut liar] {
        assert_eq!(client.fence(), []);
    }
}

#[test]
fn a_balancer_s_connection_without_a_usable_header_ends_without_a_word() {
    let relay = behind_balancer(&[]);
    let request = Handshake::default().request(relay.address());
    let udp = [SIGNATURE, &[0x21, 0x12, 0, 12], &[0; 12]].concat();
    let version_1 = b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec();
    let unspecified = [SIGNATURE, &[0x21, 0, 0, 0]].concat();
    for preface in [Vec::new(), udp, version_1, unspecified] {
        let (said, _) = until_closed(&relay, &[&preface, request.as_bytes()].concat());
        assert_eq!(String::from_utf8_lossy(&said), "", "{preface:?}");
    }
    let mut client = connect(&relay, &Handshake::default().after(&header("192.0.2.1")));
    assert_eq!(client.fence(), []);
}

#[test]
fn half_a_header_has_the_time_of_a_handshake() {
    let relay = behind_balancer(&["gateway.handshake_timeout_secs=1"]);
    let header = header("192.0.2.1");
    let (said, took) = until_closed(&relay, &header[..header.len() - 1]);
    assert_eq!(said, b"");
    assert!(took >= Duration::from_secs(1), "closed after {took:?}");
}

#[test]
fn from_anyone_else_a_header_is_no_request() {
    let relay = Relay::with(&[
        "gateway.trusted_proxies=10.0.0.0/8",
        "gateway.proxy_protocol=true",
    ]);
    let mut plain = connect(&relay, &Handshake::default());
    assert_eq!(plain.fence(), []);
    let spoofed = Handshake::default().after(&header("192.0.2.1"));
    assert_eq!(status(&relay, &spoofed), 400);
}

#[test]
fn without_the_setting_a_trusted_proxy_speaks_http() {
    let relay = Relay::with(&["gateway.trusted_proxies=127.0.0.1/32"]);
    let mut plain = connect(&relay, &Handshake::default());
    assert_eq!(plain.fence(), []);
    let headed = Handshake::default().after(&header("192.0.2.1"));
    assert_eq!(status(&relay, &headed), 400);
}
