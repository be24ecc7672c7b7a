//! The ways between members and servers, each through a proxy of its own.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Role, ground::Ground, servers::Servers};
use crate::{
    Error,
    network::{link::Link, owner, proxy::Proxy},
    wait,
};

/// How long a gateway that connects may be unknown: it is noted right after it was started.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// How members are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// Directly.
    #[default]
    Direct,
    /// Each way through a proxy of its own. The database has to be on this machine: its driver
    /// learns the addresses of nodes from them, so proxies have the same addresses and another port.
    Proxied,
    /// As [`Self::Proxied`], and each member in a network namespace of its own where the machine
    /// allows it.
    Namespaces,
}

/// The other end of a member's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The NATS servers, all of them.
    Nats,
    /// The database.
    Cql,
    /// This matcher, from a gateway.
    Matcher(usize),
}

/// Who goes where.
type Way = (Role, usize, Peer);

/// All ways of a cluster whose links are not direct.
#[derive(Debug)]
pub(super) struct Wiring {
    proxies: Mutex<Vec<Proxy>>,
    ways: Arc<Ways>,
    /// Whether the address of whoever connects says who it is.
    by_address: bool,
}

#[derive(Debug, Default)]
struct Ways {
    links: Mutex<HashMap<Way, Arc<Link>>>,
    /// Process ids of the gateways, as far as they were started.
    gateways: Mutex<HashMap<usize, u32>>,
}

impl Wiring {
    pub(super) fn new(ground: &Ground) -> Self {
        Self {
            proxies: Mutex::default(),
            ways: Arc::default(),
            by_address: ground.network().is_some(),
        }
    }

    /// Makes the proxies of a new member; the settings that lead it, and others to it, through
    /// them.
    pub(super) fn settings(
        &self,
        (role, number): (Role, usize),
        ground: &Ground,
        servers: &Servers,
    ) -> Result<Vec<(String, String)>, Error> {
        let nats = self.nats(ground, &servers.nats_urls(), (role, number, Peer::Nats))?;
        let nats: Vec<String> = nats.iter().map(|proxy| format!("nats://{proxy}")).collect();
        let mut settings = vec![("nats.servers".to_owned(), nats.join(","))];
        if role != Role::Gateway {
            let nodes = self.cql(&servers.contact_points(), (role, number, Peer::Cql))?;
            let nodes: Vec<String> = nodes.iter().map(SocketAddr::to_string).collect();
            settings.push(("scylla.nodes".to_owned(), nodes.join(",")));
        }
        if role == Role::Matcher
            && let Some(target) = role.address(ground, number)
        {
            let address = self.matcher(ground, number, target)?;
            settings.push(("matcher.advertise".to_owned(), address.to_string()));
        }
        Ok(settings)
    }

    /// The way of this member to that peer.
    pub(super) fn link(&self, way: Way) -> Arc<Link> {
        self.ways.link(way)
    }

    /// All ways from and to a member.
    pub(super) fn links_of(&self, role: Role, number: usize) -> Vec<Arc<Link>> {
        let links = lock(&self.ways.links);
        let touches = |way: &Way| {
            (way.0, way.1) == (role, number)
                || (role == Role::Matcher && way.2 == Peer::Matcher(number))
        };
        let found = links.iter().filter(|(way, _)| touches(way));
        found.map(|(_, link)| Arc::clone(link)).collect()
    }

    /// A gateway has this process id from now on.
    pub(super) fn gateway_started(&self, number: usize, pid: u32) {
        lock(&self.ways.gateways).insert(number, pid);
    }

    /// One proxy for each NATS server, all on one link.
    fn nats(&self, ground: &Ground, urls: &[String], way: Way) -> Result<Vec<SocketAddr>, Error> {
        let link = self.link(way);
        let start = |url: &String| Proxy::start(ground.proxies(), target(url)?, &link);
        let proxies: Vec<Proxy> = urls.iter().map(start).collect::<Result<_, Error>>()?;
        Ok(self.keep(proxies))
    }

    /// One proxy for each node, all on one link. The driver takes the address of a node from the
    /// node and the port from whoever it asked, so each proxy has the address of its node, and all
    /// have one port.
    fn cql(&self, nodes: &[String], way: Way) -> Result<Vec<SocketAddr>, Error> {
        let link = self.link(way);
        let start = |node: &String, port: u16| {
            let target = target(node)?;
            let from = SocketAddr::new(target.ip(), port);
            let link = Arc::clone(&link);
            Proxy::at(from, target, move |_, _| Some(Arc::clone(&link)))
        };
        let start_all = || {
            let mut proxies: Vec<Proxy> = Vec::new();
            for node in nodes {
                let port = proxies.first().map_or(0, |first| first.address().port());
                proxies.push(start(node, port)?);
            }
            Ok::<_, Error>(proxies)
        };
        // A port that is free at one node may be in use at another.
        let proxies = start_all().or_else(|_in_use| start_all())?;
        Ok(self.keep(proxies))
    }

    fn keep(&self, proxies: Vec<Proxy>) -> Vec<SocketAddr> {
        let addresses = proxies.iter().map(Proxy::address).collect();
        lock(&self.proxies).extend(proxies);
        addresses
    }

    /// The one proxy in front of a matcher, over whose links go by who connects: it has one
    /// address for all gateways.
    fn matcher(
        &self,
        ground: &Ground,
        number: usize,
        target: SocketAddr,
    ) -> Result<SocketAddr, Error> {
        let (ways, by_address) = (Arc::clone(&self.ways), self.by_address);
        let choose = move |from: SocketAddr, to: SocketAddr| {
            let gateway = if by_address {
                Role::Gateway.number_at(from)
            } else {
                ways.gateway_of(from, to)
            };
            Some(ways.link((Role::Gateway, gateway?, Peer::Matcher(number))))
        };
        let proxy = Proxy::at(SocketAddr::new(ground.proxies(), 0), target, choose)?;
        let address = proxy.address();
        lock(&self.proxies).push(proxy);
        Ok(address)
    }
}

impl Drop for Wiring {
    fn drop(&mut self) {
        // Nothing is held back any more, so that everybody who waits finds the end.
        for link in lock(&self.ways.links).values() {
            link.cut();
        }
    }
}

impl Ways {
    fn link(&self, way: Way) -> Arc<Link> {
        Arc::clone(lock(&self.links).entry(way).or_default())
    }

    /// The gateway that connected from `from`.
    fn gateway_of(&self, from: SocketAddr, to: SocketAddr) -> Option<usize> {
        let look = || {
            let gateways: Vec<(usize, u32)> = lock(&self.gateways)
                .iter()
                .map(|(n, pid)| (*n, *pid))
                .collect();
            let pids: Vec<u32> = gateways.iter().map(|(_, pid)| *pid).collect();
            let owner = owner::find(from, to, &pids);
            let found = gateways.into_iter().find(|(_, pid)| Some(*pid) == owner);
            Ok::<_, std::convert::Infallible>(found.map(|(number, _)| number))
        };
        let Ok(found) = wait::until(KNOWN_WITHIN, look);
        found
    }
}

/// An address `ip:port`, with or without a scheme.
fn target(address: &str) -> Result<SocketAddr, Error> {
    let plain = address
        .split_once("://")
        .map_or(address, |(_, plain)| plain);
    plain.parse().map_err(|_not_an_address| {
        Error::Options(format!("{address} is not ip:port, as a proxy needs it"))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
