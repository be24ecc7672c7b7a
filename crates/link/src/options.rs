//! Sizes, times and certificates, as the binary's configuration gives them.

use std::time::Duration;

/// A certificate chain and its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The chain, leaf first.
    pub certificates: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

/// How a matcher proves who it is and whom it believes.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// What gateways see.
    pub identity: Identity,
    /// Who signs certificates of gateways, PEM; if absent, anyone who reaches the port is served.
    pub client_authority: Option<Vec<u8>>,
}

/// How a gateway proves who it is and whom it believes.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// Who signs certificates of matchers, PEM.
    pub authority: Vec<u8>,
    /// What matchers see, if they ask.
    pub identity: Option<Identity>,
    /// The name in the certificates of matchers; if absent, the host of the address.
    pub name: Option<String>,
}

/// Options of a matcher's end.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The matcher's name, as in its lease.
    pub name: String,
    /// Without it the link is plain.
    pub tls: Option<ServerTls>,
    /// Bytes that wait for one gateway; past it the session is cut off
    /// (`heliograph_link_sessions_cut_off_total`).
    pub queue_bytes_max: usize,
    /// How often a gateway hears at least.
    pub heartbeat: Duration,
    /// Bytes of filters that one resumption may bring; past it, it is refused. All subscriptions of
    /// a gateway come at once, about 1 KiB each.
    pub resume_bytes_max: usize,
}

/// Options of a gateway's end.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The gateway's name, as in its lease.
    pub gateway: String,
    /// Another one after every start.
    pub incarnation: String,
    /// Without it the link is plain.
    pub tls: Option<ClientTls>,
    /// How long a question waits for a session.
    pub session_wait: Duration,
    /// How long live subscriptions wait for a matcher before they are closed.
    pub give_up: Duration,
    /// How long reaching a matcher may take.
    pub connect_wait: Duration,
    /// How long a matcher may say nothing at all; more than its heartbeat.
    pub silence: Duration,
    /// How long live events may lag behind the end of an answer.
    pub mark_wait: Duration,
    /// How long a resumption may make no progress that is seen here: nothing of what was missed comes,
    /// and the matcher gets no further in the stream. More than the matcher's own patience.
    pub resume_wait: Duration,
    /// Bytes of closes and the like that wait for the matcher; past it the session is given up.
    pub queue_bytes_max: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            tls: None,
            queue_bytes_max: 64 << 20,
            heartbeat: Duration::from_secs(1),
            resume_bytes_max: 1 << 30,
        }
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            gateway: String::new(),
            incarnation: String::new(),
            tls: None,
            session_wait: Duration::from_secs(2),
            give_up: Duration::from_secs(10),
            connect_wait: Duration::from_secs(1),
            silence: Duration::from_secs(4),
            mark_wait: Duration::from_secs(5),
            resume_wait: Duration::from_secs(45),
            queue_bytes_max: 16 << 20,
        }
    }
}

impl std::fmt::Debug for Identity {
    /// Keys don't belong into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
