//! Point look-ups in one snapshot of the database, and the merge of one event with everything that
//! is stored.

use std::sync::Arc;

use heed::RoTxn;
use heliograph_policy::RelayUrls;
use heliograph_protocol::{Address, Event, EventId, Outcome, PublicKey, Timestamp};
use heliograph_store::rules::{self, Effect, Guards};

use crate::{
    codec::{Decoded, Decoder},
    error::Fault,
    layout::{Seat, address_key, deleted_id_key, handle, number},
    overlay::{Change, Level},
    tables::Tables,
};

/// The database at one moment.
pub(crate) struct Snapshot<'a> {
    pub(crate) txn: &'a RoTxn<'a>,
    pub(crate) tables: Tables,
    pub(crate) decoder: Decoder<'a>,
}

impl Snapshot<'_> {
    /// The event stored under `seq`, if there still is one.
    pub(crate) fn load(&mut self, seq: u64) -> Result<Option<Decoded>, Fault> {
        let value = self.tables.payload.get(self.txn, &seq.to_be_bytes())?;
        value.map(|value| self.decoder.decode(value)).transpose()
    }

    /// The event of this id and where it is.
    pub(crate) fn find(&mut self, id: &EventId) -> Result<Option<(u64, Decoded)>, Fault> {
        let Some(list) = self.tables.by_id.get(self.txn, &handle(id.as_bytes()))? else {
            return Ok(None);
        };
        for seq in list.chunks_exact(8).filter_map(number) {
            let found = self.load(seq)?.filter(|found| found.event.id() == id);
            if let Some(found) = found {
                return Ok(Some((seq, found)));
            }
        }
        Ok(None)
    }

    /// Who holds this address.
    pub(crate) fn seat(&self, key: &[u8; 16]) -> Result<Option<Seat>, Fault> {
        let value = self.tables.seats.get(self.txn, key)?;
        value
            .map(|value| Seat::decode(value).ok_or(Fault::Corrupt("seat")))
            .transpose()
    }
}

/// The guards of the database and of every level above it.
pub(crate) struct AllGuards<'a, 's> {
    pub(crate) snapshot: &'a Snapshot<'s>,
    pub(crate) levels: &'a [&'a Level],
}

impl Guards for AllGuards<'_, '_> {
    type Error = Fault;

    fn is_deleted(&self, owner: &PublicKey, id: &EventId) -> Result<bool, Fault> {
        let key = deleted_id_key(owner, id);
        Ok(self
            .levels
            .iter()
            .any(|level| level.guards.ids.contains(&(*owner, *id)))
            || self
                .snapshot
                .tables
                .deleted_ids
                .get(self.snapshot.txn, &key)?
                .is_some())
    }

    fn deleted_until(&self, address: &Address) -> Result<Option<Timestamp>, Fault> {
        let key = address_key(address);
        let stored = self
            .snapshot
            .tables
            .deleted_addresses
            .get(self.snapshot.txn, &key)?;
        let above = self
            .levels
            .iter()
            .filter_map(|level| level.guards.addresses.get(address));
        Ok(above.copied().chain(stored.and_then(time)).max())
    }

    fn vanished_until(&self, owner: &PublicKey) -> Result<Option<Timestamp>, Fault> {
        let key = owner.as_bytes();
        let stored = self.snapshot.tables.vanished.get(self.snapshot.txn, key)?;
        let above = self
            .levels
            .iter()
            .filter_map(|level| level.guards.owners.get(owner));
        Ok(above.copied().chain(stored.and_then(time)).max())
    }
}

fn time(value: &[u8]) -> Option<Timestamp> {
    number(value).map(Timestamp::from_secs)
}

/// Merges `event` with the levels (in any order) and the database below them, by the four steps of
/// [`rules`]. Returns what it comes to and what it changes, if anything.
pub(crate) fn merge(
    event: &Arc<Event>,
    levels: &[&Level],
    snapshot: &mut Snapshot<'_>,
    relay_urls: &RelayUrls,
) -> Result<(Outcome, Option<Change>), Fault> {
    if is_visible(event.id(), levels, snapshot, relay_urls)? {
        return Ok((Outcome::Duplicate, None));
    }
    let guarded = rules::guarded(event, &AllGuards { snapshot, levels }, relay_urls)?;
    let address = event.address();
    let better = match &address {
        Some(address) if rules::takes_seat(guarded) => {
            let above = levels
                .iter()
                .filter_map(|level| level.seats.get(address).copied());
            let stored = snapshot
                .seat(&address_key(address))?
                .map(|seat| seat.position);
            above.chain(stored).all(|seat| event.position() < seat)
        }
        _ => guarded.is_none(),
    };
    let outcome = guarded.unwrap_or(if better {
        Outcome::Stored
    } else {
        Outcome::Superseded
    });
    let stored = outcome == Outcome::Stored;
    let change = better.then(|| Change {
        event: Arc::clone(event),
        stored,
        effect: if stored {
            rules::effect(event, relay_urls)
        } else {
            Effect::None
        },
        address,
    });
    // A guarded event without an address changes nothing.
    Ok((
        outcome,
        change.filter(|change| stored || change.address.is_some()),
    ))
}

/// Whether the event of this id is stored and nothing hides it.
pub(crate) fn is_visible(
    id: &EventId,
    levels: &[&Level],
    snapshot: &mut Snapshot<'_>,
    relay_urls: &RelayUrls,
) -> Result<bool, Fault> {
    let is_hidden = |event: &Event| levels.iter().any(|level| level.hides(event, relay_urls));
    if let Some(entry) = levels.iter().find_map(|level| level.get(id)) {
        return Ok(!is_hidden(&entry.event));
    }
    Ok(snapshot
        .find(id)?
        .is_some_and(|(_seq, found)| !is_hidden(&found.event)))
}
