//! One gateway at this matcher: which slots and connections it has, and under which numbers the
//! matcher knows them.
//!
//! The matcher is never called while the table is locked: it hands out deliveries under a lock of
//! its own, and those come here.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hashbrown::HashMap;
use heliograph_bus::{ConnectionId, Requests, Slot};
use heliograph_policy::Reader;
use heliograph_proto::v1::{self, matcher_message::Message};
use heliograph_protocol::{PublicKey, Refusal};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use super::blocks::{Blocks, block_of, in_block};
use crate::queue::{Full, Queue};

/// Slots closed in one go when a session ends; in between others get their turn.
const CLOSE_STEP: usize = 64;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) gateway: String,
    pub(crate) queue: Arc<Queue<v1::MatcherMessage>>,
    cut_off: Counter,
    ended: watch::Sender<bool>,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    open: bool,
    slots: HashMap<u32, Entry>,
    /// The newest request that was taken or refused for each slot: older ones come too late.
    seen: HashMap<u32, u64>,
    connections: HashMap<u64, Connection>,
    blocks: HashMap<u32, Block>,
}

/// One slot that the matcher knows.
#[derive(Debug)]
struct Entry {
    request: u64,
    /// Being opened: it can be closed only after that.
    opening: bool,
    closing: bool,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    told: Vec<PublicKey>,
}

/// A block of the matcher's slots.
#[derive(Debug, Clone, Copy)]
struct Block {
    index: u32,
    open: u32,
}

/// Why a slot isn't opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// The session is over, or the request is older than one for the same slot.
    Late,
    /// All slots of the matcher are in use.
    Exhausted,
}

/// Where the matcher's numbers come from.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) blocks: Blocks,
    connections: AtomicU64,
}

/// Slots that are being opened. Dropped when the matcher has taken them, or won't any more: what was
/// closed meanwhile is closed then.
pub(crate) struct Opening {
    session: Arc<Session>,
    requests: Arc<dyn Requests>,
    slots: Vec<u32>,
    /// Whose they are: the session's number and the matcher's.
    connections: Vec<(u64, ConnectionId)>,
}

impl Session {
    pub(crate) fn new(
        id: u64,
        gateway: String,
        queue: Queue<v1::MatcherMessage>,
        cut_off: Counter,
    ) -> Self {
        Self {
            id,
            gateway,
            queue: Arc::new(queue),
            cut_off,
            ended: watch::Sender::new(false),
            table: Mutex::new(Table {
                open: true,
                slots: HashMap::new(),
                seen: HashMap::new(),
                connections: HashMap::new(),
                blocks: HashMap::new(),
            }),
        }
    }

    /// Queues a message. A gateway that is too slow for it is cut off.
    pub(crate) fn send(&self, message: Message, bytes: usize) {
        self.sent(self.queue.push(wrap(message), bytes));
    }

    fn sent(&self, sent: Result<(), Full>) {
        if let Err(Full) = sent {
            tracing::warn!(gateway = self.gateway, "gateway too slow, session cut off");
            self.cut_off.inc();
            // What is queued may still go: it is a part without a gap, and need not be sent again.
            self.ended.send_replace(true);
        }
    }

    /// Says how far the stream has come; replaces what it said last if nothing came in between.
    pub(crate) fn position(&self, number: u64) {
        let message = wrap(Message::Position(v1::Position { number }));
        let like = |last: &v1::MatcherMessage| matches!(last.message, Some(Message::Position(_)));
        self.sent(self.queue.push_or_replace(message, 0, like));
    }

