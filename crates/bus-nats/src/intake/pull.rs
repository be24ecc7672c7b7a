//! Requests for messages.
//!
//! A request says: what is there now, as much as fits; if there is nothing, then what comes next,
//! whenever that is. So nothing is fetched ahead of need, an idle worker costs a heartbeat a
//! second, and a message reaches it without a timer.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::{
    Message, StatusCode, Subscriber,
    jetstream::{
        self,
        consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
    },
};
use futures_util::StreamExt as _;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout},
};

use super::work::{Origin, Work, Workshop};

/// Bytes of one fetch; several times what a message may have, so that any one fits.
const FETCH_BYTES_MAX: usize = 4 << 20;

/// How long the server keeps a request while there is nothing.
const EXPIRES: Duration = Duration::from_secs(20);

/// How often the server says that it still has the request. A new leader doesn't have it, so that
/// after [`SILENCE_MAX`] it is made again.
const HEARTBEAT: Duration = Duration::from_secs(1);
const SILENCE_MAX: Duration = Duration::from_millis(2_500);

/// Pause after a request that was turned away, as when others wait for the same few messages.
const TURNED_AWAY_PAUSE: Duration = Duration::from_millis(3);

/// Pause after the server couldn't be asked.
const PAUSE: Duration = Duration::from_millis(250);

/// Time for messages on their way when a worker ends.
const DRAIN_PATIENCE: Duration = Duration::from_millis(500);

/// Requests of all workers that the consumer keeps.
const WAITING_MAX: i64 = 2_048;

#[derive(Debug)]
pub(super) struct Puller {
    workshop: Arc<Workshop>,
    /// What came; outlives a fetch that is cancelled.
    pub(super) fetched: VecDeque<Arc<Work>>,
    source: Option<Source>,
}

/// A consumer and the inbox to which it sends.
#[derive(Debug)]
struct Source {
    consumer: Consumer<pull::Config>,
    inbox: String,
    replies: Subscriber,
    /// The last request; answers to earlier ones are told by their subject.
    request: u64,
}

/// What came for a request.
enum Reply {
    Message(Message),
    /// The request is over.
    End,
    /// The request is still there.
    Heartbeat,
    /// There is no such consumer, or nobody to ask.
    Lost,
}

impl Puller {
    pub(super) fn new(workshop: Arc<Workshop>) -> Self {
        Self {
            workshop,
            fetched: VecDeque::new(),
            source: None,
        }
    }

    /// Waits for messages and takes what is there. Returns without any if the intake is closed or
    /// the server can't be asked; then again is to be asked. Safe to cancel.
    pub(super) async fn fetch(&mut self) {
        let workshop = Arc::clone(&self.workshop);
        // Closing first: nothing more is to be fetched.
        tokio::select! {
            biased;
            () = workshop.closed.wait() => {}
            () = self.fetch_until_closed() => {}
        }
    }

    async fn fetch_until_closed(&mut self) {
        let Some(mut places) = self.places().await else {
            return;
        };
        if let Err(reason) = self.ask(&mut places).await {
            tracing::debug!(reason, "can't fetch from the stream of events");
            self.source = None;
            self.workshop.core.link.up().await;
            sleep(PAUSE).await;
        }
    }

    /// Waits for a place for a message, then takes as many as one fetch needs, and leaves half of
    /// the free ones to other workers.
    async fn places(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        let free = &self.workshop.places;
        let first = Arc::clone(free).acquire_owned().await.ok()?;
        let mut places = vec![first];
        let share = free.available_permits() / 2 + 1;
        while places.len() < share.min(self.workshop.core.options.fetch_messages_max) {
            match Arc::clone(free).try_acquire_owned() {
                Ok(place) => places.push(place),
                Err(_none) => break,
            }
        }
        Some(places)
    }

    async fn ask(&mut self, places: &mut Vec<OwnedSemaphorePermit>) -> Result<(), String> {
        self.connect().await?;
        let workshop = Arc::clone(&self.workshop);
        let connects = workshop.core.link.connects();
        let asked = Instant::now();
        self.source()?.request(places.len()).await?;
        while !places.is_empty() {
            // First what came, which must not be lost.
            let reply = tokio::select! {
                biased;
                reply = timeout(SILENCE_MAX, self.source()?.next()) => reply,
                // The request went with the connection.
                () = workshop.core.link.reconnected(connects) => return Ok(()),
            };
            match reply {
                Ok(Reply::Message(message)) => self.take(message, places.pop()),
                Ok(Reply::Heartbeat) => {}
                Ok(Reply::End) => break,
                Ok(Reply::Lost) => return Err("no consumer".to_owned()),
                Err(_elapsed) => return Err("no heartbeat".to_owned()),
            }
        }
        if self.fetched.is_empty() && asked.elapsed() < TURNED_AWAY_PAUSE {
            sleep(TURNED_AWAY_PAUSE).await;
        }
        Ok(())
    }

