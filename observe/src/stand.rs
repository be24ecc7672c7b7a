//! All that is observed: a cluster with a canary, a relay in one process, and Prometheus over them.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use heliograph_faults::bed::{Bed, PATIENCE};
use heliograph_sandbox::{
    cluster::{CqlServers, Role},
    collector::Collector,
    http,
    network::{link::Link, proxy::Proxy},
    or_skip,
    process::{Launch, Process},
    prometheus::{self, Prometheus, PrometheusOptions, Target},
};
use heliograph_testkit::process::{Relay, binary, workspace};
use serde_json::Value;
use tempfile::TempDir;

use crate::{compress::Compression, load::BLOCKED};

/// The label `cluster` of the cluster and of the relay in one process.
pub const CLUSTER: &str = "cluster";
pub const ALONE: &str = "alone";

/// The name of the canary.
pub const CANARY: &str = "canary-0";

/// Between two scrapes.
pub const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// For how long the newest sample counts, as Prometheus has it by default.
const LOOKBACK: Duration = Duration::from_secs(300);

/// Settings of all relays: limits that visitors reach.
const SETTINGS: [&str; 9] = [
    // Enough for each latency to have some.
    "traces.sample_ratio=0.05",
    // Some tens of them are connected.
    "gateway.connections_max=150",
    "gateway.events_per_sec=50",
    "gateway.events_burst=60",
    "gateway.invalid_messages_max=20",
    // So that readers who stop are noticed soon.
    "gateway.outbox_bytes_max=65536",
    "shutdown.drain_secs=1",
    // So that what is a minute old has to be read from the archive.
    "recent.events_max=1000",
    // So that abuse can come from many addresses.
    "gateway.trusted_proxies=127.0.0.0/8",
];

/// The running whole.
#[derive(Debug)]
pub struct Stand {
    // In the order in which they are dropped: who asks before who is asked.
    /// The server that scrapes everything.
    pub prometheus: Prometheus,
    canary: Canary,
    /// The relay in one process.
    pub alone: Relay,
    /// The cluster.
    pub bed: Bed,
    /// What takes their traces.
    pub collector: Collector,
    /// What all members' ways to the database go over.
    pub database: Arc<Link>,
    _proxies: Vec<Proxy>,
    _rules: TempDir,
}

impl Stand {
    /// Starts everything, with rules in compressed time. `None` after saying so where servers can't be
    /// had.
    ///
    /// # Panics
    ///
    /// If something doesn't start, or can't be had and `CI` is set.
    #[must_use]
    pub fn start(compression: Compression) -> Option<Self> {
        // Before anything is started.
        or_skip(prometheus::install())?;
        let collector = or_skip(Collector::start())?;
        let database = Arc::new(Link::default());
        let mut proxies = Vec::new();
        let blocked = format!("policy.kinds_blocked={BLOCKED}");
        let endpoint = format!("traces.endpoint={}", collector.endpoint());
        let settings = SETTINGS.into_iter().chain([&*blocked, &*endpoint]);
        let settings: Vec<&str> = settings.collect();
        let certificate = certificate();
        let of_cluster: Vec<&str> = settings
            .iter()
            .copied()
            .chain(certificate.iter().map(String::as_str))
            .collect();
        let bed = Bed::with(
            |options| {
                options.gateways = 3;
                if let CqlServers::Running(nodes) = &options.cql {
                    proxies = in_front_of(nodes, &database);
                    let nodes = proxies.iter().map(|proxy| proxy.address().to_string());
                    options.cql = CqlServers::Running(nodes.collect());
                }
            },
            &of_cluster,
        )?;
        let alone = Relay::with(&settings);
        let canary = Canary::start(&bed);
        let rules = tempfile::tempdir().expect("a temporary directory");
        let prometheus = Prometheus::start(&PrometheusOptions {
            targets: targets(&bed, &canary, &alone),
            scrape_interval: SCRAPE_INTERVAL,
            rules: compressed(compression, &rules),
            lookback: LOOKBACK
                .div_f64(compression.factor)
                .max(SCRAPE_INTERVAL * 5),
            ..PrometheusOptions::default()
        });
        Some(Self {
            prometheus: prometheus.unwrap_or_else(|error| panic!("{error}")),
            canary,
            alone,
            bed,
            collector,
            database,
            _proxies: proxies,
            _rules: rules,
        })
    }

