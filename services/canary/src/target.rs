//! Where a relay is.

use std::{fmt, io, net::SocketAddr};

use http::Uri;
use tokio::net::lookup_host;

use crate::CanaryError;

/// A URL, taken apart.
#[derive(Debug, Clone)]
pub struct Target {
    text: String,
    pub uri: Uri,
    /// Name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// The one address to connect to, if it matters which.
    address: Option<SocketAddr>,
    /// Which of a name's addresses is tried first, counted from 0 and around.
    pub turn: usize,
}

impl Target {
    /// Reads `ws://…` or `wss://…`.
    ///
    /// # Errors
    ///
    /// [`CanaryError::Url`]: it is no URL of a relay.
    pub fn parse(key: &'static str, url: &str) -> Result<Self, CanaryError> {
        let wrong = || CanaryError::Url {
            key,
            url: url.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_not_a_uri| wrong())?;
        let usual = match uri.scheme_str() {
            Some("ws") => 80,
            Some("wss") => 443,
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            text: url.to_owned(),
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(usual),
            uri,
            address: None,
            turn: 0,
        })
    }

    /// The same relay at one of its addresses.
    pub fn at(self, address: Option<SocketAddr>) -> Self {
        Self { address, ..self }
    }

    /// The same relay, beginning with another of its addresses: who has another turn is at another
    /// gateway, if the name has an address for each.
    pub fn in_turn(self, turn: usize) -> Self {
        Self { turn, ..self }
    }

    /// Every address that its name has, the first to try first, or the one that was chosen.
    ///
    /// # Errors
    ///
    /// The name is not known.
    pub async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = self.address {
            return Ok(vec![address]);
        }
        let found = lookup_host((self.host.as_str(), self.port)).await?;
        Ok(rotated(found.collect(), self.turn))
    }

    /// Whether TLS is spoken.
    pub fn is_encrypted(&self) -> bool {
        self.uri.scheme_str() == Some("wss")
    }

    /// As configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.address {
            Some(address) => write!(f, " at {address}"),
            None => Ok(()),
        }
    }
}

/// Addresses in an order that doesn't depend on the resolver's, but for the family that it prefers,
/// beginning with this one.
fn rotated(mut addresses: Vec<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
    let Some(preferred) = addresses.first().map(SocketAddr::is_ipv4) else {
        return addresses;
    };
    addresses.sort_unstable_by_key(|address| (address.is_ipv4() != preferred, *address));
    addresses.dedup();
    let of_family = addresses.partition_point(|address| address.is_ipv4() == preferred);
    addresses[..of_family].rotate_left(turn % of_family);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, host: &str, port: u16, encrypted: bool) {
        let target = Target::parse("canary.read", url).unwrap();
        assert_eq!((target.host.as_str(), target.port), (host, port));
        assert_eq!((target.is_encrypted(), target.as_str()), (encrypted, url));
    }

    #[test]
    fn ports_are_those_of_the_scheme_unless_given() {
        check("ws://relay.example.com", "relay.example.com", 80, false);
        check("wss://relay.example.com/x", "relay.example.com", 443, true);
        check("wss://[::1]:7777", "::1", 7777, true);
    }

    #[test]
    fn what_is_no_relay_is_named_with_its_key() {
        for url in ["http://a", "ws://", "ws:///x", "ws://ä"] {
            let error = Target::parse("canary.publish", url).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("canary.publish: "), "{text}");
        }
    }

    #[track_caller]
    fn check_turn(found: &[&str], turn: usize, expected: &[&str]) {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert_eq!(rotated(parse(found), turn), parse(expected));
    }

    #[test]
    fn readers_with_other_turns_begin_with_other_addresses_whatever_the_resolver_s_order() {
        let (a, b, c) = ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1");
        check_turn(&[b, c, a], 0, &[a, b, c]);
        check_turn(&[c, a, b], 1, &[b, c, a]);
        check_turn(&[a, b, c, a], 5, &[c, a, b]);
        check_turn(&[a], 7, &[a]);
        check_turn(&[], 1, &[]);
    }

    #[test]
    fn the_family_that_the_resolver_prefers_is_tried_first() {
        let (old, one, two) = ("10.0.0.1:1", "[fd00::1]:1", "[fd00::2]:1");
        check_turn(&[one, old, two], 1, &[two, one, old]);
        check_turn(&[old, two, one], 1, &[old, one, two]);
    }
}
