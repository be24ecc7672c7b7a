//! The other end of a WebSocket (RFC 6455), for tests that need a relay which breaks NIP-01.
//!
//! Blocking, a thread a connection. It trusts its client to speak WebSocket.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    frame::{CLOSE, Frame, PING, PONG, TEXT},
    websocket::accept_key,
};

/// A server that goes on until the process ends.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// One client of it.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    /// How many connections there were before this one.
    pub number: usize,
}

impl Server {
    /// Listens on a free port and runs `serve` for each connection until that returns.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    #[must_use]
    pub fn start(serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let (serve, count) = (Arc::new(serve), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (serve, count) = (Arc::clone(&serve), Arc::clone(&count));
                thread::spawn(move || {
                    if let Some(stream) = upgrade(stream) {
                        let number = count.fetch_add(1, Ordering::AcqRel);
                        serve(&mut Peer { stream, number });
                    }
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// `ws://…`
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }
}

impl Peer {
    /// Reads up to the next text message and answers pings on the way; `None` once the client is gone.
    pub fn read_text(&mut self) -> Option<String> {
        loop {
            let (opcode, payload) = self.read_frame()?;
            match opcode {
                TEXT => return String::from_utf8(payload).ok(),
                PING => self.send(&Frame::new(PONG, payload)),
                CLOSE => return None,
                _ => {}
            }
        }
    }

    /// Sends one text message. A client that is gone is noticed when it is read from.
    pub fn send_text(&mut self, text: &str) {
        self.send(&Frame::text(text));
    }

    fn send(&mut self, frame: &Frame) {
        let _gone = self.stream.write_all(&frame.clone().unmasked().encode());
    }

    /// Reads a frame, which has to be masked and a whole message.
    fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second] = self.read()?;
        let length = match second & 127 {
            126 => u64::from(u16::from_be_bytes(self.read()?)),
            127 => u64::from_be_bytes(self.read()?),
            short => u64::from(short),
        };
        let mask: [u8; 4] = self.read()?;
        let mut payload = vec![0; usize::try_from(length).ok()?];
        self.stream.read_exact(&mut payload).ok()?;
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        Some((first & 15, payload))
    }

    fn read<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Takes the handshake.
fn upgrade(mut stream: TcpStream) -> Option<TcpStream> {
    stream.set_nodelay(true).ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).ok()?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
        is_key.then(|| value.trim())
    })?;
    let accept = accept_key(key);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).ok()?;
    Some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::WebSocket;

    #[test]
    fn what_a_client_says_comes_back() {
        let server = Server::start(|peer| {
            while let Some(text) = peer.read_text() {
                peer.send_text(&text);
            }
        });
        let mut client = WebSocket::connect(server.address);
        for length in [0, 125, 126, 70_000] {
            let text = "x".repeat(length);
            client.send_text(&text);
            assert_eq!(client.read_text(), text);
        }
        assert_eq!(server.connections(), 1);
    }
}
