//! The path of a batch, whole.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Instant,
};

use heliograph_bus::{Bus, BusError, Committed, IfStored, Intake, IntakeItem, Receipt};
use heliograph_lifecycle::Failpoint;
use heliograph_protocol::{Event, EventId, Filter, Outcome, Timestamp};
use heliograph_store::{Budget, EventStore, Scan, ScanRequest, StoreError};
use heliograph_telemetry::trace::{SpanKind, TraceContext, log_id};

use crate::{Metrics, spans::Spans};

/// Events merged in one write at most. While one write is under way the next batch grows, so this
/// is reached only under load; at 1 KiB an event it is 4 MiB.
pub const BATCH_EVENTS_MAX: usize = 4_096;

/// Events that the store is asked about at once.
const ASKED_MAX: usize = 256;

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
    metrics.batch_size.observe(count(batch.len()));
    let spans = Spans::begin(&batch);
    let events: Vec<Arc<Event>> = batch.iter().map(|item| Arc::clone(item.event())).collect();
    Failpoint::Fetched.reached();
    let started = Instant::now();
    bus.begin_write();
    let storing = spans.step("store", SpanKind::Internal);
    let written = async {
        let outcomes = store.write(events).await?;
        metrics
            .write_seconds
            .observe_traced(started.elapsed().as_secs_f64(), storing.trace());
        let fresh = fresh(store, &batch, &outcomes, metrics).await?;
        Ok::<_, StoreError>((outcomes, fresh))
    };
    let (outcomes, fresh) = match written.await {
        Ok(written) => written,
        Err(error) => {
            let trace = spans.fail(&error.to_string());
            refuse(batch, &error, trace, metrics);
            // Ends the write; a bus that is closed has no matcher left to wait for it.
            drop(bus.commit(Vec::new()).await);
            return;
        }
    };
    drop(storing);
    debug_assert_eq!(outcomes.len(), batch.len(), "one outcome for each event");
    Failpoint::Stored.reached();
    let committing = spans.step("commit", SpanKind::Producer);
    let items = batch.iter().zip(&outcomes).enumerate();
    let changes = items
        .filter_map(|(place, (item, outcome))| {
            let event = || committing.caused(place, item.event());
            change(item, *outcome, &fresh, event)
        })
        .collect();
    let commit = bus.commit(changes).await;
    drop(committing);
    Failpoint::Announced.reached();
    for (item, outcome) in batch.into_iter().zip(outcomes) {
        metrics.outcome(outcome).inc();
        item.answer(commit.clone().map(|commit| Receipt { outcome, commit }));
    }
}

/// Of the events that another worker has stored, those that it stored so lately that it may not have
/// announced them. Whoever answers for them announces them too: an event is announced before it is
/// answered.
async fn fresh<S: EventStore, I: IntakeItem>(
    store: &S,
    batch: &[I],
    outcomes: &[Outcome],
    metrics: &Metrics,
) -> Result<HashSet<EventId>, StoreError> {
    let items = || batch.iter().zip(outcomes);
    let stored_elsewhere = |(item, outcome): &(&I, &Outcome)| {
        **outcome == Outcome::Duplicate && item.if_stored() == IfStored::Elsewhere
    };
    let asked = items().filter(stored_elsewhere);
    let mut ids: BTreeSet<EventId> = asked.map(|(item, _)| *item.event().id()).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    // Of what came twice in this batch it is known.
    for (item, _) in items().filter(|(_, outcome)| **outcome == Outcome::Stored) {
        ids.remove(item.event().id());
    }
    let ids: Vec<EventId> = ids.into_iter().collect();
    let started = Instant::now();
    let mut fresh = HashSet::new();
    for asked in ids.chunks(ASKED_MAX) {
        let mut scan = store.scan(ScanRequest {
            filter: Arc::new(Filter {
                ids: Some(asked.to_vec()),
                ..Filter::default()
            }),
            after: None,
            // What has expired by the clock of this worker was announced or not all the same.
            now: Timestamp::from_secs(0),
            budget: Budget::UNLIMITED,
        });
        loop {
            let page = scan.next(ASKED_MAX).await?;
            fresh.extend(page.fresh);
            if page.end.is_some() {
                break;
            }
        }
    }
    metrics
        .fresh_seconds
        .observe(started.elapsed().as_secs_f64());
    Ok(fresh)
}

