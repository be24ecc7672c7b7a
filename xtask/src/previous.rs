//! The relay of the commit before this one, for tests that run both versions in one cluster.
//!
//! Its crates are compiled from a copy of that commit's files into this workspace's own target
//! directory: dependencies that are the same are compiled once.

use std::{
    env::consts::EXE_SUFFIX,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Names another commit than the one before, such as a release's tag.
const COMMIT_VARIABLE: &str = "HELIOGRAPH_PREVIOUS";

/// Where tests look for the binary.
pub(crate) const BINARY_VARIABLE: &str = "HELIOGRAPH_PREVIOUS_BIN";

/// Builds it, unless it has been built, and returns where it is. Build the relay itself afterwards: both come
/// out of cargo in the same place.
///
/// Nothing if there is no commit before this one, as in a copy without history: then tests run this version on
/// both sides.
///
/// # Errors
///
/// The commit that is asked for isn't there, or doesn't build.
pub(crate) fn build() -> Result<Option<PathBuf>> {
    let Some(commit) = commit()? else {
        println!(
            "no commit before this one is here: upgrades are tested from this version to itself"
        );
        return Ok(None);
    };
    let built = target()?.join("previous");
    let directory = built.join(&commit);
    let binary = directory.join(format!("heliograph{EXE_SUFFIX}"));
    if binary.exists() {
        println!("{commit} is built");
        return Ok(Some(binary));
    }
    // Of others, nobody has any more use.
    if built.exists() {
        fs::remove_dir_all(&built).with_context(|| format!("can't remove {}", built.display()))?;
    }
    let source = directory.join("source");
    unpack(&commit, &source)?;
    let target = target()?;
    let mut cargo = shell::cargo("build");
    cargo
        .args(["--locked", "--quiet"])
        .args(shell::RELAY_AS_TESTED)
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&source);
    shell::run(&mut cargo)?;
    let made = shell::relay_path("debug")?;
    // Under its name only when it is whole.
    let partial = directory.join("partial");
    fs::copy(&made, &partial)
        .and_then(|_bytes| fs::rename(&partial, &binary))
        .with_context(|| format!("can't copy {}", made.display()))?;
    fs::remove_dir_all(&source).with_context(|| format!("can't remove {}", source.display()))?;
    Ok(Some(binary))
}

/// The commit's full hash: the one that is asked for; else the one checked out if files have changed since; else
/// the one before.
fn commit() -> Result<Option<String>> {
    let hash = |name: &str| {
        let mut git = shell::command("git");
        let name = format!("{name}^{{commit}}");
        git.args(["rev-parse", "--verify", "--quiet", &name]);
        let output = git.stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().to_owned()).filter(|hash| output.status.success() && !hash.is_empty())
    };
    if let Some(asked) = shell::variable(COMMIT_VARIABLE) {
        let found = hash(&asked);
        ensure!(
            found.is_some(),
            "{COMMIT_VARIABLE}: there is no commit {asked}"
        );
        return Ok(found);
    }
    let changed = shell::command("git")
        .args(["status", "--porcelain", "--untracked-files=no"])
        .output()
        .is_ok_and(|output| !output.stdout.is_empty());
    Ok(hash(if changed { "HEAD" } else { "HEAD~1" }))
}

fn target() -> Result<PathBuf> {
    let relay = shell::relay_path("debug")?;
    let target = relay.parent().and_then(Path::parent);
    Ok(target.context("no target directory")?.to_owned())
}

/// Writes the files of a commit.
fn unpack(commit: &str, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("can't create {}", directory.display()))?;
    let mut archive = shell::command("git")
        .args(["archive", "--format=tar", commit])
        .stdout(Stdio::piped())
        .spawn()
        .context("can't start `git archive`")?;
    let files = archive.stdout.take().context("it was piped")?;
    shell::run(
        shell::command("tar")
            .arg("-x")
            .arg("-C")
            .arg(directory)
            .stdin(files),
    )?;
    let status = archive.wait().context("end of `git archive`")?;
    ensure!(status.success(), "`git archive {commit}` failed: {status}");
    Ok(())
}
