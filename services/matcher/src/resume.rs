//! Subscriptions that were live at another matcher go on here, from the last number that their
//! gateway had: what came after it is delivered to them first, in order, then they listen.

use std::{sync::Arc, time::Duration};

use hashbrown::{HashMap, HashSet};
use heliograph_bus::{BusError, CommitNumber, Committed, Delivery, Place, Resume, Resumed, Slot};
use heliograph_protocol::{Event, EventId, Filter, Refusal};
use heliograph_store::EventStore;
use heliograph_subscriptions::{Index, Matches};

use crate::{Matcher, live::Opening};

/// Events matched against resumed subscriptions under one hold of the lock.
const SLICE_EVENTS: usize = 256;

/// Values of filters filed before others get their turn: some milliseconds. A gateway may bring
/// millions.
const SLICE_VALUES: usize = 4_096;

/// Batches before the first missing one that are looked at, so that an event that was announced
/// there is known when a worker announced it again.
const LOOK_BACK: u64 = 64;

/// Reads of the stream that may fail one after another before the subscriptions are given up.
const READ_FAILURES_MAX: u32 = 5;

/// Pause after a failed reading; longer after each further one.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Subscriptions on their way into the index.
struct Resuming {
    subscriptions: Vec<Resumed>,
    openings: HashMap<Slot, Opening>,
    index: Index,
    found: Matches,
    /// Everything up to here has been delivered.
    position: Place,
}

impl<S: EventStore> Matcher<S> {
    pub(crate) async fn take_over(&self, resume: Resume) -> Result<(), Refusal> {
        let wait = self.options().commit_wait;
        if !self.link().applied(resume.from, wait).await {
            return Err(Refusal::error("the relay is behind, try again"));
        }
        let mut resuming = self.begin(resume);
        self.file(&mut resuming).await;
        let result = self.catch_up(&mut resuming).await;
        if result.is_err() {
            let mut live = self.link().live.lock();
            for (slot, opening) in &resuming.openings {
                if live.is_open(*slot, *opening) {
                    live.deafen(*slot);
                }
            }
        }
        result
    }

    /// Takes the slots, so that a close is noticed.
    fn begin(&self, resume: Resume) -> Resuming {
        let mut resuming = Resuming {
            openings: HashMap::with_capacity(resume.subscriptions.len()),
            index: Index::new(),
            found: Matches::default(),
            position: Place::end_of(resume.from),
            subscriptions: resume.subscriptions,
        };
        let mut live = self.link().live.lock();
        for resumed in &resuming.subscriptions {
            let (free, opening) = live.take(resumed.slot, resumed.connection);
            live.know(resumed.connection, &resumed.reader);
            live.mute(resumed.slot);
            if free {
                self.metrics().subscriptions.inc();
            }
            resuming.openings.insert(resumed.slot, opening);
        }
        drop(live);
        self.metrics()
            .resumed
            .inc_by(resuming.subscriptions.len() as u64);
        resuming
    }

