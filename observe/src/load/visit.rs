//! One visit after the other: connect, say something, listen for a moment, leave.
//!
//! Nothing is expected of the relay, since faults happen meanwhile.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use flate2::{Compress, Compression, FlushCompress};
use heliograph_protocol::{Event, Timestamp};
use heliograph_testkit::{
    RELAY_URL,
    frame::{CLOSE, Frame, PONG, RSV1},
    keys::Key,
    random::Random,
    websocket::{Ending, Handshake, Message, WebSocket},
};
use serde_json::{Value, json};

use super::CONNECT_PATIENCE;

/// The kind that relays under this load refuse.
pub const BLOCKED: u16 = 9_998;

/// How long a visitor listens.
const LISTEN: Duration = Duration::from_millis(250);

/// Events sent at once by who doesn't wait: more than a connection may.
const FLOOD: usize = 80;

/// What cannot be read, sent until the relay has had enough.
const NONSENSE: usize = 25;

/// Kinds that people write, beside those of the workload.
const KINDS: [u16; 16] = [
    0, 1, 3, 4, 6, 7, 13, 16, 42, 1_059, 1_063, 1_111, 1_984, 9_735, 10_002, 30_078,
];

/// What every compressed message leaves out at its end (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A client that comes and goes at one gateway.
#[derive(Debug)]
pub(super) struct Visitor {
    gateway: SocketAddr,
    random: Random,
    key: Key,
    visits: usize,
    /// What it wrote last.
    last: Option<Event>,
}

impl Visitor {
    pub(super) fn new(seed: u64, gateway: SocketAddr) -> Self {
        let mut random = Random::seeded(seed ^ 0x7669_7369_746f_7273);
        Self {
            gateway,
            key: Key::nth(random.below(usize::MAX)),
            random,
            visits: 0,
            last: None,
        }
    }

    /// The next visit; others follow in turn.
    pub(super) fn visit(&mut self) {
        self.visits += 1;
        // The relay is away, or was while it was said: there will be other visits.
        let _away = match self.visits % 9 {
            0 => self.flood(),
            1 | 5 => self.write(false),
            2 | 6 => self.read(),
            3 => self.authenticate(),
            4 => self.write(true),
            7 => self.break_rules(),
            _ => self.talk_nonsense(),
        };
    }

    fn connect(&self, handshake: &Handshake) -> Option<WebSocket> {
        WebSocket::try_connect_with(self.gateway, handshake, CONNECT_PATIENCE).ok()
    }

    /// Some events of kinds that others don't write, one of them twice; compressed or not.
    fn write(&mut self, compressed: bool) -> Option<()> {
        let handshake = if compressed {
            compressing()
        } else {
            Handshake::default()
        };
        let mut socket = self.connect(&handshake)?;
        let text = "Written on a visit. ".repeat(1 + self.random.below(20));
        for _ in 0..4 {
            let kind = *self.random.pick(&KINDS);
            let (other, place) = (self.key.hex(), self.random.below(8).to_string());
            let tags: &[&[&str]] = &[&["p", &other], &["d", &place], &["t", "visit"]];
            let event = self.key.sign(now(), kind, tags, &text);
            self.say(&mut socket, &message("EVENT", &event), compressed)?;
            self.last = Some(event);
        }
        if let Some(last) = &self.last {
            self.say(&mut socket, &message("EVENT", last), compressed)?;
        }
        self.say(&mut socket, "[\"REQ\",\"s\",{\"limit\":50}]", compressed)?;
        listen(&mut socket);
        leave(&mut socket)
    }

    fn say(&self, socket: &mut WebSocket, text: &str, compressed: bool) -> Option<()> {
        let frame = if compressed {
            Frame::text(deflate(text)).rsv(RSV1)
        } else {
            Frame::text(text)
        };
        socket.write(&frame.encode()).ok()
    }

    /// What is old, what is counted, more than there is room for, what is too dear.
    fn read(&mut self) -> Option<()> {
        let mut socket = self.connect(&compressing())?;
        let author = self.key.hex();
        let filters = [
            json!({"authors": [author], "until": now() - 30, "limit": 200}),
            json!({"kinds": [1], "until": now() - 60, "limit": 500}),
            json!({"kinds": [1, 6, 7], "#t": ["visit", "topic-1"], "limit": 100}),
            json!({"ids": ["00".repeat(32)]}),
            json!({"#p": [author], "limit": 20}),
        ];
        for (number, filter) in filters.iter().enumerate() {
            self.ask(&mut socket, "REQ", number, filter)?;
            self.ask(&mut socket, "COUNT", number, filter)?;
        }
        listen(&mut socket);
        for number in 0..filters.len() {
            let close = json!(["CLOSE", number.to_string()]).to_string();
            self.say(&mut socket, &close, false)?;
        }
        leave(&mut socket)
    }

    fn ask(&self, socket: &mut WebSocket, verb: &str, sub: usize, filter: &Value) -> Option<()> {
        let text = json!([verb, sub.to_string(), filter]).to_string();
        self.say(socket, &text, false)
    }

