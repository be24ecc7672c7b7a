//! A connection of a mirror to a relay: authenticates if it is asked and has a key, notices silence.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use heliograph_canary::client::{
    Auth, Message, Next, Signer, Socket, Target, asks_for_auth, connect,
};
use heliograph_protocol::Timestamp;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_websockets::Message as Frame;

/// Bytes of a message of a relay: the longest event that anybody stores, and its envelope.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A connection that was silent for so long is pinged, and given up after as long again.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Characters shown of what a relay says.
const SHOWN_CHARS_MAX: usize = 300;

/// Time for a frame to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// How to reach a relay.
#[derive(Debug, Clone)]
pub(super) struct Relay {
    pub(super) target: Target,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) signer: Option<Signer>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message for whoever uses the connection.
    Said(Message),
    /// An event for this subscription that can't be read or isn't what its id says: its `created_at`, if
    /// it has one, and its bytes.
    Unreadable(String, Option<u64>, usize),
    /// This was refused until the authentication that is under way is accepted.
    Later(Message),
    /// It is accepted: to send again what was refused.
    Authenticated,
}

/// An open connection.
pub(super) struct Line {
    socket: Socket,
    auth: Auth,
    relay: Relay,
    heard: Instant,
    is_pinged: bool,
}

impl Line {
    /// # Errors
    ///
    /// Why there is none.
    pub(super) async fn connect(relay: &Relay) -> Result<Self, String> {
        let socket = connect(&relay.target, relay.tls.as_ref(), MESSAGE_BYTES_MAX).await;
        Ok(Self {
            socket: socket.map_err(|error| error.to_string())?,
            auth: Auth::default(),
            relay: relay.clone(),
            heard: Instant::now(),
            is_pinged: false,
        })
    }

    /// # Errors
    ///
    /// Why the connection is over.
    pub(super) async fn send(&mut self, text: String) -> Result<(), String> {
        self.send_frame(Frame::text(text)).await
    }

    async fn send_frame(&mut self, frame: Frame) -> Result<(), String> {
        match timeout(SEND_TIMEOUT, self.socket.send(frame)).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_elapsed) => Err("the relay doesn't read".to_owned()),
        }
    }

    /// Waits for something. Safe to cancel.
    ///
    /// # Errors
    ///
    /// Why the connection is over.
    pub(super) async fn next(&mut self) -> Result<Heard, String> {
        loop {
            let frame = tokio::select! {
                biased; // what came first, then whether nothing comes
                frame = self.socket.next() => frame,
                () = sleep_until(self.heard + SILENCE_MAX), if !self.is_pinged => {
                    self.is_pinged = true;
                    self.send_frame(Frame::ping("")).await?;
                    continue;
                }
                () = sleep_until(self.heard + 2 * SILENCE_MAX) => {
                    return Err("the relay is silent".to_owned());
                }
            };
            (self.heard, self.is_pinged) = (Instant::now(), false);
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the connection ended".to_owned()),
            };
            if let Some((code, reason)) = frame.as_close() {
                return Err(format!("closed with {} {reason}", u16::from(code)));
            }
            let Some(text) = frame.as_text() else {
                continue;
            };
            let message = Message::parse(text);
            if message == Message::Other
                && let Some((sub, at)) = unreadable(text)
            {
                return Ok(Heard::Unreadable(sub, at, text.len()));
            }
            if let Some(heard) = self.hear(message).await? {
                return Ok(heard);
            }
        }
    }

    async fn hear(&mut self, message: Message) -> Result<Option<Heard>, String> {
        match &message {
            Message::Auth(challenge) => {
                if let Some(challenge) = self.auth.challenged(challenge.clone()) {
                    self.authenticate(&challenge).await?;
                }
                return Ok(None);
            }
            Message::Ok(id, accepted, text) => match self.auth.settled(id, *accepted) {
                Some(true) => return Ok(Some(Heard::Authenticated)),
                Some(false) => return Err(format!("the relay refuses to authenticate: {text}")),
                None => {}
            },
            Message::Other => return Ok(None),
            _ => {}
        }
        let refused = match &message {
            Message::Ok(_, false, text) | Message::Closed(_, text) => asks_for_auth(text),
            _ => false,
        };
        if !refused || self.relay.signer.is_none() {
            return Ok(Some(Heard::Said(message)));
        }
        match self.auth.required() {
            Next::Answer(challenge) => self.authenticate(&challenge).await?,
            Next::Wait => {}
            Next::TakeIt => return Ok(Some(Heard::Said(message))),
        }
        Ok(Some(Heard::Later(message)))
    }

    async fn authenticate(&mut self, challenge: &str) -> Result<(), String> {
        let Some(signer) = &self.relay.signer else {
            return Ok(());
        };
        let relay = self.relay.target.as_str();
        let event = signer.answer(Timestamp::now(), relay, challenge);
        self.auth.sent(*event.id());
        self.send(format!(r#"["AUTH",{}]"#, event.as_str())).await
    }
}

/// The subscription and the `created_at` of something that would be an event.
fn unreadable(text: &str) -> Option<(String, Option<u64>)> {
    let parts: Vec<Value> = serde_json::from_str(text).ok()?;
    match parts.as_slice() {
        [name, Value::String(sub), event, ..] if *name == "EVENT" => {
            Some((sub.clone(), event["created_at"].as_u64()))
        }
        _ => None,
    }
}

/// What a relay said as it can be shown: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(SHOWN_CHARS_MAX) {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Pauses before a relay is tried again: longer each time, until something has worked.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(Self::FIRST)
    }
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LONGEST);
        pause
    }

    pub(super) fn reset(&mut self) {
        self.0 = Self::FIRST;
    }
}
