//! The metrics that there are: what the program says of itself, and what every Prometheus has.

use std::collections::{BTreeMap, BTreeSet};

use super::promql;

/// Labels that a target has from the scrape configuration.
pub(super) const TARGET: [&str; 6] = ["job", "instance", "role", "pod", "namespace", "cluster"];

/// Series of a histogram.
const HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

/// What Prometheus makes itself, with its labels.
const BUILT_IN: [(&str, &[&str]); 2] = [
    ("up", &[]),
    ("ALERTS", &["alertname", "alertstate", "severity"]),
];

/// Every metric, as docs/reference/metrics.md lists them, and what the rules record.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    metrics: BTreeMap<String, Metric>,
    recorded: BTreeSet<String>,
}

#[derive(Debug)]
struct Metric {
    histogram: bool,
    labels: Vec<String>,
}

impl Catalogue {
    /// Reads the page; `recorded` are the names of recording rules.
    pub(super) fn read(page: &str, recorded: BTreeSet<String>) -> Self {
        let rows = page
            .lines()
            .filter(|line| line.starts_with("| `heliograph_"));
        let metrics = rows.filter_map(|row| {
            let mut cells = row.trim_matches('|').split('|').map(str::trim);
            let name = cells.next()?.trim_matches('`').to_owned();
            let histogram = cells.next()? == "histogram";
            let labels = cells.next()?.split(", ");
            let labels = labels.map(|label| label.trim_matches('`').to_owned());
            let labels = labels.filter(|label| !label.is_empty()).collect();
            Some((name, Metric { histogram, labels }))
        });
        Self {
            metrics: metrics.collect(),
            recorded,
        }
    }

    /// The names on the page.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.metrics.keys().map(String::as_str)
    }

    /// Whether the page lists this metric.
    pub(super) fn lists(&self, name: &str) -> bool {
        self.metrics.contains_key(name)
    }

    /// The metric that a series belongs to: itself, or the histogram that it is a part of.
    pub(super) fn metric_of<'a>(&self, series: &'a str) -> Option<&'a str> {
        if let Some(metric) = self.metrics.get(series) {
            // A histogram has no series of its own name.
            return (!metric.histogram).then_some(series);
        }
        let names = HISTOGRAM.iter().filter_map(|end| series.strip_suffix(end));
        let mut names = names.filter(|name| self.metrics.get(*name).is_some_and(|m| m.histogram));
        names.next()
    }

    /// The metrics that an expression uses.
    pub(super) fn used(&self, expression: &str) -> Vec<String> {
        let named = promql::named(expression);
        let names = named.selectors.iter();
        let names = names.filter_map(|(name, _)| self.metric_of(name));
        names.map(str::to_owned).collect()
    }

    /// What is wrong with the names in an expression.
    pub(super) fn unknown(&self, expression: &str) -> Vec<String> {
        let named = promql::named(expression);
        let mut findings = Vec::new();
        let mut labels: BTreeSet<&str> = TARGET.into();
        let mut any = false;
        for (name, asked) in &named.selectors {
            let Some((own, open)) = self.labels(name) else {
                findings.push(format!("no such metric: {name}"));
                continue;
            };
            any |= open;
            labels.extend(own.iter().copied());
            for label in asked {
                let has = open || own.contains(label.as_str()) || TARGET.contains(&label.as_str());
                if !has {
                    findings.push(format!("{name} has no label `{label}`"));
                }
            }
        }
        for label in named.grouping {
            if !any && !labels.contains(label.as_str()) {
                findings.push(format!("grouped by `{label}`, which no metric of it has"));
            }
        }
        findings
    }

    /// The labels of a series beside those of its target, and whether it may have others.
    fn labels(&self, series: &str) -> Option<(BTreeSet<&str>, bool)> {
        if let Some((_, labels)) = BUILT_IN.iter().find(|(name, _)| *name == series) {
            return Some((labels.iter().copied().collect(), false));
        }
        if self.recorded.contains(series) {
            return Some((BTreeSet::new(), true));
        }
        let metric = &self.metrics[self.metric_of(series)?];
        let mut labels: BTreeSet<&str> = metric.labels.iter().map(String::as_str).collect();
        if series.ends_with("_bucket") {
            labels.insert("le");
        }
        Some((labels, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Metrics\n\n| metric | type | labels | help |\n| --- | --- | --- | --- |\n\
        | `heliograph_a_total` | counter | `reason`, `dir` | A. |\n\
        | `heliograph_b_seconds` | histogram |  | B. |\n";

    #[track_caller]
    fn check(expression: &str, findings: usize) {
        let catalogue = Catalogue::read(PAGE, ["sli:x".to_owned()].into());
        let found = catalogue.unknown(expression);
        assert_eq!(found.len(), findings, "{expression}: {found:?}");
    }

    #[test]
    fn metrics_of_the_page_rules_and_prometheus_are_known() {
        check(
            r#"sum by (reason, pod) (rate(heliograph_a_total{dir="in"}[5m]))"#,
            0,
        );
        check(
            "sum by (le) (heliograph_b_seconds_bucket) + heliograph_b_seconds_sum",
            0,
        );
        check(
            r#"sli:x{slo="y"} and on (slo) up{role="z"} unless ALERTS{severity="w"}"#,
            0,
        );
    }

    #[test]
    fn others_are_not() {
        check("heliograph_c_total", 1);
        check("node_load1", 1);
        check("sli:y", 1);
    }

    #[test]
    fn a_histogram_has_only_its_parts() {
        check("heliograph_b_seconds", 1);
        check("heliograph_a_total_bucket", 1);
    }

    #[test]
    fn labels_are_those_of_the_metric_or_of_its_target() {
        check(r#"heliograph_a_total{shard="1"}"#, 1);
        check("sum by (reasons) (heliograph_a_total)", 1);
        check("sum by (le) (heliograph_b_seconds_sum)", 1);
    }

    #[test]
    fn use_is_told_by_the_name_of_the_page() {
        let catalogue = Catalogue::read(PAGE, BTreeSet::new());
        let used = catalogue.used("rate(heliograph_b_seconds_count[5m]) + heliograph_a_total");
        assert_eq!(used, ["heliograph_b_seconds", "heliograph_a_total"]);
        assert!(catalogue.lists("heliograph_b_seconds"));
    }
}