    fn source(&mut self) -> Result<&mut Source, String> {
        self.source
            .as_mut()
            .ok_or_else(|| "not connected".to_owned())
    }

    fn take(&mut self, message: Message, place: Option<OwnedSemaphorePermit>) {
        let message = jetstream::Message {
            message,
            context: self.workshop.core.context.clone(),
        };
        match Origin::of(message) {
            Some(origin) => self.fetched.push_back(self.workshop.receive(origin, place)),
            None => tracing::warn!("received a message that isn't from the stream of events"),
        }
    }

    /// Takes what was on its way when the intake was closed; whether there was anything.
    pub(super) async fn drain(&mut self) -> bool {
        let Some(mut source) = self.source.take() else {
            return false;
        };
        if source.replies.drain().await.is_err() {
            return false;
        }
        while let Ok(Some(message)) = timeout(DRAIN_PATIENCE, source.replies.next()).await {
            if message.status.is_none() {
                self.take(message, None);
            }
        }
        !self.fetched.is_empty()
    }

    /// Finds or makes the consumer that all workers share.
    async fn connect(&mut self) -> Result<(), String> {
        if self.source.is_some() {
            return Ok(());
        }
        let core = &self.workshop.core;
        core.link.up().await;
        let (stream, name) = (core.names.events_stream(), core.names.ingest_consumer());
        let config = consumer_config(name, &core.options);
        let consumer = core
            .context
            .create_consumer_on_stream(config, stream)
            .await
            .map_err(|error| error.to_string())?;
        let inbox = core.client.new_inbox();
        let replies = core
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| error.to_string())?;
        self.source = Some(Source {
            consumer,
            inbox,
            replies,
            request: 0,
        });
        Ok(())
    }
}

fn consumer_config(name: String, options: &crate::NatsOptions) -> pull::Config {
    pull::Config {
        durable_name: Some(name),
        description: Some("Ingest workers".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: options.ack_wait,
        // Ends by a dead letter, which the server doesn't write.
        max_deliver: -1,
        max_ack_pending: i64::from(options.ack_pending_max),
        max_waiting: WAITING_MAX,
        ..pull::Config::default()
    }
}

impl Source {
    /// With both `no_wait` and `expires` the server waits for a first message, then sends what is
    /// there and ends the request.
    async fn request(&mut self, count: usize) -> Result<(), String> {
        self.request += 1;
        let request = pull::BatchConfig {
            batch: count,
            no_wait: true,
            expires: Some(EXPIRES),
            idle_heartbeat: HEARTBEAT,
            max_bytes: FETCH_BYTES_MAX,
            ..pull::BatchConfig::default()
        };
        let reply = format!("{}.{}", self.inbox, self.request);
        self.consumer
            .request_batch(request, reply.into())
            .await
            .map_err(|error| error.to_string())
    }

    /// The next reply to the last request, or a message of any. Safe to cancel.
    async fn next(&mut self) -> Reply {
        loop {
            let Some(message) = self.replies.next().await else {
                return Reply::Lost;
            };
            let Some(status) = message.status else {
                return Reply::Message(message);
            };
            let reply = match status {
                StatusCode::IDLE_HEARTBEAT => Reply::Heartbeat,
                StatusCode::NO_RESPONDERS => Reply::Lost,
                _ if message.description.as_deref() == Some("Consumer Deleted") => Reply::Lost,
                _ => Reply::End,
            };
            if self.is_current(&message) {
                return reply;
            }
        }
    }

    fn is_current(&self, message: &Message) -> bool {
        let number = message.subject.rsplit('.').next();
        number.and_then(|number| number.parse().ok()) == Some(self.request)
    }
}

impl Drop for Puller {
    /// What is fetched and not taken goes back to the server by the drop of its work.
    fn drop(&mut self) {
        for work in self.fetched.drain(..) {
            drop(work.items());
        }
    }
}
