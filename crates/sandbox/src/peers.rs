//! Relays of others that are built from the registry, to measure beside and to try load scripts on.
//!
//! Each is a program of its own below `peers/`, outside the workspace, with its own lock file; what is
//! compiled is kept with the other tools.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, environment, install, process, tools};

/// The directory of the peer on `nostr-relay-builder`, and its program's name.
const NOSTR_RELAY_BUILDER: (&str, &str) = ("nostr-relay-builder", "peer-nostr-relay-builder");

/// A relay of the crate `nostr-relay-builder` on its LMDB store: `PROGRAM PORT DIRECTORY`, on
/// 127.0.0.1, with its limits open. Built optimised on first use (two minutes); later cargo finds within
/// a second that it is as its sources say.
///
/// It syncs before it answers OK, and knows neither NIP-11, NIP-42 by default, nor compression.
///
/// # Errors
///
/// It doesn't build.
pub fn nostr_relay_builder() -> Result<PathBuf, Error> {
    build(NOSTR_RELAY_BUILDER)
}

/// The manifests of all peers, for checks of what they pull in.
///
/// # Errors
///
/// Their directory can't be read.
pub fn manifests() -> Result<Vec<PathBuf>, Error> {
    let peers = sources();
    let entries = fs::read_dir(&peers).map_err(Error::path("can't read", &peers))?;
    let manifests = entries
        .flatten()
        .map(|entry| entry.path().join("Cargo.toml"));
    let mut manifests: Vec<PathBuf> = manifests.filter(|path| path.is_file()).collect();
    manifests.sort_unstable();
    Ok(manifests)
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../peers")
}

fn build((directory, program): (&str, &str)) -> Result<PathBuf, Error> {
    let source = sources().join(directory);
    let target = tools::directory()?.join("peers");
    let cargo = environment::variable("CARGO").unwrap_or_else(|| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(&source);
    // What the cargo that runs a test says of that test's package: build scripts of dependencies look at
    // it, and would run again for every package that asks.
    for of_caller in [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_CRATE_",
        "CARGO_BIN_",
        "CARGO_PRIMARY_",
    ] {
        process::hide_variables(&mut build, of_caller);
    }
    // Cargo itself lets one build at a time into a directory.
    install::run(program, &mut build)?;
    Ok(target.join("release").join(program))
}
