//! Publishes that a stream acknowledges, tried again past a lost connection or leader.
//!
//! A message keeps its id over all attempts, so that the stream takes it once.

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{Context, ContextBuilder, context::PublishErrorKind, message::PublishMessage},
};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Metrics, connection::Link, metrics::Published};

/// The pause after the first failed attempt; doubled after each further one.
const PAUSE: Duration = Duration::from_millis(20);

/// The longest pause between attempts. A new leader is elected within seconds.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Publishes waiting for an acknowledgement in this process; one for each task that publishes, so
/// it isn't reached.
const IN_FLIGHT_MAX: usize = 1_024;

/// What stands around a payload: subject, headers, and room for what else may come.
pub(crate) const OVERHEAD_BYTES: usize = 4_096;

/// A message for a stream.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) what: Published,
    pub(crate) subject: String,
    /// Unique to this message within the stream's duplicate window.
    pub(crate) id: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// Why a message isn't known to be in its stream. It may be there all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unacknowledged {
    /// Larger than the server takes; it never will be there.
    #[error("the message is larger than the server takes")]
    TooLarge,
    /// No acknowledgement until the deadline.
    #[error("not acknowledged: {0}")]
    Deadline(String),
}

/// Publishes to streams. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Acked {
    context: Context,
    link: Link,
    metrics: Arc<Metrics>,
}

impl Acked {
    /// `ack_timeout` bounds one attempt.
    pub(crate) fn new(
        client: async_nats::Client,
        link: Link,
        metrics: Arc<Metrics>,
        ack_timeout: Duration,
    ) -> Self {
        let context = ContextBuilder::new()
            .timeout(ack_timeout)
            .ack_timeout(ack_timeout)
            .max_ack_inflight(IN_FLIGHT_MAX)
            .build(client);
        Self {
            context,
            link,
            metrics,
        }
    }

    /// The bytes that a payload may have.
    pub(crate) fn payload_bytes_max(&self) -> usize {
        let server = self.context.client().max_payload();
        server.saturating_sub(OVERHEAD_BYTES)
    }

    /// Publishes until it is acknowledged or `deadline` has passed; returns its sequence number.
    pub(crate) async fn publish(
        &self,
        outgoing: &Outgoing,
        deadline: Instant,
    ) -> Result<u64, Unacknowledged> {
        let mut pause = PAUSE;
        loop {
            let reason = match timeout_at(deadline, self.attempt(outgoing)).await {
                Ok(Ok(sequence)) => return Ok(sequence),
                Ok(Err(Unacknowledged::TooLarge)) => return Err(Unacknowledged::TooLarge),
                Ok(Err(Unacknowledged::Deadline(reason))) => reason,
                Err(_elapsed) => "no answer".to_owned(),
            };
            if Instant::now() + pause >= deadline {
                return Err(Unacknowledged::Deadline(reason));
            }
            self.metrics.retries(outgoing.what).inc();
            tracing::debug!(reason, subject = outgoing.subject, "publishing again");
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&self, outgoing: &Outgoing) -> Result<u64, Unacknowledged> {
        // What is published while disconnected waits in the client and comes too late.
        self.link.up().await;
        let connects = self.link.connects();
        // First the acknowledgement: it counts even if the connection is lost just after.
        tokio::select! {
            biased;
            acknowledged = self.publish_once(outgoing) => acknowledged,
            () = self.link.reconnected(connects) => {
                Err(Unacknowledged::Deadline("connection lost".to_owned()))
            }
        }
    }

    async fn publish_once(&self, outgoing: &Outgoing) -> Result<u64, Unacknowledged> {
        let mut headers = outgoing.headers.clone();
        headers.insert(NATS_MESSAGE_ID, outgoing.id.as_str());
        let message = PublishMessage::build()
            .payload(outgoing.payload.clone())
            .headers(headers);
        let sent = self
            .context
            .send_publish(outgoing.subject.clone(), message)
            .await
            .map_err(unacknowledged)?;
        let acknowledged = sent.await.map_err(unacknowledged)?;
        Ok(acknowledged.sequence)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unacknowledged(error: async_nats::jetstream::context::PublishError) -> Unacknowledged {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Unacknowledged::TooLarge,
        _ => Unacknowledged::Deadline(error.to_string()),
    }
}
