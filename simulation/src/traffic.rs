//! Counts of what crosses between the processes of a run: messages of the bus where its servers take
//! and give them, messages of the link as they stand in the bytes that gateways read.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use heliograph_capacity::messages::Messages;
use heliograph_proto::v1::{self, matcher_message::Message as FromMatcher};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pipe::End;

/// Everything counted so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages of all processes together; what clients receive is theirs to count.
    pub messages: Messages,
    /// Bytes of the wire form of events in messages of the bus.
    pub bus_bytes: u64,
    /// The same from matchers to gateways.
    pub link_bytes: u64,
    /// Bytes of deliveries beside the event: receivers, place, time.
    pub link_overhead: u64,
    /// Deliveries to each gateway.
    pub deliveries: BTreeMap<String, u64>,
    /// What was said on the link and isn't known here.
    pub unknown: u64,
}

impl Traffic {
    /// What came behind an earlier look.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let messages = |of: fn(&Messages) -> u64| of(&self.messages) - of(&before.messages);
        let deliveries = self.deliveries.iter().map(|(gateway, count)| {
            let earlier = before.deliveries.get(gateway).copied().unwrap_or_default();
            (gateway.clone(), count - earlier)
        });
        Self {
            messages: Messages {
                published: messages(|m| m.published),
                fetched: messages(|m| m.fetched),
                committed: messages(|m| m.committed),
                followed: messages(|m| m.followed),
                receipts: messages(|m| m.receipts),
                acknowledged: messages(|m| m.acknowledged),
                delivered: messages(|m| m.delivered),
                places: messages(|m| m.places),
                received: messages(|m| m.received),
            },
            bus_bytes: self.bus_bytes - before.bus_bytes,
            link_bytes: self.link_bytes - before.link_bytes,
            link_overhead: self.link_overhead - before.link_overhead,
            deliveries: deliveries.filter(|(_, count)| *count > 0).collect(),
            unknown: self.unknown - before.unknown,
        }
    }
}

/// Shared by all that count; counts nothing until it is switched on.
#[derive(Debug, Clone, Default)]
pub struct Counter {
    counted: Arc<Mutex<Option<Traffic>>>,
}

impl Counter {
    /// Counts from now on.
    pub fn switch_on(&self) {
        self.counted.lock().get_or_insert_default();
    }

    /// Whether it counts.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.counted.lock().is_some()
    }

    /// Everything so far.
    #[must_use]
    pub fn counted(&self) -> Traffic {
        self.counted.lock().clone().unwrap_or_default()
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Traffic)) {
        if let Some(traffic) = &mut *self.counted.lock() {
            count(traffic);
        }
    }

    /// A gateway's end of a connection to its matcher, looked into as it is read.
    pub(crate) fn tap(&self, end: End, gateway: &str) -> Tapped {
        Tapped {
            end,
            counter: self.clone(),
            gateway: gateway.to_owned(),
            frames: Vec::new(),
            live: Vec::new(),
            place: 0,
        }
    }
}

/// A connection that counts what comes.
#[derive(Debug)]
pub(crate) struct Tapped {
    end: End,
    counter: Counter,
    gateway: String,
    /// Bytes of HTTP/2 that aren't a whole frame yet.
    frames: Vec<u8>,
    /// Bytes of the stream of live events that aren't a whole message yet.
    live: Vec<u8>,
    /// The newest place that was told.
    place: u64,
}

/// The header of a frame: length, type, flags, stream (RFC 9113 §4.1).
const FRAME_HEADER: usize = 9;
const DATA: u8 = 0;

/// The call that a gateway makes first on a connection: its session.
const LIVE_STREAM: u32 = 1;

/// What stands before each message of gRPC: a flag and the length.
const MESSAGE_HEADER: usize = 5;

impl Tapped {
    fn look(&mut self, bytes: &[u8]) {
        self.frames.extend_from_slice(bytes);
        while let Some(header) = self.frames.first_chunk::<FRAME_HEADER>() {
            let [l0, l1, l2, kind, _flags, s0, s1, s2, s3] = *header;
            let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
            if self.frames.len() < FRAME_HEADER + length {
                return;
            }
            let frame: Vec<u8> = self.frames.drain(..FRAME_HEADER + length).collect();
            if kind == DATA && u32::from_be_bytes([s0, s1, s2, s3]) == LIVE_STREAM {
                self.live.extend_from_slice(&frame[FRAME_HEADER..]);
                self.messages();
            }
        }
    }

    fn messages(&mut self) {
        while let Some(header) = self.live.first_chunk::<MESSAGE_HEADER>() {
            let [_flag, l0, l1, l2, l3] = *header;
            let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            if self.live.len() < MESSAGE_HEADER + length {
                return;
            }
            let message: Vec<u8> = self.live.drain(..MESSAGE_HEADER + length).collect();
            self.message(&message[MESSAGE_HEADER..]);
        }
    }

    fn message(&mut self, bytes: &[u8]) {
        let message = v1::MatcherMessage::decode(bytes).ok();
        let length = bytes.len() as u64;
        match message.and_then(|message| message.message) {
            Some(FromMatcher::Delivery(delivery)) => self.counter.count(|traffic| {
                let event = delivery.json.len() as u64;
                traffic.messages.delivered += 1;
                traffic.link_bytes += event;
                traffic.link_overhead += length - event;
                *traffic.deliveries.entry(self.gateway.clone()).or_default() += 1;
            }),
            // Heartbeats say it again, and come with time, not with events.
            Some(FromMatcher::Position(position)) if position.number > self.place => {
                self.place = position.number;
                self.counter.count(|traffic| traffic.messages.places += 1);
            }
            Some(_) => {}
            None => self.counter.count(|traffic| traffic.unknown += 1),
        }
    }
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.end).poll_read(context, buffer);
        let new = buffer.filled()[before..].to_vec();
        self.look(&new);
        polled
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.end).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(context)
    }
}
