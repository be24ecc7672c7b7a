//! What an event, a question and a delivery cost with more of each role: several clusters in turn on
//! the same servers, all under the same load.
//!
//! Servers and roles have all cores but the last, the generator the last one. All clusters get as many
//! events and questions, over as many connections at each gateway. Every answer is checked: a cluster that loses, repeats or
//! refuses anything fails the run.

mod phases;
mod pin;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc, thread};

use anyhow::{Context, Result, bail};
use clap::Args;
use heliograph_capacity::{
    Run,
    scaling::{self, Scaling},
};
use heliograph_sandbox::{
    Storage,
    cluster::{Cluster, ClusterOptions, CqlServers, NatsServers},
    cql::CassandraOptions,
    nats::NatsOptions,
    tools::{CASSANDRA_VERSION, NATS_VERSION},
};

use crate::{bed::Bed, options::unlimited, report::processor};
use phases::{Load, Work};

/// Heap of Cassandra, in MiB.
const CASSANDRA_HEAP_MIB: u32 = 1_024;

/// Gateways, matchers and ingest workers of each cluster. Those of a series differ in one role alone.
const CLUSTERS: [[u8; 3]; 6] = [
    [1, 1, 1],
    [2, 1, 1],
    [4, 1, 1],
    [4, 2, 1],
    [4, 4, 1],
    [4, 1, 2],
];

/// What `cargo xtask cluster scaling` takes.
#[derive(Debug, Clone, Args)]
#[command(override_usage = "cargo xtask cluster scaling [OPTIONS]")]
pub(crate) struct Options {
    /// How often each cluster is started and measured, every other time in the opposite order.
    #[arg(long, value_name = "COUNT", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=50))]
    passes: u32,
    /// Events published to each cluster.
    #[arg(long, value_name = "COUNT", default_value_t = 4_000,
        value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    events: u32,
    /// Questions of each kind put to each cluster.
    #[arg(long, value_name = "COUNT", default_value_t = 4_000,
        value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    questions: u32,
    /// Connections at each gateway that publish and ask.
    #[arg(long, value_name = "COUNT", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// Subscriptions at each gateway that want each live event.
    #[arg(long, value_name = "COUNT", default_value_t = 100,
        value_parser = clap::value_parser!(u16).range(4..=5_000))]
    subscribers: u16,
    /// Live events. Subscribers are read one after the other, and a gateway rightly closes one for whom
    /// a few MiB wait: hence not more.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(10..=2_000))]
    live_events: u32,
    /// A cluster: gateways, matchers and ingest workers, as 4,2,1. May be repeated; six without it.
    #[arg(long = "cluster", value_name = "G,M,I", value_parser = counts)]
    clusters: Vec<[u8; 3]>,
    /// Leaves it to the kernel which core the generator has.
    #[arg(long)]
    unpinned: bool,
    /// Where the figures are written for the capacity document.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The program; given by `cargo xtask`.
    #[arg(long, hide = true)]
    binary: PathBuf,
    /// What was built; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "unknown")]
    commit: String,
    /// The day; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "unknown")]
    date: String,
    /// How this was called; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "cargo xtask cluster scaling")]
    command: String,
}

/// The servers that all clusters share.
struct Ground {
    nats: NatsServers,
    cql: CqlServers,
    /// Who has started them, if it was this program.
    owner: Option<Arc<Cluster>>,
}

/// Starts servers, measures, and returns the tables.
///
/// # Errors
///
/// Something doesn't start, or a cluster doesn't answer as it should.
pub(crate) fn run(options: &Options) -> Result<String> {
    let generator = if options.unpinned {
        None
    } else {
        // Before anything is started, which then inherits it.
        Some(pin::leave_last_core()?)
    };
    eprintln!("signing events");
    let mut work = options.work(generator);
    eprintln!("starting servers");
    let scaling = measure(options, &Ground::start(options)?, &mut work)?;
    if let Some(path) = &options.json {
        let mut text = serde_json::to_string_pretty(&scaling)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    let Run {
        command,
        commit,
        machine,
        ..
    } = &scaling.run;
    let steep = scaling.steep().len();
    Ok(format!(
        "`{command}` at {commit}: {machine}.\n\n{}\n{steep} cells are steeper than 15 %.",
        scaling.markdown()
    ))
}

/// Measures every cluster in every pass.
fn measure(options: &Options, ground: &Ground, work: &mut Work) -> Result<Scaling> {
    let mut clusters: Vec<scaling::Cluster> = Vec::new();
    for pass in 0..options.passes {
        let mut order = options.order();
        if pass % 2 == 1 {
            order.reverse();
        }
        for counts in order {
            let [gateways, matchers, ingest] = counts;
            eprintln!(
                "pass {}: {gateways} gateways, {matchers} matchers, {ingest} ingest",
                pass + 1
            );
            let cells = measure_one(options, ground, counts, work)?;
            let cluster = place(&mut clusters, counts);
            for (key, value) in cells {
                let values = cluster.cells.entry(key.to_owned()).or_default();
                // Finer would be noise.
                values.push((value * 1_000.0).round() / 1_000.0);
            }
        }
    }
    let order = options.order();
    let place = |cluster: &scaling::Cluster| {
        order
            .iter()
            .position(|counts| cluster_of(*counts, BTreeMap::new()).is_like(cluster))
    };
    clusters.sort_by_key(place);
    Ok(Scaling {
        run: options.describe(),
        passes: options.passes,
        clusters,
    })
}

fn measure_one(
    options: &Options,
    ground: &Ground,
    counts: [u8; 3],
    work: &mut Work,
) -> Result<BTreeMap<&'static str, f64>> {
    let bed = Bed::on(&options.cluster(ground, counts), ground.owner.as_ref())?;
    let mut cells = None;
    bed.explained(|bed| {
        cells = Some(work.cells(bed)?);
        bed.stop()
    })?;
    cells.context("nothing was measured")
}

