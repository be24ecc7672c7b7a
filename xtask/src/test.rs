//! `cargo xtask test`: every check in order, each with its name, its time and its result.
//!
//! What always holds: a failed stage fails the run but not the stages after it; a stage that can't
//! run is skipped by name, and in CI a skip is a failure; nothing is tried twice.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::{chart, failures::Failures, observe, package, previous, servers, shell, tidy, tools};

/// One check. The order is the order they run in: cheap ones and installations first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// `cargo fmt --check`
    Format,
    /// `cargo clippy` over every target, warnings denied
    Lint,
    /// `cargo doc`, warnings denied
    Docs,
    /// `cargo deny`: bans, licences, sources
    Deny,
    /// `cargo build` of the relay, of the one before this commit, of tests and fuzz targets
    Build,
    /// the tree itself, see `cargo xtask tidy`
    Tidy,
    /// clients that others wrote, for tests: packages of npm and for Python, Chromium
    Clients,
    /// the servers that the tests run: NATS, a CQL database, the API server of Kubernetes and so on
    Servers,
    /// dashboards, rules, alerts and runbooks, with promtool
    Observe,
    /// the Helm chart: linted, its table of values and golden files up to date
    Chart,
    /// static program, image, Debian package, units, list of components: made and run
    Package,
    /// `cargo test` over the workspace, with one of each server
    Test,
}

/// All libraries and programs. With the example cargo chooses the dependencies' features as for `lint`, and
/// checks nothing twice.
const DOCUMENTED: [&str; 9] = [
    "--lib",
    "--bin",
    "heliograph",
    "--bin",
    "sandbox-role",
    "--bin",
    "xtask",
    "--example",
    "check_history",
];

/// Where tests look for the relay.
const RELAY_VARIABLE: &str = "HELIOGRAPH_BIN";

/// What peers may pull in.
const PEER_RULES: &str = "peers/deny.toml";

/// How a stage ended that didn't fail.
enum Done {
    Passed,
    /// It couldn't run; why.
    Skipped(String),
}

/// A stage that ran, for the summary.
struct Record {
    stage: Stage,
    took: Duration,
    result: Result<Done>,
}

/// Runs the stages in `only`, or all if it is empty, and prints a summary.
///
/// # Errors
///
/// Any stage failed, or was skipped in CI.
pub(crate) fn run(only: &[Stage]) -> Result<()> {
    let records: Vec<Record> = Stage::value_variants()
        .iter()
        .filter(|stage| only.is_empty() || only.contains(stage))
        .map(|stage| record(*stage))
        .collect();
    println!();
    for record in &records {
        println!("{}", record.line());
    }
    let bad = records
        .iter()
        .filter(|record| !record.is_good(shell::in_ci()))
        .count();
    ensure!(bad == 0, "{bad} of {} stages failed", records.len());
    Ok(())
}

fn record(stage: Stage) -> Record {
    println!("\n== {}", stage.name());
    let start = Instant::now();
    let result = stage.run();
    let record = Record {
        stage,
        took: start.elapsed(),
        result,
    };
    println!("== {}", record.line());
    record
}

impl Record {
    fn is_good(&self, in_ci: bool) -> bool {
        match self.result {
            Ok(Done::Passed) => true,
            Ok(Done::Skipped(_)) => !in_ci,
            Err(_) => false,
        }
    }

    fn line(&self) -> String {
        let result = match &self.result {
            Ok(Done::Passed) => "passed".to_owned(),
            Ok(Done::Skipped(why)) => format!("SKIPPED: {why}"),
            Err(error) => format!("FAILED: {error:#}"),
        };
        format!(
            "{:8} {:7.1} s  {result}",
            self.stage.name(),
            self.took.as_secs_f64()
        )
    }
}

impl Stage {
    fn name(self) -> String {
        self.to_possible_value()
            .expect("no stage is hidden")
            .get_name()
            .to_owned()
    }

