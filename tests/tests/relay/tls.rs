//! TLS without a proxy: the same relay behind `wss://`, whose certificate can be renewed while it runs.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use heliograph_protocol::Event;
use heliograph_sandbox::wait::within;
use heliograph_testkit::{
    PATIENCE,
    client::Client,
    http::request,
    keys::Key,
    process::{Relay, command},
    reply::Reply,
    tool::run,
    websocket::WebSocket,
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    operate::admin,
    shutdown::check_drained,
    support::{accept_all, id_set, notes, now},
    tls_bed::{Certificate, Tunnel, negotiated},
};

/// Longer than the relay takes to look at the files of its own accord.
const LOOKED: Duration = Duration::from_secs(45);

/// A relay with TLS and the way to it.
fn relay(certificate: &Certificate, set: &[&str]) -> (Relay, Tunnel) {
    let relay = Relay::with(&certificate.settings(set));
    let tunnel = Tunnel::new(relay.address(), &certificate.file());
    (relay, tunnel)
}

/// Whether a connection through a tunnel comes up.
fn connects(tunnel: &Tunnel) -> bool {
    WebSocket::try_connect(tunnel.address(), PATIENCE).is_ok()
}

#[test]
fn events_go_in_and_out_and_the_document_is_there() {
    let certificate = Certificate::new();
    let (_relay, tunnel) = relay(&certificate, &[]);
    let key = Key::nth(0);
    let (mut reader, mut writer) = (
        Client::connect(tunnel.address()),
        Client::connect(tunnel.address()),
    );
    reader.req("live", &[json!({"authors": [key.hex()], "limit": 0})]);
    let events = notes(&key, now() - 1_000, 300);
    accept_all(&mut writer, &events);
    let live: Vec<Event> = events.iter().map(|_| reader.next_event("live")).collect();
    assert_eq!(id_set(&live), id_set(&events));
    let stored = writer.query(&[json!({"authors": [key.hex()]})]);
    assert_eq!(stored.ids().len(), 300);
    let document = request(
        tunnel.address(),
        "GET",
        "/",
        &["Accept: application/nostr+json"],
    );
    assert_eq!(document.status, 200);
    assert!(document.text().contains("supported_nips"));
}