    /// Answers the challenge, once for another relay and once well, then reads what is private.
    fn authenticate(&mut self) -> Option<()> {
        let mut socket = self.connect(&Handshake::default())?;
        let challenge = listen(&mut socket)?;
        let wrong = self
            .key
            .auth(now(), "wss://elsewhere.example.com", &challenge);
        self.say(&mut socket, &message("AUTH", &wrong), false)?;
        let right = self.key.auth(now(), RELAY_URL, &challenge);
        self.say(&mut socket, &message("AUTH", &right), false)?;
        let private = json!({"kinds": [4, 1_059], "#p": [self.key.hex()], "limit": 10});
        self.ask(&mut socket, "REQ", 0, &private)?;
        listen(&mut socket);
        leave(&mut socket)
    }

    /// What is refused: a bad signature, a kind, an event of another, a subscription too many.
    fn break_rules(&mut self) -> Option<()> {
        let mut socket = self.connect(&Handshake::default())?;
        let event = self
            .key
            .note(now(), &format!("forged on visit {}", self.visits));
        let forged = event
            .as_str()
            .replace(&event.sig().to_hex(), &"17".repeat(64));
        self.say(&mut socket, &format!("[\"EVENT\",{forged}]"), false)?;
        let blocked = self.key.sign(now(), BLOCKED, &[], "blocked");
        self.say(&mut socket, &message("EVENT", &blocked), false)?;
        let protected = self.key.sign(now(), 1, &[&["-"]], "for its author to send");
        self.say(&mut socket, &message("EVENT", &protected), false)?;
        let others = json!({"kinds": [4], "#p": ["11".repeat(32)]});
        self.ask(&mut socket, "REQ", 0, &others)?;
        for sub in 0..70 {
            self.ask(
                &mut socket,
                "REQ",
                sub,
                &json!({"kinds": [BLOCKED], "limit": 1}),
            )?;
        }
        listen(&mut socket);
        // Without a word.
        drop(socket);
        Some(())
    }

    /// More events than a connection may send at once, all the same.
    fn flood(&mut self) -> Option<()> {
        let mut socket = self.connect(&Handshake::default())?;
        let event = self
            .key
            .note(now(), &format!("again on visit {}", self.visits));
        for _ in 0..FLOOD {
            self.say(&mut socket, &message("EVENT", &event), false)?;
        }
        listen(&mut socket);
        leave(&mut socket)
    }

    /// Until the relay closes the connection.
    fn talk_nonsense(&mut self) -> Option<()> {
        let mut socket = self.connect(&Handshake::default())?;
        for _ in 0..NONSENSE {
            self.say(&mut socket, "[\"NONSENSE\"", false)?;
        }
        listen(&mut socket);
        Some(())
    }
}

fn compressing() -> Handshake {
    Handshake::default().field("Sec-WebSocket-Extensions: permessage-deflate")
}

/// Reads for a moment and answers pings. Returns the challenge, if one came.
fn listen(socket: &mut WebSocket) -> Option<String> {
    let end = Instant::now() + LISTEN;
    let mut challenge = None;
    loop {
        match socket.read(end.saturating_duration_since(Instant::now())) {
            Ok(Message::Text(text)) if text.starts_with("[\"AUTH\"") => {
                let value: Value = serde_json::from_str(&text).ok()?;
                challenge = value[1].as_str().map(str::to_owned);
            }
            Ok(Message::Ping(payload)) => {
                socket.write(&Frame::new(PONG, payload).encode()).ok()?;
            }
            Ok(Message::Close(..)) | Err(Ending::Gone | Ending::Deadline | Ending::Illegal(_)) => {
                return challenge;
            }
            Ok(_) => {}
        }
    }
}

/// Says good-bye (RFC 6455 §7.1.2) and reads the answer.
fn leave(socket: &mut WebSocket) -> Option<()> {
    let close = Frame::new(CLOSE, 1_000_u16.to_be_bytes());
    socket.write(&close.encode()).ok()?;
    listen(socket);
    Some(())
}

fn message(verb: &str, event: &Event) -> String {
    format!("[\"{verb}\",{}]", event.as_str())
}

/// A text as one compressed message without context (RFC 7692 §7.2.1).
fn deflate(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut compress = Compress::new(Compression::default(), false);
    let done = compress.compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync);
    done.expect("there is room for everything");
    let cut = out.len().saturating_sub(TAIL.len());
    if out.ends_with(&TAIL) {
        out.truncate(cut);
    }
    out
}

fn now() -> u64 {
    Timestamp::now().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_text_is_one_that_others_can_read() {
        let text = "[\"EVENT\",{}]".repeat(20);
        let mut packed = deflate(&text);
        assert!(packed.len() < text.len() / 2);
        packed.extend_from_slice(&TAIL);
        let mut plain = Vec::with_capacity(1_000);
        let mut inflate = flate2::Decompress::new(false);
        inflate
            .decompress_vec(&packed, &mut plain, flate2::FlushDecompress::Sync)
            .unwrap();
        assert_eq!(plain, text.as_bytes());
    }
}
