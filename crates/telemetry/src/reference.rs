//! The reference page of metrics, made from a registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use prometheus_client::{encoding::text::encode, registry::Registry};

#[derive(Debug, Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The page `docs/reference/metrics.md`: name, type, labels and help of every metric, by name.
///
/// Labels are those of the series that exist, so services make a handle for each label value at
/// start.
#[must_use]
pub fn metrics_reference(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("writing to a string can't fail");
    let mut out = String::from(
        "<!-- Generated from the metrics that the program registers; don't edit. -->\n\
         # Metrics\n\n\
         Served on `/metrics` of the admin listener in OpenMetrics text. A histogram has the series `_bucket`,\n\
         `_sum` and `_count`.\n\n\
         | metric | type | labels | help |\n| --- | --- | --- | --- |\n",
    );
    for (name, metric) in read(&text) {
        let suffix = match metric.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        writeln!(
            out,
            "| `{name}{suffix}` | {} | {} | {} |",
            metric.kind,
            labels.join(", "),
            metric.help.replace('|', "\\|")
        )
        .expect("writing to a string can't fail");
    }
    out
}

/// Reads an exposition: metrics by their name without suffix.
fn read(text: &str) -> BTreeMap<&str, Metric> {
    let mut metrics: BTreeMap<&str, Metric> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            current = name;
            help.clone_into(&mut metrics.entry(name).or_default().help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            current = name;
            kind.clone_into(&mut metrics.entry(name).or_default().kind);
        } else if !line.starts_with('#')
            && let Some(metric) = metrics.get_mut(current)
        {
            metric.labels.extend(labels(line));
        }
    }
    metrics
}

/// The label names of one series: `name{a="1",b="2"} 3`. `le` belongs to every histogram.
fn labels(series: &str) -> Vec<String> {
    let Some((_, mut rest)) = series.split_once('{') else {
        return Vec::new();
    };
    let mut names = Vec::new();
    while let Some((name, after)) = rest.split_once("=\"") {
        let name = name.trim_start_matches(',');
        if name != "le" {
            names.push(name.to_owned());
        }
        let Some(end) = closing_quote(after) else {
            break;
        };
        rest = &after[end + 1..];
        if rest.starts_with('}') {
            break;
        }
    }
    names
}

/// Where a label value ends: at the first quote that isn't escaped.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{
        counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
    };

    use super::*;

    #[test]
    fn every_metric_is_listed_with_type_labels_and_help() {
        let mut registry = crate::registry();
        let refused: Family<Vec<(String, String)>, Counter> = Family::default();
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        refused
            .get_or_create(&vec![label("reason", "a\"},b=\"c"), label("verb", "REQ")])
            .inc();
        registry.register("refused", "Messages refused", refused);
        registry.register("open", "Connections open", Gauge::<i64>::default());
        let seconds: Family<Vec<(String, String)>, Histogram> =
            Family::new_with_constructor(|| Histogram::new([0.1]));
        seconds
            .get_or_create(&vec![label("op", "read")])
            .observe(1.0);
        registry.register("wait_seconds", "Time waited", seconds);
        let page = metrics_reference(&registry);
        for row in [
            "| `heliograph_refused_total` | counter | `reason`, `verb` | Messages refused. |",
            "| `heliograph_open` | gauge |  | Connections open. |",
            "| `heliograph_wait_seconds` | histogram | `op` | Time waited. |",
        ] {
            assert!(page.contains(row), "{row} in {page}");
        }
    }
}
