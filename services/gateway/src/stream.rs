//! What a session reads and writes: a socket, or what stands in for one in a simulation.

use std::{
    future::{Future, poll_fn},
    io,
};

use tokio::{io::AsyncWriteExt, net::TcpStream};

/// A connection as the kernel shows it: told when something can be done, then done without waiting. One
/// task waits for it.
pub trait Stream: Send + Sync + 'static {
    /// Waits until there is something to read, or the other side has ended. Safe to cancel.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until there is room. Safe to cancel.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing is; else the connection is lost.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as there is room for.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; else the connection is lost.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Says that nothing more is written.
    fn shutdown(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

impl Stream for TcpStream {
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        // A place for one waker, where `TcpStream::readable` keeps a list of them.
        poll_fn(|context| self.poll_read_ready(context))
    }

    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send {
        poll_fn(|context| self.poll_write_ready(context))
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn shutdown(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        AsyncWriteExt::shutdown(self)
    }
}
