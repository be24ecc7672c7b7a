//! Metrics of the process itself, read when they are scraped.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use rustix::time::{ClockId, clock_gettime};

use crate::open_files_limit;

/// What was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// The version of the program.
    pub version: &'static str,
    /// The commit that it was built from, or "unknown".
    pub revision: &'static str,
}

/// Registers `heliograph_build_info` and `heliograph_process_*`: start time, CPU time, resident
/// memory, open files and their limit. `started_secs` is the start in Unix seconds. What the system
/// doesn't tell is left out.
pub fn register_process_metrics(registry: &mut Registry, build: BuildInfo, started_secs: u64) {
    let labels = vec![("version", build.version), ("revision", build.revision)];
    registry.register("build", "What was built", Info::new(labels));
    registry.register_collector(Box::new(Process { started_secs }));
}

#[derive(Debug)]
struct Process {
    started_secs: u64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let started = i64::try_from(self.started_secs).unwrap_or(i64::MAX);
        gauge(
            &mut encoder,
            "process_start_time_seconds",
            "Start of the process in Unix time",
            Some(started),
        )?;
        counter(
            &mut encoder,
            "process_cpu_seconds",
            "CPU time used, user and system",
        )?;
        gauge(
            &mut encoder,
            "process_resident_memory_bytes",
            "Resident memory",
            resident_bytes(),
        )?;
        gauge(
            &mut encoder,
            "process_open_fds",
            "Open files and sockets",
            open_files(),
        )?;
        let limit = open_files_limit().and_then(|limit| i64::try_from(limit).ok());
        gauge(
            &mut encoder,
            "process_max_fds",
            "Limit of open files and sockets",
            limit,
        )
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: Option<i64>,
) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> fmt::Result {
    let counter = ConstCounter::new(cpu_seconds());
    let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
    counter.encode(metric)
}

fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

fn resident_bytes() -> Option<i64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(i64::try_from(rustix::param::page_size()).ok()?)
}

fn open_files() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_process_metric_is_exported_with_a_plausible_value() {
        let mut registry = crate::registry();
        let build = BuildInfo {
            version: "1.2.3",
            revision: "abc",
        };
        register_process_metrics(&mut registry, build, 1_700_000_000);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {text}"))
                .trim()
                .parse()
                .unwrap()
        };
        assert!(text.contains(r#"heliograph_build_info{version="1.2.3",revision="abc"} 1"#));
        assert!((value("heliograph_process_start_time_seconds ") - 1.7e9).abs() < 1.0);
        assert!(value("heliograph_process_cpu_seconds_total ") > 0.0);
        assert!(value("heliograph_process_resident_memory_bytes ") > 1e6);
        assert!(value("heliograph_process_open_fds ") >= 3.0);
    }
}
