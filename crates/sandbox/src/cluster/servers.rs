//! The servers below a cluster: started for it, or there already.

use super::{ClusterOptions, Links};
use crate::{
    Error,
    cql::{Cassandra, CassandraOptions, Scylla, ScyllaOptions},
    nats::{Nats, NatsOptions},
};

/// Which NATS servers.
#[derive(Debug, Clone)]
pub enum NatsServers {
    /// Some of its own.
    Start(NatsOptions),
    /// Those at these URLs, `nats://host:port`; three or more are taken for one cluster.
    Running(Vec<String>),
}

/// Which database.
#[derive(Debug, Clone)]
pub enum CqlServers {
    /// Cassandra nodes of its own.
    Cassandra(CassandraOptions),
    /// `ScyllaDB` nodes of its own, in containers.
    Scylla(ScyllaOptions),
    /// Those at these contact points, `ip:port`; three or more are taken for one cluster.
    Running(Vec<String>),
}

/// Both, as they run.
#[derive(Debug)]
pub(super) struct Servers {
    nats: NatsState,
    cql: CqlState,
}

#[derive(Debug)]
enum NatsState {
    Own(Nats),
    Others(Vec<String>),
}

#[derive(Debug)]
enum CqlState {
    Cassandra(Cassandra),
    Scylla(Scylla),
    Others(Vec<String>),
}

impl Servers {
    pub(super) fn start(options: &ClusterOptions) -> Result<Self, Error> {
        let is_proxied = options.links != Links::Direct;
        // The database first: it takes longest and is what may be missing.
        let cql = match &options.cql {
            CqlServers::Cassandra(options) => CqlState::Cassandra(Cassandra::start(options)?),
            CqlServers::Scylla(options) => CqlState::Scylla(Scylla::start(options)?),
            CqlServers::Running(contact_points) => CqlState::Others(contact_points.clone()),
        };
        let nats = match &options.nats {
            NatsServers::Start(nats) => NatsState::Own(Nats::start(&NatsOptions {
                // Clients would go past their proxies.
                advertise: nats.advertise && !is_proxied,
                ..nats.clone()
            })?),
            NatsServers::Running(urls) => NatsState::Others(urls.clone()),
        };
        Ok(Self { nats, cql })
    }

    pub(super) fn nats(&self) -> Option<&Nats> {
        match &self.nats {
            NatsState::Own(nats) => Some(nats),
            NatsState::Others(_) => None,
        }
    }

    pub(super) fn cassandra(&self) -> Option<&Cassandra> {
        match &self.cql {
            CqlState::Cassandra(cassandra) => Some(cassandra),
            CqlState::Scylla(_) | CqlState::Others(_) => None,
        }
    }

    pub(super) fn nats_urls(&self) -> Vec<String> {
        match &self.nats {
            NatsState::Own(nats) => nats.urls(),
            NatsState::Others(urls) => urls.clone(),
        }
    }

    pub(super) fn contact_points(&self) -> Vec<String> {
        match &self.cql {
            CqlState::Cassandra(cassandra) => cassandra.contact_points(),
            CqlState::Scylla(scylla) => scylla.contact_points(),
            CqlState::Others(contact_points) => contact_points.clone(),
        }
    }

    pub(super) fn cql_pids(&self) -> Vec<u32> {
        let nodes = 0..self.contact_points().len();
        match &self.cql {
            CqlState::Cassandra(cassandra) => nodes.map(|node| cassandra.pid(node)).collect(),
            CqlState::Scylla(scylla) => nodes.map(|node| scylla.pid(node)).collect(),
            CqlState::Others(_) => Vec::new(),
        }
    }

    /// Servers that stay when the cluster goes: URLs of NATS, contact points of the database.
    pub(super) fn others(&self) -> (&[String], &[String]) {
        let nats: &[String] = match &self.nats {
            NatsState::Own(_) => &[],
            NatsState::Others(urls) => urls,
        };
        let cql: &[String] = match &self.cql {
            CqlState::Cassandra(_) | CqlState::Scylla(_) => &[],
            CqlState::Others(contact_points) => contact_points,
        };
        (nats, cql)
    }
}
