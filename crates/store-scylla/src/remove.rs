//! Removing events with all their rows. Removals are final: their timestamps win over every write of
//! the same event, so only what can never count again is removed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use heliograph_protocol::{Event, EventId, Kind, PublicKey, Timestamp};
use heliograph_store::{
    StoreError,
    rules::{DeletionTargets, Effect},
};
use tokio::time::Instant;

use crate::{
    bucket::Bucket,
    core::{Core, GuardMap, Stored, all, rows},
    key::{
        AddressKey, GuardKey, IndexKey, Path, Place, bigint, index_keys, removal_stamp, stamp,
        timestamp,
    },
    statement::Op,
    walk::{Row, Start, Step, Walk},
};

/// Events that one page of a removal takes.
const PAGE: usize = 200;

/// Rows of one batch of removals: each takes a key of up to 1 KiB and 60 bytes.
const BATCH_ROWS_MAX: usize = 30;

/// The one partition of the table of unfinished removals; there are few.
const PART: i32 = 0;

/// An event to remove, and where it is listed.
#[derive(Debug, Clone)]
pub(crate) struct Removal {
    pub event: Arc<Event>,
    pub levels: Bytes,
}

/// Rows to remove, by partition.
type Partitions = HashMap<(Arc<IndexKey>, Bucket), Vec<Place>>;

impl From<Stored> for Removal {
    fn from(stored: Stored) -> Self {
        Self {
            event: stored.event,
            levels: stored.levels,
        }
    }
}

impl Core {
    /// Removes events: first the rows that only show them, then the events themselves, last the rows
    /// by which a request to vanish finds them. So what is cut off half-way is found again, by its id
    /// or by its owner, and what may be left over is a row that shows nothing.
    pub(crate) async fn remove(&self, removals: Vec<Removal>) -> Result<(), StoreError> {
        if removals.is_empty() {
            return Ok(());
        }
        let (mut shown, mut found) = (Partitions::new(), Partitions::new());
        for removal in &removals {
            let event = &removal.event;
            for (index, key) in index_keys(event).into_iter().enumerate() {
                let level = removal.levels.get(index).copied().unwrap_or_default();
                let bucket = Bucket::new(level, event.created_at(), event.id());
                let target = if finds(&key, event) {
                    &mut found
                } else {
                    &mut shown
                };
                let places = target.entry((Arc::new(key), bucket)).or_default();
                places.push(Place::of(event));
            }
        }
        self.remove_partitions(shown).await?;
        all(removals
            .iter()
            .map(|removal| self.remove_event(&removal.event)))
        .await?;
        self.remove_partitions(found).await
    }

    async fn remove_partitions(&self, partitions: Partitions) -> Result<(), StoreError> {
        let mut statements = Vec::new();
        for ((key, bucket), places) in partitions {
            for places in places.chunks(BATCH_ROWS_MAX) {
                statements.push(self.remove_rows(Arc::clone(&key), bucket, places.to_vec()));
            }
        }
        all(statements).await?;
        Ok(())
    }

    /// Removes rows of one partition.
    pub(crate) async fn remove_rows(
        &self,
        key: Arc<IndexKey>,
        bucket: Bucket,
        places: Vec<Place>,
    ) -> Result<(), StoreError> {
        let statement = self.client.statements().on(Op::IndexDelete, key.path);
        let value = |place: &Place| {
            let bytes = place.as_bytes().to_vec();
            (
                removal_stamp(place.at()),
                key.bytes.as_ref(),
                bucket.number(),
                bytes,
            )
        };
        let values: Vec<_> = places.iter().map(value).collect();
        if let [values] = values.as_slice() {
            self.client
                .execute(Op::IndexDelete, statement, values)
                .await?;
            return Ok(());
        }
        let count = values.len();
        self.client
            .batch(Op::IndexDelete, statement, values.as_slice(), count)
            .await
    }

    async fn remove_event(&self, event: &Event) -> Result<(), StoreError> {
        let id = event.id().as_bytes().as_slice();
        let stamp = removal_stamp(event.created_at());
        self.client.run(Op::EventDelete, (stamp, id)).await?;
        self.client.metrics().removed();
        Ok(())
    }

    /// Removes those of these events that are there.
    pub(crate) async fn remove_ids(&self, ids: HashSet<EventId>) -> Result<(), StoreError> {
        let found = self.events(ids).await?;
        self.remove(found.into_values().map(Removal::from).collect())
            .await
    }

    /// Removes what a deletion request names, after its guards are written.
    pub(crate) async fn delete_targets(
        &self,
        request: &Event,
        targets: &DeletionTargets,
    ) -> Result<(), StoreError> {
        let mut guards = GuardMap::default();
        guards.add(request, &Effect::Delete(targets.clone()));
        let addresses = targets.addresses.iter().map(AddressKey::new).collect();
        let seats = self.seats(addresses).await?;
        let ids: HashSet<EventId> = targets
            .ids
            .iter()
            .copied()
            .chain(seats.into_values().map(|seat| seat.id))
            .collect();
        let found = self.events(ids).await?;
        let dead = found.into_values().filter(|stored| {
            let outcome = guards.outcome(&stored.event, &self.relay_urls);
            outcome.is_some()
        });
        self.remove(dead.map(Removal::from).collect()).await
    }

