//! The bus of one process: bounded channels and function calls.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use heliograph_protocol::Event;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{
    Bus, BusError, CommitNumber, Committed, Deliver, Delivery, Feed, FeedItem, IfStored, Intake,
    IntakeItem, Receipt, Requests,
};

/// Sizes of the queues.
#[derive(Debug, Clone, Copy)]
pub struct InProcessOptions {
    /// Verified events waiting for ingest; past it publishers wait. At 1 KiB an event 16 MiB.
    pub intake_events_max: usize,
    /// Bytes of events between a publisher and its receipt; past it publishers wait. Bounds what
    /// large events hold while the disk stalls, and the size of one write.
    pub intake_bytes_max: u32,
    /// Commits waiting for the matcher; past it ingest waits.
    pub feed_items_max: usize,
}

impl Default for InProcessOptions {
    fn default() -> Self {
        Self {
            intake_events_max: 16_384,
            intake_bytes_max: 64 << 20,
            feed_items_max: 1_024,
        }
    }
}

/// Connects the services of one process. Cloning shares it.
#[derive(Clone)]
pub struct InProcess {
    shared: Arc<Shared>,
}

struct Shared {
    events: Mutex<Option<mpsc::Sender<Published>>>,
    intake: Mutex<Option<mpsc::Receiver<Published>>>,
    intake_room: Arc<Semaphore>,
    intake_bytes_max: u32,
    feed_in: Mutex<Option<mpsc::Sender<FeedItem>>>,
    feed_out: Mutex<Option<mpsc::Receiver<FeedItem>>>,
    /// Twice the last commit number, plus one while a write is under way.
    commits: AtomicU64,
    matcher: OnceLock<Arc<dyn Requests>>,
    gateway: OnceLock<Arc<dyn Deliver>>,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess")
            .field("commits", &self.shared.commits)
            .finish_non_exhaustive()
    }
}

impl InProcess {
    /// Makes the queues; the services connect to them one by one.
    #[must_use]
    pub fn new(options: InProcessOptions) -> Self {
        let (events, intake) = mpsc::channel(options.intake_events_max);
        let (feed_in, feed_out) = mpsc::channel(options.feed_items_max);
        Self {
            shared: Arc::new(Shared {
                events: Mutex::new(Some(events)),
                intake: Mutex::new(Some(intake)),
                intake_room: Arc::new(Semaphore::new(options.intake_bytes_max as usize)),
                intake_bytes_max: options.intake_bytes_max,
                feed_in: Mutex::new(Some(feed_in)),
                feed_out: Mutex::new(Some(feed_out)),
                commits: AtomicU64::new(0),
                matcher: OnceLock::new(),
                gateway: OnceLock::new(),
            }),
        }
    }

    /// Names the matcher that answers requests. The first one stays.
    pub fn serve_requests(&self, matcher: Arc<dyn Requests>) {
        self.shared.matcher.get_or_init(|| matcher);
    }

    /// Names the gateway that takes deliveries. The first one stays.
    pub fn serve_deliveries(&self, gateway: Arc<dyn Deliver>) {
        self.shared.gateway.get_or_init(|| gateway);
    }

    /// Hands a delivery to the gateway; dropped if there is none, as in a process without sockets.
    pub fn deliver(&self, delivery: Delivery) {
        if let Some(gateway) = self.shared.gateway.get() {
            gateway.deliver(delivery);
        }
    }

    /// No more events are taken; ingest drains what is queued, then ends.
    pub fn close_intake(&self) {
        self.shared.events.lock().take();
    }

    /// No more commits are taken; the matcher drains what is queued, then ends.
    pub fn close_feed(&self) {
        self.shared.feed_in.lock().take();
    }

    fn events(&self) -> Result<mpsc::Sender<Published>, BusError> {
        self.shared.events.lock().clone().ok_or(BusError::Closed)
    }

    /// Waits until the event's bytes fit in; one that is larger than all of it goes alone.
    async fn intake_room(&self, event: &Event) -> Result<OwnedSemaphorePermit, BusError> {
        let shared = &self.shared;
        let bytes = u32::try_from(event.json().len()).unwrap_or(u32::MAX);
        Arc::clone(&shared.intake_room)
            .acquire_many_owned(bytes.min(shared.intake_bytes_max))
            .await
            .map_err(|_closed| BusError::Closed)
    }

    fn feed_in(&self) -> Result<mpsc::Sender<FeedItem>, BusError> {
        self.shared.feed_in.lock().clone().ok_or(BusError::Closed)
    }
}

impl Bus for InProcess {
    type Intake = InProcessIntake;
    type Feed = InProcessFeed;

