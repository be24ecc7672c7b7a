//! What a gateway has open, and where each subscription stands. Everything is decided under its one
//! lock; what follows from a decision is done after it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use hashbrown::HashMap;
use heliograph_bus::{ConnectionId, Slot};
use heliograph_policy::Reader;
use heliograph_proto::{
    encode_filters,
    v1::{self, gateway_message::Message},
};
use heliograph_protocol::PublicKey;
use tokio::sync::oneshot;

use super::active::Active;
use crate::PART_BYTES;

/// Bytes of a subscription in a resumption besides its filters.
const SUBSCRIPTION_BYTES: usize = 32;

/// All subscriptions and connections of this gateway.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: BTreeMap<u32, Entry>,
    connections: HashMap<u64, Reader>,
    /// Who waits for the mark of which request.
    marks: HashMap<u64, oneshot::Sender<()>>,
    current: Option<Arc<Active>>,
}

#[derive(Debug)]
struct Entry {
    connection: u64,
    /// For the next matcher.
    filters: Arc<v1::Filters>,
    state: State,
}

/// Where a subscription stands. Requests are those of the current session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be asked: no matcher knows of it.
    Waiting,
    /// Asked; the stored part is under way.
    Asked { request: u64 },
    /// Live; goes on at the next matcher if this one goes.
    Live { request: u64 },
    /// No longer open, but the matcher keeps its slot.
    Over { request: u64 },
    /// The matcher released it on its way out, or was asked to in vain.
    Lost,
    /// To be released by the matcher.
    Closing,
}

/// A request that was registered.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) request: u64,
    pub(crate) keys: Reader,
    /// Comes to the mark before the last page of the answer is given out.
    pub(crate) mark: oneshot::Receiver<()>,
}

/// Why a request can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotBegun {
    /// The session is over: try the next one.
    Over,
    /// The subscription was closed, or is open.
    Gone,
}

impl Table {
    /// Notes a subscription that is about to be asked for. `false` if its slot is in use.
    pub(crate) fn admit(
        &mut self,
        slot: Slot,
        connection: ConnectionId,
        filters: Arc<v1::Filters>,
        reader: &Reader,
    ) -> bool {
        let free = self
            .slots
            .get(&slot.0)
            .is_none_or(|entry| matches!(entry.state, State::Lost | State::Waiting));
        if free {
            let state = State::Waiting;
            let connection = connection.0;
            self.slots.insert(
                slot.0,
                Entry {
                    connection,
                    filters,
                    state,
                },
            );
            let known = self.connections.entry(connection).or_default();
            reader.keys.iter().for_each(|key| know(known, key));
        }
        free
    }

    /// Gives a noted subscription a request of this session.
    pub(crate) fn begin(&mut self, slot: Slot, active: &Arc<Active>) -> Result<Begun, NotBegun> {
        if !self.is_current(active) {
            return Err(NotBegun::Over);
        }
        let entry = self.slots.get_mut(&slot.0).ok_or(NotBegun::Gone)?;
        if entry.state != State::Waiting {
            return Err(NotBegun::Gone);
        }
        let request = active.next_request();
        entry.state = State::Asked { request };
        let (sender, mark) = oneshot::channel();
        self.marks.insert(request, sender);
        let keys = self.connections.get(&entry.connection);
        Ok(Begun {
            request,
            keys: keys.cloned().unwrap_or_default(),
            mark,
        })
    }

    /// The stored part is complete; `false` if the session or the subscription is over.
    pub(crate) fn go_live(&mut self, slot: Slot, request: u64, active: &Arc<Active>) -> bool {
        self.is_current(active)
            && self.change(slot.0, State::Asked { request }, State::Live { request })
    }

    /// The matcher answered with an end: the subscription is over.
    pub(crate) fn refused(&mut self, slot: Slot, request: u64, active: &Arc<Active>) {
        if self.is_current(active) {
            self.change(slot.0, State::Asked { request }, State::Over { request });
        }
        self.marks.remove(&request);
    }

    /// The matcher can't go on with a subscription. Whether it was open.
    pub(crate) fn ended(&mut self, slot: Slot) -> bool {
        let Some(entry) = self.slots.get_mut(&slot.0) else {
            return false;
        };
        match entry.state {
            State::Asked { request } | State::Live { request } => {
                entry.state = State::Over { request };
                true
            }
            State::Waiting | State::Over { .. } | State::Lost | State::Closing => false,
        }
    }

    /// Closes a subscription. Whether its slot is free at once.
    pub(crate) fn close(&mut self, slot: Slot) -> bool {
        let Some(entry) = self.slots.get_mut(&slot.0) else {
            // It was never asked for.
            return true;
        };
        match (entry.state, &self.current) {
            (State::Closing, _) => false,
            (
                State::Asked { request } | State::Live { request } | State::Over { request },
                Some(active),
            ) => {
                entry.state = State::Closing;
                entry.filters = Arc::default();
                self.marks.remove(&request);
                let slot = slot.0;
                active.send(Message::Close(v1::Close { slot, request }));
                false
            }
            _ => {
                self.slots.remove(&slot.0);
                true
            }
        }
    }

    /// The matcher released a slot. Whether that was expected.
    pub(crate) fn released(&mut self, slot: Slot) -> bool {
        let closing = self
            .slots
            .get(&slot.0)
            .is_some_and(|entry| entry.state == State::Closing);
        if closing {
            self.slots.remove(&slot.0);
        }
        closing
    }

