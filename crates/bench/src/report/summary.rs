//! What the cells with a generator of their own report in the format of the load scripts, so that one
//! script compares results of both: `summary.json` and `summary.md`, one of each for every relay.

mod markdown;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CellReport, RelayReport, Report};
use crate::statistics::{Latency, middle};

/// The version of the format.
const FORMAT: u32 = 1;

/// Share of the cores above which the client was what was measured.
const CLIENT_CPU_MAX: f64 = 0.8;

/// What a relay may keep for one that doesn't read, and for other reasons meanwhile.
const STALLED_BYTES_MAX: u64 = 16 << 20;
const OTHER_BYTES_MAX: u64 = 64 << 20;

/// What that is compared with.
const GROWTH: &str = "slow_rss_growth_bytes";

/// Limits of metrics.
type Limits = &'static [(&'static str, &'static str)];

/// Cells that report so, under which name, with the limits of their metrics.
const SCENARIOS: [(&str, &str, Limits); 2] = [
    (
        "stalled readers",
        "slow_readers",
        &[
            ("slow_missing", "count==0"),
            ("slow_duplicate", "count==0"),
            ("slow_stalled", "count>0"),
            ("slow_close_missing", "count==0"),
            ("slow_healthy_slowdown", "value<=1.1"),
            ("slow_readers_done", "count>0"),
        ],
    ),
    (
        "sockets",
        "sockets",
        &[
            ("connect_failed", "count==0"),
            ("hold_failed", "count==0"),
            ("delivery_missing", "count==0"),
            ("delivery_duplicate", "count==0"),
            ("sockets_done", "count>0"),
        ],
    ),
];

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Metric {
    /// Latencies in milliseconds.
    Trend {
        /// How many.
        count: u64,
        /// Half are shorter or as long.
        p50: f64,
        /// Nine of ten are.
        p90: f64,
        /// 99 of a hundred are.
        p99: f64,
        /// The longest.
        max: f64,
    },
    /// A single figure.
    Value {
        /// In the unit that the name ends with.
        value: f64,
    },
    /// Something that was counted.
    Count {
        /// How many.
        count: u64,
    },
}

impl From<Latency> for Metric {
    fn from(latency: Latency) -> Self {
        Self::Trend {
            count: latency.count,
            p50: latency.p50_ms,
            p90: latency.p90_ms,
            p99: latency.p99_ms,
            max: latency.max_ms,
        }
    }
}

/// A result in that format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Of the format.
    pub format: u32,
    /// This program.
    pub generator: String,
    /// The cells and their sizes: results of others can't be compared.
    pub profile: String,
    /// The relay's name on the command line.
    pub targets: Vec<String>,
    /// What the relay says of itself (NIP-11).
    pub relay: Software,
    /// What was built.
    pub commit: String,
    /// Where it ran.
    pub machine: String,
    /// The command that started the relay stands for its configuration.
    pub config_hash: String,
    /// When the run began (RFC 3339).
    pub started: Option<String>,
    /// How long these cells took, over all passes.
    pub seconds: f64,
    /// Share of the cores that the generator used, where it used most.
    pub generator_cpu: Option<f64>,
    /// Whether the figures may be compared.
    pub valid: bool,
    /// Why not.
    pub warnings: Vec<String>,
    /// Scenarios that weren't run, with the reason.
    pub skipped: BTreeMap<String, String>,
    /// By name.
    pub scenarios: BTreeMap<String, Scenario>,
}

/// What a relay says of itself (NIP-11), where it does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Software {
    /// Its name.
    pub name: Option<String>,
    /// Its software.
    pub software: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// One kind of load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// By name.
    pub metrics: BTreeMap<String, Metric>,
    /// The limits.
    pub thresholds: Vec<Threshold>,
}

/// A limit of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// Which.
    pub metric: String,
    /// As `count==0`.
    pub expression: String,
    /// Whether it holds.
    pub passed: bool,
}

