//! Everything that a live event needs, and its way to those who want it.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use heliograph_bus::{ConnectionId, Open, Place, Slot};
use heliograph_policy::{Reader, Visibility};
use heliograph_protocol::{Event, Filter};
use heliograph_subscriptions::{Index, Matches};

use crate::{lately::Lately, replay::Replay};

/// Dead entries purged from the index after each event at most, so that closing many
/// subscriptions at once delays no delivery. Opening one purges besides as much as it will leave
/// behind, so that what is dead never outgrows what was alive, however few events come.
const PURGE_STEP: usize = 64;

/// Under one lock: while it is held no event is under way.
pub(crate) struct Live {
    pub(crate) index: Index,
    found: Matches,
    /// Whose each open slot is, and by which opening.
    connections: HashMap<Slot, (ConnectionId, Opening)>,
    /// Slots that are filed already and get what they missed first.
    muted: HashSet<Slot>,
    openings: u64,
    readers: HashMap<ConnectionId, Reader>,
    pub(crate) ephemeral: Lately,
    pub(crate) replay: Replay,
}

/// Tells the openings of one slot apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening(u64);

impl Live {
    pub(crate) fn new(replay_bytes_max: usize) -> Self {
        Self {
            index: Index::new(),
            found: Matches::default(),
            connections: HashMap::new(),
            muted: HashSet::new(),
            openings: 0,
            readers: HashMap::new(),
            ephemeral: Lately::default(),
            replay: Replay::new(replay_bytes_max),
        }
    }

    /// Takes a slot for a connection. Whether it was free, and the mark of this opening.
    pub(crate) fn take(&mut self, slot: Slot, connection: ConnectionId) -> (bool, Opening) {
        self.openings += 1;
        let opening = Opening(self.openings);
        let before = self.connections.insert(slot, (connection, opening));
        self.muted.remove(&slot);
        (before.is_none(), opening)
    }

    /// Whether a slot is still open, and not by a later opening.
    pub(crate) fn is_open(&self, slot: Slot, opening: Opening) -> bool {
        self.connections
            .get(&slot)
            .is_some_and(|(_, current)| *current == opening)
    }

    /// From here on live events are found for the slot.
    pub(crate) fn listen(&mut self, slot: Slot, filters: &[Filter]) {
        let values: usize = filters.iter().map(Filter::value_count).sum();
        self.index.purge(PURGE_STEP + 2 * values);
        self.index.insert(number(slot), filters);
    }

    /// Finds nothing for an open slot until [`unmute`](Self::unmute), although it listens.
    pub(crate) fn mute(&mut self, slot: Slot) {
        self.muted.insert(slot);
    }

    pub(crate) fn unmute(&mut self, slot: Slot) {
        self.muted.remove(&slot);
    }

    /// Listens, unless the slot was closed since.
    pub(crate) fn listen_if_open(&mut self, slot: Slot, opening: Opening, filters: &[Filter]) {
        if self.is_open(slot, opening) {
            self.listen(slot, filters);
        }
    }

    /// Opens a slot and listens.
    pub(crate) fn open(&mut self, open: &Open) -> bool {
        let (free, _) = self.take(open.slot, open.connection);
        self.know(open.connection, &open.reader);
        self.listen(open.slot, &open.filters);
        free
    }

    /// No more live events are found for the slot.
    pub(crate) fn deafen(&mut self, slot: Slot) {
        self.index.remove(number(slot));
        self.muted.remove(&slot);
    }

    /// Gives a slot back. Whether it was open.
    pub(crate) fn close(&mut self, slot: Slot) -> bool {
        self.deafen(slot);
        self.connections.remove(&slot).is_some()
    }

    /// Adds the keys that count for a connection's live events.
    pub(crate) fn know(&mut self, connection: ConnectionId, keys: &Reader) {
        if keys.is_anonymous() {
            return;
        }
        let reader = self.readers.entry(connection).or_default();
        for key in &keys.keys {
            if !reader.is(key) {
                reader.keys.push(*key);
            }
        }
    }

    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.readers.remove(&connection);
    }

    /// The open slots that want an event and may see it.
    pub(crate) fn wanted(&mut self, event: &Event, visibility: &Visibility) -> Vec<Slot> {
        self.index.matches(event, &mut self.found);
        self.index.purge(PURGE_STEP);
        let mut slots: Vec<Slot> = self.found.slots.iter().map(|slot| Slot(slot.0)).collect();
        if !self.muted.is_empty() {
            slots.retain(|slot| !self.muted.contains(slot));
        }
        self.keep_allowed(&mut slots, event, visibility);
        slots
    }

    /// Leaves out those who may not see an event.
    pub(crate) fn keep_allowed(
        &self,
        slots: &mut Vec<Slot>,
        event: &Event,
        visibility: &Visibility,
    ) {
        if visibility.is_public(event) {
            return;
        }
        let nobody = Reader::default();
        slots.retain(|slot| {
            let connection = self.connections.get(slot);
            let reader = connection.and_then(|(connection, _)| self.readers.get(connection));
            reader.unwrap_or(&nobody).may_see(event, visibility)
        });
    }

    /// Notes a delivered event for gateways that resume.
    pub(crate) fn note(&mut self, place: Place, event: &Arc<Event>) {
        self.replay.push(place, event);
    }
}

fn number(slot: Slot) -> heliograph_subscriptions::Slot {
    heliograph_subscriptions::Slot(slot.0)
}
