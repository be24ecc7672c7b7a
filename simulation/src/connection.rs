//! A client's connection: WebSocket frames over a simulated pipe, everything noted.

use std::{collections::BTreeMap, io, sync::Arc};

use heliograph_gateway::Stream as _;
use heliograph_protocol::{Event, EventId, Filter};
use heliograph_testkit::frame::Frame;

use crate::{
    Journal,
    cluster::Cluster,
    history::{History, Seen, Subscription},
    journal::short,
    pipe::End,
    process::Process,
};

/// Bytes read at once.
const READ_BYTES: usize = 4_096;

/// What a client has to do with.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The relay.
    pub(crate) cluster: Cluster,
    /// Where it is noted.
    pub(crate) history: History,
    /// For people.
    pub(crate) journal: Journal,
    /// The client.
    pub(crate) process: Arc<Process>,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    place: Place,
    gateway: String,
    end: End,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    subscriptions: BTreeMap<String, usize>,
    publications: BTreeMap<EventId, Vec<usize>>,
    next: u64,
}

impl Connection {
    /// Connects to a gateway.
    ///
    /// # Errors
    ///
    /// It isn't there.
    pub(crate) async fn open(place: &Place, gateway: &str) -> io::Result<Self> {
        let network = place.cluster.network();
        let end = network.dial(&place.process, gateway).await?;
        Ok(Self {
            place: place.clone(),
            gateway: gateway.to_owned(),
            end,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            subscriptions: BTreeMap::new(),
            publications: BTreeMap::new(),
            next: 0,
        })
    }

    /// Open subscriptions, by their ids.
    #[must_use]
    pub(crate) fn open_subscriptions(&self) -> Vec<String> {
        self.subscriptions.keys().cloned().collect()
    }

    /// Publishes an event, which [`read`](Self::read) sends.
    pub(crate) fn publish(&mut self, event: &Arc<Event>) {
        let number = self.place.history.publishes(event);
        self.publications
            .entry(*event.id())
            .or_default()
            .push(number);
        self.note(format_args!(
            "publishes {} kind {} at {}",
            short(event.id()),
            event.kind().as_u16(),
            self.gateway
        ));
        self.send(&format!("[\"EVENT\",{}]", event.as_str()));
    }

    /// Asks for events; the id of the subscription and its number in the history.
    pub(crate) fn subscribe(&mut self, filter: &str) -> (String, usize) {
        self.next += 1;
        let id = format!("s{}", self.next);
        let name = format!("{}/{}/{id}", self.place.process.name(), self.gateway);
        let number = self.place.history.asks(Subscription {
            name,
            filter: Filter::parse(filter).expect("a filter of the workload"),
            text: filter.to_owned(),
            asked: 0,
            commits: self.commits(),
            since: self.place.journal.now().as_secs(),
            now: u64::MAX,
            seen: Vec::new(),
            commits_at_eose: None,
            over: false,
        });
        self.subscriptions.insert(id.clone(), number);
        self.note(format_args!("asks {id} {filter:.200} at {}", self.gateway));
        self.send(&format!("[\"REQ\",\"{id}\",{filter}]"));
        (id, number)
    }

    /// Closes a subscription.
    pub(crate) fn unsubscribe(&mut self, id: &str) {
        if let Some(number) = self.subscriptions.remove(id) {
            self.place.history.over(number);
            self.note(format_args!("closes {id}"));
            self.send(&format!("[\"CLOSE\",\"{id}\"]"));
        }
    }

