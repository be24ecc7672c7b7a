//! What metrics promise: what was counted adds up. That no message makes a series is in `abuse`.

use heliograph_sandbox::wait::within;
use heliograph_testkit::{
    PATIENCE,
    client::query,
    http::request,
    keys::Key,
    process::Relay,
    websocket::{Handshake, Message, WebSocket},
};
use serde_json::json;

use crate::{
    operate::admin,
    support::{metric, now},
};

#[test]
fn compressed_messages_count_as_they_are_on_the_wire() {
    let relay = Relay::start();
    let handshake = Handshake::default().field("Sec-WebSocket-Extensions: permessage-deflate");
    let mut socket = WebSocket::connect_with(relay.address(), &handshake);
    let note = Key::nth(0).note(now(), &"the same words ".repeat(1_000));
    relay.client().accept(&note);
    socket.send_text(&query("REQ", "sub", &[json!({"kinds": [1]})]));
    let compressed = loop {
        match socket.read(PATIENCE) {
            Ok(Message::Compressed(bytes)) => break bytes,
            Ok(_) => {}
            Err(ending) => panic!("{ending:?}"),
        }
    };
    // One counts what was written once it was written.
    let series = r#"heliograph_client_bytes_total{dir="out",compressed="yes"}"#;
    let page = within(PATIENCE, "bytes that were sent", || {
        let page = request(admin(&relay), "GET", "/metrics", &[]);
        (metric(page.text(), series) > 0.0).then_some(page)
    });
    let header = 4.0;
    assert_eq!(
        metric(page.text(), series),
        header + compressed.len() as f64
    );
    assert!(compressed.len() < 2_000, "{}", compressed.len());
    let meant = r#"heliograph_client_payload_bytes_total{dir="out"}"#;
    assert!(metric(page.text(), meant) > 15_000.0);
    // A client needn't compress because it may.
    let received = r#"heliograph_client_bytes_total{dir="in",compressed="no"}"#;
    assert!(metric(page.text(), received) > 15_000.0);
}