    fn run(self) -> Result<Done> {
        match self {
            Self::Format => with_component("fmt", "rustfmt", || {
                shell::run(shell::cargo("fmt").args(["--all", "--", "--check"]))
            }),
            Self::Lint => with_component("clippy", "clippy", || {
                let arguments = ["--workspace", "--all-targets", "--", "-D", "warnings"];
                shell::run(shell::cargo("clippy").args(arguments))
            }),
            Self::Docs => passed(shell::run(
                shell::cargo("doc")
                    .args(["--workspace", "--no-deps"])
                    .args(DOCUMENTED)
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )),
            Self::Deny => passed(deny()),
            Self::Build => passed(build()),
            Self::Tidy => passed(tidy::run()),
            Self::Clients => Ok(tools::client_packages()?.map_or(Done::Passed, Done::Skipped)),
            Self::Servers => Ok(servers::install()?.map_or(Done::Passed, Done::Skipped)),
            Self::Observe => Ok(observe::stage()?.map_or(Done::Passed, Done::Skipped)),
            Self::Chart => Ok(chart::stage()?.map_or(Done::Passed, Done::Skipped)),
            Self::Package => passed(package::stage()),
            Self::Test => passed(test()),
        }
    }
}

fn passed(result: Result<()>) -> Result<Done> {
    result.map(|()| Done::Passed)
}

fn with_component(
    subcommand: &str,
    component: &str,
    run: impl FnOnce() -> Result<()>,
) -> Result<Done> {
    match tools::component(subcommand, component) {
        Some(why) => Ok(Done::Skipped(why)),
        None => passed(run()),
    }
}

/// Checks what the workspace pulls in, and what the peers do that are built to be measured beside.
fn deny() -> Result<()> {
    shell::run(tools::cargo_deny()?.args(["check", "bans", "licenses", "sources"]))?;
    for manifest in heliograph_sandbox::peers::manifests()? {
        let mut deny = tools::cargo_deny()?;
        deny.arg("--manifest-path").arg(manifest).arg("--locked");
        deny.args(["--config", PEER_RULES, "check", "licenses", "sources"]);
        shell::run(&mut deny)?;
    }
    Ok(())
}

/// Runs all tests; those that need servers share one of each, unless they want their own.
fn test() -> Result<()> {
    let servers = servers::Shared::start()?;
    let previous = previous::build()?;
    let relay = shell::build_relay()?;
    let mut failures = Failures::default();
    let result = shell::run_and_look(
        shell::cargo("test")
            .args(["--workspace", "--no-fail-fast"])
            // Or each package's tests would build one, with the features that they need.
            .env(RELAY_VARIABLE, &relay)
            // Without one, the relay itself is its own predecessor.
            .env(
                previous::BINARY_VARIABLE,
                previous.as_ref().unwrap_or(&relay),
            )
            .envs(servers.variables()),
        |line| failures.line(line),
    );
    print!("{}", failures.text());
    result
}

/// Builds the relay, the one of the commit before, tests, and the fuzz targets, of which there must be some.
fn build() -> Result<()> {
    previous::build()?;
    // With the relay and the tests themselves: what is compiled here isn't compiled again.
    shell::run(shell::cargo("build").args(["--workspace", "--bins", "--tests", "--examples"]))?;
    let metadata = shell::metadata()?;
    let packages = metadata["packages"]
        .as_array()
        .context("no packages in metadata")?;
    let fuzz = packages
        .iter()
        .find(|package| package["name"] == "heliograph-fuzz")
        .context("no package heliograph-fuzz")?;
    let targets = fuzz["targets"]
        .as_array()
        .context("no targets in metadata")?;
    let binaries = targets
        .iter()
        .filter(|target| target["kind"][0] == "bin")
        .count();
    if binaries == 0 {
        bail!("heliograph-fuzz has no fuzz target");
    }
    println!("{binaries} fuzz targets build");
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[track_caller]
    fn check(result: Result<Done>, in_ci: bool, good: bool) {
        let record = Record {
            stage: Stage::Lint,
            took: Duration::ZERO,
            result,
        };
        assert_eq!(record.is_good(in_ci), good);
    }

    #[test]
    fn a_skip_fails_the_run_in_ci_only() {
        check(Ok(Done::Skipped("no clippy".to_owned())), false, true);
        check(Ok(Done::Skipped("no clippy".to_owned())), true, false);
    }

    #[test]
    fn a_failure_fails_the_run_everywhere() {
        check(Err(anyhow!("broken")), false, false);
        check(Err(anyhow!("broken")), true, false);
        check(Ok(Done::Passed), true, true);
    }

    #[test]
    fn every_line_names_stage_time_and_result() {
        let record = Record {
            stage: Stage::Deny,
            took: Duration::from_millis(1_240),
            result: Ok(Done::Skipped("no network".to_owned())),
        };
        assert_eq!(record.line(), "deny         1.2 s  SKIPPED: no network");
    }
}
