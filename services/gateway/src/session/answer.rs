//! REQ and CLOSE: the life of a subscription (R01-50 to R01-59).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{AbortHandle, Abortable};
use hashbrown::HashSet;
use heliograph_bus::{AnswerEnd, Bus, BusError, Eose, Open, Slot};
use heliograph_policy::{admit_filters, admit_subscription, check_filters};
use heliograph_protocol::{EoseHint, EventId, Filter, Refusal, RelayMessage, SubscriptionId};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;

use super::{Session, Work, messages::Done};
use crate::{
    Options,
    hub::{Overrun, Subscriber},
    metrics::{Limit, RateLimit, ReqResult},
    outbox::Outbox,
    received::{Asked, Received},
    server::Gateway,
    shape::Shape,
};

/// An open subscription of this connection.
pub(super) struct Subscription {
    slot: Slot,
    subscriber: Arc<Subscriber>,
    answering: AbortHandle,
}

/// The end of a stored part.
pub(super) struct Answered {
    id: SubscriptionId,
    slot: Slot,
    end: Result<(), Unanswered>,
}

/// Why a stored part ended with CLOSED.
enum Unanswered {
    /// The matcher said so, or there is none.
    Refused(Refusal),
    /// More live events came before EOSE than are held back.
    Overrun,
}

impl<B: Bus> Session<B> {
    /// `["REQ",…]`
    pub(super) fn req(
        &mut self,
        id: SubscriptionId,
        filters: Vec<Filter>,
        received: Received,
        options: &Options,
        work: &mut Work,
    ) {
        let mut asked = Asked::begin("REQ", about(&filters), received);
        // A subscription of this id ends, whether the new one is taken or not (R01-26, R01-56).
        self.end_subscription(&id);
        if let Err(refusal) = self.may_open(&filters, received.at, options) {
            asked.refuse(&refusal);
            return self.req_refused(&id, &refusal);
        }
        let shape = Shape::of_req(&filters);
        asked.set("shape", || shape.to_string());
        let subscriber = Arc::new(Subscriber::new(&id, Arc::clone(&self.outbox)));
        let slot = self.gateway.hub.allot(Arc::clone(&subscriber));
        let open = Open {
            slot,
            connection: self.id,
            filters,
            reader: Arc::clone(&self.reader),
            after: self.after(),
            now: received.now(),
            trace: asked.trace(),
        };
        let answer = Answer {
            questions: Arc::clone(&self.questions),
            gateway: Arc::clone(&self.gateway),
            outbox: Arc::clone(&self.outbox),
            subscriber: Arc::clone(&subscriber),
            id: id.clone(),
            hints: options.eose_hints,
            asked,
            shape,
            rows: 0,
            took: Duration::ZERO,
            settled: false,
        };
        let (answering, registration) = AbortHandle::new_pair();
        let answered = id.clone();
        work.push(Box::pin(async move {
            // Aborted: ended by the client, who gets no answer.
            let end = Abortable::new(answer.run(open), registration)
                .await
                .unwrap_or(Ok(()));
            Done::Answer(Answered {
                id: answered,
                slot,
                end,
            })
        }));
        self.gateway.metrics.questions.subscriptions.inc();
        self.subscriptions.insert(
            id,
            Subscription {
                slot,
                subscriber,
                answering,
            },
        );
    }

    /// Answers a REQ that isn't taken.
    pub(super) fn req_refused(&mut self, id: &SubscriptionId, refusal: &Refusal) {
        let questions = &self.gateway.metrics.questions;
        questions.result(ReqResult::Closed).inc();
        self.closed(id, refusal);
    }

    fn may_open(
        &mut self,
        filters: &[Filter],
        received: Instant,
        options: &Options,
    ) -> Result<(), Refusal> {
        self.may_ask(filters, received, options)?;
        if admit_subscription(self.subscriptions.len(), &options.filters).is_err() {
            self.clear_ended();
        }
        self.count_beyond(
            Limit::Subscriptions,
            admit_subscription(self.subscriptions.len(), &options.filters),
        )?;
        check_filters(filters, &self.reader)
    }

    pub(super) fn may_ask(
        &mut self,
        filters: &[Filter],
        received: Instant,
        options: &Options,
    ) -> Result<(), Refusal> {
        let limits = &options.limits;
        let price = price(filters);
        let mine = price.min(limits.reqs.burst());
        let shared = price.min(limits.reqs_per_ip.burst());
        let exceeded = if !self.reqs.take(limits.reqs, received, mine) {
            Some(RateLimit::ReqsPerConnection)
        } else if !self.admitted.take_req(limits.reqs_per_ip, received, shared) {
            Some(RateLimit::ReqsPerIp)
        } else {
            None
        };
        if let Some(limit) = exceeded {
            self.gateway.metrics.limits.rate(limit).inc();
            return Err(Refusal::rate_limited("slow down"));
        }
        if options.auth_to_read && self.reader.is_anonymous() {
            return Err(Refusal::auth_required(
                "this relay is read by authenticated users only",
            ));
        }
        let too_many = filters.len() > options.filters.filters_max;
        let limit = if too_many {
            Limit::Filters
        } else {
            Limit::FilterValues
        };
        self.count_beyond(limit, admit_filters(filters, &options.filters))
    }

