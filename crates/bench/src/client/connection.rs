//! One WebSocket connection: what is queued goes out in one write, what has come is read in one go.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Decompress, FlushDecompress, Status};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpSocket, TcpStream},
};

use super::frame::{self, CLOSE, CONTINUATION, Header, PING, PONG, TEXT};

/// Bytes read at once: some hundred events.
const READ_BYTES: usize = 256 * 1_024;

/// Bytes of a response to the upgrade.
const RESPONSE_BYTES_MAX: usize = 16 * 1_024;

/// What a compressed message lacks at its end (RFC 7692 §7.2.2).
const DEFLATE_TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Bytes of an inflated message.
const INFLATED_BYTES_MAX: usize = 4 << 20;

/// From where a connection comes, where that isn't the system's to choose.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    /// The address that it is bound to.
    pub(crate) address: Option<Ipv4Addr>,
    /// Bytes that the kernel takes before the program has read any (`SO_RCVBUF`).
    pub(crate) receive_bytes: Option<u32>,
}

impl Origin {
    async fn connect(self, to: SocketAddr) -> io::Result<TcpStream> {
        if self.address.is_none() && self.receive_bytes.is_none() {
            return TcpStream::connect(to).await;
        }
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.receive_bytes {
            // Before connecting, or a larger window has been told.
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(address) = self.address {
            socket.bind(SocketAddr::new(IpAddr::V4(address), 0))?;
        }
        socket.connect(to).await
    }
}

/// A connection after its upgrade.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes that came, from `parsed` on not looked at.
    input: Vec<u8>,
    parsed: usize,
    /// Bytes to send, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// A message whose frames haven't all come, or one that was inflated.
    message: Vec<u8>,
    /// Compression was agreed on; holds the window.
    inflate: Option<Decompress>,
    compressed: bool,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

impl Connection {
    /// Connects and upgrades, offering compression as browsers do if `deflate`.
    ///
    /// # Errors
    ///
    /// No connection, or no upgrade.
    pub(crate) async fn open(address: SocketAddr, deflate: bool) -> Result<Self> {
        Self::open_from(Origin::default(), address, deflate).await
    }

    /// As [`open`](Self::open), from somewhere in particular.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); the address isn't this machine's, or has no port left.
    pub(crate) async fn open_from(
        origin: Origin,
        address: SocketAddr,
        deflate: bool,
    ) -> Result<Self> {
        let stream = origin.connect(address).await;
        let mut stream = stream.context("can't connect")?;
        stream.set_nodelay(true)?;
        let offer = if deflate {
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        } else {
            ""
        };
        let request = request(address, offer);
        stream.write_all(request.as_bytes()).await?;
        let (head, rest) = response(&mut stream).await?;
        ensure!(head.starts_with("http/1.1 101"), "no upgrade: {head}");
        let agreed = head.contains("permessage-deflate");
        Ok(Self {
            stream,
            input: rest,
            parsed: 0,
            output: Vec::new(),
            written: 0,
            message: Vec::new(),
            inflate: (deflate && agreed).then(|| Decompress::new(false)),
            compressed: false,
            bytes_sent: 0,
            bytes_received: 0,
        })
    }

    /// Whether compression was agreed on.
    pub(crate) fn is_deflated(&self) -> bool {
        self.inflate.is_some()
    }

    /// Adds a text message to what goes out at the next [`step`](Self::step).
    pub(crate) fn queue(&mut self, text: &[u8]) {
        frame::write(TEXT, text, &mut self.output);
    }

    /// Writes what waits as far as the socket takes it; [`step`](Self::step) writes the rest.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub(crate) fn push(&mut self) -> Result<()> {
        self.write()
    }

    /// Writes what waits and reads what comes; returns as soon as something came. Safe to cancel.
    ///
    /// # Errors
    ///
    /// The relay has closed the connection, or it broke.
    pub(crate) async fn step(&mut self) -> Result<()> {
        self.make_room();
        loop {
            self.write()?;
            if self.read()? {
                return Ok(());
            }
            let interest = if self.written < self.output.len() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            self.stream.ready(interest).await?;
        }
    }

    /// The next message that has come whole; `None` if [`step`](Self::step) has to run first.
    ///
    /// # Errors
    ///
    /// The relay breaks the protocol or closes.
    pub(crate) fn message(&mut self) -> Result<Option<&[u8]>> {
        loop {
            let Some(header) = Header::parse(&self.input[self.parsed..])? else {
                return Ok(None);
            };
            let start = self.parsed + header.length;
            let end = start + header.payload;
            if end > self.input.len() {
                return Ok(None);
            }
            self.parsed = end;
            match header.opcode {
                PING => frame::write(PONG, &self.input[start..end], &mut self.output),
                CLOSE => bail!("the relay closes: {}", reason(&self.input[start..end])),
                TEXT if header.fin && !header.compressed => {
                    return Ok(Some(&self.input[start..end]));
                }
                TEXT | CONTINUATION => {
                    if header.opcode == TEXT {
                        self.message.clear();
                        self.compressed = header.compressed;
                    }
                    self.message.extend_from_slice(&self.input[start..end]);
                    if header.fin {
                        self.inflate()?;
                        return Ok(Some(&self.message));
                    }
                }
                _ => {}
            }
        }
    }

    /// Begins the closing handshake and goes without waiting for its end.
    pub(crate) async fn close(mut self) {
        frame::write(CLOSE, &1_000_u16.to_be_bytes(), &mut self.output);
        // The relay may have gone before: then there is nothing to say.
        let _gone = self.stream.write_all(&self.output[self.written..]).await;
    }

