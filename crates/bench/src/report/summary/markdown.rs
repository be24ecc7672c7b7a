//! A summary for people.

use std::fmt::Write;

use super::{Metric, Summary, Threshold};

impl Summary {
    /// The summary as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("# Load test: {}\n\n| | |\n| --- | --- |\n", self.profile);
        let unknown = || "–".to_owned();
        let relay = [&self.relay.name, &self.relay.software, &self.relay.version];
        let relay: Vec<&str> = relay
            .into_iter()
            .filter_map(|part| part.as_deref())
            .collect();
        let cpu = self.generator_cpu;
        let rows = [
            ("relay", relay.join(", ")),
            ("targets", self.targets.join(", ")),
            ("commit", self.commit.clone()),
            ("config", self.config_hash.clone()),
            ("machine", self.machine.clone()),
            ("generator", self.generator.clone()),
            (
                "generator CPU",
                cpu.map_or_else(unknown, |cpu| format!("{:.0} %", cpu * 100.0)),
            ),
            ("started", self.started.clone().unwrap_or_else(unknown)),
            ("seconds", format!("{:.1}", self.seconds)),
        ];
        for (name, value) in rows {
            line(&mut out, format_args!("| {name} | {value} |"));
        }
        let valid = if self.valid {
            "The result is valid."
        } else {
            "**The result is not valid:**"
        };
        line(&mut out, format_args!("\n{valid}\n"));
        for warning in &self.warnings {
            line(&mut out, format_args!("- {warning}"));
        }
        for (name, scenario) in &self.scenarios {
            line(
                &mut out,
                format_args!(
                    "\n## {name}\n\n| metric | measured | threshold | |\n| --- | --- | --- | --- |"
                ),
            );
            for (metric, value) in &scenario.metrics {
                let limits: Vec<&Threshold> = scenario
                    .thresholds
                    .iter()
                    .filter(|limit| limit.metric == *metric)
                    .collect();
                let told: Vec<String> = limits
                    .iter()
                    .map(|limit| format!("`{}`", limit.expression))
                    .collect();
                let verdict = match limits.iter().all(|limit| limit.passed) {
                    _ if limits.is_empty() => "",
                    true => "passed",
                    false => "**FAILED**",
                };
                let (value, told) = (shown(*value), told.join(", "));
                line(
                    &mut out,
                    format_args!("| {metric} | {value} | {told} | {verdict} |"),
                );
            }
        }
        for (name, why) in &self.skipped {
            line(&mut out, format_args!("\n- skipped {name}: {why}"));
        }
        out
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string doesn't fail.
    let _written = writeln!(out, "{text}");
}

fn shown(metric: Metric) -> String {
    match metric {
        Metric::Trend {
            count,
            p50,
            p90,
            p99,
            max,
        } => format!("{count} samples, p50 {p50:.2}, p90 {p90:.2}, p99 {p99:.2}, max {max:.2}"),
        Metric::Value { value } => format!("{value:.3}"),
        Metric::Count { count } => count.to_string(),
    }
}
