//! A client that writes down all it does and sees, and outlives its gateway.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_protocol::{Event, EventId};
use serde_json::{Value, json};

use super::{History, What};
pub use crate::client::{End, Stored};
use crate::{
    PATIENCE,
    client::query,
    frame::{Frame, PONG},
    reply::Reply,
    websocket::{Ending, Message, WebSocket},
};

/// Replies kept for [`Recorded::poll`] while another call waits for its own; the oldest go first.
/// They are in the history all the same.
const INBOX_MAX: usize = 10_000;

/// One client. Its connection may break at any time: then every call says so, and
/// [`Recorded::reconnect`] opens a new one, on which nothing is subscribed yet.
#[derive(Debug)]
pub struct Recorded {
    history: History,
    gateway: usize,
    address: SocketAddr,
    connection: u32,
    socket: Option<WebSocket>,
    inbox: VecDeque<Reply>,
    /// Every subscription and query of this connection; none is used twice.
    subs: HashSet<Arc<str>>,
    queries: u64,
}

impl Recorded {
    /// Connects to a gateway, which the history knows by this number.
    ///
    /// # Errors
    ///
    /// Why it can't be reached within [`PATIENCE`]; the history has it too.
    pub fn connect(
        history: &History,
        gateway: usize,
        address: SocketAddr,
    ) -> Result<Self, Arc<str>> {
        let mut client = Self::new(history, gateway, address);
        client.reconnect()?;
        Ok(client)
    }

    /// A client that isn't connected yet.
    #[must_use]
    pub fn new(history: &History, gateway: usize, address: SocketAddr) -> Self {
        Self {
            history: history.clone(),
            gateway,
            address,
            connection: 0,
            socket: None,
            inbox: VecDeque::new(),
            subs: HashSet::new(),
            queries: 0,
        }
    }

