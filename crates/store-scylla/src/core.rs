//! What writers and readers share: the client, and point reads of events, seats and guards.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    fmt::Display,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use heliograph_policy::RelayUrls;
use heliograph_protocol::{Address, Event, EventId, PublicKey, Timestamp};
use heliograph_store::{
    StoreError,
    rules::{Effect, Guards},
};
use scylla::{deserialize::row::DeserializeRow, response::query_result::QueryResult};

use crate::{
    BucketOptions,
    client::Client,
    flight::Flights,
    key::{AddressKey, GuardKey, Seat, timestamp},
    ladder::Ladder,
    statement::Op,
    vanish::Begun,
};

/// Statements that one batch, page or look-up has under way at most.
const WIDTH: usize = 64;

/// The inside of a store.
#[derive(Debug)]
pub(crate) struct Core {
    pub client: Client,
    pub relay_urls: RelayUrls,
    pub ladder: Ladder,
    pub removal_time: Duration,
    pub fresh_window: Duration,
    pub begun: Begun,
    flights: Flights<EventId, Option<Stored>>,
}

/// An event as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub event: Arc<Event>,
    /// The level of each of its keys, in the order of [`index_keys`](crate::key::index_keys).
    pub levels: Bytes,
    /// The writer's clock.
    pub stored_at: Timestamp,
}

/// What is said of a stored event beside its text.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub at: Timestamp,
    pub expires: Option<Timestamp>,
    pub address: Option<AddressKey>,
    /// Whether it is a request that has removed its targets.
    pub done: bool,
}

/// Guards, read or about to be written.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuardMap(pub HashMap<GuardKey, Timestamp>);

impl Core {
    pub(crate) fn new(
        client: Client,
        relay_urls: RelayUrls,
        buckets: BucketOptions,
        [removal_time, fresh_window]: [Duration; 2],
    ) -> Self {
        Self {
            client,
            relay_urls,
            ladder: Ladder::new(buckets),
            removal_time,
            fresh_window,
            begun: Begun::default(),
            flights: Flights::default(),
        }
    }

    /// An event, whether it counts or not.
    pub(crate) async fn event(&self, id: EventId) -> Result<Option<Stored>, StoreError> {
        let result = self
            .client
            .run(Op::EventGet, (id.as_bytes().as_slice(),))
            .await?;
        type Columns = (Option<Bytes>, Option<Bytes>, Option<i64>, Option<bool>);
        let Some((Some(json), levels, stored_at, _done)) = row::<Columns>(result)? else {
            return Ok(None);
        };
        let event = Event::from_wire(json)
            .map_err(|error| StoreError::Failed(format!("event {id}: {error}")))?;
        Ok(Some(Stored {
            event: Arc::new(event),
            levels: levels.unwrap_or_default(),
            stored_at: timestamp(stored_at.unwrap_or(0)),
        }))
    }

    /// As [`event`](Self::event), sharing the read with others who ask at the same time.
    async fn shared_event(&self, id: EventId) -> Result<Option<Stored>, StoreError> {
        let (stored, shared) = self.flights.get(id, || self.event(id)).await?;
        if shared {
            self.client.metrics().shared_read();
        }
        Ok(stored)
    }

    /// Those of these events that are there, for a reader.
    pub(crate) async fn shared_events(
        &self,
        ids: impl IntoIterator<Item = EventId>,
    ) -> Result<HashMap<EventId, Stored>, StoreError> {
        let found = all(ids.into_iter().map(|id| self.shared_event(id))).await?;
        Ok(by_id(found))
    }

    /// Those of these events that are there, for a writer.
    pub(crate) async fn events(
        &self,
        ids: impl IntoIterator<Item = EventId>,
    ) -> Result<HashMap<EventId, Stored>, StoreError> {
        let found = all(ids.into_iter().map(|id| self.event(id))).await?;
        Ok(by_id(found))
    }

    pub(crate) async fn head(&self, id: EventId) -> Result<Option<(EventId, Head)>, StoreError> {
        let result = self
            .client
            .run(Op::EventHead, (id.as_bytes().as_slice(),))
            .await?;
        type Columns = (Option<i64>, Option<i64>, Option<Bytes>, Option<bool>);
        let Some((Some(at), expires, address, done)) = row::<Columns>(result)? else {
            return Ok(None);
        };
        Ok(Some((id, Head::new(at, expires, address, done))))
    }

