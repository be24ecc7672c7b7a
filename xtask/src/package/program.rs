//! The static program: linked with musl, so that it needs nothing but the kernel.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{clock, elf, tools};
use crate::shell;

/// How it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    /// For people: optimised, takes a quarter of an hour on two cores.
    Release,
    /// For checks: takes two minutes.
    Check,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Check => "dev",
        }
    }

    /// Cargo's directory for it.
    fn directory(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Check => "debug",
        }
    }

    /// What differs from the profile in `Cargo.toml`, as `key=value`.
    fn settings(self) -> &'static [&'static str] {
        match self {
            // Symbols are half of the file.
            Self::Release => &["strip=\"symbols\""],
            // Procedural macros and build scripts stay as those of the tests, so they aren't compiled again.
            Self::Check => &[
                "strip=\"symbols\"",
                "opt-level=0",
                "debug=false",
                "incremental=false",
            ],
        }
    }
}

/// The target that it is built for: this machine's architecture.
pub(super) fn target() -> String {
    format!("{ARCH}-unknown-linux-musl")
}

/// Builds it, and checks that it is static.
///
/// # Errors
///
/// The compiler or musl's can't be had, it doesn't build, or it needs something of the system.
pub(super) fn build(profile: Profile) -> Result<PathBuf> {
    prepare()?;
    shell::run(&mut cargo(profile)?)?;
    let path = path(profile)?;
    let file = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
    elf::ensure_static(&file).with_context(|| format!("{} is not static", path.display()))?;
    Ok(path)
}

/// The command that builds it, to which arguments may be added.
///
/// # Errors
///
/// There is no time to build it at, see [`clock::epoch`].
pub(super) fn cargo(profile: Profile) -> Result<Command> {
    let mut cargo = shell::cargo("build");
    cargo
        .args(["--locked", "-p", "heliograph", "--target", &target()])
        .args(["--profile", profile.name()])
        .env(clock::VARIABLE, clock::epoch()?.to_string())
        .env(
            flags_variable("CFLAGS"),
            prefix_maps("-ffile-prefix-map=", " "),
        )
        // Wins over RUSTFLAGS, which would make another program of the same sources.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            prefix_maps("--remap-path-prefix=", "\u{1f}"),
        )
        .env_remove("RUSTFLAGS");
    for setting in profile.settings() {
        cargo.arg("--config");
        cargo.arg(format!("profile.{}.{setting}", profile.name()));
    }
    Ok(cargo)
}

/// Where cargo puts it.
///
/// # Errors
///
/// A manifest is broken.
pub(super) fn path(profile: Profile) -> Result<PathBuf> {
    shell::relay_path(&format!("{}/{}", target(), profile.directory()))
}

/// The compiler's part for musl, and a C compiler that knows musl's headers.
fn prepare() -> Result<()> {
    let mut rustc = shell::command(shell::variable("RUSTC").unwrap_or_else(|| "rustc".to_owned()));
    rustc.args(["--print", "target-libdir", "--target", &target()]);
    let library = shell::read(&mut rustc)?;
    if !Path::new(library.trim()).join("self-contained").is_dir() {
        shell::run(shell::command("rustup").args(["target", "add", &target()]))
            .with_context(|| format!("the Rust target {} is missing", target()))?;
    }
    tools::program(&format!("{ARCH}-linux-musl-gcc"), "--version", "musl-tools")
}

/// `CFLAGS_x86_64_unknown_linux_musl`
fn flags_variable(name: &str) -> String {
    format!("{name}_{}", target().replace('-', "_"))
}

/// Options by which this machine's directories don't show in the program.
fn prefix_maps(option: &str, separator: &str) -> String {
    let home = shell::variable("HOME").map(PathBuf::from);
    let cargo = shell::variable("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(home?.join(".cargo")));
    let mut maps = vec![format!("{option}{}=/source", shell::root().display())];
    // The last one that fits is taken, and either may lie in the other.
    maps.extend(cargo.map(|cargo| format!("{option}{}=/cargo", cargo.display())));
    maps.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_directory_of_this_machine_is_left_in_the_options() {
        let maps = prefix_maps("--remap-path-prefix=", " ");
        let root = format!("--remap-path-prefix={}=/source", shell::root().display());
        assert!(maps.split(' ').any(|map| map == root), "{maps}");
        assert!(maps.ends_with("=/cargo"), "{maps}");
    }
}
