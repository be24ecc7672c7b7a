//! `ScyllaDB` itself, in containers, where there is an engine for them.
//!
//! Kept apart from [`Cassandra`](super::Cassandra): a container can't be paused or killed by its
//! process, and needs an image from a registry. It outlives this process if that is killed.

use std::{net::SocketAddr, process::Command, time::Duration};

use super::{PORT, answers_options};
use crate::{
    Error, Storage,
    directory::Directory,
    environment, install,
    process::{Launch, Process},
};

/// The image that is run unless another one is asked for.
pub const IMAGE: &str = "docker.io/scylladb/scylla:2025.4.2";

/// Time to fetch the image and start a node.
const PATIENCE: Duration = Duration::from_secs(600);

/// What to run.
#[derive(Debug, Clone)]
pub struct ScyllaOptions {
    /// 1 or 3.
    pub nodes: u8,
    /// The image with its tag.
    pub image: String,
    /// Memory of each node in MiB.
    pub memory_mib: u32,
}

impl Default for ScyllaOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            image: IMAGE.to_owned(),
            memory_mib: 1_024,
        }
    }
}

/// Running containers; removed on drop.
#[derive(Debug)]
pub struct Scylla {
    nodes: Vec<Container>,
    // Dropped after the containers.
    _directory: Directory,
}

#[derive(Debug)]
struct Container {
    name: String,
    address: SocketAddr,
    pid: u32,
    /// `docker run` in the foreground.
    process: Process,
}

impl Scylla {
    /// Runs the nodes one after another and waits until they answer CQL and all are members.
    ///
    /// # Errors
    ///
    /// There is no engine, the image can't be had, or a node isn't ready after ten minutes.
    pub fn start(options: &ScyllaOptions) -> Result<Self, Error> {
        if ![1, 3].contains(&options.nodes) {
            return Err(Error::Options("ScyllaDB runs as 1 or 3 nodes".to_owned()));
        }
        if !install::succeeds(Command::new("docker").arg("info")) {
            return Err(Error::Missing {
                program: "a container engine".to_owned(),
                hint: "`docker info` has to work to run ScyllaDB".to_owned(),
            });
        }
        let directory = Directory::create("scylla", Storage::Disk)?;
        let id = environment::unique();
        let mut nodes: Vec<Container> = Vec::new();
        for number in 1..=options.nodes {
            let seed = nodes.first().map(|first| first.address);
            let name = format!("heliograph-scylla-{id}-{number}");
            nodes.push(Container::start(name, options, seed, &directory)?);
        }
        let all = usize::from(options.nodes);
        nodes[0]
            .process
            .wait_until("all members", PATIENCE, |_| nodes[0].members() == all)?;
        Ok(Self {
            nodes,
            _directory: directory,
        })
    }

    /// `ip:port` of every node, in order.
    #[must_use]
    pub fn contact_points(&self) -> Vec<String> {
        let addresses = self.nodes.iter().map(|node| node.address.to_string());
        addresses.collect()
    }

    /// The process id of a node's container.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    #[must_use]
    pub fn pid(&self, node: usize) -> u32 {
        self.nodes[node].pid
    }
}

impl Container {
    fn start(
        name: String,
        options: &ScyllaOptions,
        seed: Option<SocketAddr>,
        directory: &Directory,
    ) -> Result<Self, Error> {
        let memory = options.memory_mib;
        let mut arguments = vec!["run".to_owned(), "--name".to_owned(), name.clone()];
        arguments.extend([options.image.clone(), "--smp=1".to_owned()]);
        arguments.push(format!("--memory={memory}M"));
        arguments.push("--overprovisioned=1".to_owned());
        arguments.push("--developer-mode=1".to_owned());
        arguments.extend(seed.map(|seed| format!("--seeds={}", seed.ip())));
        let process = Process::start(&Launch {
            name: name.clone(),
            program: "docker".into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            variables: Vec::new(),
            hide_variables: "",
            directory: directory.path().to_owned(),
            log: directory.path().join(format!("{name}.log")),
        })?;
        // From here on it is removed on drop, whatever comes.
        let mut container = Self {
            name,
            address: SocketAddr::from(([0, 0, 0, 0], PORT)),
            pid: 0,
            process,
        };
        let mut found = None;
        container.process.wait_until("CQL", PATIENCE, |_| {
            found = container.inspect();
            found.is_some_and(|(_, address)| answers_options(address))
        })?;
        (container.pid, container.address) = found.unwrap_or((0, container.address));
        Ok(container)
    }

    /// Process id and address, once it runs.
    fn inspect(&self) -> Option<(u32, SocketAddr)> {
        let format = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let text = self.docker(&["inspect", "--format", format, &self.name])?;
        let mut words = text.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        let ip = words.next()?.parse().ok()?;
        Some((pid, SocketAddr::new(ip, PORT)))
    }

    /// How many nodes it sees up and in normal state.
    fn members(&self) -> usize {
        let status = self.docker(&["exec", &self.name, "nodetool", "status"]);
        let status = status.unwrap_or_default();
        status
            .lines()
            .filter(|line| line.starts_with("UN "))
            .count()
    }

    /// What docker prints; nothing if it fails.
    fn docker(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("docker").args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What isn't there any more needs no removal.
        self.docker(&["rm", "--force", "--volumes", &self.name]);
    }
}
