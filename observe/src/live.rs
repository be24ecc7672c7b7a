//! Questions to a Prometheus that watches a live cluster: what boards show, what alerts fire.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use heliograph_faults::bed::within;
use heliograph_sandbox::prometheus::{Alert, AlertState, Prometheus, RuleKind, Series};

use crate::{
    board::{Board, Panel, Target, View},
    picture::{Line, Mark},
};

/// Between two looks at the alerts.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a board sees of a Prometheus.
#[derive(Debug)]
pub struct Live<'a> {
    prometheus: &'a Prometheus,
    board: &'a Board,
    view: View,
}

impl<'a> Live<'a> {
    /// A board that is looked at with these choices.
    #[must_use]
    pub fn new(prometheus: &'a Prometheus, board: &'a Board, view: View) -> Self {
        Self {
            prometheus,
            board,
            view,
        }
    }

    /// The targets that gave no finite number from `range.0` to `range.1`, in Unix seconds, and why. It has to be
    /// one after `since`, unless the panel is `rare`: board and title.
    #[must_use]
    pub fn empty(&self, range: (f64, f64), since: f64, rare: &[(&str, &str)]) -> Vec<String> {
        let Board { stem, panels, .. } = self.board;
        let targets = panels.iter().flat_map(|panel| {
            let targets = panel.targets.iter();
            targets.map(move |target| (panel, target))
        });
        targets
            .filter_map(|(panel, target)| {
                let is_rare = rare.contains(&(stem.as_str(), panel.title.as_str()));
                let since = if is_rare { range.0 } else { since };
                let expression = self.board.fill_in(&target.expression, &self.view);
                let found = self
                    .prometheus
                    .query_range(&expression, range, self.view.step);
                let why = match found {
                    Ok(series) => missing(&series, since)?.to_owned(),
                    Err(error) => error.to_string(),
                };
                Some(format!("{stem}: {}: {why}: {expression}", panel.title))
            })
            .collect()
    }

    /// The series of each panel from `range.0` to `range.1`, in Unix seconds.
    ///
    /// # Panics
    ///
    /// If an expression is wrong.
    #[must_use]
    pub fn lines(&self, range: (f64, f64)) -> Vec<Vec<Line>> {
        let panels = self.board.panels.iter();
        panels.map(|panel| self.panel(panel, range)).collect()
    }

    /// What the board marks from `range.0` to `range.1`, in Unix seconds.
    ///
    /// # Panics
    ///
    /// If an expression is wrong.
    #[must_use]
    pub fn marks(&self, range: (f64, f64)) -> Vec<Mark> {
        let mut marks = Vec::new();
        for annotation in &self.board.annotations {
            let expression = self.board.fill_in(&annotation.expression, &self.view);
            let found = self
                .prometheus
                .query_range(&expression, range, self.view.step);
            for series in found.unwrap_or_else(|error| panic!("{error}")) {
                let mut values: Vec<f64> = series.points.iter().map(|(_, value)| *value).collect();
                values.dedup();
                let begins = series.points.first().map(|(at, _)| *at);
                let times = if annotation.is_time {
                    values.into_iter().map(|millis| millis / 1_000.0).collect()
                } else {
                    Vec::from_iter(begins)
                };
                let times = times.into_iter().filter(|at| *at > range.0);
                marks.extend(times.map(|at| Mark {
                    at,
                    color: annotation.color.clone(),
                }));
            }
        }
        marks
    }

    fn panel(&self, panel: &Panel, range: (f64, f64)) -> Vec<Line> {
        let lines = panel.targets.iter().flat_map(|target| {
            let expression = self.board.fill_in(&target.expression, &self.view);
            let step = self.view.step;
            let found = if target.is_instant {
                self.prometheus.query(&expression)
            } else {
                self.prometheus.query_range(&expression, range, step)
            };
            let found = found.unwrap_or_else(|error| panic!("{error}"));
            found.into_iter().map(|series| line(panel, target, series))
        });
        lines.collect()
    }
}

fn line(panel: &Panel, target: &Target, series: Series) -> Line {
    Line {
        name: legend(&target.legend, &series, panel),
        at_most: series.label("le").parse().ok(),
        points: series.points,
    }
}

/// A series' name: the legend with labels filled in, or the labels.
fn legend(legend: &str, series: &Series, panel: &Panel) -> String {
    if legend.is_empty() || legend == "__auto" {
        let labels = series.labels.iter().filter(|(name, _)| *name != "__name__");
        let labels: Vec<&str> = labels.map(|(_, value)| value.as_str()).collect();
        return if labels.is_empty() {
            panel.title.clone()
        } else {
            labels.join(" ")
        };
    }
    let (mut name, mut rest) = (String::new(), legend);
    while let Some((before, after)) = rest.split_once("{{") {
        let (label, after) = after.split_once("}}").unwrap_or((after, ""));
        name.push_str(before);
        name.push_str(series.label(label.trim()));
        rest = after;
    }
    name.push_str(rest);
    name.trim().to_owned()
}

