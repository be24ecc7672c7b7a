//! Writing a batch: look, merge, write, look again.
//!
//! Any number of workers write at once, without locks and without asking each other. What makes
//! that right is one rule: *write your own, then read the other's*. An event is written, then its
//! guards and its seat are read; a guard is written, then its targets are read. With a quorum for
//! both, of two racing workers at least one sees the other, and takes back what has to go.
//!
//! A batch may be cut off after any statement and come again:
//!
//! 1. index rows and guards are written first; none of them shows an event yet;
//! 2. then the events by id: from here on they are visible, and their rows are all there;
//! 3. then seats: a version is visible only with its seat, so that one cell is the moment in which
//!    a new version takes the place of the old one;
//! 4. then guards and seats are read again, and what lost a race is removed;
//! 5. then old versions and the targets of requests are removed, and requests are marked as done.
//!    What was refused for a guard is removed too, unseen: an earlier attempt that was cut off in 2
//!    may have left it with a minority of replicas, which a quorum needn't see and which spreads.
//!
//! A repetition finds an event by its id only if 1 is complete for it. It reads guards and seats
//! again in any case, and does 5 again for a request that isn't marked. Every statement is the same the second
//! time, to the timestamp; a removal has a timestamp that wins over every write of the same event,
//! so that a worker that was held up for an hour brings nothing back.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use heliograph_lifecycle::Failpoint;
use heliograph_protocol::{Event, EventId, Outcome, Timestamp};
use heliograph_store::{StoreError, rules::Effect};
use scylla::value::MaybeUnset;
use tokio::time::Instant;

use crate::{
    bucket::{Bucket, Level},
    core::{Core, all},
    key::{AddressKey, GuardKey, IndexKey, Path, Place, Seat, bigint, expires, index_keys, stamp},
    merge::{self, Known, Merged, Request},
    remove::Removal,
    statement::Op,
};

/// Bytes of one batch statement: Cassandra refuses 50 KiB by default.
const BATCH_BYTES_MAX: usize = 40 << 10;

/// Rows of one batch statement at most: it holds up other requests of its replica.
const BATCH_ROWS_MAX: usize = 100;

/// Bytes of an index row beside its key, generously.
const ROW_BYTES: usize = 160;

/// Seconds beyond which no TTL is given: both databases refuse more than 20 years.
const TTL_SECS_MAX: u64 = 19 * 365 * 86_400;

/// Cassandra can't store the end of a TTL from here on, in January 2038, unless it is told to.
const TTL_END_MAX: u64 = i32::MAX as u64 - 86_400;

/// The values of one index row.
type IndexRow = (
    Arc<IndexKey>,
    Bucket,
    Place,
    MaybeUnset<i32>,
    MaybeUnset<Vec<u8>>,
    MaybeUnset<i64>,
    i64,
    i32,
);

/// A new event with the levels of its keys.
struct Put {
    event: Arc<Event>,
    ttl: i32,
    levels: Vec<Level>,
}

impl Core {
    /// Merges a batch into the database.
    pub(crate) async fn write(&self, events: &[Arc<Event>]) -> Result<Vec<Outcome>, StoreError> {
        self.client.metrics().batch(events.len());
        let known = self.known(events).await?;
        let mut merged = merge::merge(events, known, &self.relay_urls);
        let now = Timestamp::now();
        let puts = self.put_rows(&mut merged, now).await?;
        Failpoint::RowsWritten.reached();
        all(puts.iter().map(|put| self.put_event(put, now))).await?;
        Failpoint::EventsWritten.reached();
        self.put_seats(&merged.seats).await?;
        Failpoint::SeatsWritten.reached();
        let lost = self.lost(&puts).await?;
        for (event, outcome) in events.iter().zip(&mut merged.outcomes) {
            // A duplicate of what is new is one of this very batch.
            if matches!(outcome, Outcome::Stored | Outcome::Duplicate)
                && let Some(loss) = lost.get(event.id())
            {
                *outcome = *loss;
            }
        }
        self.remove_lost(&puts, &lost).await?;
        let refused = merged.refused.values();
        all(refused.map(|event| self.bar(event))).await?;
        let removals = std::mem::take(&mut merged.removals);
        self.remove_ids(removals).await?;
        for request in &merged.requests {
            self.fulfil(request, now).await?;
        }
        Ok(merged.outcomes)
    }

    async fn known(&self, events: &[Arc<Event>]) -> Result<Known, StoreError> {
        let ids: HashSet<EventId> = events.iter().map(|event| *event.id()).collect();
        let guards: HashSet<GuardKey> = events
            .iter()
            .flat_map(|event| GuardKey::of(event))
            .collect();
        let seats: HashSet<AddressKey> = events
            .iter()
            .filter_map(|event| AddressKey::of(event))
            .collect();
        let (heads, guards, seats) = tokio::try_join!(
            self.known_heads(ids),
            self.guards(guards),
            self.seats(seats)
        )?;
        Ok(Known {
            heads,
            guards,
            seats,
        })
    }