    /// Sends what is to be sent and takes what comes, once. Safe to cancel.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub(crate) async fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        // What comes first: it makes room.
        tokio::select! {
            biased;
            count = self.end.read(&mut buffer) => {
                let count = count?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.incoming.extend_from_slice(&buffer[..count]);
                self.frames()
            }
            writable = self.end.writable(), if !self.outgoing.is_empty() => {
                writable?;
                let written = self.end.try_write(&self.outgoing)?;
                self.outgoing.drain(..written);
                Ok(())
            }
        }
    }

    fn send(&mut self, text: &str) {
        self.outgoing.extend(Frame::text(text).encode());
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.place.journal.note(self.place.process.name(), what);
    }

    fn commits(&self) -> usize {
        self.place.cluster.server().commits_count()
    }

    /// Takes every frame that is whole; a server sends them unmasked and in one piece.
    fn frames(&mut self) -> io::Result<()> {
        while let Some((opcode, start, end)) = header(&self.incoming) {
            let frame: Vec<u8> = self.incoming.drain(..end).collect();
            let payload = &frame[start..];
            match opcode {
                1 => self.message(&String::from_utf8_lossy(payload)),
                8 => {
                    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                    self.note(format_args!("is closed: {reason}"));
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                9 => self.outgoing.extend(Frame::new(10, payload).encode()),
                _ => {}
            }
        }
        Ok(())
    }

    fn message(&mut self, text: &str) {
        let value: serde_json::Value = serde_json::from_str(text).expect("a gateway sends JSON");
        let word = |index: usize| value[index].as_str().unwrap_or_default();
        match word(0) {
            "EVENT" => {
                let id = word_id(value[2]["id"].as_str());
                self.saw(word(1), Seen::Event(id));
            }
            "EOSE" => self.saw(word(1), Seen::Eose),
            "CLOSED" => {
                self.saw(word(1), Seen::Closed(word(2).to_owned()));
                self.subscriptions.remove(word(1));
            }
            "OK" => self.answered(word_id(Some(word(1))), value[2] == true, word(3)),
            // The text of a challenge is another one in each run.
            "AUTH" => {}
            _ => self.note(format_args!("reads {text}")),
        }
    }

    fn saw(&self, subscription: &str, seen: Seen) {
        match &seen {
            Seen::Event(id) => self.note(format_args!("has {} for {subscription}", short(id))),
            Seen::Eose => self.note(format_args!("has EOSE for {subscription}")),
            Seen::Closed(why) => self.note(format_args!("has CLOSED for {subscription}: {why}")),
        }
        if let Some(number) = self.subscriptions.get(subscription) {
            let cluster = &self.place.cluster;
            let now = |since| cluster.earliest_since(&self.gateway, since);
            self.place.history.saw(*number, seen, self.commits(), now);
        }
    }

    fn answered(&mut self, id: EventId, accepted: bool, text: &str) {
        self.note(format_args!("has OK {accepted} for {} {text}", short(&id)));
        let waiting = self.publications.entry(id).or_default();
        if waiting.is_empty() {
            // One more than there were questions.
            let number = self.place.history.last_of(&id);
            number
                .into_iter()
                .for_each(|number| self.place.history.answered(number, accepted, text));
        } else {
            let number = waiting.remove(0);
            self.place.history.answered(number, accepted, text);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.note(format_args!("leaves {}", self.gateway));
        for number in self.subscriptions.values() {
            self.place.history.over(*number);
        }
        for number in self.publications.values().flatten() {
            self.place.history.lost(*number);
        }
    }
}

/// The opcode of the first frame and where its payload begins and ends, once it is whole.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (opcode, short) = (bytes.first()? & 15, usize::from(bytes.get(1)? & 127));
    let (start, length) = match short {
        126 => {
            let length: [u8; 2] = bytes.get(2..4)?.try_into().ok()?;
            (4, usize::from(u16::from_be_bytes(length)))
        }
        127 => {
            let length: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
            (10, usize::try_from(u64::from_be_bytes(length)).ok()?)
        }
        short => (2, short),
    };
    (bytes.len() >= start + length).then_some((opcode, start, start + length))
}

fn word_id(hex: Option<&str>) -> EventId {
    EventId::from_hex(hex.unwrap_or_default().as_bytes()).expect("a gateway sends ids")
}