/// What one relay's cells come to; `None` if none of them reports so.
pub(crate) fn summary(report: &Report, relay: &RelayReport, cores: usize) -> Option<Summary> {
    let mut summary = Summary {
        format: FORMAT,
        generator: "heliograph-bench".to_owned(),
        profile: profile(report),
        targets: vec![relay.name.clone()],
        relay: relay.software.clone(),
        commit: report.commit.clone(),
        machine: report.machine.clone(),
        config_hash: relay.command_hash(),
        started: report.started.clone(),
        seconds: 0.0,
        generator_cpu: None,
        valid: true,
        warnings: Vec::new(),
        skipped: BTreeMap::new(),
        scenarios: BTreeMap::new(),
    };
    for (cell, name, limits) in SCENARIOS {
        match relay.cell(cell) {
            None => {
                let why = "not asked for (--only)".to_owned();
                summary.skipped.insert(name.to_owned(), why);
            }
            Some(cell) => summary.add(name, cell, limits, cores),
        }
    }
    let busy = summary.generator_cpu.filter(|cpu| *cpu > CLIENT_CPU_MAX);
    if let Some(cpu) = busy {
        let percent = cpu * 100.0;
        summary.warnings.push(format!(
            "The generator used {percent:.0} % of the cores: it measured itself. Use more cores."
        ));
    }
    summary.valid = summary.warnings.is_empty();
    (!summary.scenarios.is_empty()).then_some(summary)
}

fn profile(report: &Report) -> String {
    let (readers, rate, before, during) = report.sizes.stalled;
    let (sockets, notes) = report.sizes.sockets;
    format!(
        "bench: {readers} readers at {rate}/s for {before}+{during} notes; {sockets} sockets, {notes} notes"
    )
}

impl Summary {
    fn add(&mut self, name: &str, cell: &CellReport, limits: Limits, cores: usize) {
        let mut scenario = Scenario::default();
        let names = cell.passes.iter().flat_map(|pass| pass.metrics.keys());
        for metric in names {
            let passes = cell
                .passes
                .iter()
                .filter_map(|pass| pass.metrics.get(metric));
            let limited = limits.iter().any(|(name, _)| name == metric);
            if let Some(merged) = merge(&passes.copied(), limited || metric == GROWTH) {
                scenario.metrics.insert(metric.clone(), merged);
            }
        }
        let stalled = match scenario.metrics.get("slow_stalled") {
            Some(Metric::Count { count }) => *count / cell.passes.len().max(1) as u64,
            _ => 0,
        };
        let bytes = OTHER_BYTES_MAX + stalled * STALLED_BYTES_MAX;
        let memory = (GROWTH, format!("value<{bytes}"));
        let limits = limits
            .iter()
            .map(|(metric, expression)| (*metric, (*expression).to_owned()));
        for (metric, expression) in limits.chain((stalled > 0).then_some(memory)) {
            let passed = scenario
                .metrics
                .get(metric)
                .is_some_and(|metric| holds(&expression, *metric));
            scenario.thresholds.push(Threshold {
                metric: metric.to_owned(),
                expression,
                passed,
            });
        }
        for pass in &cell.passes {
            self.seconds += pass.wall_secs;
            let share = pass.client_cpu_secs / pass.wall_secs.max(1e-9) / cores.max(1) as f64;
            self.generator_cpu = Some(self.generator_cpu.map_or(share, |most| most.max(share)));
            let faults = pass.faults.iter();
            self.warnings
                .extend(faults.map(|fault| format!("{name}: {fault}")));
        }
        let failures = cell.failures.iter();
        self.warnings
            .extend(failures.map(|failure| format!("{name}: {failure}")));
        self.scenarios.insert(name.to_owned(), scenario);
    }
}

