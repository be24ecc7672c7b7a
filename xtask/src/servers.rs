//! The servers of the tests: installed first, then one of each for all test programs.

use anyhow::Result;
use heliograph_sandbox::{
    Error, collector,
    cql::{self, Cassandra, CassandraOptions},
    k6, kubernetes,
    nats::{self, Nats, NatsOptions},
    peers, prometheus, tools,
};

use crate::shell;

/// Heap of the shared node in MiB: tests leave many small tables in it.
const CASSANDRA_HEAP_MIB: u32 = 1_024;

/// The configuration of NATS that people with a container engine run.
const COMPOSE_NATS: &str = "deploy/compose/nats.conf";

/// Installs the NATS server, Cassandra, Prometheus, the OpenTelemetry collector, k6, helm and the
/// API server of Kubernetes, and has the first check the configuration that is shipped. Returns what
/// is missing on this machine, if so.
///
/// # Errors
///
/// A download or build fails, or the configuration is wrong.
pub(crate) fn install() -> Result<Option<String>> {
    let nats = match installed(tools::install_nats())? {
        Ok(program) => program,
        Err(missing) => return Ok(Some(missing)),
    };
    println!("nats-server {} in {}", tools::NATS_VERSION, nats.display());
    shell::run(
        shell::command(nats)
            .args(["-t", "-c", COMPOSE_NATS])
            .env("NATS_NAME", "nats-1"),
    )?;
    let cassandra = match installed(tools::install_cassandra())? {
        Ok(jars) => jars,
        Err(missing) => return Ok(Some(missing)),
    };
    println!(
        "cassandra {} in {}",
        tools::CASSANDRA_VERSION,
        cassandra.display()
    );
    let programs = match installed(prometheus::install())? {
        Ok(programs) => programs,
        Err(missing) => return Ok(Some(missing)),
    };
    println!("prometheus: {}", programs.prometheus.display());
    let collector = match installed(collector::install())? {
        Ok(program) => program,
        Err(missing) => return Ok(Some(missing)),
    };
    println!("OpenTelemetry collector in {}", collector.display());
    let k6 = match installed(k6::install(&heliograph_loadtest::module()))? {
        Ok(programs) => programs,
        Err(missing) => return Ok(Some(missing)),
    };
    println!(
        "k6 in {}, with signatures in {}",
        k6.stock.display(),
        k6.signing.display()
    );
    println!("peer: {}", peers::nostr_relay_builder()?.display());
    let chart = kubernetes::install().and_then(|tools| Ok((tools, kubernetes::install_server()?)));
    let (tools, server) = match installed(chart)? {
        Ok(programs) => programs,
        Err(missing) => return Ok(Some(missing)),
    };
    println!(
        "helm {} in {}, kube-apiserver in {}",
        kubernetes::HELM_VERSION,
        tools.helm.display(),
        server.apiserver.display()
    );
    Ok(None)
}

/// Servers for everything that can share them, until this is dropped.
pub(crate) struct Shared {
    nats: Option<Nats>,
    cassandra: Option<Cassandra>,
}

impl Shared {
    /// Starts one of each, unless the environment names others or this machine can't run one: then
    /// the tests that need it say so.
    ///
    /// # Errors
    ///
    /// One can be had but doesn't start.
    pub(crate) fn start() -> Result<Self> {
        let wanted = |variable: &str| shell::variable(variable).is_none();
        let mut shared = Self {
            nats: None,
            cassandra: None,
        };
        if wanted(nats::SHARED_VARIABLE) {
            shared.nats = or_note(installed(Nats::start(&NatsOptions::default()))?);
        }
        if wanted(cql::SHARED_VARIABLE) {
            let options = CassandraOptions {
                heap_mib: CASSANDRA_HEAP_MIB,
                ..CassandraOptions::default()
            };
            shared.cassandra = or_note(installed(Cassandra::start(&options))?);
        }
        Ok(shared)
    }

    /// What tells the tests where they are.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let nats = self.nats.as_ref();
        let nats = nats.map(|nats| (nats::SHARED_VARIABLE, nats.urls().join(",")));
        let cql = self.cassandra.as_ref();
        let cql = cql.map(|cql| (cql::SHARED_VARIABLE, cql.contact_points().join(",")));
        nats.into_iter().chain(cql).collect()
    }
}

/// Tells what is missing on this machine from what went wrong.
pub(crate) fn installed<T>(result: Result<T, Error>) -> Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error @ Error::Missing { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn or_note<T>(result: Result<T, String>) -> Option<T> {
    result
        .map_err(|missing| println!("not started: {missing}"))
        .ok()
}