#[test]
fn an_answer_of_megabytes_arrives_whole_however_slowly_it_is_read() {
    let certificate = Certificate::new();
    let (_relay, tunnel) = relay(&certificate, &[]);
    let mut writer = Client::connect(tunnel.address());
    let key = Key::nth(0);
    let events: Vec<Event> = (0..300)
        .map(|n| key.note(now() - 1_000 + n, &format!("{n:>050000}")))
        .collect();
    accept_all(&mut writer, &events);
    // Thirty megabytes, of which buffers on the way hold a few: the relay's writes have to stop and go on.
    let mut socket = WebSocket::connect_narrow(tunnel.address(), 4096);
    let question = |sub: &str| format!(r#"["REQ","{sub}",{{"kinds":[1],"limit":300}}]"#);
    socket.send_text(&question("a"));
    socket.send_text(&question("b"));
    let mut reader = Client::over(socket);
    let mut received = 0;
    let mut found = [Vec::new(), Vec::new()];
    let mut ended = 0;
    while ended < 2 {
        let reply = reader.next_reply();
        received += 1;
        if received % 20 == 0 {
            thread::park_timeout(Duration::from_millis(30));
        }
        match reply {
            Reply::Event { sub, event } => {
                found[usize::from(sub == "b")].push(event);
            }
            Reply::Eose { .. } => ended += 1,
            Reply::Auth(_) => {}
            other => panic!("{other:?}"),
        }
    }
    for found in found {
        assert_eq!(id_set(&found), id_set(&events));
    }
}

#[test]
fn what_is_written_last_arrives_too_wherever_the_socket_was_full() {
    let certificate = Certificate::new();
    let (_relay, tunnel) = relay(&certificate, &[]);
    let mut writer = Client::connect(tunnel.address());
    let key = Key::nth(0);
    let events: Vec<Event> = (0..90)
        .map(|n| key.note(now() - 1_000 + n, &format!("{n:>050000}")))
        .collect();
    accept_all(&mut writer, &events);
    // Answers of one to four and a half megabytes in steps of less than a write, and nobody reads them: the kernel holds
    // some two and a half, so for one of them it is full in the very last write.
    let asked: Vec<_> = (20..=90)
        .map(|limit| {
            let mut socket = WebSocket::connect_narrow(tunnel.address(), 4096);
            socket.send_text(&format!(r#"["REQ","a",{{"kinds":[1],"limit":{limit}}}]"#));
            (limit, socket)
        })
        .collect();
    for (limit, socket) in asked {
        assert_eq!(Client::over(socket).stored("a").ids().len(), limit);
    }
}

#[test]
fn who_speaks_no_tls_gets_no_answer_and_hurts_nobody() {
    let certificate = Certificate::new();
    let (relay, tunnel) = relay(&certificate, &["gateway.handshake_timeout_secs=1"]);
    for sent in [
        &b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n"[..],
        b"",
        &[0x16; 3],
    ] {
        let mut stream = TcpStream::connect(relay.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(sent).unwrap();
        let mut said = Vec::new();
        // An end or a reset, but an end in time.
        if let Err(error) = stream.read_to_end(&mut said) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert!(!said.starts_with(b"HTTP"), "{said:?}");
    }
    assert_eq!(Client::connect(tunnel.address()).fence(), []);
}

/// What a client says first that takes HTTP/2 for granted (RFC 9113 §3.4).
const HTTP_2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// ADR 15.
#[test]
fn http_2_is_neither_offered_nor_understood() {
    let certificate = Certificate::new();
    let (relay, _tunnel) = relay(&certificate, &[]);
    let agreed = |offered: &[&str]| negotiated(relay.address(), &certificate.file(), offered);
    let http_1_1 = Some("http/1.1".to_owned());
    assert_eq!(agreed(&["h2", "http/1.1"]).unwrap(), http_1_1);
    assert_eq!(agreed(&[]).unwrap(), None);
    let refused = agreed(&["h2"]).unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");

    let plain = Relay::start();
    let mut stream = TcpStream::connect(plain.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(HTTP_2_PREFACE).unwrap();
    let mut said = Vec::new();
    // An answer or none, but an end.
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert!(
        said.is_empty() || said.starts_with(b"HTTP/1.1 400"),
        "{said:?}"
    );
}

#[test]
fn an_address_has_no_more_handshakes_than_connections() {
    let certificate = Certificate::new();
    let set = [
        "gateway.connections_per_ip_burst=3",
        "gateway.connections_per_ip_per_sec=1",
    ];
    let (relay, tunnel) = relay(&certificate, &set);
    // Handshakes and nothing after them.
    for _ in 0..12 {
        drop(TcpStream::connect(tunnel.address()).unwrap());
    }
    let ends = within(PATIENCE, "end of all", || {
        let ends = tunnel.ends();
        (ends.len() == 12).then_some(ends)
    });
    let refused = ends.iter().filter(|end| end.is_err()).count();
    assert!((5..=9).contains(&refused), "{ends:?}");
    let page = request(admin(&relay), "GET", "/metrics", &[]);
    let limited = "heliograph_rate_limited_total{limit=\"connections_per_ip\"} ";
    let count = page
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(limited));
    assert_eq!(count, Some(&*refused.to_string()), "{}", page.text());
}

#[test]
fn a_relay_that_stops_says_so_over_tls_too_and_ends_it_in_order() {
    let certificate = Certificate::new();
    let (mut relay, tunnel) = relay(&certificate, &[]);
    let clients = (
        Client::connect(tunnel.address()),
        Client::connect(tunnel.address()),
    );
    check_drained(clients.0, clients.1, &Key::nth(0), || relay.terminate());
    assert!(relay.exit().success());
    within(PATIENCE, "end of both connections", || {
        (tunnel.ends().len() == 2).then_some(())
    });
    assert_eq!(tunnel.ends(), [Ok(()), Ok(())], "a close_notify, not a cut");
}

#[test]
fn the_header_of_a_balancer_comes_before_tls() {
    const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let certificate = Certificate::new();
    let set = [
        "gateway.trusted_proxies=127.0.0.1/32",
        "gateway.proxy_protocol=true",
    ];
    let (relay, bare) = relay(&certificate, &set);
    assert!(!connects(&bare));
    let headed = Tunnel::after(relay.address(), &certificate.file(), LOCAL);
    assert_eq!(Client::connect(headed.address()).fence(), []);
}

#[test]
fn a_renewed_certificate_is_shown_to_new_clients_and_old_ones_stay() {
    let certificate = Certificate::new();
    let (relay, before) = relay(&certificate, &[]);
    let mut old = Client::connect(before.address());
    certificate.renew();
    relay.signal(Signal::HUP);
    let after = Tunnel::new(relay.address(), &certificate.file());
    within(PATIENCE, "sight of the new certificate", || {
        connects(&after).then_some(())
    });
    assert!(!connects(&before), "the old certificate is shown no more");
    assert_eq!(old.fence(), []);

    // What can't be used is said, and changes nothing.
    fs::write(certificate.file(), "nothing").unwrap();
    relay.signal(Signal::HUP);
    let said = "a new certificate can't be used, the old one stays in force";
    within(PATIENCE, said, || relay.log().contains(said).then_some(()));
    assert!(connects(&after));
}

#[test]
fn a_renewed_certificate_is_found_without_a_word() {
    let certificate = Certificate::new();
    let (relay, _before) = relay(&certificate, &[]);
    certificate.renew();
    let after = Tunnel::new(relay.address(), &certificate.file());
    within(LOOKED, "sight of the new certificate", || {
        connects(&after).then_some(())
    });
}

#[test]
fn a_certificate_that_can_not_be_used_keeps_the_relay_from_starting() {
    let (one, other) = (Certificate::new(), Certificate::new());
    let missing = one.file().with_extension("missing");
    let cases = [
        (missing.clone(), one.key(), "can't be read"),
        (one.file(), missing, "can't be read"),
        (one.key(), one.key(), "holds no certificate in PEM"),
        (one.file(), one.file(), "holds no private key in PEM"),
        (one.file(), other.key(), "can't be used together"),
    ];
    for (certificate, key, expected) in cases {
        let data = tempfile::tempdir().unwrap();
        let mut relay = command();
        relay.arg("--data").arg(data.path());
        relay.args(["--listen", "127.0.0.1:0", "--set", "admin.listen="]);
        relay
            .arg("--set")
            .arg(format!("gateway.certificate={}", certificate.display()));
        relay
            .arg("--set")
            .arg(format!("gateway.key={}", key.display()));
        let said = run(&mut relay, b"").failure().stderr;
        assert!(
            said.contains(expected) && said.contains("gateway.certificate"),
            "{said}"
        );
    }
}

#[test]
fn the_metrics_tell_when_the_certificate_in_force_ends() {
    let certificate = Certificate::new();
    let (relay, _tunnel) = relay(&certificate, &[]);
    // A new one that can't be used: the key isn't its own.
    let key = fs::read(certificate.key()).unwrap();
    certificate.renew_for(90);
    fs::write(certificate.key(), key).unwrap();
    relay.signal(Signal::HUP);
    within(PATIENCE, "word of it", || {
        relay.log().contains("can't be used together").then_some(())
    });
    let page = request(admin(&relay), "GET", "/metrics", &[]);
    let series = "heliograph_tls_certificate_not_after_seconds{use=\"clients\"} ";
    let ends = page
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(series));
    let ends: f64 = ends.expect("a series").parse().unwrap();
    let days = (ends - now() as f64) / 86_400.0;
    assert!((1.9..=2.1).contains(&days), "{days} days");
}
