//! The upgrade request (RFC 6455 §4.1).

use std::net::SocketAddr;

/// The key of every handshake: 16 bytes, base64.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// An upgrade request, right until a test changes it.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// The path and query.
    pub path: String,
    /// The header lines but `Host`.
    pub fields: Vec<String>,
    /// What goes before the request, as from a proxy.
    pub preface: Vec<u8>,
}

impl Default for Handshake {
    fn default() -> Self {
        let fields = [
            "Connection: Upgrade".to_owned(),
            "Upgrade: websocket".to_owned(),
            "Sec-WebSocket-Version: 13".to_owned(),
            format!("Sec-WebSocket-Key: {KEY}"),
        ];
        Self {
            path: "/".to_owned(),
            fields: fields.to_vec(),
            preface: Vec::new(),
        }
    }
}

impl Handshake {
    /// Asks for another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Adds a header line.
    #[must_use]
    pub fn field(mut self, line: &str) -> Self {
        self.fields.push(line.to_owned());
        self
    }

    /// Sends these bytes before the request.
    #[must_use]
    pub fn after(mut self, preface: &[u8]) -> Self {
        self.preface = preface.to_vec();
        self
    }

    /// Leaves out the header line of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields
            .retain(|line| !line.starts_with(&format!("{name}:")));
        self
    }

    /// The request as text.
    #[must_use]
    pub fn request(&self, address: SocketAddr) -> String {
        let mut text = format!("GET {} HTTP/1.1\r\nHost: {address}\r\n", self.path);
        for field in &self.fields {
            text.push_str(field);
            text.push_str("\r\n");
        }
        text + "\r\n"
    }
}
