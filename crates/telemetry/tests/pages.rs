//! Pages in JSON on the admin listener, over a socket.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use heliograph_telemetry::{AdminServer, Health, Pages, registry};

/// Sends one request and returns the whole answer.
fn ask(addr: SocketAddr, target: &str) -> String {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    exchange().expect("the server answers")
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

    let answer = ask(server.addr(), "/echo?n=7");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("content-type: application/json\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n{\"n\":7}"), "{answer}");
    let answer = ask(server.addr(), "/echo");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("n is missing\n"));
    let answer = ask(server.addr(), "/ecco");
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("/readyz, /echo"));
}
