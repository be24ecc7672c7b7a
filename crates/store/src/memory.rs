//! The memory store: every rule in its plainest form, nothing durable, no index.
//!
//! It is the oracle that the other backends are tested against, so it looks at every event for
//! every filter and asks [`Filter::matches`](heliograph_protocol::Filter::matches).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_policy::RelayUrls;
use heliograph_protocol::{Address, Event, EventId, Outcome, Timestamp};
use parking_lot::Mutex;

use crate::{
    End, EventStore, GuardSet, Page, Scan, ScanCost, ScanRequest, StoreError,
    rules::{self, Effect},
};

/// An event's place in the order of every answer (R01-53).
type Position = (Reverse<Timestamp>, EventId);

/// An [`EventStore`] in memory, for tests and as an oracle. Cloning shares the events.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    relay_urls: RelayUrls,
    events: BTreeMap<Position, Arc<Event>>,
    positions: HashMap<EventId, Position>,
    /// Per address the best position of any version seen, whether it is still stored or not.
    seats: HashMap<Address, Position>,
    guards: GuardSet,
}

/// A running read of a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryScan {
    state: Arc<Mutex<State>>,
    request: ScanRequest,
    after: Option<Position>,
    cost: ScanCost,
    spent: Duration,
}

impl MemoryStore {
    /// An empty store that follows requests to vanish from these URLs.
    #[must_use]
    pub fn new(relay_urls: RelayUrls) -> Self {
        let state = State {
            relay_urls,
            events: BTreeMap::new(),
            positions: HashMap::new(),
            seats: HashMap::new(),
            guards: GuardSet::default(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Drops what has expired by `now` and returns how many events that were. The seats stay, so
    /// that no older version of an address comes back (R40-3).
    #[expect(
        clippy::must_use_candidate,
        reason = "the number is for tests and metrics only"
    )]
    pub fn purge_expired(&self, now: Timestamp) -> usize {
        self.state
            .lock()
            .remove_where(|event| event.is_expired(now))
    }

    /// How many events are stored, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().events.len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    /// Merges one event, by the four steps of [`rules`].
    fn merge(&mut self, event: &Arc<Event>) -> Outcome {
        debug_assert!(
            !event.kind().is_ephemeral(),
            "ephemeral events are never stored (R01-46)"
        );
        if self.positions.contains_key(event.id()) {
            return Outcome::Duplicate;
        }
        let guarded = self.guarded(event);
        let better = !rules::takes_seat(guarded) || self.take_seat(event);
        if let Some(outcome) = guarded {
            return outcome;
        }
        if !better {
            return Outcome::Superseded;
        }
        self.positions.insert(*event.id(), event.position());
        self.events.insert(event.position(), Arc::clone(event));
        let effect = rules::effect(event, &self.relay_urls);
        self.guards.add(event, &effect);
        self.remove_targets(&effect);
        Outcome::Stored
    }

    fn guarded(&self, event: &Event) -> Option<Outcome> {
        match rules::guarded(event, &self.guards, &self.relay_urls) {
            Ok(outcome) => outcome,
        }
    }

    /// Seats the event if it is better than the version that holds the seat of its address, which
    /// then is removed. Whether it is; an event without an address always is.
    fn take_seat(&mut self, event: &Event) -> bool {
        let Some(address) = event.address() else {
            return true;
        };
        let seat = self.seats.get(&address).copied();
        if seat.is_some_and(|seat| seat <= event.position()) {
            return false;
        }
        if let Some((_time, id)) = seat {
            self.remove(&id);
        }
        self.seats.insert(address, event.position());
        true
    }

    /// Removes the stored events that are guarded since this effect's guards were added.
    fn remove_targets(&mut self, effect: &Effect) {
        let named: Vec<EventId> = match effect {
            Effect::None => return,
            Effect::Delete(targets) => {
                let seats = targets
                    .addresses
                    .iter()
                    .filter_map(|address| self.seats.get(address));
                targets
                    .ids
                    .iter()
                    .copied()
                    .chain(seats.map(|(_time, id)| *id))
                    .collect()
            }
            Effect::Vanish => self.positions.keys().copied().collect(),
        };
        for id in named {
            let event = self
                .positions
                .get(&id)
                .and_then(|position| self.events.get(position));
            if event.is_some_and(|event| self.guarded(event).is_some()) {
                self.remove(&id);
            }
        }
    }

    fn remove_where(&mut self, condition: impl Fn(&Event) -> bool) -> usize {
        let dead = self.events.values().filter(|event| condition(event));
        let dead: Vec<EventId> = dead.map(|event| *event.id()).collect();
        for id in &dead {
            self.remove(id);
        }
        dead.len()
    }

    fn remove(&mut self, id: &EventId) {
        if let Some(position) = self.positions.remove(id) {
            self.events.remove(&position);
        }
    }
}

impl EventStore for MemoryStore {
    type Scan = MemoryScan;

