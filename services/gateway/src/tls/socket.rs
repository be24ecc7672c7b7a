//! A session's TLS connection after its upgrade, as [`Stream`] wants it: without waiting, by one task.

use std::{
    io::{self, Read, Write},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use parking_lot::Mutex;
use rustls::ServerConnection;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::server::TlsStream;

use crate::Stream;

/// Bytes that are encrypted ahead of the socket: eight records.
const AHEAD_BYTES: usize = 128 * 1024;

/// A connection that has shaken hands.
pub(crate) struct TlsSocket {
    socket: TcpStream,
    state: Mutex<State>,
    /// Whether there is something to read that has left the kernel already.
    has_read_ahead: AtomicBool,
}

struct State {
    tls: ServerConnection,
    /// Bytes of the next write that are encrypted already and wait for the kernel: told as written only once it
    /// has them, so that who writes knows that something waits.
    owed: usize,
}

impl TlsSocket {
    /// Goes on where an HTTP connection was upgraded.
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> Self {
        let (socket, mut tls) = stream.into_inner();
        tls.set_buffer_limit(Some(AHEAD_BYTES));
        Self {
            socket,
            state: Mutex::new(State { tls, owed: 0 }),
            // For all that is known here: the first read says.
            has_read_ahead: AtomicBool::new(true),
        }
    }
}

impl Stream for TlsSocket {
    async fn readable(&self) -> io::Result<()> {
        if self.has_read_ahead.load(Relaxed) {
            return Ok(());
        }
        Stream::readable(&self.socket).await
    }

    async fn writable(&self) -> io::Result<()> {
        Stream::writable(&self.socket).await
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let State { tls, .. } = &mut *self.state.lock();
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Also the end: said so by the client, or not.
                result => {
                    let left = tls.process_new_packets().map_err(invalid)?;
                    self.has_read_ahead
                        .store(left.plaintext_bytes_to_read() > 0, Relaxed);
                    return result;
                }
            }
            self.has_read_ahead.store(false, Relaxed);
            // At the end of the connection the reader says what to make of it.
            tls.read_tls(&mut Kernel(&self.socket))?;
            let processed = tls.process_new_packets().map_err(invalid);
            // Alerts and new keys. What the kernel doesn't take goes with the next write.
            flush(tls, &self.socket)?;
            processed?;
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let State { tls, owed } = &mut *self.state.lock();
        let ahead = flush(tls, &self.socket)?;
        let mut written = tell(owed, &ahead);
        // Who got fewer than it gave begins with the rest the next time.
        while ahead.all && written < bytes.len() {
            let encrypted = tls.writer().write(&bytes[written..])?;
            let flushed = flush(tls, &self.socket)?;
            *owed = encrypted;
            written += tell(owed, &flushed);
            if !flushed.all {
                break;
            }
            if flushed.bytes < encrypted {
                // What is encrypted is longer, so nothing was: TLS 1.2 has used up its key, and takes no more.
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        match written {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            written => Ok(written),
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        let State { tls, .. } = self.state.get_mut();
        tls.send_close_notify();
        while !flush(tls, &self.socket)?.all {
            Stream::writable(&self.socket).await?;
        }
        AsyncWriteExt::shutdown(&mut self.socket).await
    }
}

/// What the kernel took of what is encrypted.
struct Flushed {
    bytes: usize,
    /// Whether that was all.
    all: bool,
}

/// Gives the kernel what is encrypted.
fn flush(tls: &mut ServerConnection, socket: &TcpStream) -> io::Result<Flushed> {
    let mut bytes = 0;
    while tls.wants_write() {
        match tls.write_tls(&mut Kernel(socket)) {
            Ok(taken) => bytes += taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Flushed { bytes, all: false });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Flushed { bytes, all: true })
}

/// How much of what is owed may be told as written: all of it, or as much as the kernel took but for the last
/// byte, so that a slow reader isn't thought to stand still and what is left isn't forgotten.
fn tell(owed: &mut usize, flushed: &Flushed) -> usize {
    let told = match flushed.all {
        true => *owed,
        false => flushed.bytes.min(owed.saturating_sub(1)),
    };
    *owed -= told;
    told
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The socket, without waiting.
struct Kernel<'a>(&'a TcpStream);

impl Read for Kernel<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Kernel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(owed: usize, bytes: usize, all: bool, told: usize, left: usize) {
        let mut after = owed;
        let flushed = Flushed { bytes, all };
        assert_eq!((tell(&mut after, &flushed), after), (told, left));
    }

    #[test]
    fn what_the_kernel_took_is_told_but_for_a_byte_that_is_still_owed() {
        check(100, 0, false, 0, 100);
        check(100, 60, false, 60, 40);
        // Records are longer than what is in them.
        check(100, 110, false, 99, 1);
        check(1, 30, false, 0, 1);
        check(0, 30, false, 0, 0);
        check(100, 20, true, 100, 0);
        check(0, 0, true, 0, 0);
    }
}