/// What is wrong with an answer that has no finite number since a time in Unix seconds.
fn missing(series: &[Series], since: f64) -> Option<&'static str> {
    let mut why = "nothing";
    for (at, value) in series.iter().flat_map(|series| &series.points) {
        match (value.is_finite(), *at >= since) {
            (true, true) => return None,
            (true, false) => why = "no number lately",
            (false, _) if why == "nothing" => why = "no finite number",
            (false, _) => {}
        }
    }
    Some(why)
}

/// The recording rules that give nothing now or fail, and alerts that fail.
///
/// # Panics
///
/// If Prometheus doesn't answer.
#[must_use]
pub fn idle_rules(prometheus: &Prometheus) -> Vec<String> {
    let rules = prometheus.rules().unwrap_or_else(|error| panic!("{error}"));
    assert!(!rules.is_empty(), "there are rules");
    let why = |rule: &heliograph_sandbox::prometheus::Rule| {
        if !rule.is_healthy {
            return Some(format!("{}: {}", rule.name, rule.error));
        }
        if rule.kind == RuleKind::Alerting {
            return None;
        }
        match prometheus.query(&rule.query) {
            Ok(series) if !series.is_empty() => None,
            Ok(_) => Some(format!("{}: nothing: {}", rule.name, rule.query)),
            Err(error) => Some(format!("{}: {error}", rule.name)),
        }
    };
    rules.iter().filter_map(why).collect()
}

/// The clock of Prometheus, in Unix seconds.
///
/// # Panics
///
/// If it doesn't answer.
#[must_use]
pub fn now(prometheus: &Prometheus) -> f64 {
    let answer = prometheus
        .query("time()")
        .unwrap_or_else(|error| panic!("{error}"));
    answer[0].last().expect("a number has a value")
}

/// Every alert that is pending or fires, after a moment: for who asks again and again.
#[must_use]
pub fn alerts(prometheus: &Prometheus) -> Option<Vec<Alert>> {
    thread::park_timeout(LOOK_EVERY);
    prometheus.alerts().ok()
}

/// Whether this is an alert of this name that fires for the relay with this label `cluster`.
#[must_use]
pub fn fires(alert: &Alert, name: &str, cluster: &str) -> bool {
    let own = alert.labels.get("cluster").map(String::as_str);
    alert.name == name && alert.state == AlertState::Firing && own == Some(cluster)
}

/// Waits until no alert of this name fires for the relay with this label `cluster`.
///
/// # Panics
///
/// If one does after `patience`.
#[track_caller]
pub fn wait_until_ends(prometheus: &Prometheus, cluster: &str, name: &str, patience: Duration) {
    within(patience, &format!("end of the alert {name}"), || {
        let alerts = alerts(prometheus)?;
        let any = alerts.iter().any(|alert| fires(alert, name, cluster));
        (!any).then_some(())
    });
}

/// Every alert that has fired since a time in Unix seconds, or is about to now, with its labels.
///
/// # Panics
///
/// If Prometheus doesn't answer.
#[must_use]
pub fn fired_since(prometheus: &Prometheus, start: f64) -> BTreeSet<String> {
    let range = now(prometheus) - start;
    let expression = format!(
        "max_over_time(ALERTS{{alertstate=\"firing\"}}[{:.0}ms]) or ALERTS{{alertstate=\"pending\"}}",
        range.max(0.0) * 1_000.0
    );
    let found = prometheus
        .query(&expression)
        .unwrap_or_else(|error| panic!("{error}"));
    let name = |series: Series| {
        let kept = |name: &&String| !["__name__", "severity"].contains(&name.as_str());
        let labels: BTreeMap<&String, &String> = series
            .labels
            .iter()
            .filter(|(name, _)| kept(name))
            .collect();
        format!("{labels:?}")
    };
    found.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(points: &[(f64, f64)], expected: Option<&str>) {
        let series = Series {
            labels: BTreeMap::new(),
            points: points.to_vec(),
        };
        assert_eq!(missing(&[series], 10.0), expected);
    }

    #[test]
    fn a_panel_needs_a_finite_number_of_late() {
        check(&[], Some("nothing"));
        check(&[(5.0, 1.0), (11.0, f64::NAN)], Some("no number lately"));
        check(
            &[(11.0, f64::INFINITY), (12.0, f64::NAN)],
            Some("no finite number"),
        );
        check(&[(11.0, 0.0)], None);
    }
}
