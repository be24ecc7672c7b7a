//! Golden files: what each file of values in `ci/` renders, so that a change of the chart shows what
//! it changes.
//!
//! Whole files of `deploy/` in it, such as dashboards, are named and not repeated.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_yaml_ng::{Deserializer, Value};

use crate::{Chart, ci_files, name_of, root};

/// Directories whose files the chart hands on.
const SHARED: [&str; 2] = ["deploy/grafana", "deploy/prometheus"];

/// A golden file as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// Where it is.
    pub path: PathBuf,
    /// What has to be in it.
    pub text: String,
}

impl Golden {
    /// The first line that is another in the file, with both texts; `None` if there is none.
    #[must_use]
    pub fn difference(&self) -> Option<String> {
        let there = fs::read_to_string(&self.path).unwrap_or_default();
        if there == self.text {
            return None;
        }
        let pairs = there.lines().zip(self.text.lines());
        let line = pairs.take_while(|(old, new)| old == new).count();
        let show = |text: &str| text.lines().nth(line).unwrap_or("(end)").trim().to_owned();
        Some(format!(
            "{}:{}: the file has `{}`, the chart renders `{}`",
            self.path.display(),
            line + 1,
            show(&there),
            show(&self.text),
        ))
    }
}

/// Where golden files lie.
#[must_use]
pub fn directory() -> PathBuf {
    root().join("helm/tests/golden")
}

/// Every golden file, by rendering every file of values.
///
/// # Errors
///
/// One doesn't render, or a file can't be read.
pub fn all(chart: &Chart) -> Result<Vec<Golden>> {
    let shared = shared()?;
    let one = |file: &PathBuf| -> Result<Golden> {
        let name = name_of(file);
        let text = chart.render(&[file], &[])?.map_err(anyhow::Error::msg);
        let text = text.with_context(|| format!("{name} doesn't render"))?;
        Ok(Golden {
            path: directory().join(&name).with_extension("yaml"),
            text: shorten(&text, &shared).with_context(|| name)?,
        })
    };
    ci_files()?.iter().map(one).collect()
}

/// Golden files that no file of values stands for.
///
/// # Errors
///
/// The directory can't be read.
pub fn orphans(goldens: &[Golden]) -> Result<Vec<PathBuf>> {
    let directory = directory();
    let entries =
        fs::read_dir(&directory).with_context(|| format!("can't read {}", directory.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let known = |path: &Path| goldens.iter().any(|golden| golden.path == path);
    Ok(paths.filter(|path| !known(path)).collect())
}

/// The files that the chart hands on: their names, and their text without space at its end.
fn shared() -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for directory in SHARED {
        let path = root().join(directory);
        let entries =
            fs::read_dir(&path).with_context(|| format!("can't read {}", path.display()))?;
        for entry in entries.flatten() {
            if entry.path().is_file() {
                let text = fs::read_to_string(entry.path())
                    .with_context(|| format!("can't read {}", entry.path().display()))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                files.push((format!("{directory}/{name}"), text.trim_end().to_owned()));
            }
        }
    }
    Ok(files)
}

/// Rendered text as it is kept: without comments, in one style, files of others by name.
fn shorten(text: &str, shared: &[(String, String)]) -> Result<String> {
    let mut kept = String::new();
    for document in Deserializer::from_str(text) {
        let mut value = Value::deserialize(document)?;
        if value.is_null() {
            continue;
        }
        name_shared(&mut value, shared);
        kept.push_str("---\n");
        kept.push_str(&serde_yaml_ng::to_string(&value)?);
    }
    Ok(kept)
}

fn name_shared(value: &mut Value, shared: &[(String, String)]) {
    match value {
        Value::String(text) => {
            let whole = shared.iter().find(|(_, file)| *file == text.trim_end());
            if let Some((name, _)) = whole {
                *text = format!("(the file {name})");
            }
        }
        Value::Sequence(items) => items.iter_mut().for_each(|item| name_shared(item, shared)),
        Value::Mapping(fields) => fields
            .iter_mut()
            .for_each(|(_, field)| name_shared(field, shared)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_named_and_comments_dropped() {
        let shared = [("deploy/grafana/a.json".to_owned(), "{}\n1".to_owned())];
        let text = "---\n# Source: x\nkind: A # why\ndata:\n  a.json: |\n    {}\n    1\n---\n---\nb: [1]\n";
        let expected =
            "---\nkind: A\ndata:\n  a.json: (the file deploy/grafana/a.json)\n---\nb:\n- 1\n";
        assert_eq!(shorten(text, &shared).unwrap(), expected);
    }

    #[test]
    fn a_difference_names_the_line() {
        let golden = Golden {
            path: directory().join("none.yaml"),
            text: "a: 1\n".to_owned(),
        };
        let found = golden.difference().unwrap();
        assert!(
            found.contains(":1: the file has `(end)`, the chart renders `a: 1`"),
            "{found}"
        );
    }
}
