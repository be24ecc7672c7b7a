//! A canary at work, and what it counts.

use std::{path::PathBuf, sync::Arc, time::Duration};

use heliograph_canary::{Canary, CanaryError, Metrics, Options, Reader, Report, Timing};
use heliograph_lifecycle::{Phase, Shutdown, Tasks};
use heliograph_protocol::Kind;
use heliograph_telemetry::Registry;
use heliograph_testkit::PATIENCE;
use prometheus_client::encoding::text::encode;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Quick, with a deadline that a busy machine keeps.
pub(crate) const PATIENT: Timing = Timing {
    interval: Duration::from_millis(50),
    deadline: PATIENCE,
    audit_after: Duration::from_millis(100),
    expiration: Duration::from_secs(600),
};

/// The same with a deadline that a test can wait for.
pub(crate) const STRICT: Timing = Timing {
    deadline: Duration::from_millis(500),
    ..PATIENT
};

/// A canary and its figures.
pub(crate) struct Bed {
    registry: Registry,
    shutdown: Shutdown,
    canary: Arc<Canary>,
    pub(crate) timing: watch::Sender<Timing>,
    tasks: Tasks,
}

/// A canary that publishes through the first of these and reads through all others.
pub(crate) fn new(urls: &[&str], ca: Option<PathBuf>) -> Result<(Canary, Registry), CanaryError> {
    let mut registry = heliograph_telemetry::registry();
    let read = urls[1..].iter().map(|url| Reader::from((*url).to_owned()));
    let read: Vec<Reader> = read.collect();
    let metrics = Metrics::register(&mut registry, read.len());
    let options = Options {
        publish: urls.first().map(|url| (*url).to_owned()),
        read,
        secret_key: None,
        kind: Kind::new(1166),
        ca,
    };
    Ok((Canary::new(&options, metrics)?, registry))
}

/// A few probes.
pub(crate) async fn once(urls: &[&str], timing: Timing) -> Report {
    let (canary, _registry) = new(urls, None).unwrap();
    let tasks = Tasks::new();
    let report = canary.once(3, timing, &tasks).await;
    tasks.wait(PATIENCE).await;
    report
}

impl Bed {
    pub(crate) fn start(urls: &[&str], timing: Timing) -> Self {
        Self::trusting(urls, timing, None)
    }

    pub(crate) fn trusting(urls: &[&str], timing: Timing, ca: Option<PathBuf>) -> Self {
        let (canary, registry) = new(urls, ca).unwrap();
        let bed = Self {
            registry,
            shutdown: Shutdown::new(),
            canary: Arc::new(canary),
            timing: watch::Sender::new(timing),
            tasks: Tasks::new(),
        };
        let (canary, shutdown) = (Arc::clone(&bed.canary), bed.shutdown.clone());
        let (timing, tasks) = (bed.timing.subscribe(), bed.tasks.clone());
        bed.tasks.spawn("canary", async move {
            canary.run(timing, &shutdown, &tasks).await;
        });
        bed
    }

    /// A series without the prefix `heliograph_canary_`.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let start = format!("heliograph_canary_{series} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("no {series} in {text}"));
        line.parse().unwrap()
    }

    pub(crate) fn delivered(&self, via: usize) -> f64 {
        self.value(&format!("delivery_seconds_count{{via=\"{via}\"}}"))
    }

    pub(crate) fn missing(&self, via: usize) -> f64 {
        self.value(&format!("missing_total{{via=\"{via}\"}}"))
    }

    pub(crate) fn published(&self, result: &str) -> f64 {
        self.value(&format!("published_total{{result=\"{result}\"}}"))
    }

    /// Waits until this many more probes came to a reader.
    pub(crate) async fn more_delivered(&self, via: usize, more: f64) {
        let before = self.delivered(via);
        self.until("deliveries", || self.delivered(via) >= before + more)
            .await;
    }

    /// Waits for a state that has to come.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            if Instant::now() > deadline {
                let mut text = String::new();
                encode(&mut text, &self.registry).unwrap();
                let lines = text.lines().filter(|line| !line.contains("bucket"));
                panic!("no {what}: {:#?}", lines.collect::<Vec<_>>());
            }
            sleep(LOOK).await;
        }
    }

    /// Ends it, and sees it end.
    pub(crate) async fn stop(self) {
        self.shutdown.advance(Phase::Draining);
        let left = self.tasks.wait(PATIENCE).await;
        assert_eq!(left.count(), 0, "{left}");
    }
}
