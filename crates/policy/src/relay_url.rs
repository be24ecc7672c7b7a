//! The URLs under which clients know this relay, and whether a URL in an event is one of them
//! (R42-4, R62-1).
//!
//! A small strict parser stands here instead of a URL library: a library repairs what it reads
//! (backslashes, tabs, odd IPv4 forms), and a repaired URL is one that its author didn't sign.

use std::{net::Ipv6Addr, sync::Arc};

use heliograph_protocol::{Event, Kind};

/// In a `relay` tag of a request to vanish: every relay is meant (NIP-62).
pub const ALL_RELAYS: &str = "ALL_RELAYS";

/// Bytes of a URL at most; a longer one names nobody.
const URL_BYTES_MAX: usize = 2048;

/// The relay's own URLs. Empty by default: then no URL names it. Cloning shares the list.
#[derive(Debug, Clone, Default)]
pub struct RelayUrls {
    urls: Arc<[Configured]>,
}

#[derive(Debug)]
struct Configured {
    text: String,
    url: RelayUrl,
}

/// A URL in comparable form: two URLs of one place are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RelayUrl {
    scheme: Scheme,
    host: Host,
    port: u16,
    /// Without the trailing slash; empty for the root.
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Ws,
    Wss,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// A name or an IPv4 address, in lower case.
    Name(String),
    V6(Ipv6Addr),
}

/// A configured URL isn't one that a relay can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("relay URL {url:?}: {reason}")]
pub struct RelayUrlError {
    /// The URL as configured.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl RelayUrls {
    /// Reads the configured URLs.
    ///
    /// # Errors
    ///
    /// [`RelayUrlError`] for the first that isn't `ws://` or `wss://`, a host, perhaps a port and
    /// a path, and nothing else.
    pub fn parse(urls: &[impl AsRef<str>]) -> Result<Self, RelayUrlError> {
        let read = |text: &str| match RelayUrl::parse(text) {
            Ok(url) => Ok(Configured {
                text: text.to_owned(),
                url,
            }),
            Err(reason) => Err(RelayUrlError {
                url: text.to_owned(),
                reason,
            }),
        };
        let urls: Result<Vec<_>, _> = urls.iter().map(|url| read(url.as_ref())).collect();
        Ok(Self { urls: urls?.into() })
    }

    /// Whether `url`, found in an event, is one of ours (R42-4).
    ///
    /// Scheme and port have to be those configured, the scheme's default port being the same as
    /// none; host names ignore case; a path counts only for a URL that is configured with one.
    /// User names, queries, fragments and anything that isn't a URL fail.
    #[must_use]
    pub fn names_us(&self, url: &str) -> bool {
        RelayUrl::parse(url).is_ok_and(|url| self.urls.iter().any(|own| own.url.is_named_by(&url)))
    }

    /// The URLs as configured, in that order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.urls.iter().map(|own| own.text.as_str())
    }

    /// Whether none is configured, so that nothing can name this relay.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }
}

/// Whether `event` is a request to vanish that this relay has to obey: one of its `relay` tags
/// names us or is [`ALL_RELAYS`] (R62-1).
#[must_use]
pub fn vanish_in_force(event: &Event, urls: &RelayUrls) -> bool {
    event.kind() == Kind::VANISH
        && event
            .values("relay")
            .any(|relay| relay == ALL_RELAYS || urls.names_us(&relay))
}

impl RelayUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > URL_BYTES_MAX {
            return Err("too long");
        }
        let (scheme, rest) = text.split_once("://").ok_or("expected ws:// or wss://")?;
        let scheme = Scheme::parse(scheme).ok_or("expected ws:// or wss://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = split_port(authority)?;
        let port = port.map_or(Ok(scheme.default_port()), parse_port)?;
        Ok(Self {
            scheme,
            host: Host::parse(host)?,
            port,
            path: parse_path(path)?,
        })
    }

    /// `self` is configured, `other` was found in an event.
    fn is_named_by(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.host == other.host
            && self.port == other.port
            && (self.path.is_empty() || self.path == other.path)
    }
}

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("wss") {
            Some(Self::Wss)
        } else if text.eq_ignore_ascii_case("ws") {
            Some(Self::Ws)
        } else {
            None
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl Host {
    /// Reads a host name, an IPv4 address, or an IPv6 address in brackets. International names
    /// come in their ASCII form, as in every URL on the wire.
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest
                .strip_suffix(']')
                .and_then(|inside| inside.parse().ok());
            return address.map(Self::V6).ok_or("not an IPv6 address");
        }
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if text.len() <= 253 && text.split('.').all(label) {
            Ok(Self::Name(text.to_ascii_lowercase()))
        } else {
            Err("not a host name")
        }
    }
}

/// Splits `host:port`; the colons inside the brackets of an IPv6 address belong to the host.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    let host_end = match authority.find(']') {
        Some(bracket) if authority.starts_with('[') => bracket + 1,
        _ => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_end);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err("not a host name"),
    }
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err("not a port"),
    }
}