    /// Where each process answers `/metrics`, with its role and its name.
    #[must_use]
    pub fn pages(&self) -> Vec<(String, String, SocketAddr)> {
        let targets = targets(&self.bed, &self.canary, &self.alone);
        let page = |target: Target| {
            let label = |name: &str| {
                let found = target.labels.iter().find(|(label, _)| label == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            (label("role"), label("pod"), target.address)
        };
        targets.into_iter().map(page).collect()
    }

    /// `/metrics` of a process.
    ///
    /// # Panics
    ///
    /// If it doesn't answer.
    #[must_use]
    #[track_caller]
    pub fn page(address: SocketAddr) -> String {
        match http::get(address, "/metrics") {
            Ok(answer) if answer.status == 200 => answer.body,
            other => panic!("http://{address}/metrics: {other:?}"),
        }
    }

    /// `/top` of a process with sockets, as long as it gives it.
    ///
    /// # Panics
    ///
    /// If it doesn't answer, or not in JSON.
    #[must_use]
    #[track_caller]
    pub fn top(address: SocketAddr) -> Value {
        match http::get(address, "/top?n=10000") {
            Ok(answer) if answer.status == 200 => serde_json::from_str(&answer.body)
                .unwrap_or_else(|error| panic!("http://{address}/top: {error}")),
            other => panic!("http://{address}/top: {other:?}"),
        }
    }

    /// SIGKILL to the canary.
    pub fn kill_canary(&self) {
        self.canary.process().kill();
    }

    /// Ends the canary, if it runs, and starts it again at its address.
    ///
    /// # Panics
    ///
    /// If it doesn't end or start.
    #[track_caller]
    pub fn restart_canary(&mut self) {
        if self.canary.process().ended().is_none() {
            let ended = self.canary.process().terminate(PATIENCE);
            ended.unwrap_or_else(|error| panic!("{error}"));
        }
        self.canary.start_again();
    }
}

/// `heliograph canary` as a child process: publishes at the first gateway, reads at all.
#[derive(Debug)]
struct Canary {
    launch: Launch,
    process: Process,
    admin: SocketAddr,
    _directory: TempDir,
}

impl Canary {
    #[track_caller]
    fn start(bed: &Bed) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let urls: Vec<String> = bed
            .gateways()
            .iter()
            .map(|at| format!("ws://{at}"))
            .collect();
        let settings = [
            format!("canary.publish={}", urls[0]),
            format!("canary.read={}", urls.join(",")),
            // Several in each window of compressed time.
            "canary.interval_ms=500".to_owned(),
            "canary.deadline_ms=2000".to_owned(),
            "canary.audit_after_secs=5".to_owned(),
            "log.format=json".to_owned(),
        ];
        let mut arguments = vec!["canary".to_owned()];
        arguments.extend(settings.map(|setting| format!("--set={setting}")));
        let launch = |admin: &str| Launch {
            name: "canary".to_owned(),
            program: binary().to_owned(),
            arguments: arguments
                .iter()
                .cloned()
                .chain([format!("--set=admin.listen={admin}")])
                .map(Into::into)
                .collect(),
            variables: Vec::new(),
            hide_variables: "HELIOGRAPH_",
            directory: directory.path().to_owned(),
            log: directory.path().join("log"),
        };
        let process = Process::start(&launch("127.0.0.1:0"));
        let process = process.unwrap_or_else(|error| panic!("{error}"));
        let mut admin = None;
        let listens = process.wait_until("admin listener", PATIENCE, |process| {
            admin = admin_listener(&process.output());
            admin.is_some()
        });
        listens.unwrap_or_else(|error| panic!("{error}"));
        let admin = admin.expect("it has just been found");
        let ready = process.wait_for_page(admin, "/readyz", PATIENCE);
        ready.unwrap_or_else(|error| panic!("{error}"));
        Self {
            // Always at this address from now on, as Prometheus knows it.
            launch: launch(&admin.to_string()),
            process,
            admin,
            _directory: directory,
        }
    }

    fn process(&self) -> &Process {
        &self.process
    }

    #[track_caller]
    fn start_again(&mut self) {
        let process = Process::start(&self.launch).unwrap_or_else(|error| panic!("{error}"));
        let ready = process.wait_for_page(self.admin, "/readyz", PATIENCE);
        ready.unwrap_or_else(|error| panic!("{error}"));
        self.process = process;
    }
}

/// A certificate, so that its end can be seen; NATS takes clients without one here.
fn certificate() -> [String; 2] {
    let directory = workspace().join("crates/link/tests/link/tls");
    let path = |file: &str| directory.join(file).display().to_string();
    [
        format!("nats.certificate={}", path("peer.pem")),
        format!("nats.key={}", path("peer.key.pem")),
    ]
}

/// Proxies in front of the database's nodes, all over one link. The driver takes the address of a node from
/// the node and the port from whoever it asked, so each has the address of its node, and all have one port.
fn in_front_of(nodes: &[String], link: &Arc<Link>) -> Vec<Proxy> {
    let mut proxies: Vec<Proxy> = Vec::new();
    for node in nodes {
        let node: SocketAddr = node.parse().expect("a node has an address");
        let port = proxies.first().map_or(0, |first| first.address().port());
        let link = Arc::clone(link);
        let proxy = Proxy::at(SocketAddr::new(node.ip(), port), node, move |_, _| {
            Some(Arc::clone(&link))
        });
        proxies.push(proxy.unwrap_or_else(|error| panic!("{error}")));
    }
    proxies
}

fn targets(bed: &Bed, canary: &Canary, alone: &Relay) -> Vec<Target> {
    let target = |role: &str, pod: &str, cluster: &str, address| {
        let labels = [
            ("role", role),
            ("pod", pod),
            ("namespace", "relay"),
            ("cluster", cluster),
        ];
        Target {
            job: "heliograph".to_owned(),
            address,
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        }
    };
    let mut targets = Vec::new();
    for role in Role::ALL {
        for member in bed.members(role) {
            targets.push(target(
                role.subcommand(),
                &member.name,
                CLUSTER,
                member.admin,
            ));
        }
    }
    targets.push(target("canary", CANARY, CLUSTER, canary.admin));
    let admin = admin_listener(&alone.log()).expect("the relay has an admin listener");
    targets.push(target("standalone", "relay-0", ALONE, admin));
    targets
}

/// Where the admin listener is, as the log says.
fn admin_listener(log: &str) -> Option<SocketAddr> {
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["message"] == "admin listener started")?;
    line["addr"].as_str()?.parse().ok()
}

/// The rules that are shipped.
///
/// # Panics
///
/// If there are none.
#[must_use]
pub fn rule_files() -> Vec<PathBuf> {
    let directory = workspace().join("deploy/prometheus");
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // The configuration of a server may lie beside them.
    files.retain(|path| {
        let yaml = path.extension().is_some_and(|end| end == "yaml");
        let text = fs::read_to_string(path).unwrap_or_default();
        yaml && text.lines().any(|line| line.starts_with("groups:"))
    });
    assert!(!files.is_empty(), "no rules in {}", directory.display());
    files
}

fn compressed(compression: Compression, to: &TempDir) -> Vec<PathBuf> {
    let compress = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}"));
        let text = compression
            .file(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let path = to.path().join(file.file_name().unwrap_or_default());
        fs::write(&path, text).unwrap_or_else(|error| panic!("{error}"));
        path
    };
    rule_files().into_iter().map(compress).collect()
}