    /// Ends it, and drops what is queued; its task closes what is open.
    pub(crate) fn end(&self) {
        self.queue.cut();
        self.ended.send_replace(true);
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits for the end.
    pub(crate) async fn over(&self) {
        // The sender lives in `self`.
        drop(self.ended.subscribe().wait_for(|ended| *ended).await);
    }

    /// Takes a slot for a request.
    pub(crate) fn begin(
        self: &Arc<Self>,
        numbers: &Numbers,
        slot: u32,
        request: u64,
        opening: &mut Opening,
    ) -> Result<Slot, NotOpened> {
        let mut table = self.table.lock();
        let late = table.seen.get(&slot).is_some_and(|seen| request <= *seen);
        if !table.open || late || table.slots.contains_key(&slot) {
            return Err(NotOpened::Late);
        }
        let own = block_of(slot);
        let index = match table.blocks.get(&own) {
            Some(block) => block.index,
            None => numbers.blocks.take(self, own).ok_or(NotOpened::Exhausted)?,
        };
        let block = table.blocks.entry(own).or_insert(Block { index, open: 0 });
        block.open += 1;
        table.seen.insert(slot, request);
        let entry = Entry {
            request,
            opening: true,
            closing: false,
        };
        table.slots.insert(slot, entry);
        opening.slots.push(slot);
        Ok(Slot(in_block(index, slot)))
    }

    /// The matcher's number of a connection that a slot is opened for.
    pub(crate) fn connection(
        &self,
        numbers: &Numbers,
        connection: u64,
        opening: &mut Opening,
    ) -> ConnectionId {
        let id = self.table.lock().connection(numbers, connection).id;
        opening.connections.push((connection, id));
        id
    }

    /// Tells the matcher the keys of a connection that it wasn't told yet.
    pub(crate) fn authenticate(
        &self,
        numbers: &Numbers,
        requests: &dyn Requests,
        connection: u64,
        reader: &Reader,
    ) {
        if reader.is_anonymous() {
            return;
        }
        let mut table = self.table.lock();
        let known = table.connection(numbers, connection);
        let id = known.id;
        let new: Vec<PublicKey> = reader
            .keys
            .iter()
            .filter(|key| !known.told.contains(key))
            .copied()
            .collect();
        drop(table);
        for key in &new {
            requests.authenticate(id, *key);
        }
        // Noted after the fact: who asks meanwhile tells it too, which changes nothing.
        let mut table = self.table.lock();
        if let Some(known) = table.connections.get_mut(&connection) {
            known.told.extend(new);
        }
    }

    /// Forgets a connection.
    pub(crate) fn disconnect(&self, requests: &dyn Requests, connection: u64) {
        let known = self.table.lock().connections.remove(&connection);
        if let Some(known) = known {
            requests.disconnect(known.id);
        }
    }

    /// Closes a slot, and keeps requests for it from being taken that come later than this.
    pub(crate) fn close(&self, requests: &dyn Requests, slot: u32, request: u64) {
        let mut table = self.table.lock();
        let seen = table.seen.entry(slot).or_default();
        *seen = request.max(*seen);
        let known = match table.slots.get_mut(&slot) {
            Some(entry) if entry.request > request || entry.closing => return,
            Some(entry) => {
                entry.closing = true;
                if entry.opening {
                    return;
                }
                table.global(slot)
            }
            None => None,
        };
        drop(table);
        match known {
            Some(known) => requests.close(known),
            None => self.send(Message::Released(v1::Released { slot }), 0),
        }
    }

    /// The matcher is done with a slot.
    pub(crate) fn released(&self, numbers: &Numbers, slot: u32) {
        let mut table = self.table.lock();
        if table.slots.remove(&slot).is_none() {
            return;
        }
        if let Some(block) = table.blocks.get_mut(&block_of(slot)) {
            block.open -= 1;
        }
        table.free_blocks(numbers);
        drop(table);
        self.send(Message::Released(v1::Released { slot }), 0);
    }

    /// The matcher can't go on with a slot.
    pub(crate) fn lost(&self, slot: u32, refusal: &Refusal) {
        let refusal = Some(refusal.into());
        self.send(Message::Ended(v1::Ended { slot, refusal }), 0);
    }

    /// The matcher has taken these, as far as it will: what is to be closed and forgotten now.
    fn opened(&self, opening: &Opening) -> (Vec<Slot>, Vec<ConnectionId>) {
        let mut table = self.table.lock();
        let mut closing = Vec::new();
        for slot in &opening.slots {
            if let Some(entry) = table.slots.get_mut(slot) {
                entry.opening = false;
                if entry.closing {
                    closing.extend(table.global(*slot));
                }
            }
        }
        let kept = |connection: &u64, id: &ConnectionId| {
            let known = table.connections.get(connection);
            table.open && known.is_some_and(|known| known.id == *id)
        };
        let gone = opening.connections.iter();
        let gone = gone.filter(|(connection, id)| !kept(connection, id));
        let gone = gone.map(|(_, id)| *id).collect();
        (closing, gone)
    }

    /// Closes everything at the matcher, after the end.
    pub(crate) async fn clear(&self, numbers: &Numbers, requests: &dyn Requests) {
        let (slots, connections) = self.table.lock().clear(numbers);
        for step in slots.chunks(CLOSE_STEP) {
            step.iter().for_each(|slot| requests.close(*slot));
            tokio::task::yield_now().await;
        }
        for step in connections.chunks(CLOSE_STEP) {
            step.iter().for_each(|id| requests.disconnect(*id));
            tokio::task::yield_now().await;
        }
    }
}

impl Table {
    fn connection(&mut self, numbers: &Numbers, connection: u64) -> &mut Connection {
        self.connections
            .entry(connection)
            .or_insert_with(|| Connection {
                id: ConnectionId(numbers.connections.fetch_add(1, Ordering::Relaxed)),
                told: Vec::new(),
            })
    }

    /// The matcher's number of a slot.
    fn global(&self, slot: u32) -> Option<Slot> {
        let block = self.blocks.get(&block_of(slot))?;
        Some(Slot(in_block(block.index, slot)))
    }

    /// After the end: slots to be closed now, and all connections. Slots that are being opened are
    /// closed when that is done.
    fn clear(&mut self, numbers: &Numbers) -> (Vec<Slot>, Vec<ConnectionId>) {
        self.open = false;
        let mut closing = Vec::new();
        for (slot, entry) in &mut self.slots {
            if !entry.closing && !entry.opening {
                closing.push(*slot);
            }
            entry.closing = true;
        }
        let slots = closing
            .iter()
            .filter_map(|slot| self.global(*slot))
            .collect();
        let connections = self.connections.drain().map(|(_, known)| known.id);
        let connections = connections.collect();
        self.seen = HashMap::new();
        self.free_blocks(numbers);
        (slots, connections)
    }

    /// After the end, gives back the blocks of which nothing is open.
    fn free_blocks(&mut self, numbers: &Numbers) {
        if !self.open {
            self.blocks.retain(|_, block| {
                if block.open == 0 {
                    numbers.blocks.free(block.index);
                }
                block.open > 0
            });
        }
    }
}

impl Opening {
    pub(crate) fn new(session: &Arc<Session>, requests: &Arc<dyn Requests>) -> Self {
        Self {
            session: Arc::clone(session),
            requests: Arc::clone(requests),
            slots: Vec::new(),
            connections: Vec::new(),
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let (slots, connections) = self.session.opened(self);
        slots.into_iter().for_each(|slot| self.requests.close(slot));
        // Their keys came with the question, perhaps after the connection was forgotten.
        connections
            .into_iter()
            .for_each(|connection| self.requests.disconnect(connection));
    }
}

fn wrap(message: Message) -> v1::MatcherMessage {
    v1::MatcherMessage {
        message: Some(message),
    }
}
