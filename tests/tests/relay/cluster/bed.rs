//! Clusters for tests, and what they are asked about themselves.

use std::{
    net::SocketAddr,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

pub(crate) use heliograph_sandbox::wait::within;
use heliograph_sandbox::{
    Error,
    cluster::{Cluster, ClusterOptions, Role},
    or_skip,
};
use heliograph_testkit::{
    PATIENCE,
    client::Client,
    keys::Key,
    process::{binary, conformance_config},
};

use crate::support::metric;

/// Every cluster's settings beside those of the conformance configuration: time enough for a debug
/// build and a Java database on a busy machine.
const SETTINGS: [&str; 8] = [
    "relay.url=wss://relay.example.com",
    "store.scan_ms_max=60000",
    "store.count_ms_max=60000",
    "scylla.read_timeout_ms=20000",
    "scylla.write_timeout_ms=20000",
    "gateway.receipt_timeout_ms=30000",
    "scylla.requests_max=256",
    "nats.timeout_ms=10000",
];

/// Lines of each member's log that a failure shows.
const LOG_LINES: usize = 60;

/// A cluster, whose logs are shown when a test fails that holds it.
#[derive(Debug)]
pub(crate) struct Bed {
    cluster: Arc<Cluster>,
    /// The gateway that [`Bed::client`] takes next.
    next: AtomicUsize,
}

impl Deref for Bed {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Bed {
    /// The cluster of two each that most tests share. `None` after saying so where its servers
    /// can't be had.
    #[track_caller]
    pub(crate) fn shared() -> Option<Self> {
        static SHARED: OnceLock<Option<Arc<Cluster>>> = OnceLock::new();
        let start = || Some(Arc::new(start(|_| {}, &[])?));
        SHARED.get_or_init(start).clone().map(Self::of)
    }

    /// A cluster of two each with an empty store.
    #[track_caller]
    pub(crate) fn fresh(settings: &[&str]) -> Option<Self> {
        Self::with(|_| {}, settings)
    }

    /// A cluster with an empty store, of other members than two each.
    #[track_caller]
    pub(crate) fn with(
        change: impl FnOnce(&mut ClusterOptions),
        settings: &[&str],
    ) -> Option<Self> {
        start(change, settings).map(|cluster| Self::of(Arc::new(cluster)))
    }

    fn of(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            next: AtomicUsize::new(0),
        }
    }

    /// A connection to this gateway.
    #[must_use]
    #[track_caller]
    pub(crate) fn at(&self, gateway: usize) -> Client {
        Client::connect(self.gateway(gateway))
    }

    /// A connection to the gateway after the one that was taken last.
    #[must_use]
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        let gateways = self.members(Role::Gateway).len();
        self.at(self.next.fetch_add(1, Ordering::Relaxed) % gateways)
    }

    /// Connections to the first two gateways.
    #[must_use]
    #[track_caller]
    pub(crate) fn both(&self) -> [Client; 2] {
        [self.at(0), self.at(1)]
    }

    /// Where a member answers operators.
    #[must_use]
    pub(crate) fn admin(&self, role: Role, number: usize) -> SocketAddr {
        self.member(role, number).admin
    }

    /// A series of this name and these labels, summed over all members of a role that run.
    #[must_use]
    #[track_caller]
    pub(crate) fn sum(&self, role: Role, series: &str) -> f64 {
        let pages = (0..self.members(role).len()).filter_map(|n| self.metrics(role, n).ok());
        pages.map(|page| metric(&page, series)).sum()
    }

    /// Runs a tool of the program with this cluster's settings, which has to end well, and returns
    /// what it printed.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{why}");
        text
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        println!("{}", self.last_words(LOG_LINES));
    }
}

fn start(change: impl FnOnce(&mut ClusterOptions), settings: &[&str]) -> Option<Cluster> {
    let cluster = try_start(change, settings)?;
    Some(cluster.unwrap_or_else(|error| panic!("{error}")))
}

/// Starts a cluster that may not start. `None` after saying so where its servers can't be had.
pub(crate) fn try_start(
    change: impl FnOnce(&mut ClusterOptions),
    settings: &[&str],
) -> Option<Result<Cluster, Error>> {
    let mut options = or_skip(ClusterOptions::on_shared(binary().to_owned()))?;
    let both = SETTINGS.iter().chain(settings);
    let pair = |setting: &&str| {
        let (key, value) = setting.split_once('=').expect("key=value");
        (key.to_owned(), value.to_owned())
    };
    options.settings = both.map(pair).collect();
    options.config = Some(conformance_config());
    change(&mut options);
    Some(Cluster::start(&options))
}

/// A key that no other test of this process uses, so that tests can share a cluster.
pub(crate) fn own_key() -> Key {
    static NEXT: AtomicUsize = AtomicUsize::new(1_000);
    Key::nth(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Asks again until `look` finds something.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}