/// Several passes as one: what was counted is added, of a figure that has a limit it is the greatest, since
/// all these limits are upper bounds, and of everything else the middle.
fn merge(passes: &(impl Iterator<Item = Metric> + Clone), limited: bool) -> Option<Metric> {
    let median = |figure: fn(&Metric) -> f64| {
        let figures: Vec<f64> = passes.clone().map(|metric| figure(&metric)).collect();
        middle(figures).map_or(0.0, |middle| middle.median)
    };
    let total = passes.clone().map(|metric| match metric {
        Metric::Trend { count, .. } | Metric::Count { count } => count,
        Metric::Value { .. } => 0,
    });
    let total: u64 = total.sum();
    Some(match passes.clone().next()? {
        Metric::Count { .. } => Metric::Count { count: total },
        Metric::Value { .. } => {
            let value = |metric: &Metric| match metric {
                Metric::Value { value } => *value,
                _ => 0.0,
            };
            let greatest = passes.clone().map(|metric| value(&metric));
            let greatest = greatest.max_by(f64::total_cmp).filter(|_| limited);
            Metric::Value {
                value: greatest.unwrap_or_else(|| median(value)),
            }
        }
        Metric::Trend { .. } => {
            type Pick = fn(&Metric) -> f64;
            let picks: [Pick; 4] = [
                |metric| {
                    if let Metric::Trend { p50, .. } = metric {
                        *p50
                    } else {
                        0.0
                    }
                },
                |metric| {
                    if let Metric::Trend { p90, .. } = metric {
                        *p90
                    } else {
                        0.0
                    }
                },
                |metric| {
                    if let Metric::Trend { p99, .. } = metric {
                        *p99
                    } else {
                        0.0
                    }
                },
                |metric| {
                    if let Metric::Trend { max, .. } = metric {
                        *max
                    } else {
                        0.0
                    }
                },
            ];
            let [p50, p90, p99, max] = picks.map(median);
            Metric::Trend {
                count: total,
                p50,
                p90,
                p99,
                max,
            }
        }
    })
}