    async fn publish(&self, event: Arc<Event>) -> Result<Receipt, BusError> {
        let room = self.intake_room(&event).await?;
        let (reply, receipt) = oneshot::channel();
        let published = Published {
            event,
            reply,
            _room: room,
        };
        let events = self.events()?;
        events
            .send(published)
            .await
            .map_err(|_closed| BusError::Closed)?;
        drop(events);
        receipt.await.map_err(|_dropped| BusError::Closed)?
    }

    async fn publish_ephemeral(&self, event: Arc<Event>) -> Result<(), BusError> {
        let feed = self.feed_in()?;
        feed.send(FeedItem::Ephemeral(event))
            .await
            .map_err(|_closed| BusError::Closed)
    }

    fn matcher(&self) -> Result<&dyn Requests, BusError> {
        self.shared
            .matcher
            .get()
            .map(AsRef::as_ref)
            .ok_or(BusError::Closed)
    }

    fn intake(&self) -> InProcessIntake {
        InProcessIntake {
            events: self.shared.intake.lock().take(),
        }
    }

    fn begin_write(&self) {
        self.shared.commits.fetch_or(1, Ordering::AcqRel);
    }

    async fn newest(&self) -> Result<CommitNumber, BusError> {
        Ok(CommitNumber(
            self.shared.commits.load(Ordering::Acquire) / 2,
        ))
    }

    fn horizon(&self) -> Option<CommitNumber> {
        let commits = self.shared.commits.load(Ordering::Acquire);
        Some(CommitNumber(commits.div_ceil(2)))
    }

    /// One matcher lives as long as the bus, so nobody asks for what it has applied.
    async fn history(
        &self,
        _after: CommitNumber,
    ) -> Result<Vec<(CommitNumber, Vec<Committed>)>, BusError> {
        Err(BusError::Closed)
    }

    async fn commit(&self, events: Vec<Committed>) -> Result<CommitNumber, BusError> {
        let feed = self.feed_in()?;
        // The place in the queue comes first, so that numbers and queue have the same order.
        let place = feed.reserve().await.map_err(|_closed| BusError::Closed)?;
        // One ingest worker: nobody else changes the number meanwhile.
        let number = self.shared.commits.load(Ordering::Acquire) / 2 + 1;
        self.shared.commits.store(number * 2, Ordering::Release);
        place.send(FeedItem::Committed {
            number: CommitNumber(number),
            events,
        });
        Ok(CommitNumber(number))
    }

    fn feed(&self) -> InProcessFeed {
        InProcessFeed {
            items: self.shared.feed_out.lock().take(),
        }
    }
}

/// The ingest end.
#[derive(Debug)]
pub struct InProcessIntake {
    events: Option<mpsc::Receiver<Published>>,
}

impl Intake for InProcessIntake {
    type Item = Published;

    async fn next(&mut self, count_max: usize) -> Option<Vec<Published>> {
        let events = self.events.as_mut()?;
        let mut batch = Vec::new();
        if events.recv_many(&mut batch, count_max).await == 0 {
            None
        } else {
            Some(batch)
        }
    }
}

/// One event on its way to ingest.
#[derive(Debug)]
pub struct Published {
    event: Arc<Event>,
    reply: oneshot::Sender<Result<Receipt, BusError>>,
    /// Given back with the receipt.
    _room: OwnedSemaphorePermit,
}

impl IntakeItem for Published {
    fn event(&self) -> &Arc<Event> {
        &self.event
    }

    fn if_stored(&self) -> IfStored {
        IfStored::Announced
    }

    fn answer(self, receipt: Result<Receipt, BusError>) {
        // The publisher may have hung up; the event is stored all the same.
        drop(self.reply.send(receipt));
    }
}

/// The matcher end.
#[derive(Debug)]
pub struct InProcessFeed {
    items: Option<mpsc::Receiver<FeedItem>>,
}

impl Feed for InProcessFeed {
    async fn next(&mut self) -> Option<FeedItem> {
        self.items.as_mut()?.recv().await
    }
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::{Kind, Outcome, PublicKey, Signature, Timestamp};

    use super::*;

    fn event() -> Arc<Event> {
        let tags: [Vec<&str>; 0] = [];
        let sign = |_: &_| Signature::new([0; 64]);
        let key = PublicKey::new([1; 32]);
        Arc::new(Event::build(
            key,
            Timestamp::from_secs(1),
            Kind::new(1),
            &tags,
            "",
            sign,
        ))
    }

    #[tokio::test]
    async fn a_receipt_reaches_the_publisher() {
        let bus = InProcess::new(InProcessOptions::default());
        let mut intake = bus.intake();
        let receipt = Receipt {
            outcome: Outcome::Stored,
            commit: CommitNumber(7),
        };
        let ingest = async {
            for item in intake.next(10).await.unwrap() {
                item.answer(Ok(receipt));
            }
        };
        let (published, ()) = tokio::join!(bus.publish(event()), ingest);
        assert_eq!(published, Ok(receipt));
    }

