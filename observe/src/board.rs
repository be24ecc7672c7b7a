//! Grafana's boards as far as queries and pictures need them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use heliograph_testkit::process::workspace;
use serde_json::Value;

/// A board.
#[derive(Debug, Clone)]
pub struct Board {
    /// The name of its file without `.json`.
    pub stem: String,
    /// What it is called.
    pub title: String,
    /// Panels with their place, those in rows too, from top to bottom.
    pub panels: Vec<Panel>,
    /// What is marked on all panels.
    pub annotations: Vec<Annotation>,
    variables: Vec<(String, String)>,
}

/// Moments that are marked on all panels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// The expression, with variables.
    pub expression: String,
    /// The colour.
    pub color: String,
    /// Whether its values are the moments, in Unix milliseconds; else they are when a series begins.
    pub is_time: bool,
}

/// A panel or the title of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What it is called.
    pub title: String,
    /// Grafana's word for what it draws, such as `timeseries`; `row` for a title alone.
    pub kind: String,
    /// Where it is: x and y of its corner, width and height, in a grid of 24 columns.
    pub grid: [u32; 4],
    /// Grafana's word for the unit.
    pub unit: String,
    /// Digits behind the point, if it says.
    pub decimals: Option<usize>,
    /// The ends of the axis, where it says.
    pub ends: [Option<f64>; 2],
    /// From where on which colour is meant, ascending; the first from everywhere.
    pub thresholds: Vec<(f64, String)>,
    /// Whether lines are drawn where thresholds are.
    pub shows_thresholds: bool,
    /// Whether series are stacked.
    pub is_stacked: bool,
    /// How strongly the area below a line is filled, in percent.
    pub fill: u32,
    /// Whether it draws bars instead of lines.
    pub draws_bars: bool,
    /// Whether the colour of its value comes from the thresholds.
    pub is_judged: bool,
    /// What is shown instead of a value.
    pub words: Vec<(f64, String)>,
    /// Series that have a colour of their own.
    pub colors: Vec<(Named, String)>,
    /// Its queries.
    pub targets: Vec<Target>,
    /// The text of a panel that has only that.
    pub text: String,
}

/// Which series an exception is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// That of this name.
    Exactly(String),
    /// Those with one of these in their names: the plain alternatives of a regular expression.
    Like(Vec<String>),
}

impl Named {
    /// Whether a series of this name is one.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exactly(own) => own == name,
            Self::Like(parts) => parts.iter().any(|part| name.contains(part)),
        }
    }
}

/// A query of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The expression, with variables.
    pub expression: String,
    /// How its series are called, with labels in double braces.
    pub legend: String,
    /// Whether it asks for one value rather than for a range.
    pub is_instant: bool,
}

/// What Grafana puts in place of its own variables, and the board's.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Variables of the board that have another value than that of the file.
    pub chosen: Vec<(String, String)>,
    /// Between two scrapes.
    pub scrape_interval: Duration,
    /// Between two points.
    pub step: Duration,
    /// What is seen.
    pub range: Duration,
}

/// Every board of `deploy/grafana`, by name.
///
/// # Panics
///
/// If there is none, or one can't be read.
#[must_use]
pub fn all() -> Vec<Board> {
    let directory = workspace().join("deploy/grafana");
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "json"));
    files.sort();
    assert!(!files.is_empty(), "no boards in {}", directory.display());
    files.iter().map(|path| Board::read(path)).collect()
}

