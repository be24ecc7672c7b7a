//! The cluster under measurement, and the clock over it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use heliograph_sandbox::{
    cluster::{Cluster, ClusterOptions, CqlServers, NatsServers, Role},
    wait,
};

use crate::{
    figures::{Cpu, Rows, Sample, Seen, cpu_of, cpu_of_machine, metric, sum},
    options::Options,
};

/// How long the cluster may take to come to rest after a phase.
const REST_PATIENCE: Duration = Duration::from_secs(120);

/// For how long it has to rest.
const REST: Duration = Duration::from_millis(500);

/// CPU time of all servers in that time that counts as rest: a fifth of one core. Servers are never
/// quite idle, Java least of all.
const REST_CPU_MAX: Duration = Duration::from_millis(100);

/// Lines of each role's log that an error shows.
const LOG_LINES: usize = 10;

/// How long the idle cluster is watched.
const IDLE: Duration = Duration::from_secs(10);

/// Gauges of an ingest worker that are zero when nothing waits.
const INGEST_QUEUES: [&str; 3] = [
    "heliograph_ingest_lag_messages",
    "heliograph_ingest_unacked_messages",
    "heliograph_ingest_working_messages",
];

/// A cluster whose roles can be started again on the same servers.
#[derive(Debug)]
pub(crate) struct Bed {
    cluster: Cluster,
    /// The one that owns the servers, if that is another: dropped last.
    first: Option<Arc<Cluster>>,
}

impl Bed {
    pub(crate) fn start(options: &Options) -> Result<Self> {
        Ok(Self {
            cluster: Cluster::start(&options.cluster())?,
            first: None,
        })
    }

    /// Starts the roles again, which have been stopped, on the same data, with the smallest recent tier that
    /// the configuration allows.
    pub(crate) fn with_small_recent_tier(self, options: &Options) -> Result<Self> {
        let first = self.cluster;
        let mut again = ClusterOptions {
            nats: NatsServers::Running(first.nats_urls()),
            cql: CqlServers::Running(first.contact_points()),
            ..options.cluster()
        };
        let name = first.name();
        let own = [
            ("cluster.name", name),
            ("scylla.keyspace", name),
            ("recent.events_max", "1000"),
        ];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        again.settings.extend(own);
        Ok(Self {
            cluster: Cluster::start(&again)?,
            first: Some(Arc::new(first)),
        })
    }

    /// Starts roles on servers that are there; `owner` is the cluster that has started them, if there
    /// is one: only then is their CPU time known.
    pub(crate) fn on(options: &ClusterOptions, owner: Option<&Arc<Cluster>>) -> Result<Self> {
        Ok(Self {
            cluster: Cluster::start(options)?,
            first: owner.cloned(),
        })
    }

    /// All gateways.
    pub(crate) fn gateways(&self) -> Vec<SocketAddr> {
        let members = 0..self.cluster.members(Role::Gateway).len();
        members.map(|number| self.cluster.gateway(number)).collect()
    }

    /// Stops the roles in order.
    pub(crate) fn stop(&self) -> Result<()> {
        for (name, status) in self.cluster.stop()? {
            if !status.success() {
                bail!("{name} ended badly: {status}");
            }
        }
        Ok(())
    }

    /// Does some work; if it fails, the error says what the roles have logged last.
    pub(crate) fn explained(&self, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        work(self).with_context(|| {
            let said = self.cluster.last_words(LOG_LINES);
            format!("the roles have logged:\n{said}")
        })
    }

    /// Where clients publish and ask.
    pub(crate) fn gateway(&self) -> SocketAddr {
        self.cluster.gateway(0)
    }

    /// Where they subscribe: another one, if there are two.
    pub(crate) fn other_gateway(&self) -> SocketAddr {
        let gateways = self.cluster.members(Role::Gateway).len();
        self.cluster.gateway(gateways.saturating_sub(1))
    }

    /// Measures `work` from rest to rest.
    pub(crate) fn measure(&self, work: impl FnOnce() -> Result<Seen>) -> Result<Sample> {
        self.rest()?;
        let (cpu, rows, statements) = (self.cpu()?, self.rows()?, self.statements()?);
        let machine = cpu_of_machine()?;
        let start = Instant::now();
        let seen = work()?;
        let wall = start.elapsed();
        self.rest()?;
        let machine = cpu_of_machine()?.saturating_sub(machine);
        let cpu = &self.cpu()? - &cpu;
        Ok(Sample {
            seen,
            rows: self.rows()? - rows,
            statements: self.statements()? - statements,
            wall,
            span: start.elapsed(),
            others: machine.saturating_sub(cpu.servers() + cpu.client),
            cpu,
        })
    }

