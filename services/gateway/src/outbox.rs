//! What waits for one client: bounded in bytes, written out in as few system calls as possible.
//!
//! Anybody may push; only the connection's own task takes. Small frames are copied into one write
//! buffer, since a copy of an event costs less than a system call by two orders of magnitude.

mod waiting;

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use futures_util::task::AtomicWaker;
use heliograph_protocol::{Event, TraceContext};
use heliograph_telemetry::trace::{Span, SpanKind};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use self::waiting::{Traced, Waiting, encode};
use crate::{
    budget::{Budget, Charge},
    metrics::{Frames, Reader, Traffic},
    received::wall_clock,
    tally::Tally,
    websocket::{PING, PONG, deflate::Compressor},
};

/// What was moved out to be written.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// How many frames.
    pub(crate) count: u64,
    /// Bytes that had waited, these and those that still do.
    pub(crate) queued_bytes: usize,
    /// The clock when the first live event was taken, in microseconds since 1970.
    now: Option<u64>,
    frames: Frames,
    live: Tally,
    /// Live events of sampled traces: since when they were on their way, and the span of the last part of it.
    traced: Vec<(u64, Span)>,
}

impl Taken {
    /// Notes how long a live event was on its way.
    fn note(&mut self, event: &Event, clock: &impl Fn() -> u64) {
        if let Some(micros) = self.micros_since_received(event, clock) {
            self.live.note(micros);
        }
    }

    fn note_traced(&mut self, traced: &Traced, clock: &impl Fn() -> u64) {
        let micros = self.micros_since_received(&traced.event, clock);
        let arrived = wall_clock(traced.arrived);
        let mut span = Span::begin_at("deliver", SpanKind::Client, traced.trace, arrived);
        span.set("bytes", traced.event.json().len());
        self.traced.push((micros.unwrap_or(0), span));
    }

    /// 0 if another machine's clock is ahead.
    fn micros_since_received(&mut self, event: &Event, clock: &impl Fn() -> u64) -> Option<u64> {
        let received = event.origin().received_micros()?;
        let now = *self.now.get_or_insert_with(clock);
        Some(now.saturating_sub(received))
    }

    /// Counts it, once it was handed to the kernel or has to wait for it: `reader` says which.
    pub(crate) fn count(self, traffic: &Traffic, reader: Reader) {
        traffic.frames.inc_by(self.count);
        traffic.sent(self.frames);
        traffic.delivery_seconds.add(&self.live, reader);
        for (micros, span) in self.traced {
            let delivery_seconds = &traffic.delivery_seconds;
            delivery_seconds.add_traced(micros, span.context(), reader);
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    bytes: usize,
    /// What the budget counts of `frames`.
    shares: usize,
    /// Set when a push went past the bound: the client is too slow.
    overflowed: bool,
    /// Set when a close frame was queued: nothing follows it.
    closed: bool,
}

/// Messages on their way to one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    bytes_max: usize,
    /// Set if compression was agreed on.
    compressor: Option<Compressor>,
    ready: Ready,
    room: Notify,
    /// Where what waits is counted with that of all others.
    budget: Arc<Budget>,
    /// Bytes that were taken out and that the kernel hasn't taken.
    owed: AtomicUsize,
}

/// Wakes the connection's task, the only one that waits.
#[derive(Debug, Default)]
struct Ready {
    raised: AtomicBool,
    waker: AtomicWaker,
}

impl Ready {
    fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.waker.wake();
    }