    /// Step 1.
    async fn put_rows(&self, merged: &mut Merged, now: Timestamp) -> Result<Vec<Put>, StoreError> {
        let events = std::mem::take(&mut merged.puts);
        // An event that is over has no rows; its seat and its guards stay all the same (R40-3).
        let puts = events
            .into_iter()
            .filter_map(|event| Some((ttl(&event, now)?, event)));
        let puts: Vec<Put> = all(puts.map(|(ttl, event)| self.place(event, ttl))).await?;
        let rows = puts.iter().flat_map(index_rows);
        tokio::try_join!(self.put_index(rows.collect()), self.put_guards(merged),)?;
        Ok(puts)
    }

    /// Chooses the bucket of each row, and lists those that aren't.
    async fn place(&self, event: Arc<Event>, ttl: i32) -> Result<Put, StoreError> {
        let mut levels = Vec::new();
        for key in index_keys(&event) {
            let key = Arc::new(key);
            let level = self.ladder.choose(&self.client, &key, &event);
            levels.push(level.await?);
        }
        Ok(Put { event, ttl, levels })
    }

    async fn put_index(&self, rows: Vec<IndexRow>) -> Result<(), StoreError> {
        let mut partitions: HashMap<(Arc<IndexKey>, Bucket), Vec<IndexRow>> = HashMap::new();
        for row in rows {
            let partition = (Arc::clone(&row.0), row.1);
            partitions.entry(partition).or_default().push(row);
        }
        let mut statements = Vec::new();
        for rows in partitions.into_values() {
            let bytes = ROW_BYTES + rows[0].0.bytes.len();
            let most = (BATCH_BYTES_MAX / bytes).clamp(1, BATCH_ROWS_MAX);
            let batches: Vec<Vec<IndexRow>> = rows.chunks(most).map(<[IndexRow]>::to_vec).collect();
            statements.extend(batches.into_iter().map(|rows| self.put_index_batch(rows)));
        }
        all(statements).await?;
        Ok(())
    }

    async fn put_index_batch(&self, rows: Vec<IndexRow>) -> Result<(), StoreError> {
        let path = rows[0].0.path;
        let statement = self.client.statements().on(Op::IndexPut, path);
        let values: Vec<_> = rows
            .iter()
            .map(|(key, bucket, place, kind, author, expires, stamp, ttl)| {
                let place = place.as_bytes().as_slice();
                let number = bucket.number();
                (
                    key.bytes.as_ref(),
                    number,
                    place,
                    kind,
                    author,
                    expires,
                    stamp,
                    ttl,
                )
            })
            .collect();
        if let [values] = values.as_slice() {
            self.client.execute(Op::IndexPut, statement, values).await?;
            return Ok(());
        }
        let count = values.len();
        self.client
            .batch(Op::IndexPut, statement, values.as_slice(), count)
            .await
    }

    /// Step 3.
    async fn put_seats(&self, seats: &HashMap<AddressKey, Seat>) -> Result<(), StoreError> {
        let put = async |address: &AddressKey, seat: &Seat| {
            let value = seat.to_bytes();
            let values = (address.as_bytes(), value.as_slice(), stamp(seat.at));
            self.client.run(Op::SeatPut, values).await
        };
        let puts: Vec<_> = seats
            .iter()
            .map(|(address, seat)| put(address, seat))
            .collect();
        all(puts).await?;
        Ok(())
    }

    /// The guards of requests.
    async fn put_guards(&self, merged: &Merged) -> Result<(), StoreError> {
        let put = async |key: &GuardKey, until: Timestamp| {
            let owner = key.owner.as_bytes().as_slice();
            let values = (owner, key.what.as_ref(), bigint(until), stamp(until));
            self.client.run(Op::GuardPut, values).await
        };
        let puts: Vec<_> = merged
            .guards
            .0
            .iter()
            .map(|(key, until)| put(key, *until))
            .collect();
        all(puts).await?;
        Ok(())
    }

    /// Step 2.
    async fn put_event(&self, put: &Put, now: Timestamp) -> Result<(), StoreError> {
        let event = &put.event;
        let address = AddressKey::of(event);
        let values = (
            event.id().as_bytes().as_slice(),
            event.json().as_ref(),
            bigint(event.created_at()),
            address.as_ref().map_or(MaybeUnset::Unset, |address| {
                MaybeUnset::Set(address.as_bytes())
            }),
            expires(event).map_or(MaybeUnset::Unset, |end| MaybeUnset::Set(bigint(end))),
            put.levels.as_slice(),
            bigint(now),
            stamp(event.created_at()),
            put.ttl,
        );
        self.client.run(Op::EventPut, values).await?;
        Ok(())
    }

