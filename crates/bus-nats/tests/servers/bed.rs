//! Buses to test with.

use std::{
    future::Future,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use heliograph_bus::{Bus as _, BusError, Receipt};
use heliograph_bus_nats::{Metrics, NatsBus, NatsOptions, Side, StreamStorage};
use heliograph_lifecycle::Tasks;
use heliograph_protocol::Event;
use heliograph_sandbox::nats;
use prometheus_client::registry::Registry;
use tokio::runtime::{Builder, Runtime};

/// A bus, its tasks and what it shows.
pub(crate) struct Bed {
    pub(crate) bus: NatsBus,
    pub(crate) tasks: Tasks,
    registry: Registry,
}

impl Deref for Bed {
    type Target = NatsBus;

    fn deref(&self) -> &NatsBus {
        &self.bus
    }
}

impl Bed {
    pub(crate) async fn open(options: NatsOptions) -> Self {
        let mut registry = Registry::with_prefix("heliograph");
        let metrics = Arc::new(Metrics::register(&mut registry, Side::All));
        let tasks = Tasks::new();
        let bus = NatsBus::connect(options, metrics, &tasks).await.unwrap();
        Self {
            bus,
            tasks,
            registry,
        }
    }

    /// The same cluster seen from several processes.
    pub(crate) async fn open_each<const N: usize>(
        options: &NatsOptions,
        nodes: [&str; N],
    ) -> Vec<Self> {
        let mut beds = Vec::new();
        for node in nodes {
            beds.push(Self::open(other(options, node)).await);
        }
        beds
    }

    /// The value of a metric, given with its labels as it is shown.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| {
            let value = line.strip_prefix("heliograph_")?.strip_prefix(name)?;
            value.strip_prefix(' ')
        });
        let line = line.unwrap_or_else(|| panic!("no metric {name} in:\n{text}"));
        line.parse().unwrap()
    }

    /// Answers every event like a store that takes everything, until the intake is closed.
    pub(crate) fn work(
        &self,
        receipt: impl Fn(&Event) -> Result<Receipt, BusError> + Send + 'static,
    ) {
        use heliograph_bus::{Intake as _, IntakeItem as _};
        let mut intake = self.bus.intake();
        self.tasks.spawn("test worker", async move {
            while let Some(items) = intake.next(1_000).await {
                for item in items {
                    let answer = receipt(item.event());
                    item.answer(answer);
                }
            }
        });
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.bus.close_publish();
        self.bus.close_intake();
        self.bus.close_feed();
    }
}

/// Options on the shared server, for a cluster that no other test has.
pub(crate) fn options() -> NatsOptions {
    static CLUSTERS: AtomicU32 = AtomicU32::new(0);
    let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    NatsOptions {
        servers: nats::shared().unwrap(),
        cluster: format!("t{}-{number}", std::process::id()),
        node: "gateway-0".to_owned(),
        storage: StreamStorage::Memory,
        committed_storage: StreamStorage::Memory,
        events_bytes_max: 32 << 20,
        committed_bytes_max: 32 << 20,
        dead_letters_bytes_max: 1 << 20,
        ack_wait: Duration::from_millis(800),
        retry_delay: Duration::from_millis(50),
        retry_delay_max: Duration::from_millis(200),
        lease_ttl: Duration::from_millis(1_500),
        connect_deadline: Duration::from_secs(60),
        ..NatsOptions::default()
    }
}

/// The same cluster seen from another process.
pub(crate) fn other(options: &NatsOptions, node: &str) -> NatsOptions {
    NatsOptions {
        node: node.to_owned(),
        ..options.clone()
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Waits for a state.
#[track_caller]
pub(crate) fn until<'a>(
    what: &'a str,
    mut state: impl FnMut() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let here = std::panic::Location::caller();
    async move {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !state() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what}: never ({here})"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
