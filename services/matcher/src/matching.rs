//! Registers subscriptions, applies commits, delivers.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use heliograph_bus::{
    BoxFuture, Bus, BusError, CommitNumber, Committed, ConnectionId, Count, Counted, Delivery,
    Feed, FeedItem, Open, Pages, Place, Requests, Resume, Slot,
};
use heliograph_lifecycle::Failpoint;
use heliograph_policy::Reader;
use heliograph_protocol::{
    Event, EventId, Expiration, Filter, Origin, PublicKey, Refusal, Timestamp,
};
use heliograph_recent::{Applied, Recent};
use heliograph_store::{EventStore, ScanRequest};
use heliograph_telemetry::{
    seconds_since,
    trace::{Span, SpanKind},
    unix_micros,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Metrics, Options, Progress,
    answer::{Answer, Settle, Settled},
    count,
    live::Live,
    stream::Stream,
};

/// Events looked at again at once for a subscription that has waited.
const GONE_SLICE: usize = 256;

/// Answers and matches. Generic over the archive behind the recent tier.
pub struct Matcher<S: EventStore> {
    recent: Recent<S>,
    options: ArcSwap<Options>,
    link: Arc<Link>,
    deliver: Sink,
    metrics: Arc<Metrics>,
    clock: OnceLock<Clock>,
    /// When it was made: what was received before then is replayed, not late.
    began_micros: u64,
}

/// Takes deliveries without waiting.
pub type Sink = Box<dyn Fn(Delivery) + Send + Sync>;

