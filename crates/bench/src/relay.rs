//! A relay as a child process: started on a directory, waited for, looked at, stopped with all
//! its children. A relay of several processes says in a file where it is: see [`ready`].

mod certificate;
mod ready;
mod software;
mod writes;

pub(crate) use certificate::Certificate;
use certificate::upgrades;

use std::{
    cell::Cell,
    convert::Infallible,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use heliograph_sandbox::{
    disk_usage,
    process::{hide_variables, with_death_signal},
    wait,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::sleep;

use crate::{
    options::{READY, RelayOptions},
    process::{Usage, cpu_of_ended_children, living, members},
    report::Software,
};
use ready::Server;

/// How long a relay may take to start: some build indexes first.
const START: Duration = Duration::from_secs(60);

/// As [`START`], where a database has to start first.
const START_OF_CLUSTER: Duration = Duration::from_secs(240);

/// How long it may take to stop before it is killed: some write what they have in memory.
const STOP: Duration = Duration::from_secs(60);

/// How long killed processes may take to be gone: a database has to give back its memory first.
const GONE: Duration = Duration::from_secs(20);

/// How often a state is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Over how long a relay's use is looked at, and what is little: a fiftieth of a core. It is at rest after
/// as many such windows in a row as are asked for.
pub(crate) const REST: Duration = Duration::from_millis(200);
const REST_CPU: Duration = Duration::from_millis(4);

/// Bytes of a relay's last words.
const WORDS_BYTES: usize = 2_000;

/// A running relay; killed when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Child,
    /// Where it listens: one address, or those of a cluster's gateways.
    addresses: Vec<SocketAddr>,
    /// Which of them is next.
    next: Cell<usize>,
    /// What a cluster stands on, counted apart.
    servers: Vec<Server>,
    /// Set if it speaks TLS.
    pub(crate) certificate: Option<Certificate>,
    directory: PathBuf,
    log: PathBuf,
}

/// What importing a file cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Import {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) disk: u64,
}

impl Relay {
    /// Starts it on a directory, empty or its own, and waits until it upgrades a connection.
    ///
    /// # Errors
    ///
    /// It doesn't start, with its last words.
    pub(crate) async fn start(options: &RelayOptions, directory: &Path) -> Result<Self> {
        let port = free_port()?;
        let ready = directory.with_extension("ready");
        let is_cluster = options.is_cluster();
        let command = fill(&options.command, port, directory, None)
            .replace(READY, &ready.display().to_string());
        let log = directory.with_extension("log");
        let child = spawn(&command, directory, &log)?;
        let mut relay = Self {
            child,
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
            next: Cell::new(0),
            servers: Vec::new(),
            certificate: options.certificate.clone(),
            directory: directory.to_owned(),
            log,
        };
        let up = async {
            if is_cluster {
                relay.wait_until_ready(&ready).await?;
            }
            relay.wait_until_up().await
        };
        up.await.with_context(|| {
            let words = last_words(&relay.log);
            format!("{} doesn't start: {command}\n{words}", options.name)
        })?;
        Ok(relay)
    }

    /// Waits until it has written where its parts are.
    async fn wait_until_ready(&mut self, file: &Path) -> Result<()> {
        let deadline = Instant::now() + START_OF_CLUSTER;
        loop {
            // The shell makes the file before anything is in it.
            let text = fs::read_to_string(file).unwrap_or_default();
            if text.ends_with('\n') {
                (self.addresses, self.servers) = ready::parse(&text)?;
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            ensure!(
                Instant::now() < deadline,
                "not within {START_OF_CLUSTER:?}: nothing in {}",
                file.display()
            );
            sleep(POLL).await;
        }
    }

    async fn wait_until_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let certificate = self.certificate.as_ref();
            let Err(error) = upgrades(self.address(), certificate).await else {
                return Ok(());
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            ensure!(Instant::now() < deadline, "not within {START:?}: {error:#}");
            sleep(POLL).await;
        }
    }

