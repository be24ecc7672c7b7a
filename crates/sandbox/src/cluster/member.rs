//! One role of a cluster as a child process.

use std::{net::SocketAddr, time::Duration};

use crate::{Error, loopback::Block, process::Launch, program::Program};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    fn host(self, number: usize) -> u8 {
        let first = match self {
            Self::Ingest => 150,
            Self::Matcher => 100,
            Self::Gateway => 10,
        };
        first + u8::try_from(number).unwrap_or(u8::MAX).min(49)
    }

    /// Where others connect to it, if anybody does.
    pub(super) fn address(self, block: &Block, number: usize) -> Option<SocketAddr> {
        let port = match self {
            Self::Ingest => return None,
            Self::Matcher => MATCHER_PORT,
            Self::Gateway => GATEWAY_PORT,
        };
        Some(block.address(self.host(number), port))
    }

    fn admin(self, block: &Block, number: usize) -> SocketAddr {
        block.address(self.host(number), ADMIN_PORT)
    }

    pub(super) fn url(self, block: &Block, number: usize) -> Option<String> {
        let scheme = if self == Self::Gateway { "ws" } else { "http" };
        let address = self.address(block, number)?;
        Some(format!("{scheme}://{address}"))
    }

    /// The keys that it doesn't share with the others.
    pub(super) fn settings(self, block: &Block, number: usize) -> Vec<(String, String)> {
        let mut settings = vec![
            ("cluster.node".to_owned(), self.name(number)),
            (
                "admin.listen".to_owned(),
                self.admin(block, number).to_string(),
            ),
        ];
        if let Some(address) = self.address(block, number) {
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
        block: &Block,
        launch: Launch,
    ) -> Result<Self, Error> {
        Ok(Self {
            name: role.name(number),
            url: role.url(block, number),
            admin: role.admin(block, number),
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
