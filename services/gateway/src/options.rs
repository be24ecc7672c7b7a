//! What an operator decides about this gateway, checked. Limits that clients feel also fill the
//! information document: what is advertised is what is enforced (R11-4).

use std::{borrow::Cow, net::IpAddr, time::Duration};

use heliograph_config::IpNetwork;
use heliograph_policy::{EventLimits, FilterLimits, LiveControl, Rate, RelayUrls};

/// Everything that a gateway needs to know. Replaced as a whole on reload; what says "at start"
/// is read once.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who runs this relay and what for (NIP-11).
    pub info: Info,
    /// The URLs that name this relay (R42-4).
    pub urls: RelayUrls,
    /// Paths that are the relay; others are 404 (R11-8).
    pub paths: Vec<String>,
    /// Which events are let in.
    pub events: EventLimits,
    /// Which questions are let in.
    pub filters: FilterLimits,
    /// Whether COUNT is answered (NIP-45).
    pub count: bool,
    /// Whether EOSE carries hints (NIP-67).
    pub eose_hints: bool,
    /// Whether compression is agreed to when a client offers it (RFC 7692).
    pub compression: bool,
    /// Memory for compression windows of single connections, in bytes; 0 for none. At start.
    pub compression_windows_bytes_max: usize,
    /// Whether REQ and COUNT need authentication.
    pub auth_to_read: bool,
    /// Bounds on connections and on what one of them may hold or do.
    pub limits: ConnectionLimits,
    /// Networks where nothing is counted against an address; bans hold for them too.
    pub unlimited_networks: Vec<IpNetwork>,
    /// Proxies whose `X-Forwarded-For` is believed; none by default.
    pub trusted_proxies: Vec<IpNetwork>,
    /// Whether connections from trusted proxies begin with a header of the PROXY protocol, version 2.
    pub proxy_protocol: bool,
}

impl Options {
    /// Whether operators have banned an address.
    pub(crate) fn is_banned(&self, address: IpAddr) -> bool {
        let control = self.control().load();
        control.networks_banned.check(address).is_err()
    }

    /// Whether nothing is counted against an address.
    pub(crate) fn is_unlimited(&self, address: IpAddr) -> bool {
        let mut unlimited = self.unlimited_networks.iter();
        unlimited.any(|network| network.contains(address))
    }

    /// Whether an address is a proxy's whose word about clients is believed.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        let mut trusted = self.trusted_proxies.iter();
        trusted.any(|network| network.contains(address))
    }

    /// What operators decided while the relay runs.
    pub(crate) fn control(&self) -> &LiveControl {
        &self.events.write.control
    }

    /// The texts of the information document: control records go before the configuration.
    pub(crate) fn info(&self) -> Cow<'_, Info> {
        let control = self.control().load();
        let texts = &control.relay;
        if texts.name.is_none() && texts.description.is_none() && texts.icon.is_none() {
            return Cow::Borrowed(&self.info);
        }
        let mut info = self.info.clone();
        for (text, decided) in [
            (&mut info.name, &texts.name),
            (&mut info.description, &texts.description),
            (&mut info.icon, &texts.icon),
        ] {
            if let Some(decided) = decided {
                text.clone_from(decided);
            }
        }
        Cow::Owned(info)
    }
}

/// What the information document says beside limits (R11-3). Empty values are left out.
#[derive(Debug, Clone, Default)]
pub struct Info {
    /// Fewer than 30 characters.
    pub name: String,
    /// Plain text.
    pub description: String,
    /// URL of a picture.
    pub banner: String,
    /// URL of a small square picture.
    pub icon: String,
    /// The administrator's key, 64 hex digits.
    pub pubkey: String,
    /// A URI.
    pub contact: String,
    /// URL.
    pub terms_of_service: String,
    /// URL.
    pub privacy_policy: String,
}

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Open connections of this gateway at most; more get 503 before the upgrade.
    pub connections_max: usize,
    /// Open connections of one address (/64 for IPv6) at most; more get 429.
    pub connections_per_ip_max: usize,
    /// New connections of one address.
    pub connects_per_ip: Rate,
    /// Bytes of one message at most; more is closed with 1009 (R01-23).
    pub message_bytes_max: usize,
    /// EVENTs of one connection without an answer at most; then its socket isn't read.
    pub pending_events_max: usize,
    /// Bytes that wait for one client before no more stored events are read for it; past four
    /// times that the connection is closed (R01-28).
    pub outbox_bytes_max: usize,
    /// Bytes that wait for all clients together; past it the one for which most do is closed. At start.
    pub outbox_total_bytes_max: usize,
    /// EVENTs and AUTHs of one connection.
    pub events: Rate,
    /// EVENTs and AUTHs of one address.
    pub events_per_ip: Rate,
    /// REQs, COUNTs and CLOSEs of one connection.
    pub reqs: Rate,
    /// REQs, COUNTs and CLOSEs of one address.
    pub reqs_per_ip: Rate,
    /// Messages without sense after which a connection is closed; 0 never closes.
    pub invalid_messages_max: u32,
    /// Bad signatures from one address in ten minutes after which the connection is closed and the
    /// address banned; 0 never does.
    pub bad_signatures_max: u32,
    /// How long such an address is refused.
    pub ban: Duration,
    /// Silence after which a client is pinged (R01-29).
    pub ping_interval: Duration,
    /// Further silence after which it is closed; for ever if absent.
    pub pong_timeout: Option<Duration>,
    /// Time for the HTTP head.
    pub handshake_timeout: Duration,
    /// Time for the rest of a message that has begun.
    pub message_timeout: Duration,
    /// Time over which connections are closed when the process stops, each at a moment of its own.
    pub drain: Duration,
    /// Whether another process takes this one's place when it stops: clients get 1012 then, not 1001.
    pub restarts: bool,
    /// Time for the receipt of a published event; then OK `false` with `error:`.
    pub receipt_timeout: Duration,
}
