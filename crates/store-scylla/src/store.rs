//! The store: a handle on a connected session.

use std::{collections::HashSet, sync::Arc, time::Duration};

use heliograph_protocol::{Event, EventId, Outcome, Timestamp};
use heliograph_store::{EventStore, ScanRequest, StoreError};
use tokio::time::{Instant, sleep};

use crate::{
    ConnectError, Metrics, ScyllaOptions, ScyllaScan,
    client::{self, Client},
    core::Core,
    key::GuardKey,
    migrate,
};

/// Pause before the database is tried again at the start.
const START_PAUSE: Duration = Duration::from_millis(500);

/// Events in ScyllaDB or Cassandra. Cloning shares the session.
#[derive(Debug, Clone)]
pub struct ScyllaStore {
    core: Arc<Core>,
}

impl ScyllaStore {
    /// Connects and prepares every statement.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: no node answers in `start_patience` and once more four times
    /// `connect_timeout`, or the schema isn't the one that this program knows.
    pub async fn connect(options: ScyllaOptions) -> Result<Self, ConnectError> {
        let deadline = Instant::now() + options.start_patience;
        let client = loop {
            match Box::pin(open(&options)).await {
                Ok(client) => break client,
                Err(error) if error.passes() && Instant::now() + START_PAUSE < deadline => {
                    tracing::warn!(%error, "can't use the database yet");
                    sleep(START_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Self {
            core: Arc::new(Core::new(
                client,
                options.relay_urls,
                options.buckets,
                [options.removal_time, options.fresh_window],
            )),
        })
    }

    /// Whether a guard refuses this event now, and why; it needn't be stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the guards can't be read.
    pub async fn guarded(&self, event: &Event) -> Result<Option<Outcome>, StoreError> {
        let guards = self.core.guards(GuardKey::of(event)).await?;
        Ok(guards.outcome(event, &self.core.relay_urls))
    }

    /// Those of these events that are stored, count and haven't expired, in no order.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if they can't be read.
    pub async fn get(&self, ids: &[EventId]) -> Result<Vec<Arc<Event>>, StoreError> {
        let ids: HashSet<EventId> = ids.iter().copied().collect();
        let found = self.core.shared_events(ids).await?;
        let (winners, _losers) = self.core.winners(found.into_values().collect()).await?;
        let now = Timestamp::now();
        let events = winners.into_iter().map(|stored| stored.event);
        Ok(events.filter(|event| !event.is_expired(now)).collect())
    }

    /// Goes on with removals that requests to vanish have left over, for `time`. How many are still
    /// unfinished then. To be called every few seconds by somebody, at best by every ingest worker.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`]; what was removed stays so, and the next call goes on.
    pub async fn sweep(&self, time: Duration) -> Result<usize, StoreError> {
        let deadline = Instant::now().checked_add(time);
        let unfinished = self.core.unfinished().await?;
        let mut left = unfinished.len();
        for (author, until) in unfinished {
            if !Box::pin(self.core.vanish(author, until, deadline)).await? {
                break;
            }
            self.core.forget_removal(&author, until).await?;
            left -= 1;
        }
        Ok(left)
    }

    /// Whether the database answers a trivial read within `bound`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if it doesn't.
    pub async fn ping(&self, bound: Duration) -> Result<(), StoreError> {
        self.core.client.ping(bound).await
    }

    /// Where this store counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.core.client.metrics()
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

async fn open(options: &ScyllaOptions) -> Result<Client, ConnectError> {
    let session = client::connect(options, options.read_timeout).await?;
    migrate::require_current(&session, options).await?;
    migrate::warn_of_datacenters(&session, options).await?;
    Client::new(session, options).await
}

impl EventStore for ScyllaStore {
    type Scan = ScyllaScan;

    async fn write(&self, events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        Box::pin(self.core.write(&events)).await
    }

    fn scan(&self, request: ScanRequest) -> ScyllaScan {
        ScyllaScan::new(Arc::clone(&self.core), request)
    }

    async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
        let Some((_id, head)) = self.core.head(*id).await? else {
            return Ok(false);
        };
        if head.expires.is_some_and(|end| end <= Timestamp::now()) {
            return Ok(false);
        }
        let Some(address) = head.address else {
            return Ok(true);
        };
        let seats = self.core.seats(HashSet::from([address])).await?;
        Ok(seats.values().any(|seat| seat.id == *id))
    }
}
