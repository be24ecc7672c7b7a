//! What waits to be sent down one stream. Putting in never waits; past a bound in bytes the queue
//! ends, once and for all, behind what is in it: whoever reads it has a part without a gap.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures_util::Stream;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

/// Room that a message takes besides its own bytes.
const OVERHEAD_BYTES: usize = 64;

/// A bounded queue with one reader.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    bytes_max: usize,
    gauge: Gauge,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    state: State,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing goes in; what is in comes out.
    Ending,
}

/// The queue has ended: there was no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl<T> Queue<T> {
    /// An open queue, which adds its bytes to `gauge`.
    pub(crate) fn new(bytes_max: usize, gauge: Gauge) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                state: State::Open,
                waker: None,
            }),
            bytes_max,
            gauge,
        }
    }

    /// Puts in a message of about `bytes`. After the end it is dropped in silence.
    ///
    /// # Errors
    ///
    /// [`Full`] if this very message ended the queue.
    pub(crate) fn push(&self, item: T, bytes: usize) -> Result<(), Full> {
        self.put(item, bytes, |_| false)
    }

    /// As [`push`](Self::push), but instead of the last message if that one is like it.
    pub(crate) fn push_or_replace(
        &self,
        item: T,
        bytes: usize,
        like: impl Fn(&T) -> bool,
    ) -> Result<(), Full> {
        self.put(item, bytes, like)
    }

    fn put(&self, item: T, bytes: usize, like: impl Fn(&T) -> bool) -> Result<(), Full> {
        let bytes = bytes + OVERHEAD_BYTES;
        let mut inner = self.inner.lock();
        if inner.state != State::Open {
            return Ok(());
        }
        if let Some((last, _)) = inner.items.back_mut().filter(|(last, _)| like(last)) {
            *last = item;
            return Ok(());
        }
        // One that is larger than all of it goes alone.
        let full = inner.bytes > 0 && inner.bytes + bytes > self.bytes_max;
        if full {
            inner.state = State::Ending;
        } else {
            inner.items.push_back((item, bytes));
            inner.bytes += bytes;
            self.gauge.inc_by(signed(bytes));
        }
        let waker = inner.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
        if full { Err(Full) } else { Ok(()) }
    }

    /// Ends the queue behind what is in it.
    pub(crate) fn end(&self) {
        let mut inner = self.inner.lock();
        if inner.state == State::Open {
            inner.state = State::Ending;
        }
        let waker = inner.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ends the queue and drops what is in it.
    pub(crate) fn cut(&self) {
        let mut inner = self.inner.lock();
        inner.items = VecDeque::new();
        self.gauge.dec_by(signed(inner.bytes));
        inner.bytes = 0;
        inner.state = State::Ending;
        let waker = inner.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// The next message; `None` at the end.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut inner = self.inner.lock();
        if let Some((item, bytes)) = inner.items.pop_front() {
            inner.bytes -= bytes;
            self.gauge.dec_by(signed(bytes));
            return Poll::Ready(Some(item));
        }
        if inner.state != State::Open {
            return Poll::Ready(None);
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        let bytes = self.inner.get_mut().bytes;
        self.gauge.dec_by(signed(bytes));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The reader's end as a stream; dropping it cuts the queue.
#[derive(Debug)]
pub(crate) struct Outgoing<T>(pub(crate) Arc<Queue<T>>);

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_next(cx)
    }
}

impl<T> Drop for Outgoing<T> {
    fn drop(&mut self) {
        self.0.cut();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn queue(bytes_max: usize) -> (Arc<Queue<u32>>, Outgoing<u32>, Gauge) {
        let gauge = Gauge::default();
        let queue = Arc::new(Queue::new(bytes_max, gauge.clone()));
        let out = Outgoing(Arc::clone(&queue));
        (queue, out, gauge)
    }

    #[test]
    fn messages_come_out_in_order_and_their_bytes_are_counted() {
        let (queue, mut out, gauge) = queue(1_000);
        assert_eq!(out.next().now_or_never(), None, "waits");
        queue.push(1, 100).unwrap();
        queue.push(2, 100).unwrap();
        assert_eq!(gauge.get(), 2 * (100 + 64));
        assert_eq!(out.next().now_or_never(), Some(Some(1)));
        queue.end();
        queue.push(3, 1).unwrap();
        assert_eq!(out.next().now_or_never(), Some(Some(2)));
        assert_eq!(out.next().now_or_never(), Some(None));
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_message_past_the_bound_ends_the_queue_behind_what_is_in_it() {
        let (queue, mut out, gauge) = queue(300);
        queue.push(1, 1_000).unwrap();
        assert_eq!(queue.push(2, 1), Err(Full));
        assert_eq!(queue.push(3, 1), Ok(()), "told once");
        assert_eq!(out.next().now_or_never(), Some(Some(1)));
        assert_eq!(out.next().now_or_never(), Some(None));
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_message_replaces_the_last_one_only_if_that_is_like_it() {
        let (queue, mut out, _) = queue(10_000);
        let even = |last: &u32| last.is_multiple_of(2);
        for number in [2, 4, 5, 6] {
            queue.push_or_replace(number, 1, even).unwrap();
        }
        let rest = std::iter::from_fn(|| out.next().now_or_never().flatten());
        assert_eq!(rest.collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn a_queue_without_a_reader_holds_nothing() {
        let (queue, out, gauge) = queue(10_000);
        queue.push(1, 1).unwrap();
        drop(out);
        queue.push(2, 1).unwrap();
        assert_eq!(gauge.get(), 0);
    }
}
