//! What clients did and saw, in one order: everything happens on one thread.

use std::{collections::BTreeMap, sync::Arc};

use heliograph_protocol::{Event, EventId, Filter};
use parking_lot::Mutex;

/// The place of something in the order of a run.
pub type Step = u64;

/// What one client sent once.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The event.
    pub event: Arc<Event>,
    /// Whether the answers of the gateway were OK `true`, with their texts; one is right.
    pub answers: Vec<(Step, bool, String)>,
    /// Whether the connection ended, so that no answer could come.
    pub lost: bool,
}

/// What came for a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// `EVENT`
    Event(EventId),
    /// `EOSE`
    Eose,
    /// `CLOSED`
    Closed(String),
}

/// One REQ and what came of it.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Names it in messages for people.
    pub name: String,
    /// What was asked for.
    pub filter: Filter,
    /// The same in JSON.
    pub text: String,
    /// When.
    pub asked: Step,
    /// The commits that there were then.
    pub commits: usize,
    /// The true second in which it was asked.
    pub since: u64,
    /// The earliest time of the gateway, in seconds, between question and EOSE.
    pub now: u64,
    /// What came, in order, each with its step.
    pub seen: Vec<(Step, Seen)>,
    /// The commits that there were at EOSE.
    pub commits_at_eose: Option<usize>,
    /// Whether the client or the network ended it.
    pub over: bool,
}

/// All of it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct History {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    steps: Step,
    sent: BTreeMap<EventId, Arc<Event>>,
    publications: Vec<Publication>,
    subscriptions: Vec<Subscription>,
}

impl History {
    fn with<T>(&self, change: impl FnOnce(&mut Shared, Step) -> T) -> T {
        let mut shared = self.shared.lock();
        shared.steps += 1;
        let step = shared.steps;
        change(&mut shared, step)
    }

    /// An event is sent; its number.
    pub fn publishes(&self, event: &Arc<Event>) -> usize {
        self.with(|shared, _| {
            shared.sent.insert(*event.id(), Arc::clone(event));
            shared.publications.push(Publication {
                event: Arc::clone(event),
                answers: Vec::new(),
                lost: false,
            });
            shared.publications.len() - 1
        })
    }

    /// The answer to an event.
    pub fn answered(&self, publication: usize, accepted: bool, text: &str) {
        self.with(|shared, step| {
            let publication = &mut shared.publications[publication];
            publication.answers.push((step, accepted, text.to_owned()));
        });
    }

    /// A subscription is asked for; its number.
    pub fn asks(&self, subscription: Subscription) -> usize {
        self.with(|shared, step| {
            shared.subscriptions.push(Subscription {
                asked: step,
                ..subscription
            });
            shared.subscriptions.len() - 1
        })
    }

    /// Something came for a subscription; `commits` is how many there are, `now` says the earliest
    /// time that the gateway's clock has shown since a second.
    pub fn saw(
        &self,
        subscription: usize,
        seen: Seen,
        commits: usize,
        now: impl FnOnce(u64) -> u64,
    ) {
        self.with(|shared, step| {
            let subscription = &mut shared.subscriptions[subscription];
            if subscription.commits_at_eose.is_none() {
                subscription.now = now(subscription.since);
            }
            if seen == Seen::Eose {
                subscription.commits_at_eose = Some(commits);
            }
            subscription.seen.push((step, seen));
        });
    }

    /// A subscription is closed by its client, or with its connection.
    pub fn over(&self, subscription: usize) {
        self.with(|shared, _| shared.subscriptions[subscription].over = true);
    }

    /// No answer can come any more.
    pub fn lost(&self, publication: usize) {
        self.with(|shared, _| shared.publications[publication].lost = true);
    }

    /// The number under which an event was sent last.
    #[must_use]
    pub fn last_of(&self, id: &EventId) -> Option<usize> {
        let shared = self.shared.lock();
        let of = |publication: &Publication| publication.event.id() == id;
        shared.publications.iter().rposition(of)
    }

    /// Whether a subscription has ended its stored part, and how.
    #[must_use]
    pub fn last_seen(&self, subscription: usize) -> Option<Seen> {
        let shared = self.shared.lock();
        let seen = &shared.subscriptions[subscription].seen;
        let end = seen.iter().map(|(_, seen)| seen);
        end.rev()
            .find(|seen| !matches!(seen, Seen::Event(_)))
            .cloned()
    }

    /// Every event that was ever sent.
    #[must_use]
    pub fn sent(&self) -> BTreeMap<EventId, Arc<Event>> {
        self.shared.lock().sent.clone()
    }

    /// Everything that was published.
    #[must_use]
    pub fn publications(&self) -> Vec<Publication> {
        self.shared.lock().publications.clone()
    }

    /// Everything that was asked for.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Subscription> {
        self.shared.lock().subscriptions.clone()
    }
}

impl Subscription {
    /// Whether it is open at the end of the run.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.over && self.closed().is_none()
    }

    /// Why the relay closed it, if it did.
    #[must_use]
    pub fn closed(&self) -> Option<&str> {
        let closed = self.seen.iter().find_map(|(_, seen)| match seen {
            Seen::Closed(why) => Some(why),
            _ => None,
        });
        closed.map(String::as_str)
    }

    /// The events that came, with their steps, and whether they came before EOSE.
    pub fn events(&self) -> impl Iterator<Item = (Step, EventId, bool)> + '_ {
        let mut stored = true;
        self.seen.iter().filter_map(move |(step, seen)| match seen {
            Seen::Event(id) => Some((*step, *id, stored)),
            Seen::Eose | Seen::Closed(_) => {
                stored = false;
                None
            }
        })
    }
}
