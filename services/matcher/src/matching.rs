//! Registers subscriptions, applies commits, delivers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use heliograph_bus::{
    BoxFuture, Bus, BusError, CommitNumber, Committed, ConnectionId, Count, Counted, Delivery,
    Feed, FeedItem, Open, Pages, Requests, Slot,
};
use heliograph_policy::{Reader, restricted};
use heliograph_protocol::{Event, Filter, Kind, PublicKey, Refusal};
use heliograph_recent::{Applied, Recent};
use heliograph_store::{EventStore, ScanRequest};
use heliograph_subscriptions::{Index, Matches};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Metrics, Options,
    answer::{Answer, Settle},
    count,
    lately::Lately,
    stream::Stream,
};

/// Dead entries purged from the index after each event at most, so that closing many
/// subscriptions at once delays no delivery. Opening one purges besides as much as it will leave
/// behind, so that what is dead never outgrows what was alive, however few events come.
const PURGE_STEP: usize = 64;

/// Answers and matches. Generic over the archive behind the recent tier.
pub struct Matcher<S: EventStore> {
    recent: Recent<S>,
    options: ArcSwap<Options>,
    link: Arc<Link>,
    deliver: Sink,
    metrics: Arc<Metrics>,
}

/// Takes deliveries without waiting.
pub type Sink = Box<dyn Fn(Delivery) + Send + Sync>;

/// How far the stream of commits has come, as this process knows it.
pub struct Progress {
    /// The newest commit ([`Bus::committed`]).
    pub committed: Box<dyn Fn() -> CommitNumber + Send + Sync>,
    /// Up to which number commits may be visible in the store ([`Bus::horizon`]).
    pub horizon: Box<dyn Fn() -> CommitNumber + Send + Sync>,
}

impl Progress {
    /// What a bus says.
    #[must_use]
    pub fn of<B: Bus>(bus: B) -> Self {
        let other = bus.clone();
        Self {
            committed: Box::new(move || bus.committed()),
            horizon: Box::new(move || other.horizon()),
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

/// Everything that a live event needs, under one lock: while it is held no event is under way.
#[derive(Default)]
struct Live {
    index: Index,
    found: Matches,
    connections: HashMap<Slot, ConnectionId>,
    readers: HashMap<ConnectionId, Reader>,
    ephemeral: Lately,
}

impl<S: EventStore> std::fmt::Debug for Matcher<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher")
            .field("applied", &*self.link.applied.borrow())
            .finish_non_exhaustive()
    }
}

/// Follows the feed until it ends.
pub async fn run<B: Bus, S: EventStore>(matcher: Arc<Matcher<S>>, bus: B) {
    let mut feed = bus.feed();
    while let Some(item) = feed.next().await {
        matcher.apply(item);
    }
}

impl<S: EventStore> Matcher<S> {
    /// Puts the parts together. `deliver` takes what goes to the gateway.
    #[must_use]
    pub fn new(
        recent: Recent<S>,
        options: Options,
        deliver: Sink,
        progress: Progress,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let applied = watch::Sender::new(CommitNumber::default());
        Arc::new(Self {
            recent,
            options: ArcSwap::from_pointee(options),
            link: Arc::new(Link {
                live: Mutex::default(),
                applied,
                progress,
            }),
            deliver,
            metrics,
        })
    }

    /// Replaces the options; answers that have begun keep theirs.
    pub fn reload(&self, options: Options) {
        self.options.store(Arc::new(options));
    }