    /// Adds a key to a connection and tells the matcher.
    pub(crate) fn authenticate(&mut self, connection: ConnectionId, key: &PublicKey) {
        know(self.connections.entry(connection.0).or_default(), key);
        if let Some(active) = &self.current {
            active.send(Message::Authenticate(v1::Authenticate {
                connection: connection.0,
                key: Bytes::copy_from_slice(key.as_bytes()),
            }));
        }
    }

    /// Forgets a connection, here and at the matcher.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection.0);
        if let Some(active) = &self.current {
            active.send(Message::Disconnect(v1::Disconnect {
                connection: connection.0,
            }));
        }
    }

    /// The live stream has come to a mark. Whether an answer waits for it.
    pub(crate) fn marked(&mut self, request: u64) -> bool {
        let waiting = self.marks.remove(&request);
        waiting.is_some_and(|waiting| waiting.send(()).is_ok())
    }

    /// A session begins. Returns what is to be resumed in it.
    pub(crate) fn attach(&mut self, active: &Arc<Active>) -> Resumption {
        self.current = Some(Arc::clone(active));
        let mut resumption = Resumption::default();
        for (slot, entry) in &mut self.slots {
            let State::Live { request } = &mut entry.state else {
                continue;
            };
            *request = active.next_request();
            let reader = || self.connections.get(&entry.connection).cloned();
            let connection = resumption.connections.entry(entry.connection);
            let (_, subscriptions) =
                connection.or_insert_with(|| (reader().unwrap_or_default(), Vec::new()));
            subscriptions.push(Resumed {
                slot: *slot,
                request: *request,
                filters: Arc::clone(&entry.filters),
            });
        }
        resumption
    }

    /// A session is over, and nothing more will be delivered from it. Returns the slots that are free
    /// by that.
    pub(crate) fn detach(&mut self) -> Vec<Slot> {
        self.current = None;
        self.marks.clear();
        let mut free = Vec::new();
        self.slots.retain(|slot, entry| {
            match entry.state {
                State::Asked { .. } | State::Over { .. } => entry.state = State::Lost,
                State::Closing => {
                    free.push(Slot(*slot));
                    return false;
                }
                State::Waiting | State::Live { .. } | State::Lost => {}
            }
            true
        });
        free
    }

    /// No matcher was found in time: live subscriptions are over. Returns them.
    pub(crate) fn give_up(&mut self) -> Vec<Slot> {
        let mut ended = Vec::new();
        for (slot, entry) in &mut self.slots {
            if matches!(entry.state, State::Live { .. }) {
                entry.state = State::Lost;
                ended.push(Slot(*slot));
            }
        }
        ended
    }

    /// The matcher refused to take these over. Returns those that were still open.
    pub(crate) fn resume_refused(&mut self, resumed: &HashMap<u32, u64>) -> Vec<Slot> {
        let open = resumed.iter().filter(|(slot, request)| {
            let request = **request;
            self.change(**slot, State::Live { request }, State::Over { request })
        });
        open.map(|(slot, _)| Slot(*slot)).collect()
    }

    fn change(&mut self, slot: u32, from: State, to: State) -> bool {
        match self.slots.get_mut(&slot) {
            Some(entry) if entry.state == from => {
                entry.state = to;
                true
            }
            _ => false,
        }
    }

    fn is_current(&self, active: &Arc<Active>) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| Arc::ptr_eq(current, active))
    }
}

fn know(reader: &mut Reader, key: &PublicKey) {
    if !reader.is(key) {
        reader.keys.push(*key);
    }
}

/// What the next matcher is to take over, by connection.
#[derive(Debug, Default)]
pub(crate) struct Resumption {
    connections: BTreeMap<u64, (Reader, Vec<Resumed>)>,
}

/// A subscription of it.
#[derive(Debug)]
struct Resumed {
    slot: u32,
    request: u64,
    filters: Arc<v1::Filters>,
}

impl Resumption {
    /// In the form that crosses. It takes its time, and no lock.
    pub(crate) fn parts(self) -> Vec<Vec<v1::ResumedConnection>> {
        let mut parts = Parts::default();
        for (connection, (reader, subscriptions)) in self.connections {
            let reader = v1::Reader::from(&reader);
            for resumed in subscriptions {
                let subscription = v1::ResumedSubscription {
                    slot: resumed.slot,
                    request: resumed.request,
                    filters: encode_filters(&resumed.filters),
                };
                parts.push(connection, &reader, subscription);
            }
        }
        parts.parts
    }
}

/// Parts of a resumption, none much above [`PART_BYTES`].
#[derive(Default)]
struct Parts {
    parts: Vec<Vec<v1::ResumedConnection>>,
    bytes: usize,
}

impl Parts {
    fn push(&mut self, connection: u64, reader: &v1::Reader, added: v1::ResumedSubscription) {
        let bytes = added.filters.len() + SUBSCRIPTION_BYTES;
        if self.parts.is_empty() || self.bytes + bytes > PART_BYTES {
            self.parts.push(Vec::new());
            self.bytes = 0;
        }
        self.bytes += bytes;
        let Some(part) = self.parts.last_mut() else {
            return;
        };
        match part.last_mut().filter(|last| last.connection == connection) {
            Some(last) => last.subscriptions.push(added),
            None => {
                let keys = reader.keys.as_ref().map_or(0, |keys| keys.joined.len());
                self.bytes += keys;
                part.push(v1::ResumedConnection {
                    connection,
                    reader: Some(reader.clone()),
                    subscriptions: vec![added],
                });
            }
        }
    }
}
