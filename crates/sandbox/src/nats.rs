//! NATS servers with JetStream, one or a cluster of three.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path, sync::OnceLock, time::Duration};

use crate::{
    Error, Storage, directory::Directory, environment, loopback::Block, process::Launch,
    program::Program, tools,
};

/// Contact points of servers that are there already, `nats://host:port` separated by commas.
pub const SHARED_VARIABLE: &str = "HELIOGRAPH_TEST_NATS";

/// Time until JetStream is healthy; about one second for three nodes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

const CLIENT_PORT: u16 = 4222;
const ROUTE_PORT: u16 = 6222;
const MONITOR_PORT: u16 = 8222;

/// What servers to start.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// 1, or 3 as one cluster.
    pub nodes: u8,
    /// Whether a message is synced before it is acknowledged, as production wants it; else every
    /// two minutes.
    pub sync_always: bool,
    /// Where the streams are.
    pub storage: Storage,
    /// Whether clients are told of the other nodes' addresses.
    pub advertise: bool,
    /// What streams in memory may reserve on each node, in MiB. Streams reserve the size that they
    /// may grow to, so it is far more than they ever take, and than there is.
    pub memory_mib: u32,
    /// What streams in files may reserve on each node, in MiB.
    pub file_mib: u32,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            sync_always: false,
            storage: Storage::Memory,
            advertise: true,
            memory_mib: 65_536,
            file_mib: 16_777_216,
        }
    }
}

/// Running servers; stopped and removed on drop. Nodes are numbered from 0.
#[derive(Debug)]
pub struct Nats {
    nodes: Vec<Node>,
    // Dropped after the processes.
    _block: Block,
    _directory: Directory,
}

#[derive(Debug)]
struct Node {
    program: Program,
    client: SocketAddr,
    monitor: SocketAddr,
}

impl Nats {
    /// Installs the server if need be, starts the nodes and waits until JetStream is healthy.
    ///
    /// # Errors
    ///
    /// It can't be installed, doesn't start, or isn't healthy after a minute.
    pub fn start(options: &NatsOptions) -> Result<Self, Error> {
        if ![1, 3].contains(&options.nodes) {
            return Err(Error::Options("NATS runs as 1 or 3 nodes".to_owned()));
        }
        let program = tools::install_nats()?;
        let directory = Directory::create("nats", options.storage)?;
        let block = Block::take()?;
        let nodes = (1..=options.nodes)
            .map(|number| Node::start(number, options, &program, &directory, &block))
            .collect::<Result<Vec<Node>, Error>>()?;
        for node in &nodes {
            node.wait()?;
        }
        Ok(Self {
            nodes,
            _block: block,
            _directory: directory,
        })
    }

    /// `nats://ip:port` of the first node.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// `nats://ip:port` of every node, in order.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// `http://ip:port` of a node's monitoring pages.
    ///
    /// # Panics
    ///
    /// If there is no such node, as in every method with a number.
    #[must_use]
    pub fn monitor_url(&self, node: usize) -> String {
        format!("http://{}", self.nodes[node].monitor)
    }

    /// Where a node's monitoring pages are, for [`http::get`](crate::http::get).
    #[must_use]
    pub fn monitor(&self, node: usize) -> SocketAddr {
        self.nodes[node].monitor
    }

    /// The process id of a node.
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

    /// Starts a node again at its address, on its data, and waits until it is healthy; one that
    /// runs is killed first.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn restart(&self, node: usize) -> Result<(), Error> {
        self.restart_without_wait(node)?;
        self.nodes[node].wait()
    }

    /// As [`restart`](Self::restart), for a cluster that can't be healthy yet: two of three down.
    ///
    /// # Errors
    ///
    /// The server can't be started.
    pub fn restart_without_wait(&self, node: usize) -> Result<(), Error> {
        self.nodes[node].program.restart()
    }

    /// Waits until a node is healthy: JetStream runs and, in a cluster, has a leader.
    ///
    /// # Errors
    ///
    /// It has ended, or isn't healthy after a minute.
    pub fn wait(&self, node: usize) -> Result<(), Error> {
        self.nodes[node].wait()
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self, node: usize) {
        self.nodes[node].program.process().pause();
    }

    /// SIGCONT.
    pub fn resume(&self, node: usize) {
        self.nodes[node].program.process().resume();
    }
}

impl Node {
    fn start(
        number: u8,
        options: &NatsOptions,
        program: &Path,
        directory: &Directory,
        block: &Block,
    ) -> Result<Self, Error> {
        let directory = directory.path().join(number.to_string());
        fs::create_dir_all(&directory).map_err(Error::path("can't create", &directory))?;
        let configuration = directory.join("nats.conf");
        fs::write(&configuration, configure(number, options, block))
            .map_err(Error::path("can't write", &configuration))?;
        let launch = Launch {
            name: format!("nats-server {number}"),
            program: program.to_owned(),
            arguments: vec!["-c".into(), configuration.into()],
            variables: Vec::new(),
            hide_variables: "",
            log: directory.join("log"),
            directory,
        };
        Ok(Self {
            program: Program::start(launch)?,
            client: block.address(number, CLIENT_PORT),
            monitor: block.address(number, MONITOR_PORT),
        })
    }

    fn url(&self) -> String {
        format!("nats://{}", self.client)
    }

    fn wait(&self) -> Result<(), Error> {
        self.program
            .process()
            .wait_for_page(self.monitor, "/healthz", PATIENCE)
    }
}

/// The server's configuration file; it runs in the directory of its node.
fn configure(number: u8, options: &NatsOptions, block: &Block) -> String {
    let sync = if options.sync_always { "always" } else { "2m" };
    let mut text = format!(
        "server_name: n{number}\n\
         listen: \"{}\"\n\
         http: \"{}\"\n\
         jetstream {{ store_dir: \"js\", max_mem: {}M, max_file: {}M, sync_interval: {sync} }}\n",
        block.address(number, CLIENT_PORT),
        block.address(number, MONITOR_PORT),
        options.memory_mib,
        options.file_mib,
    );
    if options.nodes > 1 {
        let routes: Vec<String> = (1..=options.nodes)
            .map(|node| format!("\"nats://{}\"", block.address(node, ROUTE_PORT)))
            .collect();
        writeln!(
            text,
            "cluster {{ name: sandbox, listen: \"{}\", pool_size: 1, no_advertise: {}, routes: [ {} ] }}",
            block.address(number, ROUTE_PORT),
            !options.advertise,
            routes.join(", "),
        )
        .expect("a string takes everything");
    }
    text
}

/// `nats://ip:port` of servers for everything that can share them: those in `HELIOGRAPH_TEST_NATS`
/// if it is set, else one server that is started once and ends with this process.
///
/// Use names of your own (subjects, streams, buckets), and don't kill it.
///
/// # Errors
///
/// As [`Nats::start`], and the same again at every call.
pub fn shared() -> Result<Vec<String>, Error> {
    static SHARED: OnceLock<Result<Nats, String>> = OnceLock::new();
    if let Some(urls) = environment::list(SHARED_VARIABLE) {
        return Ok(urls);
    }
    let options = NatsOptions::default();
    match SHARED.get_or_init(|| Nats::start(&options).map_err(|error| error.to_string())) {
        Ok(nats) => Ok(nats.urls()),
        Err(error) => Err(Error::Options(error.clone())),
    }
}
