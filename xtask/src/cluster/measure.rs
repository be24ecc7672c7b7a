//! `cargo xtask cluster measure`: builds the relay and the program that measures a cluster of it,
//! both optimised, and runs that. Its arguments are that program's, and so is its help.

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::shell;

/// The package and the name of the program.
const PACKAGE: &str = "heliograph-tests";
const PROGRAM: &str = "cluster_measure";

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

/// Measures, with the table on the standard output and everything else on the standard error stream.
///
/// # Errors
///
/// Something doesn't build, or the measurement fails.
pub(crate) fn run(measure: &Measure) -> Result<()> {
    let help = ["--help", "-h"];
    let asks_for_help = measure
        .arguments
        .iter()
        .any(|argument| help.contains(&argument.as_str()));
    let mut command = vec!["cargo xtask cluster measure".to_owned()];
    command.extend(measure.arguments.iter().cloned());
    let mut cargo = shell::cargo("run");
    cargo
        .args(["--quiet", "--release", "-p", PACKAGE, "--example", PROGRAM])
        .arg("--")
        .args(&measure.arguments);
    if !asks_for_help {
        cargo
            .arg("--binary")
            .arg(super::build(true)?)
            .args(["--commit", &commit()?])
            .args(["--command", &command.join(" ")]);
    }
    let status = cargo.status().context("can't start cargo")?;
    ensure!(status.success(), "the measurement failed: {status}");
    Ok(())
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
