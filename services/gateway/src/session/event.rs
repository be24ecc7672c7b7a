//! EVENT and AUTH: begun here, answered when the pipeline is through.

use std::{sync::Arc, time::Instant};

use heliograph_bus::Bus;
use heliograph_policy::{Reader, check_auth};
use heliograph_protocol::{Event, EventId, Origin, PublicKey, Refusal};

use super::{Session, Work, messages::Done};
use crate::{
    metrics::{EventResult, Limit, Metrics, RateLimit},
    options::Options,
    pipeline::{self, Accepted, Refused},
    received::{Asked, Received},
};

/// Keys that may authenticate on one connection.
const KEYS_MAX: usize = 100;

/// An EVENT until it has an answer. Dropped before, its connection was closed.
struct Pending {
    metrics: Arc<Metrics>,
    asked: Asked,
    is_answered: bool,
}

impl Pending {
    fn new(metrics: &Arc<Metrics>, asked: Asked) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            asked,
            is_answered: false,
        }
    }

    /// Counts the answer.
    fn answer(mut self, result: &Result<Accepted, Refused>) {
        self.is_answered = true;
        let (events, asked) = (&self.metrics.events, &mut self.asked);
        match result {
            Ok(Accepted { result, .. }) => {
                events.result(*result).inc();
                let (seconds, trace) = (asked.seconds(), asked.trace());
                events.ok_seconds.observe_traced(seconds, trace);
                asked.end(result.as_str());
            }
            Err(Refused { refusal, .. }) => {
                events.result(EventResult::Refused(refusal.prefix)).inc();
                asked.refuse(refusal);
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_answered {
            let result = EventResult::Unanswered;
            self.metrics.events.result(result).inc();
            self.asked.end(result.as_str());
        }
    }
}

impl<B: Bus> Session<B> {
    /// `["EVENT",…]` (R01-30).
    pub(super) fn event(
        &mut self,
        event: Event,
        received: Received,
        options: &Options,
        work: &mut Work,
    ) {
        self.gateway.metrics.events.received(event.kind()).inc();
        let about = ("kind", u32::from(event.kind().as_u16()));
        let mut asked = Asked::begin("EVENT", about, received);
        asked.set("event.id", || event.id().to_hex());
        asked.set("bytes", || event.json().len());
        let pending = Pending::new(&self.gateway.metrics, asked);
        if !self.may_send(received.at, options) {
            let refused = Refused::from(Refusal::rate_limited("slow down"));
            let result = Err(refused);
            pending.answer(&result);
            return self.published(event.id(), result);
        }
        self.pending_events += 1;
        let gateway = Arc::clone(&self.gateway);
        let reader = Arc::clone(&self.reader);
        work.push(Box::pin(async move {
            let id = *event.id();
            let options = gateway.options.load_full();
            let event = Arc::new(event.with_origin(Origin::new(received.unix_micros, None)));
            let published = pipeline::publish(&gateway, &options, event, &reader, &pending.asked);
            let result = published.await;
            pending.answer(&result);
            Done::Event { id, result }
        }));
    }

    /// Holds one more event against the rates of the connection and of its address.
    fn may_send(&mut self, now: Instant, options: &Options) -> bool {
        let rates = &options.limits;
        let limits = &self.gateway.metrics.limits;
        if !self.events.take(rates.events, now, 1) {
            limits.rate(RateLimit::EventsPerConnection).inc();
            return false;
        }
        let admitted = self.admitted.take_event(rates.events_per_ip, now);
        if !admitted {
            limits.rate(RateLimit::EventsPerIp).inc();
        }
        admitted
    }

    /// Counts a malformed EVENT: it is answered with what is wrong, but not for free. What a connection
    /// sends beyond its own rate doesn't use up that of its address, which others share.
    pub(super) fn count_event(&mut self, now: Instant, options: &Options) {
        let rates = &options.limits;
        if self.events.take(rates.events, now, 1) {
            self.admitted.take_event(rates.events_per_ip, now);
        }
    }

    /// `["AUTH",…]` (R42-2, R42-3). The challenge is compared as it stands now, so that a later one
    /// ends it.
    pub(super) fn auth(
        &mut self,
        event: Event,
        received: Received,
        options: &Options,
        work: &mut Work,
    ) {
        let id = *event.id();
        if !self.may_send(received.at, options) {
            return self.auth_refused(&id, &Refusal::rate_limited("slow down"));
        }
        self.pending_events += 1;
        let claimed = check_auth(&event, &self.challenge, &options.urls, received.now());
        let gateway = Arc::clone(&self.gateway);
        work.push(Box::pin(async move {
            let event = Arc::new(event);
            let result = match claimed {
                Ok(key) => pipeline::verify(&gateway, &event).await.map(|()| key),
                Err(refusal) => Err(Refused::from(refusal)),
            };
            Done::Auth { id, result }
        }));
    }

    /// Whether one more key may count. Every private event is held against all keys of a connection.
    fn may_add(&self, key: &PublicKey) -> Result<(), Refusal> {
        if self.reader.is(key) || self.reader.keys.len() < KEYS_MAX {
            Ok(())
        } else {
            let limits = &self.gateway.metrics.limits;
            limits.bound(Limit::AuthKeys).inc();
            Err(Refusal::restricted(format!(
                "more than {KEYS_MAX} keys on one connection"
            )))
        }
    }

    /// One more key counts, for writing and reading, until the connection ends (R42-5).
    pub(super) fn authenticated(&mut self, id: &EventId, key: PublicKey) {
        if let Err(refusal) = self.may_add(&key) {
            return self.auth_refused(id, &refusal);
        }
        if !self.reader.is(&key) {
            let mut keys = self.reader.keys.clone();
            keys.push(key);
            self.reader = Arc::new(Reader { keys });
        }
        if let Ok(matcher) = self.gateway.bus.matcher() {
            matcher.authenticate(self.id, key);
        }
        self.gateway.metrics.events.auth(true).inc();
        self.outbox.text(id.ok(Ok("")));
    }

    /// Answers an AUTH with OK `false`.
    pub(super) fn auth_refused(&self, id: &EventId, refusal: &Refusal) {
        self.gateway.metrics.events.auth(false).inc();
        self.rejected(refusal);
        self.outbox.text(id.ok(Err(refusal)));
    }
}
