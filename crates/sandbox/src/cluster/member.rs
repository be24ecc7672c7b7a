//! One role of a cluster as a child process.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::ground::Ground;
use crate::{Error, process::Launch, program::Program};

/// Time until a role is ready: a matcher may have to read what is stored first.
pub(super) const READY_PATIENCE: Duration = Duration::from_secs(120);

/// Time to end after SIGTERM: three times the default of `shutdown.grace_secs`.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// The ports that are the defaults of `gateway.listen`, `admin.listen` and `matcher.listen`; each
/// member has an address of its own for them.
const GATEWAY_PORT: u16 = 7777;
const ADMIN_PORT: u16 = 7778;
const MATCHER_PORT: u16 = 7779;

/// What a member does. The order is the one they are started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Stores events.
    Ingest,
    /// Answers questions and matches new events.
    Matcher,
    /// Talks to clients.
    Gateway,
}

/// A member, as it is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the cluster, such as `gateway-0`.
    pub name: String,
    /// Where others reach it: `ws://ip:port` of a gateway, `http://ip:port` of a matcher (gRPC).
    /// Nobody connects to ingest.
    pub url: Option<String>,
    /// Where it answers `/metrics`, `/livez` and `/readyz`.
    pub admin: SocketAddr,
    /// Its process id, also after it has ended.
    pub pid: u32,
}

impl Role {
    /// All, in the order they are started in.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Matcher, Self::Gateway];

    /// How many of a role a cluster may have: each has an address in the cluster's block.
    pub const MEMBERS_MAX: usize = 32;

    /// The subcommand that runs it.
    #[must_use]
    pub fn subcommand(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Matcher => "matcher",
            Self::Gateway => "gateway",
        }
    }

    pub(super) fn name(self, number: usize) -> String {
        format!("{}-{number}", self.subcommand())
    }

    pub(super) fn check_count(self, count: usize) -> Result<(), Error> {
        if count <= Self::MEMBERS_MAX {
            return Ok(());
        }
        let (name, max) = (self.subcommand(), Self::MEMBERS_MAX);
        Err(Error::Options(format!(
            "{count} × {name}, at most {max} are possible"
        )))
    }

    /// The last part of its address.
    pub(super) fn host(self, number: usize) -> u8 {
        self.first_host() + u8::try_from(number).unwrap_or(u8::MAX).min(49)
    }

    /// The member of this role that has such an address.
    pub(super) fn number_at(self, address: SocketAddr) -> Option<usize> {
        let IpAddr::V4(ip) = address.ip() else {
            return None;
        };
        let number = ip.octets()[3].checked_sub(self.first_host())?;
        Some(usize::from(number)).filter(|number| *number < Self::MEMBERS_MAX)
    }

    fn first_host(self) -> u8 {
        match self {
            Self::Ingest => 150,
            Self::Matcher => 100,
            Self::Gateway => 10,
        }
    }

    /// Where others connect to it, if anybody does.
    pub(super) fn address(self, ground: &Ground, number: usize) -> Option<SocketAddr> {
        let host = self.host(number);
        match self {
            Self::Ingest => None,
            Self::Matcher => Some(ground.back(host, MATCHER_PORT)),
            Self::Gateway => Some(ground.front(host, GATEWAY_PORT)),
        }
    }

    fn admin(self, ground: &Ground, number: usize) -> SocketAddr {
        ground.front(self.host(number), ADMIN_PORT)
    }

    pub(super) fn url(self, ground: &Ground, number: usize) -> Option<String> {
        let scheme = if self == Self::Gateway { "ws" } else { "http" };
        let address = self.address(ground, number)?;
        Some(format!("{scheme}://{address}"))
    }

    /// The keys that it doesn't share with the others.
    pub(super) fn settings(self, ground: &Ground, number: usize) -> Vec<(String, String)> {
        let mut settings = vec![
            ("cluster.node".to_owned(), self.name(number)),
            (
                "admin.listen".to_owned(),
                self.admin(ground, number).to_string(),
            ),
        ];
        if let Some(address) = self.address(ground, number) {
            settings.push((format!("{}.listen", self.subcommand()), address.to_string()));
        }
        settings
    }
}

/// A member with its process, which may have ended.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    url: Option<String>,
    admin: SocketAddr,
    pub(super) program: Program,
}

impl Running {
    pub(super) fn start(
        role: Role,
        number: usize,
        ground: &Ground,
        launch: Launch,
    ) -> Result<Self, Error> {
        Ok(Self {
            name: role.name(number),
            url: role.url(ground, number),
            admin: role.admin(ground, number),
            program: Program::start(launch)?,
        })
    }

    pub(super) fn member(&self) -> Member {
        Member {
            name: self.name.clone(),
            url: self.url.clone(),
            admin: self.admin,
            pid: self.program.process().pid(),
        }
    }
}
