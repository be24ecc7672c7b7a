//! A whole cluster: servers, `heliograph migrate`, then every role as a child process.
//!
//! Each cluster has a name, a keyspace and addresses of its own, so that many share the same
//! servers. What it made on servers that were there before is removed when it is dropped.

mod builds;
mod cleanup;
mod ground;
mod links;
mod member;
mod options;
mod servers;

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::{ExitStatus, Output},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use links::{Links, Peer};
pub use member::{Member, Role};
pub use options::{ClusterOptions, Durability, LIMITS};
pub use servers::{CqlServers, NatsServers};

use crate::{
    Error, Storage,
    cql::Cassandra,
    directory::Directory,
    environment,
    nats::Nats,
    network::link::Link,
    process::{Launch, Process, tail},
};
use ground::Ground;
use links::Wiring;
use member::Running;
use servers::Servers;

/// Time for `heliograph migrate`, which makes a keyspace and its tables.
const MIGRATE_PATIENCE: Duration = Duration::from_secs(180);

/// Variables that a role would take for its configuration.
const HIDDEN_VARIABLES: &str = "HELIOGRAPH_";

/// A running cluster; killed and removed on drop. Members are numbered from 0 in each role.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they are dropped: roles before servers, servers before their data.
    members: [Mutex<Vec<Running>>; 3],
    wiring: Option<Wiring>,
    servers: Servers,
    name: String,
    binary: PathBuf,
    config: Option<PathBuf>,
    settings: Vec<(String, String)>,
    ground: Ground,
    directory: Directory,
}

impl Cluster {
    /// Starts the servers, prepares the database, starts the roles and waits until all are ready.
    ///
    /// # Errors
    ///
    /// Something can't be installed, doesn't start, or isn't ready in time; with the end of its log.
    pub fn start(options: &ClusterOptions) -> Result<Self, Error> {
        for role in Role::ALL {
            role.check_count(options.count(role))?;
        }
        let directory = Directory::create("cluster", Storage::Memory)?;
        let ground = Ground::take(options.links)?;
        let servers = Servers::start(options)?;
        // A letter first: it is the keyspace's name too.
        let name = format!("s{}", environment::unique());
        let cluster = Self {
            members: Default::default(),
            settings: options::settings(&name, options, &servers, &ground),
            wiring: (options.links != Links::Direct).then(|| Wiring::new(&ground)),
            servers,
            name,
            binary: options.binary.clone(),
            config: options.config.clone(),
            ground,
            directory,
        };
        cluster.migrate()?;
        for role in Role::ALL {
            for _ in 0..options.count(role) {
                cluster.launch(role)?;
            }
        }
        for role in Role::ALL {
            for number in 0..options.count(role) {
                cluster.wait_ready(role, number)?;
            }
        }
        Ok(cluster)
    }

    /// The name of the cluster, and of its keyspace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys that every role is given, beside its own addresses and name.
    #[must_use]
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// The members of a role, in order, also those that don't run.
    #[must_use]
    pub fn members(&self, role: Role) -> Vec<Member> {
        self.role(role).iter().map(Running::member).collect()
    }

    /// One member.
    ///
    /// # Panics
    ///
    /// If there is no such member, as in every method with a number.
    #[must_use]
    pub fn member(&self, role: Role, number: usize) -> Member {
        self.role(role)[number].member()
    }

    /// `ws://ip:port` of a gateway.
    #[must_use]
    pub fn gateway_url(&self, number: usize) -> String {
        let gateway = self.member(Role::Gateway, number);
        gateway.url.expect("a gateway has an address for clients")
    }

    /// Where a gateway takes connections.
    #[must_use]
    pub fn gateway(&self, number: usize) -> SocketAddr {
        Role::Gateway
            .address(&self.ground, number)
            .expect("a gateway has an address for clients")
    }

    /// `/metrics` of a member.
    ///
    /// # Errors
    ///
    /// It doesn't answer.
    pub fn metrics(&self, role: Role, number: usize) -> Result<String, Error> {
        let admin = self.member(role, number).admin;
        crate::http::get(admin, "/metrics")
            .map(|answer| answer.body)
            .map_err(Error::io(format!("http://{admin}/metrics")))
    }

    /// What a member has printed since it was started last.
    #[must_use]
    pub fn output(&self, role: Role, number: usize) -> String {
        self.process(role, number).output()
    }

    /// The last `lines` that each member has printed, under its name.
    #[must_use]
    pub fn last_words(&self, lines: usize) -> String {
        let mut said = String::new();
        for role in Role::ALL {
            for (number, member) in self.members(role).iter().enumerate() {
                let last = tail(lines, &self.output(role, number));
                said = format!("{said}{} said last:\n{last}\n", member.name);
            }
        }
        said
    }

