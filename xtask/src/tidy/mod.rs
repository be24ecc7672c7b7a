//! `cargo xtask tidy`: what no compiler checks, over every file that is or could be committed.
//!
//! Each check is a function from the tree to its findings; all findings are printed before the run
//! fails, so that one run shows all there is to do.

mod changelog;
mod compose;
mod dependencies;
pub(crate) mod dockerfile;
mod links;
mod text;

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::{mutate, observe, proto, reference, shell};

/// A text file of the repository.
struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

/// Something to put right: `path:line: what`.
type Finding = String;

/// Runs every check.
///
/// # Errors
///
/// There are findings, or the tree can't be read.
pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let metadata = shell::metadata()?;
    let mut findings = dependencies::check(&metadata);
    findings.extend(changelog::check(&files));
    findings.extend(links::check(&files, |path| {
        shell::root().join(path).exists()
    }));
    findings.extend(text::check(&files));
    findings.extend(compose::check(&files));
    if let Err(error) = proto::check() {
        findings.push(format!("proto: {error:#}"));
    }
    if let Err(error) = reference::check() {
        findings.push(format!("docs/reference: {error:#}"));
    }
    if let Err(error) = observe::check() {
        findings.push(format!("observe: {error:#}"));
    }
    if let Err(error) = mutate::check() {
        findings.push(format!("mutations: {error:#}"));
    }
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "{} findings", findings.len());
    println!("{} files are tidy", files.len());
    Ok(())
}

/// Every file that git tracks or would track, but for those that aren't text.
fn files() -> Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    for path in shell::files()? {
        let absolute = shell::root().join(&path);
        let bytes = fs::read(&absolute).with_context(|| format!("can't read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path, text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

/// The extension of a path, without the dot; empty if it has none.
fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}
