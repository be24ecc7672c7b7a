//! The opening handshake (RFC 6455 §4): what upgrades, and which status says why not.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use heliograph_testkit::{
    PATIENCE,
    client::Client,
    frame::Frame,
    http,
    process::Relay,
    websocket::{Handshake, WebSocket},
};

const REQ: &str = r#"["REQ","s",{"ids":[]}]"#;
const EOSE: &str = r#"["EOSE","s""#;

#[track_caller]
fn upgrade_status(relay: &Relay, handshake: &Handshake) -> http::Response {
    http::exchange(
        relay.address(),
        handshake.clone().request(relay.address()).as_bytes(),
    )
}

#[test]
fn only_the_relay_s_path_upgrades() {
    let relay = Relay::start();
    for path in ["/other", "//", "/index.html", "/ws"] {
        let response = upgrade_status(&relay, &Handshake::default().path(path));
        assert_eq!(response.status, 404, "{path}");
    }
    let with_query = WebSocket::connect_with(relay.address(), &Handshake::default().path("/?a=b"));
    assert_eq!(Client::over(with_query).fence(), []);
}

#[test]
fn another_version_of_the_protocol_gets_426() {
    let relay = Relay::start();
    for version in ["8", "12", "14"] {
        let handshake = Handshake::default().without("Sec-WebSocket-Version");
        let handshake = handshake.field(&format!("Sec-WebSocket-Version: {version}"));
        let response = upgrade_status(&relay, &handshake);
        assert_eq!(response.status, 426, "version {version}");
        assert_eq!(response.header("sec-websocket-version"), Some("13"));
    }
}

#[test]
fn a_handshake_without_a_usable_key_gets_400() {
    let relay = Relay::start();
    let without = Handshake::default().without("Sec-WebSocket-Key");
    assert_eq!(upgrade_status(&relay, &without).status, 400);
    for key in [
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ",
        "!!!!!!!!!!!!!!!!!!!!!!==",
    ] {
        let handshake = without.clone().field(&format!("Sec-WebSocket-Key: {key}"));
        assert_eq!(
            upgrade_status(&relay, &handshake).status,
            400,
            "key {key:?}"
        );
    }
}

#[test]
fn header_names_and_tokens_have_no_case_in_a_handshake() {
    let relay = Relay::start();
    let handshake = Handshake::default()
        .without("Connection")
        .without("Upgrade");
    let handshake = handshake
        .field("CONNECTION: keep-alive, UPGRADE")
        .field("upgrade: WebSocket");
    let socket = WebSocket::connect_with(relay.address(), &handshake);
    assert_eq!(Client::over(socket).fence(), []);
}

#[test]
fn frames_sent_with_the_handshake_are_read() {
    let relay = Relay::start();
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let handshake = Handshake::default().request(relay.address());
    let bytes = [handshake.as_bytes(), &Frame::text(REQ).encode()].concat();
    stream.write_all(&bytes).unwrap();
    let mut seen = Vec::new();
    while !seen
        .windows(EOSE.len())
        .any(|window| window == EOSE.as_bytes())
    {
        let mut chunk = [0; 4096];
        let read = stream
            .read(&mut chunk)
            .expect("an answer before the deadline");
        assert!(read > 0, "{:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..read]);
    }
}