    fn inflate(&mut self) -> Result<()> {
        let Some(window) = self.inflate.as_mut().filter(|_| self.compressed) else {
            return Ok(());
        };
        self.message.extend_from_slice(&DEFLATE_TAIL);
        self.message = inflated(window, &self.message)?;
        Ok(())
    }

    /// Drops what was looked at, so that the buffer doesn't grow with the traffic.
    fn make_room(&mut self) {
        if self.parsed == self.input.len() {
            self.input.clear();
        } else if self.parsed > 0 {
            self.input.drain(..self.parsed);
        }
        self.parsed = 0;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
    }

    fn write(&mut self) -> Result<()> {
        while self.written < self.output.len() {
            match self.stream.try_write(&self.output[self.written..]) {
                Ok(0) => bail!("the relay takes no more"),
                Ok(count) => {
                    self.written += count;
                    self.bytes_sent += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("writing to the relay"),
            }
        }
        Ok(())
    }

    /// Whether anything came. Memory is taken only while bytes are there, since most of many
    /// connections wait.
    fn read(&mut self) -> Result<bool> {
        BUFFER.with_borrow_mut(|buffer| match self.stream.try_read(buffer) {
            Ok(0) => bail!("the relay has closed the connection"),
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                self.bytes_received += count as u64;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("reading from the relay"),
        })
    }
}

thread_local! {
    /// Where all connections read into first.
    static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_BYTES]);
}

/// The request of an upgrade; `fields` are further lines, each with its end.
pub(super) fn request(address: SocketAddr, fields: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

/// The head of the response in lower case, and what came behind it.
pub(super) async fn response(stream: &mut (impl AsyncRead + Unpin)) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            return Ok((head, bytes.split_off(end + 4)));
        }
        ensure!(bytes.len() < RESPONSE_BYTES_MAX, "an endless response");
        ensure!(
            stream.read_buf(&mut bytes).await? > 0,
            "closed before its response was complete"
        );
    }
}

/// A compressed message, with its tail, as text.
fn inflated(window: &mut Decompress, message: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity((message.len() * 8 + 1_024).min(INFLATED_BYTES_MAX));
    let mut taken = 0;
    loop {
        let (before, had) = (window.total_in(), out.len());
        let status = window
            .decompress_vec(&message[taken..], &mut out, FlushDecompress::Sync)
            .context("a message doesn't inflate")?;
        let used = usize::try_from(window.total_in() - before)?;
        taken += used;
        if status == Status::StreamEnd {
            // A last block is allowed (RFC 7692 §7.2.3.4); what follows it is a stream of its own.
            window.reset(false);
            if taken + DEFLATE_TAIL.len() >= message.len() {
                break;
            }
        }
        if taken == message.len() && out.len() < out.capacity() {
            break;
        }
        ensure!(
            used > 0 || out.len() > had || out.len() == out.capacity(),
            "a message that can't be inflated further"
        );
        ensure!(out.len() < INFLATED_BYTES_MAX, "a message inflates too far");
        out.reserve(out.capacity());
    }
    Ok(out)
}

/// What a close frame says.
pub(super) fn reason(payload: &[u8]) -> String {
    match payload {
        [a, b, text @ ..] => {
            let code = u16::from_be_bytes([*a, *b]);
            format!("{code} {}", String::from_utf8_lossy(text))
        }
        _ => "without a reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    /// A message as a relay sends it, with the tail put back.
    fn compressed(window: &mut Compress, text: &str, flush: FlushCompress) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 100);
        window
            .compress_vec(text.as_bytes(), &mut out, flush)
            .unwrap();
        if flush == FlushCompress::Sync {
            out.truncate(out.len() - DEFLATE_TAIL.len());
        }
        out.extend_from_slice(&DEFLATE_TAIL);
        out
    }

    #[test]
    fn messages_share_a_window() {
        let mut deflate = Compress::new(Compression::default(), false);
        let mut window = Decompress::new(false);
        let text = "a note of some length ".repeat(500);
        for _ in 0..3 {
            let message = compressed(&mut deflate, &text, FlushCompress::Sync);
            assert_eq!(inflated(&mut window, &message).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn a_last_block_ends_one_message_and_not_the_connection() {
        let mut window = Decompress::new(false);
        for padding in [&[][..], &[0]] {
            let mut deflate = Compress::new(Compression::default(), false);
            let mut message = compressed(&mut deflate, "one", FlushCompress::Finish);
            let tail = message.len() - DEFLATE_TAIL.len();
            message.splice(tail..tail, padding.iter().copied());
            assert_eq!(inflated(&mut window, &message).unwrap(), b"one");
        }
        let mut deflate = Compress::new(Compression::default(), false);
        let message = compressed(&mut deflate, "two", FlushCompress::Sync);
        assert_eq!(inflated(&mut window, &message).unwrap(), b"two");
    }

    #[test]
    fn what_never_ends_or_is_no_deflate_is_an_error() {
        let mut window = Decompress::new(false);
        assert!(inflated(&mut window, &[0xff; 64]).is_err());
        let mut deflate = Compress::new(Compression::default(), false);
        let bomb = "a".repeat(INFLATED_BYTES_MAX * 4);
        let bomb = compressed(&mut deflate, &bomb, FlushCompress::Sync);
        assert!(inflated(&mut Decompress::new(false), &bomb).is_err());
    }
}
