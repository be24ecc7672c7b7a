//! CQL servers: Apache Cassandra 5 as the stand-in for ScyllaDB, one node or three.
//!
//! Settings trade durability for speed: data in memory, no snapshots, a schema change in 0.1 s.
//! Numbers measured on it are relative ones; it is no measure of ScyllaDB.

mod frame;
mod launch;
mod scylla;
mod shell;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

pub use frame::{answers_options, execute};
pub use scylla::{IMAGE as SCYLLA_IMAGE, Scylla, ScyllaOptions};

use crate::{
    Error, Storage, directory::Directory, environment, loopback::Block, process, program::Program,
    tools,
};

/// Contact points of servers that are there already, `host:port` separated by commas.
pub const SHARED_VARIABLE: &str = "HELIOGRAPH_TEST_CQL";

/// The port of the native protocol.
pub const PORT: u16 = 9042;

/// The port between nodes.
const STORAGE_PORT: u16 = 7000;

/// The port of JMX, which `nodetool` speaks.
const JMX_PORT: u16 = 7199;

/// Time until a node answers: 6 s of CPU, longer on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(240);

/// What servers to start.
#[derive(Debug, Clone)]
pub struct CassandraOptions {
    /// 1 or 3.
    pub nodes: u8,
    /// Heap of each node in MiB; a node takes about 300 MiB beside it.
    pub heap_mib: u32,
    /// Largest batch that isn't refused: 1,024 as ScyllaDB, 50 as Cassandra by default.
    pub batch_size_fail_kib: u32,
    /// Whether Java optimises fully: slower to start, faster for long measurements.
    pub optimise: bool,
    /// Where the data is.
    pub storage: Storage,
    /// Whether a node that is killed while it is the only one still has its keyspaces, and all that it
    /// acknowledged, when it is started again. Writes and changes of the schema take longer then.
    pub keeps_all: bool,
    /// Whether the nodes answer `nodetool` ([`Cassandra::write_tools`]): JMX, for everybody on this machine.
    pub jmx: bool,
}

impl Default for CassandraOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            heap_mib: 512,
            batch_size_fail_kib: 1_024,
            optimise: false,
            storage: Storage::Memory,
            keeps_all: false,
            jmx: false,
        }
    }
}

/// Running servers; stopped and removed on drop. Nodes are numbered from 0.
#[derive(Debug)]
pub struct Cassandra {
    nodes: Vec<Node>,
    /// The directory with its classes.
    jars: PathBuf,
    jmx: bool,
    // Dropped after the processes.
    _block: Block,
    _directory: Directory,
}

#[derive(Debug)]
struct Node {
    program: Program,
    address: SocketAddr,
}

impl Cassandra {
    /// Installs the server if need be, starts the nodes and waits until they answer CQL and, if
    /// there are three, know each other to be up.
    ///
    /// # Errors
    ///
    /// It can't be installed, doesn't start, or isn't ready after four minutes.
    pub fn start(options: &CassandraOptions) -> Result<Self, Error> {
        if ![1, 3].contains(&options.nodes) {
            return Err(Error::Options("Cassandra runs as 1 or 3 nodes".to_owned()));
        }
        let jars = tools::install_cassandra()?;
        let directory = Directory::create("cassandra", options.storage)?;
        let block = Block::take()?;
        let start = |number| {
            let launch = launch::prepare(number, options, &jars, directory.path(), &block)?;
            Ok(Node {
                program: Program::start(launch)?,
                address: block.address(number, PORT),
            })
        };
        // The others learn the ring from the first one.
        let mut nodes = vec![start(1)?];
        nodes[0].wait()?;
        for number in 2..=options.nodes {
            nodes.push(start(number)?);
        }
        for node in &nodes[1..] {
            node.wait()?;
        }
        let cassandra = Self {
            nodes,
            jars,
            jmx: options.jmx,
            _block: block,
            _directory: directory,
        };
        for node in 0..cassandra.nodes.len() {
            cassandra.wait_until_seen(node, &vec![0; cassandra.nodes.len()])?;
        }
        Ok(cassandra)
    }