    /// Where the next connection goes: to each address in turn.
    pub(crate) fn address(&self) -> SocketAddr {
        let next = self.next.get();
        self.next.set(next.wrapping_add(1));
        self.addresses[next % self.addresses.len()]
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it says of itself.
    pub(crate) async fn software(&self) -> Software {
        software::ask(self.address()).await
    }

    /// The process that was started, which leads a group.
    pub(crate) fn leader(&self) -> u32 {
        self.child.id()
    }

    /// Processes of [`servers`](Self::servers_usage).
    pub(crate) fn server_pids(&self) -> Vec<u32> {
        let pids = self.servers.iter().flat_map(|server| &server.pids);
        pids.copied().collect()
    }

    /// CPU time and memory so far, without those of the servers that a cluster stands on.
    ///
    /// # Errors
    ///
    /// It has ended, with its last words.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let usage = Usage::of_group(self.child.id(), &self.server_pids());
        usage.with_context(|| last_words(&self.log))
    }

    /// The same of these servers, by name.
    ///
    /// # Errors
    ///
    /// One has ended.
    pub(crate) fn servers_usage(&self) -> Result<Vec<(&'static str, Usage)>> {
        let each = self.servers.iter().map(|server| {
            let usage = Usage::of(server.pids.iter().copied());
            let usage =
                usage.with_context(|| format!("{}: {}", server.name, last_words(&self.log)));
            Ok((server.name, usage?))
        });
        each.collect()
    }

    /// Bytes of its directory on the disk.
    pub(crate) fn disk(&self) -> u64 {
        disk_usage(&self.directory)
    }

    /// Waits until it has used little for `quiet` in a row, or until `patience` is over; says whether it
    /// came to rest.
    ///
    /// A relay may move what it has answered to its database later, by a clock: that is still part of the
    /// work before, and is missed by a `quiet` shorter than the clock.
    ///
    /// # Errors
    ///
    /// As [`usage`](Self::usage).
    pub(crate) async fn settle(&self, quiet: Duration, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        let mut before = self.usage()?;
        let mut rested = Duration::ZERO;
        loop {
            sleep(REST).await;
            let now = self.usage()?;
            rested = if now.cpu_since(&before) < REST_CPU {
                rested + REST
            } else {
                Duration::ZERO
            };
            if rested >= quiet {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            before = now;
        }
    }

    /// Asks it to stop and waits until it has; kills it if it doesn't.
    ///
    /// # Errors
    ///
    /// It can't be waited for.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if self.servers.is_empty() {
            signal(&self.child, Signal::TERM);
        } else {
            // It stops its parts itself, in the right order.
            let leader = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            let _gone = leader.map(|leader| kill_process(leader, Signal::TERM));
        }
        let deadline = Instant::now() + STOP;
        while self.child.try_wait()?.is_none() && Instant::now() < deadline {
            sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The parts of a cluster have groups of their own, and die with who started them.
        let mut family = members(self.child.id()).unwrap_or_default();
        family.extend(self.server_pids());
        signal(&self.child, Signal::KILL);
        // It has been waited for, or is gone in an instant.
        let _gone = self.child.wait();
        // Until then they write into its directory.
        let Ok(_in_time) = wait::until(GONE, || {
            Ok::<_, Infallible>((!family.iter().any(|pid| living(*pid))).then_some(()))
        });
    }
}

/// Runs the command that loads a file, on an empty directory.
///
/// # Errors
///
/// It fails, with its last words.
pub(crate) async fn import(command: &str, file: &Path, directory: &Path) -> Result<Import> {
    let command = fill(command, free_port()?, directory, Some(file));
    let log = directory.with_extension("log");
    let start = Instant::now();
    let mut child = spawn(&command, directory, &log)?;
    // It counts when it has been waited for.
    let before = cpu_of_ended_children()?;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None => sleep(POLL).await,
        }
    };
    ensure!(
        status.success(),
        "`{command}`: {status}\n{}",
        last_words(&log)
    );
    Ok(Import {
        wall: start.elapsed(),
        cpu: cpu_of_ended_children()?.saturating_sub(before),
        disk: disk_usage(directory),
    })
}

/// Starts a command as the leader of a process group, so that all of it can be found and stopped; it dies
/// with this process.
fn spawn(command: &str, directory: &Path, log: &Path) -> Result<Child> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let log = File::create(log).with_context(|| log.display().to_string())?;
    let mut shell = with_death_signal(Path::new("sh"));
    // What the environment holds for other runs of Heliograph is no setting of this one.
    hide_variables(&mut shell, "HELIOGRAPH_");
    shell
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't start `{command}`"))
}

