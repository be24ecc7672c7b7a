//! Filling the index from the archive, newest first, while it serves and takes in new events.

use std::{cmp::Reverse, sync::Arc};

use heliograph_protocol::{Event, Filter, Timestamp};
use heliograph_store::{Budget, End, EventStore, Page, Scan, ScanRequest, StoreError};
use parking_lot::RwLockWriteGuard;

use crate::{
    APPLY_SLICE, Recent,
    entry::Position,
    state::{Memory, State, Warm},
};

/// A page of the archive, and what was known when its reading began.
#[derive(Debug)]
pub(crate) struct Reading {
    page: Page,
    after: Option<Position>,
    memory: Memory,
}

#[cfg(test)]
impl Reading {
    pub(crate) fn ids(&self) -> impl Iterator<Item = heliograph_protocol::EventId> {
        self.page.events.iter().map(|event| *event.id())
    }
}

impl<S: EventStore> Recent<S> {
    /// Reads the next at most `rows` events from the archive, `1..`, and lowers the floor. Whether
    /// the index is filled: all of the archive is in it, or as much as it may hold.
    ///
    /// Nothing that was replaced or deleted meanwhile comes back. A step that can't be sure of that,
    /// because more was deleted during it than is remembered, changes nothing; so does one of two
    /// that run at the same time. Dropping the future is safe.
    ///
    /// # Errors
    ///
    /// Those of the archive; nothing changed, and the step may be repeated.
    pub async fn warm_step(&self, rows: usize) -> Result<bool, StoreError> {
        match self.read_older(rows.max(1)).await? {
            Some(reading) => Ok(self.take_reading(&reading)),
            None => Ok(true),
        }
    }

    /// Reads the next page; `None` if the index is filled.
    pub(crate) async fn read_older(&self, rows: usize) -> Result<Option<Reading>, StoreError> {
        let (after, memory) = {
            let state = self.shared.state.read();
            match state.warm {
                Warm::Done => return Ok(None),
                Warm::Reading(after) => (after, state.memory()),
            }
        };
        let mut scan = self.shared.archive.scan(ScanRequest {
            filter: Arc::new(Filter::default()),
            after: after.map(|(time, id)| (time.0, id)),
            // Expired events keep the seats of their addresses; reads leave them out.
            now: Timestamp::default(),
            budget: Budget::UNLIMITED,
        });
        loop {
            let page = scan.next(rows).await?;
            if !page.events.is_empty() || page.end.is_some() {
                return Ok(Some(Reading {
                    page,
                    after,
                    memory,
                }));
            }
        }
    }

    /// Adds what was read, unless that can't be told from what was removed meanwhile. Whether the
    /// index is filled.
    pub(crate) fn take_reading(&self, reading: &Reading) -> bool {
        let Reading {
            page,
            after,
            memory,
        } = reading;
        let (after, memory) = (*after, *memory);
        let mut state = self.shared.state.write();
        for id in &page.fresh {
            state.note_fresh(id);
        }
        let mut oldest = after;
        let mut wanted = true;
        for slice in page.events.chunks(APPLY_SLICE) {
            if state.warm != Warm::Reading(after) || !state.remembers(memory) {
                return state.warm == Warm::Done;
            }
            wanted = fill(&mut state, slice, &mut oldest);
            if !wanted {
                break;
            }
            RwLockWriteGuard::bump(&mut state);
        }
        if state.warm != Warm::Reading(after) || !state.remembers(memory) {
            return state.warm == Warm::Done;
        }
        let complete = wanted && page.end == Some(End::Complete);
        if page.events.is_empty() && !complete {
            return false;
        }
        state.lower_floor(oldest.filter(|_| !complete));
        state.warm == Warm::Done
    }
}

/// Adds events, newest first. Whether older ones are worth reading.
fn fill(state: &mut State, events: &[Arc<Event>], oldest: &mut Option<Position>) -> bool {
    events.iter().all(|event| {
        *oldest = Some((Reverse(event.created_at()), *event.id()));
        state.fill(event)
    })
}
