//! One relay in one process, as people run it, with the settings of load tests.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use heliograph_sandbox::{
    http,
    process::{Launch, Process},
    wait,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::suite;

/// Time until it listens: a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The settings of load tests: defaults but for limits on what one address may do.
#[must_use]
pub fn config() -> PathBuf {
    suite().join("relay.toml")
}

/// A running relay on an empty store; killed and removed on drop.
#[derive(Debug)]
pub struct Single {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
    _directory: TempDir,
}

impl Single {
    /// Starts the program on free ports with the settings of load tests and further ones,
    /// `key=value`.
    ///
    /// # Errors
    ///
    /// It doesn't start; with the end of its log.
    pub fn start(binary: &Path, settings: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir().context("a temporary directory")?;
        let mut arguments = vec![
            "--config".into(),
            config().into(),
            "--data".into(),
            directory.path().join("data").into(),
            "--listen=127.0.0.1:0".into(),
            "--set=admin.listen=127.0.0.1:0".into(),
        ];
        let settings = settings.iter();
        arguments.extend(settings.map(|setting| format!("--set={setting}").into()));
        let process = Process::start(&Launch {
            name: "heliograph".to_owned(),
            program: binary.to_owned(),
            arguments,
            variables: Vec::new(),
            hide_variables: "HELIOGRAPH_",
            directory: directory.path().to_owned(),
            log: directory.path().join("log"),
        })?;
        let mut found = None;
        process.wait_until("addresses in its log", PATIENCE, |process| {
            found = addresses(&process.output());
            found.is_some()
        })?;
        let (address, admin) = found.context("it was waited for")?;
        Ok(Self {
            process,
            address,
            admin,
            _directory: directory,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `ws://…`
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Where operators connect.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What it printed.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// `/metrics`.
    ///
    /// # Errors
    ///
    /// It doesn't answer.
    pub fn metrics(&self) -> Result<String> {
        let admin = self.admin;
        let answer = http::get(admin, "/metrics");
        Ok(answer.with_context(|| format!("http://{admin}"))?.body)
    }

    /// Waits until a page of metrics satisfies `look`.
    ///
    /// # Errors
    ///
    /// None does within `patience`; with the last page.
    pub fn wait_for_metrics(&self, patience: Duration, look: impl Fn(&str) -> bool) -> Result<()> {
        let mut last = String::new();
        let found = wait::until(patience, || {
            last = self.metrics()?;
            anyhow::Ok(look(&last).then_some(()))
        })?;
        found.with_context(|| format!("not what was waited for after {patience:?}:\n{last}"))
    }
}

/// Where it listens for clients and for operators, once it has said both.
fn addresses(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let address = log.lines().find_map(|line| {
        let (_, rest) = line.split_once("listening on ws://")?;
        rest.trim().parse().ok()
    })?;
    let said = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut started = said.filter(|line| line["message"] == "admin listener started");
    let admin = started.find_map(|line| line["addr"].as_str()?.parse().ok())?;
    Some((address, admin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_are_waited_for() {
        let banner = "heliograph 0.1.0\nlistening on ws://127.0.0.1:7777\ndata in x\n";
        assert_eq!(addresses(banner), None);
        let line = r#"{"message":"admin listener started","addr":"127.0.0.1:7778"}"#;
        let expected = ([127, 0, 0, 1], 7777).into();
        let admin = ([127, 0, 0, 1], 7778).into();
        assert_eq!(
            addresses(&format!("{banner}{line}\n")),
            Some((expected, admin))
        );
    }
}
