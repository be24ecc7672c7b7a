//! The same tree gives the same bytes.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::{super::release, Products, room};
use crate::shell;

/// Where the tree and cargo's home lie doesn't show in the program.
pub(super) fn paths(products: &Products) -> Result<()> {
    let program = fs::read(&products.parts.program).context("the program")?;
    let home = shell::variable("CARGO_HOME").or_else(|| Some(shell::variable("HOME")? + "/.cargo"));
    let home = home.context("HOME is not set")?;
    for path in [shell::root().display().to_string(), home] {
        let found = memchr_of(&program, path.as_bytes());
        ensure!(
            found.is_none(),
            "the program holds {path}: {}",
            around(&program, found)
        );
    }
    ensure!(
        memchr_of(&program, b"/cargo/registry/").is_some(),
        "nothing of cargo's home is in the program: has this check lost its object?"
    );
    Ok(())
}

fn memchr_of(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn around(text: &[u8], at: Option<usize>) -> String {
    let at = at.unwrap_or_default();
    String::from_utf8_lossy(&text[at..text.len().min(at + 120)]).into_owned()
}

/// Everything that a release publishes, made once more.
pub(super) fn twice(products: &Products) -> Result<()> {
    let parts = &products.parts;
    let directory = room::scratch()?;
    let files = release::write(parts, directory.path())?;
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("can't read {}", path.display()));
    let first = [
        read(&parts.program)?,
        products.image.clone(),
        read(&products.package.path())?,
        parts.sbom.clone().into_bytes(),
    ];
    ensure!(
        files.len() == first.len(),
        "a release has the files {files:?}"
    );
    for (file, first) in files.iter().zip(first) {
        let second = read(&directory.path().join(file))?;
        ensure!(first == second, "{file} differs from run to run");
    }
    let mut sums = shell::command("sha256sum");
    sums.args(["--check", "--strict", release::CHECKSUMS])
        .current_dir(directory.path());
    let checked = shell::read(&mut sums)?;
    for file in &files {
        ensure!(
            checked.contains(&format!("{file}: OK")),
            "{file} has no checksum"
        );
    }
    Ok(())
}
