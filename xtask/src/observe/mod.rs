//! `cargo xtask observe`: dashboards, rules, alerts and runbooks.
//!
//! Dashboards are written from [`boards`], the list of alerts from the rules. What is written by hand,
//! the rules, their tests and the runbooks, is checked against that and against the metrics that the
//! program has; promtool says whether expressions are right and rules do what their tests say.

mod board;
mod boards;
mod catalogue;
mod index;
mod input;
mod lint;
mod promql;
mod promtool;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::shell;
use input::{BOARDS, Input};

/// Where runbooks are read.
const RUNBOOKS: &str =
    "https://github.com/heliograph-relay/heliograph/blob/main/docs/operate/runbooks";

/// Writes the dashboards and the list of alerts.
///
/// # Errors
///
/// The rules can't be read, or a file can't be written.
pub(crate) fn write() -> Result<()> {
    for (path, text) in generated()? {
        fs::create_dir_all(path.parent().expect("it lies in a directory"))?;
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Compares what is written with what would be, and checks everything but what needs promtool.
///
/// # Errors
///
/// There are findings, or the tree can't be read.
pub(crate) fn check() -> Result<()> {
    for (path, text) in generated()? {
        if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!(
                "{} is not up to date: run `cargo xtask observe`",
                path.display()
            );
        }
    }
    let input = Input::read(shell::root())?;
    if input.boards.len() != boards::all().len() {
        bail!("{BOARDS} holds a board that is not in xtask/src/observe/boards");
    }
    let findings = lint::check(&input);
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "{} findings", findings.len());
    println!(
        "{} boards, {} rules, {} runbooks are in order",
        input.boards.len(),
        input.rules.len(),
        input.runbooks.len()
    );
    Ok(())
}

/// As [`check`], then promtool. Returns what is missing on this machine, if so.
///
/// # Errors
///
/// As [`check`], or promtool finds something.
pub(crate) fn stage() -> Result<Option<String>> {
    check()?;
    promtool::check(&Input::read(shell::root())?)
}

/// The files that are written, with their text.
fn generated() -> Result<Vec<(PathBuf, String)>> {
    let boards = boards::all();
    let boards = boards
        .iter()
        .map(|board| (shell::root().join(board.path()), board.to_json()));
    let rules = shell::root().join(input::RULES);
    let rules = fs::read_to_string(&rules).with_context(|| input::RULES)?;
    let index = index::page(&input::rules(&input::yaml(&rules)?));
    Ok(boards
        .chain([(shell::root().join(index::PAGE), index)])
        .collect())
}

/// The page that an alert sends to.
fn runbook_url(alert: &str) -> String {
    format!("{RUNBOOKS}/{}.md", kebab(alert))
}

/// `HeliographIngestStopped` as `heliograph-ingest-stopped`.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_is_named_after_its_alert() {
        assert_eq!(
            kebab("HeliographIngestStopped"),
            "heliograph-ingest-stopped"
        );
        assert!(runbook_url("HeliographX").ends_with("/docs/operate/runbooks/heliograph-x.md"));
    }
}
