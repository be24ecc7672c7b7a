//! `cargo xtask bench`: builds the relay and the program that measures relays side by side, both
//! optimised, and runs that. Its arguments are that program's, and so is its help.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{cluster, shell};

/// The package of the program.
const PACKAGE: &str = "heliograph-bench";

/// What is passed on.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Bench {
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
/// Something doesn't build, or a relay doesn't run.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let asks_for_help = bench
        .arguments
        .iter()
        .any(|argument| ["--help", "-h"].contains(&argument.as_str()));
    let mut cargo = shell::cargo("run");
    cargo
        .args(["--quiet", "--release", "-p", PACKAGE, "--"])
        .args(&bench.arguments);
    if !asks_for_help {
        for peer in peers(&bench.arguments) {
            let program = match peer {
                "nostr-relay-builder" => heliograph_sandbox::peers::nostr_relay_builder()?,
                other => bail!("--peer {other}: there is nostr-relay-builder; others by --relay"),
            };
            let program = format!("{peer}={}", program.display());
            cargo.args(["--peer-program", &program]);
        }
        let started = shell::read(shell::command("date").args(["-u", "+%FT%TZ"]))?;
        cargo
            .arg("--binary")
            .arg(cluster::build(true)?)
            .arg("--xtask")
            .arg(std::env::current_exe().context("where this program is")?)
            .args(["--started", started.trim()])
            .args(["--commit", &cluster::commit()?])
            .args(["--command", &command_line(&bench.arguments)]);
    }
    let status = cargo.status().context("can't start cargo")?;
    ensure!(status.success(), "the bench failed: {status}");
    Ok(())
}

/// As `cargo xtask bench` with these arguments.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn measure(arguments: &[&str]) -> Result<()> {
    run(&Bench {
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
    })
}

/// The values of `--peer`, which are built first.
fn peers(arguments: &[String]) -> Vec<&str> {
    let behind = arguments.iter().zip(arguments.iter().skip(1));
    let behind = behind.filter(|(name, _)| *name == "--peer");
    let joined = arguments
        .iter()
        .filter_map(|word| word.strip_prefix("--peer="));
    behind
        .map(|(_, value)| value.as_str())
        .chain(joined)
        .collect()
}

/// How this was called, as a shell would read it.
fn command_line(arguments: &[String]) -> String {
    let plain = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./=,".contains(c))
    };
    let quote = |text: &String| {
        if plain(text) {
            text.clone()
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    let words = ["cargo xtask bench".to_owned()].into_iter();
    words
        .chain(arguments.iter().map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_found_however_they_are_written() {
        let arguments = [
            "--quick",
            "--peer",
            "a",
            "--peer=b",
            "--peer-program",
            "c=d",
        ];
        assert_eq!(peers(&arguments.map(str::to_owned)), ["a", "b"]);
    }

    #[test]
    fn the_command_can_be_given_to_a_shell_again() {
        let arguments = ["--quick", "--relay", "a=run {port} 'x'"].map(str::to_owned);
        let expected = r"cargo xtask bench --quick --relay 'a=run {port} '\''x'\'''";
        assert_eq!(command_line(&arguments), expected);
    }
}
