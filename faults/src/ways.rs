//! Ways between members and servers, and what happens to them.

use std::{fmt, sync::Arc, time::Duration};

use heliograph_sandbox::{
    cluster::{Peer, Role},
    network::link::Link,
};

use crate::bed::Bed;

/// From a member to a server, or from a gateway to a matcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Who connects.
    pub role: Role,
    /// Which of them.
    pub number: usize,
    /// Where to.
    pub peer: Peer,
}

impl Way {
    /// Its link in this bed.
    pub(crate) fn link(self, bed: &Bed) -> Arc<Link> {
        bed.link(self.role, self.number, self.peer)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} - ", self.role.subcommand(), self.number)?;
        match self.peer {
            Peer::Nats => f.write_str("nats"),
            Peer::Cql => f.write_str("cql"),
            Peer::Matcher(number) => write!(f, "matcher {number}"),
        }
    }
}

/// What happens to a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Connections are reset, new ones too.
    Cut,
    /// Nothing gets through and nobody is told.
    Silence,
    /// Everything comes so much later, and up to a quarter more.
    Delay(Duration),
}

impl Harm {
    pub(crate) fn apply(self, link: &Link) {
        match self {
            Self::Cut => link.cut(),
            Self::Silence => link.silence(),
            Self::Delay(delay) => link.slow(delay, delay / 4),
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("cut"),
            Self::Silence => f.write_str("silent"),
            Self::Delay(delay) => write!(f, "{} ms late", delay.as_millis()),
        }
    }
}
