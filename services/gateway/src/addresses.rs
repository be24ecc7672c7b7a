//! What one address may do over all its connections: counts, connect rate, bans.

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use heliograph_policy::{Rate, TokenBucket};
use hyper::{HeaderMap, header::HeaderName};
use parking_lot::Mutex;

use crate::options::ConnectionLimits;

/// How long bad signatures are remembered.
const MEMORY: Duration = Duration::from_mins(10);

/// Addresses remembered at least before those without a history worth keeping are forgotten.
const SWEEP_ADDRESSES_MIN: usize = 65_536;

/// An IPv4 address, or the /64 of an IPv6 address: what one user controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(IpAddr);

impl AddressKey {
    pub(crate) fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                Self(IpAddr::V6(std::net::Ipv6Addr::from_bits(prefix)))
            }
        }
    }
}

/// As operators write it: a network for IPv6.
impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(prefix) => write!(f, "{prefix}/64"),
        }
    }
}

/// Why a connection isn't let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many are open as may be.
    Full,
    /// The process stops.
    Draining,
    /// As many of this address are open as may be.
    PerIp,
    /// The address connects too often.
    Rate,
    /// The address sent too many bad signatures.
    Banned,
    /// Operators banned the address.
    Blocked,
}

/// What is known of one address.
#[derive(Debug)]
struct Entry {
    connections: usize,
    /// HTTP connections that aren't upgraded.
    requests: usize,
    connects: TokenBucket,
    /// TLS handshakes, which cost more than what comes after them.
    handshakes: TokenBucket,
    events: TokenBucket,
    reqs: TokenBucket,
    bad_signatures: u32,
    bad_since: Instant,
    banned_until: Option<Instant>,
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            connections: 0,
            requests: 0,
            connects: TokenBucket::default(),
            handshakes: TokenBucket::default(),
            events: TokenBucket::default(),
            reqs: TokenBucket::default(),
            bad_signatures: 0,
            bad_since: now,
            banned_until: None,
        }
    }

    /// Whether it says no more than a new one would.
    fn is_forgettable(&self, now: Instant) -> bool {
        self.connections + self.requests == 0
            && self.banned_until.is_none_or(|until| until <= now)
            && self.connects.is_full(now)
            && self.handshakes.is_full(now)
            && self.events.is_full(now)
            && self.reqs.is_full(now)
    }
}

/// All addresses with a connection or a history.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    map: HashMap<AddressKey, Arc<Mutex<Entry>>>,
    /// How many there may be before the next sweep: twice what the last one left, so that a sweep
    /// costs each new address the same however many stay.
    sweep_at: usize,
}

/// An HTTP connection that counts for its address until it is dropped.
#[derive(Debug)]
pub(crate) struct Requesting {
    entry: Arc<Mutex<Entry>>,
}

/// A connection that counts for its address until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    entry: Arc<Mutex<Entry>>,
    /// Whether nothing is counted against its address.
    is_unlimited: bool,
}

impl Addresses {
    /// Counts a new connection, or says which limit refuses it: if the address `is_unlimited`, its ban
    /// alone.
    pub(crate) fn admit(
        &self,
        address: IpAddr,
        limits: &ConnectionLimits,
        is_unlimited: bool,
        now: Instant,
    ) -> Result<Admitted, Refused> {
        let entry = self.entry(AddressKey::new(address), now);
        let mut known = entry.lock();
        if known.banned_until.is_some_and(|until| until > now) {
            return Err(Refused::Banned);
        }
        if !is_unlimited {
            if known.connections >= limits.connections_per_ip_max {
                return Err(Refused::PerIp);
            }
            if !known.connects.take(limits.connects_per_ip, now, 1) {
                return Err(Refused::Rate);
            }
        }
        known.connections += 1;
        drop(known);
        Ok(Admitted {
            entry,
            is_unlimited,
        })
    }

    /// Counts an HTTP connection of a peer, as many as it may have sessions; `None` past that.
    pub(crate) fn request(
        &self,
        peer: IpAddr,
        limits: &ConnectionLimits,
        now: Instant,
    ) -> Option<Requesting> {
        let entry = self.entry(AddressKey::new(peer), now);
        let mut known = entry.lock();
        if known.requests >= limits.connections_per_ip_max {
            return None;
        }
        known.requests += 1;
        drop(known);
        Some(Requesting { entry })
    }

