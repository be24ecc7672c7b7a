//! `cargo xtask proto`: from the wire forms in `proto/` to the types in `crates/proto`, and the
//! promise that what one version sends another one can read.
//!
//! No `protoc` is needed: the files are read by a compiler in Rust. What was generated is checked in,
//! so that nothing but this task needs the generator. `proto/compatibility.lock` lists every field
//! that was ever given out; what it lists may only go by being reserved.

mod compatibility;
mod generate;
mod listing;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use protox::prost_reflect::prost_types::FileDescriptorSet;

use self::listing::Listing;
use crate::shell;

/// The wire forms, relative to `proto/`.
const FILES: [&str; 2] = ["heliograph/v1/bus.proto", "heliograph/v1/link.proto"];

/// What is in use, as text for people and for the check.
const LOCK: &str = "proto/compatibility.lock";

/// The generated types.
const GENERATED: &str = "crates/proto/src/generated/v1.rs";

/// Writes the generated types and records what is new.
///
/// # Errors
///
/// The wire forms can't be read, or break what is in use; nothing is written then.
pub(crate) fn write() -> Result<()> {
    for (path, text) in outputs()? {
        let absolute = absolute(path);
        fs::create_dir_all(absolute.parent().expect("a file lies in a directory"))?;
        fs::write(&absolute, text).with_context(|| format!("can't write {path}"))?;
        println!("wrote {path}");
    }
    Ok(())
}

/// Checks that both files are up to date and nothing in use was broken.
///
/// # Errors
///
/// It was, or [`write()`] would change a file.
pub(crate) fn check() -> Result<()> {
    for (path, text) in outputs()? {
        if read(path)? != text {
            bail!("{path} is not up to date: run `cargo xtask proto`");
        }
    }
    Ok(())
}

/// Each file with what belongs in it.
///
/// # Errors
///
/// The wire forms can't be read, or break what is in use.
fn outputs() -> Result<[(&'static str, String); 2]> {
    let descriptors = descriptors()?;
    let listing = Listing::of(&descriptors);
    compatible(&listing)?;
    Ok([
        (GENERATED, generate::types(descriptors)?),
        (LOCK, listing.to_string()),
    ])
}

fn descriptors() -> Result<FileDescriptorSet> {
    let root = shell::root().join("proto");
    let files: Vec<PathBuf> = FILES.iter().map(|file| root.join(file)).collect();
    protox::compile(files, [root]).context("proto/ can't be read")
}

fn compatible(now: &Listing) -> Result<()> {
    let before: Listing = read(LOCK)?.parse().with_context(|| LOCK.to_owned())?;
    let findings = compatibility::check(&before, now);
    ensure!(
        findings.is_empty(),
        "proto/ breaks what is in use:\n  {}",
        findings.join("\n  ")
    );
    Ok(())
}

/// A file's text; empty if there is no file yet.
fn read(path: &str) -> Result<String> {
    let absolute = absolute(path);
    if !absolute.exists() {
        return Ok(String::new());
    }
    fs::read_to_string(absolute).with_context(|| format!("can't read {path}"))
}

fn absolute(path: &str) -> PathBuf {
    shell::root().join(path)
}