/// Tells the time by which live events expire.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

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
        let link = Link {
            live: Mutex::new(Live::new(options.replay_bytes_max)),
            applied: watch::Sender::new(CommitNumber::default()),
            progress,
        };
        Arc::new(Self {
            recent,
            options: ArcSwap::from_pointee(options),
            link: Arc::new(link),
            deliver,
            metrics,
            clock: OnceLock::new(),
            began_micros: unix_micros(),
        })
    }

    /// Goes by another clock than the system's, as in a simulation. The first one stays.
    pub fn set_clock(&self, clock: Clock) {
        self.clock.get_or_init(|| clock);
    }

    /// Whether an event has expired on its way: it was held up, or comes once more, and is in no
    /// answer any longer (R40-2).
    pub(crate) fn is_over(&self, event: &Event) -> bool {
        let now = || {
            let clock = self.clock.get();
            clock.map_or_else(Timestamp::now, |clock| clock())
        };
        event.expiration() != Expiration::Never && event.is_expired(now())
    }

    /// Replaces the options; answers that have begun keep theirs.
    pub fn reload(&self, options: Options) {
        self.options.store(Arc::new(options));
    }

    /// Follows how far the stream of commits has been applied.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<CommitNumber> {
        self.link.applied.subscribe()
    }

    pub(crate) fn options(&self) -> arc_swap::Guard<Arc<Options>> {
        self.options.load()
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) const fn recent(&self) -> &Recent<S> {
        &self.recent
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn send(&self, delivery: Delivery) {
        (self.deliver)(delivery);
    }

    pub(crate) fn apply(&self, item: FeedItem) {
        match item {
            FeedItem::Ephemeral(event) => {
                let mut live = self.link.live.lock();
                if live.ephemeral.note(event.id()) && !self.recent.beats(&event) {
                    self.deliver_live(&mut live, &event, None);
                }
            }
            FeedItem::Begins(number) if number <= *self.link.applied.borrow() => {}
            FeedItem::Begins(number) => {
                self.link.live.lock().replay.start_after(number);
                self.set_applied(number);
            }
            FeedItem::Committed { number, events } => {
                for (index, change) in (0_u32..).zip(events) {
                    self.commit(change, Place { number, index });
                }
                self.set_applied(number);
            }
        }
    }

    pub(crate) fn show_filters(&self, live: &Live) {
        self.metrics.filters.set(signed(live.index.filter_count()));
    }

    fn set_applied(&self, number: CommitNumber) {
        self.link.applied.send_replace(number);
        self.metrics.applied.set(signed(number.0));
    }

    #[cfg(test)]
    pub(crate) fn index_stats(&self) -> heliograph_subscriptions::Stats {
        self.link.live.lock().index.stats()
    }

    /// Makes one event visible, then delivers it: in one step, as seen by [`Requests::open`].
    ///
    /// An event belongs to the place of its first announcement as a winner, and to no other: a
    /// subscription that moves from one matcher to the next gets it once only if both deliver it at
    /// the same place. So what decides here is what the stream has said before, not what was read
    /// from the archive.
    fn commit(&self, change: Committed, place: Place) {
        let mut live = self.link.live.lock();
        let event = match change {
            Committed::Winner(event) => event,
            Committed::Again(event) => return self.recent.take_again(&event),
            Committed::Seat(event) => return self.recent.take_seat(&event),
        };
        let applied = self.recent.apply(std::slice::from_ref(&event));
        match applied.first() {
            Some(Applied::New) => {
                live.note(place, &event);
                self.deliver_live(&mut live, &event, Some(place));
            }
            Some(Applied::Known) => live.replay.note_repetition(place),
            // A loser may not be sent after the winner (CL-3).
            Some(Applied::Lost) => drop(self.metrics.losers.inc()),
            None => debug_assert!(false, "one outcome for each event"),
        }
    }

    fn deliver_live(&self, live: &mut Live, event: &Arc<Event>, place: Option<Place>) {
        let started = Instant::now();
        let trace = event.origin().trace();
        let span = trace.map(|trace| Span::begin("match", SpanKind::Consumer, trace));
        let slots = live.wanted(event, &self.options.load().visibility);
        let metrics = &self.metrics;
        metrics.events.inc();
        metrics
            .match_candidates
            .observe(count(live.index.candidates()));
        let received = event.origin().received_micros();
        if let Some(received) = received.filter(|received| *received >= self.began_micros) {
            metrics
                .lag_seconds
                .observe_traced(seconds_since(received), trace);
        }
        if !slots.is_empty() && !self.is_over(event) {
            metrics.matches.inc_by(slots.len() as u64);
            self.send(Delivery::Event {
                event: caused(event, span.as_ref()),
                place,
                slots,
            });
        }
        metrics
            .match_seconds
            .observe_traced(started.elapsed().as_secs_f64(), trace);
    }

    /// Waits until `after` and everything committed so far has been applied, for a bounded time
    /// (R01-57). Returns the number that it waited for.
    ///
    /// # Errors
    ///
    /// [`BusError::TimedOut`] past it: an answer without what it has to hold would be a lie.
    async fn caught_up(
        &self,
        after: CommitNumber,
        options: &Options,
    ) -> Result<CommitNumber, BusError> {
        let applied = *self.link.applied.borrow();
        let newest = (self.link.progress.newest)();
        let known = tokio::time::timeout(options.commit_wait, newest).await;
        let caught_up = match known {
            // The stream was made anew: what is in it now comes under numbers that were here before.
            Ok(Ok(newest)) if newest < applied => Err(BusError::NoMatcher),
            Ok(Ok(newest)) => {
                // Between machines the newest is never less than what a connection was told, unless
                // the stream was made anew since: then that number says nothing any more.
                let numbers_last = (self.link.progress.horizon)().is_some();
                let after = if numbers_last {
                    after.max(newest)
                } else {
                    newest
                };
                let applied = self.link.applied(after, options.commit_wait).await;
                applied.then_some(after).ok_or(BusError::TimedOut)
            }
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(BusError::TimedOut),
        };
        if caught_up.is_err() {
            self.metrics.answers_failed.inc();
        }
        caught_up
    }

    async fn answer(&self, open: Open) -> Result<Box<dyn Pages>, BusError> {
        let options = self.options.load_full();
        let trace = open.trace;
        let span = trace.map(|trace| Span::begin("answer", SpanKind::Server, trace));
        let registered = {
            let mut live = self.link.live.lock();
            if live.open(&open) {
                self.metrics.subscriptions.inc();
            }
            self.show_filters(&live);
            self.link.last_applied()
        };
        Failpoint::Registered.reached();
        let reflects = self.caught_up(open.after, &options).await?;
        let gone = self.gone_since(registered, reflects, &open.filters);
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
        let answer = Answer::new(
            streams,
            open.reader,
            options.visibility.clone(),
            open.now,
            Box::new(end),
            Arc::clone(&self.metrics),
        );
        Ok(Box::new(answer.without(gone).traced(span)))
    }

    /// What was delivered to a subscription with these filters while it waited for the matcher to catch
    /// up with `reflects`, and was beaten before that: mostly nothing. As far as memory goes back.
    fn gone_since(
        &self,
        registered: CommitNumber,
        reflects: CommitNumber,
        filters: &[Filter],
    ) -> Vec<EventId> {
        let mut gone = Vec::new();
        let mut place = Place::end_of(registered);
        while place < Place::end_of(reflects) {
            let lately = self.link.live.lock().replay.after(place, GONE_SLICE);
            let Some((entries, all)) = lately else { break };
            for (at, event) in entries {
                place = at;
                let wanted = filters.iter().any(|filter| filter.matches(&event));
                if wanted && self.recent.beats(&event) {
                    gone.push(*event.id());
                }
            }
            if all {
                break;
            }
        }
        gone
    }
}

