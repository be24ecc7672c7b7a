//! What a store is told when it connects.

use std::{path::PathBuf, time::Duration};

use heliograph_policy::RelayUrls;

use crate::{FRESH_WINDOW, Metrics};

/// How many replicas answer before a statement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// A quorum of the local datacenter: the default, and what the promises of the cluster need.
    #[default]
    LocalQuorum,
    /// A quorum of all replicas in all datacenters: for writers in several datacenters.
    Quorum,
    /// One replica: for tests on one node. Racing writers may miss each other.
    One,
}

/// How to speak TLS with the database. Certificates of nodes must name their IP address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// PEM file with the authorities to trust; those of the system if absent.
    pub ca_file: Option<PathBuf>,
    /// PEM files with a certificate chain and its key, to show who we are.
    pub client: Option<ClientCertificate>,
}

/// A certificate of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file: the chain, our certificate first.
    pub certificate_file: PathBuf,
    /// PEM file: its private key.
    pub key_file: PathBuf,
}

/// Everything that [`ScyllaStore::connect`](crate::ScyllaStore::connect) and
/// [`migrate`](crate::migrate) need.
#[derive(Debug, Clone)]
pub struct ScyllaOptions {
    /// Contact points, `host:port` or `host` (port 9042): several, so that one may be down.
    pub nodes: Vec<String>,
    /// The keyspace: a lower-case letter, then at most 47 lower-case letters, digits or `_`.
    pub keyspace: String,
    /// User and password, if the database asks for them.
    pub login: Option<Login>,
    /// TLS, if the database speaks it.
    pub tls: Option<TlsOptions>,
    /// The local datacenter: its nodes are asked first. Any if absent.
    pub datacenter: Option<String>,
    /// How many replicas answer.
    pub consistency: Consistency,
    /// The URLs under which clients know this relay (R62-1).
    pub relay_urls: RelayUrls,
    /// Time for a connection to a node.
    pub connect_timeout: Duration,
    /// Time over which the store tries to connect again, while nodes don't answer: one of several
    /// may just have died, and the others not know it yet.
    pub start_patience: Duration,
    /// Time for one statement that writes, retries of the driver included.
    pub write_timeout: Duration,
    /// Time for one statement that reads, retries of the driver included.
    pub read_timeout: Duration,
    /// A query asks another replica too when the first hasn't answered in this time.
    pub speculative_delay: Duration,
    /// How often a statement that writes is tried again after a time-out or for lack of replicas,
    /// with a pause that doubles from 50 ms.
    pub write_retries: u32,
    /// Statements of writers under way at most; further ones wait.
    pub write_concurrency: usize,
    /// Statements of queries under way at most; further ones wait.
    pub read_concurrency: usize,
    /// How long an event counts as fresh after it was stored ([`Page::fresh`]).
    ///
    /// [`Page::fresh`]: heliograph_store::Page
    pub fresh_window: Duration,
    /// Time that one write spends on removing what a request to vanish reaches. What is left is
    /// noted and done by [`ScyllaStore::sweep`](crate::ScyllaStore::sweep).
    pub removal_time: Duration,
    /// Bounds of partitions. Every process of a cluster must have the same.
    pub buckets: BucketOptions,
    /// Where the store counts.
    pub metrics: Metrics,
}

/// User and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password; never printed.
    pub password: String,
}

/// When a partition of an index counts as full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketOptions {
    /// Rows of a full bucket. A row takes about 120 bytes, so 24,576 make 3 MB. Cassandra refuses to
    /// read past 100,000 tombstones, a removed row is one, and one that has expired is one for each
    /// of its three cells: a full bucket stays below that, with what overshoots.
    pub rows: u32,
    /// One of so many rows, by chance, leaves a mark; a bucket is full when its marks say so.
    pub mark_every: u32,
}

impl Default for BucketOptions {
    fn default() -> Self {
        Self {
            rows: 24_576,
            mark_every: 128,
        }
    }
}

impl BucketOptions {
    /// Marks of a full bucket.
    pub(crate) fn marks(self) -> usize {
        usize::try_from((self.rows / self.mark_every.max(1)).max(1)).unwrap_or(usize::MAX)
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl ScyllaOptions {
    /// The defaults, for these contact points and this keyspace.
    #[must_use]
    pub fn new(nodes: Vec<String>, keyspace: impl Into<String>) -> Self {
        Self {
            nodes,
            keyspace: keyspace.into(),
            login: None,
            tls: None,
            datacenter: None,
            consistency: Consistency::default(),
            relay_urls: RelayUrls::default(),
            connect_timeout: Duration::from_secs(5),
            start_patience: Duration::from_secs(30),
            write_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(3),
            speculative_delay: Duration::from_millis(100),
            write_retries: 4,
            write_concurrency: 256,
            read_concurrency: 256,
            fresh_window: FRESH_WINDOW,
            removal_time: Duration::from_secs(2),
            buckets: BucketOptions::default(),
            metrics: Metrics::default(),
        }
    }
}
