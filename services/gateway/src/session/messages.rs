//! What each client message does, and what becomes of work that was begun.

use std::{sync::Arc, time::Instant};

use heliograph_bus::{Bus, CommitNumber, Counted};
use heliograph_protocol::{
    ClientMessage, EventId, MessageError, Prefix, PublicKey, Refusal, RelayMessage, SubscriptionId,
};

use super::{Session, Work, answer::Answered};
use crate::{
    Options,
    metrics::{Closed, Verb},
    pipeline::{Accepted, Refused},
    websocket::close,
};

/// Work that is over.
pub(super) enum Done {
    Event {
        id: EventId,
        result: Result<Accepted, Refused>,
    },
    Auth {
        id: EventId,
        result: Result<PublicKey, Refused>,
    },
    Answer(Answered),
    Count {
        id: SubscriptionId,
        result: Result<Counted, Refusal>,
        received: Instant,
    },
}

impl<B: Bus> Session<B> {
    /// Handles one text message.
    pub(super) fn message(&mut self, text: &str, options: &Options, work: &mut Work) {
        let (received, now) = (Instant::now(), self.gateway.now());
        let metrics = Arc::clone(&self.gateway.metrics);
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Event(event)) => {
                metrics.message(Verb::Event).inc();
                self.event(event, now, received, work);
            }
            Ok(ClientMessage::Req { id, filters }) => {
                metrics.message(Verb::Req).inc();
                self.req(id, filters, now, received, options, work);
            }
            Ok(ClientMessage::Count { id, filters }) => {
                metrics.message(Verb::Count).inc();
                self.count(id, filters, now, received, options, work);
            }
            Ok(ClientMessage::Close(id)) => {
                metrics.message(Verb::Close).inc();
                self.count_query(received);
                self.end_subscription(&id);
            }
            Ok(ClientMessage::Auth(event)) => {
                metrics.message(Verb::Auth).inc();
                self.auth(event, now, work);
            }
            Err(error) => self.refused_message(&error, received, options),
        }
    }

    /// Answers what can't be taken. It uses up the rate of what it was meant to be.
    fn refused_message(&mut self, error: &MessageError, received: Instant, options: &Options) {
        match error {
            MessageError::Notice(refusal) => self.invalid(refusal, options),
            MessageError::Event { id, refusal } => {
                self.count_event(received);
                self.gateway.metrics.message(Verb::Event).inc();
                self.gateway.metrics.event_refused(refusal.prefix).inc();
                self.outbox.text(
                    RelayMessage::Ok {
                        id,
                        answer: Err(refusal),
                    }
                    .encode(),
                );
            }
            MessageError::Req { id, refusal } => {
                self.count_query(received);
                self.gateway.metrics.message(Verb::Req).inc();
                self.end_subscription(id);
                self.closed(id, refusal);
            }
            MessageError::Count { id, refusal } => {
                self.count_query(received);
                self.gateway.metrics.message(Verb::Count).inc();
                self.closed(id, refusal);
            }
        }
    }

    /// Answers with CLOSED, a challenge first if that is what is missing.
    pub(super) fn closed(&mut self, id: &SubscriptionId, refusal: &Refusal) {
        if refusal.prefix == Prefix::AuthRequired {
            self.challenge_if_used();
        }
        self.gateway.metrics.req_closed(refusal.prefix).inc();
        self.outbox.text(RelayMessage::Closed(id, refusal).encode());
    }

    /// Sends the answer to work that is over.
    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Event { id, result } => {
                self.pending_events -= 1;
                match result {
                    Ok(accepted) => self.accepted(&id, accepted),
                    Err(refused) => self.refused(&id, &refused),
                }
            }
            Done::Auth { id, result } => {
                self.pending_events -= 1;
                match result {
                    Ok(key) => self.authenticated(&id, key),
                    Err(refused) => {
                        self.gateway.metrics.auth_failed.inc();
                        self.outbox.text(id.ok(Err(&refused.refusal)));
                        self.note_bad_signature(&refused);
                    }
                }
            }
            Done::Answer(answered) => self.answered(answered),
            Done::Count {
                id,
                result,
                received,
            } => {
                self.pending_counts -= 1;
                match result {
                    Ok(Counted { count, approximate }) => {
                        let seconds = received.elapsed().as_secs_f64();
                        self.gateway.metrics.count_seconds.observe(seconds);
                        let message = RelayMessage::Count {
                            id: &id,
                            count,
                            approximate,
                        };
                        self.outbox.text(message.encode());
                    }
                    Err(refusal) => self.closed(&id, &refusal),
                }
            }
        }
    }

    fn accepted(&mut self, id: &EventId, accepted: Accepted) {
        self.commit = self.commit.max(accepted.commit);
        self.gateway.metrics.events_accepted.inc();
        self.outbox.text(id.ok(Ok(accepted.message)));
    }

    /// Answers with OK `false`, a challenge first if that is what is missing.
    pub(super) fn refused(&mut self, id: &EventId, refused: &Refused) {
        if refused.refusal.prefix == Prefix::AuthRequired {
            self.challenge_if_used();
        }
        self.gateway
            .metrics
            .event_refused(refused.refusal.prefix)
            .inc();
        self.outbox.text(id.ok(Err(&refused.refusal)));
        self.note_bad_signature(refused);
    }

    /// Bad signatures cost the relay most: an address that sends many is closed and banned.
    fn note_bad_signature(&mut self, refused: &Refused) {
        let options = self.gateway.options.load();
        if refused.bad_signature && self.admitted.bad_signature(&options.limits, Instant::now()) {
            drop(options);
            self.gateway.metrics.bans.inc();
            self.outbox.close(close::POLICY, "too many bad signatures");
            self.closing = Some(Closed::Policy);
        }
    }

    /// What a later question has to see.
    pub(super) fn after(&self) -> CommitNumber {
        self.commit
    }
}
