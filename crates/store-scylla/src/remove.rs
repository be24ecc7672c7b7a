//! Removing events with all their rows. Removals are final: their timestamps win over every write of
//! the same event, so only what can never count again is removed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use heliograph_protocol::{Event, EventId, Kind};
use heliograph_store::{
    StoreError,
    rules::{DeletionTargets, Effect},
};

use crate::{
    bucket::Bucket,
    core::{Core, GuardMap, Stored, all},
    key::{AddressKey, IndexKey, Path, Place, index_keys, removal_stamp},
    statement::Op,
};

/// Rows of one batch of removals: each takes a key of up to 1 KiB and 60 bytes.
const BATCH_ROWS_MAX: usize = 30;

/// An event to remove, and where it is listed.
#[derive(Debug, Clone)]
pub(crate) struct Removal {
    pub event: Arc<Event>,
    pub levels: Bytes,
}

/// Rows to remove, by partition.
pub(crate) type Partitions = HashMap<(Arc<IndexKey>, Bucket), Vec<Place>>;

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

    pub(crate) async fn remove_partitions(&self, partitions: Partitions) -> Result<(), StoreError> {
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
        self.bar(event).await?;
        self.client.metrics().removed();
        Ok(())
    }

    /// Makes sure that an event which may never count shows up nowhere, whatever replica has it.
    pub(crate) async fn bar(&self, event: &Event) -> Result<(), StoreError> {
        let id = event.id().as_bytes().as_slice();
        let stamp = removal_stamp(event.created_at());
        self.client.run(Op::EventDelete, (stamp, id)).await?;
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
}

/// Whether a request to vanish finds `event` by this key.
fn finds(key: &IndexKey, event: &Event) -> bool {
    match key.path {
        Path::Author => true,
        Path::Tag => event.kind() == Kind::GIFT_WRAP && key.bytes.first() == Some(&b'p'),
        Path::AuthorKind | Path::Kind | Path::Time => false,
    }
}
