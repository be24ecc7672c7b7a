//! The admin listener over a socket.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use heliograph_telemetry::{
    AdminError, AdminServer, BuildInfo, ConfigState, Health, Pages, ProcessFacts,
    register_process_metrics, registry,
};

fn start(health: &Health) -> AdminServer {
    let mut registry = registry();
    let build = BuildInfo {
        version: "0",
        revision: "unknown",
    };
    let facts = ProcessFacts {
        build,
        started_secs: 1,
        cores: 1,
        health: health.clone(),
        config: ConfigState::default(),
        tasks_panicked: || 0,
        certificates: Vec::new(),
    };
    register_process_metrics(&mut registry, facts);
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    AdminServer::start(any_port, registry, health.clone()).expect("a free port")
}

/// Sends one request and returns the whole answer.
fn ask(addr: SocketAddr, head: &str) -> String {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "{head} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    exchange().expect("the server answers")
}

#[test]
fn metrics_are_openmetrics_text() {
    let server = start(&Health::new());
    let answer = ask(server.addr(), "GET /metrics?x=1");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(
        answer.contains("\nheliograph_process_open_fds "),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"));
}

#[test]
fn readiness_follows_its_checks_and_liveness_does_not() {
    let health = Health::new();
    let ready = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&ready);
    health.ready_when("phase", move || {
        if flag.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("draining".to_owned())
        }
    });
    let server = start(&health);
    assert!(ask(server.addr(), "GET /readyz").starts_with("HTTP/1.1 200 "));
    ready.store(false, Ordering::Relaxed);
    let answer = ask(server.addr(), "GET /readyz");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\nphase: draining\n"));
    assert!(ask(server.addr(), "GET /livez").starts_with("HTTP/1.1 200 "));
}

#[test]
fn anything_else_is_not_found_or_not_allowed() {
    let server = start(&Health::new());
    assert!(ask(server.addr(), "GET /").starts_with("HTTP/1.1 404 "));
    assert!(ask(server.addr(), "POST /metrics").starts_with("HTTP/1.1 405 "));
}

#[test]
fn dropping_the_server_frees_its_address() {
    let server = start(&Health::new());
    let addr = server.addr();
    drop(server);
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_taken_address_is_named() {
    let server = start(&Health::new());
    let second = AdminServer::start(server.addr(), registry(), Health::new());
    let Err(error @ AdminError::Listen { .. }) = second else {
        panic!("{second:?}")
    };
    assert!(error.to_string().contains(&server.addr().to_string()));
}

#[test]
fn a_page_answers_in_json_says_what_is_wrong_and_is_named_where_another_was_meant() {
    let mut pages = Pages::default();
    pages.add("/echo", |query| {
        let n = query.get("n").ok_or("n is missing")?;
        Ok(format!("{{\"n\":{n}}}"))
    });
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = AdminServer::start_with(any_port, registry(), Health::new(), pages);
    let server = server.expect("a free port");

    let answer = ask(server.addr(), "GET /echo?n=7");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("content-type: application/json\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n{\"n\":7}"), "{answer}");
    let answer = ask(server.addr(), "GET /echo");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("n is missing\n"));
    let answer = ask(server.addr(), "GET /ecco");
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("/readyz, /echo"));
}