    /// Notes that an author vanishes, so that somebody finishes it whatever happens.
    pub(crate) async fn note_removal(&self, request: &Event) -> Result<(), StoreError> {
        let (author, until) = (request.pubkey().as_bytes().as_slice(), request.created_at());
        let values = (PART, author, bigint(until), stamp(until));
        self.client.run(Op::RemovalPut, values).await?;
        Ok(())
    }

    /// Removes what the author's request to vanish reaches, after its guard is written. Whether it is
    /// finished: past the deadline it isn't, and a later call goes on.
    pub(crate) async fn vanish(
        &self,
        author: PublicKey,
        until: Timestamp,
        deadline: Option<Instant>,
    ) -> Result<bool, StoreError> {
        let mut guards = GuardMap::default();
        guards.raise(GuardKey::vanish(&author), until);
        let wraps = IndexKey::tag(b'p', &author.to_hex());
        for (key, kind) in [
            (IndexKey::author(&author), None),
            (wraps, Some(Kind::GIFT_WRAP)),
        ] {
            let walk = Walk::new(
                vec![Start::Index(Arc::new(key))],
                Place::first_of(until),
                Place::LAST,
            );
            if !self
                .vanish_along(walk, kind, &guards, until, deadline)
                .await?
            {
                return Ok(false);
            }
        }
        let author = author.as_bytes().as_slice();
        let values = (removal_stamp(until), PART, author);
        self.client.run(Op::RemovalDelete, values).await?;
        Ok(true)
    }

    async fn vanish_along(
        &self,
        mut walk: Walk,
        kind: Option<Kind>,
        guards: &GuardMap,
        until: Timestamp,
        deadline: Option<Instant>,
    ) -> Result<bool, StoreError> {
        loop {
            let mut rows = Vec::new();
            let mut ended = false;
            while rows.len() < PAGE {
                match walk.next(self, PAGE, deadline).await? {
                    Step::Row(row) if kind.is_none_or(|kind| row.kind == Some(kind)) => {
                        rows.push(row);
                    }
                    Step::Row(_) => {}
                    Step::End => {
                        ended = true;
                        break;
                    }
                    Step::Late => return Ok(false),
                }
            }
            let ids: Vec<EventId> = rows.iter().map(|row| row.place.id()).collect();
            let found = self.events(ids).await?;
            rows.retain(|row| !found.contains_key(&row.place.id()));
            let dead = found.into_values().filter(|stored| {
                let outcome = guards.outcome(&stored.event, &self.relay_urls);
                outcome.is_some()
            });
            let dead: Vec<Removal> = dead.map(Removal::from).collect();
            self.forget_seats(&dead).await?;
            self.remove(dead).await?;
            self.remove_leftovers(&rows, until).await?;
            if ended {
                return Ok(true);
            }
        }
    }

    /// Removes rows without an event: left over by a removal that was cut off, or of a write that
    /// the guard will undo.
    async fn remove_leftovers(
        &self,
        rows: &[Box<Row>],
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let mut partitions = Partitions::new();
        for row in rows {
            // A request to vanish of that very second may be on its way and stay.
            let dead = row.place.at() < until || row.kind.is_some_and(|kind| kind != Kind::VANISH);
            if let Some((key, bucket)) = &row.origin
                && dead
            {
                let places = partitions.entry((Arc::clone(key), *bucket)).or_default();
                places.push(row.place);
            }
        }
        self.remove_partitions(partitions).await
    }

    /// Nothing of who vanished stays, not even the ids in seats. Below the guard no seat is needed.
    async fn forget_seats(&self, dead: &[Removal]) -> Result<(), StoreError> {
        let forget = async |address: AddressKey, at: Timestamp| {
            let values = (removal_stamp(at), address.as_bytes());
            self.client.run(Op::SeatDelete, values).await
        };
        let seats = dead.iter().filter_map(|removal| {
            Some(forget(
                AddressKey::of(&removal.event)?,
                removal.event.created_at(),
            ))
        });
        let seats: Vec<_> = seats.collect();
        all(seats).await?;
        Ok(())
    }

    /// Requests to vanish whose removal isn't finished, with their times.
    pub(crate) async fn unfinished(&self) -> Result<Vec<(PublicKey, Timestamp)>, StoreError> {
        let result = self.client.run(Op::RemovalList, (PART,)).await?;
        let rows = rows::<(Bytes, Option<i64>)>(result)?;
        let read = rows.into_iter().filter_map(|(author, until)| {
            let author: [u8; 32] = author.as_ref().try_into().ok()?;
            Some((PublicKey::new(author), timestamp(until?)))
        });
        Ok(read.collect())
    }
}

/// Whether a request to vanish finds `event` by this key.
fn finds(key: &IndexKey, event: &Event) -> bool {
    match key.path {
        Path::Author => true,
        Path::Tag => event.kind() == Kind::GIFT_WRAP && key.bytes.first() == Some(&b'p'),
        Path::AuthorKind | Path::Kind | Path::Time => false,
    }
}