    /// `ip:port` of every node, in order.
    #[must_use]
    pub fn contact_points(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.address.to_string())
            .collect()
    }

    /// Where a node keeps its tables, in directories `keyspace/table-id`.
    ///
    /// # Panics
    ///
    /// If there is no such node, as in every method with a number.
    #[must_use]
    pub fn data(&self, node: usize) -> PathBuf {
        self.nodes[node].directory().join("data")
    }

    /// The process id of a node.
    ///
    /// # Panics
    ///
    /// If there is no such node, as in every method with a number.
    #[must_use]
    pub fn pid(&self, node: usize) -> u32 {
        self.nodes[node].program.process().pid()
    }

    /// What a node has printed since it was started last.
    #[must_use]
    pub fn output(&self, node: usize) -> String {
        self.nodes[node].program.process().output()
    }

    /// SIGKILL; its data stays.
    pub fn kill(&self, node: usize) {
        self.nodes[node].program.process().kill();
    }

    /// Starts a node again at its address, on its data, and waits until it answers and those that
    /// run see it; one that runs is killed first.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn restart(&self, node: usize) -> Result<(), Error> {
        let seen: Vec<usize> = self
            .nodes
            .iter()
            .map(|other| other.times_seen_up(&self.nodes[node]))
            .collect();
        self.nodes[node].program.restart()?;
        self.nodes[node].wait()?;
        self.wait_until_seen(node, &seen)
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self, node: usize) {
        self.nodes[node].program.process().pause();
    }

    /// SIGCONT.
    pub fn resume(&self, node: usize) {
        self.nodes[node].program.process().resume();
    }

    /// CQL is answered some seconds before nodes agree on who is up, and until then a request at a
    /// quorum can fail. Waits until every other running node has seen `node` come up once more than
    /// in `before`, and `node` has seen them.
    fn wait_until_seen(&self, node: usize, before: &[usize]) -> Result<(), Error> {
        let this = &self.nodes[node];
        for (number, other) in self.nodes.iter().enumerate() {
            if number == node || other.program.process().ended().is_some() {
                continue;
            }
            other
                .program
                .process()
                .wait_until("agreement", PATIENCE, |_| {
                    other.times_seen_up(this) > before[number]
                })?;
            this.program
                .process()
                .wait_until("agreement", PATIENCE, |_| this.times_seen_up(other) > 0)?;
        }
        Ok(())
    }
}

impl Node {
    fn directory(&self) -> &Path {
        &self.program.launch().directory
    }

    fn wait(&self) -> Result<(), Error> {
        self.program
            .process()
            .wait_until("CQL", PATIENCE, |process| {
                process.output().contains("Startup complete") && answers_options(self.address)
            })
    }

    /// How often this node's whole log says that another one came up.
    fn times_seen_up(&self, other: &Self) -> usize {
        let up = format!("/{}:{STORAGE_PORT} is now UP", other.address.ip());
        process::output(&self.program.launch().log, 0)
            .matches(&up)
            .count()
    }
}

/// `ip:port` of servers for everything that can share them: those in `HELIOGRAPH_TEST_CQL` if it is
/// set, else one node that is started once and ends with this process.
///
/// Use a keyspace of your own, and don't kill it.
///
/// # Errors
///
/// As [`Cassandra::start`], and the same again at every call.
pub fn shared() -> Result<Vec<String>, Error> {
    static SHARED: OnceLock<Result<Cassandra, String>> = OnceLock::new();
    if let Some(addresses) = environment::list(SHARED_VARIABLE) {
        return Ok(addresses);
    }
    let options = CassandraOptions::default();
    match SHARED.get_or_init(|| Cassandra::start(&options).map_err(|error| error.to_string())) {
        Ok(cassandra) => Ok(cassandra.contact_points()),
        Err(error) => Err(Error::Options(error.clone())),
    }
}
