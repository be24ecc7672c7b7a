//! The binary as a child process: started on port 0 and an empty directory, killed on drop, its
//! output kept and shown when a test fails.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{PATIENCE, client::Client, websocket::WebSocket};

/// Lines of output kept of one process.
const LINES_MAX: usize = 2_000;

/// What a path or number in the environment says, for options of the tests themselves.
#[must_use]
pub fn option(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The configuration for conformance suites.
#[must_use]
pub fn conformance_config() -> PathBuf {
    workspace().join("deploy/config/conformance.toml")
}

/// The binary, built once per test process by the cargo that built the tests and into the same
/// directory; or the one that `HELIOGRAPH_BIN` names.
///
/// # Panics
///
/// If it doesn't build.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = || option("HELIOGRAPH_BIN").map_or_else(build, |path| Ok(PathBuf::from(path)));
    match BINARY.get_or_init(built) {
        Ok(path) => path,
        Err(error) => panic!("{error}"),
    }
}

fn build() -> Result<PathBuf, String> {
    // target/<profile>/deps/<test>: the binary stands in target/<profile>.
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = test
        .ancestors()
        .nth(2)
        .ok_or("tests run from target/<profile>/deps")?;
    let target = profile
        .parent()
        .ok_or("tests run from target/<profile>/deps")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--quiet",
            "--locked",
            "-p",
            "heliograph",
            "--target-dir",
        ])
        .arg(target);
    cargo
        .args(["--profile", profile_name(profile)])
        .current_dir(workspace());
    match cargo.status() {
        Ok(status) if status.success() => {
            Ok(profile.join(format!("heliograph{}", std::env::consts::EXE_SUFFIX)))
        }
        failed => Err(format!("cargo build -p heliograph: {failed:?}")),
    }
}

fn profile_name(directory: &Path) -> &str {
    match directory.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(other) => other,
    }
}

/// Every relay's settings: free ports, and time enough to read for a debug build on a busy machine.
const SETTINGS: [&str; 3] = [
    "admin.listen=127.0.0.1:0",
    "store.scan_ms_max=60000",
    "store.count_ms_max=60000",
];

/// The binary, without the options that the environment holds for the tests.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HELIOGRAPH_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a process printed so far.
#[derive(Debug, Default)]
struct Output {
    lines: VecDeque<String>,
    /// Of stdout and stderr, how many are still open.
    open: usize,
}

/// The captured output, filled by one thread a stream.
#[derive(Debug, Default)]
struct Capture {
    output: Mutex<Output>,
    changed: Condvar,
}

impl Capture {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        self.lock().open += 1;
        let capture = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut output = capture.lock();
                if output.lines.len() == LINES_MAX {
                    output.lines.pop_front();
                }
                output.lines.push_back(line);
                capture.changed.notify_all();
            }
            capture.lock().open -= 1;
            capture.changed.notify_all();
        });
    }

    /// Waits until `look` finds something; `None` once the process has said its last or the
    /// deadline has passed.
    fn find<T>(&self, deadline: Instant, look: impl Fn(&Output) -> Option<T>) -> Option<T> {
        let mut output = self.lock();
        loop {
            if let Some(found) = look(&output) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if output.open == 0 || left.is_zero() {
                return None;
            }
            output = self
                .changed
                .wait_timeout(output, left)
                .map_or_else(|error| error.into_inner().0, |(output, _)| output);
        }
    }

    fn text(&self) -> String {
        Vec::from(self.lock().lines.clone()).join("\n")
    }
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    capture: Arc<Capture>,
    address: SocketAddr,
    data: PathBuf,
    /// Removed with the relay, unless the test keeps the directory.
    _directory: Option<TempDir>,
}

