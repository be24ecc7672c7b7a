//! An empty root: a directory that a program takes for the whole system, read-only but for its data,
//! and in which it is nobody in particular. Made with user namespaces, so without being root.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use heliograph_sandbox::process::{Launch, Process};
use heliograph_testkit::{client::Client, http, keys::Key};
use serde_json::json;
use tempfile::TempDir;

use crate::shell;

/// Time until the relay is ready, and to its end; a second each on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Binds the data into the root, makes everything else read-only, and becomes a user who isn't root and
/// has no capability: root $1, data $2, where it belongs $3, user $4, program and arguments.
const ENTER: &str = r#"
mount --bind "$1" "$1"
mount -o remount,bind,ro,nosuid,nodev "$1"
mount --bind "$2" "$1$3"
root=$1 user=$4
shift 4
exec unshare --user --map-user="$user" --map-group="$user" --root="$root" --wd=/ "$@"
"#;

/// The user in there.
pub(super) const USER: &str = "65532";

/// A root, and what belongs to it.
#[derive(Debug)]
pub(super) struct Room {
    root: PathBuf,
    /// The data, and beside it what the relay printed.
    scratch: TempDir,
    /// Where in the root the data is.
    place: &'static str,
    /// `NAME=value`
    variables: Vec<String>,
}

impl Room {
    /// A room in `root`, in which `place` is the directory that can be written.
    pub(super) fn new(root: &Path, place: &'static str) -> Result<Self> {
        let scratch = scratch()?;
        fs::create_dir(scratch.path().join("data")).context("a directory for data")?;
        Ok(Self {
            root: root.to_owned(),
            scratch,
            place,
            variables: Vec::new(),
        })
    }

    /// With these variables and no others.
    pub(super) fn with(mut self, variables: &[String]) -> Self {
        self.variables = variables.to_vec();
        self
    }

    /// Where the relay of this process listens for clients and for operators: addresses that no other
    /// process takes.
    pub(super) fn addresses() -> (SocketAddr, SocketAddr) {
        let [.., third, fourth] = std::process::id().to_be_bytes();
        let address = |port| SocketAddr::from(([127, 251, third, fourth.max(1)], port));
        (address(7_777), address(7_778))
    }

    fn command(&self, command: &[&str]) -> Vec<String> {
        let data = self.scratch.path().join("data");
        let paths = [&self.root, &data].map(|path| path.display().to_string());
        let mut arguments: Vec<String> = vec!["-i".to_owned()];
        arguments.extend(self.variables.iter().cloned());
        let enter = [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--",
            "sh",
            "-ec",
            ENTER,
            "sh",
        ];
        arguments.extend(enter.map(str::to_owned));
        arguments.extend(paths);
        arguments.extend([self.place, USER].map(str::to_owned));
        arguments.extend(command.iter().map(|&word| word.to_owned()));
        arguments
    }

    /// Runs a program of the room to its end.
    pub(super) fn output(&self, command: &[&str]) -> Result<Output> {
        let mut env = shell::command("env");
        env.args(self.command(command));
        env.output().context("can't start unshare")
    }

    fn start(&self, command: &[&str]) -> Result<Process> {
        let process = Process::start(&Launch {
            name: "the relay in its empty root".to_owned(),
            program: "env".into(),
            arguments: self.command(command).into_iter().map(Into::into).collect(),
            variables: Vec::new(),
            hide_variables: "",
            directory: self.scratch.path().to_owned(),
            log: self.scratch.path().join("relay.out"),
        })?;
        process.wait_for_page(Self::addresses().1, "/readyz", PATIENCE)?;
        Ok(process)
    }

    /// Starts the program as a relay at [`addresses`](Self::addresses) and uses it as clients and
    /// operators do: information document, event, question, health, stop, and the event again after a
    /// second start.
    pub(super) fn serve(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let (address, _) = Self::addresses();
        let command: Vec<&str> = [&[program], arguments].concat();
        let health = [&[program, "health", "--ready"], arguments].concat();
        let event = Key::nth(1).note(1_700_000_000, "kept in an empty root");
        let filter = [json!({"ids": [event.id().to_hex()]})];

        let relay = self.start(&command)?;
        ensure_nobody(&relay)?;
        let document = http::request(address, "GET", "/", &["Accept: application/nostr+json"]);
        ensure!(
            document.text().contains("supported_nips"),
            "no information document: {}",
            document.text()
        );
        let mut client = Client::connect(address);
        client.accept(&event);
        let stored = client.query(&filter).ids();
        ensure!(stored == [event.id().to_hex()], "answered {stored:?}");
        let said = self.output(&health)?;
        ensure!(
            said.status.success(),
            "`health --ready` of a running relay: {said:?}"
        );
        stop(&relay)?;
        let said = self.output(&health)?;
        ensure!(
            said.status.code() == Some(1),
            "`health --ready` without a relay: {said:?}"
        );

        let relay = self.start(&command)?;
        let stored = Client::connect(address).query(&filter).ids();
        ensure!(
            stored == [event.id().to_hex()],
            "after a second start {stored:?}"
        );
        stop(&relay)
    }
}

fn stop(relay: &Process) -> Result<()> {
    let status = relay.terminate(PATIENCE)?;
    ensure!(
        status.success(),
        "it ended with {status}:\n{}",
        relay.output()
    );
    Ok(())
}

/// Checks that it is no root in there, and may do nothing that others may not.
fn ensure_nobody(relay: &Process) -> Result<()> {
    let read = |file: &str| {
        let path = format!("/proc/{}/{file}", relay.pid());
        fs::read_to_string(&path).with_context(|| format!("can't read {path}"))
    };
    let map = read("uid_map")?;
    let inside = map.split_whitespace().next();
    ensure!(inside == Some(USER), "it runs as user {inside:?}");
    let status = read("status")?;
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.context("no CapEff in its status")?.trim();
    ensure!(
        capabilities.chars().all(|digit| digit == '0'),
        "it has capabilities: {capabilities}"
    );
    Ok(())
}

/// A directory that goes with its value, on the disk of the tree: `/tmp` may not run programs.
pub(super) fn scratch() -> Result<TempDir> {
    let base = super::super::release::directory()?.with_file_name("package-check");
    fs::create_dir_all(&base).with_context(|| format!("can't create {}", base.display()))?;
    TempDir::new_in(&base).with_context(|| format!("can't write to {}", base.display()))
}
