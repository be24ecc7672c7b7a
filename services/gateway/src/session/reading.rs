//! From bytes to messages, and what becomes of bytes that are none.

use std::sync::Arc;

use heliograph_bus::Bus;
use heliograph_protocol::{Refusal, RelayMessage};
use tokio::time::Instant;

use super::{Session, Work};
use crate::{
    Options,
    addresses::AddressKey,
    metrics::{Closed, Frames, Limit, Verb},
    websocket::{Decoder, Incoming, Violation, close},
};

impl<B: Bus> Session<B> {
    /// Handles what was read; returns whether a message ended in it.
    pub(super) fn take(
        &mut self,
        chunk: &mut [u8],
        decoder: &mut Decoder,
        work: &mut Work,
        now: Instant,
    ) -> bool {
        let gateway = Arc::clone(&self.gateway);
        let options = gateway.options.load();
        let message_bytes_max = options.limits.message_bytes_max;
        let (mut finished, mut messages) = (false, 0);
        let (bytes, mut frames) = (chunk.len() as u64, Frames::default());
        let result = decoder.decode(chunk, message_bytes_max, &mut frames, |incoming| {
            messages += 1;
            finished |= matches!(incoming, Incoming::Text(_) | Incoming::Binary);
            if self.closing.is_some() {
                return;
            }
            match incoming {
                Incoming::Text(text) => self.message(text, &options, work),
                Incoming::Binary => {
                    self.invalid(&Refusal::invalid("binary messages are not used"), &options);
                }
                Incoming::Ping(payload) => self.outbox.pong(payload),
                Incoming::Pong => {}
                Incoming::Close(code) => {
                    self.outbox.close(code.unwrap_or(1000), "");
                    self.closing = Some(Closed::Client);
                }
            }
        });
        if let Err(violation) = result
            && self.closing.is_none()
        {
            self.violation(violation, message_bytes_max);
        }
        if bytes > 0 {
            let address = AddressKey::new(self.address);
            gateway.metrics.traffic.received(frames);
            let tops = &gateway.metrics.tops;
            self.unnoted
                .add(tops, address, messages, bytes, now.into_std());
        }
        finished
    }

    fn violation(&mut self, violation: Violation, message_bytes_max: usize) {
        let closed = Closed::of_violation(violation.code);
        let limits = &self.gateway.metrics.limits;
        match closed {
            Closed::TooBig => {
                limits.bound(Limit::MessageBytes).inc();
                let text = format!("messages are limited to {message_bytes_max} bytes");
                self.notice(&Refusal::invalid(text));
            }
            Closed::Fragments => {
                limits.bound(Limit::Fragments).inc();
            }
            _ => {}
        }
        self.outbox.close(violation.code, violation.reason);
        self.closing = Some(closed);
    }

    fn notice(&self, refusal: &Refusal) {
        self.outbox.text(RelayMessage::Notice(refusal).encode());
    }

    /// A message without sense: NOTICE, and in the end a close (R01-22).
    pub(super) fn invalid(&mut self, refusal: &Refusal, options: &Options) {
        self.gateway.metrics.traffic.message(Verb::Invalid).inc();
        self.rejected(refusal);
        self.notice(refusal);
        self.invalid_messages += 1;
        let max = options.limits.invalid_messages_max;
        if max > 0 && self.invalid_messages >= max {
            let limits = &self.gateway.metrics.limits;
            limits.bound(Limit::InvalidMessages).inc();
            self.outbox
                .close(close::POLICY, "too many invalid messages");
            self.closing = Some(Closed::InvalidMessages);
        }
    }
}