    /// How a member ended, if it has.
    #[must_use]
    pub fn ended(&self, role: Role, number: usize) -> Option<ExitStatus> {
        self.process(role, number).ended()
    }

    /// SIGKILL.
    pub fn kill(&self, role: Role, number: usize) {
        self.process(role, number).kill();
    }

    /// SIGTERM, and waits for the end, for a minute at most.
    ///
    /// # Errors
    ///
    /// It runs on.
    pub fn terminate(&self, role: Role, number: usize) -> Result<ExitStatus, Error> {
        self.process(role, number).terminate(member::STOP_PATIENCE)
    }

    /// Starts a member again with its name and addresses, and waits until it is ready; one that
    /// runs is killed first.
    ///
    /// # Errors
    ///
    /// It doesn't start, or isn't ready in time.
    pub fn restart(&self, role: Role, number: usize) -> Result<(), Error> {
        self.restart_without_wait(role, number)?;
        self.wait_ready(role, number)
    }

    /// As [`restart`](Self::restart), for one that can't be ready yet.
    ///
    /// # Errors
    ///
    /// It doesn't start.
    pub fn restart_without_wait(&self, role: Role, number: usize) -> Result<(), Error> {
        self.role(role)[number].program.restart()?;
        self.note_start(role, number);
        Ok(())
    }

    /// As [`restart_without_wait`](Self::restart_without_wait), with variables that it has in this
    /// run alone.
    ///
    /// # Errors
    ///
    /// It doesn't start.
    pub fn restart_with(
        &self,
        role: Role,
        number: usize,
        variables: &[(&str, &str)],
    ) -> Result<(), Error> {
        self.role(role)[number].program.restart_with(variables)?;
        self.note_start(role, number);
        Ok(())
    }

    /// Waits until a member has ended by itself, and says how.
    ///
    /// # Errors
    ///
    /// It runs on after `patience`.
    pub fn wait_for_end(
        &self,
        role: Role,
        number: usize,
        patience: Duration,
    ) -> Result<ExitStatus, Error> {
        self.process(role, number).wait_for_end(patience)
    }

    /// Waits until a member says that it is ready, for two minutes at most.
    ///
    /// # Errors
    ///
    /// It has ended, or isn't ready in time.
    pub fn wait_ready(&self, role: Role, number: usize) -> Result<(), Error> {
        let (process, admin) = (self.process(role, number), self.member(role, number).admin);
        process.wait_for_page(admin, "/readyz", member::READY_PATIENCE)
    }

    /// Starts one more, waits until it is ready and returns its number.
    ///
    /// # Errors
    ///
    /// There are [`Role::MEMBERS_MAX`] already, it doesn't start, or isn't ready in time.
    pub fn add(&self, role: Role) -> Result<usize, Error> {
        let number = self.launch(role)?;
        self.wait_ready(role, number)?;
        Ok(number)
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self, role: Role, number: usize) {
        self.process(role, number).pause();
    }

    /// SIGCONT.
    pub fn resume(&self, role: Role, number: usize) {
        self.process(role, number).resume();
    }

    /// The way of a member to a server or from a gateway to a matcher, for faults.
    ///
    /// # Panics
    ///
    /// If links are direct.
    #[must_use]
    pub fn link(&self, role: Role, number: usize, peer: Peer) -> Arc<Link> {
        let wiring = self.wiring.as_ref();
        let wiring = wiring.expect("a cluster whose links are not direct");
        wiring.link((role, number, peer))
    }

    /// Whether members have network namespaces of their own.
    #[must_use]
    pub fn has_namespaces(&self) -> bool {
        self.ground.network().is_some()
    }

    /// Cuts a member off from servers and other members without a word; clients still reach it.
    ///
    /// # Errors
    ///
    /// Links are direct, or the system refuses it.
    pub fn isolate(&self, role: Role, number: usize) -> Result<(), Error> {
        if let Some(network) = self.ground.network() {
            return network.unplug(role.host(number));
        }
        self.links_of(role, number)?
            .iter()
            .for_each(|link| link.silence());
        Ok(())
    }

    /// Ends [`isolate`](Self::isolate), and every other fault of the member's links.
    ///
    /// # Errors
    ///
    /// As [`isolate`](Self::isolate).
    pub fn rejoin(&self, role: Role, number: usize) -> Result<(), Error> {
        let links = self.links_of(role, number)?;
        links.iter().for_each(|link| link.heal());
        if let Some(network) = self.ground.network() {
            return network.plug(role.host(number));
        }
        Ok(())
    }

    /// The NATS servers, if this cluster started them.
    #[must_use]
    pub fn nats(&self) -> Option<&Nats> {
        self.servers.nats()
    }

    /// The Cassandra nodes, if this cluster started them.
    #[must_use]
    pub fn cassandra(&self) -> Option<&Cassandra> {
        self.servers.cassandra()
    }