    pub(crate) async fn heads(
        &self,
        ids: impl IntoIterator<Item = EventId>,
    ) -> Result<HashMap<EventId, Head>, StoreError> {
        let found = all(ids.into_iter().map(|id| self.head(id))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Those of these events that are there, for a writer that answers for them.
    ///
    /// An event of which an earlier attempt reached only a minority of replicas counts as stored from
    /// here on, so the read names all columns: then the database repairs a quorum before it answers.
    pub(crate) async fn known_heads(
        &self,
        ids: impl IntoIterator<Item = EventId>,
    ) -> Result<HashMap<EventId, Head>, StoreError> {
        let found = all(ids.into_iter().map(|id| self.known_head(id))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn known_head(&self, id: EventId) -> Result<Option<(EventId, Head)>, StoreError> {
        let values = (id.as_bytes().as_slice(),);
        let result = self.client.run(Op::EventWhole, values).await?;
        type Columns = (
            Option<i64>,
            Option<i64>,
            Option<Bytes>,
            Option<bool>,
            Option<Bytes>,
            Option<Bytes>,
            Option<i64>,
        );
        let row = row::<Columns>(result)?;
        // Without its text and its levels it is nothing yet, and is written again.
        let Some((Some(at), expires, address, done, Some(_), Some(_), _)) = row else {
            return Ok(None);
        };
        Ok(Some((id, Head::new(at, expires, address, done))))
    }

    /// Who sits at these addresses.
    pub(crate) async fn seats(
        &self,
        addresses: HashSet<AddressKey>,
    ) -> Result<HashMap<AddressKey, Seat>, StoreError> {
        let found = all(addresses.into_iter().map(|address| self.seat(address))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn seat(&self, address: AddressKey) -> Result<Option<(AddressKey, Seat)>, StoreError> {
        let result = self.client.run(Op::SeatGet, (address.as_bytes(),)).await?;
        let Some((Some(value),)) = row::<(Option<Bytes>,)>(result)? else {
            return Ok(None);
        };
        match Seat::from_slice(&value) {
            Some(seat) => Ok(Some((address, seat))),
            None => Err(StoreError::Failed("a seat can't be read".to_owned())),
        }
    }

    /// Those of these guards that are there.
    pub(crate) async fn guards(
        &self,
        keys: impl IntoIterator<Item = GuardKey>,
    ) -> Result<GuardMap, StoreError> {
        let keys: HashSet<GuardKey> = keys.into_iter().collect();
        let found = all(keys.into_iter().map(|key| self.guard(key))).await?;
        Ok(GuardMap(found.into_iter().flatten().collect()))
    }

    async fn guard(&self, key: GuardKey) -> Result<Option<(GuardKey, Timestamp)>, StoreError> {
        let values = (key.owner.as_bytes().as_slice(), key.what.as_ref());
        let result = self.client.run(Op::GuardGet, values).await?;
        let until = row::<(Option<i64>,)>(result)?.and_then(|(until,)| until);
        Ok(until.map(|until| (key, timestamp(until))))
    }
}

impl Head {
    fn new(at: i64, expires: Option<i64>, address: Option<Bytes>, done: Option<bool>) -> Self {
        Self {
            at: timestamp(at),
            expires: expires.map(timestamp),
            address: address.map(|address| AddressKey::from_slice(&address)),
            done: done == Some(true),
        }
    }
}

impl GuardMap {
    /// Adds the guards of a request.
    pub(crate) fn add(&mut self, request: &Event, effect: &Effect) {
        let (owner, at) = (request.pubkey(), request.created_at());
        match effect {
            Effect::None => {}
            Effect::Delete(targets) => {
                for id in &targets.ids {
                    self.raise(GuardKey::id(owner, id), Timestamp::from_secs(0));
                }
                for address in &targets.addresses {
                    self.raise(GuardKey::address(address), at);
                }
            }
            Effect::Vanish => self.raise(GuardKey::vanish(owner), at),
        }
    }

    pub(crate) fn raise(&mut self, key: GuardKey, until: Timestamp) {
        let guard = self.0.entry(key).or_insert(until);
        *guard = until.max(*guard);
    }

    /// What these guards say to `event`.
    pub(crate) fn outcome(
        &self,
        event: &Event,
        relay_urls: &RelayUrls,
    ) -> Option<heliograph_protocol::Outcome> {
        match heliograph_store::rules::guarded(event, self, relay_urls) {
            Ok(outcome) => outcome,
        }
    }
}

impl Guards for GuardMap {
    type Error = Infallible;

    fn is_deleted(&self, owner: &PublicKey, id: &EventId) -> Result<bool, Infallible> {
        Ok(self.0.contains_key(&GuardKey::id(owner, id)))
    }

    fn deleted_until(&self, address: &Address) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.0.get(&GuardKey::address(address)).copied())
    }

    fn vanished_until(&self, owner: &PublicKey) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.0.get(&GuardKey::vanish(owner)).copied())
    }
}

fn by_id(found: Vec<Option<Stored>>) -> HashMap<EventId, Stored> {
    let found = found.into_iter().flatten();
    found.map(|stored| (*stored.event.id(), stored)).collect()
}

/// Runs futures side by side, a bounded number at a time; the first error ends all. The results come
/// in any order.
pub(crate) async fn all<T, F: Future<Output = Result<T, StoreError>>>(
    futures: impl IntoIterator<Item = F>,
) -> Result<Vec<T>, StoreError> {
    let futures: Vec<F> = futures.into_iter().collect();
    stream::iter(futures)
        .buffer_unordered(WIDTH)
        .try_collect()
        .await
}

/// The only row of an answer, if there is one.
pub(crate) fn row<R>(result: QueryResult) -> Result<Option<R>, StoreError>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    Ok(rows(result)?.into_iter().next())
}

/// All rows of an answer.
pub(crate) fn rows<R>(result: QueryResult) -> Result<Vec<R>, StoreError>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    let result = result.into_rows_result().map_err(unreadable)?;
    let rows: Result<Vec<R>, _> = result.rows::<R>().map_err(unreadable)?.collect();
    rows.map_err(unreadable)
}

fn unreadable(error: impl Display) -> StoreError {
    StoreError::Failed(format!("an answer of the database can't be read: {error}"))
}
