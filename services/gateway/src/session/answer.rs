//! REQ, COUNT, CLOSE: the life of a subscription (R01-50 to R01-59).

use std::{sync::Arc, time::Instant};

use futures_util::future::{AbortHandle, Abortable};
use hashbrown::HashSet;
use heliograph_bus::{AnswerEnd, Bus, BusError, Count, Eose, Open, Slot};
use heliograph_policy::{admit_filters, admit_subscription, check_count_filters, check_filters};
use heliograph_protocol::{
    EoseHint, EventId, Filter, Refusal, RelayMessage, SubscriptionId, Timestamp,
};
use tokio::sync::Semaphore;

use super::{Session, Work, messages::Done};
use crate::{
    Options,
    hub::{Overrun, Subscriber},
    outbox::Outbox,
    server::Gateway,
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
    end: Result<(), Refusal>,
}

impl<B: Bus> Session<B> {
    /// `["REQ",…]`
    pub(super) fn req(
        &mut self,
        id: SubscriptionId,
        filters: Vec<Filter>,
        now: Timestamp,
        received: Instant,
        options: &Options,
        work: &mut Work,
    ) {
        // A subscription of this id ends, whether the new one is taken or not (R01-26, R01-56).
        self.end_subscription(&id);
        if let Err(refusal) = self.may_open(&filters, received, options) {
            return self.closed(&id, &refusal);
        }
        let subscriber = Arc::new(Subscriber::new(&id, Arc::clone(&self.outbox)));
        let slot = self.gateway.hub.allot(Arc::clone(&subscriber));
        let open = Open {
            slot,
            connection: self.id,
            filters,
            reader: Arc::clone(&self.reader),
            after: self.after(),
            now,
        };
        let answer = Answer {
            questions: Arc::clone(&self.questions),
            gateway: Arc::clone(&self.gateway),
            outbox: Arc::clone(&self.outbox),
            subscriber: Arc::clone(&subscriber),
            id: id.clone(),
            hints: options.eose_hints,
            received,
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
        self.gateway.metrics.subscriptions.inc();
        self.subscriptions.insert(
            id,
            Subscription {
                slot,
                subscriber,
                answering,
            },
        );
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
        admit_subscription(self.subscriptions.len(), &options.filters)?;
        check_filters(filters, &self.reader)
    }

    fn may_ask(
        &mut self,
        filters: &[Filter],
        received: Instant,
        options: &Options,
    ) -> Result<(), Refusal> {
        let limits = &options.limits;
        let price = price(filters);
        let mine = self
            .reqs
            .take(received, price.min(limits.reqs.burst.max(1)));
        let shared = price.min(limits.reqs_per_ip.burst.max(1));
        if !mine || !self.admitted.take_req(received, shared) {
            return Err(Refusal::rate_limited("slow down"));
        }
        if options.auth_to_read && self.reader.is_anonymous() {
            return Err(Refusal::auth_required(
                "this relay is read by authenticated users only",
            ));
        }
        admit_filters(filters, &options.filters)
    }

    /// `["COUNT",…]` (NIP-45)
    pub(super) fn count(
        &mut self,
        id: SubscriptionId,
        filters: Vec<Filter>,
        now: Timestamp,
        received: Instant,
        options: &Options,
        work: &mut Work,
    ) {
        if let Err(refusal) = self.may_count(&filters, received, options) {
            return self.closed(&id, &refusal);
        }
        self.pending_counts += 1;
        let count = Count {
            filters,
            reader: Arc::clone(&self.reader),
            after: self.after(),
            now,
        };
        let gateway = Arc::clone(&self.gateway);
        let questions = Arc::clone(&self.questions);
        work.push(Box::pin(async move {
            let _place = questions.acquire().await;
            let result = match gateway.bus.matcher() {
                Ok(matcher) => matcher.count(count).await,
                Err(error) => Err(error.into()),
            };
            Done::Count {
                id,
                result,
                received,
            }
        }));
    }

    fn may_count(
        &mut self,
        filters: &[Filter],
        received: Instant,
        options: &Options,
    ) -> Result<(), Refusal> {
        if !options.count {
            return Err(Refusal::unsupported("COUNT is switched off here"));
        }
        self.may_ask(filters, received, options)?;
        admit_subscription(self.pending_counts, &options.filters)?;
        check_count_filters(filters, &self.reader)
    }

    /// CLOSE is never refused, but it uses up what REQs are held against; so does a malformed REQ.
    pub(super) fn count_query(&mut self, received: Instant) {
        self.reqs.take(received, 1);
        self.admitted.take_req(received, 1);
    }

    /// Ends a subscription without a word (R01-58); an unknown id is ignored.
    pub(super) fn end_subscription(&mut self, id: &SubscriptionId) {
        let Some(subscription) = self.subscriptions.remove(id) else {
            return;
        };
        subscription.subscriber.end();
        subscription.answering.abort();
        self.gateway.metrics.subscriptions.dec();
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

    /// Ends all subscriptions, each with CLOSED (CL-6).
    pub(super) fn close_subscriptions(&mut self, refusal: &Refusal) {
        self.clear_ended();
        for id in self.subscription_ids() {
            self.end_subscription(&id);
            self.closed(&id, refusal);
        }
    }

    /// The stored part is over: either the subscription is live now, or it ends with CLOSED.
    pub(super) fn answered(&mut self, answered: Answered) {
        let Answered { id, slot, end } = answered;
        let current = self
            .subscriptions
            .get(&id)
            .is_some_and(|open| open.slot == slot);
        if let (Err(refusal), true) = (end, current) {
            self.end_subscription(&id);
            self.closed(&id, &refusal);
        }
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

/// What the stored part of one REQ needs.
struct Answer<B: Bus> {
    questions: Arc<Semaphore>,
    gateway: Arc<Gateway<B>>,
    outbox: Arc<Outbox>,
    subscriber: Arc<Subscriber>,
    id: SubscriptionId,
    hints: bool,
    received: Instant,
}

/// How often a question is asked again when the matcher that answers it goes away.
const INTERRUPTIONS_MAX: u32 = 3;

impl<B: Bus> Answer<B> {
    /// Sends the stored part at the pace of the socket, then goes live.
    async fn run(self, open: Open) -> Result<(), Refusal> {
        // Before the subscription is registered: what comes while it waits is in the stored part.
        let _place = self.questions.acquire().await;
        let mut sent = HashSet::new();
        for interruptions in 0..=INTERRUPTIONS_MAX {
            let again = interruptions > 0;
            match self.ask(open.clone(), &mut sent, again).await {
                Err(Broken::Interrupted) => self.gateway.metrics.answers_interrupted.inc(),
                Err(Broken::Refused(refusal)) => return Err(refusal),
                Ok(()) => return Ok(()),
            };
        }
        Err(BusError::Interrupted.into())
    }

    /// Asks once; if `again`, what is in `sent` isn't sent a second time.
    async fn ask(
        &self,
        open: Open,
        sent: &mut HashSet<EventId>,
        again: bool,
    ) -> Result<(), Broken> {
        let mut pages = self.gateway.bus.matcher()?.open(open).await?;
        loop {
            let page = pages.next().await?;
            if sent.is_empty() && !page.events.is_empty() {
                self.observe(&self.gateway.metrics.first_event_seconds);
            }
            for event in &page.events {
                self.outbox.room().await;
                let repeated = !sent.insert(*event.id()) && again;
                if !repeated && !self.subscriber.stored(event) {
                    return Ok(());
                }
            }
            match page.end {
                None => {}
                Some(AnswerEnd::Closed(refusal)) => return Err(Broken::Refused(refusal)),
                Some(AnswerEnd::Eose(end)) => return Ok(self.go_live(end, sent)?),
            }
        }
    }

    fn go_live(&self, end: Eose, sent: &mut HashSet<EventId>) -> Result<(), Refusal> {
        let hint = if self.hints { end.hint } else { EoseHint::None };
        let eose = RelayMessage::Eose(&self.id, hint).encode();
        self.subscriber
            .go_live(eose, end, sent)
            .map_err(|Overrun| {
                Refusal::error("too many live events before the stored ones were sent")
            })?;
        self.observe(&self.gateway.metrics.eose_seconds);
        Ok(())
    }

    fn observe(&self, histogram: &prometheus_client::metrics::histogram::Histogram) {
        histogram.observe(self.received.elapsed().as_secs_f64());
    }
}

/// Why a question went unanswered.
enum Broken {
    /// The matcher went away; another one can be asked.
    Interrupted,
    /// The answer is CLOSED.
    Refused(Refusal),
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BusError> for Broken {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Interrupted => Self::Interrupted,
            error => Self::Refused(error.into()),
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
