//! `health`: asks a process of this configuration how it is, for images without a shell and for units.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

/// Time for the connection, and for each piece of the answer.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The longest answer that is read, in bytes: a page of health is a few lines.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Prints what the page says; an error unless it says yes.
///
/// # Errors
///
/// There is no admin listener, nobody answers in time, or the answer isn't 200.
pub(super) fn run(
    admin: Option<SocketAddr>,
    ready: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Some(admin) = admin else {
        bail!("admin.listen is off, so there is nobody to ask: set it to an address");
    };
    ensure!(
        admin.port() != 0,
        "admin.listen has port 0, so nobody knows where it listens: set it to a fixed port"
    );
    let address = reachable(admin);
    let page = if ready { "/readyz" } else { "/livez" };
    let answer = ask(address, page).with_context(|| format!("http://{address}{page}"))?;
    let (status, body) =
        parse(&answer).with_context(|| format!("http://{address}{page}: not an HTTP answer"))?;
    ensure!(
        status == 200,
        "http://{address}{page}: {status}\n{}",
        body.trim_end()
    );
    Ok(writeln!(out, "{}", body.trim_end())?)
}

/// A listener on every address is asked on this machine's own.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}

fn ask(address: SocketAddr, page: &str) -> io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the answer isn't chunked and ends with the connection. One write: who answers and closes
    // after the first piece would reset the connection.
    let request = format!("GET {page} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn parse(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, body))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// Asks somebody who answers the named page with `answer`, and any other with 404.
    fn health(ready: bool, page: &'static str, answer: &'static str) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut reader = BufReader::new(&socket);
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(reader.read_until(b'\n', &mut request).unwrap(), 0);
            }
            let asked = request.starts_with(format!("GET {page} ").as_bytes());
            let answer = if asked {
                answer
            } else {
                "HTTP/1.0 404 Not Found\r\n\r\n"
            };
            socket.write_all(answer.as_bytes()).unwrap();
        });
        let mut out = Vec::new();
        let result = run(
            Some(SocketAddr::from(([0, 0, 0, 0], port))),
            ready,
            &mut out,
        );
        server.join().unwrap();
        result.map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_page_asked_for_is_asked_for_on_this_machine() {
        let ok = "HTTP/1.1 200 OK\r\n\r\nready\n";
        assert_eq!(health(true, "/readyz", ok).unwrap(), "ready\n");
        assert_eq!(health(false, "/livez", ok).unwrap(), "ready\n");
    }

    #[test]
    fn a_no_is_an_error_that_says_why() {
        let no = "HTTP/1.1 503 Service Unavailable\r\n\r\nnats: away\n";
        let error = health(true, "/readyz", no).unwrap_err().to_string();
        assert!(
            error.contains("503") && error.contains("nats: away"),
            "{error}"
        );
        let error = health(true, "/readyz", "SSH-2.0\r\n").unwrap_err();
        assert!(
            format!("{error:#}").contains("not an HTTP answer"),
            "{error:#}"
        );
    }

    #[test]
    fn without_a_fixed_listener_it_says_what_to_set() {
        let mut out = Vec::new();
        for listen in [None, Some(SocketAddr::from(([127, 0, 0, 1], 0)))] {
            let error = run(listen, true, &mut out).unwrap_err().to_string();
            assert!(error.contains("set it to"), "{error}");
        }
    }

    #[test]
    fn a_listener_on_all_addresses_of_version_6_is_asked_at_its_loopback() {
        let all = "[::]:7778".parse().unwrap();
        assert_eq!(reachable(all), "[::1]:7778".parse().unwrap());
        let one = "192.0.2.1:7778".parse().unwrap();
        assert_eq!(reachable(one), one);
    }
}
