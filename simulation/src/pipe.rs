//! A connection between two processes: bytes in order and with delay, which can stall or break.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use heliograph_gateway::Stream;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tonic::transport::server::Connected;

use crate::{process::Process, random::Random};

/// One direction.
#[derive(Debug, Default)]
struct Way {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// Nothing more is written.
    ended: bool,
    broken: bool,
    stalled_until: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Both directions, for whoever breaks them.
#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    ways: [Arc<Mutex<Way>>; 2],
    ends: [Arc<Process>; 2],
}

/// One end.
#[derive(Debug)]
pub struct End {
    process: Arc<Process>,
    incoming: Arc<Mutex<Way>>,
    outgoing: Arc<Mutex<Way>>,
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
    random: Random,
    /// A bound of the delay of what is written.
    delay: Duration,
    /// Bytes on the way at most.
    room: usize,
}

impl Pipe {
    /// A connection from one process to another.
    pub(crate) fn new(
        from: &Arc<Process>,
        to: &Arc<Process>,
        random: &Random,
        delay: Duration,
        room: usize,
    ) -> (Self, End, End) {
        let ways = [Arc::default(), Arc::default()];
        let pipe = Self {
            ways,
            ends: [Arc::clone(from), Arc::clone(to)],
        };
        let end = |process: &Arc<Process>, incoming: usize| End {
            process: Arc::clone(process),
            incoming: Arc::clone(&pipe.ways[incoming]),
            outgoing: Arc::clone(&pipe.ways[1 - incoming]),
            timer: Mutex::new(None),
            random: random.fork(),
            delay,
            room,
        };
        let (near, far) = (end(from, 0), end(to, 1));
        (pipe, near, far)
    }

    pub(crate) fn joins(&self, process: &Process) -> bool {
        let same = |end: &Arc<Process>| end.incarnation() == process.incarnation();
        self.ends.iter().any(same)
    }

    pub(crate) fn names(&self) -> [&str; 2] {
        [self.ends[0].name(), self.ends[1].name()]
    }

    /// Both ends find the connection lost, and what was on its way is.
    pub(crate) fn break_off(&self) {
        for way in &self.ways {
            let mut way = way.lock();
            way.broken = true;
            way.chunks.clear();
            way.wake();
        }
    }

    /// What is on its way, and what is written meanwhile, comes at that time.
    pub(crate) fn stall(&self, until: Instant) {
        for way in &self.ways {
            let mut way = way.lock();
            way.stalled_until = Some(until);
            for (due, _) in &mut way.chunks {
                *due = until.max(*due);
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ways.iter().all(|way| {
            let way = way.lock();
            way.broken || way.ended
        })
    }
}

impl Way {
    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    fn due(&self) -> Option<Instant> {
        self.chunks.front().map(|(due, _)| *due)
    }
}

impl End {
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.process.park(context) {
            return Poll::Pending;
        }
        let mut way = self.incoming.lock();
        if way.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        way.reader = Some(context.waker().clone());
        let Some(due) = way.due() else {
            return if way.ended {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        };
        drop(way);
        if due <= Instant::now() {
            return Poll::Ready(Ok(()));
        }
        let mut timer = self.timer.lock();
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        timer.as_mut().reset(due);
        timer.as_mut().poll(context).map(Ok)
    }

    fn poll_writable(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if self.process.park(context) {
            return Poll::Pending;
        }
        let mut way = self.outgoing.lock();
        if way.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if way.bytes < self.room {
            return Poll::Ready(Ok(()));
        }
        way.writer = Some(context.waker().clone());
        Poll::Pending
    }

    fn end(&self) {
        let mut way = self.outgoing.lock();
        way.ended = true;
        way.wake();
    }

    /// Waits for something and reads it; 0 at the end.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_readable(context)).await?;
        self.try_read(buffer)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.end();
        // Nobody reads any more.
        let mut way = self.incoming.lock();
        way.broken = true;
        way.chunks.clear();
        way.wake();
    }
}

impl Stream for End {
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        poll_fn(|context| self.poll_readable(context))
    }

    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send {
        poll_fn(|context| self.poll_writable(context))
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut way = self.incoming.lock();
        if way.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        match way.due() {
            None if way.ended => return Ok(0),
            Some(due) if due <= Instant::now() => {}
            _ => return Err(io::ErrorKind::WouldBlock.into()),
        }
        let Some((due, mut chunk)) = way.chunks.pop_front() else {
            return Ok(0);
        };
        let count = chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&chunk[..count]);
        if count < chunk.len() {
            chunk.drain(..count);
            way.chunks.push_front((due, chunk));
        }
        way.bytes -= count;
        way.writer.take().into_iter().for_each(Waker::wake);
        Ok(count)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut way = self.outgoing.lock();
        if way.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(self.room.saturating_sub(way.bytes));
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let due = Instant::now() + self.random.delay(self.delay);
        let after = way.chunks.back().map(|(due, _)| *due);
        let due = due.max(after.unwrap_or(due));
        let due = due.max(way.stalled_until.unwrap_or(due));
        way.chunks.push_back((due, bytes[..count].to_vec()));
        way.bytes += count;
        way.reader.take().into_iter().for_each(Waker::wake);
        Ok(count)
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.end();
        Ok(())
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_readable(context))?;
        let count = self.try_read(buffer.initialize_unfilled())?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        std::task::ready!(self.poll_writable(context))?;
        Poll::Ready(self.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Connected for End {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
