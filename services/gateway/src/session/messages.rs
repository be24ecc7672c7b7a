//! What each client message does, and what becomes of work that was begun.

use std::time::Instant;

use heliograph_bus::{Bus, CommitNumber, Counted};
use heliograph_protocol::{
    ClientMessage, EventId, MessageError, Prefix, PublicKey, Refusal, RelayMessage, SubscriptionId,
};

use super::{Session, Work, answer::Answered};
use crate::{
    Options,
    addresses::AddressKey,
    metrics::{BannedBy, Closed, EventResult, Verb},
    pipeline::{Accepted, Refused},
    received::Received,
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
    },
}

impl<B: Bus> Session<B> {
    /// Handles one text message.
    pub(super) fn message(&mut self, text: &str, options: &Options, work: &mut Work) {
        let received = self.gateway.received();
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Event(event)) => {
                self.count(Verb::Event);
                self.event(event, received, options, work);
            }
            Ok(ClientMessage::Req { id, filters }) => {
                self.count(Verb::Req);
                self.req(id, filters, received, options, work);
            }
            Ok(ClientMessage::Count { id, filters }) => {
                self.count(Verb::Count);
                self.count_events(id, filters, received, options, work);
            }
            Ok(ClientMessage::Close(id)) => {
                self.count(Verb::Close);
                self.count_query(received.at, options);
                self.end_subscription(&id);
            }
            Ok(ClientMessage::Auth(event)) => {
                self.count(Verb::Auth);
                self.auth(event, received, options, work);
            }
            Err(error) => self.refused_message(&error, received, options),
        }
    }

    fn count(&self, verb: Verb) {
        self.gateway.metrics.traffic.message(verb).inc();
    }

    /// Answers what can't be taken. It uses up the rate of what it was meant to be.
    fn refused_message(&mut self, error: &MessageError, received: Received, options: &Options) {
        match error {
            MessageError::Notice(refusal) => self.invalid(refusal, options),
            MessageError::Event { id, refusal } => {
                self.count_event(received.at, options);
                self.count(Verb::Event);
                let events = &self.gateway.metrics.events;
                events.unreadable().inc();
                events.result(EventResult::Refused(refusal.prefix)).inc();
                self.rejected(refusal);
                self.outbox.text(
                    RelayMessage::Ok {
                        id,
                        answer: Err(refusal),
                    }
                    .encode(),
                );
            }
            MessageError::Req { id, refusal } => {
                self.count_query(received.at, options);
                self.count(Verb::Req);
                self.end_subscription(id);
                self.req_refused(id, refusal);
            }
            MessageError::Count { id, refusal } => {
                self.count_query(received.at, options);
                self.count(Verb::Count);
                self.closed(id, refusal);
            }
        }
    }

    /// Notes that something of this client wasn't taken, unless it was our fault.
    pub(super) fn rejected(&self, refusal: &Refusal) {
        if refusal.prefix != Prefix::Error {
            let address = AddressKey::new(self.address);
            let tops = &self.gateway.metrics.tops;
            tops.rejected(address, Instant::now());
        }
    }

    /// Answers with CLOSED, a challenge first if that is what is missing.
    pub(super) fn closed(&mut self, id: &SubscriptionId, refusal: &Refusal) {
        if refusal.prefix == Prefix::AuthRequired {
            self.challenge_if_used();
        }
        self.gateway.metrics.questions.closed(refusal.prefix).inc();
        self.rejected(refusal);
        self.outbox.text(RelayMessage::Closed(id, refusal).encode());
    }

    /// Sends the answer to work that is over.
    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Event { id, result } => {
                self.pending_events -= 1;
                self.published(&id, result);
            }
            Done::Auth { id, result } => {
                self.pending_events -= 1;
                match result {
                    Ok(key) => self.authenticated(&id, key),
                    Err(refused) => {
                        self.auth_refused(&id, &refused.refusal);
                        self.note_bad_signature(&refused);
                    }
                }
            }
            Done::Answer(answered) => self.answered(answered),
            Done::Count { id, result } => {
                self.pending_counts -= 1;
                match result {
                    Ok(Counted { count, approximate }) => {
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

    /// Answers an EVENT; OK `false` with a challenge first if that is what is missing.
    pub(super) fn published(&mut self, id: &EventId, result: Result<Accepted, Refused>) {
        let refused = match result {
            Ok(accepted) => {
                self.commit = self.commit.max(accepted.commit);
                return self.outbox.text(id.ok(Ok(accepted.message)));
            }
            Err(refused) => refused,
        };
        if refused.refusal.prefix == Prefix::AuthRequired {
            self.challenge_if_used();
        }
        self.rejected(&refused.refusal);
        self.outbox.text(id.ok(Err(&refused.refusal)));
        self.note_bad_signature(&refused);
    }

    /// Bad signatures cost the relay most: an address that sends many is closed and banned.
    fn note_bad_signature(&mut self, refused: &Refused) {
        let options = self.gateway.options.load();
        if refused.bad_signature && self.admitted.bad_signature(&options.limits, Instant::now()) {
            drop(options);
            let limits = &self.gateway.metrics.limits;
            limits.banned(BannedBy::Signatures).inc();
            self.outbox.close(close::POLICY, "too many bad signatures");
            self.closing = Some(Closed::BadSignatures);
        }
    }

    /// What a later question has to see.
    pub(super) fn after(&self) -> CommitNumber {
        self.commit
    }
}
