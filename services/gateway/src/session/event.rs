//! EVENT and AUTH: begun here, answered when the pipeline is through.

use std::{sync::Arc, time::Instant};

use heliograph_bus::Bus;
use heliograph_policy::{Reader, check_auth};
use heliograph_protocol::{Event, EventId, PublicKey, Refusal, Timestamp};

use super::{Session, Work, messages::Done};
use crate::pipeline::{self, Refused};

/// Keys that may authenticate on one connection.
const KEYS_MAX: usize = 100;

impl<B: Bus> Session<B> {
    /// `["EVENT",…]` (R01-30).
    pub(super) fn event(
        &mut self,
        event: Event,
        now: Timestamp,
        received: Instant,
        work: &mut Work,
    ) {
        if !self.may_send(received) {
            let refusal = Refusal::rate_limited("slow down");
            return self.refused(event.id(), &refusal.into());
        }
        self.pending_events += 1;
        let gateway = Arc::clone(&self.gateway);
        let reader = Arc::clone(&self.reader);
        work.push(Box::pin(async move {
            let id = *event.id();
            let options = gateway.options.load_full();
            let event = Arc::new(event);
            let result = pipeline::publish(&gateway, &options, event, &reader, now, received).await;
            Done::Event { id, result }
        }));
    }

    /// Holds one more event against the rates of the connection and of its address.
    fn may_send(&mut self, now: Instant) -> bool {
        self.events.take(now, 1) && self.admitted.take_event(now)
    }

    /// Counts a malformed EVENT: it is answered with what is wrong, but not for free.
    pub(super) fn count_event(&mut self, now: Instant) {
        self.events.take(now, 1);
        self.admitted.take_event(now);
    }

    /// `["AUTH",…]` (R42-2, R42-3). The challenge is compared as it stands now, so that a later one
    /// ends it.
    pub(super) fn auth(&mut self, event: Event, now: Timestamp, work: &mut Work) {
        let id = *event.id();
        if !self.may_send(Instant::now()) {
            let refusal = Refusal::rate_limited("slow down");
            return self.refused(&id, &refusal.into());
        }
        self.pending_events += 1;
        let urls = &self.gateway.options.load().urls;
        let claimed = check_auth(&event, &self.challenge, urls, now);
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
            Err(Refusal::restricted(format!(
                "more than {KEYS_MAX} keys on one connection"
            )))
        }
    }

    /// One more key counts, for writing and reading, until the connection ends (R42-5).
    pub(super) fn authenticated(&mut self, id: &EventId, key: PublicKey) {
        if let Err(refusal) = self.may_add(&key) {
            self.gateway.metrics.auth_failed.inc();
            return self.outbox.text(id.ok(Err(&refusal)));
        }
        if !self.reader.is(&key) {
            let mut keys = self.reader.keys.clone();
            keys.push(key);
            self.reader = Arc::new(Reader { keys });
        }
        if let Ok(matcher) = self.gateway.bus.matcher() {
            matcher.authenticate(self.id, key);
        }
        self.gateway.metrics.auth_ok.inc();
        self.outbox.text(id.ok(Ok("")));
    }
}
