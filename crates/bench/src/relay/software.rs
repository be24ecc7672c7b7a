//! What a relay says of itself (NIP-11), if it does within a moment.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::report::Software;

/// How long the answer may take. A relay that knows no NIP-11 may keep the connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of an answer.
const BYTES_MAX: u64 = 1 << 20;

/// Asks for it; nothing is known of a relay that doesn't say.
pub(super) async fn ask(address: SocketAddr) -> Software {
    let answer = timeout(PATIENCE, get(address, "/")).await;
    answer
        .ok()
        .flatten()
        .map_or_else(Software::default, |text| read(&text))
}

/// Fetches a page, head and all.
pub(super) async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: application/nostr+json\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut answer).await.ok()?;
    String::from_utf8(answer).ok()
}

fn read(answer: &str) -> Software {
    // However it is framed, the document is the one object in it.
    let object = answer
        .split_once("\r\n\r\n")
        .and_then(|(_, body)| body.get(body.find('{')?..=body.rfind('}')?));
    let document: Value = object
        .and_then(|object| serde_json::from_str(object).ok())
        .unwrap_or_default();
    let field = |name: &str| document[name].as_str().map(str::to_owned);
    Software {
        name: field("name"),
        software: field("software"),
        version: field("version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_found_however_it_is_framed() {
        let document = r#"{"name":"a {relay}","version":"1.2","limitation":{"x":1}}"#;
        for body in [
            document.to_owned(),
            format!("3f\r\n{document}\r\n0\r\n\r\n"),
        ] {
            let software = read(&format!("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{body}"));
            assert_eq!(software.name.as_deref(), Some("a {relay}"));
            assert_eq!(software.version.as_deref(), Some("1.2"));
            assert_eq!(software.software, None);
        }
        for nothing in ["", "HTTP/1.1 400 Bad\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n}{"] {
            assert_eq!(read(nothing), Software::default());
        }
    }
}
