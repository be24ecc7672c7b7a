//! What a cluster consists of, and the keys that its members share.

use std::path::PathBuf;

use super::{CqlServers, Links, NatsServers, Role, ground::Ground, servers::Servers};
use crate::{Error, cql::CassandraOptions, nats::NatsOptions};

/// What `OK true` promises, as the key `cluster.durability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The database took the event.
    #[default]
    Stored,
    /// JetStream did; with a single NATS server too, which the configuration wants confirmed.
    Quorum,
}

/// Keys that limit what one address or connection may do. A generator of load is one address and a few
/// connections, so that 0, which is no limit, is what it needs.
pub const LIMITS: [&str; 6] = [
    "gateway.connections_per_ip_max",
    "gateway.connections_per_ip_per_sec",
    "gateway.events_per_sec",
    "gateway.events_per_ip_per_sec",
    "gateway.reqs_per_sec",
    "gateway.reqs_per_ip_per_sec",
];

/// What to start.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The program `heliograph`.
    pub binary: PathBuf,
    /// How many of this role.
    pub gateways: usize,
    /// How many of this role.
    pub matchers: usize,
    /// How many of this role.
    pub ingest: usize,
    /// The bus.
    pub nats: NatsServers,
    /// The database.
    pub cql: CqlServers,
    /// How members are connected to servers and to each other.
    pub links: Links,
    /// What `OK true` promises.
    pub durability: Durability,
    /// A configuration file for all roles, below everything that is set here.
    pub config: Option<PathBuf>,
    /// Further keys for all roles, as `--set`; they win over those that the cluster sets itself.
    pub settings: Vec<(String, String)>,
}

impl ClusterOptions {
    /// Two of each role on one NATS server and one Cassandra node.
    #[must_use]
    pub fn new(binary: PathBuf) -> Self {
        Self {
            binary,
            gateways: 2,
            matchers: 2,
            ingest: 2,
            nats: NatsServers::Start(NatsOptions::default()),
            cql: CqlServers::Cassandra(CassandraOptions::default()),
            links: Links::default(),
            durability: Durability::default(),
            config: None,
            settings: Vec::new(),
        }
    }

    /// Two of each role on the servers that this process shares ([`crate::nats::shared`],
    /// [`crate::cql::shared`]).
    ///
    /// # Errors
    ///
    /// These servers can't be started.
    pub fn on_shared(binary: PathBuf) -> Result<Self, Error> {
        Ok(Self {
            nats: NatsServers::Running(crate::nats::shared()?),
            cql: CqlServers::Running(crate::cql::shared()?),
            ..Self::new(binary)
        })
    }

    pub(super) fn count(&self, role: Role) -> usize {
        match role {
            Role::Gateway => self.gateways,
            Role::Ingest => self.ingest,
            Role::Matcher => self.matchers,
        }
    }
}

/// The keys that all roles share.
pub(super) fn settings(
    name: &str,
    options: &ClusterOptions,
    servers: &Servers,
    ground: &Ground,
) -> Vec<(String, String)> {
    let urls: Vec<String> = (0..Role::MEMBERS_MAX)
        .filter_map(|number| Role::Gateway.url(ground, number))
        .collect();
    let durability = match options.durability {
        Durability::Stored => "stored",
        Durability::Quorum => "quorum",
    };
    let own = [
        ("cluster.name", name.to_owned()),
        ("cluster.durability", durability.to_owned()),
        ("nats.servers", servers.nats_urls().join(",")),
        ("nats.replicas", copies(servers.nats_urls().len())),
        ("scylla.nodes", servers.contact_points().join(",")),
        ("scylla.keyspace", name.to_owned()),
        (
            "scylla.replication_factor",
            copies(servers.contact_points().len()),
        ),
        // Every gateway serves every client, so each answers to the URLs of all.
        ("relay.url", urls.join(",")),
        ("log.format", "text".to_owned()),
    ];
    let given = |key: &str| options.settings.iter().any(|(given, _)| given == key);
    let mut settings: Vec<(String, String)> = own
        .into_iter()
        .filter(|(key, _)| !given(key))
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    settings.extend(options.settings.iter().cloned());
    let single = settings
        .iter()
        .any(|(key, value)| key == "nats.replicas" && value != "3");
    if options.durability == Durability::Quorum && single && !given("cluster.durability_unsafe") {
        settings.push(("cluster.durability_unsafe".to_owned(), "true".to_owned()));
    }
    settings
}

/// As many copies as there are servers, three at most; two would be no better than one.
fn copies(servers: usize) -> String {
    if servers < 3 { "1" } else { "3" }.to_owned()
}
