//! A raw WebSocket client (RFC 6455): sends any bytes, and takes nothing that a server may not send.
//!
//! Blocking, on one thread, every wait bounded. A failure shows the transcript of the connection.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use base64::Engine as _;
use sha1::{Digest, Sha1};

use crate::{
    PATIENCE,
    frame::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, RSV1, TEXT},
    handshake::KEY,
    http::Response,
};

pub use crate::handshake::Handshake;

/// Lines of transcript kept, and characters of each shown.
const LINES_MAX: usize = 200;
const LINE_CHARS_MAX: usize = 400;

/// What came: a whole data message or a control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message, valid UTF-8.
    Text(String),
    /// A compressed message, still compressed (RFC 7692).
    Compressed(Vec<u8>),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping, not yet answered.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// The closing handshake with its code, 1005 if it carried none.
    Close(u16, String),
}

/// Why nothing came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The deadline passed; the connection is as it was.
    Deadline,
    /// The server ended the TCP connection, in order or by reset.
    Gone,
    /// The server broke the protocol.
    Illegal(String),
}

/// One connection.
#[derive(Debug)]
pub struct WebSocket {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
    fragments: Option<Vec<u8>>,
    compression: bool,
    lines: VecDeque<String>,
    /// The answer to the handshake.
    pub response: Response,
}