    /// Files the filters, aside and in the index, where they are mute. One subscription under one
    /// hold of the lock: others are served meanwhile.
    async fn file(&self, resuming: &mut Resuming) {
        let mut values = 0;
        for resumed in &resuming.subscriptions {
            let slot = heliograph_subscriptions::Slot(resumed.slot.0);
            resuming.index.insert(slot, &resumed.filters);
            if let Some(opening) = resuming.openings.get(&resumed.slot) {
                let mut live = self.link().live.lock();
                live.listen_if_open(resumed.slot, *opening, &resumed.filters);
            }
            values += 1 + resumed
                .filters
                .iter()
                .map(Filter::value_count)
                .sum::<usize>();
            if values >= SLICE_VALUES {
                values = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Delivers from memory what is there, and what is older from the stream.
    async fn catch_up(&self, resuming: &mut Resuming) -> Result<(), Refusal> {
        let mut seen = None;
        let mut failures = 0;
        loop {
            while let Some(done) = self.replay_slice(resuming) {
                if done {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
            let seen = match &mut seen {
                Some(seen) => seen,
                none => none.insert(self.look_back(resuming.position.number).await),
            };
            match (self.link().progress.history)(resuming.position.number).await {
                Ok(batches) if !batches.is_empty() => {
                    failures = 0;
                    for (number, changes) in batches {
                        self.replay_batch(resuming, number, changes, seen);
                        tokio::task::yield_now().await;
                    }
                }
                Err(BusError::Closed) => {
                    return Err(Refusal::error(
                        "the relay can't go on from there, ask again",
                    ));
                }
                failed => {
                    failures += 1;
                    // It had newer ones: a server that knows of none is behind.
                    let error = failed.err().unwrap_or(BusError::TimedOut);
                    tracing::warn!(%error, failures, "failed to read the stream of commits");
                    if failures > READ_FAILURES_MAX {
                        return Err(error.into());
                    }
                    tokio::time::sleep(READ_PAUSE * failures).await;
                }
            }
        }
    }

    /// Delivers some events from memory; the last of them and the end of silence in one step, so that
    /// nothing comes in between. `None` if memory doesn't go back that far.
    fn replay_slice(&self, resuming: &mut Resuming) -> Option<bool> {
        let mut live = self.link().live.lock();
        let (entries, all) = live.replay.after(resuming.position, SLICE_EVENTS)?;
        for (place, event) in entries {
            self.replay_event(&live, resuming, place, &event);
        }
        if all {
            for (slot, opening) in &resuming.openings {
                if live.is_open(*slot, *opening) {
                    live.unmute(*slot);
                }
            }
        }
        Some(all)
    }

    /// Delivers a batch that memory no longer holds.
    fn replay_batch(
        &self,
        resuming: &mut Resuming,
        number: CommitNumber,
        changes: Vec<Committed>,
        seen: &mut HashSet<EventId>,
    ) {
        let live = self.link().live.lock();
        for (index, change) in (0_u32..).zip(changes) {
            if let Committed::Winner(event) = change
                && seen.insert(*event.id())
            {
                let place = Place { number, index };
                self.replay_event(&live, resuming, place, &event);
            }
        }
        resuming.position = resuming.position.max(Place::end_of(number));
    }

    /// Delivers one event, unless it has been beaten since.
    fn replay_event(
        &self,
        live: &crate::live::Live,
        resuming: &mut Resuming,
        place: Place,
        event: &Arc<Event>,
    ) {
        if place <= resuming.position {
            return;
        }
        resuming.position = place;
        if self.recent().beats(event) {
            return;
        }
        resuming.index.matches(event, &mut resuming.found);
        let mut slots: Vec<Slot> = resuming.found.slots.iter().map(|s| Slot(s.0)).collect();
        let openings = &resuming.openings;
        slots.retain(|slot| {
            let opening = openings.get(slot);
            opening.is_some_and(|opening| live.is_open(*slot, *opening))
        });
        live.keep_allowed(&mut slots, event, &self.options().visibility);
        if !slots.is_empty() {
            self.metrics().replayed.inc_by(slots.len() as u64);
            self.send(Delivery::Event {
                event: Arc::clone(event),
                place: Some(place),
                slots,
            });
        }
    }

    /// Ids announced shortly before a number. Without them an event that was announced twice may
    /// be delivered twice, so a failure is no reason to give up.
    async fn look_back(&self, from: CommitNumber) -> HashSet<EventId> {
        let mut seen = HashSet::new();
        let mut after = CommitNumber(from.0.saturating_sub(LOOK_BACK));
        while after < from {
            match (self.link().progress.history)(after).await {
                Ok(batches) if !batches.is_empty() => {
                    for (number, changes) in batches {
                        after = number;
                        if number > from {
                            break;
                        }
                        seen.extend(changes.iter().map(|change| *event_of(change).id()));
                    }
                }
                _ => break,
            }
        }
        seen
    }
}

fn event_of(change: &Committed) -> &Arc<Event> {
    match change {
        Committed::Winner(event) | Committed::Again(event) | Committed::Seat(event) => event,
    }
}
