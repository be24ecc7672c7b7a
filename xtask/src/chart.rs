//! `cargo xtask chart`: the table of values in the chart's README and the golden files of what it
//! renders; and whether `values.schema.json` has the keys of `values.yaml`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use heliograph_chart::{
    Chart, directory,
    golden::{self, Golden},
    values,
};

use crate::{servers, shell};

/// What the table stands between.
const MARKS: [&str; 2] = ["<!-- values -->", "<!-- /values -->"];

/// The stage: all of [`check`], and helm's own linter on every file of values. Returns what is
/// missing on this machine, if so.
///
/// # Errors
///
/// A file isn't up to date, or the linter finds something.
pub(crate) fn stage() -> Result<Option<String>> {
    let chart = match servers::installed(heliograph_sandbox::kubernetes::install())? {
        Ok(_tools) => Chart::new()?,
        Err(missing) => return Ok(Some(missing)),
    };
    for file in heliograph_chart::ci_files()? {
        let mut lint = chart.helm(&["lint", "--strict", "--quiet"]);
        shell::run(lint.arg(directory()).arg("--values").arg(file))?;
    }
    check_with(&chart)?;
    Ok(None)
}

/// Writes the table and the golden files, and removes those that nothing stands for any more.
///
/// # Errors
///
/// The chart doesn't render, or a file can't be written.
pub(crate) fn write() -> Result<()> {
    let chart = Chart::new()?;
    let (path, text) = readme()?;
    fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    let goldens = golden::all(&chart)?;
    fs::create_dir_all(golden::directory())?;
    for golden in &goldens {
        if let Some(difference) = golden.difference() {
            println!("{difference}");
            fs::write(&golden.path, &golden.text)
                .with_context(|| format!("can't write {}", golden.path.display()))?;
        }
    }
    for orphan in golden::orphans(&goldens)? {
        println!(
            "{}: no file of values stands for it, removed",
            orphan.display()
        );
        fs::remove_file(orphan)?;
    }
    report(&schema_findings()?)
}

/// Compares all of that with what is there.
///
/// # Errors
///
/// Something isn't up to date.
pub(crate) fn check() -> Result<()> {
    check_with(&Chart::new()?)
}

fn check_with(chart: &Chart) -> Result<()> {
    let mut findings = schema_findings()?;
    let (path, text) = readme()?;
    if fs::read_to_string(&path)? != text {
        findings.push(format!("{}: run `cargo xtask chart`", path.display()));
    }
    let goldens = golden::all(chart)?;
    findings.extend(goldens.iter().filter_map(Golden::difference));
    let orphans = golden::orphans(&goldens)?;
    findings.extend(
        orphans
            .iter()
            .map(|path| format!("{}: stands for nothing", path.display())),
    );
    report(&findings)
}

fn report(findings: &[String]) -> Result<()> {
    for finding in findings {
        println!("{finding}");
    }
    ensure!(
        findings.is_empty(),
        "{} findings in the chart; `cargo xtask chart` writes what is generated",
        findings.len()
    );
    Ok(())
}

fn schema_findings() -> Result<Vec<String>> {
    values::differences(&read("values.yaml")?, &read("values.schema.json")?)
}

/// The chart's README with the table as it should be.
fn readme() -> Result<(PathBuf, String)> {
    let text = read("README.md")?;
    let keys = values::keys(&read("values.yaml")?)?;
    let [begin, end] = MARKS;
    let (before, rest) = text
        .split_once(begin)
        .with_context(|| format!("README.md of the chart has no {begin}"))?;
    let (_, after) = rest
        .split_once(end)
        .with_context(|| format!("README.md of the chart has no {end}"))?;
    let table = values::table(&keys);
    let text = format!("{before}{begin}\n\n{table}\n{end}{after}");
    Ok((directory().join("README.md"), text))
}

fn read(name: &str) -> Result<String> {
    let path = directory().join(name);
    fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
}
