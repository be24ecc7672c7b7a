//! The PROXY protocol, version 2: a balancer that passes bytes on says first whose they are.
//!
//! `HAProxy`, "The PROXY protocol, Versions 1 & 2" (2020/03/05), §2.2. Version 1, the line of text, isn't
//! read. The crate `ppp` does the same, at the price of a second `thiserror` in the tree.

use std::{io, net::IpAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
};

use crate::Options;

/// What every header begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes before the addresses: the signature, version and command, family and protocol, and a length.
const START_BYTES: usize = 16;

/// Bytes after those at most: addresses take up to 36, and what balancers add takes a few hundred.
const REST_BYTES_MAX: usize = 2048;

/// Why a header can't be used.
#[derive(Debug, thiserror::Error)]
enum ProxyError {
    /// The connection ended or broke before the end of the header.
    #[error("no whole header: {0}")]
    Cut(#[from] io::Error),
    /// The client began with something else.
    #[error("no header of version 2")]
    Missing,
    /// A header that isn't allowed, or for something that can't reach this socket.
    #[error("{0}")]
    Unusable(&'static str),
}

/// Whose connection it is, by the header of the PROXY protocol where `peer` has to send one.
///
/// Returns nothing if there is no such header in the time of a handshake: it can't be told then who is there.
pub(crate) async fn client(
    stream: &mut TcpStream,
    peer: IpAddr,
    options: &Options,
) -> Option<IpAddr> {
    if !options.proxy_protocol || !options.is_proxy(peer) {
        return Some(peer);
    }
    let header = tokio::time::timeout(options.limits.handshake_timeout, read_header(stream));
    match header.await {
        Ok(Ok(client)) => Some(client.unwrap_or(peer)),
        Ok(Err(ProxyError::Cut(error))) => {
            // As balancers do that look whether the port is open.
            tracing::debug!(%error, proxy = %peer, "no whole header of the PROXY protocol");
            None
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, proxy = %peer, "closed a connection without a usable header of the PROXY protocol");
            None
        }
        Err(_) => {
            tracing::debug!(proxy = %peer, "no header of the PROXY protocol in time");
            None
        }
    }
}

/// Reads the header that `stream` begins with, and nothing after it.
///
/// Returns the address of the client, or `None` where the balancer speaks for itself (`LOCAL`, as its
/// health checks do).
///
/// # Errors
///
/// See [`ProxyError`]. The stream can't be used then.
async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<IpAddr>, ProxyError> {
    let mut start = [0; START_BYTES];
    stream.read_exact(&mut start).await?;
    let (signature, fields) = start.split_at(SIGNATURE.len());
    let [version_and_command, family_and_protocol, length @ ..] = fields else {
        unreachable!("four bytes follow the signature");
    };
    if signature != SIGNATURE || *version_and_command >> 4 != 2 {
        return Err(ProxyError::Missing);
    }
    let length = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > REST_BYTES_MAX {
        return Err(ProxyError::Unusable("a header of more than 2,064 bytes"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match *version_and_command & 0x0f {
        0 => Ok(None),
        1 => source(*family_and_protocol, &rest).map(Some),
        _ => Err(ProxyError::Unusable("an unknown command")),
    }
}

/// The address that a client has, from the family's own form of addresses. One without an address would count as
/// the balancer, which is believed whatever it says, and so isn't let in.
fn source(family_and_protocol: u8, rest: &[u8]) -> Result<IpAddr, ProxyError> {
    const SHORT: ProxyError = ProxyError::Unusable("a header too short for its addresses");
    // Source and destination, then both ports.
    let (source, bytes) = match family_and_protocol {
        0x00 => return Err(ProxyError::Unusable("a client without an address")),
        0x11 => {
            let source = rest.first_chunk::<4>().ok_or(SHORT)?;
            (IpAddr::from(*source), 2 * (4 + 2))
        }
        0x21 => {
            let source = rest.first_chunk::<16>().ok_or(SHORT)?;
            (IpAddr::from(*source).to_canonical(), 2 * (16 + 2))
        }
        _ => return Err(ProxyError::Unusable("a client that isn't on TCP")),
    };
    match rest.len() >= bytes {
        true => Ok(source),
        false => Err(SHORT),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    const FIRST: &[u8] = b"GET / HTTP/1.1\r\n";

    /// A header, whose fields are as given.
    fn header(version_and_command: u8, family_and_protocol: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        let fields = [
            version_and_command,
            family_and_protocol,
            length[0],
            length[1],
        ];
        [&SIGNATURE[..], &fields, rest].concat()
    }

    /// What is read of bytes, and what is left of them.
    fn read(bytes: &[u8]) -> (Result<Option<IpAddr>, String>, Vec<u8>) {
        let mut stream = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let found = runtime.block_on(read_header(&mut stream));
        (found.map_err(|error| error.to_string()), stream.to_vec())
    }

    #[track_caller]
    fn assert_found(header: &[u8], expected: Option<&str>) {
        let (found, left) = read(&[header, FIRST].concat());
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(found, Ok(expected));
        assert_eq!(left, FIRST, "exactly the header is read");
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    fn v6(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        [&source.octets()[..], &[0; 16], &[0x30, 0x39, 0x01, 0xbb]].concat()
    }

    #[test]
    fn the_source_is_the_client_s_address() {
        assert_found(&header(0x21, 0x11, &V4), Some("192.0.2.7"));
        assert_found(&header(0x21, 0x21, &v6("2001:db8::7")), Some("2001:db8::7"));
        assert_found(
            &header(0x21, 0x21, &v6("::ffff:192.0.2.7")),
            Some("192.0.2.7"),
        );
    }

    #[test]
    fn what_follows_the_addresses_is_passed_over() {
        let with_name = [&V4[..], &[0x02, 0, 5], b"relay"].concat();
        assert_found(&header(0x21, 0x11, &with_name), Some("192.0.2.7"));
        let full = [&V4[..], &[0; REST_BYTES_MAX - 12]].concat();
        assert_found(&header(0x21, 0x11, &full), Some("192.0.2.7"));
    }

    #[test]
    fn a_balancer_s_own_connections_have_no_address() {
        assert_found(&header(0x20, 0x00, &[]), None);
        assert_found(&header(0x20, 0x11, &V4), None);
    }

    #[test]
    fn anything_else_is_an_error() {
        let missing = "no header of version 2";
        let short = "a header too short for its addresses";
        let cases = [
            (FIRST.to_vec(), missing),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(), missing),
            (header(0x11, 0x11, &V4), missing),
            (header(0x22, 0x11, &V4), "an unknown command"),
            (header(0x21, 0x11, &V4[..11]), short),
            (header(0x21, 0x11, &V4[..3]), short),
            (header(0x21, 0x21, &v6("::1")[..35]), short),
            (header(0x21, 0x00, &[]), "a client without an address"),
            (header(0x21, 0x00, &V4), "a client without an address"),
            (header(0x21, 0x12, &V4), "a client that isn't on TCP"),
            (header(0x21, 0x31, &[0; 216]), "a client that isn't on TCP"),
            (
                header(0x21, 0x11, &[0; REST_BYTES_MAX + 1]),
                "a header of more than 2,064 bytes",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(&bytes).0, Err(expected.to_owned()), "{bytes:?}");
        }
        let whole = header(0x21, 0x11, &V4);
        for end in 0..whole.len() {
            let error = read(&whole[..end]).0.unwrap_err();
            assert!(error.starts_with("no whole header"), "{end}: {error}");
        }
    }
}
