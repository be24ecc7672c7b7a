//! Requests to vanish: removing what they reach, in as many pieces as it takes.
//!
//! A removal may be long: an author with millions of events, a public figure whom millions of notes
//! name and a few gift wraps among them. So it is done in slices of time. What the write itself
//! doesn't finish is noted in a table, and swept later; each process remembers how far it came, so
//! that every slice is progress.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use heliograph_protocol::{Event, EventId, Kind, PublicKey, Timestamp};
use heliograph_store::StoreError;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    core::{Core, GuardMap, all, rows},
    key::{AddressKey, GuardKey, IndexKey, Place, bigint, removal_stamp, stamp, timestamp},
    remove::{Partitions, Removal},
    statement::Op,
    walk::{Row, Start, Step, Walk},
};

/// Events that one page of a removal takes.
const PAGE: usize = 200;

/// The one partition of the table of unfinished removals. There are few: only those that take long
/// are noted, so nobody fills it with requests that have nothing to remove.
const PART: i32 = 0;

/// Removals that this process began and didn't finish, by author. As many as are noted.
#[derive(Debug, Default)]
pub(crate) struct Begun(Mutex<HashMap<PublicKey, Progress>>);

/// How far a removal came.
#[derive(Debug, Clone, Copy)]
struct Progress {
    until: Timestamp,
    /// Ways that are done with.
    ways: usize,
    /// Where the next one goes on.
    from: Place,
}

impl Begun {
    /// Where to go on. Nothing before that place needs another look: the guard was there before the
    /// first, so whoever wrote there since has seen it.
    fn get(&self, author: &PublicKey, until: Timestamp) -> Progress {
        let begun = self.0.lock().get(author).copied();
        begun
            .filter(|progress| progress.until == until)
            .unwrap_or(Progress {
                until,
                ways: 0,
                from: Place::first_of(until),
            })
    }

    fn forget(&self, author: &PublicKey) {
        self.0.lock().remove(author);
    }

    fn keep(&self, author: PublicKey, progress: Progress) {
        self.0.lock().insert(author, progress);
    }

    /// Forgets what others have finished.
    fn retain(&self, unfinished: &[(PublicKey, Timestamp)]) {
        let unfinished: std::collections::HashSet<_> = unfinished.iter().collect();
        let is_left = |author: &PublicKey, progress: &mut Progress| {
            unfinished.contains(&(*author, progress.until))
        };
        self.0.lock().retain(is_left);
    }
}

impl Core {
    /// Notes that an author's removal isn't finished, after its guard is written, so that somebody
    /// goes on with it whatever happens.
    pub(crate) async fn note_removal(&self, request: &Event) -> Result<(), StoreError> {
        let (author, until) = (request.pubkey().as_bytes().as_slice(), request.created_at());
        let values = (PART, author, bigint(until), stamp(until));
        self.client.run(Op::RemovalPut, values).await?;
        Ok(())
    }

    /// Takes a removal off the table.
    pub(crate) async fn forget_removal(
        &self,
        author: &PublicKey,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let values = (removal_stamp(until), PART, author.as_bytes().as_slice());
        self.client.run(Op::RemovalDelete, values).await?;
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
        let unfinished: Vec<_> = read.collect();
        self.begun.retain(&unfinished);
        Ok(unfinished)
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
        let mut progress = self.begun.get(&author, until);
        let ways = [
            (IndexKey::author(&author), None),
            (IndexKey::tag(b'p', &author.to_hex()), Some(Kind::GIFT_WRAP)),
        ];
        for (key, kind) in ways.into_iter().skip(progress.ways) {
            let start = vec![Start::Index(Arc::new(key))];
            let walk = Walk::new(start, progress.from, Place::LAST);
            let left = self.vanish_along(walk, kind, &guards, until, deadline);
            if let Some(reached) = left.await? {
                progress.from = reached.unwrap_or(progress.from);
                self.begun.keep(author, progress);
                return Ok(false);
            }
            progress.ways += 1;
            progress.from = Place::first_of(until);
        }
        self.begun.forget(&author);
        Ok(true)
    }

    /// Removes along one way. `None` if that is finished; else past which place it has to go on, if
    /// it came anywhere.
    async fn vanish_along(
        &self,
        mut walk: Walk,
        kind: Option<Kind>,
        guards: &GuardMap,
        until: Timestamp,
        deadline: Option<Instant>,
    ) -> Result<Option<Option<Place>>, StoreError> {
        let mut reached = None;
        loop {
            let mut rows = Vec::new();
            let mut step = None;
            while rows.len() < PAGE {
                match walk.next(self, PAGE, deadline).await? {
                    Step::Row(row) => {
                        reached = Some(row.place.next());
                        if kind.is_none_or(|kind| row.kind == Some(kind)) {
                            rows.push(*row);
                        }
                    }
                    other => {
                        step = Some(other);
                        break;
                    }
                }
            }
            self.vanish_rows(rows, guards, until).await?;
            match step {
                Some(Step::End) => return Ok(None),
                Some(_late) => return Ok(Some(reached)),
                None => {}
            }
        }
    }

    async fn vanish_rows(
        &self,
        mut rows: Vec<Row>,
        guards: &GuardMap,
        until: Timestamp,
    ) -> Result<(), StoreError> {
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
        self.remove_leftovers(&rows, until).await
    }

    /// Removes rows without an event: left over by a removal that was cut off, or of a write that
    /// the guard will undo.
    async fn remove_leftovers(&self, rows: &[Row], until: Timestamp) -> Result<(), StoreError> {
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
}