    /// Counts what was refused because of a limit.
    pub(super) fn count_beyond(
        &self,
        limit: Limit,
        admitted: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if admitted.is_err() {
            self.gateway.metrics.limits.bound(limit).inc();
        }
        admitted
    }

    /// CLOSE is never refused, but it uses up what REQs are held against; so does a malformed REQ. What
    /// a connection sends beyond its own rate doesn't use up that of its address, which others share.
    pub(super) fn count_query(&mut self, received: Instant, options: &Options) {
        let limits = &options.limits;
        if self.reqs.take(limits.reqs, received, 1) {
            self.admitted.take_req(limits.reqs_per_ip, received, 1);
        }
    }

    /// Ends a subscription without a word (R01-58); an unknown id is ignored.
    pub(super) fn end_subscription(&mut self, id: &SubscriptionId) {
        let Some(subscription) = self.subscriptions.remove(id) else {
            return;
        };
        subscription.subscriber.end();
        subscription.answering.abort();
        self.gateway.metrics.questions.subscriptions.dec();
        if let Ok(matcher) = self.gateway.bus.matcher() {
            matcher.close(subscription.slot);
        }
    }

    /// Gives back the slots of subscriptions that ended without this session's doing.
    fn clear_ended(&mut self) {
        for id in self.subscription_ids() {
            let subscription = self.subscriptions.get(&id);
            if subscription.is_some_and(|subscription| subscription.subscriber.is_ended()) {
                self.end_subscription(&id);
            }
        }
    }

    /// Ends all subscriptions because the gateway stops, each with CLOSED (CL-6).
    pub(super) fn close_subscriptions(&mut self, refusal: &Refusal) {
        self.clear_ended();
        for id in self.subscription_ids() {
            self.end_subscription(&id);
            self.gateway.metrics.questions.drained().inc();
            self.outbox
                .text(RelayMessage::Closed(&id, refusal).encode());
        }
    }

    /// The stored part is over: either the subscription is live now, or it ends with CLOSED.
    pub(super) fn answered(&mut self, answered: Answered) {
        let Answered { id, slot, end } = answered;
        let current = self
            .subscriptions
            .get(&id)
            .is_some_and(|open| open.slot == slot);
        if let (Err(unanswered), true) = (end, current) {
            self.end_subscription(&id);
            match unanswered {
                Unanswered::Refused(refusal) => self.closed(&id, &refusal),
                Unanswered::Overrun => self.overrun(&id),
            }
        }
    }

    /// Ends a subscription whose stored part took longer than its live events can wait.
    fn overrun(&self, id: &SubscriptionId) {
        self.gateway.metrics.questions.overrun().inc();
        let refusal = Refusal::error("too many live events before the stored ones were sent");
        let closed = RelayMessage::Closed(id, &refusal);
        self.outbox.text(closed.encode());
    }
}

/// Values that a question may list before it counts once more against the rate: filing them in the
/// live index takes about a microsecond each, in which no event is delivered.
const VALUES_PER_REQ: usize = 500;

/// How often a question counts against the rate.
fn price(filters: &[Filter]) -> u32 {
    let values: usize = filters.iter().map(Filter::value_count).sum();
    u32::try_from(1 + values / VALUES_PER_REQ).unwrap_or(u32::MAX)
}

/// What tells questions apart in a trace.
pub(super) fn about(filters: &[Filter]) -> (&'static str, u32) {
    let filters = u32::try_from(filters.len()).unwrap_or(u32::MAX);
    ("filters", filters)
}

/// A question that the matcher works on, in the gauge until it is dropped.
pub(super) struct InFlight(Gauge);