    /// Step 4: which of the new events another worker's guard or version beats.
    async fn lost(&self, puts: &[Put]) -> Result<HashMap<EventId, Outcome>, StoreError> {
        let guards = puts.iter().flat_map(|put| GuardKey::of(&put.event));
        let seats = puts.iter().filter_map(|put| AddressKey::of(&put.event));
        let (guards, seats) = tokio::try_join!(self.guards(guards), self.seats(seats.collect()))?;
        let mut lost = HashMap::new();
        for put in puts {
            let id = *put.event.id();
            if let Some(outcome) = guards.outcome(&put.event, &self.relay_urls) {
                lost.insert(id, outcome);
            } else if let Some(address) = AddressKey::of(&put.event)
                && seats
                    .get(&address)
                    .is_some_and(|seat| seat.beats(&put.event))
            {
                lost.insert(id, Outcome::Superseded);
            }
        }
        Ok(lost)
    }

    async fn remove_lost(
        &self,
        puts: &[Put],
        lost: &HashMap<EventId, Outcome>,
    ) -> Result<(), StoreError> {
        let lost = puts.iter().filter(|put| lost.contains_key(put.event.id()));
        let removals: Vec<Removal> = lost
            .map(|put| Removal {
                event: Arc::clone(&put.event),
                levels: Bytes::copy_from_slice(&put.levels),
            })
            .collect();
        for _ in &removals {
            self.client.metrics().lost_race();
        }
        self.remove(removals).await
    }

    /// Step 5.
    async fn fulfil(&self, request: &Request, now: Timestamp) -> Result<(), StoreError> {
        match &request.effect {
            Effect::None => return Ok(()),
            Effect::Delete(targets) => self.delete_targets(&request.event, targets).await?,
            Effect::Vanish => {
                let until = request.event.created_at();
                let deadline = Instant::now().checked_add(self.removal_time);
                let author = *request.event.pubkey();
                if !Box::pin(self.vanish(author, until, deadline)).await? {
                    // Swept later. Until the note is there, the request comes again.
                    return self.note_removal(&request.event).await;
                }
            }
        }
        self.mark_done(&request.event, now).await
    }

    async fn mark_done(&self, event: &Event, now: Timestamp) -> Result<(), StoreError> {
        let Some(ttl) = ttl(event, now) else {
            return Ok(());
        };
        let id = event.id().as_bytes().as_slice();
        self.client
            .run(Op::EventDone, (stamp(event.created_at()), ttl, id))
            .await?;
        Ok(())
    }
}

/// Every index row of an event.
fn index_rows(put: &Put) -> Vec<IndexRow> {
    let event = &put.event;
    let place = Place::of(event);
    let keys = index_keys(event).into_iter().zip(&put.levels);
    keys.map(|(key, level)| {
        let bucket = Bucket::new(*level, event.created_at(), event.id());
        let kind = match key.path {
            Path::AuthorKind | Path::Kind => MaybeUnset::Unset,
            _ => MaybeUnset::Set(i32::from(event.kind().as_u16())),
        };
        let author = match key.path {
            Path::Author | Path::AuthorKind => MaybeUnset::Unset,
            _ => MaybeUnset::Set(event.pubkey().as_bytes().to_vec()),
        };
        let expires = expires(event).map_or(MaybeUnset::Unset, |end| MaybeUnset::Set(bigint(end)));
        (
            Arc::new(key),
            bucket,
            place,
            kind,
            author,
            expires,
            stamp(event.created_at()),
            put.ttl,
        )
    })
    .collect()
}

/// Seconds that the rows of an event live; 0 for ever, `None` if it is over. An end too far away for
/// the database is only hidden when it comes.
fn ttl(event: &Event, now: Timestamp) -> Option<i32> {
    let Some(end) = expires(event) else {
        return Some(0);
    };
    let left = end
        .as_secs()
        .checked_sub(now.as_secs())
        .filter(|left| *left > 0)?;
    if left > TTL_SECS_MAX || end.as_secs() > TTL_END_MAX {
        return Some(0);
    }
    i32::try_from(left).ok()
}

#[cfg(test)]
mod tests {
    use heliograph_store::conformance::event;

    use super::*;

    #[test]
    fn rows_live_as_long_as_the_database_can_count() {
        const NOW: u64 = 1_700_000_000;
        let ttl = |end: u64| {
            let event = event(1, 10, 1, &[&["expiration", &end.to_string()]], "");
            ttl(&event, Timestamp::from_secs(NOW))
        };
        assert_eq!(ttl(NOW + 1), Some(1));
        assert_eq!(ttl(NOW), None);
        assert_eq!(ttl(0), None);
        assert_eq!(ttl(2_000_000_000), Some(300_000_000));
        assert_eq!(ttl(2_147_483_647), Some(0));
        assert_eq!(ttl(u64::MAX), Some(0));
    }
}
