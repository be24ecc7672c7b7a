//! What the linter looks at, read from the tree.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

use super::catalogue::Catalogue;

pub(super) const RULES: &str = "deploy/prometheus/heliograph-rules.yaml";
pub(super) const SCRAPE: &str = "deploy/prometheus/prometheus.yml";
pub(super) const TESTS: &str = "deploy/prometheus/tests";
pub(super) const BOARDS: &str = "deploy/grafana";
pub(super) const RUNBOOKS: &str = "docs/operate/runbooks";
pub(super) const MONITORING: &str = "docs/operate/monitoring.md";
const METRICS: &str = "docs/reference/metrics.md";
const KEYS: &str = "docs/reference/config.md";
const COMPOSE: &str = "deploy/compose/compose.yaml";

/// Everything, parsed.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// Dashboards by path.
    pub(super) boards: Vec<(String, Value)>,
    pub(super) rules: Vec<Rule>,
    /// promtool's tests by path.
    pub(super) tests: Vec<(String, Value)>,
    /// Runbooks by path.
    pub(super) runbooks: Vec<(String, String)>,
    /// The page that says how to watch a relay.
    pub(super) monitoring: String,
    pub(super) catalogue: Catalogue,
    /// Keys of the configuration.
    pub(super) keys: Vec<String>,
    /// What Prometheus scrapes in deploy/compose, and what runs there.
    pub(super) scrape: Value,
    pub(super) compose: Value,
}

/// A recording rule or an alert.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) alert: bool,
    pub(super) value: Value,
}

impl Rule {
    pub(super) fn expression(&self) -> &str {
        self.value["expr"].as_str().unwrap_or_default()
    }

    pub(super) fn severity(&self) -> &str {
        self.value["labels"]["severity"]
            .as_str()
            .unwrap_or_default()
    }

    pub(super) fn annotation(&self, name: &str) -> &str {
        self.value["annotations"][name].as_str().unwrap_or_default()
    }
}

impl Input {
    /// Reads the tree below `root`.
    ///
    /// # Errors
    ///
    /// A file is missing or isn't JSON or YAML.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let rules = rules(&yaml(&text(root, RULES)?).context(RULES)?);
        let recorded = rules.iter().filter(|rule| !rule.alert);
        let recorded = recorded.map(|rule| rule.name.clone()).collect();
        let boards = files(root, BOARDS, "json")?
            .into_iter()
            .map(|(path, text)| {
                let board = serde_json::from_str(&text).with_context(|| path.clone())?;
                Ok((path, board))
            })
            .collect::<Result<_>>()?;
        let tests = files(root, TESTS, "yaml")?
            .into_iter()
            .map(|(path, text)| {
                let tests = yaml(&text).with_context(|| path.clone())?;
                Ok((path, tests))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            boards,
            rules,
            tests,
            runbooks: files(root, RUNBOOKS, "md")?,
            monitoring: text(root, MONITORING)?,
            catalogue: Catalogue::read(&text(root, METRICS)?, recorded),
            keys: keys(&text(root, KEYS)?),
            scrape: yaml(&text(root, SCRAPE)?).context(SCRAPE)?,
            compose: yaml(&text(root, COMPOSE)?).context(COMPOSE)?,
        })
    }

    /// The alerts among the rules.
    pub(super) fn alerts(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.alert)
    }

    /// Every expression of the boards, with the title of its panel: `path: title`.
    pub(super) fn board_expressions(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (path, board) in &self.boards {
            for panel in panels(board) {
                let place = format!("{path}: {}", panel["title"].as_str().unwrap_or_default());
                for target in panel["targets"].as_array().into_iter().flatten() {
                    let expression = target["expr"].as_str().unwrap_or_default();
                    found.push((place.clone(), evaluable(expression)));
                }
            }
            for annotation in board["annotations"]["list"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let expression = annotation["expr"].as_str().unwrap_or_default();
                found.push((format!("{path}: annotation"), evaluable(expression)));
            }
        }
        found
    }
}

/// The panels of a board that show something.
pub(super) fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    let panels = board["panels"].as_array().into_iter().flatten();
    panels.filter(|panel| panel["type"] != "row")
}

/// What Grafana would send to Prometheus: variables as they are when nothing is chosen.
pub(super) fn evaluable(expression: &str) -> String {
    let mut out = expression
        .replace("$__rate_interval", "5m")
        .replace("$__range", "3h");
    for name in ["cluster", "namespace", "role", "pod"] {
        out = out.replace(&format!("\"${name}\""), "\".*\"");
    }
    for name in ["price_egress", "price_core", "price_memory"] {
        out = out.replace(&format!("${name}"), "1");
    }
    out
}

/// Rules in their order.
pub(super) fn rules(file: &Value) -> Vec<Rule> {
    let groups = file["groups"].as_array().into_iter().flatten();
    let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let read = |value: &Value| {
        let alert = value["alert"].as_str();
        let name = alert.or(value["record"].as_str()).unwrap_or_default();
        Rule {
            name: name.to_owned(),
            alert: alert.is_some(),
            value: value.clone(),
        }
    };
    rules.map(read).collect()
}

/// YAML as data, with merge keys applied.
pub(super) fn yaml(text: &str) -> Result<Value> {
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text)?;
    value.apply_merge()?;
    Ok(serde_json::to_value(value)?)
}

/// The keys that the page on the configuration lists.
fn keys(page: &str) -> Vec<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let keys = rows.filter_map(|row| row.split('`').next());
    keys.map(str::to_owned).collect()
}

fn text(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("can't read {path}"))
}

/// Files of a directory by their path, in order.
fn files(root: &Path, directory: &str, extension: &str) -> Result<Vec<(String, String)>> {
    let list =
        fs::read_dir(root.join(directory)).with_context(|| format!("can't read {directory}"))?;
    let mut paths = Vec::new();
    for entry in list {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Path::new(&name)
            .extension()
            .is_some_and(|own| own == extension)
        {
            paths.push(format!("{directory}/{name}"));
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| Ok((path.clone(), text(root, &path)?)))
        .collect()
}