    /// Opens a new connection, with a new number; one that is still open is given up.
    ///
    /// # Errors
    ///
    /// Why the gateway can't be reached within [`PATIENCE`]; the history has it too.
    pub fn reconnect(&mut self) -> Result<(), Arc<str>> {
        self.disconnect("the client reconnects");
        self.inbox.clear();
        self.subs.clear();
        self.connection = self.history.next_connection();
        match WebSocket::try_connect(self.address, PATIENCE) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.note(None, What::Connected);
                Ok(())
            }
            Err(why) => {
                let why: Arc<str> = why.into();
                let cause = Arc::clone(&why);
                self.note(None, What::Unreachable { why: cause });
                Err(why)
            }
        }
    }

    /// Whether the connection is open as far as this client knows.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The number of the connection in the history.
    #[must_use]
    pub fn connection(&self) -> u32 {
        self.connection
    }

    /// The history it writes.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The next connection goes there: a gateway may come back on another port.
    pub fn relocate(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Ends the connection, if it is open.
    pub fn disconnect(&mut self, why: &str) {
        if self.socket.take().is_some() {
            self.note(None, What::Left { why: why.into() });
        }
    }

    /// The relay or the network ended the connection.
    fn lost(&mut self, why: &str) {
        if self.socket.take().is_some() {
            self.note(None, What::Disconnected { why: why.into() });
        }
    }

    /// Sends `["EVENT",<event>]` and doesn't wait. `intended` is when it was due, since the
    /// history's start. False if the connection is broken; the event may have gone out or not.
    pub fn publish(&mut self, event: &Event, intended: Option<Duration>) -> bool {
        let text = format!(r#"["EVENT",{}]"#, event.as_str());
        let event = event.clone();
        self.send(&text, intended, What::Publish { event })
    }

    /// Waits for the OK of an event that was sent: whether it is accepted, and the text. `None` if
    /// none comes in time or the connection breaks.
    pub fn wait_ok(&mut self, id: &EventId, patience: Duration) -> Option<(bool, String)> {
        let hex = id.to_hex();
        let wanted = |reply: &Reply| matches!(reply, Reply::Ok { id, .. } if *id == hex);
        match self.wait(Instant::now() + patience, wanted)? {
            Reply::Ok { accepted, text, .. } => Some((accepted, text)),
            _ => None,
        }
    }

    /// Sends `["REQ",<sub>,<filter>,…]` and doesn't wait. False if the connection is broken.
    ///
    /// # Panics
    ///
    /// If `sub` was used on this connection before: late events of the first couldn't be told from
    /// those of the second.
    #[track_caller]
    pub fn req(&mut self, sub: &str, filters: &[Value]) -> bool {
        let text = query("REQ", sub, filters);
        let sub = self.first_use(sub);
        let filters = Arc::from(filters);
        self.send(&text, None, What::Req { sub, filters })
    }

    /// Sends `["CLOSE",<sub>]`, which isn't answered. False if the connection is broken.
    pub fn close(&mut self, sub: &str) -> bool {
        let text = json!(["CLOSE", sub]).to_string();
        self.send(&text, None, What::Close { sub: sub.into() })
    }

    /// Asks, reads the stored part to its end, and closes the subscription. `None` if the
    /// connection breaks or the end doesn't come in time.
    pub fn query(&mut self, filters: &[Value], patience: Duration) -> Option<Stored> {
        let sub = self.next_query();
        self.req(&sub, filters);
        let deadline = Instant::now() + patience;
        let wanted = |reply: &Reply| reply.verb() != "OK" && reply.subject() == Some(&sub);
        let mut events = Vec::new();
        let end = loop {
            match self.wait(deadline, wanted) {
                Some(Reply::Event { event, .. }) => events.push(event),
                Some(Reply::Eose { hint, .. }) => break Some(End::Eose(hint)),
                Some(Reply::Closed { text, .. }) => break Some(End::Closed(text)),
                Some(_) | None => break None,
            }
        };
        if !matches!(end, Some(End::Closed(_))) {
            self.close(&sub);
        }
        self.inbox.retain(|reply| reply.subject() != Some(&sub));
        end.map(|end| Stored { events, end })
    }

    /// Counts (NIP-45): the number, or the text of CLOSED. `None` if the connection breaks or no
    /// answer comes in time.
    pub fn count(&mut self, filters: &[Value], patience: Duration) -> Option<Result<u64, String>> {
        let name = self.next_query();
        let text = query("COUNT", &name, filters);
        let (sub, filters) = (self.first_use(&name), Arc::from(filters));
        self.send(&text, None, What::Count { sub, filters });
        let wanted = |reply: &Reply| reply.verb() != "OK" && reply.subject() == Some(&name);
        match self.wait(Instant::now() + patience, wanted)? {
            Reply::Count { count, .. } => Some(Ok(count)),
            Reply::Closed { text, .. } => Some(Err(text)),
            _ => None,
        }
    }

    /// The next message; AUTH and the end of the connection are none. `None` if none comes within
    /// `patience` or the connection breaks, which [`Recorded::is_connected`] tells apart.
    pub fn poll(&mut self, patience: Duration) -> Option<Reply> {
        let deadline = Instant::now() + patience;
        self.inbox.pop_front().or_else(|| self.receive(deadline))
    }

    /// From here on this connection reads back what was published.
    pub(super) fn begin_read_back(&self) {
        self.note(None, What::ReadBack);
    }

    fn next_query(&mut self) -> String {
        self.queries += 1;
        format!("query-{}", self.queries)
    }

    #[track_caller]
    fn first_use(&mut self, sub: &str) -> Arc<str> {
        let sub: Arc<str> = sub.into();
        let new = self.subs.insert(Arc::clone(&sub));
        assert!(new, "{sub} was used on this connection before");
        sub
    }

    /// Waits for a message; others that come first are kept for [`Recorded::poll`].
    fn wait(&mut self, deadline: Instant, wanted: impl Fn(&Reply) -> bool) -> Option<Reply> {
        if let Some(index) = self.inbox.iter().position(&wanted) {
            return self.inbox.remove(index);
        }
        loop {
            let reply = self.receive(deadline)?;
            if wanted(&reply) {
                return Some(reply);
            }
            if self.inbox.len() == INBOX_MAX {
                self.inbox.pop_front();
            }
            self.inbox.push_back(reply);
        }
    }

    /// Notes `what`, then sends; a connection that breaks is noted too.
    fn send(&mut self, text: &str, intended: Option<Duration>, what: What) -> bool {
        if self.socket.is_none() {
            return false;
        }
        self.note(intended, what);
        self.write(&Frame::text(text))
    }

    fn write(&mut self, frame: &Frame) -> bool {
        let Some(socket) = &mut self.socket else {
            return false;
        };
        if let Err(error) = socket.write(&frame.encode()) {
            self.lost(&format!("could not send: {error}"));
        }
        self.is_connected()
    }

    /// Reads and notes the next message but AUTH; pings are answered.
    fn receive(&mut self, deadline: Instant) -> Option<Reply> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.socket.as_mut()?.read(left) {
                Ok(Message::Text(text)) => match Reply::parse(&text) {
                    Ok(Reply::Auth(_)) => {}
                    Ok(reply) => {
                        self.note_reply(&reply)?;
                        return Some(reply);
                    }
                    Err(error) => self.illegal(&format!("{error}: {text}"))?,
                },
                Ok(Message::Ping(payload)) => {
                    self.write(&Frame::new(PONG, payload));
                }
                Ok(Message::Pong(_)) => {}
                Ok(Message::Close(code, reason)) => {
                    self.lost(&format!("close {code} {reason:?}"));
                }
                Ok(other) => self.illegal(&format!("{other:?}"))?,
                Err(Ending::Deadline) => return None,
                Err(Ending::Gone) => self.lost("the relay ended the connection"),
                Err(Ending::Illegal(why)) => self.illegal(&why)?,
            }
        }
    }

    /// Notes what the relay may not send and gives the connection up.
    fn illegal(&mut self, why: &str) -> Option<()> {
        self.note(None, What::Illegal { why: why.into() });
        self.lost("the relay broke the protocol");
        None
    }

    fn note_reply(&mut self, reply: &Reply) -> Option<()> {
        let what = match reply.clone() {
            Reply::Event { sub, event } => What::Event {
                sub: sub.into(),
                event,
            },
            Reply::Ok { id, accepted, text } => match EventId::from_hex(id.as_bytes()) {
                Ok(id) => What::Ok {
                    id,
                    accepted,
                    text: text.into(),
                },
                Err(error) => return self.illegal(&format!("OK {id}: {error}")),
            },
            Reply::Eose { sub, hint } => What::Eose {
                sub: sub.into(),
                hint: hint.map(Arc::from),
            },
            Reply::Closed { sub, text } => What::Closed {
                sub: sub.into(),
                text: text.into(),
            },
            Reply::Count { sub, count } => What::Counted {
                sub: sub.into(),
                count,
            },
            Reply::Notice(text) => What::Notice { text: text.into() },
            Reply::Auth(_) | Reply::Close(..) => return Some(()),
        };
        self.note(None, what);
        Some(())
    }

    fn note(&self, intended: Option<Duration>, what: What) {
        self.history
            .push(self.connection, self.gateway, intended, what);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread::JoinHandle,
    };

    use super::*;
    use crate::keys::Key;

    /// Greets one client as a relay does, says `texts`, and is gone once it has read something.
    fn short_lived(texts: &'static [&'static str]) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).unwrap() > 0);
            let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            for text in texts {
                let frame = Frame::text(text).unmasked().encode();
                stream.write_all(&frame).unwrap();
            }
            assert!(stream.read(&mut request).unwrap() > 0);
        };
        (address, std::thread::spawn(serve))
    }

    fn what(history: &History) -> Vec<String> {
        let entries = history.entries();
        let name = |entry: &crate::history::Entry| {
            let text = entry.what.to_string();
            text.split([' ', ':']).take(2).collect::<Vec<_>>().join(" ")
        };
        entries.iter().map(name).collect()
    }

    #[test]
    fn a_relay_that_dies_is_noted_and_no_panic() {
        let (address, relay) = short_lived(&[r#"["EOSE","s"]"#, r#"["NOTICE","x"]"#]);
        let history = History::new();
        let mut client = Recorded::connect(&history, 0, address).unwrap();
        assert!(client.req("s", &[json!({})]));
        let reply = client.poll(PATIENCE).unwrap();
        assert_eq!(reply.verb(), "EOSE");
        let event = Key::nth(0).note(1, "");
        assert_eq!(client.wait_ok(event.id(), PATIENCE), None);
        assert!(!client.is_connected());
        // What came while something else was waited for isn't lost.
        assert_eq!(client.poll(PATIENCE).unwrap().verb(), "NOTICE");
        assert!(!client.publish(&event, None) && !client.req("t", &[json!({})]));
        assert!(client.query(&[json!({})], PATIENCE).is_none());
        relay.join().unwrap();
        assert!(client.reconnect().is_err());
        let expected = [
            "connected",
            "> REQ",
            "< EOSE",
            "< NOTICE",
            "disconnected ",
            "unreachable ",
        ];
        assert_eq!(what(&history), expected);
        let connections = history
            .entries()
            .iter()
            .map(|entry| entry.connection)
            .collect::<Vec<_>>();
        assert_eq!(connections, [1, 1, 1, 1, 1, 2]);
    }

    #[test]
    fn a_relay_that_breaks_the_protocol_is_noted() {
        let (address, relay) = short_lived(&[r#"["EOSE"]"#]);
        let history = History::new();
        let mut client = Recorded::connect(&history, 0, address).unwrap();
        client.req("s", &[json!({})]);
        assert_eq!(client.poll(PATIENCE), None);
        assert!(!client.is_connected());
        relay.join().unwrap();
        let expected = ["connected", "> REQ", "illegal ", "disconnected "];
        assert_eq!(what(&history), expected);
    }

    #[test]
    #[should_panic(expected = "s was used on this connection before")]
    fn a_subscription_id_is_used_once() {
        let (address, _relay) = short_lived(&[]);
        let mut client = Recorded::connect(&History::new(), 0, address).unwrap();
        client.req("s", &[json!({})]);
        client.req("s", &[json!({})]);
    }
}
