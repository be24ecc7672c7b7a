//! Where members stand: on loopback addresses, or in network namespaces.

use std::net::{IpAddr, SocketAddr};

use super::links::Links;
use crate::{Error, loopback::Block, network::namespace::Network, process::Launch};

/// The end of the address that proxies listen on; members have those from 10 on.
const PROXIES: u8 = 5;

/// The addresses of a cluster.
#[derive(Debug)]
pub(super) enum Ground {
    Loopback(Block),
    Network(Network),
}

impl Ground {
    /// Namespaces only where they are wanted and the machine allows them.
    pub(super) fn take(links: Links) -> Result<Self, Error> {
        if links == Links::Namespaces
            && let Some(network) = Network::create()?
        {
            return Ok(Self::Network(network));
        }
        Block::take().map(Self::Loopback)
    }

    pub(super) fn network(&self) -> Option<&Network> {
        match self {
            Self::Loopback(_) => None,
            Self::Network(network) => Some(network),
        }
    }

    /// A member's address for other members.
    pub(super) fn back(&self, host: u8, port: u16) -> SocketAddr {
        let ip = match self {
            Self::Loopback(block) => block.ip(host),
            Self::Network(network) => network.back(host),
        };
        SocketAddr::new(ip, port)
    }

    /// A member's address for clients and operators.
    pub(super) fn front(&self, host: u8, port: u16) -> SocketAddr {
        let ip = match self {
            Self::Loopback(block) => block.ip(host),
            Self::Network(network) => network.front(host),
        };
        SocketAddr::new(ip, port)
    }

    /// Where proxies listen.
    pub(super) fn proxies(&self) -> IpAddr {
        match self {
            Self::Loopback(block) => block.ip(PROXIES),
            Self::Network(network) => network.back(Network::host()),
        }
    }

    /// Makes room for a member that needs servers at these loopback addresses, and has it start
    /// there.
    pub(super) fn place(
        &self,
        host: u8,
        servers: &[IpAddr],
        launch: Launch,
    ) -> Result<Launch, Error> {
        let Some(network) = self.network() else {
            return Ok(launch);
        };
        network.join(host)?;
        for server in servers {
            network.lead_to(host, *server)?;
        }
        Ok(network.inside(host, launch))
    }
}
