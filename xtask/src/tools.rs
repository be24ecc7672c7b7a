//! What the checks need and a fresh machine lacks, installed by the ordinary package clients.
//!
//! Each is installed once for a version and left alone after: a stamp beside it says which.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use heliograph_sandbox::clients;

use crate::{servers, shell};

/// The version of cargo-deny that is installed and used.
const CARGO_DENY: &str = "0.20.2";

/// Where the JavaScript client tests live, with `package.json` and `package-lock.json`.
const CLIENTS: &str = "tests/clients";

/// Makes sure that a component of the Rust toolchain is there, by `rustup` if need be.
///
/// Returns why not, if it can't be had.
pub(crate) fn component(subcommand: &str, component: &str) -> Option<String> {
    let present = || shell::succeeds(shell::cargo(subcommand).arg("--version"));
    if present() {
        return None;
    }
    let added = shell::run(shell::command("rustup").args(["component", "add", component]));
    match added {
        Ok(()) if present() => None,
        Ok(()) => Some(format!("cargo {subcommand} does not run")),
        Err(error) => Some(format!("no {component}: {error:#}")),
    }
}

/// The cargo-deny of our version, built from the registry on first use (some minutes).
///
/// # Errors
///
/// It can't be built, or the tools directory can't be written.
pub(crate) fn cargo_deny() -> Result<Command> {
    let directory = heliograph_sandbox::tools::directory()?;
    let program = directory.join("bin/cargo-deny");
    let stamp = directory.join("cargo-deny.version");
    let installed = fs::read_to_string(&stamp).is_ok_and(|version| version == CARGO_DENY);
    if !installed || !program.exists() {
        fs::create_dir_all(&directory)
            .with_context(|| format!("can't create {}", directory.display()))?;
        shell::run(
            shell::cargo("install")
                .args([
                    "cargo-deny",
                    "--version",
                    CARGO_DENY,
                    "--locked",
                    "--force",
                    "--quiet",
                ])
                .arg("--root")
                .arg(&directory)
                // Its own profile takes minutes more to compile, for a program that runs for seconds.
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                // Outside the workspace, or its toolchain and target settings would apply.
                .current_dir(&directory),
        )?;
        fs::write(&stamp, CARGO_DENY)
            .with_context(|| format!("can't write {}", stamp.display()))?;
    }
    Ok(shell::command(program))
}

/// Installs what reads the relay's compressed messages in tests, and the npm packages of the client tests
/// exactly as locked.
///
/// Returns why not, if they can't be had on this machine.
///
/// # Errors
///
/// The lock is missing or stale, or the registry can't be reached.
pub(crate) fn client_packages() -> Result<Option<String>> {
    for installed in [clients::chromium(), clients::python_websockets()] {
        match servers::installed(installed)? {
            Ok(path) => println!("{}", path.display()),
            Err(missing) => return Ok(Some(missing)),
        }
    }
    let directory = shell::root().join(CLIENTS);
    let lock = fs::read_to_string(directory.join("package-lock.json"))
        .with_context(|| format!("{CLIENTS}/package-lock.json"))?;
    let stamp = directory.join("node_modules/.installed-lock");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
        println!("{CLIENTS}: as locked");
        return Ok(None);
    }
    if !shell::succeeds(shell::command("npm").arg("--version")) {
        return Ok(Some("npm is not installed".to_owned()));
    }
    shell::run(
        shell::command("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&directory),
    )?;
    fs::write(&stamp, lock).with_context(|| format!("can't write {}", stamp.display()))?;
    Ok(None)
}
