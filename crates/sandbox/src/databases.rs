//! Programs of Debian's packages that tests of moving in run: databases of other relays, zstd.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error,
    install::{self, succeeds},
};

/// Makes sure that this program is on the path: `sqlite3` or `zstd`, whose package is called like it.
///
/// # Errors
///
/// [`Error::Missing`] if it isn't there and can't be installed.
pub fn program(name: &str) -> Result<(), Error> {
    let is_there = || succeeds(Command::new(name).arg("--version"));
    let hint = format!("install the package {name}");
    install::program(name, is_there, name, &hint)
}

/// Where the programs of a `PostgreSQL` server are, with `psql` on the path.
///
/// # Errors
///
/// [`Error::Missing`] if it isn't there and can't be installed.
pub fn postgres() -> Result<PathBuf, Error> {
    let is_there = || succeeds(Command::new("psql").arg("--version")) && server().is_some();
    let hint = "install the package postgresql";
    install::program("postgres", is_there, "postgresql", hint)?;
    server().ok_or_else(|| Error::Missing {
        program: "postgres".to_owned(),
        hint: hint.to_owned(),
    })
}

/// Debian keeps each version in a directory of its own.
fn server() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let versions = versions.flatten().map(|entry| entry.path().join("bin"));
    let others = ["/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    versions
        .chain(others)
        .find(|dir: &PathBuf| Path::new(dir).join("initdb").exists())
}