    /// Whether a peer may have a TLS handshake, which is as often as it may connect.
    pub(crate) fn handshake(
        &self,
        peer: IpAddr,
        limits: &ConnectionLimits,
        is_unlimited: bool,
        now: Instant,
    ) -> Result<(), Refused> {
        let entry = self.entry(AddressKey::new(peer), now);
        let mut known = entry.lock();
        if known.banned_until.is_some_and(|until| until > now) {
            return Err(Refused::Banned);
        }
        let rate = limits.connects_per_ip;
        match is_unlimited || known.handshakes.take(rate, now, 1) {
            true => Ok(()),
            false => Err(Refused::Rate),
        }
    }

    fn entry(&self, key: AddressKey, now: Instant) -> Arc<Mutex<Entry>> {
        let mut entries = self.entries.lock();
        let Entries { map, sweep_at } = &mut *entries;
        if map.len() >= (*sweep_at).max(SWEEP_ADDRESSES_MIN) && !map.contains_key(&key) {
            map.retain(|_, entry| {
                Arc::strong_count(entry) > 1 || !entry.lock().is_forgettable(now)
            });
            *sweep_at = 2 * map.len();
        }
        let new = || Arc::new(Mutex::new(Entry::new(now)));
        Arc::clone(map.entry(key).or_insert_with(new))
    }
}

impl Drop for Requesting {
    fn drop(&mut self) {
        self.entry.lock().requests -= 1;
    }
}

impl Admitted {
    /// Whether the address may send one more EVENT.
    pub(crate) fn take_event(&self, rate: Rate, now: Instant) -> bool {
        self.is_unlimited || self.entry.lock().events.take(rate, now, 1)
    }

    /// Whether the address may ask a question that counts as `price`.
    pub(crate) fn take_req(&self, rate: Rate, now: Instant, price: u32) -> bool {
        self.is_unlimited || self.entry.lock().reqs.take(rate, now, price)
    }

    /// Notes a bad signature; `true` if the address is banned for it.
    pub(crate) fn bad_signature(&self, limits: &ConnectionLimits, now: Instant) -> bool {
        if limits.bad_signatures_max == 0 {
            return false;
        }
        let mut entry = self.entry.lock();
        if now.duration_since(entry.bad_since) > MEMORY {
            entry.bad_since = now;
            entry.bad_signatures = 0;
        }
        entry.bad_signatures += 1;
        if entry.bad_signatures < limits.bad_signatures_max {
            return false;
        }
        entry.bad_signatures = 0;
        entry.banned_until = Some(now + limits.ban);
        true
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.entry.lock().connections -= 1;
    }
}

