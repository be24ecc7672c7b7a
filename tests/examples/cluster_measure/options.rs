//! What to measure, and on what cluster.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use heliograph_sandbox::{
    Storage,
    cluster::{ClusterOptions, CqlServers, LIMITS, NatsServers},
    cql::CassandraOptions,
    nats::NatsOptions,
};

/// Time for each question before the clock starts: connections, caches, the compiler of Java.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// Heap of each Cassandra node, in MiB.
const CASSANDRA_HEAP_MIB: u32 = 1_024;

/// What `cargo xtask cluster measure` takes.
#[derive(Debug, Clone, Args)]
#[command(override_usage = "cargo xtask cluster measure [OPTIONS]")]
pub(crate) struct Options {
    /// Gateways. Clients publish and ask at the first, and subscribe at the last.
    #[arg(long, value_name = "COUNT", default_value_t = 2,
        value_parser = clap::value_parser!(u8).range(1..=16))]
    gateways: u8,
    /// Matchers.
    #[arg(long, value_name = "COUNT", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=16))]
    matchers: u8,
    /// Ingest workers.
    #[arg(long, value_name = "COUNT", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=16))]
    ingest: u8,
    /// NATS servers, 1 or 3; three sync before they acknowledge.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    nats: u8,
    /// Cassandra nodes, 1 or 3.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    cql: u8,
    /// Events to load, over all repetitions.
    #[arg(long, value_name = "COUNT", default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(6_000..=10_000_000))]
    pub(crate) events: u32,
    /// How often each phase is measured.
    #[arg(long, value_name = "COUNT", default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=50))]
    pub(crate) repeat: u8,
    /// How long each kind of question is asked, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Connections that publish.
    #[arg(long, value_name = "COUNT", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) publishers: u16,
    /// Events of one connection that wait for their OK.
    #[arg(long, value_name = "COUNT", default_value_t = 32,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) in_flight: u16,
    /// Connections that ask, each one question at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) askers: u16,
    /// As many of them ask what the recent tier doesn't hold; all of them if absent. A home feed is a thousand
    /// statements to the database then, and a small one answers few of those at once in time.
    #[arg(long, value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) archive_askers: Option<u16>,
    /// Connections that subscribe in the fan-out, each with a home feed of 500 authors.
    #[arg(long, value_name = "COUNT", default_value_t = 100,
        value_parser = clap::value_parser!(u16).range(1..=5_000))]
    pub(crate) subscribers: u16,
    /// Events of each live phase.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000,
        value_parser = clap::value_parser!(u16).range(10..=4_000))]
    pub(crate) live_events: u16,
    /// Sets any key for all roles; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Where the figures are written that the capacity formulas take.
    #[arg(long, value_name = "FILE")]
    pub(crate) coefficients: Option<PathBuf>,
    /// The program; given by `cargo xtask`.
    #[arg(long, hide = true)]
    binary: PathBuf,
    /// What was built; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "unknown")]
    pub(crate) commit: String,
    /// The day; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "unknown")]
    pub(crate) date: String,
    /// How this was called; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "cargo xtask cluster measure")]
    pub(crate) command: String,
}

impl Options {
    /// How long each kind of question is asked while the clock runs.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// How long before.
    pub(crate) fn warm_up(&self) -> Duration {
        WARM_UP
    }

    /// The cluster with servers of its own. Limits per connection and address are off: the clients
    /// here are a handful and on one address.
    pub(crate) fn cluster(&self) -> ClusterOptions {
        let unlimited = unlimited();
        ClusterOptions {
            gateways: self.gateways.into(),
            matchers: self.matchers.into(),
            ingest: self.ingest.into(),
            nats: NatsServers::Start(NatsOptions {
                nodes: self.nats,
                // With a single server each message would wait for a sync of its own.
                sync_always: self.nats > 1,
                storage: Storage::Disk,
                ..NatsOptions::default()
            }),
            cql: CqlServers::Cassandra(CassandraOptions {
                nodes: self.cql,
                heap_mib: CASSANDRA_HEAP_MIB,
                optimise: true,
                ..CassandraOptions::default()
            }),
            settings: unlimited
                .into_iter()
                .chain(self.set.iter().cloned())
                .collect(),
            ..ClusterOptions::new(self.binary.clone())
        }
    }

    /// What runs, for the report.
    pub(crate) fn describe(&self) -> String {
        format!(
            "gateways {}, matchers {}, ingest {}, NATS {}, Cassandra {}",
            self.gateways, self.matchers, self.ingest, self.nats, self.cql
        )
    }
}

/// Limits per connection and address, off.
pub(crate) fn unlimited() -> [(String, String); 6] {
    LIMITS.map(|key| (key.to_owned(), "0".to_owned()))
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
