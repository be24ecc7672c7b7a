//! Subscriptions that were live at another matcher go on here, from the last number that their
//! gateway had: what came after it is delivered to them first, in order, then they listen.

use std::{sync::Arc, time::Duration};

use hashbrown::HashMap;
use heliograph_bus::{BusError, CommitNumber, Committed, Delivery, Place, Resume, Resumed, Slot};
use heliograph_lifecycle::Failpoint;
use heliograph_protocol::{Event, Filter, Refusal};
use heliograph_store::EventStore;
use heliograph_subscriptions::{Index, Matches};
use tokio::time::{Instant, sleep, timeout};

use crate::{Batches, Matcher, live::Opening};

/// Events matched against resumed subscriptions under one hold of the lock.
const SLICE_EVENTS: usize = 256;

/// Values of filters filed before others get their turn: some milliseconds. A gateway may bring
/// millions.
const SLICE_VALUES: usize = 4_096;

/// How long a resumption may make no progress at all before the subscriptions are given up: no commit
/// applied that it waits for, no batch read that it needs. As long as it does it may take its time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause after a failed reading; longer after each further one, up to a second.
const READ_PAUSE: Duration = Duration::from_millis(100);
const READ_PAUSE_MAX: Duration = Duration::from_secs(1);

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
        self.reach(resume.from).await?;
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

    /// Waits until what the gateway has from another matcher is known here too: one that lags is no
    /// reason to end subscriptions.
    async fn reach(&self, from: CommitNumber) -> Result<(), Refusal> {
        if self.link().last_applied() >= from {
            return Ok(());
        }
        let newest = timeout(PATIENCE, (self.link().progress.newest)()).await;
        // The stream was made anew: what this number meant is gone. If nobody can say, it is waited
        // for; a gateway isn't told numbers that aren't in the stream.
        if matches!(newest, Ok(Ok(newest)) if newest < from) {
            return Err(gone());
        }
        if self.link().reached(from, PATIENCE).await {
            Ok(())
        } else {
            Err(Refusal::error("the relay is behind, try again"))
        }
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
        let mut progress = Instant::now();
        let mut pause = READ_PAUSE;
        loop {
            while let Some(done) = self.replay_slice(resuming) {
                if done {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
            let error = match (self.link().progress.history)(resuming.position.number).await {
                Ok(batches) if !batches.is_empty() => {
                    self.replay_batches(resuming, batches).await;
                    (progress, pause) = (Instant::now(), READ_PAUSE);
                    continue;
                }
                Err(BusError::Closed) => return Err(gone()),
                // It had newer ones: a server that knows of none is behind.
                Ok(_none) => BusError::TimedOut,
                Err(error) => error,
            };
            tracing::warn!(%error, "failed to read the stream of commits");
            if progress.elapsed() >= PATIENCE {
                return Err(error.into());
            }
            sleep(pause).await;
            pause = (pause * 2).min(READ_PAUSE_MAX);
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

    /// Delivers batches that memory no longer holds. Only those that were applied here: of these it is
    /// known which of their events the stream had announced before.
    async fn replay_batches(&self, resuming: &mut Resuming, batches: Batches) {
        let applied = self.link().last_applied();
        for (number, changes) in batches {
            if number > applied {
                return;
            }
            self.replay_batch(resuming, number, changes);
            tokio::task::yield_now().await;
        }
    }

    fn replay_batch(&self, resuming: &mut Resuming, number: CommitNumber, changes: Vec<Committed>) {
        let live = self.link().live.lock();
        for (index, change) in (0_u32..).zip(changes) {
            let place = Place { number, index };
            if let Committed::Winner(event) = change
                && !live.replay.is_repetition(place)
            {
                self.replay_event(&live, resuming, place, &event);
            }
        }
        resuming.position = resuming.position.max(Place::end_of(number));
    }

    /// Delivers one event, unless it has been beaten since, or has expired.
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
        if !slots.is_empty() && !self.is_over(event) {
            self.metrics().replayed.inc_by(slots.len() as u64);
            self.send(Delivery::Event {
                event: Arc::clone(event),
                place: Some(place),
                slots,
            });
            Failpoint::Replayed.reached();
        }
    }
}

/// The stream no longer goes back to where the gateway was.
fn gone() -> Refusal {
    Refusal::error("the relay can't go on from there, ask again")
}