/// Whether `count==0`, `count>0`, `value<=1.1` or the like holds.
fn holds(expression: &str, metric: Metric) -> bool {
    let figure = match metric {
        Metric::Count { count } | Metric::Trend { count, .. } => count as f64,
        Metric::Value { value } => value,
    };
    let operator = expression.trim_start_matches(|c: char| c.is_ascii_lowercase());
    type Compare = fn(&f64, &f64) -> bool;
    let operators: [(&str, Compare); 4] = [
        ("==", |a, b| a == b),
        ("<=", |a, b| a <= b),
        (">", |a, b| a > b),
        ("<", |a, b| a < b),
    ];
    operators.into_iter().any(|(sign, compare)| {
        let bound = operator
            .strip_prefix(sign)
            .and_then(|bound| bound.parse().ok());
        bound.is_some_and(|bound: f64| compare(&figure, &bound))
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::samples::{cell, figures, relay, report},
        *,
    };

    fn stalled(missing: u64, p99: f64) -> crate::cells::Figures {
        let trend = Metric::Trend {
            count: 10,
            p50: 1.0,
            p90: 2.0,
            p99,
            max: p99,
        };
        let count = |count| Metric::Count { count };
        let mut figures = figures(10.0, 1.0);
        figures.metrics = [
            ("slow_healthy_ms", trend),
            ("slow_missing", count(missing)),
            ("slow_duplicate", count(0)),
            ("slow_stalled", count(5)),
            ("slow_close_missing", count(0)),
            ("slow_readers_done", count(10)),
            ("slow_healthy_slowdown", Metric::Value { value: 1.0 }),
            ("slow_rss_growth_bytes", Metric::Value { value: 1e6 }),
        ]
        .map(|(name, metric)| (name.to_owned(), metric))
        .into();
        figures
    }

    fn of(passes: Vec<crate::cells::Figures>) -> Summary {
        let mut cell = cell(passes);
        cell.name = "stalled readers".to_owned();
        let report = report(vec![relay("a", vec![cell])]);
        summary(&report, &report.relays[0], 2).unwrap()
    }

    fn failed(summary: &Summary) -> Vec<&str> {
        let limits = &summary.scenarios["slow_readers"].thresholds;
        let failed = limits.iter().filter(|limit| !limit.passed);
        failed.map(|limit| limit.metric.as_str()).collect()
    }

    #[test]
    fn passes_become_one_result_that_reads_back() {
        let summary = of(vec![stalled(0, 10.0), stalled(0, 30.0)]);
        assert!(summary.valid && failed(&summary).is_empty(), "{summary:?}");
        let expected = Metric::Trend {
            count: 20,
            p50: 1.0,
            p90: 2.0,
            p99: 20.0,
            max: 20.0,
        };
        let scenario = &summary.scenarios["slow_readers"];
        assert_eq!(scenario.metrics["slow_healthy_ms"], expected);
        assert_eq!(
            summary.skipped.keys().collect::<Vec<_>>(),
            ["sockets"],
            "what didn't run is named"
        );
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
        assert!(
            summary
                .markdown()
                .contains("| slow_missing | 0 | `count==0` | passed |")
        );
    }

    #[test]
    fn each_limit_can_fail_and_so_can_one_without_a_figure() {
        assert_eq!(failed(&of(vec![stalled(1, 1.0)])), ["slow_missing"]);
        let all: Vec<String> = stalled(0, 1.0).metrics.into_keys().collect();
        for metric in all.iter().filter(|name| *name != "slow_healthy_ms") {
            let mut without = stalled(0, 1.0);
            without.metrics.remove(metric);
            let summary = of(vec![without]);
            assert!(failed(&summary).contains(&metric.as_str()), "{metric}");
        }
        let mut slow = stalled(0, 1.0);
        let metric = |value| Metric::Value { value };
        slow.metrics
            .insert("slow_healthy_slowdown".to_owned(), metric(1.2));
        slow.metrics
            .insert("slow_rss_growth_bytes".to_owned(), metric(1e9));
        assert_eq!(
            failed(&of(vec![slow])),
            ["slow_healthy_slowdown", "slow_rss_growth_bytes"]
        );
    }

    #[test]
    fn a_limit_holds_in_every_pass() {
        let with = |name: &str, value| {
            let mut pass = stalled(0, 1.0);
            let metric = Metric::Value { value };
            pass.metrics.insert(name.to_owned(), metric);
            pass
        };
        for (name, good, bad) in [
            ("slow_healthy_slowdown", 1.0, 1.2),
            ("slow_rss_growth_bytes", 1e6, 1e9),
        ] {
            let passes = [good, bad, good].map(|value| with(name, value));
            assert_eq!(failed(&of(passes.to_vec())), [name]);
        }
        let free = [1.0, 9.0, 2.0].map(|value| with("connect_per_sec", value));
        let summary = of(free.to_vec());
        let merged = summary.scenarios["slow_readers"].metrics["connect_per_sec"];
        assert_eq!(merged, Metric::Value { value: 2.0 });
    }

    #[test]
    fn a_fault_or_a_client_that_took_the_cores_makes_it_invalid() {
        let mut lost = stalled(3, 1.0);
        lost.faults.push("3 of 9 deliveries didn't come".to_owned());
        assert!(!of(vec![lost]).valid);
        let mut busy = stalled(0, 1.0);
        busy.client_cpu_secs = 17.0;
        let summary = of(vec![busy]);
        assert!(
            !summary.valid && summary.warnings[0].contains("85 %"),
            "{summary:?}"
        );
    }

    #[test]
    fn a_relay_without_these_cells_has_no_summary() {
        let report = report(vec![relay("a", vec![cell(vec![figures(1.0, 1.0)])])]);
        assert_eq!(summary(&report, &report.relays[0], 2), None);
    }
}
