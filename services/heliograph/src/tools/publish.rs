//! Publishing into a cluster as a gateway does, so that matchers announce what is new: a bounded number
//! of events at once, each until it has its receipt.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use heliograph_bus::{Bus as _, BusError};
use heliograph_bus_nats::NatsBus;
use heliograph_config::Config;
use heliograph_protocol::{Event, Outcome};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::cluster;

/// Events that wait for a receipt at once: a few batches of the stream.
const WINDOW: usize = 2_048;

/// How long an event is sent again and again before its cluster is taken to be gone.
const PATIENCE: Duration = Duration::from_mins(10);

/// How often an event is sent again that ingest refuses to store.
const REFUSALS_MAX: u32 = 5;

const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What became of an event: the outcome, or why the cluster can't take it.
pub(super) type Published = Result<Outcome, String>;

/// Publishes. Cloning shares the window.
#[derive(Debug, Clone)]
pub(super) struct Publisher {
    bus: NatsBus,
    window: Arc<Semaphore>,
}

impl Publisher {
    pub(super) async fn connect(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            bus: cluster::connect(config).await?,
            window: Arc::new(Semaphore::new(WINDOW)),
        })
    }

    /// Which cluster this is: one that was emptied and made anew has another name here.
    pub(super) async fn commits_id(&self) -> anyhow::Result<String> {
        let id = self.bus.commits_id().await;
        id.context("can't learn which stream of commits this is")
    }

    /// Publishes all of these and returns what became of each, in order.
    ///
    /// # Errors
    ///
    /// The cluster doesn't answer, for minutes. Some may be stored; publishing again is safe.
    pub(super) async fn publish_all(
        &self,
        events: Vec<Arc<Event>>,
    ) -> anyhow::Result<Vec<Published>> {
        let mut published = vec![Ok(Outcome::Duplicate); events.len()];
        let mut tasks = JoinSet::new();
        for (at, event) in events.into_iter().enumerate() {
            let permit = Arc::clone(&self.window).acquire_owned().await;
            let permit = permit.context("never closed")?;
            let bus = self.bus.clone();
            tasks.spawn(async move {
                let done = publish(&bus, event).await;
                drop(permit);
                (at, done)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let (at, done) = done.context("publishing panicked")?;
            published[at] = done?;
        }
        Ok(published)
    }

    pub(super) async fn close(self) {
        self.bus.close(cluster::LAST_WORDS).await;
    }
}

async fn publish(bus: &NatsBus, event: Arc<Event>) -> anyhow::Result<Published> {
    let began = Instant::now();
    let (mut refusals, mut pause) = (0, PAUSE);
    loop {
        let error = match bus.publish(Arc::clone(&event)).await {
            Ok(receipt) => return Ok(Ok(receipt.outcome)),
            Err(error) => error,
        };
        if let BusError::Store(why) = &error {
            refusals += 1;
            if refusals >= REFUSALS_MAX {
                return Ok(Err(why.clone()));
            }
        }
        if error == BusError::Closed || began.elapsed() >= PATIENCE {
            bail!("the cluster takes no events: {error}");
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
