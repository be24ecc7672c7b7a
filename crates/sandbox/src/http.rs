//! One HTTP request without a client library: status and body of a GET on loopback.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Time for the connection, and for each piece of the answer: these are health pages on loopback.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes: past a metrics page of any size.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code, such as 200.
    pub status: u16,
    /// The body; what isn't UTF-8 is replaced.
    pub body: String,
}

/// Asks for `path`, which begins with `/`.
///
/// # Errors
///
/// Nobody listens, the peer takes longer than 5 s for a piece, or what comes isn't HTTP.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the answer isn't chunked and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
}

/// Whether a GET of `path` is answered by 200; no connection is a no.
#[must_use]
pub fn is_ok(address: SocketAddr, path: &str) -> bool {
    get(address, path).is_ok_and(|answer| answer.status == 200)
}

/// Reads an answer that ends with its connection; `None` if it isn't HTTP.
pub(crate) fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some(Answer {
        status: status.parse().ok()?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expected: Option<(u16, &str)>) {
        let found = parse(answer);
        let found = found
            .as_ref()
            .map(|answer| (answer.status, answer.body.as_str()));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        check("HTTP/1.1 200 OK\r\nA: b\r\n\r\nyes\n", Some((200, "yes\n")));
        check("HTTP/1.0 503 \r\n\r\n", Some((503, "")));
    }

    #[test]
    fn what_is_not_http_is_no_answer() {
        check("INFO {\"server_id\":\"x\"}\r\n\r\n", None);
        check("HTTP/1.1 ok\r\n\r\n", None);
        check("HTTP/1.1 200 OK\r\n", None);
    }
}
