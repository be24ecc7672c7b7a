//! Metrics of the process itself, read when they are scraped.

use std::{
    fmt, fs,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

use crate::{Health, ShownCertificate, memory_limit_bytes, open_files_limit, rate_limit, trace};

/// What was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// The version of the program.
    pub version: &'static str,
    /// The commit that it was built from, or "unknown".
    pub revision: &'static str,
}

/// Which configuration is in force, and how often another one couldn't be. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ConfigState(Arc<ConfigFigures>);

#[derive(Debug, Default)]
struct ConfigFigures {
    hash: AtomicU32,
    reload_failures: AtomicU64,
}

impl ConfigState {
    /// Another configuration is in force, with this hash.
    pub fn set(&self, hash: u32) {
        self.0.hash.store(hash, Ordering::Relaxed);
    }

    /// Another configuration was to be in force and could not be.
    pub fn reload_failed(&self) {
        self.0.reload_failures.fetch_add(1, Ordering::Relaxed);
    }

    fn hex(&self) -> String {
        format!("{:08x}", self.0.hash.load(Ordering::Relaxed))
    }

    fn reload_failures(&self) -> u64 {
        self.0.reload_failures.load(Ordering::Relaxed)
    }
}

/// What a process shows of itself beside what the system tells.
#[derive(Debug)]
pub struct ProcessFacts {
    /// What was built.
    pub build: BuildInfo,
    /// When it started, in Unix seconds.
    pub started_secs: u64,
    /// Cores that it may use.
    pub cores: usize,
    /// Whether it is ready.
    pub health: Health,
    /// What it runs on.
    pub config: ConfigState,
    /// How many of its tasks have panicked.
    pub tasks_panicked: fn() -> u64,
    /// What it shows to others.
    pub certificates: Vec<ShownCertificate>,
}

/// Registers what every process shows: build, start, time, CPU, memory, files, the workers of the
/// runtime that this is called on, configuration, readiness, certificates, traces and logs. What
/// the system doesn't tell is left out.
pub fn register_process_metrics(registry: &mut Registry, facts: ProcessFacts) {
    let BuildInfo { version, revision } = facts.build;
    let labels = vec![("version", version), ("revision", revision)];
    registry.register("build", "What was built", Info::new(labels));
    let runtime = Handle::try_current().ok();
    registry.register_collector(Box::new(Process { facts, runtime }));
}

#[derive(Debug)]
struct Process {
    facts: ProcessFacts,
    /// That of the data threads. None where metrics are only listed.
    runtime: Option<Handle>,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(&mut encoder);
        system(&mut out, &self.facts)?;
        runtime(&mut out, self.runtime.as_ref())?;
        own(&mut out, &self.facts)?;
        telemetry(&mut out)
    }
}

/// What the system says of the process.
fn system(out: &mut Out<'_, '_>, facts: &ProcessFacts) -> fmt::Result {
    out.gauge(
        "process_start_time_seconds",
        "Start of the process in Unix time",
        Some(facts.started_secs),
    )?;
    out.write(
        "process_time_seconds",
        "The clock of the process in Unix time, when it was scraped",
        &ConstGauge::new(seconds(ClockId::Realtime)),
    )?;
    out.write(
        "process_cpu_seconds",
        "CPU time used, user and system",
        &ConstCounter::new(seconds(ClockId::ProcessCPUTime)),
    )?;
    out.gauge(
        "process_cores",
        "Cores that the process may use",
        u64::try_from(facts.cores).ok(),
    )?;
    out.gauge(
        "process_resident_memory_bytes",
        "Resident memory",
        resident_bytes(),
    )?;
    out.gauge(
        "process_memory_limit_bytes",
        "Memory that the process may use: its control group's, or all there is",
        memory_limit_bytes(),
    )?;
    out.gauge("process_open_fds", "Open files and sockets", open_files())?;
    out.gauge(
        "process_max_fds",
        "Limit of open files and sockets",
        open_files_limit(),
    )
}

/// How busy the threads are that clients are served by.
fn runtime(out: &mut Out<'_, '_>, runtime: Option<&Handle>) -> fmt::Result {
    let metrics = runtime.map(Handle::metrics);
    let workers = metrics.as_ref().map_or(0, |metrics| metrics.num_workers());
    let busy = metrics.iter().flat_map(|metrics| {
        (0..workers).map(|worker| metrics.worker_total_busy_duration(worker).as_secs_f64())
    });
    out.write(
        "runtime_busy_seconds",
        "Time that data workers were busy, in all",
        &ConstCounter::new(busy.sum::<f64>()),
    )?;
    out.gauge(
        "runtime_workers",
        "Threads that serve data",
        u64::try_from(workers).ok(),
    )
}

/// What the process says of itself.
fn own(out: &mut Out<'_, '_>, facts: &ProcessFacts) -> fmt::Result {
    out.gauge(
        "ready",
        "Whether it is ready, as /readyz says: 1 or 0",
        Some(u64::from(facts.health.ready().is_ok())),
    )?;
    out.labelled(
        "config_hash",
        "A hash of the configuration in force without secrets, names and addresses of the process; always 1",
        [("hash", facts.config.hex().as_str(), 1)],
    )?;
    out.total(
        "config_reload_failures",
        "Configurations that were to be loaded while the process ran and were refused",
        facts.config.reload_failures(),
    )?;
    out.total(
        "tasks_panicked",
        "Tasks that ended in a panic, each a bug",
        (facts.tasks_panicked)(),
    )?;
    let ends = facts.certificates.iter().filter_map(|certificate| {
        let not_after = certificate.not_after_secs()?;
        Some(("use", certificate.purpose(), not_after))
    });
    out.labelled(
        "tls_certificate_not_after_seconds",
        "When a certificate ends that this process uses to show who it is, in Unix time",
        ends,
    )
}

