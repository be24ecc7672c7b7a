//! The socket of a session: reads into a buffer that all sessions of a thread share, writes what
//! waits in one system call where it fits.

use std::{
    cell::{Cell, RefCell},
    io,
    sync::Arc,
    time::Duration,
};

use heliograph_bus::Bus;
use tokio::time::Instant;

use crate::{
    Stream,
    metrics::{Reader, Traffic},
    outbox::{Outbox, Taken},
    server::Gateway,
};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Bytes gathered for one write; a kernel takes about as much without blocking.
const WRITE_BYTES: usize = 128 * 1024;

/// Time that a client has to read the close frame.
const LINGER: Duration = Duration::from_secs(2);

/// Of the writes of a thread that find little waiting one in so many says how much it was.
const QUEUES_SAMPLED: u32 = 64;

/// From so many bytes on each write says how much waited.
const QUEUE_BYTES_LARGE: usize = 65_536;

thread_local! {
    /// Writes until the next sample.
    static UNSAMPLED: Cell<u32> = const { Cell::new(0) };
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    static WRITE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Socket<S> {
    stream: S,
    outbox: Arc<Outbox>,
    /// Bytes that the kernel didn't take: the rest of frames already begun.
    rest: Vec<u8>,
    /// Since when the kernel has taken nothing of it.
    stalled_since: Option<Instant>,
}

impl<S: Stream> Socket<S> {
    pub(super) fn new(stream: S, outbox: Arc<Outbox>) -> Self {
        Self {
            stream,
            outbox,
            rest: Vec::new(),
            stalled_since: None,
        }
    }

    pub(super) async fn readable(&self) {
        // An error shows in the read that follows.
        drop(self.stream.readable().await);
    }

    pub(super) async fn writable(&self) {
        drop(self.stream.writable().await);
    }

    /// Reads what is there and hands it to `take`; 0 if there was nothing after all.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the client has ended its side.
    pub(super) fn read(&self, take: impl FnOnce(&mut [u8])) -> io::Result<usize> {
        READ.with_borrow_mut(|buffer| match self.stream.try_read(buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                take(&mut buffer[..read]);
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        })
    }

    /// Writes what waits until nothing does or the kernel takes no more; `true` in the latter case.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub(super) fn write<B: Bus>(&mut self, gateway: &Gateway<B>) -> io::Result<bool> {
        let traffic = &gateway.metrics.traffic;
        let mut reader = Reader::Ok;
        if !self.rest.is_empty() {
            // What is taken below has waited for this.
            reader = Reader::Slow;
            let written = self.try_write(&self.rest, traffic)?;
            self.rest.drain(..written);
            self.outbox.owe(self.rest.len());
            if !self.rest.is_empty() {
                if written > 0 || self.stalled_since.is_none() {
                    self.stalled_since = Some(Instant::now());
                }
                return Ok(true);
            }
            self.rest = Vec::new();
        }
        self.stalled_since = None;
        WRITE.with_borrow_mut(|buffer| {
            loop {
                buffer.clear();
                let clock = || gateway.unix_micros();
                let taken = self.outbox.take(buffer, WRITE_BYTES, clock);
                if buffer.is_empty() {
                    return Ok(false);
                }
                sample_queue(&taken, traffic);
                let written = self.try_write(buffer, traffic)?;
                let blocked = written < buffer.len();
                taken.count(traffic, if blocked { Reader::Slow } else { reader });
                if blocked {
                    self.rest = buffer[written..].to_vec();
                    self.outbox.owe(self.rest.len());
                    self.stalled_since = Some(Instant::now());
                    return Ok(true);
                }
                // One huge message must not stay with the thread for ever.
                if buffer.capacity() > 4 * WRITE_BYTES {
                    *buffer = Vec::new();
                }
            }
        })
    }

    fn try_write(&self, bytes: &[u8], traffic: &Traffic) -> io::Result<usize> {
        let written = match self.stream.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        traffic.writes.inc();
        Ok(written)
    }

    /// Since when the kernel has taken nothing although something waits, if so.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    /// Gives the client time to read the close frame: a socket that is dropped with unread input
    /// is reset, and what was written may be lost with it.
    pub(super) async fn linger<B: Bus>(mut self, gateway: &Gateway<B>) {
        let traffic = &gateway.metrics.traffic;
        let clock = || gateway.unix_micros();
        let reader = match self.rest.is_empty() {
            true => Reader::Ok,
            false => Reader::Slow,
        };
        let linger = async {
            let mut rest = std::mem::take(&mut self.rest);
            loop {
                if rest.is_empty() {
                    let last = self.outbox.take(&mut rest, WRITE_BYTES, clock);
                    last.count(traffic, reader);
                }
                self.outbox.owe(rest.len());
                if rest.is_empty() {
                    break;
                }
                self.stream.writable().await?;
                match self.stream.try_write(&rest) {
                    Ok(written) => drop(rest.drain(..written)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            self.stream.shutdown().await?;
            loop {
                self.stream.readable().await?;
                match self.read(|_| ()) {
                    Ok(_) => {}
                    Err(error) => return Err::<(), io::Error>(error),
                }
            }
        };
        // Over when the client has closed too, or when it takes too long: both are fine.
        drop(tokio::time::timeout(LINGER, linger).await);
        self.outbox.owe(0);
    }
}

/// Shows how much waited, often enough to be told from the rest.
fn sample_queue(taken: &Taken, traffic: &Traffic) {
    let sampled = taken.queued_bytes >= QUEUE_BYTES_LARGE
        || UNSAMPLED.with(|unsampled| {
            let left = unsampled.get();
            unsampled.set(left.checked_sub(1).unwrap_or(QUEUES_SAMPLED - 1));
            left == 0
        });
    if sampled {
        traffic.queued(taken.queued_bytes);
    }
}
