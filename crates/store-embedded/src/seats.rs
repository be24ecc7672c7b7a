//! Seats of addresses that nobody holds: what keeps older versions away once the best one is gone.

use std::cmp::Reverse;

use heliograph_protocol::{Address, Event, EventId, Timestamp};
use heliograph_store::StoreError;

use crate::{
    error::Fault,
    layout::{NO_SEQ, Seat, address_key},
    reader::EmbeddedReader,
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
    /// Every vacant seat that the database has, in the order of their keys. Reads the whole table and
    /// blocks; of the log it knows nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it can't be read.
    pub fn vacant_seats(&self) -> Result<Vec<VacantSeat>, StoreError> {
        Ok(self.read_seats()?)
    }

    fn read_seats(&self) -> Result<Vec<VacantSeat>, Fault> {
        self.core.follow_compaction()?;
        let txn = self.core.environment.read()?;
        let mut vacant = Vec::new();
        for row in txn.tables.seats.iter(&txn)? {
            let (key, value) = row?;
            let seat = Seat::decode(value).ok_or(Fault::Corrupt("seat"))?;
            if seat.seq == NO_SEQ {
                vacant.push(VacantSeat {
                    key: key.try_into().map_err(|_len| Fault::Corrupt("seat"))?,
                    created_at: seat.position.0.0,
                    id: seat.position.1,
                });
            }
        }
        Ok(vacant)
    }
}
