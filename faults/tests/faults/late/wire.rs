//! Just enough of the NATS protocol to listen to what crosses the bus and to say it again.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

use heliograph_testkit::PATIENCE;
use serde_json::Value;

/// What a message says of itself before its payload.
type Headers = Vec<(&'static str, String)>;

/// A message as it crossed the bus.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) payload: Vec<u8>,
}

/// A connection that listens and speaks.
#[derive(Debug)]
pub(super) struct Wire {
    socket: BufReader<TcpStream>,
    inbox: String,
    /// What came on subjects that are listened to.
    heard: Vec<Message>,
    /// What came on the inbox.
    answers: Vec<Message>,
}

impl Wire {
    /// Connects to `nats://host:port` and listens to these subjects.
    ///
    /// # Panics
    ///
    /// If the server can't be reached, as in every method.
    #[track_caller]
    pub(super) fn listen(url: &str, subjects: &[String]) -> Self {
        let address = url.strip_prefix("nats://").unwrap_or(url);
        let socket = TcpStream::connect(address).expect("the server of the test");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let inbox = format!("_INBOX.late{}", std::process::id());
        let mut wire = Self {
            socket: BufReader::new(socket),
            inbox,
            heard: Vec::new(),
            answers: Vec::new(),
        };
        let mut hello = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n".to_vec();
        let all = subjects.iter().chain([&wire.inbox]).enumerate();
        for (number, subject) in all {
            hello.extend(format!("SUB {subject} {}\r\n", number + 1).bytes());
        }
        wire.write(&hello);
        wire.sync();
        wire
    }

    /// Everything that was said on the subjects so far and not taken yet, in order.
    #[track_caller]
    pub(super) fn take(&mut self) -> Vec<Message> {
        self.sync();
        std::mem::take(&mut self.heard)
    }

    /// Publishes to a stream and waits until it has it.
    #[track_caller]
    pub(super) fn say(&mut self, message: &Message, headers: &Headers) {
        let mut head = String::from("NATS/1.0\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let all = head.len() + message.payload.len();
        let line = format!(
            "HPUB {} {} {} {all}\r\n",
            message.subject,
            self.inbox,
            head.len()
        );
        let parts = [line.as_bytes(), head.as_bytes(), &message.payload, b"\r\n"];
        self.write(&parts.concat());
        let answer = self.answer();
        assert!(answer.get("seq").is_some(), "not taken: {answer}");
    }

    /// How many messages a stream has.
    #[track_caller]
    pub(super) fn messages_in(&mut self, stream: &str) -> u64 {
        let line = format!("PUB $JS.API.STREAM.INFO.{stream} {} 0\r\n\r\n", self.inbox);
        self.write(line.as_bytes());
        let answer = self.answer();
        let count = answer["state"]["messages"].as_u64();
        count.unwrap_or_else(|| panic!("not about a stream: {answer}"))
    }

    #[track_caller]
    fn answer(&mut self) -> Value {
        while self.answers.is_empty() {
            self.read().expect("an answer of the server");
        }
        let answer = self.answers.remove(0);
        serde_json::from_slice(&answer.payload).expect("the server speaks JSON")
    }

    /// Reads until all is here that the server had before it was asked.
    #[track_caller]
    fn sync(&mut self) {
        self.write(b"PING\r\n");
        while self.read().expect("the server answers") != "PONG" {}
    }

    #[track_caller]
    fn write(&mut self, bytes: &[u8]) {
        let written = self.socket.get_mut().write_all(bytes);
        written.expect("the server reads");
    }

    /// Reads one operation and returns its name.
    fn read(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.socket.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["PING"] => self.socket.get_mut().write_all(b"PONG\r\n")?,
            ["MSG", subject, _sid, .., bytes] => self.receive(subject, 0, number(bytes)?)?,
            ["HMSG", subject, _sid, .., head, all] => {
                self.receive(subject, number(head)?, number(all)?)?;
            }
            ["-ERR", ..] => return Err(io::Error::other(line)),
            _ => {}
        }
        Ok(words.first().copied().unwrap_or_default().to_owned())
    }

    /// Reads a message of so many bytes, `head` of them headers.
    fn receive(&mut self, subject: &str, head: usize, all: usize) -> io::Result<()> {
        let mut bytes = vec![0; all + 2];
        self.socket.read_exact(&mut bytes)?;
        let message = Message {
            subject: subject.to_owned(),
            payload: bytes[head..all].to_vec(),
        };
        if subject == self.inbox {
            self.answers.push(message);
        } else {
            self.heard.push(message);
        }
        Ok(())
    }
}

fn number(word: &str) -> io::Result<usize> {
    word.parse().map_err(io::Error::other)
}
