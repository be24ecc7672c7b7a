//! What a canary is told.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use heliograph_protocol::Kind;

/// How a canary is set up.
#[derive(Clone)]
pub struct Options {
    /// Where probes are published; there must be one.
    pub publish: Option<String>,
    /// Where they are read: 1 to [`READERS_MAX`](crate::READERS_MAX).
    pub read: Vec<Reader>,
    /// The key that signs, as 64 hex digits; a fresh one if absent.
    pub secret_key: Option<String>,
    /// The kind of the probes: regular, so that each is stored.
    pub kind: Kind,
    /// A PEM file with the authorities to trust; those of the system if absent.
    pub ca: Option<PathBuf>,
}

/// Where probes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The URL of a relay.
    pub url: String,
    /// The address to connect to, of those that the URL's name has; any of them if absent.
    pub address: Option<SocketAddr>,
}

impl From<String> for Reader {
    fn from(url: String) -> Self {
        Self { url, address: None }
    }
}

/// Without the key.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("publish", &self.publish)
            .field("read", &self.read)
            .field("kind", &self.kind)
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

/// What may change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often a probe is published.
    pub interval: Duration,
    /// How long it may take, to be acknowledged and to come.
    pub deadline: Duration,
    /// How long after its acknowledgement it is read again.
    pub audit_after: Duration,
    /// When it expires (NIP-40).
    pub expiration: Duration,
}

/// A canary can't start.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// Nothing to publish to.
    #[error("canary.publish: a canary needs a relay to publish through")]
    NoPublish,
    /// Nothing to read from.
    #[error("canary.read: a canary needs at least one relay to read from")]
    NoRead,
    /// A URL that can't be connected to.
    #[error("{key}: {url} is not a URL of a relay")]
    Url {
        /// The key of the configuration.
        key: &'static str,
        /// As configured.
        url: String,
    },
    /// A name without an address.
    #[error("canary.read: {url} has no address: {problem}")]
    Address {
        /// As configured.
        url: String,
        /// What the system says.
        problem: String,
    },
    /// A number that is no secret key.
    #[error("canary.secret_key: is not a secret key")]
    Key,
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// Nobody to trust.
    #[error("canary.ca: {0}")]
    Authorities(String),
}