    /// `nats://ip:port` of each NATS server.
    #[must_use]
    pub fn nats_urls(&self) -> Vec<String> {
        self.servers.nats_urls()
    }

    /// `ip:port` of each node of the database.
    #[must_use]
    pub fn contact_points(&self) -> Vec<String> {
        self.servers.contact_points()
    }

    /// Process ids of the database's nodes, if this cluster started them.
    #[must_use]
    pub fn cql_pids(&self) -> Vec<u32> {
        self.servers.cql_pids()
    }

    /// Runs a subcommand of the program with the settings of this cluster, to its end.
    ///
    /// # Errors
    ///
    /// It can't be started.
    pub fn tool(&self, arguments: &[&str]) -> Result<Output, Error> {
        self.tool_of(&self.binary, arguments)
    }

    /// Terminates all in order: gateways, ingest, matchers; each role at once. Returns how each
    /// ended. The servers go on until this is dropped.
    ///
    /// # Errors
    ///
    /// One runs on after a minute; those behind it have not been told to stop then.
    pub fn stop(&self) -> Result<Vec<(String, ExitStatus)>, Error> {
        let mut ended = Vec::new();
        for role in [Role::Gateway, Role::Ingest, Role::Matcher] {
            let processes: Vec<Arc<Process>> = self
                .role(role)
                .iter()
                .map(|member| member.program.process())
                .collect();
            for process in &processes {
                process.ask_to_end();
            }
            for process in &processes {
                let status = process.wait_for_end(member::STOP_PATIENCE)?;
                ended.push((process.name().to_owned(), status));
            }
        }
        Ok(ended)
    }

    fn links_of(&self, role: Role, number: usize) -> Result<Vec<Arc<Link>>, Error> {
        let wiring = self.wiring.as_ref();
        let wiring = wiring.ok_or_else(|| Error::Options("links are direct".to_owned()))?;
        Ok(wiring.links_of(role, number))
    }

    fn migrate(&self) -> Result<(), Error> {
        let launch = self.launch_of("migrate", "migrate".to_owned(), &[]);
        let process = Process::start(&launch)?;
        let status = process.wait_for_end(MIGRATE_PATIENCE)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Ended {
            name: "heliograph migrate".to_owned(),
            status: status.to_string(),
            log: process.output(),
        })
    }

    /// Starts the next member of a role and returns its number.
    fn launch(&self, role: Role) -> Result<usize, Error> {
        let mut members = self.role(role);
        let number = members.len();
        role.check_count(number + 1)?;
        let mut own = role.settings(&self.ground, number);
        if let Some(wiring) = &self.wiring {
            own.extend(wiring.settings((role, number), &self.ground, &self.servers)?);
        }
        let launch = self.launch_of(role.subcommand(), role.name(number), &own);
        let nodes = self.servers.contact_points();
        let nodes = nodes
            .iter()
            .filter_map(|node| Some(node.parse::<SocketAddr>().ok()?.ip()));
        let nodes: Vec<IpAddr> = nodes.filter(IpAddr::is_loopback).collect();
        let launch = self.ground.place(role.host(number), &nodes, launch)?;
        members.push(Running::start(role, number, &self.ground, launch)?);
        drop(members);
        self.note_start(role, number);
        Ok(number)
    }

    fn note_start(&self, role: Role, number: usize) {
        if role == Role::Gateway
            && let Some(wiring) = &self.wiring
        {
            wiring.gateway_started(number, self.member(role, number).pid);
        }
    }

    fn launch_of(&self, subcommand: &str, name: String, own: &[(String, String)]) -> Launch {
        let mut arguments: Vec<OsString> = vec![subcommand.into()];
        arguments.extend(self.set_arguments(own));
        Launch {
            program: self.binary.clone(),
            arguments,
            variables: Vec::new(),
            hide_variables: HIDDEN_VARIABLES,
            directory: self.directory.path().to_owned(),
            log: self.directory.path().join(format!("{name}.log")),
            name,
        }
    }

    fn set_arguments(&self, own: &[(String, String)]) -> Vec<OsString> {
        let config = self.config.iter().map(|path| {
            let mut argument = OsString::from("--config=");
            argument.push(path);
            argument
        });
        let settings = self.settings.iter().chain(own);
        let settings = settings.map(|(key, value)| format!("--set={key}={value}").into());
        config.chain(settings).collect()
    }

    fn process(&self, role: Role, number: usize) -> Arc<Process> {
        self.role(role)[number].program.process()
    }

    /// Held for a moment only, so that a member can be killed while another thread waits for it.
    fn role(&self, role: Role) -> MutexGuard<'_, Vec<Running>> {
        self.members[role as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for role in [Role::Gateway, Role::Ingest, Role::Matcher] {
            self.role(role).clear();
        }
        cleanup::forget(&self.servers, &self.name);
    }
}
