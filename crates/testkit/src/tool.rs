//! Programs that run to their end: the data tools of the binary, and what else a test calls.

use std::{
    io::Write,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::process::{command, conformance_config, kill_id};

/// How long a tool may take: an import of the real events in a debug build takes seconds.
const TOOL_PATIENCE: Duration = Duration::from_secs(300);

/// What a tool did.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it said on stdout.
    pub stdout: String,
    /// What it said on stderr.
    pub stderr: String,
}

impl Finished {
    /// Fails the test unless the exit code is 0.
    ///
    /// # Panics
    ///
    /// With what it said, if it isn't.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Fails the test unless the exit code is another than 0.
    ///
    /// # Panics
    ///
    /// With what it said, if it is 0 or none.
    #[track_caller]
    pub fn failure(self) -> Self {
        assert!(self.status.code().is_some_and(|code| code != 0), "{self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            status,
            stdout,
            stderr,
        } = self;
        write!(f, "{status}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}

/// Runs `heliograph <command> --data <data> …` with the conformance configuration to its end,
/// feeding it `stdin`.
///
/// # Panics
///
/// If it doesn't start.
#[must_use]
#[track_caller]
pub fn tool(data: &Path, arguments: &[&str], stdin: &[u8]) -> Finished {
    let mut command = command();
    command
        .args(arguments)
        .arg("--data")
        .arg(data)
        .arg("--config")
        .arg(conformance_config());
    run(&mut command, stdin)
}

/// Runs a command to its end, feeding it `stdin`.
///
/// # Panics
///
/// If it doesn't start.
#[must_use]
#[track_caller]
pub fn run(command: &mut Command, stdin: &[u8]) -> Finished {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut input = child.stdin.take().expect("stdin is piped");
    let stdin = stdin.to_vec();
    // A tool that ends before it has read everything says why by its exit code.
    thread::spawn(move || input.write_all(&stdin));
    let id = child.id();
    let (done, waiting) = mpsc::sync_channel(1);
    thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = waiting.recv_timeout(TOOL_PATIENCE) else {
        kill_id(id, Signal::KILL);
        panic!("{command:?} still runs after {TOOL_PATIENCE:?}");
    };
    let output = output.expect("a child of ours");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Finished {
        status: output.status,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