fn cluster_of(
    [gateways, matchers, ingest]: [u8; 3],
    cells: BTreeMap<String, Vec<f64>>,
) -> scaling::Cluster {
    scaling::Cluster {
        gateways: gateways.into(),
        matchers: matchers.into(),
        ingest: ingest.into(),
        cells,
    }
}

/// The cluster of these counts, which is added if it isn't there.
fn place(clusters: &mut Vec<scaling::Cluster>, counts: [u8; 3]) -> &mut scaling::Cluster {
    let new = cluster_of(counts, BTreeMap::new());
    let at = clusters.iter().position(|cluster| cluster.is_like(&new));
    let at = at.unwrap_or_else(|| {
        clusters.push(new);
        clusters.len() - 1
    });
    &mut clusters[at]
}

impl Ground {
    fn start(options: &Options) -> Result<Self> {
        let cluster = ClusterOptions {
            gateways: 0,
            matchers: 0,
            ingest: 0,
            nats: NatsServers::Start(NatsOptions {
                nodes: 1,
                sync_always: false,
                storage: Storage::Disk,
                ..NatsOptions::default()
            }),
            cql: CqlServers::Cassandra(CassandraOptions {
                nodes: 1,
                heap_mib: CASSANDRA_HEAP_MIB,
                optimise: true,
                ..CassandraOptions::default()
            }),
            ..ClusterOptions::new(options.binary.clone())
        };
        let owner = Cluster::start(&cluster)?;
        Ok(Self {
            nats: NatsServers::Running(owner.nats_urls()),
            cql: CqlServers::Running(owner.contact_points()),
            owner: Some(Arc::new(owner)),
        })
    }
}

impl Options {
    fn order(&self) -> Vec<[u8; 3]> {
        if self.clusters.is_empty() {
            return CLUSTERS.to_vec();
        }
        self.clusters.clone()
    }

    fn work(&self, generator: Option<pin::Core>) -> Work {
        let load = Load {
            events: self.events as usize,
            questions: self.questions as usize,
            connections: self.connections.into(),
            subscribers: self.subscribers.into(),
            live_events: self.live_events as usize,
        };
        Work::new(load, generator)
    }

    fn cluster(&self, ground: &Ground, [gateways, matchers, ingest]: [u8; 3]) -> ClusterOptions {
        ClusterOptions {
            gateways: gateways.into(),
            matchers: matchers.into(),
            ingest: ingest.into(),
            nats: ground.nats.clone(),
            cql: ground.cql.clone(),
            settings: unlimited().to_vec(),
            ..ClusterOptions::new(self.binary.clone())
        }
    }

    fn describe(&self) -> Run {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let processor = processor().unwrap_or_else(|| "unknown processor".to_owned());
        let machine = if self.unpinned {
            format!("{processor}, servers, roles and generator together on {cores} cores")
        } else {
            format!("{processor}, servers and roles on {cores} core(s), the generator on one more")
        };
        Run {
            command: self.command.clone(),
            commit: self.commit.clone(),
            date: self.date.clone(),
            machine: format!(
                "{machine}; NATS {NATS_VERSION} × 1, Apache Cassandra {CASSANDRA_VERSION} × 1"
            ),
        }
    }
}

fn counts(text: &str) -> Result<[u8; 3]> {
    let counts: Vec<u8> = text
        .split(',')
        .map(|count| count.trim().parse())
        .collect::<Result<_, _>>()
        .context("expected three numbers, as 4,2,1")?;
    match counts.as_slice() {
        [gateways, matchers, ingest] if counts.iter().all(|count| (1..=16).contains(count)) => {
            Ok([*gateways, *matchers, *ingest])
        }
        _ => bail!("expected gateways, matchers and ingest workers, 1 to 16 of each, as 4,2,1"),
    }
}
