//! Conformance to RFC 6455 and RFC 7692, in the case groups of the Autobahn test suite and by its numbers.
//!
//! That suite wants a server that echoes. Here a COUNT without a filter stands for it: `["COUNT","…"]` is
//! refused at once, in order, with its id as it was sent: the *echo*. Whatever follows the id has only to be
//! JSON, which makes room for messages of any size. Each case has a connection of its own, and ends with a
//! close frame: the relay's, or one from this side that has to be answered.

mod closing;
mod compression;
mod control;
mod fragments;
mod framing;
mod sizes;
mod utf8;

use heliograph_testkit::{
    PATIENCE,
    frame::{CLOSE, Frame},
    process::Relay,
    websocket::{Message, WebSocket},
};
use serde_json::{Value, json};

/// A message of which `payload` is the echo.
fn say(payload: &str) -> String {
    format!(r#"["COUNT",{}]"#, json!(payload))
}

/// A message of `bytes` bytes of which `payload` is the echo.
fn say_long(payload: &str, bytes: usize) -> String {
    let head = format!(r#"["COUNT",{},""#, json!(payload));
    let room = bytes
        .checked_sub(head.len() + 2)
        .expect("room for the rest");
    let mut text = String::with_capacity(bytes);
    text += &head;
    // Not all the same, so that a part in the wrong place would be another message.
    text.extend((0..room).map(|n| char::from(b'a' + u8::try_from(n % 23).unwrap())));
    text += "\"]";
    text
}

/// How bytes are handed to the socket: each write is a segment of its own, since nothing is held back.
#[derive(Debug, Clone, Copy)]
enum Chops {
    /// All at once.
    None,
    /// Each frame alone.
    Frames,
    /// So many bytes at a time.
    Bytes(usize),
}

/// What has to come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// The echo of [`say`].
    Echo(String),
    /// The answer to what is no client message.
    Notice,
    Pong(Vec<u8>),
    /// The relay's close frame, and the end of the connection.
    Close(u16),
}

/// What is sent and what has to come, in order and nothing else.
#[derive(Debug)]
struct Case {
    /// By the numbers of the suite.
    name: String,
    frames: Vec<Frame>,
    chops: Chops,
    answers: Vec<Answer>,
}

fn case(name: impl Into<String>) -> Case {
    Case {
        name: name.into(),
        frames: Vec::new(),
        chops: Chops::None,
        answers: Vec::new(),
    }
}

impl Case {
    fn send(mut self, frame: Frame) -> Self {
        self.frames.push(frame);
        self
    }

    /// Sends a text message in as many frames as it has parts.
    fn send_parts<P: AsRef<[u8]>>(mut self, parts: &[P]) -> Self {
        self.frames.extend(text_in(parts));
        self
    }

    fn chops(mut self, chops: Chops) -> Self {
        self.chops = chops;
        self
    }

    fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    fn echo(self, payload: &str) -> Self {
        self.answer(Answer::Echo(payload.to_owned()))
    }

    fn notice(self) -> Self {
        self.answer(Answer::Notice)
    }

    fn pong(self, payload: impl AsRef<[u8]>) -> Self {
        self.answer(Answer::Pong(payload.as_ref().to_vec()))
    }

    fn closes(self, code: u16) -> Self {
        self.answer(Answer::Close(code))
    }

    #[track_caller]
    fn check(self, relay: &Relay) {
        let mut socket = relay.socket();
        let _challenge = socket.read_text();
        self.write(&mut socket);
        let mut closed = false;
        for expected in &self.answers {
            let came = read(&mut socket);
            if came.as_ref() != Ok(expected) {
                socket.fail(&format!(
                    "{}: expected {expected:?}, got {came:?}",
                    self.name
                ));
            }
            closed = matches!(expected, Answer::Close(_));
        }
        if !closed {
            socket.send(&Frame::new(CLOSE, 1000_u16.to_be_bytes()));
            let came = read(&mut socket);
            if came != Ok(Answer::Close(1000)) {
                socket.fail(&format!("{}: expected the end, got {came:?}", self.name));
            }
        }
        socket.read_end();
    }

    /// The relay may have closed before the last byte.
    fn write(&self, socket: &mut WebSocket) {
        let frames = self.frames.iter().map(Frame::encode);
        match self.chops {
            Chops::None => drop(socket.write(&frames.collect::<Vec<_>>().concat())),
            Chops::Frames => frames.for_each(|bytes| drop(socket.write(&bytes))),
            Chops::Bytes(count) => {
                let bytes = frames.collect::<Vec<_>>().concat();
                bytes
                    .chunks(count)
                    .for_each(|chop| drop(socket.write(chop)));
            }
        }
    }
}

#[track_caller]
fn check_all(relay: &Relay, cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        case.check(relay);
    }
}

/// A text message in as many frames as it has parts.
fn text_in<P: AsRef<[u8]>>(parts: &[P]) -> Vec<Frame> {
    let count = parts.len();
    let frame = |(nth, part): (usize, &P)| {
        let mut frame = match nth {
            0 => Frame::text(part),
            _ => Frame::continuation(part),
        };
        frame.fin = nth + 1 == count;
        frame
    };
    parts.iter().enumerate().map(frame).collect()
}

/// Reads one answer, or what came instead.
fn read(socket: &mut WebSocket) -> Result<Answer, String> {
    match socket.read(PATIENCE) {
        Ok(Message::Pong(payload)) => Ok(Answer::Pong(payload)),
        Ok(Message::Close(code, _)) => Ok(Answer::Close(code)),
        Ok(Message::Text(text)) => answer(&text).ok_or(text),
        other => Err(format!("{other:?}")),
    }
}

fn answer(text: &str) -> Option<Answer> {
    let message: Value = serde_json::from_str(text).ok()?;
    match message[0].as_str()? {
        "CLOSED" => Some(Answer::Echo(message[1].as_str()?.to_owned())),
        "NOTICE" => Some(Answer::Notice),
        _ => None,
    }
}
