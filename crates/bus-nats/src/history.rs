//! Batches that were committed before, read directly: no consumer, and any replica may answer.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, Message, StatusCode, header};
use futures_util::StreamExt as _;
use heliograph_bus::{BusError, CommitNumber, Committed};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{codec, core::Core, newest::Ends};

/// Batches of one call at most.
const BATCHES_MAX: u64 = 1_024;

/// Pause before asking again a replica that is behind the leader.
const PAUSE: Duration = Duration::from_millis(20);

/// A batch with its number.
pub(crate) type Numbered = (CommitNumber, Vec<Committed>);

/// Batches from `after + 1` on, without a gap; none if there are none up to the `last` of `ends`.
pub(crate) async fn read(
    core: &Arc<Core>,
    after: CommitNumber,
    ends: Ends,
) -> Result<Vec<Numbered>, BusError> {
    if after.0 > ends.last {
        // The stream was made anew: what this number meant is gone.
        return Err(BusError::Closed);
    }
    if after.0 == ends.last {
        return Ok(Vec::new());
    }
    let next = after.0 + 1;
    if next < ends.first {
        return Err(BusError::Closed);
    }
    let deadline = Instant::now() + core.options.newest_deadline;
    loop {
        let found = ask(core, next, deadline).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        // The leader has it, but the replica that answered doesn't yet.
        if Instant::now() + PAUSE >= deadline {
            return Err(BusError::Unavailable);
        }
        sleep(PAUSE).await;
    }
}

async fn ask(core: &Core, next: u64, deadline: Instant) -> Result<Vec<Numbered>, BusError> {
    let bytes = core.options.history_bytes_max;
    let request = format!(r#"{{"seq":{next},"batch":{BATCHES_MAX},"max_bytes":{bytes}}}"#);
    let subject = format!("$JS.API.DIRECT.GET.{}", core.names.committed_stream());
    let unavailable = |error: &dyn std::fmt::Display| {
        tracing::debug!(%error, "can't read back commits");
        BusError::Unavailable
    };
    let inbox = core.client.new_inbox();
    let mut replies = core
        .client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| unavailable(&error))?;
    core.client
        .publish_with_reply(subject, inbox, request.into())
        .await
        .map_err(|error| unavailable(&error))?;
    let mut found = Vec::new();
    loop {
        let message = timeout_at(deadline, replies.next())
            .await
            .map_err(|elapsed| unavailable(&elapsed))?
            .ok_or(BusError::Unavailable)?;
        if let Some(status) = message.status {
            return end(status, found);
        }
        let number = sequence(&message).ok_or(BusError::Unavailable)?;
        if number != next + found.len() as u64 {
            // Purged meanwhile. What comes before the gap is right; the next call tells of it.
            return if found.is_empty() {
                Err(BusError::Closed)
            } else {
                Ok(found)
            };
        }
        let events = codec::read_committed(message.payload).map_err(|error| unavailable(&error))?;
        found.push((CommitNumber(number), events));
    }
}

/// The server ends a batch with 204, and says 404 if there is nothing.
fn end(status: StatusCode, found: Vec<Numbered>) -> Result<Vec<Numbered>, BusError> {
    match status.as_u16() {
        204 | 404 => Ok(found),
        _ => Err(BusError::Unavailable),
    }
}

fn sequence(message: &Message) -> Option<u64> {
    let number = |headers: &HeaderMap| {
        let value = headers.get(header::NATS_SEQUENCE)?;
        value.as_str().parse().ok()
    };
    message.headers.as_ref().and_then(number)
}