impl InFlight {
    pub(super) fn enter(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What the stored part of one REQ needs, and what is known of it until it is over.
struct Answer<B: Bus> {
    questions: Arc<Semaphore>,
    gateway: Arc<Gateway<B>>,
    outbox: Arc<Outbox>,
    subscriber: Arc<Subscriber>,
    id: SubscriptionId,
    hints: bool,
    asked: Asked,
    shape: Shape,
    /// Events sent so far.
    rows: u64,
    /// Time that the matcher took for them.
    took: Duration,
    /// Whether what ended it was counted.
    settled: bool,
}

/// How often a question is asked again when the matcher that answers it goes away.
const INTERRUPTIONS_MAX: u32 = 3;

impl<B: Bus> Answer<B> {
    /// Sends the stored part at the pace of the socket, then goes live.
    async fn run(mut self, open: Open) -> Result<(), Unanswered> {
        // Before the subscription is registered: what comes while it waits is in the stored part.
        let questions = Arc::clone(&self.questions);
        let waiting = Instant::now();
        let _place = questions.acquire().await;
        self.asked.waited(waiting.elapsed());
        let in_flight = &self.gateway.metrics.questions.in_flight;
        let _in_flight = InFlight::enter(in_flight);
        let answered = self.ask_until_answered(open).await;
        if let Err(unanswered) = &answered {
            self.settle(ReqResult::Closed);
            match unanswered {
                Unanswered::Refused(refusal) => self.asked.refuse(refusal),
                Unanswered::Overrun => self.asked.end("overrun"),
            }
        }
        answered
    }

    async fn ask_until_answered(&mut self, open: Open) -> Result<(), Unanswered> {
        let mut sent = HashSet::new();
        for interruptions in 0..=INTERRUPTIONS_MAX {
            let again = interruptions > 0;
            match self.ask(open.clone(), &mut sent, again).await {
                Err(Broken::Interrupted) => self.gateway.metrics.questions.interrupted.inc(),
                Err(Broken::Unanswered(unanswered)) => return Err(unanswered),
                Ok(()) => return Ok(()),
            };
        }
        Err(Unanswered::Refused(BusError::Interrupted.into()))
    }

    /// Asks once; if `again`, what is in `sent` isn't sent a second time.
    async fn ask(
        &mut self,
        open: Open,
        sent: &mut HashSet<EventId>,
        again: bool,
    ) -> Result<(), Broken> {
        let mut asked_at = Instant::now();
        let mut pages = self.gateway.bus.matcher()?.open(open).await?;
        loop {
            let page = pages.next().await?;
            self.took += asked_at.elapsed();
            if sent.is_empty() && !page.events.is_empty() {
                let (seconds, trace) = (self.asked.seconds(), self.asked.trace());
                let first_event_seconds = &self.gateway.metrics.questions.first_event_seconds;
                first_event_seconds.observe_traced(seconds, trace);
            }
            for event in &page.events {
                self.room().await;
                let repeated = !sent.insert(*event.id()) && again;
                if !repeated && !self.subscriber.stored(event) {
                    return Ok(());
                }
                self.rows += 1;
            }
            match page.end {
                None => {}
                Some(AnswerEnd::Closed(refusal)) => return Err(refusal.into()),
                Some(AnswerEnd::Eose(end)) => {
                    let live = self.go_live(end, sent);
                    return live.map_err(|Overrun| Broken::Unanswered(Unanswered::Overrun));
                }
            }
            asked_at = Instant::now();
        }
    }

    /// Waits until the client has taken enough of what was sent.
    async fn room(&mut self) {
        if !self.outbox.has_room() {
            let waiting = Instant::now();
            self.outbox.room().await;
            self.asked.waited(waiting.elapsed());
        }
    }

    fn go_live(&mut self, end: Eose, sent: &mut HashSet<EventId>) -> Result<(), Overrun> {
        let hint = if self.hints { end.hint } else { EoseHint::None };
        let eose = RelayMessage::Eose(&self.id, hint).encode();
        let archive = end.archive;
        let metrics = &self.gateway.metrics;
        let live = self
            .subscriber
            .go_live(eose, end, sent)
            .inspect_err(|Overrun| {
                metrics.traffic.slow_dropped().inc();
            })?;
        if live {
            let (seconds, trace) = (self.asked.seconds(), self.asked.trace());
            let eose_seconds = metrics.questions.eose_seconds(archive);
            eose_seconds.observe_traced(seconds, trace);
            let plan = if archive { "archive" } else { "recent" };
            self.asked.set("plan", || plan);
            self.settle(ReqResult::Eose);
            self.asked.end("eose");
        }
        Ok(())
    }

    fn settle(&mut self, result: ReqResult) {
        self.settled = true;
        let metrics = &self.gateway.metrics;
        metrics.questions.result(result).inc();
        metrics
            .tops
            .answered(&self.shape, self.rows, self.took, Instant::now());
        let rows = self.rows;
        self.asked.set("events", || rows);
    }
}

/// An answer that is neither EOSE nor CLOSED by this task: the client ended the subscription or left, or its
/// matcher lost it.
impl<B: Bus> Drop for Answer<B> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let failed = self.subscriber.was_failed();
        self.settle(if failed {
            ReqResult::Closed
        } else {
            ReqResult::Ended
        });
        self.asked.end(if failed { "closed" } else { "ended" });
    }
}

/// Why a question went unanswered.
enum Broken {
    /// The matcher went away; another one can be asked.
    Interrupted,
    /// The answer is CLOSED.
    Unanswered(Unanswered),
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Unanswered(Unanswered::Refused(refusal))
    }
}

impl From<BusError> for Broken {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Interrupted => Self::Interrupted,
            error => Refusal::from(error).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::Kind;

    use super::*;

    #[test]
    fn long_lists_count_more_than_once_against_the_rate() {
        let filter = |values: u16| Filter {
            kinds: Some((0..values).map(Kind::new).collect()),
            ..Filter::default()
        };
        assert_eq!(price(&[filter(20)]), 1);
        assert_eq!(price(&[filter(499), filter(0)]), 1);
        assert_eq!(price(&[filter(300), filter(200)]), 2);
        assert_eq!(price(&[filter(5_000), filter(5_000)]), 21);
    }
}