/// What readers of the store have to know of one outcome.
fn change(
    item: &impl IntakeItem,
    outcome: Outcome,
    fresh: &HashSet<EventId>,
    event: impl Fn() -> Arc<Event>,
) -> Option<Committed> {
    match (outcome, item.if_stored()) {
        (Outcome::Stored, _) | (Outcome::Duplicate, IfStored::Unknown) => {
            Some(Committed::Winner(event()))
        }
        (Outcome::Duplicate, IfStored::Elsewhere) if fresh.contains(item.event().id()) => {
            Some(Committed::Winner(event()))
        }
        // Stored and announced long before, also if its batch came to another worker before this one.
        (Outcome::Duplicate, IfStored::Elsewhere) => Some(Committed::Again(event())),
        (Outcome::Deleted, _) if item.event().kind().has_address() => {
            Some(Committed::Seat(event()))
        }
        _ => None,
    }
}

fn refuse<I: IntakeItem>(
    batch: Vec<I>,
    error: &StoreError,
    trace: Option<TraceContext>,
    metrics: &Metrics,
) {
    metrics.failed_batches.inc();
    let (events, trace_id) = (batch.len(), log_id(trace));
    tracing::error!(%error, events, trace_id, "failed to store a batch");
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
    use heliograph_store::{
        MemoryStore, Page,
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

    /// A store that calls some of its events fresh, as one of several workers does.
    struct Shared {
        store: MemoryStore,
        fresh: Vec<EventId>,
    }

    struct SharedScan {
        scan: <MemoryStore as EventStore>::Scan,
        fresh: Vec<EventId>,
    }

    impl Scan for SharedScan {
        async fn next(&mut self, rows: usize) -> Result<Page, StoreError> {
            let page = self.scan.next(rows).await?;
            let ids = page.events.iter().map(|event| *event.id());
            let fresh = ids.filter(|id| self.fresh.contains(id)).collect();
            Ok(Page { fresh, ..page })
        }
    }

    impl EventStore for Shared {
        type Scan = SharedScan;

        async fn write(&self, events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
            self.store.write(events).await
        }

        fn scan(&self, request: ScanRequest) -> Self::Scan {
            let fresh = self.fresh.clone();
            let scan = self.store.scan(request);
            SharedScan { scan, fresh }
        }

        async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
            self.store.contains(id).await
        }
    }

    /// An event that nobody waits for.
    struct Item(Arc<Event>, IfStored);

    impl IntakeItem for Item {
        fn event(&self) -> &Arc<Event> {
            &self.0
        }

        fn if_stored(&self) -> IfStored {
            self.1
        }

        fn answer(self, _receipt: Result<Receipt, BusError>) {}
    }

    #[tokio::test]
    async fn what_another_worker_stored_lately_is_announced_by_whoever_answers_for_it() {
        let [old, fresh, taken_over, came_again, new] =
            [1, 2, 3, 4, 5].map(|n| event(1, n, 1, &[], &n.to_string()));
        let store = Shared {
            store: MemoryStore::new(relay_urls()),
            // What comes twice in one batch is fresh by then too.
            fresh: vec![*fresh.id(), *taken_over.id(), *new.id()],
        };
        let before = [&old, &fresh, &taken_over, &came_again].map(Arc::clone);
        store.write(before.to_vec()).await.unwrap();
        let bus = InProcess::new(InProcessOptions::default());
        let mut feed = bus.feed();
        let metrics = Metrics::register(&mut Registry::default());
        let item = |event: &Arc<Event>, if_stored| Item(Arc::clone(event), if_stored);
        let batch = vec![
            item(&old, IfStored::Elsewhere),
            item(&fresh, IfStored::Elsewhere),
            item(&taken_over, IfStored::Elsewhere),
            item(&came_again, IfStored::Unknown),
            item(&new, IfStored::Elsewhere),
            item(&new, IfStored::Elsewhere),
        ];
        ingest(&bus, &store, batch, &metrics).await;
        let Some(FeedItem::Committed { events, .. }) = feed.next().await else {
            panic!("a batch")
        };
        let want = [
            Committed::Again(old),
            Committed::Winner(fresh),
            Committed::Winner(taken_over),
            Committed::Winner(came_again),
            Committed::Winner(Arc::clone(&new)),
            Committed::Again(new),
        ];
        assert_eq!(events, want);
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
