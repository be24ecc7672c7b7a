//! Events that could not be stored: kept apart, listed, tried again or given up by an operator.

use std::sync::Arc;

use async_nats::{
    HeaderMap,
    datetime::{self, DateTime},
    jetstream::{
        message::StreamMessage,
        stream::{RawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;
use heliograph_proto::v1;
use heliograph_protocol::{EventId, Kind, Timestamp};
use prost::Message as _;
use tokio::time::Instant;

use crate::{
    NatsError,
    acked::{Outgoing, Unacknowledged},
    clock, codec,
    core::Core,
    intake::REPLAY_HEADER,
    metrics::Published,
};

/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 512;

/// A message that is given up.
#[derive(Debug)]
pub(crate) struct Letter {
    /// The batch: what of it isn't stored, or all if it can't be read.
    pub(crate) payload: Bytes,
    pub(crate) reason: String,
    pub(crate) deliveries: u32,
    pub(crate) published: DateTime,
    pub(crate) subject: String,
    pub(crate) sequence: u64,
}

/// A message that could not be stored, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names it for [`DeadLetters::replay`] and [`DeadLetters::discard`].
    pub number: u64,
    /// When it was given up.
    pub at: Timestamp,
    /// When it was published.
    pub published: Timestamp,
    /// Why it was given up, for people.
    pub reason: String,
    /// How often it was delivered.
    pub deliveries: u32,
    /// The gateway that published it; empty if it can't be read.
    pub gateway: String,
    /// The worker that gave it up.
    pub ingest: String,
    /// Its events that aren't stored; none if it can't be read.
    pub events: Vec<(EventId, Kind)>,
    /// Its size.
    pub bytes: usize,
}

/// The dead letters of a cluster.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    core: Arc<Core>,
}

impl DeadLetters {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// How many there are.
    ///
    /// # Errors
    ///
    /// The server doesn't answer.
    pub async fn count(&self) -> Result<u64, NatsError> {
        let info = self.core.stream_info(self.core.names.dead_stream()).await;
        let info = info.map_err(NatsError::request("count dead letters"))?;
        Ok(info.state.messages)
    }

    /// Letters with numbers after `after`, oldest first, up to `count_max`.
    ///
    /// # Errors
    ///
    /// The server doesn't answer.
    pub async fn list(&self, after: u64, count_max: usize) -> Result<Vec<DeadLetter>, NatsError> {
        let mut letters = Vec::new();
        let mut next = after + 1;
        while letters.len() < count_max {
            let Some(message) = self.get_from(next).await? else {
                break;
            };
            next = message.sequence + 1;
            letters.push(describe(&message));
        }
        Ok(letters)
    }

    /// Publishes the events of a letter again, then removes it.
    ///
    /// # Errors
    ///
    /// [`NatsError::NoSuchLetter`]; or the server doesn't answer: then the letter is still there, and
    /// replaying it again is harmless.
    pub async fn replay(&self, number: u64) -> Result<(), NatsError> {
        let message = self.get(number).await?;
        let mut headers = HeaderMap::new();
        headers.insert(REPLAY_HEADER, "1");
        let outgoing = Outgoing {
            what: Published::DeadLetters,
            subject: self.core.names.events_subject(&self.core.options.node),
            // Unique even if the stream of dead letters is made anew.
            id: format!("replay-{}-{number}", self.core.incarnation),
            headers,
            payload: payload(&message),
        };
        let deadline = Instant::now() + self.core.options.publish_deadline;
        let published = self.core.acked.publish(&outgoing, deadline).await;
        published.map_err(NatsError::request("publish a dead letter again"))?;
        self.discard(number).await
    }

    /// Replays every letter there is at this moment, oldest first; returns how many.
    ///
    /// # Errors
    ///
    /// As [`replay`](Self::replay), at the first that fails.
    pub async fn replay_all(&self) -> Result<u64, NatsError> {
        let info = self.core.stream_info(self.core.names.dead_stream()).await;
        let info = info.map_err(NatsError::request("count dead letters"))?;
        let (mut next, mut count) = (info.state.first_sequence, 0);
        while let Some(message) = self.get_from(next).await? {
            // Later ones may be those of this replay.
            if message.sequence > info.state.last_sequence {
                break;
            }
            self.replay(message.sequence).await?;
            next = message.sequence + 1;
            count += 1;
        }
        Ok(count)
    }

    /// Removes a letter; its events are lost to this relay.
    ///
    /// # Errors
    ///
    /// [`NatsError::NoSuchLetter`]; or the server doesn't answer.
    pub async fn discard(&self, number: u64) -> Result<(), NatsError> {
        // The server answers the removal of what isn't there with an error of no kind.
        self.get(number).await?;
        let stream = self.stream().await?;
        let removed = stream.delete_message(number).await;
        removed.map_err(NatsError::request("remove a dead letter"))?;
        Ok(())
    }

    async fn stream(&self) -> Result<Stream<()>, NatsError> {
        let name = self.core.names.dead_stream();
        let stream = self.core.context.get_stream_no_info(name).await;
        stream.map_err(NatsError::request("find dead letters"))
    }

    async fn get(&self, number: u64) -> Result<StreamMessage, NatsError> {
        let found = self.get_from(number).await?;
        found
            .filter(|message| message.sequence == number)
            .ok_or(NatsError::NoSuchLetter(number))
    }

    /// The first letter of that number or a later one.
    async fn get_from(&self, number: u64) -> Result<Option<StreamMessage>, NatsError> {
        let stream = self.stream().await?;
        let subject = self.core.names.dead_subject();
        let found = stream
            .raw_message_builder()
            .sequence(number.max(1))
            .next_by_subject(subject)
            .send()
            .await;
        match found {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(NatsError::request("read a dead letter")(error)),
        }
    }
}

fn describe(message: &StreamMessage) -> DeadLetter {
    let letter = v1::DeadLetter::decode(message.payload.clone()).unwrap_or_default();
    let batch = codec::read_batch(letter.batch.clone()).ok();
    let (gateway, events) = match batch {
        Some(batch) => {
            let events = batch.events.iter();
            let events = events.map(|event| (*event.id(), event.kind())).collect();
            (batch.gateway, events)
        }
        None => (String::new(), Vec::new()),
    };
    DeadLetter {
        number: message.sequence,
        at: Timestamp::from_secs(clock::secs_of(message.time)),
        published: Timestamp::from_secs(letter.first_secs),
        reason: letter.reason,
        deliveries: letter.deliveries,
        gateway,
        ingest: letter.ingest,
        events,
        bytes: letter.batch.len(),
    }
}

/// What is to be tried again.
fn payload(message: &StreamMessage) -> Bytes {
    v1::DeadLetter::decode(message.payload.clone())
        .map_or_else(|_unreadable| message.payload.clone(), |letter| letter.batch)
}

/// Keeps a message that is given up.
pub(crate) async fn write(core: &Core, letter: &Letter) -> Result<(), Unacknowledged> {
    let message = v1::DeadLetter {
        batch: letter.payload.clone(),
        reason: cut(&letter.reason).to_owned(),
        deliveries: letter.deliveries,
        first_secs: clock::secs_of(letter.published),
        last_secs: clock::secs_of(datetime::now()),
        ingest: core.options.node.clone(),
        subject: letter.subject.clone(),
        sequence: letter.sequence,
    };
    let outgoing = Outgoing {
        what: Published::DeadLetters,
        subject: core.names.dead_subject(),
        // The same letter if its acknowledgement is lost, whoever writes it again. The time tells
        // apart streams that were made anew.
        id: format!(
            "{}-{}",
            letter.sequence,
            letter.published.unix_timestamp_nanos()
        ),
        headers: HeaderMap::new(),
        payload: message.encode_to_vec().into(),
    };
    let deadline = Instant::now() + core.options.ack_timeout * 2;
    core.acked.publish(&outgoing, deadline).await.map(drop)
}

/// At most so much of a reason, at a boundary of characters.
fn cut(reason: &str) -> &str {
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "ä".repeat(400);
        assert_eq!(cut(&reason).len(), REASON_BYTES_MAX);
        assert_eq!(cut(&format!("x{reason}")).len(), REASON_BYTES_MAX - 1);
        assert_eq!(cut("short"), "short");
    }
}
