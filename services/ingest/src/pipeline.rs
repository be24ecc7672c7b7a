//! The path of a batch, whole.

use std::{sync::Arc, time::Instant};

use heliograph_bus::{Bus, BusError, Committed, Intake, IntakeItem, Receipt};
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
    let outcomes = match store.write(events.clone()).await {
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
    let changes = events
        .into_iter()
        .zip(&outcomes)
        .filter_map(change)
        .collect();
    let commit = bus.commit(changes).await;
    for (item, outcome) in batch.into_iter().zip(outcomes) {
        metrics.outcome(outcome).inc();
        item.answer(commit.clone().map(|commit| Receipt { outcome, commit }));
    }
}

/// What readers of the store have to know of one outcome.
fn change((event, outcome): (Arc<Event>, &Outcome)) -> Option<Committed> {
    match outcome {
        Outcome::Stored => Some(Committed::Winner(event)),
        Outcome::Deleted if event.kind().has_address() => Some(Committed::Seat(event)),
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