/// Reads a path of RFC 3986 without `.` and `..`, and drops its trailing slash.
fn parse_path(text: &str) -> Result<String, &'static str> {
    if text.contains(['?', '#']) {
        return Err("a relay URL has no query or fragment");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
    if !text.bytes().all(allowed) || text.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("not a path");
    }
    Ok(text.strip_suffix('/').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(own: &str, url: &str, names_us: bool) {
        let urls = RelayUrls::parse(&[own]).expect("a relay URL");
        assert_eq!(urls.names_us(url), names_us, "{url:?} for {own:?}");
    }

    const OWN: &str = "wss://relay.example.com";

    #[test]
    fn the_same_url_names_us() {
        check(OWN, OWN, true);
        check("ws://127.0.0.1:7777", "ws://127.0.0.1:7777", true);
        check("ws://localhost:7777/", "ws://localhost:7777", true);
    }

    #[test]
    fn trailing_slash_case_and_default_port_make_no_difference() {
        for url in [
            "wss://relay.example.com/",
            "wss://relay.example.com:443",
            "wss://relay.example.com:443/",
            "WSS://Relay.EXAMPLE.com/",
        ] {
            check(OWN, url, true);
            check(url, OWN, true);
        }
        check("ws://relay.example.com", "ws://relay.example.com:80/", true);
    }

    #[test]
    fn another_scheme_or_port_does_not_name_us() {
        for url in [
            "ws://relay.example.com",
            "https://relay.example.com",
            "wss://relay.example.com:80",
            "wss://relay.example.com:8443",
        ] {
            check(OWN, url, false);
        }
        check(
            "wss://relay.example.com:8443",
            "ws://relay.example.com:8443",
            false,
        );
    }

    #[test]
    fn suffix_prefix_and_userinfo_tricks_fail() {
        for url in [
            "wss://relay.example.com.evil.test/",
            "wss://evil-relay.example.com/",
            "wss://a.relay.example.com/",
            "wss://example.com/",
            "wss://relay.example.com@evil.test/",
            "wss://user@relay.example.com/",
            "wss://relay.example.com:443@evil.test/",
            "wss://evil.test\\@relay.example.com/",
            "wss://relay.example.com./",
            "wss://relay.example.com:/",
            "wss://relay.example.com:+443/",
            "wss://relay.example.com:65979/",
            "wss://relay.example.com]/",
            "wss://[relay.example.com]/",
            " wss://relay.example.com/",
            "wss://relay.example.com/\n",
            "wss://relay%2eexample.com/",
            "wss://relay.example.com?x",
            "wss://relay.example.com/?x",
            "wss://relay.example.com/#x",
            "wss:relay.example.com",
            "relay.example.com",
            "",
        ] {
            check(OWN, url, false);
        }
    }

    #[test]
    fn the_path_is_compared_only_where_one_is_configured() {
        check(OWN, "wss://relay.example.com/inbox", true);
        check(
            "wss://relay.example.com/inbox",
            "wss://relay.example.com/inbox/",
            true,
        );
        check(
            "wss://relay.example.com/inbox/",
            "wss://relay.example.com/inbox",
            true,
        );
        check(
            "wss://relay.example.com/inbox",
            "wss://relay.example.com/",
            false,
        );
        check(
            "wss://relay.example.com/inbox",
            "wss://relay.example.com/Inbox",
            false,
        );
        check(
            "wss://relay.example.com/inbox",
            "wss://relay.example.com/x/../inbox",
            false,
        );
    }

    #[test]
    fn ipv6_addresses_are_compared_as_addresses() {
        check("ws://[::1]:7777", "ws://[0:0:0:0:0:0:0:1]:7777/", true);
        check("wss://[2001:DB8::1]", "wss://[2001:db8::1]:443", true);
        check("ws://[::1]", "ws://[::2]", false);
        check("ws://[::1]", "ws://::1", false);
        check("ws://[::1]", "ws://[::1]x", false);
    }

    #[test]
    fn any_of_several_urls_counts_and_without_one_nothing_does() {
        let urls = RelayUrls::parse(&[OWN, "ws://[::1]:7777/x"]).unwrap();
        assert!(urls.names_us(OWN) && urls.names_us("ws://[::1]:7777/x"));
        assert_eq!(urls.iter().collect::<Vec<_>>(), [OWN, "ws://[::1]:7777/x"]);
        assert!(!RelayUrls::default().names_us(OWN));
        assert!(RelayUrls::default().is_empty());
    }

    #[test]
    fn a_configured_url_that_is_none_is_an_error_that_shows_it() {
        let error = RelayUrls::parse(&["https://relay.example.com"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"relay URL "https://relay.example.com": expected ws:// or wss://"#
        );
        for bad in [
            "wss://",
            "wss://a b",
            "wss://a:0",
            "wss://a..b",
            "wss://é.example",
            "ws://[::g]",
        ] {
            assert!(RelayUrls::parse(&[bad]).is_err(), "{bad}");
        }
    }
}
