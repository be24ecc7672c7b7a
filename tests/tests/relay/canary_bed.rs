//! A canary as a child process, and what it counts.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitStatus};

use heliograph_sandbox::{
    http,
    process::{Launch, Process},
    wait::within,
};
use heliograph_testkit::{PATIENCE, process::binary};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::metric;

/// Every canary's settings: a free port, and quick where it doesn't have to wait.
const SETTINGS: [&str; 3] = [
    "admin.listen=127.0.0.1:0",
    "canary.interval_ms=100",
    "canary.audit_after_secs=1",
];

/// The arguments of `heliograph canary` that publishes and reads through these.
pub(crate) fn arguments(publish: &str, read: &[&str], settings: &[&str]) -> Vec<OsString> {
    let (publish, read) = (
        format!("canary.publish={publish}"),
        format!("canary.read={}", read.join(",")),
    );
    let settings = SETTINGS.iter().chain(settings).copied();
    let settings = settings.chain([publish.as_str(), read.as_str()]);
    let settings = settings.flat_map(|setting| ["--set", setting]);
    let arguments = std::iter::once("canary").chain(settings);
    arguments.map(OsString::from).collect()
}

/// A running canary.
#[derive(Debug)]
pub(crate) struct Canary {
    // Killed before its log goes.
    pub(crate) process: Process,
    pub(crate) admin: SocketAddr,
    _directory: TempDir,
}

impl Canary {
    /// Starts one, and waits until it has tried every connection.
    #[track_caller]
    pub(crate) fn start(publish: &str, read: &[&str], settings: &[&str]) -> Self {
        Self::launch(arguments(publish, read, settings))
    }

    /// The same from these arguments.
    #[track_caller]
    pub(crate) fn launch(arguments: Vec<OsString>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let launch = Launch {
            name: "canary".to_owned(),
            program: PathBuf::from(binary()),
            arguments,
            variables: Vec::new(),
            hide_variables: "HELIOGRAPH_",
            directory: directory.path().to_owned(),
            log: directory.path().join("log"),
        };
        let process = Process::start(&launch).unwrap();
        let admin = within(PATIENCE, "admin listener of the canary", || {
            let log = process.output();
            assert!(process.ended().is_none(), "{log}");
            admin(&log)
        });
        process.wait_for_page(admin, "/readyz", PATIENCE).unwrap();
        Self {
            process,
            admin,
            _directory: directory,
        }
    }

    /// A series without the prefix `heliograph_canary_`.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        let page = http::get(self.admin, "/metrics").unwrap();
        metric(&page.body, &format!("heliograph_canary_{series}"))
    }

    pub(crate) fn delivered(&self, via: usize) -> f64 {
        self.value(&format!("delivery_seconds_count{{via=\"{via}\"}}"))
    }

    pub(crate) fn missing(&self, via: usize) -> f64 {
        self.value(&format!("missing_total{{via=\"{via}\"}}"))
    }

    pub(crate) fn published(&self, result: &str) -> f64 {
        self.value(&format!("published_total{{result=\"{result}\"}}"))
    }

    /// Waits for a state that has to come.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        within(PATIENCE, what, || is_so(self).then_some(()));
    }

    /// Waits until this many more probes came to a reader.
    #[track_caller]
    pub(crate) fn more_delivered(&self, via: usize, more: f64) {
        let before = self.delivered(via);
        self.until("more deliveries", |canary| {
            canary.delivered(via) >= before + more
        });
    }

    /// SIGTERM.
    #[track_caller]
    pub(crate) fn terminate(&self) -> ExitStatus {
        self.process.terminate(PATIENCE).unwrap()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the canary said:\n{}", self.process.output());
            if let Ok(page) = http::get(self.admin, "/metrics") {
                let lines = page.body.lines().filter(|line| !line.contains("bucket"));
                let lines = lines.filter(|line| line.starts_with("heliograph_canary_"));
                println!("{:#?}", lines.collect::<Vec<_>>());
            }
        }
    }
}

/// Where its admin listener is, as its log says.
fn admin(log: &str) -> Option<SocketAddr> {
    let lines = log.lines();
    let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["message"] == "admin listener started")?;
    line["addr"].as_str()?.parse().ok()
}
