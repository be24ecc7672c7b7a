//! `docs/reference/`: pages that the binary writes about itself, so that they can't be wrong.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// The pages: `heliograph reference <name>` prints `docs/reference/<name>.md`.
const PAGES: [&str; 2] = ["config", "metrics"];

/// Writes every page.
///
/// # Errors
///
/// The binary doesn't build or know the page, or the file can't be written.
pub(crate) fn write() -> Result<()> {
    for (path, text) in pages()? {
        fs::create_dir_all(path.parent().expect("a page lies in a directory"))?;
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Compares every page with what the binary says.
///
/// # Errors
///
/// As [`write()`], or a page isn't up to date.
pub(crate) fn check() -> Result<()> {
    for (path, text) in pages()? {
        if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!(
                "{} is not up to date: run `cargo xtask reference`",
                path.display()
            );
        }
    }
    Ok(())
}

fn pages() -> Result<Vec<(PathBuf, String)>> {
    let relay = shell::build_relay()?;
    PAGES
        .into_iter()
        .map(|name| {
            let text = shell::read(shell::relay(&relay).args(["reference", name]))?;
            if text.trim().is_empty() {
                bail!("`heliograph reference {name}` printed nothing");
            }
            Ok((
                shell::root()
                    .join("docs/reference")
                    .join(name)
                    .with_extension("md"),
                text,
            ))
        })
        .collect()
}
