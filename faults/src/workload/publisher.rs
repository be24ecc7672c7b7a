//! Publishes by a schedule and settles what is unsure.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_protocol::{Event, EventId};
use heliograph_testkit::{history::Recorded, reply::Reply};

use super::{Phase, Shared, events::Events};

/// Before something that got `error:` is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// An answer that hasn't come by then isn't waited for any more.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long what is unsure is tried again once no new events are sent.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// The longest wait for an answer at a time: how fast the end is noticed.
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Publisher {
    shared: Arc<Shared>,
    gateway: usize,
    client: Recorded,
    events: Events,
    /// Between two events.
    every: Duration,
    /// When the next event is due, since the history's start.
    due: Duration,
    /// On their way, and since when.
    waiting: HashMap<EventId, (Event, Instant)>,
    /// To be sent again, and when.
    again: VecDeque<(Instant, Event)>,
}

impl Publisher {
    pub(super) fn new(shared: &Arc<Shared>, gateway: usize, number: usize) -> Self {
        let publishers = u32::try_from(shared.keys.len() - 1).unwrap_or(u32::MAX);
        let every = Duration::from_secs(1) * publishers / shared.options.rate.max(1);
        let offset = every * u32::try_from(number).unwrap_or_default() / publishers;
        Self {
            client: shared.client(gateway),
            events: Events::new(shared, number),
            due: shared.history.elapsed() + offset,
            shared: Arc::clone(shared),
            gateway,
            every,
            waiting: HashMap::new(),
            again: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.reached(Phase::Settling) {
            if self.is_connected() {
                self.send_again();
                self.send_due();
                self.receive(self.until_due());
            }
        }
        let deadline = Instant::now() + SETTLE_MAX;
        let unsure = |this: &Self| !this.waiting.is_empty() || !this.again.is_empty();
        while unsure(&self) && Instant::now() < deadline && !self.shared.reached(Phase::Over) {
            if self.is_connected() {
                self.send_again();
                self.receive(POLL);
            }
        }
        self.client.disconnect("the publisher has finished");
    }

    /// What was on its way when the connection broke is sent again on the next.
    fn is_connected(&mut self) -> bool {
        if !self.client.is_connected() {
            let now = Instant::now();
            let lost = self.waiting.drain().map(|(_, (event, _))| (now, event));
            self.again.extend(lost);
        }
        self.shared.is_connected(&mut self.client, self.gateway)
    }

    fn send_again(&mut self) {
        while self.has_room()
            && self
                .again
                .front()
                .is_some_and(|(at, _)| *at <= Instant::now())
        {
            let Some((_, event)) = self.again.pop_front() else {
                return;
            };
            self.send(event, None);
        }
    }

    fn send_due(&mut self) {
        while self.has_room() && self.due <= self.shared.history.elapsed() {
            let event = self.events.next();
            self.send(event, Some(self.due));
            self.due += self.every;
        }
    }

    fn has_room(&self) -> bool {
        self.client.is_connected() && self.waiting.len() < self.shared.options.window
    }

    fn send(&mut self, event: Event, intended: Option<Duration>) {
        self.client.publish(&event, intended);
        self.waiting.insert(*event.id(), (event, Instant::now()));
    }

    /// How long to read before the next event is due.
    fn until_due(&self) -> Duration {
        let due = self.due.saturating_sub(self.shared.history.elapsed());
        if self.has_room() { due.min(POLL) } else { POLL }
    }

    fn receive(&mut self, patience: Duration) {
        if let Some(Reply::Ok { id, accepted, text }) = self.client.poll(patience) {
            self.answered(&id, accepted, &text);
        }
        let late = |(_, since): &(Event, Instant)| since.elapsed() > ANSWER_MAX;
        let late: Vec<EventId> = self
            .waiting
            .iter()
            .filter(|(_, sent)| late(sent))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.put_off(&id);
        }
    }

    fn answered(&mut self, id: &str, accepted: bool, text: &str) {
        let Ok(id) = EventId::from_hex(id.as_bytes()) else {
            return;
        };
        if accepted {
            if let Some((event, _)) = self.waiting.remove(&id) {
                self.shared.acknowledged(event);
            }
        } else if text.starts_with("error: ") {
            self.put_off(&id);
        } else {
            self.waiting.remove(&id);
        }
    }

    fn put_off(&mut self, id: &EventId) {
        if let Some((event, _)) = self.waiting.remove(id) {
            self.again.push_back((Instant::now() + AGAIN_AFTER, event));
        }
    }
}
