//! How far ingest is behind: asked of the server every two seconds, for the metrics.
//!
//! What can't be asked stays as it was, beside the time of the last whole answer: a worker that lost the
//! server must neither look well for ever nor ill for ever.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    consumer::{Consumer, pull},
    stream::Info,
};
use tokio::time::{MissedTickBehavior, interval};

use super::work::Workshop;
use crate::{clock, core::Core, metrics::Kept};

const INTERVAL: Duration = Duration::from_secs(2);

/// Watches until the intake is closed.
pub(super) async fn watch(workshop: Arc<Workshop>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        // Closing first: the process ends.
        tokio::select! {
            biased;
            () = workshop.closed.wait() => return,
            () = async { ticks.tick().await; look(&workshop).await } => {}
        }
    }
}

async fn look(workshop: &Workshop) {
    if !workshop.core.link.is_up() {
        return;
    }
    if let Err(error) = look_at_server(workshop).await {
        tracing::debug!(error, "can't see how far ingest is behind");
    }
}

async fn look_at_server(workshop: &Workshop) -> Result<(), String> {
    let core = &workshop.core;
    let (names, metrics) = (&core.names, &core.metrics);
    let consumer: Consumer<pull::Config> = core
        .context
        .get_consumer_from_stream(names.ingest_consumer(), names.events_stream())
        .await
        .map_err(|error| error.to_string())?;
    let info = consumer.cached_info();
    metrics.ingest_lag_messages.set(signed(info.num_pending));
    metrics
        .ingest_unacked_messages
        .set(signed(info.num_ack_pending as u64));
    let events = look_at_stream(core, Kept::Events, names.events_stream()).await?;
    let oldest = match events.state.messages {
        0 => 0.0,
        _ => clock::age_seconds(events.state.first_timestamp),
    };
    metrics.ingest_oldest_unacked_seconds.set(oldest);
    look_at_stream(core, Kept::Committed, names.committed_stream()).await?;
    let dead = look_at_stream(core, Kept::DeadLetters, names.dead_stream()).await?;
    metrics.dead_letter_waiting.set(signed(dead.state.messages));
    // Last: everything is as new as this.
    let looked = &metrics.ingest_looked_timestamp_seconds;
    looked.set(clock::seconds());
    Ok(())
}

async fn look_at_stream(core: &Core, kept: Kept, name: String) -> Result<Info, String> {
    let info = core.stream_info(name).await?;
    let stream = core.metrics.stream(kept);
    stream.messages.set(signed(info.state.messages));
    stream.bytes.set(signed(info.state.bytes));
    stream.max_bytes.set(info.config.max_bytes);
    let replicas = info.cluster.as_ref().map(|cluster| &cluster.replicas);
    let behind = replicas.into_iter().flatten();
    let behind = behind.filter(|replica| replica.offline || !replica.current);
    stream.replicas_behind.set(signed(behind.count() as u64));
    Ok(info)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
