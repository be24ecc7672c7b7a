//! `cargo xtask cluster measure` and `scaling`: build the relay and the program that measures clusters of
//! it, both optimised, and run that. The arguments are that program's, and so is the help.

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::shell;

/// The package and the name of the program.
const PACKAGE: &str = "heliograph-tests";
const PROGRAM: &str = "cluster_measure";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// One cluster.
    Measure,
    /// Clusters with more and more of each role.
    Scaling,
}

/// What is passed on.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Measure {
    /// See `--help`.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    arguments: Vec<String>,
}

/// Measures, with the tables on the standard output and everything else on the standard error stream.
///
/// # Errors
///
/// Something doesn't build, or the measurement fails.
pub(crate) fn run(what: What, measure: &Measure) -> Result<()> {
    let help = ["--help", "-h"];
    let asks_for_help = measure
        .arguments
        .iter()
        .any(|argument| help.contains(&argument.as_str()));
    let mut command = vec![format!("cargo xtask cluster {}", what.name())];
    command.extend(measure.arguments.iter().cloned());
    let mut cargo = shell::cargo("run");
    cargo
        .args(["--quiet", "--release", "-p", PACKAGE, "--example", PROGRAM])
        .args(["--", what.name()])
        .args(&measure.arguments);
    if !asks_for_help {
        cargo
            .arg("--binary")
            .arg(super::build(true)?)
            .args(["--commit", &commit()?])
            .args(["--date", &date()?])
            .args(["--command", &command.join(" ")]);
    }
    let status = cargo.status().context("can't start cargo")?;
    ensure!(status.success(), "the measurement failed: {status}");
    Ok(())
}

impl Measure {
    /// To be passed on.
    pub(crate) fn of(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        }
    }
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Measure => "measure",
            Self::Scaling => "scaling",
        }
    }
}

/// The day in UTC, as 2026-11-23.
///
/// # Errors
///
/// There is no `date`.
pub(crate) fn date() -> Result<String> {
    let date = shell::read(shell::command("date").args(["-u", "+%F"]))?;
    Ok(date.trim().to_owned())
}

/// The commit that is checked out, and whether the tree differs from it.
///
/// # Errors
///
/// There is no git.
pub(crate) fn commit() -> Result<String> {
    let git = |arguments: &[&str]| shell::read(shell::command("git").args(arguments));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let changed = if changed { " with changes" } else { "" };
    Ok(format!("commit {}{changed}", commit.trim()))
}
