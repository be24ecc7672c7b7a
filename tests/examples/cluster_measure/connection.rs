//! A client that costs little: one blocking socket, messages told apart by how they begin.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use heliograph_testkit::{
    frame::{Frame, PONG},
    websocket::{Message, WebSocket},
};

/// How long an answer may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A relay message, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// With the event's id.
    Event(String),
    /// With the event's id, and the text if it was refused.
    Ok(String, Option<String>),
    /// The end of the stored part, or the answer to a COUNT.
    Answered,
    /// With the text.
    Closed(String),
    /// Anything else, which nothing here asks for.
    Other(String),
}

/// One connection to a gateway.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: WebSocket,
}

impl Connection {
    pub(crate) fn open(gateway: SocketAddr) -> Self {
        Self {
            socket: WebSocket::connect(gateway),
        }
    }

    /// Sends a frame as it is.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.socket.write(frame).context("can't send")
    }

    /// The next message; pings are answered on the way, the challenge of NIP-42 is not.
    pub(crate) fn read(&mut self) -> Result<Reply> {
        loop {
            match self.socket.read(PATIENCE) {
                Ok(Message::Text(text)) if text.starts_with(r#"["AUTH","#) => {}
                Ok(Message::Text(text)) => return Ok(reply(text)),
                Ok(Message::Ping(payload)) => self.send(&Frame::new(PONG, payload).encode())?,
                Ok(Message::Pong(_)) => {}
                other => bail!(
                    "expected an answer, got {other:?}\n{}",
                    self.socket.transcript()
                ),
            }
        }
    }

    /// Opens a subscription and reads up to its EOSE.
    pub(crate) fn subscribe(&mut self, filter: &str) -> Result<()> {
        self.send(&Frame::text(format!(r#"["REQ","live",{filter}]"#)).encode())?;
        loop {
            match self.read()? {
                Reply::Answered => return Ok(()),
                Reply::Event(_) => {}
                other => bail!("expected EOSE, got {other:?}"),
            }
        }
    }

    /// Reads up to the next live event and returns its id.
    pub(crate) fn next_event(&mut self) -> Result<String> {
        match self.read()? {
            Reply::Event(id) => Ok(id),
            other => bail!("expected an event, got {other:?}"),
        }
    }
}

fn reply(text: String) -> Reply {
    if text.starts_with(r#"["EVENT","#) {
        return id_of_event(&text).map_or(Reply::Other(text), Reply::Event);
    }
    if let Some(rest) = text.strip_prefix(r#"["OK",""#)
        && let Some((id, rest)) = rest.split_once("\",")
    {
        let refused = rest.strip_prefix("false,").map(str::to_owned);
        return Reply::Ok(id.to_owned(), refused);
    }
    if text.starts_with(r#"["EOSE","#) || text.starts_with(r#"["COUNT","#) {
        Reply::Answered
    } else if text.starts_with(r#"["CLOSED","#) {
        Reply::Closed(text)
    } else {
        Reply::Other(text)
    }
}

/// The id, which the wire form has first; looked for, so that its place doesn't matter.
fn id_of_event(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(r#""id":""#)?;
    rest.get(..64).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let id = "a".repeat(64);
        let event = format!(r#"["EVENT","s",{{"id":"{id}","pubkey":""}}]"#);
        let reply = |text: &str| reply(text.to_owned());
        assert_eq!(reply(&event), Reply::Event(id.clone()));
        let ok = format!(r#"["OK","{id}",true,""]"#);
        assert_eq!(reply(&ok), Reply::Ok(id.clone(), None));
        let refused = format!(r#"["OK","{id}",false,"error: x"]"#);
        let text = r#""error: x"]"#.to_owned();
        assert_eq!(reply(&refused), Reply::Ok(id, Some(text)));
        assert_eq!(reply(r#"["EOSE","s"]"#), Reply::Answered);
        assert_eq!(reply(r#"["COUNT","s",{"count":1}]"#), Reply::Answered);
        assert!(matches!(
            reply(r#"["CLOSED","s","error: x"]"#),
            Reply::Closed(_)
        ));
        let notice = r#"["NOTICE","x"]"#;
        assert_eq!(reply(notice), Reply::Other(notice.to_owned()));
    }
}