/// The event as caused by a span, if there is one.
fn caused(event: &Arc<Event>, span: Option<&Span>) -> Arc<Event> {
    let Some(span) = span else {
        return Arc::clone(event);
    };
    let received = event.origin().received_micros().unwrap_or_default();
    let origin = Origin::new(received, Some(span.context()));
    Arc::new(Event::clone(event).with_origin(origin))
}

fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// The part of a matcher that its answers hold on to.
pub(crate) struct Link {
    pub(crate) live: Mutex<Live>,
    applied: watch::Sender<CommitNumber>,
    pub(crate) progress: Progress,
}

impl Link {
    /// Waits until `number` has been applied; `false` if that took too long.
    pub(crate) async fn applied(&self, number: CommitNumber, wait: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        if *applied.borrow() >= number {
            return true;
        }
        let applied = applied.wait_for(|applied| *applied >= number);
        tokio::time::timeout(wait, applied).await.is_ok()
    }

    /// Waits until `number` has been applied, however long that takes; `false` once nothing was
    /// applied for `patience`.
    pub(crate) async fn reached(&self, number: CommitNumber, patience: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        while *applied.borrow_and_update() < number {
            match tokio::time::timeout(patience, applied.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        true
    }

    pub(crate) fn last_applied(&self) -> CommitNumber {
        *self.applied.borrow()
    }
}

/// The end of one answer.
struct End {
    link: Arc<Link>,
    slot: Slot,
    wait: Duration,
}

impl Settle for End {
    fn settle(&self, archive: bool) -> BoxFuture<'_, Result<Settled, Refusal>> {
        Box::pin(async move {
            // The archive may have shown events that are stored and not yet committed.
            let horizon = (self.link.progress.horizon)().filter(|_| archive);
            if let Some(horizon) = horizon
                && !self.link.applied(horizon, self.wait).await
            {
                return Err(Refusal::error("the relay is behind, try again"));
            }
            // An event that the recent tier has shown may be under way to the gateway.
            let live = self.link.live.lock();
            let applied = *self.link.applied.borrow();
            drop(live);
            Ok(Settled {
                applied,
                known_horizon: horizon.is_some(),
            })
        })
    }

    fn abandon(&self) {
        self.link.live.lock().deafen(self.slot);
    }
}

impl<S: EventStore> Requests for Matcher<S> {
    fn open(&self, open: Open) -> BoxFuture<'_, Result<Box<dyn Pages>, BusError>> {
        Box::pin(self.answer(open))
    }

    fn resume(&self, resume: Resume) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(self.take_over(resume))
    }

    fn close(&self, slot: Slot) {
        let mut live = self.link.live.lock();
        if live.close(slot) {
            self.metrics.subscriptions.dec();
        }
        self.show_filters(&live);
        // Under the lock, so that no delivery for the slot is under way.
        self.send(Delivery::Released(slot));
    }

    fn authenticate(&self, connection: ConnectionId, key: PublicKey) {
        let reader = Reader { keys: vec![key] };
        self.link.live.lock().know(connection, &reader);
    }

    fn disconnect(&self, connection: ConnectionId) {
        self.link.live.lock().forget(connection);
    }

    fn count(&self, count: Count) -> BoxFuture<'_, Result<Counted, Refusal>> {
        Box::pin(async move {
            let options = self.options.load_full();
            let trace = count.trace;
            let mut span = trace.map(|trace| Span::begin("count", SpanKind::Server, trace));
            self.caught_up(count.after, &options).await?;
            let counted = count::count(
                &self.recent,
                count,
                options.count_budget,
                &options.visibility,
                &self.metrics,
            );
            let counted = counted.await;
            if let (Some(span), Err(refusal)) = (&mut span, &counted) {
                span.fail(refusal.to_string());
            }
            counted
        })
    }
}
