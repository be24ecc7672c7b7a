//! A Nostr client for tests (NIP-01, NIP-42, NIP-45): one call a sentence of the NIP, every wait
//! bounded, every failure with the transcript.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use heliograph_protocol::{Event, Timestamp};
use serde_json::{Value, json};

use crate::{
    PATIENCE, RELAY_URL,
    frame::{Frame, PONG},
    keys::Key,
    reply::Reply,
    websocket::{Ending, Message, WebSocket},
};

/// How the stored part of a REQ ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// EOSE, with the hint of NIP-67 if there was one.
    Eose(Option<String>),
    /// CLOSED with this text.
    Closed(String),
}

/// The stored part of a REQ.
#[derive(Debug, Clone)]
pub struct Stored {
    /// In the order they came.
    pub events: Vec<Event>,
    /// What ended them.
    pub end: End,
}

impl Stored {
    /// The ids in the order they came.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.events
            .iter()
            .map(|event| event.id().to_hex())
            .collect()
    }

    /// The contents in the order they came.
    #[must_use]
    pub fn contents(&self) -> Vec<String> {
        self.events
            .iter()
            .map(|event| event.content().into_owned())
            .collect()
    }

    /// The hint of EOSE.
    ///
    /// # Panics
    ///
    /// If the answer ended with CLOSED.
    #[must_use]
    #[track_caller]
    pub fn hint(&self) -> Option<&str> {
        match &self.end {
            End::Eose(hint) => hint.as_deref(),
            End::Closed(text) => panic!("CLOSED: {text}"),
        }
    }
}

/// One client on one connection.
#[derive(Debug)]
pub struct Client {
    /// The connection, for what a well-behaved client wouldn't send.
    pub socket: WebSocket,
    inbox: VecDeque<Reply>,
    challenge: Option<String>,
    fences: u64,
    queries: u64,
    /// The query under way; of others nothing is of interest any more.
    query: Option<String>,
}