    #[tokio::test]
    async fn an_event_that_is_dropped_without_a_receipt_is_an_error() {
        let bus = InProcess::new(InProcessOptions::default());
        let mut intake = bus.intake();
        let ingest = async { drop(intake.next(10).await) };
        let (published, ()) = tokio::join!(bus.publish(event()), ingest);
        assert_eq!(published, Err(BusError::Closed));
    }

    #[tokio::test]
    async fn a_closed_intake_is_drained_and_takes_nothing_more() {
        let bus = InProcess::new(InProcessOptions::default());
        let mut intake = bus.intake();
        let mut publishing = Box::pin(bus.publish(event()));
        assert!(futures_util::poll!(&mut publishing).is_pending());
        bus.close_intake();
        assert_eq!(bus.publish(event()).await, Err(BusError::Closed));
        assert_eq!(intake.next(10).await.map(|batch| batch.len()), Some(1));
        assert!(intake.next(10).await.is_none());
    }

    #[tokio::test]
    async fn commits_are_numbered_without_gaps_even_without_events() {
        let bus = InProcess::new(InProcessOptions::default());
        let mut feed = bus.feed();
        for number in 1..=3 {
            assert_eq!(bus.commit(Vec::new()).await, Ok(CommitNumber(number)));
        }
        bus.close_feed();
        for expected in 1..=3 {
            let Some(FeedItem::Committed { number, .. }) = feed.next().await else {
                panic!("expected commit {expected}")
            };
            assert_eq!(number, CommitNumber(expected));
        }
        assert!(feed.next().await.is_none());
    }

    #[tokio::test]
    async fn the_horizon_is_one_ahead_while_a_write_is_under_way() {
        let bus = InProcess::new(InProcessOptions::default());
        let _feed = bus.feed();
        let ends = async || (bus.newest().await, bus.horizon());
        let numbers = |newest, horizon| (Ok(CommitNumber(newest)), Some(CommitNumber(horizon)));
        assert_eq!(ends().await, numbers(0, 0));
        bus.begin_write();
        assert_eq!(ends().await, numbers(0, 1));
        bus.commit(Vec::new()).await.unwrap();
        assert_eq!(ends().await, numbers(1, 1));
        bus.begin_write();
        assert_eq!(ends().await, numbers(1, 2));
    }

    #[tokio::test]
    async fn the_bytes_of_an_event_count_until_its_receipt() {
        let bytes = u32::try_from(event().json().len()).unwrap();
        let bus = InProcess::new(InProcessOptions {
            intake_bytes_max: bytes,
            ..InProcessOptions::default()
        });
        let mut intake = bus.intake();
        let (mut first, mut second) = (
            Box::pin(bus.publish(event())),
            Box::pin(bus.publish(event())),
        );
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        let batch = intake.next(10).await.unwrap();
        assert_eq!(batch.len(), 1, "the second doesn't fit in");
        for item in batch {
            item.answer(Err(BusError::TimedOut));
        }
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(intake.next(10).await.map(|batch| batch.len()), Some(1));
        assert_eq!(first.await, Err(BusError::TimedOut));
    }

    #[tokio::test]
    async fn a_full_intake_makes_publishers_wait() {
        let bus = InProcess::new(InProcessOptions {
            intake_events_max: 1,
            feed_items_max: 1,
            ..InProcessOptions::default()
        });
        let mut intake = bus.intake();
        let (mut first, mut second) = (
            Box::pin(bus.publish(event())),
            Box::pin(bus.publish(event())),
        );
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(intake.next(10).await.map(|batch| batch.len()), Some(1));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(intake.next(10).await.map(|batch| batch.len()), Some(1));
    }
}

#[cfg(test)]
mod conforms {
    use super::*;
    use crate::conformance::{Backend, note};

    struct OneProcess;

    impl Backend for OneProcess {
        type Bus = InProcess;
        type Handle = Box<InProcess>;

        const REDELIVERS: bool = false;
        const HISTORY: bool = false;

        async fn open(&self) -> Box<InProcess> {
            Box::new(InProcess::new(InProcessOptions::default()))
        }

        async fn open_narrow(&self) -> Box<InProcess> {
            Box::new(InProcess::new(InProcessOptions {
                intake_bytes_max: u32::try_from(note(1).json().len()).unwrap(),
                ..InProcessOptions::default()
            }))
        }

        fn close_intake(bus: &InProcess) {
            bus.close_intake();
        }

        fn close_feed(bus: &InProcess) {
            bus.close_feed();
        }
    }

    fn block_on<F: Future>(future: F) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future);
    }

    crate::bus_conformance_tests!(block_on, OneProcess);
}
