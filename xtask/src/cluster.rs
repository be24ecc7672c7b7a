//! `cargo xtask cluster up`: a whole cluster on this machine, until Ctrl-C; `measure` is beside it.
//!
//! One line of JSON on the standard output says where everything is; all else goes to the standard
//! error stream, so that a script can read the one and a person the other.

mod measure;

use std::{
    path::PathBuf,
    process::{self, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use heliograph_lifecycle::Signals;
use heliograph_sandbox::{
    Storage,
    cluster::{Cluster, ClusterOptions, CqlServers, Durability, NatsServers, Role},
    cql::{CassandraOptions, SCYLLA_IMAGE, ScyllaOptions},
    nats::NatsOptions,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::shell;

pub(crate) use measure::{commit, date};

/// The exit code of a process that a second Ctrl-C ends.
const EXIT_FORCED: i32 = 130;

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Builds the relay, starts servers and roles, prints one line of JSON and waits for Ctrl-C.
    Up(Up),
    /// Measures the CPU time of each role per event and per REQ, and prints tables in Markdown.
    Measure(measure::Measure),
    /// Measures the same with 1, 2 and 4 of each role in one run, and says what isn't flat.
    Scaling(measure::Measure),
}

/// What to start.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Gateways, which clients connect to.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    gateways: usize,
    /// Matchers, which answer requests.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    matchers: usize,
    /// Ingest workers, which store events.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    ingest: usize,
    /// NATS servers: 1, or 3 as one cluster that syncs before it acknowledges.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    nats: u8,
    /// Nodes of the database, 1 or 3: Apache Cassandra, which speaks what `ScyllaDB` speaks.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    cql: u8,
    /// Runs `ScyllaDB` in containers instead; `docker info` has to work. Not run by the checks of
    /// this repository, whose machines have no container engine.
    #[arg(long)]
    scylla: bool,
    /// The image for --scylla.
    #[arg(long, value_name = "IMAGE", default_value = SCYLLA_IMAGE)]
    cql_image: String,
    /// An OK once JetStream has the event, as `cluster.durability=quorum`.
    #[arg(long)]
    quorum: bool,
    /// Builds and runs the optimised program.
    #[arg(long)]
    release: bool,
    /// Runs this program instead of building one.
    #[arg(long, value_name = "PATH", conflicts_with = "release")]
    binary: Option<PathBuf>,
    /// Sets any key for all roles; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
}

/// As `cargo xtask cluster measure` with these arguments.
///
/// # Errors
///
/// Something doesn't build, or the measurement fails.
pub(crate) fn measure(arguments: &[&str]) -> Result<()> {
    measure::run(measure::What::Measure, &measure::Measure::of(arguments))
}

/// Runs a command of `cargo xtask cluster`.
///
/// # Errors
///
/// The relay doesn't build, or something doesn't start or stop.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Up(command) => up(command),
        Command::Measure(command) => measure::run(measure::What::Measure, command),
        Command::Scaling(command) => measure::run(measure::What::Scaling, command),
    }
}

fn up(up: &Up) -> Result<()> {
    let binary = match &up.binary {
        Some(binary) => binary.clone(),
        None => build(up.release)?,
    };
    eprintln!("starting servers and roles");
    let cluster = Cluster::start(&up.options(binary))?;
    let runtime = Runtime::new().context("failed to start the runtime")?;
    let mut signals = runtime
        .block_on(async { Signals::listen() })
        .context("failed to listen for signals")?;
    println!("{}", describe(&cluster));
    eprintln!("ready; Ctrl-C stops all");
    runtime.block_on(signals.stop(|| ()));
    eprintln!("stopping; a second Ctrl-C kills");
    // The children go with this process, however it ends.
    let forced = async move {
        signals.stop(|| ()).await;
        process::exit(EXIT_FORCED);
    };
    drop(runtime.spawn(forced));
    let ended = cluster.stop()?;
    drop(cluster);
    let failed: Vec<String> = ended
        .into_iter()
        .filter(|(_, status)| !status.success())
        .map(|(name, status)| format!("{name}: {status}"))
        .collect();
    runtime.shutdown_background();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("not everything ended well: {}", failed.join(", "));
}

impl Up {
    fn options(&self, binary: PathBuf) -> ClusterOptions {
        let cql = if self.scylla {
            CqlServers::Scylla(ScyllaOptions {
                nodes: self.cql,
                image: self.cql_image.clone(),
                ..ScyllaOptions::default()
            })
        } else {
            CqlServers::Cassandra(CassandraOptions {
                nodes: self.cql,
                ..CassandraOptions::default()
            })
        };
        let nats = NatsServers::Start(NatsOptions {
            nodes: self.nats,
            // With a single server each message would wait for a sync of its own.
            sync_always: self.nats > 1,
            storage: Storage::Disk,
            ..NatsOptions::default()
        });
        let durability = if self.quorum {
            Durability::Quorum
        } else {
            Durability::Stored
        };
        ClusterOptions {
            gateways: self.gateways,
            matchers: self.matchers,
            ingest: self.ingest,
            nats,
            cql,
            durability,
            settings: self.set.clone(),
            ..ClusterOptions::new(binary)
        }
    }
}

/// Builds the relay without a word on the standard output.
/// Builds the relay and says where it is.
///
/// # Errors
///
/// It doesn't build.
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    let mut cargo = shell::cargo("build");
    cargo.args(["-p", "heliograph"]);
    if release {
        cargo.arg("--release");
    }
    let status = cargo
        .stdout(Stdio::null())
        .status()
        .context("can't start cargo")?;
    if !status.success() {
        bail!("the relay doesn't build: {status}");
    }
    shell::relay_path(if release { "release" } else { "debug" })
}

/// Where everything is: for each part a list of `url`, `admin` and `pid`; null where there is none.
fn describe(cluster: &Cluster) -> Value {
    let role = |role: Role| -> Value {
        let members = cluster.members(role).into_iter().map(|member| {
            let admin = format!("http://{}", member.admin);
            json!({"url": member.url, "admin": admin, "pid": member.pid})
        });
        members.collect()
    };
    let nats = cluster
        .nats_urls()
        .into_iter()
        .enumerate()
        .map(|(node, url)| {
            let admin = cluster.nats().map(|nats| nats.monitor_url(node));
            let pid = cluster.nats().map(|nats| nats.pid(node));
            json!({"url": url, "admin": admin, "pid": pid})
        });
    let pids = cluster.cql_pids();
    let cql = cluster.contact_points().into_iter().enumerate();
    let cql = cql.map(|(node, url)| json!({"url": url, "admin": null, "pid": pids.get(node)}));
    json!({
        "gateways": role(Role::Gateway),
        "matchers": role(Role::Matcher),
        "ingest": role(Role::Ingest),
        "nats": nats.collect::<Value>(),
        "cql": cql.collect::<Value>(),
    })
}

/// Reads `KEY=VALUE`.
///
/// # Errors
///
/// There is no `=`.
pub(crate) fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
