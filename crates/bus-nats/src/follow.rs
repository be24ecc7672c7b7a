//! Follows a stream from a place on: past lost connections, lost leaders and restarts.
//!
//! A consumer in memory of the server without acknowledgements, made anew whenever it is silent. What
//! was seen is never seen again by the stream's own numbers; what is missing is told, not skipped.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, Consumer, DeliverPolicy, ReplayPolicy, pull},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use crate::core::Core;

/// Messages asked for at once; a further request goes out when half of them came.
const REQUEST_MESSAGES_MAX: usize = 256;

/// Bytes asked for at once: several times what a message may have, so that any one fits.
const REQUEST_BYTES_MAX: usize = 8 << 20;

const EXPIRES: Duration = Duration::from_secs(20);

/// How often the server says that it is there; after two without one the consumer is made anew.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The server removes a consumer of which nobody asks for so long.
const INACTIVE_MAX: Duration = Duration::from_secs(60);

/// Pause before a consumer is made anew; longer while that fails.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Time without a message or heartbeat, in case the client's own watch fails.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A bucket's mark of a key that was removed; one that was put has none.
const KV_OPERATION: &str = "KV-Operation";

/// The server's mark of a key that expired.
const MARKER_REASON: &str = "Nats-Marker-Reason";

/// From where on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The oldest message that is kept.
    Oldest,
    /// The last message of each subject, and again from there after every interruption: for what is
    /// a state, not a log.
    LastOfEach,
    /// The message of this number.
    Number(u64),
}

/// A message with its place.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) number: u64,
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
    /// Whether a bucket removed its key.
    pub(crate) removed: bool,
    /// Messages behind it, as the server knows.
    pub(crate) behind: u64,
}

/// What there is to know while following.
#[derive(Debug)]
pub(crate) enum Step {
    /// A consumer was made, the first or another one.
    Started {
        /// The newest number of the stream at that moment.
        last: u64,
        /// Messages that the consumer is going to send of what is there.
        behind: u64,
    },
    Message(Followed),
    /// Messages are missing: the stream no longer holds what is next.
    Gap {
        expected: u64,
        found: u64,
    },
}

/// A place in a stream that moves on.
pub(crate) struct Follower {
    core: Arc<Core>,
    stream: String,
    from: From,
    messages: Option<pull::Stream>,
    /// Messages that the consumer has sent, as far as they came.
    came: u64,
    /// When the stream was made, in nanoseconds: another one has other messages under its numbers.
    made: Option<i128>,
    pause: Duration,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("stream", &self.stream)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// What a message says.
enum Read {
    Step(Step),
    /// Nothing new.
    Known,
    /// That others before it didn't come.
    Lost,
}

impl Follower {
    pub(crate) fn new(core: Arc<Core>, stream: String, from: From) -> Self {
        Self {
            core,
            stream,
            from,
            messages: None,
            came: 0,
            made: None,
            pause: PAUSE,
        }
    }

    /// The next step. After a gap there is nothing more to be had. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Step {
        loop {
            let Some(messages) = &mut self.messages else {
                match self.start().await {
                    Ok(step) => return step,
                    Err(reason) => self.rest(&reason).await,
                }
                continue;
            };
            match timeout(SILENCE_MAX, messages.next()).await {
                Ok(Some(Ok(message))) => match self.read(message) {
                    Read::Step(step) => return step,
                    Read::Known => {}
                    Read::Lost => self.rest("messages were lost on the way").await,
                },
                Ok(Some(Err(error))) => self.rest(&error.to_string()).await,
                Ok(None) => self.rest("the consumer ended").await,
                Err(_elapsed) => self.rest("the consumer is silent").await,
            }
        }
    }

    /// Gives up the consumer, and waits a little before the next.
    async fn rest(&mut self, reason: &str) {
        tracing::debug!(reason, stream = self.stream, "following anew");
        self.messages = None;
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    async fn start(&mut self) -> Result<Step, String> {
        self.core.link.up().await;
        let info = self.core.stream_info(self.stream.clone()).await?;
        let (state, made) = (info.state, info.created.unix_timestamp_nanos());
        let same = *self.made.get_or_insert(made) == made;
        if let (From::Number(expected), false) = (self.from, same) {
            let found = state.first_sequence;
            return Ok(Step::Gap { expected, found });
        }
        if let Some(gap) = self.gap(state.first_sequence, state.last_sequence) {
            return Ok(gap);
        }
        let consumer = self.consumer().await?;
        let behind = consumer.cached_info().num_pending;
        if behind == 0 && self.from == From::Oldest {
            // Nothing is kept: what comes next is known all the same, and so is its loss.
            self.from = From::Number(state.last_sequence + 1);
        }
        let messages = consumer
            .stream()
            .max_messages_per_batch(REQUEST_MESSAGES_MAX)
            .max_bytes_per_batch(REQUEST_BYTES_MAX)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| error.to_string())?;
        self.messages = Some(messages);
        self.came = 0;
        self.pause = PAUSE;
        Ok(Step::Started {
            last: state.last_sequence,
            behind,
        })
    }

    /// Whether what is next was removed, or the stream was made anew.
    fn gap(&self, first: u64, last: u64) -> Option<Step> {
        let From::Number(expected) = self.from else {
            return None;
        };
        let found = if expected > last + 1 { last + 1 } else { first };
        (expected > last + 1 || expected < first).then_some(Step::Gap { expected, found })
    }

    async fn consumer(&self) -> Result<Consumer<pull::Config>, String> {
        let deliver_policy = match self.from {
            From::Oldest => DeliverPolicy::All,
            From::LastOfEach => DeliverPolicy::LastPerSubject,
            From::Number(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
        };
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            filter_subject: ">".to_owned(),
            inactive_threshold: INACTIVE_MAX,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        self.core
            .context
            .create_consumer_on_stream(config, self.stream.clone())
            .await
            .map_err(|error| error.to_string())
    }

    fn read(&mut self, message: Message) -> Read {
        let (number, sent, behind) = match message.info() {
            Ok(info) => (info.stream_sequence, info.consumer_sequence, info.pending),
            Err(_not_of_a_stream) => return Read::Known,
        };
        if sent != self.came + 1 {
            // What was on its way when the connection broke is lost, and the consumer goes on behind
            // it. Nothing is missing in the stream.
            return Read::Lost;
        }
        self.came = sent;
        if let From::Number(expected) = self.from {
            if number < expected {
                return Read::Known; // Seen before the consumer was made anew.
            }
            if number > expected {
                return Read::Step(Step::Gap {
                    expected,
                    found: number,
                });
            }
        }
        if self.from != From::LastOfEach {
            self.from = From::Number(number + 1);
        }
        let message = message.message;
        let removed = message.headers.as_ref().is_some_and(|headers| {
            headers.get(KV_OPERATION).is_some() || headers.get(MARKER_REASON).is_some()
        });
        Read::Step(Step::Message(Followed {
            number,
            subject: message.subject.to_string(),
            payload: message.payload,
            removed,
            behind,
        }))
    }
}
