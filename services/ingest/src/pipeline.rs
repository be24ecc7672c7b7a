//! The path of a batch, whole.

use std::{sync::Arc, time::Instant};

use heliograph_bus::{Bus, BusError, Committed, IfStored, Intake, IntakeItem, Receipt};
use heliograph_protocol::{Event, Outcome};
use heliograph_store::{EventStore, StoreError};

use crate::Metrics;

/// Events merged in one write at most. While one write is under way the next batch grows, so this
/// is reached only under load; at 1 KiB an event it is 4 MiB.
pub const BATCH_EVENTS_MAX: usize = 4_096;

/// Runs until the intake is closed and drained.
pub async fn run<B: Bus, S: EventStore>(bus: B, store: Arc<S>, metrics: Arc<Metrics>) {
    let mut intake = bus.intake();
    while let Some(batch) = intake.next(BATCH_EVENTS_MAX).await {
        ingest(&bus, &*store, batch, &metrics).await;
    }
}

/// Stores, commits, answers: in this order.
async fn ingest<B: Bus, S: EventStore, I: IntakeItem>(
    bus: &B,
    store: &S,
    batch: Vec<I>,
    metrics: &Metrics,
) {
    metrics.batch_events.observe(count(batch.len()));
    let events: Vec<Arc<Event>> = batch.iter().map(|item| Arc::clone(item.event())).collect();
    let started = Instant::now();
    bus.begin_write();
    let outcomes = match store.write(events).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            refuse(batch, &error, metrics);
            // Ends the write; a bus that is closed has no matcher left to wait for it.
            drop(bus.commit(Vec::new()).await);
            return;
        }
    };
    metrics
        .store_seconds
        .observe(started.elapsed().as_secs_f64());
    debug_assert_eq!(outcomes.len(), batch.len(), "one outcome for each event");
    let items = batch.iter().zip(&outcomes);
    let changes = items
        .filter_map(|(item, outcome)| change(item, *outcome))
        .collect();
    let commit = bus.commit(changes).await;
    for (item, outcome) in batch.into_iter().zip(outcomes) {
        metrics.outcome(outcome).inc();
        item.answer(commit.clone().map(|commit| Receipt { outcome, commit }));
    }
}

/// What readers of the store have to know of one outcome.
fn change(item: &impl IntakeItem, outcome: Outcome) -> Option<Committed> {
    let event = || Arc::clone(item.event());
    match (outcome, item.if_stored()) {
        (Outcome::Stored, _) | (Outcome::Duplicate, IfStored::Unknown) => {
            Some(Committed::Winner(event()))
        }
        (Outcome::Duplicate, IfStored::Elsewhere) => Some(Committed::Again(event())),
        (Outcome::Deleted, _) if item.event().kind().has_address() => {
            Some(Committed::Seat(event()))
        }
        _ => None,
    }
}

fn refuse<I: IntakeItem>(batch: Vec<I>, error: &StoreError, metrics: &Metrics) {
    metrics.failed_batches.inc();
    tracing::error!(%error, events = batch.len(), "failed to store a batch");
    for item in batch {
        item.answer(Err(BusError::Store(error.to_string())));
    }
}

#[expect(clippy::cast_precision_loss, reason = "batch sizes are far below 2^52")]
fn count(events: usize) -> f64 {
    events as f64
}

#[cfg(test)]
mod tests {
    use heliograph_bus::{CommitNumber, Feed, FeedItem, InProcess, InProcessOptions};
    use heliograph_policy::RelayUrls;
    use heliograph_protocol::EventId;
    use heliograph_store::{
        MemoryStore, ScanRequest,
        conformance::{event, relay_urls},
    };
    use prometheus_client::registry::Registry;

    use super::*;

    /// A store whose device is full.
    struct Full(MemoryStore);

    impl EventStore for Full {
        type Scan = <MemoryStore as EventStore>::Scan;

        async fn write(&self, _events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
            Err(StoreError::Full)
        }

        fn scan(&self, request: ScanRequest) -> Self::Scan {
            self.0.scan(request)
        }

        async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
            self.0.contains(id).await
        }
    }

    /// Publishes all at once, and returns the receipts and what was committed.
    async fn publish<S: EventStore>(
        store: S,
        events: &[Arc<Event>],
    ) -> (Vec<Result<Receipt, BusError>>, Vec<(u64, Vec<Committed>)>) {
        let bus = InProcess::new(InProcessOptions::default());
        let mut feed = bus.feed();
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let ingest = run(bus.clone(), Arc::new(store), metrics);
        let publish = async {
            let published = events.iter().map(|event| bus.publish(Arc::clone(event)));
            let receipts = futures_util::future::join_all(published).await;
            bus.close_intake();
            receipts
        };
        let (receipts, ()) = tokio::join!(publish, ingest);
        assert_eq!(
            bus.horizon(),
            bus.newest().await.ok(),
            "no write is left open"
        );
        bus.close_feed();
        let mut commits = Vec::new();
        while let Some(FeedItem::Committed { number, events }) = feed.next().await {
            commits.push((number.0, events));
        }
        (receipts, commits)
    }

    #[tokio::test]
    async fn what_waits_is_one_batch_and_only_winners_are_announced() {
        let (old, new) = (event(1, 10, 0, &[], "old"), event(1, 20, 0, &[], "new"));
        let events = [Arc::clone(&new), old, Arc::clone(&new)];
        let (receipts, commits) = publish(MemoryStore::new(relay_urls()), &events).await;
        let commit = CommitNumber(1);
        let outcomes = [Outcome::Stored, Outcome::Superseded, Outcome::Duplicate];
        assert_eq!(
            receipts,
            outcomes.map(|outcome| Ok(Receipt { outcome, commit }))
        );
        assert_eq!(commits, [(1, vec![Committed::Winner(new)])]);
    }

    #[tokio::test]
    async fn a_deleted_version_of_an_address_is_announced_as_a_seat() {
        let profile = event(1, 20, 0, &[], "deleted before it came");
        let deletion = event(1, 30, 5, &[&["e", &profile.id().to_hex()]], "");
        let events = [Arc::clone(&deletion), Arc::clone(&profile)];
        let (_, commits) = publish(MemoryStore::new(relay_urls()), &events).await;
        assert_eq!(
            commits,
            [(
                1,
                vec![Committed::Winner(deletion), Committed::Seat(profile)]
            )]
        );
    }

    #[tokio::test]
    async fn a_full_store_is_an_error_for_each_publisher_and_announces_nothing() {
        let store = Full(MemoryStore::new(RelayUrls::default()));
        let events = [event(1, 10, 1, &[], "a"), event(1, 11, 1, &[], "b")];
        let (receipts, commits) = publish(store, &events).await;
        let full = Err(BusError::Store(StoreError::Full.to_string()));
        assert_eq!(receipts, [full.clone(), full]);
        assert_eq!(commits, [(1, Vec::new())]);
    }
}