impl Client {
    /// Connects to `ws://address/`.
    ///
    /// # Panics
    ///
    /// If the relay can't be reached.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(WebSocket::connect(address))
    }

    /// Speaks over this connection.
    #[must_use]
    pub fn over(socket: WebSocket) -> Self {
        Self {
            socket,
            inbox: VecDeque::new(),
            challenge: None,
            fences: 0,
            queries: 0,
            query: None,
        }
    }

    /// Sends any text as one message.
    ///
    /// # Panics
    ///
    /// If the relay doesn't read.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.socket.send_text(text);
    }

    /// Sends `["EVENT",<event>]` and doesn't wait.
    ///
    /// # Panics
    ///
    /// If the relay doesn't read.
    #[track_caller]
    pub fn send_event(&mut self, event: &Event) {
        self.send(&format!(r#"["EVENT",{}]"#, event.as_str()));
    }

    /// Publishes and waits for the OK.
    ///
    /// # Panics
    ///
    /// If none comes.
    #[track_caller]
    pub fn publish(&mut self, event: &Event) -> (bool, String) {
        self.send_event(event);
        self.ok(&event.id().to_hex())
    }

    /// Publishes what the relay has to accept as new.
    ///
    /// # Panics
    ///
    /// If it doesn't.
    #[track_caller]
    pub fn accept(&mut self, event: &Event) {
        let answer = self.publish(event);
        if answer != (true, String::new()) {
            self.socket
                .fail(&format!("expected OK true \"\", got {answer:?}"));
        }
    }

    /// Publishes what the relay has to refuse with this prefix.
    ///
    /// # Panics
    ///
    /// If it accepts, or refuses with another.
    #[track_caller]
    pub fn refuse(&mut self, event: &Event, prefix: &str) {
        let (accepted, text) = self.publish(event);
        if accepted || !text.starts_with(&format!("{prefix}: ")) {
            self.socket
                .fail(&format!("expected {prefix}:, got {accepted} {text:?}"));
        }
    }

    /// Waits for the OK of an event that was sent.
    ///
    /// # Panics
    ///
    /// If none comes.
    #[track_caller]
    pub fn ok(&mut self, id: &str) -> (bool, String) {
        let found = self.wait(
            &format!("OK {id}"),
            |reply| matches!(reply, Reply::Ok { id: sent, .. } if sent == id),
        );
        match found {
            Reply::Ok { accepted, text, .. } => (accepted, text),
            other => unreachable!("{other:?}"),
        }
    }

    /// Sends `["REQ",<sub>,<filter>,…]` and doesn't wait.
    ///
    /// # Panics
    ///
    /// If the relay doesn't read.
    #[track_caller]
    pub fn send_req(&mut self, sub: &str, filters: &[Value]) {
        self.send(&query("REQ", sub, filters));
    }

    /// Asks for stored events and waits for EOSE or CLOSED. The subscription stays open.
    ///
    /// # Panics
    ///
    /// If the answer doesn't end.
    #[track_caller]
    pub fn req(&mut self, sub: &str, filters: &[Value]) -> Stored {
        self.send_req(sub, filters);
        self.stored(sub)
    }

    /// Asks, reads the stored part, and closes the subscription.
    ///
    /// # Panics
    ///
    /// If the answer doesn't end.
    #[track_caller]
    pub fn query(&mut self, filters: &[Value]) -> Stored {
        self.queries += 1;
        let sub = format!("query-{}", self.queries);
        self.query = Some(sub.clone());
        let stored = self.req(&sub, filters);
        self.close(&sub);
        self.query = None;
        // Live events may have come before the CLOSE was read.
        self.inbox.retain(|reply| reply.subject() != Some(&sub));
        stored
    }

    /// Reads the stored part of a REQ that was sent.
    ///
    /// # Panics
    ///
    /// If it doesn't end.
    #[track_caller]
    pub fn stored(&mut self, sub: &str) -> Stored {
        let mut events = Vec::new();
        loop {
            let wanted = |reply: &Reply| reply.verb() != "OK" && reply.subject() == Some(sub);
            match self.wait(&format!("EVENT or EOSE for {sub}"), wanted) {
                Reply::Event { event, .. } => events.push(event),
                Reply::Eose { hint, .. } => {
                    return Stored {
                        events,
                        end: End::Eose(hint),
                    };
                }
                Reply::Closed { text, .. } => {
                    return Stored {
                        events,
                        end: End::Closed(text),
                    };
                }
                other => self.socket.fail(&format!("in the stored part: {other:?}")),
            }
        }
    }

    /// Waits for the next live event of a subscription.
    ///
    /// # Panics
    ///
    /// If something else about that subscription comes, or nothing.
    #[track_caller]
    pub fn next_event(&mut self, sub: &str) -> Event {
        let wanted = |reply: &Reply| reply.verb() != "OK" && reply.subject() == Some(sub);
        match self.wait(&format!("EVENT for {sub}"), wanted) {
            Reply::Event { event, .. } => event,
            other => self
                .socket
                .fail(&format!("expected a live event, got {other:?}")),
        }
    }

    /// Waits for the CLOSED of a subscription and returns its text.
    ///
    /// # Panics
    ///
    /// If none comes.
    #[track_caller]
    pub fn closed(&mut self, sub: &str) -> String {
        let wanted =
            |reply: &Reply| matches!(reply, Reply::Closed { sub: found, .. } if found == sub);
        match self.wait(&format!("CLOSED for {sub}"), wanted) {
            Reply::Closed { text, .. } => text,
            other => unreachable!("{other:?}"),
        }
    }

    /// Sends `["CLOSE",<sub>]`, which isn't answered.
    ///
    /// # Panics
    ///
    /// If the relay doesn't read.
    #[track_caller]
    pub fn close(&mut self, sub: &str) {
        self.send(&json!(["CLOSE", sub]).to_string());
    }

    /// Counts (NIP-45).
    ///
    /// # Errors
    ///
    /// The text of CLOSED, if the relay refuses.
    ///
    /// # Panics
    ///
    /// If no answer comes.
    #[track_caller]
    pub fn count(&mut self, sub: &str, filters: &[Value]) -> Result<u64, String> {
        self.send(&query("COUNT", sub, filters));
        let wanted = |reply: &Reply| {
            matches!(reply.verb(), "COUNT" | "CLOSED") && reply.subject() == Some(sub)
        };
        match self.wait(&format!("COUNT for {sub}"), wanted) {
            Reply::Count { count, .. } => Ok(count),
            Reply::Closed { text, .. } => Err(text),
            other => unreachable!("{other:?}"),
        }
    }

    /// The challenge in force, waiting for the first one.
    ///
    /// # Panics
    ///
    /// If none comes.
    #[track_caller]
    pub fn challenge(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(challenge) = &self.challenge {
                return challenge.clone();
            }
            match self.receive_any(deadline) {
                Some(Reply::Auth(_)) => {}
                Some(reply) => self.inbox.push_back(reply),
                None => self.socket.fail("expected AUTH"),
            }
        }
    }

    /// Forgets the challenge, so that [`Client::challenge`] waits for the next.
    pub fn forget_challenge(&mut self) {
        self.challenge = None;
    }

    /// Answers the challenge as this key and waits for the OK.
    ///
    /// # Panics
    ///
    /// If no challenge or no OK comes.
    #[track_caller]
    pub fn auth(&mut self, key: &Key) -> (bool, String) {
        let challenge = self.challenge();
        self.auth_with(&key.auth(Timestamp::now().as_secs(), RELAY_URL, &challenge))
    }

    /// Authenticates as this key.
    ///
    /// # Panics
    ///
    /// If the relay doesn't accept.
    #[track_caller]
    pub fn authenticate(&mut self, key: &Key) {
        let answer = self.auth(key);
        if !answer.0 {
            self.socket
                .fail(&format!("expected OK true, got {answer:?}"));
        }
    }

    /// Sends `["AUTH",<event>]` and waits for the OK.
    ///
    /// # Panics
    ///
    /// If none comes.
    #[track_caller]
    pub fn auth_with(&mut self, event: &Event) -> (bool, String) {
        self.send(&format!(r#"["AUTH",{}]"#, event.as_str()));
        self.ok(&event.id().to_hex())
    }

    /// Sends something that is always answered, and returns what came before that answer, AUTH
    /// left out. What the relay says at once is said by then: no need to wait for silence.
    ///
    /// # Panics
    ///
    /// If the answer doesn't come.
    #[track_caller]
    pub fn fence(&mut self) -> Vec<Reply> {
        self.fences += 1;
        let sub = format!("fence-{}", self.fences);
        self.send(&query("COUNT", &sub, &[json!({"ids": []})]));
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::from(std::mem::take(&mut self.inbox));
        loop {
            match self.receive(deadline) {
                Some(reply) if reply.subject() == Some(&sub) => return before,
                Some(reply) => before.push(reply),
                None => self.socket.fail("expected the answer to the fence"),
            }
        }
    }

    /// The next message of any kind but AUTH.
    ///
    /// # Panics
    ///
    /// If none comes.
    #[track_caller]
    pub fn next_reply(&mut self) -> Reply {
        if let Some(reply) = self.inbox.pop_front() {
            return reply;
        }
        match self.receive(Instant::now() + PATIENCE) {
            Some(reply) => reply,
            None => self.socket.fail("expected any message"),
        }
    }

    /// The next message of any kind but AUTH, if one comes within `patience`.
    ///
    /// # Panics
    ///
    /// If the relay breaks the protocol or ends the connection without a close frame.
    #[track_caller]
    pub fn poll(&mut self, patience: Duration) -> Option<Reply> {
        self.inbox
            .pop_front()
            .or_else(|| self.receive(Instant::now() + patience))
    }

    /// Waits for a message; others that come first are kept for later calls.
    #[track_caller]
    fn wait(&mut self, what: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
        if let Some(index) = self.inbox.iter().position(&wanted) {
            return self.inbox.remove(index).expect("an index just found");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.receive(deadline) {
                Some(reply) if wanted(&reply) => return reply,
                Some(Reply::Close(code, reason)) => {
                    self.socket
                        .fail(&format!("expected {what}, got close {code} {reason:?}"));
                }
                Some(reply) => self.inbox.push_back(reply),
                None => self
                    .socket
                    .fail(&format!("expected {what} within {PATIENCE:?}")),
            }
        }
    }

    /// Reads the next message but AUTH.
    #[track_caller]
    fn receive(&mut self, deadline: Instant) -> Option<Reply> {
        loop {
            match self.receive_any(deadline)? {
                Reply::Auth(_) => {}
                Reply::Event { sub, .. }
                    if sub.starts_with("query-") && self.query.as_ref() != Some(&sub) => {}
                reply => return Some(reply),
            }
        }
    }

    /// Reads the next message, remembers challenges and answers pings.
    #[track_caller]
    fn receive_any(&mut self, deadline: Instant) -> Option<Reply> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.socket.read(left) {
                Ok(Message::Text(text)) => {
                    let reply = Reply::parse(&text).unwrap_or_else(|error| {
                        self.socket
                            .fail(&format!("not a relay message: {error}: {text}"))
                    });
                    if let Reply::Auth(challenge) = &reply {
                        self.challenge = Some(challenge.clone());
                    }
                    return Some(reply);
                }
                Ok(Message::Ping(payload)) => self.socket.send(&Frame::new(PONG, payload)),
                Ok(Message::Pong(_)) => {}
                Ok(Message::Close(code, reason)) => return Some(Reply::Close(code, reason)),
                Err(Ending::Deadline) => return None,
                other => self
                    .socket
                    .fail(&format!("expected a message, got {other:?}")),
            }
        }
    }
}

/// `[<verb>,<sub>,<filter>,…]`
#[must_use]
pub fn query(verb: &str, sub: &str, filters: &[Value]) -> String {
    let mut message = vec![json!(verb), json!(sub)];
    message.extend_from_slice(filters);
    Value::Array(message).to_string()
}