/// What became of spans and log lines.
fn telemetry(out: &mut Out<'_, '_>) -> fmt::Result {
    out.total(
        "traces_exported",
        "Spans that the collector took",
        trace::exported(),
    )?;
    out.total(
        "traces_dropped",
        "Spans that were dropped: the collector was away or slow, or refused them",
        trace::dropped(),
    )?;
    out.total(
        "log_lines_suppressed",
        "Log lines left out because others like them came shortly before",
        rate_limit::suppressed(),
    )
}

/// Writes single series.
struct Out<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Out<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: Option<u64>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.write(name, help, &ConstGauge::new(signed(value)))
    }

    fn total(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.write(name, help, &ConstCounter::new(value))
    }

    fn write(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, metric.metric_type())?;
        metric.encode(encoder)
    }

    /// Gauges of one name: a label, its value, theirs. Nothing without any.
    fn labelled<'v>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (&'static str, &'v str, u64)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (label, text, value) in series {
            let labels = [(label, text)];
            ConstGauge::new(signed(value)).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

fn open_files() -> Option<u64> {
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use prometheus_client::encoding::text::encode;

    use super::*;

    fn facts() -> ProcessFacts {
        ProcessFacts {
            build: BuildInfo {
                version: "1.2.3",
                revision: "abc",
            },
            started_secs: 1_700_000_000,
            cores: 3,
            health: Health::new(),
            config: ConfigState::default(),
            tasks_panicked: || 3,
            certificates: Vec::new(),
        }
    }

    fn registered(facts: ProcessFacts) -> Registry {
        let mut registry = crate::registry();
        register_process_metrics(&mut registry, facts);
        registry
    }

    fn page(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[track_caller]
    fn value(page: &str, series: &str) -> f64 {
        let start = format!("heliograph_{series} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("{series} in {page}"));
        line.parse().unwrap()
    }

    #[test]
    fn every_process_metric_is_exported_with_a_plausible_value() {
        let page = page(&registered(facts()));
        let value = |name: &str| value(&page, name);
        assert!(page.contains(r#"heliograph_build_info{version="1.2.3",revision="abc"} 1"#));
        assert!((value("process_start_time_seconds") - 1.7e9).abs() < 1.0);
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_memory_limit_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0);
        assert_eq!(value("process_cores"), 3.0);
        assert_eq!(value("tasks_panicked_total"), 3.0);
        for counter in ["traces_exported", "traces_dropped", "log_lines_suppressed"] {
            value(&format!("{counter}_total"));
        }
        assert!(!page.contains("tls_certificate"), "{page}");
    }

    #[test]
    fn the_clock_is_that_of_the_scrape() {
        let now = || crate::wall_clock().duration_since(UNIX_EPOCH).unwrap();
        let before = now().as_secs_f64();
        let shown = value(&page(&registered(facts())), "process_time_seconds");
        assert!((before..=now().as_secs_f64()).contains(&shown), "{shown}");
    }

    #[test]
    fn ready_is_what_readyz_says() {
        let facts = facts();
        let health = facts.health.clone();
        let registry = registered(facts);
        assert_eq!(value(&page(&registry), "ready"), 1.0);
        health.ready_when("store", || Err("full".to_owned()));
        assert_eq!(value(&page(&registry), "ready"), 0.0);
    }

    #[test]
    fn the_hash_follows_the_configuration() {
        let facts = facts();
        let hash = facts.config.clone();
        let registry = registered(facts);
        hash.set(0xab);
        assert_eq!(
            value(&page(&registry), r#"config_hash{hash="000000ab"}"#),
            1.0
        );
        hash.set(0xcd00_00ef);
        let page = page(&registry);
        assert_eq!(value(&page, r#"config_hash{hash="cd0000ef"}"#), 1.0);
        assert_eq!(page.matches("heliograph_config_hash{").count(), 1);
    }

    #[test]
    fn a_configuration_that_was_refused_is_counted() {
        let facts = facts();
        let config = facts.config.clone();
        let registry = registered(facts);
        let failures = || value(&page(&registry), "config_reload_failures_total");
        assert_eq!(failures(), 0.0);
        config.reload_failed();
        assert_eq!(failures(), 1.0);
    }

    #[test]
    fn each_certificate_is_shown_by_its_use() {
        let file = |name: &str| {
            let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/traces/tls/");
            std::path::Path::new(tls).join(name)
        };
        let page = page(&registered(ProcessFacts {
            certificates: vec![
                ShownCertificate::read_each_time("nats", &file("authority.pem")),
                ShownCertificate::read_once("scylla", &file("collector.pem")),
                ShownCertificate::read_once("matcher", &file("missing.pem")),
            ],
            ..facts()
        }));
        let end = |of: &str| {
            let series = format!("tls_certificate_not_after_seconds{{use=\"{of}\"}}");
            value(&page, &series)
        };
        assert_eq!(
            (end("nats"), end("scylla")),
            (4_949_019_897.0, 2_486_619_897.0)
        );
        assert!(!page.contains("use=\"matcher\""), "{page}");
    }

    #[test]
    fn work_of_the_runtime_shows_as_busy_time() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let registry = runtime.block_on(async { registered(facts()) });
        let busy = || value(&page(&registry), "runtime_busy_seconds_total");
        let before = busy();
        let spin = |time| {
            let start = Instant::now();
            while start.elapsed() < time {}
        };
        let work = runtime.spawn(async move { spin(Duration::from_millis(50)) });
        runtime.block_on(work).unwrap();
        // A worker counts what it did when it parks.
        while busy() - before < 0.05 {
            std::thread::yield_now();
        }
        assert_eq!(value(&page(&registry), "runtime_workers"), 2.0);
    }
}