    /// Measures the cluster while nobody wants anything from it.
    pub(crate) fn idle(&self) -> Result<Sample> {
        self.measure(|| {
            pass(IDLE);
            Ok(Seen::default())
        })
    }

    /// Waits until no queue holds anything and nobody works.
    fn rest(&self) -> Result<()> {
        let rested = wait::until(REST_PATIENCE, || -> Result<Option<()>> {
            let before = self.cpu()?.servers();
            pass(REST);
            let worked = self.cpu()?.servers().saturating_sub(before);
            let rests = worked <= REST_CPU_MAX && self.is_drained()?;
            Ok(rests.then_some(()))
        })?;
        rested.with_context(|| {
            format!(
                "the cluster doesn't come to rest in {} s",
                REST_PATIENCE.as_secs()
            )
        })
    }

    fn is_drained(&self) -> Result<bool> {
        for page in self.pages(Role::Ingest)? {
            for queue in INGEST_QUEUES {
                if metric(&page, queue)? > 0.0 {
                    return Ok(false);
                }
            }
        }
        let applied = self.pages(Role::Matcher)?;
        let applied: Vec<f64> = applied
            .iter()
            .map(|page| metric(page, "heliograph_matcher_applied_commit"))
            .collect::<Result<_>>()?;
        Ok(applied.windows(2).all(|pair| pair[0] == pair[1]))
    }

    /// The name of the cluster, and of its keyspace.
    pub(crate) fn cluster_name(&self) -> &str {
        self.cluster.name()
    }

    /// The first node of the database, if it is this program's: where it listens, and its process.
    pub(crate) fn first_node(&self) -> Option<(SocketAddr, u32)> {
        let owner = self.first.as_deref().unwrap_or(&self.cluster);
        let address = owner.contact_points().first()?.parse().ok()?;
        Some((address, *owner.cql_pids().first()?))
    }

    /// Resident bytes of each member of a role.
    pub(crate) fn resident(&self, role: Role) -> Result<Vec<f64>> {
        let name = "heliograph_process_resident_memory_bytes";
        self.pages(role)?
            .iter()
            .map(|page| metric(page, name))
            .collect()
    }

    fn statements(&self) -> Result<f64> {
        let name = "heliograph_scylla_statements_total";
        let mut statements = 0.0;
        for role in [Role::Ingest, Role::Matcher] {
            statements += self
                .pages(role)?
                .iter()
                .map(|page| sum(page, name))
                .sum::<f64>();
        }
        Ok(statements)
    }

    fn rows(&self) -> Result<Rows> {
        let mut rows = Rows::default();
        for page in self.pages(Role::Matcher)? {
            rows += Rows::read(&page)?;
        }
        Ok(rows)
    }

    pub(crate) fn pages(&self, role: Role) -> Result<Vec<String>> {
        let members = 0..self.cluster.members(role).len();
        let pages = members.map(|number| self.cluster.metrics(role, number));
        Ok(pages.collect::<Result<_, _>>()?)
    }

    fn cpu(&self) -> Result<Cpu> {
        let each = |role: Role| -> Result<Vec<Duration>> {
            let members = self.cluster.members(role);
            members.iter().map(|member| cpu_of(member.pid)).collect()
        };
        let owner = self.first.as_deref().unwrap_or(&self.cluster);
        let all = |pids: &[u32]| {
            pids.iter()
                .map(|pid| cpu_of(*pid))
                .sum::<Result<Duration>>()
        };
        // Servers that are somebody else's are not measured.
        let nats = owner.nats().map_or_else(Vec::new, |nats| {
            let nodes = 0..owner.nats_urls().len();
            nodes.map(|node| nats.pid(node)).collect()
        });
        Ok(Cpu {
            gateways: each(Role::Gateway)?,
            ingest: each(Role::Ingest)?.iter().sum(),
            matcher: each(Role::Matcher)?.iter().sum(),
            nats: all(&nats)?,
            cql: all(&owner.cql_pids())?,
            client: cpu_of(process::id())?,
        })
    }
}

/// Lets time pass: what is measured here is what happens in it.
fn pass(time: Duration) {
    let nothing: Result<Option<()>, Infallible> = wait::until(time, || Ok(None));
    debug_assert!(nothing.is_ok_and(|found| found.is_none()));
}