    async fn wait(&self) {
        poll_fn(|context| {
            if self.raised.swap(false, Ordering::Acquire) {
                return Poll::Ready(());
            }
            self.waker.register(context.waker());
            // It may have been raised before the waker was there.
            if self.raised.swap(false, Ordering::Acquire) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Outbox {
    /// An empty outbox, counted in at the budget. Past `bytes_max` it has no room for stored events; past
    /// four times that the client counts as too slow (R01-28): live events can't wait for it.
    pub(crate) fn new(
        bytes_max: usize,
        compressor: Option<Compressor>,
        budget: &Arc<Budget>,
    ) -> Arc<Self> {
        let outbox = Arc::new(Self {
            queue: Mutex::default(),
            bytes_max,
            compressor,
            ready: Ready::default(),
            room: Notify::new(),
            budget: Arc::clone(budget),
            owed: AtomicUsize::new(0),
        });
        budget.admit(&outbox);
        outbox
    }

    /// Tells the budget that other bytes wait than `before`. Never under the lock.
    fn count(&self, before: usize, after: usize) {
        match after.checked_sub(before) {
            Some(more) => self.budget.take(more),
            None => self.budget.give_back(before - after),
        }
    }

    /// Bytes that keep memory in use and go with this client; none if it is being closed.
    pub(crate) fn held(&self) -> usize {
        let queue = self.queue.lock();
        if queue.closed || queue.overflowed {
            return 0;
        }
        queue.bytes + self.owed.load(Ordering::Relaxed)
    }

    /// Of what was taken out the kernel hasn't taken so many bytes yet.
    pub(crate) fn owe(&self, bytes: usize) {
        let before = self.owed.swap(bytes, Ordering::Relaxed);
        self.count(before, bytes);
    }

    /// Queues a relay message.
    pub(crate) fn text(&self, message: Vec<u8>) {
        self.push(Waiting::Text(message));
    }

    /// Queues an event of an answer.
    pub(crate) fn stored(&self, head: &Arc<[u8]>, event: &Arc<Event>) {
        self.push(Waiting::Event {
            head: Arc::clone(head),
            event: Arc::clone(event),
            live: false,
            charge: None,
        });
    }

    /// Counts the bytes of an event that goes to many.
    pub(crate) fn charge(&self, event: &Event) -> Arc<Charge> {
        Charge::new(&self.budget, event.json().len())
    }

    /// Queues an event for a live subscription, with the charge if it goes to others too.
    pub(crate) fn live(&self, head: &Arc<[u8]>, event: &Arc<Event>, charge: Option<Arc<Charge>>) {
        self.push(Waiting::Event {
            head: Arc::clone(head),
            event: Arc::clone(event),
            live: true,
            charge,
        });
    }

    /// Queues an event for a live subscription, whose way is followed from when it arrived on, in
    /// microseconds since 1970.
    pub(crate) fn live_traced(
        &self,
        head: &Arc<[u8]>,
        event: &Arc<Event>,
        charge: Option<Arc<Charge>>,
        (trace, arrived): (TraceContext, u64),
    ) {
        self.push(Waiting::Traced(Box::new(Traced {
            head: Arc::clone(head),
            event: Arc::clone(event),
            charge,
            trace,
            arrived,
        })));
    }

    /// Queues a ping.
    pub(crate) fn ping(&self) {
        if let Some(compressor) = &self.compressor {
            compressor.pinged();
        }
        self.push(Waiting::Control {
            opcode: PING,
            payload: Vec::new(),
        });
    }

    /// Queues the answer to a ping.
    pub(crate) fn pong(&self, payload: &[u8]) {
        self.push(Waiting::Control {
            opcode: PONG,
            payload: payload.to_vec(),
        });
    }

    /// Queues the close frame; nothing that is pushed later goes out.
    pub(crate) fn close(&self, code: u16, reason: &'static str) {
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        // Whatever waits, there is room for this: without it the client would see a broken line.
        let last = Waiting::Close { code, reason };
        let share = last.share();
        queue.bytes += last.bytes();
        queue.shares += share;
        queue.frames.push_back(last);
        queue.closed = true;
        drop(queue);
        self.count(0, share);
        self.ready.raise();
    }

    /// Drops what waits and queues a close frame: the client doesn't read (R01-28).
    pub(crate) fn cut(&self, code: u16, reason: &'static str) {
        let mut queue = self.queue.lock();
        let last = Waiting::Close { code, reason };
        queue.frames.clear();
        let (before, after) = (queue.shares, last.share());
        queue.bytes = last.bytes();
        queue.shares = after;
        queue.overflowed = false;
        queue.frames.push_back(last);
        queue.closed = true;
        drop(queue);
        self.count(before, after);
        self.ready.raise();
    }

    /// Drops what waits, since all clients together have too much: this one counts as too slow. What the
    /// kernel hasn't taken goes with the connection. Nothing happens to one that closes already.
    pub(crate) fn overflow(&self) {
        let mut queue = self.queue.lock();
        if queue.closed || queue.overflowed {
            return;
        }
        queue.frames = VecDeque::new();
        queue.bytes = 0;
        let shares = std::mem::take(&mut queue.shares);
        queue.overflowed = true;
        drop(queue);
        let owed = self.owed.swap(0, Ordering::Relaxed);
        self.count(shares + owed, 0);
        self.ready.raise();
    }

    fn push(&self, frame: Waiting) {
        let mut queue = self.queue.lock();
        if queue.closed || queue.overflowed {
            return;
        }
        queue.bytes += frame.bytes();
        let mut share = 0;
        if queue.bytes > 4 * self.bytes_max {
            // The task closes the connection; until then nothing more piles up.
            queue.overflowed = true;
        } else {
            share = frame.share();
            queue.shares += share;
            queue.frames.push_back(frame);
        }
        let first = queue.frames.len() <= 1;
        let wake = first || queue.overflowed;
        drop(queue);
        self.count(0, share);
        if wake {
            self.ready.raise();
        }
    }

    /// Whether a push went past the bound.
    pub(crate) fn is_overflowed(&self) -> bool {
        self.queue.lock().overflowed
    }

    /// Bytes up to which there is room.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Waits until there may be something to write.
    pub(crate) async fn ready(&self) {
        self.ready.wait().await;
    }

    /// Whether there is room for stored events.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes() <= self.bytes_max
    }

    /// Waits until there is: the socket's pace reaches the store.
    pub(crate) async fn room(&self) {
        loop {
            let notified = self.room.notified();
            if self.has_room() {
                return;
            }
            notified.await;
        }
    }

    /// Moves waiting frames into `out` until it holds `bytes_max`. `clock` tells the time in microseconds
    /// since 1970; it is asked once, if live events are among them.
    pub(crate) fn take(
        &self,
        out: &mut Vec<u8>,
        bytes_max: usize,
        clock: impl Fn() -> u64,
    ) -> Taken {
        let mut taken = Taken::default();
        let mut shares = 0;
        let mut queue = self.queue.lock();
        taken.queued_bytes = queue.bytes;
        while out.len() < bytes_max
            && let Some(frame) = queue.frames.pop_front()
        {
            queue.bytes -= frame.bytes();
            queue.shares -= frame.share();
            shares += frame.share();
            let frames = &mut taken.frames;
            match &self.compressor {
                // Takes its time, in which others may go on pushing.
                Some(compressor) if compressor.takes_over() => {
                    MutexGuard::unlocked(&mut queue, || {
                        encode(&frame, Some(compressor), out, frames);
                    });
                }
                compressor => encode(&frame, compressor.as_ref(), out, frames),
            }
            match &frame {
                Waiting::Event {
                    event, live: true, ..
                } => taken.note(event, &clock),
                Waiting::Traced(traced) => taken.note_traced(traced, &clock),
                _ => {}
            }
            taken.count += 1;
        }
        if queue.frames.is_empty() && queue.frames.capacity() > 16 {
            queue.frames = VecDeque::new();
        }
        let room = queue.bytes <= self.bytes_max;
        drop(queue);
        self.count(shares, 0);
        if taken.count > 0 && room {
            self.room.notify_waiters();
        }
        taken
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let left = self.queue.get_mut().shares + *self.owed.get_mut();
        self.count(left, 0);
    }
}

#[cfg(test)]
mod tests;
