//! HTTP/1.1 spoken by hand, so that a test sees exactly what a client would (RFC 9112).

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::PATIENCE;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// What followed the header section; empty for an upgrade.
    pub body: Vec<u8>,
}

impl Response {
    /// The first field with this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| &**value)
    }

    /// The body as text.
    ///
    /// # Panics
    ///
    /// If it isn't UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the relay sends UTF-8")
    }

    /// Reads a header section, up to and without the empty line.
    pub(crate) fn head(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let status = lines
            .next()?
            .strip_prefix("HTTP/1.1 ")?
            .get(..3)?
            .parse()
            .ok()?;
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.map(field).collect::<Option<_>>()?;
        Some(Self {
            status,
            headers,
            body: Vec::new(),
        })
    }
}

/// Sends one request without a body and reads the answer up to the end of the connection.
///
/// `fields` are header lines such as `Accept: text/html`; `Host` and `Connection: close` are added.
///
/// # Panics
///
/// If the relay can't be reached, or what it says isn't HTTP.
#[must_use]
pub fn request(address: SocketAddr, method: &str, path: &str, fields: &[&str]) -> Response {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for field in fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    exchange(address, text.as_bytes())
}

/// Sends these bytes and reads one answer: as long as it says, or to the end of the connection.
///
/// # Panics
///
/// If the relay can't be reached, or what it says isn't HTTP.
#[must_use]
pub fn exchange(address: SocketAddr, request: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).expect("the relay listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout above zero");
    stream.write_all(request).expect("the relay reads requests");
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while !is_whole(&bytes) {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    let Some((mut response, body)) = split(&bytes) else {
        panic!("not HTTP: {:?}", String::from_utf8_lossy(&bytes));
    };
    response.body = body.to_vec();
    if response
        .header("transfer-encoding")
        .is_some_and(|coding| coding == "chunked")
    {
        response.body = unchunk(body);
    }
    response
}

/// The head of an answer, once it is there, and what follows it.
fn split(bytes: &[u8]) -> Option<(Response, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    Some((Response::head(head)?, &bytes[end + 4..]))
}

/// Whether all that `Content-Length` announces is there.
fn is_whole(bytes: &[u8]) -> bool {
    split(bytes).is_some_and(|(response, body)| {
        let length = response
            .header("content-length")
            .and_then(|length| length.parse().ok());
        length.is_some_and(|length: usize| body.len() >= length)
    })
}

/// Joins the chunks of a body (RFC 9112 §7.1).
fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..line]).unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = bytes.get(line + 2..line + 2 + size) else {
            break;
        };
        if size == 0 {
            break;
        }
        body.extend_from_slice(chunk);
        bytes = bytes.get(line + 2 + size + 2..).unwrap_or_default();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_section_is_read_without_regard_to_the_case_of_names() {
        let response = Response::head("HTTP/1.1 404 Not Found\r\nContent-Type: text/plain");
        let response = response.unwrap();
        assert_eq!(response.status, 404);
        assert_eq!(response.header("content-type"), Some("text/plain"));
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(unchunk(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), b"abcde");
    }
}
