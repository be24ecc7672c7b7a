//! `summary.json`: what a run found, in the one format of k6 and of the native generator.
//!
//! It is read strictly: an unknown or missing member is an error, so that both can't drift apart.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// A result.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The version of the format.
    pub format: u32,
    /// What made the load, with its version.
    pub generator: String,
    /// The profile.
    pub profile: String,
    /// URLs of the relay.
    pub targets: Vec<String>,
    /// What the relay says of itself.
    pub relay: About,
    /// The commit that was measured, if the run was told.
    pub commit: Option<String>,
    /// The machine, if the run was told.
    pub machine: Option<String>,
    /// The hash of the relay's configuration, if the run was told.
    pub config_hash: Option<String>,
    /// What all rates were multiplied by; the native generator has no such option.
    pub rate_factor: Option<f64>,
    /// How long each scenario lasted, if not as the profile says.
    pub scenario_seconds: Option<f64>,
    /// When it began (RFC 3339).
    pub started: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// What of the cores the generator took, 0 to 1, if known.
    pub generator_cpu: Option<f64>,
    /// Whether the generator itself had enough of the machine.
    pub valid: bool,
    /// What a reader should know.
    pub warnings: Vec<String>,
    /// Scenarios that the relay or the generator can't do, with the reason.
    pub skipped: BTreeMap<String, String>,
    /// What the others found.
    pub scenarios: BTreeMap<String, Scenario>,
}

/// Who was asked (NIP-11).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct About {
    /// Its name.
    pub name: Option<String>,
    /// Its program.
    pub software: Option<String>,
    /// The version of that.
    pub version: Option<String>,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it measured.
    pub metrics: BTreeMap<String, Metric>,
    /// What it had to keep to.
    pub thresholds: Vec<Verdict>,
    /// What the steps of the breakpoint profile came to.
    pub steps: Option<Value>,
}

/// What is known of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Metric {
    /// Times in milliseconds.
    Trend {
        /// How many.
        count: f64,
        /// Half of them took no longer.
        p50: f64,
        /// 90 % took no longer.
        p90: f64,
        /// 99 % took no longer.
        p99: f64,
        /// The longest.
        max: f64,
    },
    /// How many of how many.
    Rate {
        /// 0 to 1.
        rate: f64,
        /// Of how many.
        count: f64,
    },
    /// The newest of a value that goes up and down.
    Gauge {
        /// The value.
        value: f64,
    },
    /// How many.
    Count {
        /// The number.
        count: f64,
    },
}

/// What became of a threshold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Of which metric.
    pub metric: String,
    /// As in `thresholds.json`.
    pub expression: String,
    /// Whether it was kept to.
    pub passed: bool,
}

impl Summary {
    /// Reads a result.
    ///
    /// # Errors
    ///
    /// There is none, or it isn't one.
    pub fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{}: not a result", file.display()))
    }

    /// Every threshold that wasn't kept to, as `scenario metric expression`.
    #[must_use]
    pub fn breached(&self) -> Vec<String> {
        let verdicts = self.scenarios.iter().flat_map(|(name, scenario)| {
            let failed = scenario.thresholds.iter().filter(|one| !one.passed);
            failed.map(move |one| format!("{name} {} {}", one.metric, one.expression))
        });
        verdicts.collect()
    }
}

impl Metric {
    /// How many samples it has, or what it counted.
    #[must_use]
    pub fn count(&self) -> f64 {
        match self {
            Self::Trend { count, .. } | Self::Rate { count, .. } | Self::Count { count } => *count,
            Self::Gauge { .. } => 1.0,
        }
    }
}