    async fn write(&self, events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
        let mut state = self.state.lock();
        Ok(events.iter().map(|event| state.merge(event)).collect())
    }

    fn scan(&self, request: ScanRequest) -> MemoryScan {
        MemoryScan {
            state: Arc::clone(&self.state),
            after: request.after.map(|(time, id)| (Reverse(time), id)),
            request,
            cost: ScanCost::default(),
            spent: Duration::ZERO,
        }
    }

    async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
        Ok(self.state.lock().positions.contains_key(id))
    }
}

impl Scan for MemoryScan {
    async fn next(&mut self, rows: usize) -> Result<Page, StoreError> {
        let began = Instant::now();
        let state = Arc::clone(&self.state);
        let page = self.read(&state.lock(), rows, began);
        self.spent += began.elapsed();
        Ok(page)
    }
}

impl MemoryScan {
    fn read(&mut self, state: &State, rows: usize, began: Instant) -> Page {
        let mut events = Vec::new();
        let mut end = None;
        let from = self.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = state.events.range((from, Bound::Unbounded));
        while events.len() < rows {
            let Some((position, event)) = rest.next() else {
                end = Some(End::Complete);
                break;
            };
            if self.is_spent(began) {
                end = Some(End::Budget);
                break;
            }
            self.cost.rows += 1;
            self.after = Some(*position);
            if self.request.filter.matches(event) && !event.is_expired(self.request.now) {
                events.push(Arc::clone(event));
            }
        }
        Page {
            events,
            fresh: Vec::new(),
            end,
            cost: self.cost,
        }
    }

    fn is_spent(&self, began: Instant) -> bool {
        let budget = self.request.budget;
        self.cost.rows >= budget.rows || self.spent + began.elapsed() > budget.time
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll};

    use heliograph_protocol::Filter;

    use super::*;
    use crate::conformance::{collect, event, relay_urls};

    /// The memory store never waits, so one poll is the whole future.
    fn ready<F: Future>(future: F) -> F::Output {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match pin!(future).poll(&mut context) {
            Poll::Ready(output) => output,
            Poll::Pending => unreachable!("the memory store never waits"),
        }
    }

    fn write(store: &MemoryStore, event: &Arc<Event>) -> Outcome {
        ready(store.write(vec![Arc::clone(event)])).expect("memory doesn't fail")[0]
    }

    fn expiring(kind: u16, at: u64, end: &str) -> Arc<Event> {
        event(1, at, kind, &[&["expiration", end]], "")
    }

    #[test]
    fn purging_drops_what_has_expired_and_nothing_else() {
        let store = MemoryStore::new(relay_urls());
        for end in ["49", "50", "51"] {
            assert_eq!(write(&store, &expiring(1, 10, end)), Outcome::Stored);
        }
        assert_eq!(store.purge_expired(Timestamp::from_secs(50)), 2);
        assert_eq!(store.purge_expired(Timestamp::from_secs(50)), 0);
        assert_eq!(store.len(), 1);
        let left = ready(collect(
            &store,
            &Filter::default(),
            Timestamp::from_secs(50),
        ));
        assert_eq!(left, [expiring(1, 10, "51")]);
    }

    #[test]
    fn a_purged_version_keeps_older_ones_out() {
        let store = MemoryStore::new(relay_urls());
        let (old, expired, newer) = (
            event(1, 10, 0, &[], ""),
            expiring(0, 11, "50"),
            event(1, 12, 0, &[], ""),
        );
        assert_eq!(write(&store, &expired), Outcome::Stored);
        assert_eq!(store.purge_expired(Timestamp::from_secs(50)), 1);
        assert_eq!(write(&store, &old), Outcome::Superseded);
        assert_eq!(write(&store, &expired), Outcome::Superseded);
        assert!(store.is_empty());
        assert_eq!(write(&store, &newer), Outcome::Stored);
    }
}
