//! The gateway's side: events to the stream in batches, receipts back.
//!
//! One batch is in flight at a time, and the next one grows meanwhile, so there is no timer: an
//! idle gateway publishes at once, a busy one many events a message. One in flight also keeps the
//! order in which a gateway published.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_nats::HeaderMap;
use futures_util::StreamExt as _;
use heliograph_bus::{BusError, CommitNumber, Receipt};
use heliograph_lifecycle::Tasks;
use heliograph_protocol::{Event, Outcome};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, timeout},
};

use crate::{
    Durability, Metrics, NatsOptions,
    acked::{Acked, Outgoing, Unacknowledged},
    codec::{self, Batch, ENVELOPE_BYTES},
    connection::REQUEST_TIMEOUT,
    metrics::{Missing, Published},
    names::Names,
    pending::Pending,
};

/// Takes events in and waits for their receipts.
#[derive(Debug)]
pub(crate) struct Publisher {
    queue: Mutex<Option<mpsc::Sender<Queued>>>,
    pending: Arc<Pending>,
    /// A place for each publisher that waits.
    places: Arc<Semaphore>,
    /// Bytes of events that the stream hasn't acknowledged.
    room: Arc<Semaphore>,
    /// Ends when the sending task does.
    sending: watch::Receiver<()>,
    acked: Acked,
    options: Arc<NatsOptions>,
    metrics: Arc<Metrics>,
}

/// An event on its way to the stream.
#[derive(Debug)]
struct Queued {
    event: Arc<Event>,
    ticket: u64,
    /// Given back when the stream has it or won't get it.
    _room: OwnedSemaphorePermit,
}

/// What the sending task works with.
#[derive(Debug)]
struct Sender {
    queue: mpsc::Receiver<Queued>,
    /// Taken from the queue, but for the next batch.
    next: Option<Queued>,
    pending: Arc<Pending>,
    acked: Acked,
    subject: String,
    incarnation: String,
    number: AtomicU64,
    options: Arc<NatsOptions>,
    metrics: Arc<Metrics>,
}

impl Publisher {
    /// Starts the task that sends; it ends when the publisher is closed and everything is sent.
    pub(crate) fn start(
        acked: Acked,
        names: &Names,
        incarnation: &str,
        options: &Arc<NatsOptions>,
        metrics: &Arc<Metrics>,
        tasks: &Tasks,
    ) -> Self {
        let places = options.pending_max as usize;
        // Whoever holds a place is in the queue at most once, so that sending never waits.
        let (queue, receiver) = mpsc::channel(places.min(Semaphore::MAX_PERMITS));
        let pending = Arc::new(Pending::new(Arc::clone(metrics)));
        let sender = Sender {
            queue: receiver,
            next: None,
            pending: Arc::clone(&pending),
            acked: acked.clone(),
            subject: names.events_subject(&options.node),
            incarnation: incarnation.to_owned(),
            number: AtomicU64::new(1),
            options: Arc::clone(options),
            metrics: Arc::clone(metrics),
        };
        let (sending_in, sending) = watch::channel(());
        tasks.spawn("bus publisher", async move {
            sender.run().await;
            drop(sending_in);
        });
        Self {
            queue: Mutex::new(Some(queue)),
            pending,
            places: Arc::new(Semaphore::new(places)),
            room: Arc::new(Semaphore::new(options.publish_bytes_max as usize)),
            sending,
            acked,
            options: Arc::clone(options),
            metrics: Arc::clone(metrics),
        }
    }

    /// Passes an event on and waits for its receipt. Safe to cancel.
    pub(crate) async fn publish(&self, event: Arc<Event>) -> Result<Receipt, BusError> {
        if event.json().len() + ENVELOPE_BYTES > self.acked.payload_bytes_max() {
            return Err(BusError::Store(
                "the event is larger than a message of the bus".to_owned(),
            ));
        }
        let closed = |_closed| BusError::Closed;
        let _place = self.places.acquire().await.map_err(closed)?;
        let bytes = u32::try_from(event.json().len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .acquire_many_owned(bytes.min(self.options.publish_bytes_max))
            .await
            .map_err(closed)?;
        let queue = self.queue.lock().clone().ok_or(BusError::Closed)?;
        let waiting = self.pending.wait(*event.id());
        let queued = Queued {
            event,
            ticket: waiting.ticket,
            _room: room,
        };
        queue
            .send(queued)
            .await
            .map_err(|_closed| BusError::Closed)?;
        // Else the task could not see that the publisher is closed.
        drop(queue);
        let mut abandoned = CountAbandoned::new(&self.metrics);
        let answer = timeout(self.options.receipt_deadline, waiting.answer()).await;
        abandoned.disarm();
        answer.unwrap_or_else(|_elapsed| {
            self.metrics.missing(Missing::TimedOut).inc();
            Err(BusError::TimedOut)
        })
    }

    /// Takes no more events; what is queued is sent.
    pub(crate) fn close(&self) {
        self.queue.lock().take();
    }

    /// Waits until everything is sent that was queued when it was closed.
    pub(crate) async fn sent(&self) {
        // Nothing is ever sent there: an error is the end of the task.
        drop(self.sending.clone().changed().await);
    }

    /// The publishers that wait.
    pub(crate) fn pending(&self) -> &Arc<Pending> {
        &self.pending
    }
}

/// Counts a publisher that stopped waiting.
struct CountAbandoned<'a> {
    metrics: &'a Metrics,
    armed: bool,
}