    pub(crate) fn apply(&self, item: FeedItem) {
        match item {
            FeedItem::Ephemeral(event) => {
                let mut live = self.link.live.lock();
                if live.ephemeral.note(event.id()) {
                    self.deliver_live(&mut live, &event);
                }
            }
            FeedItem::Committed { number, events } => {
                for change in events {
                    match change {
                        Committed::Winner(event) => self.commit(&event),
                        Committed::Seat(event) => self.recent.take_seat(&event),
                    }
                }
                self.link.applied.send_replace(number);
                self.metrics
                    .applied
                    .set(i64::try_from(number.0).unwrap_or(i64::MAX));
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn index_stats(&self) -> heliograph_subscriptions::Stats {
        self.link.live.lock().index.stats()
    }

    /// Makes one event visible, then delivers it: in one step, as seen by [`Requests::open`].
    fn commit(&self, event: &Arc<Event>) {
        let mut live = self.link.live.lock();
        let applied = self.recent.apply(std::slice::from_ref(event));
        match applied.first() {
            Some(Applied::New) => self.deliver_live(&mut live, event),
            Some(Applied::Known) | None => {}
            // A loser may not be sent after the winner (CL-3).
            Some(Applied::Lost) => drop(self.metrics.losers.inc()),
        }
    }

    fn deliver_live(&self, live: &mut Live, event: &Arc<Event>) {
        let started = Instant::now();
        let Live {
            index,
            found,
            connections,
            readers,
            ..
        } = live;
        index.matches(event, found);
        let mut slots: Vec<Slot> = found.slots.iter().map(|slot| Slot(slot.0)).collect();
        if restricted(event.kind()) || event.kind() == Kind::VANISH {
            let urls = &self.options.load().urls;
            let nobody = Reader::default();
            slots.retain(|slot| {
                let reader = connections
                    .get(slot)
                    .and_then(|connection| readers.get(connection));
                reader.unwrap_or(&nobody).may_see(event, urls)
            });
        }
        index.purge(PURGE_STEP);
        self.metrics.events.inc();
        if !slots.is_empty() {
            self.metrics.matches.inc_by(slots.len() as u64);
            (self.deliver)(Delivery::Event {
                event: Arc::clone(event),
                slots,
            });
        }
        self.metrics
            .match_seconds
            .observe(started.elapsed().as_secs_f64());
    }

    /// Waits until `after` and everything committed so far has been applied, for a bounded time
    /// (R01-57).
    ///
    /// # Errors
    ///
    /// [`BusError::TimedOut`] past it: an answer without what it has to hold would be a lie.
    async fn caught_up(&self, after: CommitNumber, options: &Options) -> Result<(), BusError> {
        let after = after.max((self.link.progress.committed)());
        if self.link.applied(after, options.commit_wait).await {
            return Ok(());
        }
        self.metrics.answers_failed.inc();
        Err(BusError::TimedOut)
    }

    fn register(&self, open: &Open) {
        let values: usize = open.filters.iter().map(Filter::value_count).sum();
        let mut live = self.link.live.lock();
        live.index.purge(PURGE_STEP + 2 * values);
        live.index
            .insert(heliograph_subscriptions::Slot(open.slot.0), &open.filters);
        live.connections.insert(open.slot, open.connection);
        drop(live);
        self.metrics.subscriptions.inc();
    }

    async fn answer(&self, open: Open) -> Result<Box<dyn Pages>, BusError> {
        let options = self.options.load_full();
        self.register(&open);
        self.caught_up(open.after, &options).await?;
        let filters = open.filters.len();
        let streams = open
            .filters
            .into_iter()
            .map(|filter| {
                let filter = Arc::new(filter);
                let request = ScanRequest {
                    filter: Arc::clone(&filter),
                    after: None,
                    now: open.now,
                    budget: options.req_budget,
                };
                let scan = self.recent.scan(request);
                Stream::new(scan, &filter, filters, &options.filters)
            })
            .collect();
        let end = End {
            link: Arc::clone(&self.link),
            slot: open.slot,
            wait: options.commit_wait,
        };
        Ok(Box::new(Answer::new(
            streams,
            open.reader,
            options.urls.clone(),
            open.now,
            Box::new(end),
            Arc::clone(&self.metrics),
        )))
    }
}

/// The part of a matcher that its answers hold on to.
struct Link {
    live: Mutex<Live>,
    applied: watch::Sender<CommitNumber>,
    progress: Progress,
}

impl Link {
    /// Waits until `number` has been applied; `false` if that took too long.
    async fn applied(&self, number: CommitNumber, wait: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        if *applied.borrow() >= number {
            return true;
        }
        let applied = applied.wait_for(|applied| *applied >= number);
        tokio::time::timeout(wait, applied).await.is_ok()
    }
}

/// The end of one answer.
struct End {
    link: Arc<Link>,
    slot: Slot,
    wait: Duration,
}

impl Settle for End {
    fn settle(&self, archive: bool) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            // The archive may have shown events that are stored and not yet committed.
            if archive
                && !self
                    .link
                    .applied((self.link.progress.horizon)(), self.wait)
                    .await
            {
                return Err(Refusal::error("the relay is behind, try again"));
            }
            // An event that the recent tier has shown may be under way to the gateway.
            drop(self.link.live.lock());
            Ok(())
        })
    }

    fn abandon(&self) {
        self.link
            .live
            .lock()
            .index
            .remove(heliograph_subscriptions::Slot(self.slot.0));
    }
}

impl<S: EventStore> Requests for Matcher<S> {
    fn open(&self, open: Open) -> BoxFuture<'_, Result<Box<dyn Pages>, BusError>> {
        Box::pin(self.answer(open))
    }

    fn close(&self, slot: Slot) {
        let mut live = self.link.live.lock();
        live.index.remove(heliograph_subscriptions::Slot(slot.0));
        if live.connections.remove(&slot).is_some() {
            self.metrics.subscriptions.dec();
        }
        // Under the lock, so that no delivery for the slot is under way.
        (self.deliver)(Delivery::Released(slot));
    }

    fn authenticate(&self, connection: ConnectionId, key: PublicKey) {
        let mut live = self.link.live.lock();
        let reader = live.readers.entry(connection).or_default();
        if !reader.is(&key) {
            reader.keys.push(key);
        }
    }

    fn disconnect(&self, connection: ConnectionId) {
        self.link.live.lock().readers.remove(&connection);
    }

    fn count(&self, count: Count) -> BoxFuture<'_, Result<Counted, Refusal>> {
        Box::pin(async move {
            let options = self.options.load_full();
            self.caught_up(count.after, &options).await?;
            count::count(&self.recent, count, options.count_budget, &options.urls).await
        })
    }
}
