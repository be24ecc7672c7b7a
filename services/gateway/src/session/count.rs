//! COUNT (NIP-45).

use std::{sync::Arc, time::Instant};

use heliograph_bus::{Bus, Count, Counted};
use heliograph_policy::{admit_subscription, check_count_filters};
use heliograph_protocol::{Filter, Refusal, SubscriptionId};

use super::{
    Session, Work,
    answer::{InFlight, about},
    messages::Done,
};
use crate::{
    Options,
    metrics::{Limit, Metrics},
    received::{Asked, Received},
    shape::Shape,
};

impl<B: Bus> Session<B> {
    /// `["COUNT",…]` (NIP-45)
    pub(super) fn count_events(
        &mut self,
        id: SubscriptionId,
        filters: Vec<Filter>,
        received: Received,
        options: &Options,
        work: &mut Work,
    ) {
        let mut asked = Asked::begin("COUNT", about(&filters), received);
        if let Err(refusal) = self.may_count(&filters, received.at, options) {
            asked.refuse(&refusal);
            return self.closed(&id, &refusal);
        }
        let shape = Shape::of_count(&filters);
        asked.set("shape", || shape.to_string());
        self.pending_counts += 1;
        let count = Count {
            filters,
            reader: Arc::clone(&self.reader),
            after: self.after(),
            now: received.now(),
            trace: asked.trace(),
        };
        let gateway = Arc::clone(&self.gateway);
        let questions = Arc::clone(&self.questions);
        work.push(Box::pin(async move {
            let waiting = Instant::now();
            let _place = questions.acquire().await;
            asked.waited(waiting.elapsed());
            let _in_flight = InFlight::enter(&gateway.metrics.questions.in_flight);
            let begun = Instant::now();
            let result = match gateway.bus.matcher() {
                Ok(matcher) => matcher.count(count).await,
                Err(error) => Err(error.into()),
            };
            count_counted(&gateway.metrics, &shape, begun, &mut asked, &result);
            Done::Count { id, result }
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
        self.count_beyond(
            Limit::PendingCounts,
            admit_subscription(self.pending_counts, &options.filters),
        )?;
        check_count_filters(filters, &self.reader)
    }
}

/// Counts a COUNT that is over.
fn count_counted(
    metrics: &Metrics,
    shape: &Shape,
    begun: Instant,
    asked: &mut Asked,
    result: &Result<Counted, Refusal>,
) {
    let now = Instant::now();
    metrics
        .tops
        .answered(shape, 0, now.duration_since(begun), now);
    match result {
        Ok(Counted { count, .. }) => {
            let (seconds, trace) = (asked.seconds(), asked.trace());
            let count_seconds = &metrics.questions.count_seconds;
            count_seconds.observe_traced(seconds, trace);
            asked.set("count", || *count);
            asked.end("counted");
        }
        Err(refusal) => asked.refuse(refusal),
    }
}