impl Board {
    /// Reads a board.
    ///
    /// # Panics
    ///
    /// If it isn't JSON.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{error}"));
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let stem = path.file_stem().unwrap_or_default();
        Self::new(&stem.to_string_lossy(), &value)
    }

    fn new(stem: &str, value: &Value) -> Self {
        let mut panels = Vec::new();
        for panel in list(&value["panels"]) {
            panels.push(Panel::new(panel));
            // Those of a row that is folded.
            panels.extend(list(&panel["panels"]).map(Panel::new));
        }
        panels.sort_by_key(|panel| (panel.grid[1], panel.grid[0]));
        Self {
            stem: stem.to_owned(),
            title: text(&value["title"]),
            panels,
            annotations: list(&value["annotations"]["list"])
                .filter(|annotation| annotation["expr"].is_string())
                .map(|annotation| Annotation {
                    expression: text(&annotation["expr"]),
                    color: text(&annotation["iconColor"]),
                    is_time: annotation["useValueForTime"] == true,
                })
                .collect(),
            variables: list(&value["templating"]["list"]).map(variable).collect(),
        }
    }

    /// A board of these panels, without variables.
    #[cfg(test)]
    pub(crate) fn of(stem: &str, title: &str, panels: Vec<Panel>) -> Self {
        Self {
            stem: stem.to_owned(),
            title: title.to_owned(),
            panels,
            annotations: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// An expression as Grafana would send it.
    ///
    /// # Panics
    ///
    /// If it names a variable that the board hasn't got.
    #[must_use]
    pub fn fill_in(&self, expression: &str, view: &View) -> String {
        let mut filled = String::with_capacity(expression.len());
        let mut rest = expression;
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            let (name, tail) = name(&rest[at + 1..]);
            // The end of a regular expression, or a group of one.
            if name.is_empty() || name.starts_with(|sign: char| sign.is_ascii_digit()) {
                filled.push('$');
                filled.push_str(name);
            } else {
                filled.push_str(&self.value(name, view));
            }
            rest = tail;
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, name: &str, view: &View) -> String {
        let seconds = |duration: Duration| format!("{}ms", duration.as_millis());
        let find = |all: &[(String, String)]| {
            let found = all.iter().find(|(variable, _)| variable == name);
            found.map(|(_, value)| value.clone())
        };
        match name {
            // As Grafana has it: four scrapes, or what a point stands for and a scrape.
            "__rate_interval" => {
                let scrape = view.scrape_interval;
                seconds((scrape * 4).max(view.step + scrape))
            }
            "__interval" => seconds(view.step),
            "__range" => seconds(view.range),
            "__range_s" => view.range.as_secs().to_string(),
            _ => find(&view.chosen)
                .or_else(|| find(&self.variables))
                .unwrap_or_else(|| panic!("{}: no variable {name}", self.stem)),
        }
    }
}

/// A variable's name at the beginning of a text, `a` or `{a}` or `{a:format}`, and the rest.
fn name(text: &str) -> (&str, &str) {
    if let Some(inner) = text.strip_prefix('{') {
        let (inside, rest) = inner.split_once('}').unwrap_or((inner, ""));
        let (name, _format) = inside.split_once(':').unwrap_or((inside, ""));
        return (name, rest);
    }
    let end = text.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
    text.split_at(end.unwrap_or(text.len()))
}

/// A variable of a board and its value: everything, where that is a choice.
fn variable(value: &Value) -> (String, String) {
    let name = text(&value["name"]);
    let all = if value["includeAll"] == true || value["multi"] == true {
        let all = text(&value["allValue"]);
        Some(if all.is_empty() { ".*".to_owned() } else { all })
    } else {
        None
    };
    let current = text(&value["current"]["value"]);
    let query = text(&value["query"]);
    let given = || match &*text(&value["type"]) {
        "query" => ".*".to_owned(),
        "constant" | "textbox" => query,
        _ if !current.is_empty() => current,
        _ => query
            .split(',')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned(),
    };
    (name, all.unwrap_or_else(given))
}

impl Panel {
    fn new(value: &Value) -> Self {
        let defaults = &value["fieldConfig"]["defaults"];
        let custom = &defaults["custom"];
        let grid = &value["gridPos"];
        let place = |name: &str| u32::try_from(grid[name].as_u64().unwrap_or(0)).unwrap_or(0);
        let mode = |value: &Value| value["mode"].as_str().unwrap_or("off").to_owned();
        Self {
            title: text(&value["title"]),
            kind: text(&value["type"]),
            grid: [place("x"), place("y"), place("w"), place("h")],
            unit: text(&defaults["unit"]),
            decimals: defaults["decimals"]
                .as_u64()
                .and_then(|n| n.try_into().ok()),
            ends: [defaults["min"].as_f64(), defaults["max"].as_f64()],
            thresholds: list(&defaults["thresholds"]["steps"])
                .map(|step| {
                    let from = step["value"].as_f64().unwrap_or(f64::NEG_INFINITY);
                    (from, text(&step["color"]))
                })
                .collect(),
            shows_thresholds: mode(&custom["thresholdsStyle"]) != "off",
            is_stacked: !["off", "none"].contains(&&*mode(&custom["stacking"])),
            fill: custom["fillOpacity"]
                .as_u64()
                .and_then(|n| n.try_into().ok())
                .unwrap_or(0),
            draws_bars: custom["drawStyle"] == "bars",
            is_judged: mode(&defaults["color"]) == "thresholds",
            words: words(&defaults["mappings"]),
            colors: list(&value["fieldConfig"]["overrides"])
                .flat_map(colors)
                .collect(),
            targets: list(&value["targets"])
                .filter(|target| target["hide"] != true)
                .map(|target| Target {
                    expression: text(&target["expr"]),
                    legend: text(&target["legendFormat"]),
                    is_instant: target["instant"] == true && target["range"] != true,
                })
                .collect(),
            text: text(&value["options"]["content"]),
        }
    }
}

/// The colours that an exception gives to series.
fn colors(value: &Value) -> Vec<(Named, String)> {
    let options = text(&value["matcher"]["options"]);
    let series = match value["matcher"]["id"].as_str() {
        Some("byName") => Named::Exactly(options),
        Some("byRegexp") => {
            let parts = options.trim_matches('/').split('|');
            let plain = parts.map(|part| part.replace(['^', '$', '(', ')', '.', '*', '+'], ""));
            Named::Like(plain.filter(|part| !part.is_empty()).collect())
        }
        _ => return Vec::new(),
    };
    let properties = list(&value["properties"]).filter(|property| property["id"] == "color");
    let colors = properties.filter_map(|property| property["value"]["fixedColor"].as_str());
    colors
        .map(|color| (series.clone(), color.to_owned()))
        .collect()
}

/// Words for values: `{"type":"value","options":{"1":{"text":"yes"}}}`.
fn words(mappings: &Value) -> Vec<(f64, String)> {
    let options = list(mappings).filter_map(|mapping| mapping["options"].as_object());
    let words = options.flatten().filter_map(|(value, word)| {
        let shown = word["text"].as_str()?;
        Some((value.parse().ok()?, shown.to_owned()))
    });
    words.collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A text or a number as text; empty if it is neither.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(values) => values.first().map(text).unwrap_or_default(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn board() -> Board {
        let variable = |name: &str, kind: &str, query: &str| json!({"name": name, "type": kind, "query": query, "includeAll": kind == "query"});
        let value = json!({
            "title": "A board",
            "templating": {"list": [
                variable("pod", "query", "label_values(up, pod)"),
                variable("price", "textbox", "0.09"),
            ]},
            "panels": [
                {"type": "row", "title": "Below", "gridPos": {"x": 0, "y": 4, "w": 24, "h": 1},
                 "panels": [{"type": "stat", "gridPos": {"x": 0, "y": 5, "w": 4, "h": 4}}]},
                {"type": "timeseries", "gridPos": {"x": 6, "y": 0, "w": 6, "h": 4},
                 "targets": [{"expr": "up"}, {"expr": "down", "hide": true}]},
            ],
        });
        Board::new("a", &value)
    }

    fn view() -> View {
        View {
            chosen: vec![("chosen".to_owned(), "mine".to_owned())],
            scrape_interval: Duration::from_secs(1),
            step: Duration::from_secs(2),
            range: Duration::from_secs(300),
        }
    }

    #[track_caller]
    fn check(expression: &str, expected: &str) {
        assert_eq!(board().fill_in(expression, &view()), expected);
    }

    #[test]
    fn variables_are_filled_in_as_grafana_does() {
        check("rate(a[$__rate_interval])", "rate(a[4000ms])");
        check("a{pod=~\"$pod\"} * ${price:raw}", "a{pod=~\".*\"} * 0.09");
        check("b[$__range]$chosen", "b[300000ms]mine");
        check("c{d=~\"e$\"} $1", "c{d=~\"e$\"} $1");
    }

    #[test]
    #[should_panic(expected = "no variable unknown")]
    fn a_variable_that_is_not_there_is_noticed() {
        check("$unknown", "");
    }

    #[test]
    fn panels_stand_from_top_to_bottom_with_those_of_rows() {
        let kinds: Vec<String> = board().panels.into_iter().map(|panel| panel.kind).collect();
        assert_eq!(kinds, ["timeseries", "row", "stat"]);
        assert_eq!(board().panels[0].targets.len(), 1);
    }
}
