//! `cargo xtask package`: what a release consists of, made without a container engine, and the checks
//! that it works where there is nothing else.
//!
//! What always holds: the same tree with the same `SOURCE_DATE_EPOCH` gives the same archives, byte
//! for byte; everything is built from the one static program.

mod check;
mod clock;
mod deb;
mod elf;
mod image;
mod man;
mod program;
mod release;
mod sbom;
mod tar;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::shell;
use program::Profile;

/// What to make.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The program, statically linked with musl: it runs on any Linux of this architecture.
    Static(Output),
    /// An OCI image layout in a tar file: the program and nothing else.
    Image(Output),
    /// A Debian package.
    Deb(Output),
    /// What the program consists of, as a list in JSON (`CycloneDX`).
    Sbom(Output),
    /// All of these, with checksums, in target/dist.
    Release,
    /// Makes all of them of a quickly compiled program, and runs them.
    Check,
}

/// Where to put it.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// The file to write; one in target/dist if absent.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Makes it.
///
/// # Errors
///
/// A tool is missing, the program doesn't build, a file can't be written, or a check fails.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Static(output) => {
            let built = program::build(Profile::Release)?;
            let output = output.or_dist("heliograph")?;
            fs::copy(&built, &output)
                .with_context(|| format!("can't write {}", output.display()))?;
            println!("{}", output.display());
            Ok(())
        }
        Command::Image(output) => {
            let parts = Parts::build(Profile::Release)?;
            output.write(&release::image_name(), &image::archive(&parts)?)
        }
        Command::Deb(output) => {
            let parts = Parts::build(Profile::Release)?;
            let path = output.or_dist(&release::deb_name())?;
            deb::write(&parts, &path)?;
            println!("{}", path.display());
            Ok(())
        }
        Command::Sbom(output) => output.write(&release::sbom_name(), sbom::text()?.as_bytes()),
        Command::Release => release::run(),
        Command::Check => check::run(),
    }
}

/// The stage of `cargo xtask test`: the checks in a process of their own, since they use the clients of
/// tests, which panic.
///
/// # Errors
///
/// A check fails, or a tool that it needs can't be had.
pub(crate) fn stage() -> Result<()> {
    // Not by its path: what was compiled since may lie there, or nothing.
    shell::run(shell::command("/proc/self/exe").args(["package", "check"]))
}

impl Output {
    fn or_dist(&self, name: &str) -> Result<PathBuf> {
        match &self.output {
            Some(path) => Ok(path.clone()),
            None => Ok(release::directory()?.join(name)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.or_dist(name)?;
        fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))?;
        println!("{}", path.display());
        Ok(())
    }
}

/// What archives are made of.
#[derive(Debug, Clone)]
struct Parts {
    program: PathBuf,
    sbom: String,
    /// The time of everything in them, in Unix seconds.
    epoch: u64,
    /// How hard archives are compressed, from 1 to 9.
    compression: u32,
}

impl Parts {
    fn build(profile: Profile) -> Result<Self> {
        Ok(Self {
            program: program::build(profile)?,
            sbom: sbom::text()?,
            epoch: clock::epoch()?,
            compression: match profile {
                Profile::Release => 9,
                Profile::Check => 1,
            },
        })
    }
}

/// The version of the workspace.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// A file of the repository.
fn read(path: &str) -> Result<Vec<u8>> {
    let absolute = shell::root().join(path);
    fs::read(&absolute).with_context(|| format!("can't read {path}"))
}

/// Writes a file, and the directories above it.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let say = || format!("can't write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(say)?;
    }
    fs::write(path, bytes).with_context(say)
}