impl Relay {
    /// Starts a relay on an empty directory with the conformance configuration.
    ///
    /// # Panics
    ///
    /// If it isn't up within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a relay on an empty directory with the conformance configuration and these
    /// `key=value` settings.
    ///
    /// # Panics
    ///
    /// If it isn't up within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn with(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        let mut relay = Self::on(&data, settings);
        relay._directory = Some(directory);
        relay
    }

    /// Starts a relay on this directory, which outlives it.
    ///
    /// # Panics
    ///
    /// If it isn't up within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn on(data: &Path, settings: &[&str]) -> Self {
        Self::launch(data, &conformance_config(), settings)
    }

    /// Starts a relay on an empty directory, with this file as its whole configuration.
    ///
    /// # Panics
    ///
    /// If it isn't up within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn configured(file: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut relay = Self::launch(&directory.path().join("data"), file, &[]);
        relay._directory = Some(directory);
        relay
    }

    /// The same, and it looks at the file for changes (`--watch`).
    ///
    /// # Panics
    ///
    /// If it isn't up within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn watching(file: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        let mut command = command();
        command.arg("--watch").arg("--data").arg(&data);
        let mut relay = Self::run(command, &data, file, &[]);
        relay._directory = Some(directory);
        relay
    }

    /// Starts one more gateway of a cluster that has these settings, `key=value`, on the
    /// conformance configuration.
    ///
    /// # Panics
    ///
    /// If it isn't up within [`PATIENCE`].
    #[must_use]
    #[track_caller]
    pub fn gateway(settings: &[String]) -> Self {
        let mut command = command();
        command.arg("gateway");
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        Self::run(command, Path::new(""), &conformance_config(), &settings)
    }

    #[track_caller]
    fn launch(data: &Path, config: &Path, settings: &[&str]) -> Self {
        let mut command = command();
        command.arg("--data").arg(data);
        Self::run(command, data, config, settings)
    }

    #[track_caller]
    fn run(mut command: Command, data: &Path, config: &Path, settings: &[&str]) -> Self {
        command.args(["--listen", "127.0.0.1:0"]);
        command.arg("--config").arg(config);
        for setting in SETTINGS.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let capture = Arc::new(Capture::default());
        capture.follow(child.stdout.take().expect("stdout is piped"));
        capture.follow(child.stderr.take().expect("stderr is piped"));
        let listening = capture.find(Instant::now() + PATIENCE, |output| {
            output.lines.iter().find_map(|line| listening_on(line))
        });
        let Some(address) = listening else {
            let _gone_already = child.kill();
            panic!("the relay didn't start:\n{}", capture.text());
        };
        Self {
            child,
            capture,
            address,
            data: data.to_owned(),
            _directory: None,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `ws://…`
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Its data directory; empty for a gateway, which has none.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new client.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A new connection without a client's manners.
    #[must_use]
    pub fn socket(&self) -> WebSocket {
        WebSocket::connect(self.address)
    }

    /// What it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.capture.text()
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Panics
    ///
    /// If it can't be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// If it is gone already.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_id(self.child.id(), signal);
    }

    /// Makes it stand still (SIGSTOP) until [`Relay::resume`].
    ///
    /// # Panics
    ///
    /// If it is gone already.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Panics
    ///
    /// If it is gone already.
    #[track_caller]
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to stop (SIGTERM).
    ///
    /// # Panics
    ///
    /// If it is gone already.
    #[track_caller]
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits until it has stopped by itself.
    ///
    /// # Panics
    ///
    /// If it hasn't within [`PATIENCE`].
    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        wait(&mut self.child, &self.capture)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
        if thread::panicking() {
            show(&format!(
                "the relay on {} said:\n{}",
                self.address,
                self.capture.text()
            ));
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "shown with the test's own output when it fails"
)]
fn show(text: &str) {
    eprintln!("{text}");
}

/// The address in a line such as `listening on ws://127.0.0.1:7777`.
fn listening_on(line: &str) -> Option<SocketAddr> {
    let (_, url) = line.split_once("listening on ")?;
    let url = url
        .strip_prefix("ws://")
        .or_else(|| url.strip_prefix("wss://"))?;
    let end = url.find(|sign: char| !sign.is_ascii_digit() && !".:[]".contains(sign));
    url[..end.unwrap_or(url.len())].parse().ok()
}

/// Waits for a child that is about to end: its output ends first.
#[track_caller]
fn wait(child: &mut Child, capture: &Capture) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    let closed = capture.find(deadline, |output| (output.open == 0).then_some(()));
    if closed.is_none() && capture.lock().open > 0 {
        panic!("still running after {PATIENCE:?}:\n{}", capture.text());
    }
    child.wait().expect("a child of ours")
}

pub(crate) fn kill_id(id: u32, signal: Signal) {
    let pid = i32::try_from(id)
        .ok()
        .and_then(Pid::from_raw)
        .expect("process ids fit");
    kill_process(pid, signal).expect("a child of ours");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_banner() {
        let address = Some("127.0.0.1:7777".parse().unwrap());
        assert_eq!(listening_on("listening on ws://127.0.0.1:7777"), address);
        assert_eq!(
            listening_on("  listening on ws://127.0.0.1:7777/ (wss://x)"),
            address
        );
        assert_eq!(
            listening_on("{\"message\":\"listening on ws://127.0.0.1:7777\"}"),
            address
        );
        assert_eq!(listening_on("listening on wss://127.0.0.1:7777"), address);
        assert_eq!(listening_on("connect to ws://127.0.0.1:7777"), None);
    }

    #[test]
    fn a_process_that_ends_early_is_noticed_at_once() {
        let capture = Arc::new(Capture::default());
        capture.follow(&b"one\ntwo\n"[..]);
        let deadline = Instant::now() + PATIENCE;
        assert_eq!(capture.find(deadline, |_| None::<()>), None);
        assert!(Instant::now() < deadline);
        assert_eq!(capture.text(), "one\ntwo");
    }
}