impl WebSocket {
    /// Connects and upgrades.
    ///
    /// # Panics
    ///
    /// If the relay can't be reached or refuses.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &Handshake::default())
    }

    /// Connects and upgrades with this request.
    ///
    /// # Panics
    ///
    /// If the relay can't be reached or refuses.
    #[must_use]
    pub fn connect_with(address: SocketAddr, handshake: &Handshake) -> Self {
        Self::try_connect_with(address, handshake, PATIENCE)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Connects with a receive buffer of about `bytes` in the kernel, so that a reader that stops
    /// is soon noticed.
    ///
    /// # Panics
    ///
    /// If the relay can't be reached or refuses.
    #[must_use]
    pub fn connect_narrow(address: SocketAddr, bytes: usize) -> Self {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
        socket
            .set_recv_buffer_size(bytes)
            .expect("a size that the kernel takes");
        socket.connect(&address.into()).expect("the relay listens");
        Self::try_upgrade(socket.into(), address, &Handshake::default(), PATIENCE)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Connects and upgrades, each step within `patience`.
    ///
    /// # Errors
    ///
    /// What the network said, or what the relay answered instead of an upgrade.
    pub fn try_connect(address: SocketAddr, patience: Duration) -> Result<Self, String> {
        Self::try_connect_with(address, &Handshake::default(), patience)
    }

    /// Connects and upgrades with this request, each step within `patience`.
    ///
    /// # Errors
    ///
    /// As [`try_connect`](Self::try_connect).
    pub fn try_connect_with(
        address: SocketAddr,
        handshake: &Handshake,
        patience: Duration,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect_timeout(&address, patience);
        let stream = stream.map_err(|error| format!("connect: {error}"))?;
        Self::try_upgrade(stream, address, handshake, patience)
    }

    fn try_upgrade(
        mut stream: TcpStream,
        address: SocketAddr,
        handshake: &Handshake,
        patience: Duration,
    ) -> Result<Self, String> {
        let socket = |error: io::Error| format!("handshake: {error}");
        stream.set_nodelay(true).map_err(socket)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(socket)?;
        stream.set_read_timeout(Some(patience)).map_err(socket)?;
        let request = [
            &handshake.preface[..],
            handshake.request(address).as_bytes(),
        ]
        .concat();
        stream.write_all(&request).map_err(socket)?;
        let mut buffer = Vec::new();
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(read) if read > 0 => buffer.extend_from_slice(&chunk[..read]),
                other => {
                    let so_far = String::from_utf8_lossy(&buffer);
                    return Err(format!("handshake: {other:?} {so_far:?}"));
                }
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        let response = Response::head(&head).ok_or_else(|| format!("not HTTP: {head}"))?;
        if response.status != 101 {
            return Err(format!("handshake refused: {head}"));
        }
        if response.header("sec-websocket-accept") != Some(&*accept_key(KEY)) {
            return Err(format!("wrong accept key: {head}"));
        }
        let compression = response.header("sec-websocket-extensions").is_some();
        Ok(Self {
            stream,
            address,
            buffer,
            fragments: None,
            compression,
            lines: VecDeque::new(),
            response,
        })
    }

    /// Where the relay listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one text message.
    ///
    /// # Panics
    ///
    /// If the relay doesn't read for [`PATIENCE`], or has closed.
    #[track_caller]
    pub fn send_text(&mut self, text: &str) {
        self.note('>', text);
        if let Err(error) = self.write(&Frame::text(text).encode()) {
            self.fail(&format!("could not send: {error}"));
        }
    }

    /// Sends one frame, legal or not.
    ///
    /// # Panics
    ///
    /// If the relay doesn't read for [`PATIENCE`], or has closed.
    #[track_caller]
    pub fn send(&mut self, frame: &Frame) {
        let payload = String::from_utf8_lossy(&frame.payload).into_owned();
        let (fin, rsv, opcode) = (frame.fin, frame.rsv, frame.opcode);
        self.note(
            '>',
            &format!("[frame fin={fin} rsv={rsv:03b} opcode={opcode}] {payload}"),
        );
        if let Err(error) = self.write(&frame.encode()) {
            self.fail(&format!("could not send: {error}"));
        }
    }

    /// Writes bytes below the framing, which may fail once the relay has closed.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the next message or control frame.
    ///
    /// # Errors
    ///
    /// [`Ending`] if there is none within `patience`.
    pub fn read(&mut self, patience: Duration) -> Result<Message, Ending> {
        let deadline = Instant::now() + patience;
        loop {
            match Frame::decode(&self.buffer, self.compression).map_err(Ending::Illegal)? {
                Some((frame, length)) => {
                    self.buffer.drain(..length);
                    if let Some(message) = self.assemble(frame).map_err(Ending::Illegal)? {
                        self.note_received(&message);
                        return Ok(message);
                    }
                }
                None => self.fill(deadline)?,
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), Ending> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Ending::Deadline);
        }
        self.stream
            .set_read_timeout(Some(left))
            .expect("a timeout above zero");
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Ending::Gone),
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(()),
                _ => Err(Ending::Gone),
            },
        }
    }

    /// Joins fragments; control frames may come between them (RFC 6455 §5.4).
    fn assemble(&mut self, frame: Frame) -> Result<Option<Message>, String> {
        let text = |bytes| String::from_utf8(bytes).map_err(|_invalid| "text not UTF-8".to_owned());
        match frame.opcode {
            PING => Ok(Some(Message::Ping(frame.payload))),
            PONG => Ok(Some(Message::Pong(frame.payload))),
            CLOSE => close(&frame.payload).map(Some),
            CONTINUATION => {
                let Some(mut whole) = self.fragments.take() else {
                    return Err("continuation of nothing".to_owned());
                };
                whole.extend_from_slice(&frame.payload);
                if frame.fin {
                    return Ok(Some(Message::Text(text(whole)?)));
                }
                self.fragments = Some(whole);
                Ok(None)
            }
            _ if self.fragments.is_some() => {
                Err("a new message inside a fragmented one".to_owned())
            }
            BINARY => Ok(Some(Message::Binary(frame.payload))),
            _ if frame.rsv & RSV1 != 0 => Ok(Some(Message::Compressed(frame.payload))),
            _ if frame.fin => Ok(Some(Message::Text(text(frame.payload)?))),
            _ => {
                debug_assert_eq!(frame.opcode, TEXT);
                self.fragments = Some(frame.payload);
                Ok(None)
            }
        }
    }

    /// Reads up to the next text message and answers pings on the way.
    ///
    /// # Panics
    ///
    /// If the connection ends or [`PATIENCE`] does.
    #[track_caller]
    pub fn read_text(&mut self) -> String {
        loop {
            match self.read(PATIENCE) {
                Ok(Message::Text(text)) => return text,
                Ok(Message::Ping(payload)) => self.send(&Frame::new(PONG, payload)),
                Ok(Message::Pong(_)) => {}
                other => self.fail(&format!("expected a text message, got {other:?}")),
            }
        }
    }

    /// Reads up to the close frame and returns its code and reason; texts before it are skipped
    /// and stand in the transcript.
    ///
    /// # Panics
    ///
    /// If the connection ends without one, or [`PATIENCE`] does.
    #[track_caller]
    pub fn read_close(&mut self) -> (u16, String) {
        loop {
            match self.read(PATIENCE) {
                Ok(Message::Close(code, reason)) => return (code, reason),
                Ok(_) => {}
                Err(ending) => self.fail(&format!("expected a close frame, got {ending:?}")),
            }
        }
    }

    /// Waits until the relay has ended the TCP connection.
    ///
    /// # Panics
    ///
    /// If it hasn't within [`PATIENCE`].
    #[track_caller]
    pub fn read_end(&mut self) {
        loop {
            match self.read(PATIENCE) {
                Ok(_) => {}
                Err(Ending::Gone) => return,
                Err(ending) => self.fail(&format!("expected the end, got {ending:?}")),
            }
        }
    }

    /// Ends the writing direction, as a client that died does. Nothing happens if the relay has
    /// ended the connection first.
    pub fn half_close(&mut self) {
        let _gone_already = self.stream.shutdown(Shutdown::Write);
    }

    /// What went over this connection, newest last.
    #[must_use]
    pub fn transcript(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let _infallible = writeln!(out, "  {line}");
        }
        out
    }

    /// Fails the test and shows the transcript.
    ///
    /// # Panics
    ///
    /// Always.
    #[track_caller]
    pub fn fail(&self, why: &str) -> ! {
        panic!(
            "{why}\ntranscript ({}):\n{}",
            self.address,
            self.transcript()
        );
    }

    fn note(&mut self, direction: char, text: &str) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        let shown: String = text.chars().take(LINE_CHARS_MAX).collect();
        let cut = if shown.len() < text.len() { "…" } else { "" };
        self.lines.push_back(format!("{direction} {shown}{cut}"));
    }

    fn note_received(&mut self, message: &Message) {
        match message {
            Message::Text(text) => self.note('<', text),
            other => self.note('<', &format!("{other:?}")),
        }
    }
}

/// Reads a close frame's payload (RFC 6455 §5.5.1, §7.4).
fn close(payload: &[u8]) -> Result<Message, String> {
    match payload {
        [] => Ok(Message::Close(1005, String::new())),
        [_] => Err("a close frame of one byte".to_owned()),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(format!("close code {code}"));
            }
            let reason = String::from_utf8(reason.to_vec());
            let reason = reason.map_err(|_invalid| "close reason not UTF-8".to_owned())?;
            Ok(Message::Close(code, reason))
        }
    }
}

/// What the server has to answer to this key (RFC 6455 §4.2.2).
pub(crate) fn accept_key(key: &str) -> String {
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn close_frames_are_checked() {
        assert_eq!(
            close(b"\x03\xe9bye"),
            Ok(Message::Close(1001, "bye".to_owned()))
        );
        assert_eq!(close(b""), Ok(Message::Close(1005, String::new())));
        assert!(close(b"\x03").is_err() && close(b"\x03\xed").is_err());
        assert!(close(b"\x03\xe9\xff").is_err());
    }
}
