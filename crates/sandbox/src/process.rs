//! A child process that can't be forgotten.
//!
//! What always holds: it is killed and reaped when its value is dropped, with all of its process
//! group; it dies with this process, even if that is killed; what it prints is in its log file.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    net::SocketAddr,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Error, http, wait};

/// How long threads may take to stand still.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Lines of its log that an error shows.
const LOG_LINES: usize = 25;

/// What to start, and where its output goes.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What errors call it, such as `nats-server 2`.
    pub name: String,
    /// The program: a path, or a name that is looked up.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables that are added to this process's own.
    pub variables: Vec<(String, String)>,
    /// Variables that are kept from it: those that begin with this, if it isn't empty.
    pub hide_variables: &'static str,
    /// Where it runs.
    pub directory: PathBuf,
    /// Takes standard output and error, behind what is there already.
    pub log: PathBuf,
}

/// A running child process, or one that has ended and been reaped.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    /// Where in the log this run begins, in bytes.
    log_start: u64,
    child: Mutex<Child>,
}

impl Process {
    /// Starts it, in a process group of its own.
    ///
    /// # Errors
    ///
    /// The program isn't there, or the log can't be written.
    pub fn start(launch: &Launch) -> Result<Self, Error> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&launch.log)
            .map_err(Error::path("can't write", &launch.log))?;
        let log_start = log.metadata().map_or(0, |metadata| metadata.len());
        let errors = log
            .try_clone()
            .map_err(Error::path("can't write", &launch.log))?;
        let mut command = with_death_signal(&launch.program);
        command
            .args(&launch.arguments)
            .current_dir(&launch.directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0);
        hide_variables(&mut command, launch.hide_variables);
        command.envs(launch.variables.iter().map(|(name, value)| (name, value)));
        let child = spawn(command).map_err(Error::path("can't start", &launch.program))?;
        Ok(Self {
            name: launch.name.clone(),
            pid: child.id(),
            log: launch.log.clone(),
            log_start,
            child: Mutex::new(child),
        })
    }

    /// Its process id, also after it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has printed in this run; empty if that can't be read.
    #[must_use]
    pub fn output(&self) -> String {
        output(&self.log, self.log_start)
    }

    /// How it ended, if it has; reaps it then.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        // An error means that somebody else reaped it.
        self.child()
            .try_wait()
            .unwrap_or_else(|_reaped| Some(ExitStatus::from_raw(0)))
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    ///
    /// It ends, or isn't ready after `patience`; both with the end of its log.
    pub fn wait_until(
        &self,
        state: &str,
        patience: Duration,
        mut is_ready: impl FnMut(&Self) -> bool,
    ) -> Result<(), Error> {
        let ready = wait::until(patience, || match self.ended() {
            Some(status) => Err(Error::Ended {
                name: self.name.clone(),
                status: status.to_string(),
                log: tail(LOG_LINES, &self.output()),
            }),
            None => Ok(is_ready(self).then_some(())),
        })?;
        ready.ok_or_else(|| Error::Timeout {
            name: self.name.clone(),
            state: state.to_owned(),
            after: patience,
            log: tail(LOG_LINES, &self.output()),
        })
    }

    /// Waits until a GET of `path` is answered by 200.
    ///
    /// # Errors
    ///
    /// As [`wait_until`](Self::wait_until).
    pub fn wait_for_page(
        &self,
        address: SocketAddr,
        path: &str,
        patience: Duration,
    ) -> Result<(), Error> {
        let state = format!("200 at http://{address}{path}");
        self.wait_until(&state, patience, |_| http::is_ok(address, path))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    ///
    /// It runs on after `patience`.
    pub fn wait_for_end(&self, patience: Duration) -> Result<ExitStatus, Error> {
        let ended = wait::until(patience, || Ok::<_, Error>(self.ended()))?;
        ended.ok_or_else(|| Error::Timeout {
            name: self.name.clone(),
            state: "end".to_owned(),
            after: patience,
            log: tail(LOG_LINES, &self.output()),
        })
    }

    /// SIGKILL to its process group, and reaps it. Nothing happens if it has ended.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        // Only fails if somebody else reaped it.
        drop(self.child().wait());
    }

    /// SIGTERM, and waits for the end; a paused process goes on first.
    ///
    /// # Errors
    ///
    /// It runs on after `patience`.
    pub fn terminate(&self, patience: Duration) -> Result<ExitStatus, Error> {
        self.ask_to_end();
        self.wait_for_end(patience)
    }

    /// SIGTERM without waiting; a paused process goes on first.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// SIGSTOP: it keeps its sockets and does nothing, as on a machine that hangs. Waits until its
    /// threads stand still, which they do one by one.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid);
        let Ok(_in_time) = wait::until(STOP_WAIT, || {
            Ok::<_, Infallible>(stands_still(&tasks).then_some(()))
        });
    }

    /// SIGCONT: goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Signals its process group, unless it has been reaped: then the number may be another's.
    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return;
        };
        if matches!(child.try_wait(), Ok(None)) {
            // It may end in between; as a zombie it still has its number, and the signal no effect.
            kill_process_group(pid, signal).unwrap_or(());
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps variables from a command that is to be started: those that begin with `prefix`, if it isn't empty.
pub fn hide_variables(command: &mut Command, prefix: &str) {
    if prefix.is_empty() {
        return;
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(prefix) {
            command.env_remove(name);
        }
    }
}

/// A log from an offset in bytes on; empty if it can't be read.
pub(crate) fn output(log: &Path, start: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
}

/// The last lines of an output, this many.
pub(crate) fn tail(count: usize, output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// `program` under `setpriv`, which has the kernel kill it when its parent dies, then becomes it.
/// Without `setpriv` children of a killed parent live on; drop works all the same.
///
/// The kernel takes the end of the thread that starts it for the death of the parent.
#[must_use]
pub fn with_death_signal(program: &Path) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let present = *SETPRIV.get_or_init(|| {
        let mut probe = Command::new("setpriv");
        probe.args(["--pdeathsig", "KILL", "true"]);
        probe
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    });
    if !present {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A command to start, and who waits for it.
type Spawn = (Command, SyncSender<io::Result<Child>>);

/// Starts it from a thread that lives as long as this process: the kernel takes the death of the
/// *thread* that started a child for the death of its parent.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Spawn>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = sync_channel(1);
        // Without the thread its receiver is dropped, and sending fails below.
        drop(
            thread::Builder::new()
                .name("sandbox-spawner".to_owned())
                .spawn(move || spawn_all(&receiver)),
        );
        sender
    });
    let (reply, child) = sync_channel(1);
    let gone = || io::Error::other("the thread that starts processes is gone");
    spawner.send((command, reply)).map_err(|_gone| gone())?;
    child.recv().map_err(|_gone| gone())?
}

fn spawn_all(requests: &Receiver<Spawn>) {
    while let Ok((mut command, reply)) = requests.recv() {
        // Nobody takes the answer only if the thread that asked has panicked.
        if let Err(unwanted) = reply.send(command.spawn())
            && let Ok(mut child) = unwanted.0
        {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
/// Whether every thread is stopped or gone.
fn stands_still(tasks: &str) -> bool {
    let Ok(threads) = fs::read_dir(tasks) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state stands behind the name, which may hold anything but ends with the last ")".
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_none_or(|state| !state.starts_with(['R', 'S', 'D']))
    })
}
