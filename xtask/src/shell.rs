//! The repository's root, the environment, and running other programs in it.

use std::{
    env::consts::EXE_SUFFIX,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use heliograph_sandbox::process::hide_variables;
use serde_json::Value;

/// The repository's root directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ lies in the root")
}

/// An environment variable, if it is set, not empty and UTF-8.
#[expect(
    clippy::disallowed_methods,
    reason = "xtask is no service: its caller's environment is its configuration"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether this is a CI run, where a skipped stage is a failed one.
pub(crate) fn in_ci() -> bool {
    variable("CI").is_some_and(|value| value != "false")
}

/// `program` to be run in the root without standard input.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// As [`command`], without the variables that the relay would read as its configuration.
pub(crate) fn relay(program: &Path) -> Command {
    let mut relay = command(program);
    hide_variables(&mut relay, "HELIOGRAPH_");
    relay
}

/// The cargo that runs this, with a subcommand.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut cargo = command(variable("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    cargo.arg(subcommand);
    cargo
}

/// Whether the command runs and succeeds; prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Prints the command, runs it with its output passed through, and wants success.
///
/// # Errors
///
/// It can't be started, or ends with anything but 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = text_of(command);
    println!("$ {text}");
    let status = command
        .status()
        .with_context(|| format!("can't start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed: {status}");
    }
    Ok(())
}

/// As [`run`], and shows each line of standard output to `look` too.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn run_and_look(command: &mut Command, mut look: impl FnMut(&str)) -> Result<()> {
    let text = text_of(command);
    println!("$ {text}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start `{text}`"))?;
    let output = child.stdout.take().expect("it was piped");
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("output of `{text}`"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        look(&line);
    }
    let status = child.wait().with_context(|| format!("end of `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed: {status}");
    }
    Ok(())
}

/// Runs the command and returns what it printed; errors are passed through.
///
/// # Errors
///
/// It can't be started, ends with anything but 0, or prints what isn't UTF-8.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let text = text_of(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't start `{text}`"))?;
    if !output.status.success() {
        bail!("`{text}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of `{text}`"))
}

/// Every file that git tracks or would track and that is there, as paths from the root, sorted.
///
/// # Errors
///
/// This is no git repository.
pub(crate) fn files() -> Result<Vec<String>> {
    let arguments = [
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ];
    let listed = read(command("git").args(arguments)).context("which files there are, git says")?;
    let there = |path: &&str| !path.is_empty() && root().join(path).is_file();
    let mut files: Vec<String> = listed
        .split('\0')
        .filter(there)
        .map(str::to_owned)
        .collect();
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

/// What cargo knows of the workspace's own packages.
///
/// # Errors
///
/// A manifest is broken.
pub(crate) fn metadata() -> Result<Value> {
    let text = read(cargo("metadata").args(["--no-deps", "--format-version", "1"]))?;
    Ok(serde_json::from_str(&text)?)
}

/// What has cargo build the relay with the dependencies as `cargo test --workspace` compiles them: alone it
/// needs fewer of their features, and a third of them would be compiled again. An example counts as a test
/// for that, and this one is small.
pub(crate) const RELAY_AS_TESTED: [&str; 5] = [
    "--workspace",
    "--bin",
    "heliograph",
    "--example",
    "check_history",
];

/// Builds the relay as its tests do and returns the path of the binary.
///
/// # Errors
///
/// The build fails.
pub(crate) fn build_relay() -> Result<PathBuf> {
    run(cargo("build").args(RELAY_AS_TESTED))?;
    relay_path("debug")
}

/// Where cargo puts the relay: `directory` is `debug` or `release`.
///
/// # Errors
///
/// A manifest is broken.
pub(crate) fn relay_path(directory: &str) -> Result<PathBuf> {
    let metadata = metadata()?;
    let target = metadata["target_directory"]
        .as_str()
        .context("no target_directory in metadata")?;
    Ok(Path::new(target)
        .join(directory)
        .join(format!("heliograph{EXE_SUFFIX}")))
}

fn text_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
