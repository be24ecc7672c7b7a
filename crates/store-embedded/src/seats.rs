//! Seats of addresses that nobody holds: what keeps older versions away once the best one is gone.

use std::{cmp::Reverse, ops::Bound, sync::Arc};

use heliograph_protocol::{Address, Event, EventId, Timestamp};
use heliograph_store::StoreError;

use crate::{
    apply::take_seats,
    error::Fault,
    layout::{NO_SEQ, Seat, address_key},
    reader::{EmbeddedReader, LookCore},
    store::EmbeddedStore,
};

/// An address whose best version isn't stored: it was deleted by its id, or has expired. Older versions
/// may not come back (R09-8, R40-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VacantSeat {
    /// Which address: [`VacantSeat::key_of`].
    pub key: [u8; 16],
    /// Of the version that isn't stored.
    pub created_at: Timestamp,
    /// Of the version that isn't stored.
    pub id: EventId,
}

impl VacantSeat {
    /// The seat that this event leaves if it can't be stored; `None` if its kind has no address.
    #[must_use]
    pub fn left_by(event: &Event) -> Option<Self> {
        Some(Self {
            key: Self::key_of(&event.address()?),
            created_at: event.created_at(),
            id: *event.id(),
        })
    }

    /// What stands for an address.
    #[must_use]
    pub fn key_of(address: &Address) -> [u8; 16] {
        address_key(address)
    }

    /// Whether it keeps a version of the same address away.
    #[must_use]
    pub fn is_better_than(&self, event: &Event) -> bool {
        (Reverse(self.created_at), self.id) < event.position()
    }
}

impl EmbeddedReader {
    /// Begins to read the vacant seats.
    #[must_use]
    pub fn vacant_seats(&self) -> VacantSeats {
        VacantSeats {
            core: Arc::clone(&self.core),
            from: Bound::Unbounded,
        }
    }
}

/// Every vacant seat that the database has, in the order of their keys; of the log it knows nothing.
/// Reads as long as its reader is open.
#[derive(Debug)]
pub struct VacantSeats {
    core: Arc<LookCore>,
    from: Bound<[u8; 16]>,
}

impl VacantSeats {
    /// Looks at the next `max` seats and returns those of them that are vacant; `None` at the end. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store can't be read. Asking again goes on where it was.
    pub fn next(&mut self, max: usize) -> Result<Option<Vec<VacantSeat>>, StoreError> {
        Ok(self.read(max)?)
    }

    fn read(&mut self, max: usize) -> Result<Option<Vec<VacantSeat>>, Fault> {
        self.core.follow_compaction()?;
        let txn = self.core.environment.read()?;
        let (mut vacant, mut last) = (Vec::new(), None);
        let from = self.from.as_ref().map(|key| &key[..]);
        let range = (from, Bound::Unbounded);
        for row in txn.tables.seats.range(&txn, &range)?.take(max.max(1)) {
            let (key, value) = row?;
            let key = key.try_into().map_err(|_len| Fault::Corrupt("seat"))?;
            let seat = Seat::decode(value).ok_or(Fault::Corrupt("seat"))?;
            last = Some(key);
            if seat.seq == NO_SEQ {
                vacant.push(VacantSeat {
                    key,
                    created_at: seat.position.0.0,
                    id: seat.position.1,
                });
            }
        }
        drop(txn);
        let Some(last) = last else {
            return Ok(None);
        };
        self.from = Bound::Excluded(last);
        Ok(Some(vacant))
    }
}

/// Seats that are taken in one transaction.
const TAKEN_AT_ONCE: usize = 10_000;

impl EmbeddedStore {
    /// Takes seats without an event, as the versions left them that are no longer to be had: older ones
    /// stay away from then on, and those that are stored go. A seat that a version as good or better has
    /// stays as it is. Durable; blocks. Returns how many were taken.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: not all were taken. Doing it again is safe.
    pub fn take_seats(&self, seats: &[VacantSeat]) -> Result<usize, StoreError> {
        self.flush()?;
        let mut seats: Vec<_> = seats
            .iter()
            .map(|seat| (seat.key, (Reverse(seat.created_at), seat.id)))
            .collect();
        seats.sort_unstable();
        let environment = &self.handle.core.environment;
        let mut taken = 0;
        for part in seats.chunks(TAKEN_AT_ONCE) {
            taken +=
                environment.write(|txn, tables, codec| take_seats(txn, tables, codec, part))?;
        }
        Ok(taken)
    }
}
