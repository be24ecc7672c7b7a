//! What clients saw, written down as it happened, and a checker that decides whether the relay kept
//! its promises (docs/architecture.md).
//!
//! A [`History`] is one log for all clients of a test. A request stands in it *before* its bytes are
//! sent, an answer *after* it was read. So whenever an OK stands before a REQ, the relay had
//! acknowledged before it was asked, and the order of lines is all that [`check`] needs to know.
//!
//! [`Recorded`] is a client that writes the log and outlives its gateway; [`read_back`] asks every
//! gateway at the end for everything that was ever sent; [`check`] is a pure function of the log.

mod checker;
mod entry;
mod file;
mod read_back;
mod recorder;

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use heliograph_protocol::{Event, EventId, Timestamp};

pub use checker::{Expect, Rule, Summary, Violation, Violations, check, check_entries};
pub use entry::{Entry, What};
pub use read_back::read_back;
pub use recorder::{End, Recorded, Stored};

/// A log that any number of clients append to; clones share it.
#[derive(Debug, Clone)]
pub struct History(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The wall clock when the log began, in whole seconds.
    started: Timestamp,
    zero: Instant,
    log: Mutex<Log>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Log {
    entries: Vec<Entry>,
    connections: u32,
    /// Every event once: a delivery of what is known shares its bytes.
    events: HashMap<EventId, Event>,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// An empty log that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self::starting(Timestamp::now(), Vec::new())
    }

    /// A log that was written elsewhere, `at` counting from `started`; what is appended with
    /// [`History::push`] gets times from now on.
    #[must_use]
    pub fn starting(started: Timestamp, entries: Vec<Entry>) -> Self {
        let mut log = Log::default();
        entries.into_iter().for_each(|entry| log.append(entry));
        Self(Arc::new(Shared {
            started,
            zero: Instant::now(),
            log: Mutex::new(log),
            grown: Condvar::new(),
        }))
    }

    /// The wall clock when the log began.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.0.started
    }

    /// The time since the log began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.zero.elapsed()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether nothing happened so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// The entries from number `from` on.
    #[must_use]
    pub fn entries_from(&self, from: usize) -> Vec<Entry> {
        self.lock().entries.get(from..).unwrap_or_default().to_vec()
    }

    /// How many gateways it speaks of: the largest number of one, and one more; 0 if nothing happened.
    #[must_use]
    pub fn gateways(&self) -> usize {
        let log = self.lock();
        let gateways = log.entries.iter().map(|entry| entry.gateway + 1);
        gateways.max().unwrap_or_default()
    }

    /// Appends what happened now.
    pub fn push(&self, connection: u32, gateway: usize, intended: Option<Duration>, what: What) {
        let mut log = self.lock();
        // Under the lock, so that times never fall from line to line.
        let at = self.elapsed();
        log.append(Entry {
            at,
            intended,
            connection,
            gateway,
            what,
        });
        drop(log);
        self.0.grown.notify_all();
    }

    /// Appends an entry with a time of its own, for clients whose clock isn't this machine's.
    pub fn append(&self, entry: Entry) {
        self.lock().append(entry);
        self.0.grown.notify_all();
    }

    /// Notes that something was done to the relay at this moment, for instance `kill ingest 0`.
    pub fn mark(&self, name: &str) {
        self.note(What::Mark {
            name: Arc::from(name),
        });
    }

    /// Notes that a fault begins.
    pub fn begin(&self, name: &str) {
        self.note(What::Begin {
            name: Arc::from(name),
        });
    }

    /// Notes that the fault of this name is over.
    pub fn end(&self, name: &str) {
        self.note(What::End {
            name: Arc::from(name),
        });
    }

    /// Notes that this gateway can't answer from now on, because it is stopped (SIGSTOP) or cut off
    /// from its clients: deadlines of its answers stand still until [`History::thaw`].
    pub fn freeze(&self, gateway: usize) {
        self.push(0, gateway, None, What::Frozen);
    }

    /// Notes that a frozen gateway goes on.
    pub fn thaw(&self, gateway: usize) {
        self.push(0, gateway, None, What::Thawed);
    }

    fn note(&self, what: What) {
        self.push(0, 0, None, what);
    }

    /// Looks at every entry from number `from` on, also at those that come meanwhile, until `look`
    /// returns something; `None` if it hasn't by the deadline.
    pub fn wait<T>(
        &self,
        from: usize,
        deadline: Instant,
        mut look: impl FnMut(&Entry) -> Option<T>,
    ) -> Option<T> {
        let mut next = from;
        let mut log = self.lock();
        loop {
            while let Some(entry) = log.entries.get(next) {
                next += 1;
                if let Some(found) = look(entry) {
                    return Some(found);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            log = self
                .0
                .grown
                .wait_timeout(log, left)
                .map_or_else(|error| error.into_inner().0, |(log, _)| log);
        }
    }

    /// A number for a new connection, from 1 on; 0 is nobody's.
    pub(crate) fn next_connection(&self) -> u32 {
        let mut log = self.lock();
        log.connections += 1;
        log.connections
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn append(&mut self, mut entry: Entry) {
        if let What::Publish { event } | What::Event { event, .. } = &mut entry.what {
            let known = self.events.entry(*event.id());
            let known = known.or_insert_with(|| event.clone());
            if known == event {
                *event = known.clone();
            }
        }
        self.connections = self.connections.max(entry.connection);
        self.entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;

    #[test]
    fn times_never_fall_from_line_to_line() {
        let history = History::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..200).for_each(|_| history.mark("x")));
            }
        });
        let entries = history.entries();
        assert_eq!(entries.len(), 800);
        assert!(entries.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }

    #[test]
    fn the_largest_gateway_says_how_many_there_are() {
        let history = History::new();
        assert_eq!(history.gateways(), 0);
        history.mark("one");
        assert_eq!(history.gateways(), 1);
        history.push(1, 2, None, What::Connected);
        history.push(2, 1, None, What::Connected);
        assert_eq!(history.gateways(), 3);
    }

    #[test]
    fn a_waiter_sees_what_was_there_and_what_comes() {
        let history = History::new();
        history.mark("one");
        let name = |entry: &Entry| match &entry.what {
            What::Mark { name } => Some(name.to_string()),
            _ => None,
        };
        let deadline = Instant::now() + crate::PATIENCE;
        assert_eq!(history.wait(0, deadline, name).as_deref(), Some("one"));
        let second = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| history.wait(1, deadline, name));
            history.mark("two");
            waiting.join().unwrap()
        });
        assert_eq!(second.as_deref(), Some("two"));
        assert_eq!(history.wait(2, Instant::now(), name), None);
    }

    #[test]
    fn a_delivery_shares_the_bytes_of_what_was_published() {
        let history = History::new();
        let event = Key::nth(0).note(1, "x");
        let copy = Event::parse(event.as_str()).unwrap();
        history.push(1, 0, None, What::Publish { event });
        let sub = Arc::from("s");
        history.push(2, 0, None, What::Event { sub, event: copy });
        let bytes: Vec<_> = history
            .entries()
            .iter()
            .map(|entry| entry.what.event().unwrap().json().as_ptr())
            .collect();
        assert_eq!(bytes[0], bytes[1]);
    }
}
