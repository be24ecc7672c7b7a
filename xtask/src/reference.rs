//! `docs/reference/` and `docs/capacity.md`: pages that the binary writes about itself, so that they
//! can't be wrong.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// The pages below `docs`, and what prints each.
const PAGES: [(&str, &[&str]); 3] = [
    ("reference/config.md", &["reference", "config"]),
    ("reference/metrics.md", &["reference", "metrics"]),
    ("capacity.md", &["capacity", "--document"]),
];

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
        .map(|(name, arguments)| {
            let text = shell::read(shell::relay(&relay).args(arguments))?;
            if text.trim().is_empty() {
                bail!("`heliograph {}` printed nothing", arguments.join(" "));
            }
            Ok((shell::root().join("docs").join(name), text))
        })
        .collect()
}
