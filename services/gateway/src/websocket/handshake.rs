//! The opening handshake (RFC 6455 §4.2).

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, Method, StatusCode, Version, header};
use sha1::{Digest, Sha1};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that asks for a WebSocket and may have one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The value of `Sec-WebSocket-Accept`.
    pub(crate) accept: String,
}

/// A request that asks for a WebSocket in a way that isn't served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandshakeError {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// One line for people.
    pub(crate) reason: &'static str,
}

impl Handshake {
    /// Reads a request's head. `None` if it doesn't ask for a WebSocket at all.
    pub(crate) fn read(
        method: &Method,
        version: Version,
        headers: &HeaderMap,
    ) -> Option<Result<Self, HandshakeError>> {
        if !lists(headers, header::UPGRADE, "websocket") {
            return None;
        }
        Some(Self::check(method, version, headers))
    }

    fn check(
        method: &Method,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Self, HandshakeError> {
        let bad = |reason| HandshakeError {
            status: StatusCode::BAD_REQUEST,
            reason,
        };
        if method != Method::GET || version < Version::HTTP_11 {
            return Err(bad("a WebSocket opens with GET over HTTP/1.1"));
        }
        if !lists(headers, header::CONNECTION, "upgrade") {
            return Err(bad("the Connection header must list upgrade"));
        }
        let is_13 = headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .is_some_and(|version| version.as_bytes().trim_ascii() == b"13");
        if !is_13 {
            let status = StatusCode::UPGRADE_REQUIRED;
            return Err(HandshakeError {
                status,
                reason: "Sec-WebSocket-Version must be 13",
            });
        }
        let key = headers
            .get(header::SEC_WEBSOCKET_KEY)
            .map(|key| key.as_bytes().trim_ascii())
            .filter(|key| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16))
            .ok_or_else(|| bad("Sec-WebSocket-Key must be 16 bytes in base64"))?;
        Ok(Self {
            accept: accept_key(key),
        })
    }
}

/// The answer to a key (RFC 6455 §4.2.2).
fn accept_key(key: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(key);
    hasher.update(GUID);
    STANDARD.encode(hasher.finalize())
}

/// Whether any header of this name lists `word`, in any case.
fn lists(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| entry.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455_is_answered_as_there() {
        assert_eq!(
            accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
