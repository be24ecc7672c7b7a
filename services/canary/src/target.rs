//! Where a relay is.

use std::fmt;

use http::Uri;

use crate::CanaryError;

/// A URL, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    text: String,
    pub(crate) uri: Uri,
    /// Name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    /// Reads `ws://…` or `wss://…`.
    pub(crate) fn parse(key: &'static str, url: &str) -> Result<Self, CanaryError> {
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
        })
    }

    /// Whether TLS is spoken.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.uri.scheme_str() == Some("wss")
    }

    /// As configured.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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
}