impl<'a> CountAbandoned<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        Self {
            metrics,
            armed: true,
        }
    }

    fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for CountAbandoned<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.metrics.missing(Missing::Abandoned).inc();
        }
    }
}

impl Sender {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.send(batch).await;
        }
    }

    /// Waits for an event, then takes what is there. Empty if nobody waits for any of it.
    async fn next_batch(&mut self) -> Option<Vec<Queued>> {
        let first = match self.next.take() {
            Some(queued) => queued,
            None => self.queue.recv().await?,
        };
        let mut bytes = size(&first);
        let mut batch = vec![first];
        while batch.len() < self.options.batch_events_max {
            let Ok(queued) = self.queue.try_recv() else {
                break;
            };
            bytes += size(&queued);
            if bytes > self.options.batch_bytes_max {
                self.next = Some(queued);
                break;
            }
            batch.push(queued);
        }
        // Under overload most wait no longer: their events would only lengthen the queue.
        batch.retain(|queued| self.pending.is_waiting(queued.event.id(), queued.ticket));
        Some(batch)
    }

    async fn send(&self, batch: Vec<Queued>) {
        if batch.is_empty() {
            return;
        }
        let outgoing = self.outgoing(&batch);
        self.metrics.batch_events.observe(float(batch.len()));
        self.metrics
            .batch_bytes
            .observe(float(outgoing.payload.len()));
        let started = Instant::now();
        let deadline = started + self.options.publish_deadline;
        let sent = self.acked.publish(&outgoing, deadline).await;
        self.metrics
            .publish_ack_seconds
            .observe(started.elapsed().as_secs_f64());
        match sent {
            Ok(_sequence) => self.acknowledged(&batch),
            Err(error) => self.failed(&batch, &error),
        }
    }

    fn outgoing(&self, batch: &[Queued]) -> Outgoing {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let payload = codec::write_batch(&Batch {
            gateway: self.options.node.clone(),
            incarnation: self.incarnation.clone(),
            number,
            events: batch
                .iter()
                .map(|queued| Arc::clone(&queued.event))
                .collect(),
        });
        Outgoing {
            what: Published::Events,
            subject: self.subject.clone(),
            id: format!("{}-{number}", self.incarnation),
            headers: HeaderMap::new(),
            payload,
        }
    }

    fn acknowledged(&self, batch: &[Queued]) {
        if self.options.durability == Durability::Stored {
            return; // The receipt comes from ingest.
        }
        let receipt = Receipt {
            outcome: Outcome::Stored,
            commit: CommitNumber(0),
        };
        self.answer_each(batch, &Ok(receipt));
    }

    fn failed(&self, batch: &[Queued], error: &Unacknowledged) {
        tracing::warn!(%error, events = batch.len(), "failed to publish a batch");
        self.metrics
            .missing(Missing::Unavailable)
            .inc_by(batch.len() as u64);
        self.answer_each(batch, &Err(BusError::Unavailable));
    }

    fn answer_each(&self, batch: &[Queued], answer: &Result<Receipt, BusError>) {
        for queued in batch {
            self.pending
                .answer_one(queued.event.id(), queued.ticket, answer.clone());
        }
    }
}

fn size(queued: &Queued) -> usize {
    queued.event.json().len() + ENVELOPE_BYTES
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn float(size: usize) -> f64 {
    size as f64
}

/// Answers publishers from the receipts that come in. A lost receipt is an error after the
/// publisher's patience, and its event may be sent again.
///
/// # Errors
///
/// The subscription can't be made.
pub(crate) async fn listen(
    client: &async_nats::Client,
    subject: String,
    pending: Arc<Pending>,
    metrics: Arc<Metrics>,
    tasks: &Tasks,
) -> Result<(), String> {
    let subscribing = client.subscribe(subject);
    let mut receipts = timeout(REQUEST_TIMEOUT, subscribing)
        .await
        .map_err(|_elapsed| "no answer".to_owned())?
        .map_err(|error| error.to_string())?;
    tasks.spawn("bus receipts", async move {
        // Ends with the connection, when it is drained.
        while let Some(message) = receipts.next().await {
            match codec::read_receipts(message.payload) {
                Ok(answers) => answer(&pending, &answers, &metrics),
                Err(error) => tracing::warn!(%error, "received receipts that can't be read"),
            }
        }
    });
    Ok(())
}

fn answer(pending: &Pending, answers: &[codec::Answer], metrics: &Metrics) {
    for (id, answer) in answers {
        if answer.is_err() {
            metrics.missing(Missing::Refused).inc();
        }
        pending.answer_all(id, answer);
    }
}
