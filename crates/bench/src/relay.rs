//! A relay as a child process: started on a directory, waited for, looked at, stopped with all
//! its children.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::sleep;

use crate::{
    client::Connection,
    options::RelayOptions,
    process::{Usage, cpu_of_ended_children, disk_usage},
};

/// How long a relay may take to start: some build indexes first.
const START: Duration = Duration::from_secs(60);

/// How long it may take to stop before it is killed: some write what they have in memory.
const STOP: Duration = Duration::from_secs(60);

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
    address: SocketAddr,
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
        let command = fill(&options.command, port, directory, None);
        let log = directory.with_extension("log");
        let child = spawn(&command, directory, &log)?;
        let mut relay = Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            directory: directory.to_owned(),
            log,
        };
        relay.wait_until_up().await.with_context(|| {
            let words = last_words(&relay.log);
            format!("{} doesn't start: {command}\n{words}", options.name)
        })?;
        Ok(relay)
    }

    async fn wait_until_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let Err(error) = Connection::open(self.address, false).await else {
                return Ok(());
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            ensure!(Instant::now() < deadline, "not within {START:?}: {error:#}");
            sleep(POLL).await;
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time and memory so far.
    ///
    /// # Errors
    ///
    /// It has ended, with its last words.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let usage = Usage::of_group(self.child.id());
        usage.with_context(|| last_words(&self.log))
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
        signal(&self.child, Signal::TERM);
        let deadline = Instant::now() + STOP;
        while self.child.try_wait()?.is_none() && Instant::now() < deadline {
            sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        signal(&self.child, Signal::KILL);
        // It has been waited for, or is gone in an instant.
        let _gone = self.child.wait();
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
    let (before, start) = (cpu_of_ended_children()?, Instant::now());
    let mut child = spawn(&command, directory, &log)?;
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

/// Starts a command as the leader of a process group, so that all of it can be found and stopped.
fn spawn(command: &str, directory: &Path, log: &Path) -> Result<Child> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let log = File::create(log).with_context(|| log.display().to_string())?;
    let mut shell = Command::new("sh");
    // What the environment holds for other runs of Heliograph is no setting of this one.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HELIOGRAPH_") {
            shell.env_remove(name);
        }
    }
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
    fn a_relay_that_ends_at_once_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let options = RelayOptions {
            name: "broken".to_owned(),
            command: "echo no such database; exit 3".to_owned(),
            import: None,
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
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
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