fn fill(command: &str, port: u16, directory: &Path, file: Option<&Path>) -> String {
    let command = command
        .replace("{port}", &port.to_string())
        .replace("{dir}", &directory.display().to_string());
    match file {
        Some(file) => command.replace("{file}", &file.display().to_string()),
        None => command,
    }
}

fn signal(child: &Child, signal: Signal) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // Gone is as good.
        let _gone = kill_process_group(group, signal);
    }
}

/// A port that nobody listened on a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(WORDS_BYTES);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn places_are_filled_wherever_they_stand() {
        let filled = fill(
            "a {dir}/x {port} {dir} {file}",
            9,
            Path::new("/d"),
            Some(Path::new("f")),
        );
        assert_eq!(filled, "a /d/x 9 /d f");
    }

    #[test]
    fn a_relay_dies_with_who_started_it() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("data");
        // For the kernel the end of this thread is that of the process.
        let starter = std::thread::spawn(move || {
            let log = directory.with_extension("log");
            let child = spawn("exec sleep 600", &directory, &log).unwrap();
            let name = format!("/proc/{}/comm", child.id());
            wait::within(START, "sleep", || {
                let name = fs::read_to_string(&name).unwrap_or_default();
                (name.trim() == "sleep").then_some(())
            });
            child
        });
        let mut child = starter.join().unwrap();
        let ended = wait::until(START, || child.try_wait()).unwrap();
        signal(&child, Signal::KILL);
        assert_eq!(ended.and_then(|status| status.signal()), Some(9));
    }

    #[test]
    fn what_a_relay_started_in_groups_of_its_own_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("data");
        let log = dir.path().join("log");
        let file = dir.path().join("pid");
        // As a part of a cluster, which takes its time to be gone.
        let part = "setsid sh -c 'echo $$ > \"$0\"; while kill -0 $1; do :; done; sleep 0.3'";
        let command = format!("{part} '{}' $$ & wait", file.display());
        let relay = Relay {
            child: spawn(&command, &directory, &log).unwrap(),
            addresses: Vec::new(),
            next: Cell::new(0),
            servers: Vec::new(),
            certificate: None,
            directory,
            log,
        };
        let part: u32 = wait::within(START, "part", || {
            fs::read_to_string(&file).ok()?.trim().parse().ok()
        });
        assert!(living(part));
        drop(relay);
        assert!(!living(part), "it is gone with the relay");
    }

    #[test]
    fn a_relay_that_ends_at_once_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let options = RelayOptions {
            name: "broken".to_owned(),
            command: "echo no such database; exit 3".to_owned(),
            import: None,
            tls: None,
            certificate: None,
            durability: String::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let error = runtime
            .block_on(Relay::start(&options, &dir.path().join("data")))
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("no such database") && text.contains("exit status: 3"),
            "{text}"
        );
    }

    #[test]
    fn work_by_a_clock_is_waited_for_if_the_quiet_is_longer_than_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("data");
        let log = dir.path().join("log");
        let burn = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let command = format!("while :; do {burn}; sleep 0.7; done");
        let relay = Relay {
            child: spawn(&command, &directory, &log).unwrap(),
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1))],
            next: Cell::new(0),
            servers: Vec::new(),
            certificate: None,
            directory,
            log,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let patience = Duration::from_millis(3_000);
        let rested = runtime.block_on(async {
            let short = relay.settle(REST, patience).await.unwrap();
            (short, relay.settle(REST * 6, patience).await.unwrap())
        });
        assert_eq!(rested, (true, false));
    }

    #[test]
    fn an_import_counts_the_time_of_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; cp {file} {dir}/copy";
        let file = dir.path().join("file");
        fs::write(&file, vec![1; 20_000]).unwrap();
        let cost = runtime
            .block_on(import(work, &file, &dir.path().join("data")))
            .unwrap();
        assert!(cost.cpu > Duration::ZERO && cost.disk >= 20_000, "{cost:?}");
        let failed = runtime.block_on(import("exit 1", &file, &dir.path().join("data")));
        assert!(failed.is_err());
    }
}
