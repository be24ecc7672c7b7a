//! The socket of a session: reads into a buffer that all sessions of a thread share, writes what
//! waits in one system call where it fits.

use std::{cell::RefCell, io, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{Metrics, Stream, outbox::Outbox};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Bytes gathered for one write; a kernel takes about as much without blocking.
const WRITE_BYTES: usize = 128 * 1024;

/// Time that a client has to read the close frame.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
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
    pub(super) fn write(&mut self, metrics: &Metrics) -> io::Result<bool> {
        if !self.rest.is_empty() {
            let written = self.try_write(&self.rest, metrics)?;
            self.rest.drain(..written);
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
                let frames = self.outbox.take(buffer, WRITE_BYTES);
                metrics.frames_out.inc_by(frames as u64);
                if buffer.is_empty() {
                    return Ok(false);
                }
                let written = self.try_write(buffer, metrics)?;
                if written < buffer.len() {
                    self.rest = buffer[written..].to_vec();
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

    fn try_write(&self, bytes: &[u8], metrics: &Metrics) -> io::Result<usize> {
        let written = match self.stream.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        metrics.writes.inc();
        metrics.bytes_out.inc_by(written as u64);
        Ok(written)
    }

    /// Since when the kernel has taken nothing although something waits, if so.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    /// Gives the client time to read the close frame: a socket that is dropped with unread input
    /// is reset, and what was written may be lost with it.
    pub(super) async fn linger(mut self) {
        let linger = async {
            let mut rest = std::mem::take(&mut self.rest);
            self.outbox.take(&mut rest, usize::MAX);
            while !rest.is_empty() {
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
    }
}