/// The client's own address: the peer, or, if the peer is a trusted proxy, the right-most address
/// in `X-Forwarded-For` that isn't one.
pub(crate) fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    if !is_trusted(peer) {
        return peer;
    }
    let name = HeaderName::from_static("x-forwarded-for");
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let mut client = peer;
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Some(address) = parse_hop(hop.trim()) else {
            break;
        };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// An address, with or without a port or brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .ok()
        .or_else(|| {
            hop.parse::<std::net::SocketAddr>()
                .ok()
                .map(|address| address.ip())
        })
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            connections_max: 10,
            connections_per_ip_max: 2,
            connects_per_ip: Rate::new(1.0, 3),
            message_bytes_max: 1_000,
            pending_events_max: 1,
            outbox_bytes_max: 1_000,
            outbox_total_bytes_max: 1 << 30,
            events: Rate::UNLIMITED,
            events_per_ip: Rate::new(1.0, 2),
            reqs: Rate::UNLIMITED,
            reqs_per_ip: Rate::UNLIMITED,
            invalid_messages_max: 0,
            bad_signatures_max: 2,
            ban: Duration::from_mins(10),
            ping_interval: Duration::from_secs(55),
            pong_timeout: None,
            handshake_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            drain: Duration::ZERO,
            restarts: false,
            receipt_timeout: Duration::from_secs(4),
        }
    }

    #[test]
    fn the_rate_of_an_address_is_shared_by_its_connections() {
        let addresses = Addresses::default();
        let now = Instant::now();
        let address = "192.0.2.1".parse().unwrap();
        let one = addresses.admit(address, &limits(), false, now).unwrap();
        let two = addresses.admit(address, &limits(), false, now).unwrap();
        let rate = limits().events_per_ip;
        assert!(one.take_event(rate, now) && two.take_event(rate, now));
        assert!(!one.take_event(rate, now) && !two.take_event(rate, now));
        assert!(one.take_req(limits().reqs_per_ip, now, 1));
    }

    #[test]
    fn one_address_is_held_to_its_count_and_rate() {
        let addresses = Addresses::default();
        let now = Instant::now();
        let admit = |at| addresses.admit("192.0.2.1".parse().unwrap(), &limits(), false, at);
        let first = admit(now).unwrap();
        let _second = admit(now).unwrap();
        assert_eq!(admit(now).unwrap_err(), Refused::PerIp);
        drop(first);
        let third = admit(now).unwrap();
        drop(third);
        assert_eq!(admit(now).unwrap_err(), Refused::Rate);
        assert!(admit(now + Duration::from_secs(2)).is_ok());
        assert!(
            addresses
                .admit("192.0.2.2".parse().unwrap(), &limits(), false, now)
                .is_ok()
        );
    }

    #[test]
    fn an_unlimited_address_is_held_to_its_ban_alone() {
        let addresses = Addresses::default();
        let now = Instant::now();
        let admit = || addresses.admit("192.0.2.1".parse().unwrap(), &limits(), true, now);
        let all: Vec<Admitted> = (0..10).map(|_| admit().unwrap()).collect();
        assert!((0..10).all(|_| all[0].take_event(limits().events_per_ip, now)));
        assert!(!all[0].bad_signature(&limits(), now));
        assert!(all[1].bad_signature(&limits(), now));
        assert_eq!(admit().unwrap_err(), Refused::Banned);
    }

    #[test]
    fn plain_http_is_held_to_the_same_count() {
        let addresses = Addresses::default();
        let now = Instant::now();
        let request = || addresses.request("192.0.2.1".parse().unwrap(), &limits(), now);
        let (first, second) = (request(), request());
        assert!(first.is_some() && second.is_some() && request().is_none());
        drop(first);
        assert!(request().is_some());
    }

    #[test]
    fn addresses_without_a_history_are_forgotten() {
        let addresses = Addresses::default();
        let now = Instant::now();
        let admit = |n: usize, at| {
            let address = IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
            drop(addresses.admit(address, &limits(), false, at));
        };
        let remembered = || addresses.entries.lock().map.len();
        (0..=SWEEP_ADDRESSES_MIN).for_each(|n| admit(n, now));
        assert_eq!(
            remembered(),
            SWEEP_ADDRESSES_MIN + 1,
            "their rates are not back yet"
        );
        let later = now + Duration::from_mins(1);
        let next = 2 * SWEEP_ADDRESSES_MIN;
        (SWEEP_ADDRESSES_MIN + 1..next).for_each(|n| admit(n, later));
        assert_eq!(remembered(), next, "the next sweep is later");
        admit(next, later);
        assert_eq!(remembered(), SWEEP_ADDRESSES_MIN);
    }

    #[test]
    fn neighbours_in_a_slash_64_are_one_user() {
        let key = |text: &str| AddressKey::new(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }

    #[test]
    fn an_address_with_bad_signatures_is_banned_for_a_while() {
        let addresses = Addresses::default();
        let now = Instant::now();
        let address = "192.0.2.1".parse().unwrap();
        let connection = addresses.admit(address, &limits(), false, now).unwrap();
        assert!(!connection.bad_signature(&limits(), now));
        assert!(connection.bad_signature(&limits(), now));
        assert_eq!(
            addresses.admit(address, &limits(), false, now).unwrap_err(),
            Refused::Banned
        );
        assert!(
            addresses
                .admit(address, &limits(), false, now + Duration::from_mins(11))
                .is_ok()
        );
    }

    #[track_caller]
    fn check(peer: &str, forwarded: &[&str], client: &str) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted: heliograph_config::IpNetwork = "10.0.0.0/8".parse().unwrap();
        let is_trusted = |address| trusted.contains(address);
        let found = client_address(peer.parse().unwrap(), &headers, is_trusted);
        assert_eq!(found, client.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        check("203.0.113.5", &["198.51.100.1"], "203.0.113.5");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check(
            "10.0.0.1",
            &["6.6.6.6, 198.51.100.1, 10.0.0.2"],
            "198.51.100.1",
        );
        check(
            "10.0.0.1",
            &["6.6.6.6", "198.51.100.1:4711"],
            "198.51.100.1",
        );
        check("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1");
        check("10.0.0.1", &["rubbish"], "10.0.0.1");
        check("10.0.0.1", &[], "10.0.0.1");
    }
}
