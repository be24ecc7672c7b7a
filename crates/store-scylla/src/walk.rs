//! Walks: index rows of many keys and buckets, merged newest first, each read only when it is its
//! turn.
//!
//! Every source says from which place on it may have rows. The source with the first place is taken
//! off a heap: if its next row is there, that is the next row of the walk; if not, it is loaded, side
//! by side with all others that have to be before a row can come. A key begins with two sources, its
//! first bucket and its directory; the directory opens a bucket when the walk gets to its time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use heliograph_protocol::{EventId, Kind, PublicKey, Timestamp};
use heliograph_store::StoreError;
use tokio::time::Instant;

use crate::{
    bucket::Bucket,
    core::{Core, Stored, all, rows},
    key::{AddressKey, IndexKey, Place, timestamp},
    statement::Op,
};

/// Sources that are loaded side by side.
const LOADS_MAX: usize = 64;

/// Rows of one page of a bucket, at most and at least.
const PAGE_ROWS: std::ops::RangeInclusive<usize> = 4..=1_000;

/// Buckets of one page of a directory.
const DIRECTORY_ROWS: i32 = 100;

/// Ids up to which the whole events are read at once; of more, first their times.
const WHOLE_EVENTS_MAX: usize = 64;

/// Where a walk begins.
#[derive(Debug)]
pub(crate) enum Start {
    Index(Arc<IndexKey>),
    Ids(Vec<EventId>),
    Addresses(Vec<AddressKey>),
}

/// An entry of an index.
#[derive(Debug)]
pub(crate) struct Row {
    pub place: Place,
    /// Absent where the key says it.
    pub kind: Option<Kind>,
    /// Absent where the key says it.
    pub author: Option<PublicKey>,
    pub expires: Option<Timestamp>,
    /// Where it stands, if in an index.
    pub origin: Option<(Arc<IndexKey>, Bucket)>,
    /// The event, if it was read already.
    pub stored: Option<Stored>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    Row(Box<Row>),
    /// There are no more rows.
    End,
    /// The deadline has passed; a later call goes on.
    Late,
}

/// A running walk.
#[derive(Debug)]
pub(crate) struct Walk {
    start: Place,
    end: Place,
    sources: Vec<Source>,
    heap: BinaryHeap<Reverse<(Place, usize)>>,
    last: Option<Place>,
}

#[derive(Debug)]
enum Source {
    Bucket(BucketCursor),
    Directory(Directory),
    List(List),
    /// Away being loaded, or used up.
    Gone,
}

#[derive(Debug)]
struct BucketCursor {
    key: Arc<IndexKey>,
    bucket: Bucket,
    from: Place,
    page: usize,
    rows: VecDeque<Row>,
    exhausted: bool,
}

#[derive(Debug)]
struct Directory {
    key: Arc<IndexKey>,
    /// Goes on below this end and number.
    below: (i64, i64),
    from: Place,
    buckets: VecDeque<Bucket>,
    exhausted: bool,
}

#[derive(Debug)]
struct List {
    wanted: Wanted,
    rows: VecDeque<Row>,
}

#[derive(Debug)]
enum Wanted {
    Ids(Vec<EventId>),
    Addresses(Vec<AddressKey>),
    Nothing,
}

/// What a source needs before it can say more.
enum State {
    Row,
    Load,
    Open,
}

impl Walk {
    /// A walk over everything from `start` to `end`, both included.
    pub(crate) fn new(starts: Vec<Start>, start: Place, end: Place) -> Self {
        let mut walk = Self {
            start,
            end,
            sources: Vec::new(),
            heap: BinaryHeap::new(),
            last: None,
        };
        if start > end {
            return walk;
        }
        for begin in starts {
            match begin {
                Start::Index(key) => {
                    walk.add(Source::Directory(Directory {
                        key: Arc::clone(&key),
                        below: (Bucket::latest_end(start.at()), i64::MAX),
                        from: start,
                        buckets: VecDeque::new(),
                        exhausted: false,
                    }));
                    walk.open(key, Bucket::FIRST, start);
                }
                Start::Ids(ids) => walk.add_list(Wanted::Ids(ids)),
                Start::Addresses(addresses) => walk.add_list(Wanted::Addresses(addresses)),
            }
        }
        walk
    }

    /// The next row, each place once. `wanted` rows are expected to be asked for in all.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the walk is over then, as it is when a call is dropped before it ends.
    pub(crate) async fn next(
        &mut self,
        core: &Core,
        wanted: usize,
        deadline: Option<Instant>,
    ) -> Result<Step, StoreError> {
        loop {
            let mut loads = Vec::new();
            let mut ready = None;
            while loads.len() < LOADS_MAX {
                let Some(Reverse((_place, index))) = self.heap.peek().copied() else {
                    break;
                };
                match self.sources[index].state() {
                    State::Row => {
                        ready = Some(index);
                        break;
                    }
                    State::Open => {
                        self.heap.pop();
                        self.open_next(index);
                    }
                    State::Load => {
                        self.heap.pop();
                        loads.push(index);
                    }
                }
            }
            if loads.is_empty() {
                let Some(index) = ready else {
                    return Ok(Step::End);
                };
                if let Some(row) = self.take(index) {
                    return Ok(Step::Row(Box::new(row)));
                }
            } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                for index in loads {
                    self.file(index);
                }
                return Ok(Step::Late);
            } else {
                self.load(core, loads, wanted).await?;
            }
        }
    }

    async fn load(
        &mut self,
        core: &Core,
        loads: Vec<usize>,
        wanted: usize,
    ) -> Result<(), StoreError> {
        let share = (2 * wanted / self.sources.len().max(1)).saturating_add(2);
        let (start, end) = (self.start, self.end);
        let away: Vec<_> = loads
            .into_iter()
            .map(|index| {
                let mut source = std::mem::replace(&mut self.sources[index], Source::Gone);
                async move {
                    source.load(core, start, end, share).await?;
                    Ok((index, source))
                }
            })
            .collect();
        for (index, source) in all(away).await? {
            self.sources[index] = source;
            self.file(index);
        }
        Ok(())
    }

    /// Takes the row that a source has ready; none if the same place came before.
    fn take(&mut self, index: usize) -> Option<Row> {
        self.heap.pop();
        let row = self.sources[index].pop();
        self.file(index);
        let row = row?;
        debug_assert!(self.last.is_none_or(|last| last <= row.place), "in order");
        if self.last == Some(row.place) {
            return None;
        }
        self.last = Some(row.place);
        Some(row)
    }

    fn open_next(&mut self, index: usize) {
        if let Source::Directory(directory) = &mut self.sources[index]
            && let Some(bucket) = directory.buckets.pop_front()
        {
            let key = Arc::clone(&directory.key);
            let from = from_end(bucket.end()).max(self.start);
            self.open(key, bucket, from);
        }
        self.file(index);
    }

    fn open(&mut self, key: Arc<IndexKey>, bucket: Bucket, from: Place) {
        self.add(Source::Bucket(BucketCursor {
            key,
            bucket,
            from,
            page: 0,
            rows: VecDeque::new(),
            exhausted: false,
        }));
    }

    fn add_list(&mut self, wanted: Wanted) {
        self.add(Source::List(List {
            wanted,
            rows: VecDeque::new(),
        }));
    }

    fn add(&mut self, source: Source) {
        self.sources.push(source);
        self.file(self.sources.len() - 1);
    }

    /// Puts a source on the heap, or drops it if it has nothing up to the end.
    fn file(&mut self, index: usize) {
        match self.sources[index].first(self.start) {
            Some(place) if place <= self.end => self.heap.push(Reverse((place, index))),
            _ => self.sources[index] = Source::Gone,
        }
    }
}

/// The first place that a bucket with this end may hold.
fn from_end(end: i64) -> Place {
    if end == i64::MAX {
        return Place::FIRST;
    }
    Place::first_of(timestamp(end).minus(1))
}

impl Source {
    /// The first place that may still come.
    fn first(&self, start: Place) -> Option<Place> {
        match self {
            Self::Bucket(cursor) => match cursor.rows.front() {
                Some(row) => Some(row.place),
                None => (!cursor.exhausted).then_some(cursor.from),
            },
            Self::Directory(directory) => match directory.buckets.front() {
                Some(bucket) => Some(from_end(bucket.end()).max(start)),
                None => (!directory.exhausted).then_some(directory.from),
            },
            Self::List(list) => match (&list.wanted, list.rows.front()) {
                (Wanted::Nothing, row) => row.map(|row| row.place),
                _ => Some(start),
            },
            Self::Gone => None,
        }
    }

    fn state(&self) -> State {
        match self {
            Self::Bucket(cursor) if cursor.rows.is_empty() => State::Load,
            Self::Directory(directory) if directory.buckets.is_empty() => State::Load,
            Self::Directory(_) => State::Open,
            Self::List(list) if !matches!(list.wanted, Wanted::Nothing) => State::Load,
            Self::Bucket(_) | Self::List(_) | Self::Gone => State::Row,
        }
    }

    fn pop(&mut self) -> Option<Row> {
        match self {
            Self::Bucket(cursor) => cursor.rows.pop_front(),
            Self::List(list) => list.rows.pop_front(),
            Self::Directory(_) | Self::Gone => None,
        }
    }

    async fn load(
        &mut self,
        core: &Core,
        start: Place,
        end: Place,
        share: usize,
    ) -> Result<(), StoreError> {
        match self {
            Self::Bucket(cursor) => cursor.load(core, end, share).await,
            Self::Directory(directory) => directory.load(core).await,
            Self::List(list) => list.load(core, start, end).await,
            Self::Gone => Ok(()),
        }
    }
}

impl BucketCursor {
    async fn load(&mut self, core: &Core, end: Place, share: usize) -> Result<(), StoreError> {
        // A source that is read on is one that matters: its pages grow.
        let page = share.max(self.page * 4);
        self.page = page.clamp(*PAGE_ROWS.start(), *PAGE_ROWS.end());
        let statement = core.client.statements().on(Op::IndexPage, self.key.path);
        let values = (
            self.key.bytes.as_ref(),
            self.bucket.number(),
            self.from.as_bytes().as_slice(),
            end.as_bytes().as_slice(),
            i32::try_from(self.page).unwrap_or(i32::MAX),
        );
        let result = core
            .client
            .execute(Op::IndexPage, statement, values)
            .await?;
        type Columns = (Bytes, Option<i32>, Option<Bytes>, Option<i64>);
        let found = rows::<Columns>(result)?;
        self.exhausted = found.len() < self.page;
        for (place, kind, author, expires) in found {
            let Some(place) = Place::from_slice(&place) else {
                continue;
            };
            self.from = place.next();
            self.rows.push_back(Row {
                place,
                kind: kind.and_then(|kind| Some(Kind::new(u16::try_from(kind).ok()?))),
                author: author
                    .and_then(|author| Some(PublicKey::new(author.as_ref().try_into().ok()?))),
                expires: expires.map(timestamp),
                origin: Some((Arc::clone(&self.key), self.bucket)),
                stored: None,
            });
        }
        Ok(())
    }
}

impl Directory {
    async fn load(&mut self, core: &Core) -> Result<(), StoreError> {
        // The first page begins with the end itself.
        let values = (
            self.key.path.number(),
            self.key.bytes.as_ref(),
            self.below.0,
            self.below.1,
            DIRECTORY_ROWS,
        );
        let result = core.client.run(Op::BucketPage, values).await?;
        let found = rows::<(i64, i64)>(result)?;
        self.exhausted = found.len() < usize::try_from(DIRECTORY_ROWS).unwrap_or(usize::MAX);
        for (end, number) in found {
            self.below = (end, number);
            self.from = self.from.max(from_end(end));
            match Bucket::from_number(number) {
                Some(bucket) => self.buckets.push_back(bucket),
                None => {
                    let text = format!("bucket {number} is of a newer program");
                    return Err(StoreError::Failed(text));
                }
            }
        }
        Ok(())
    }
}

impl List {
    async fn load(&mut self, core: &Core, start: Place, end: Place) -> Result<(), StoreError> {
        let wanted = std::mem::replace(&mut self.wanted, Wanted::Nothing);
        let mut rows = match wanted {
            Wanted::Ids(ids) if ids.len() <= WHOLE_EVENTS_MAX => {
                let found = core.shared_events(ids).await?;
                found.into_values().map(Row::of_event).collect()
            }
            Wanted::Ids(ids) => {
                let heads = core.heads(ids).await?.into_iter();
                heads
                    .map(|(id, head)| Row::listed(Place::new(head.at, &id), head.expires))
                    .collect()
            }
            Wanted::Addresses(addresses) => {
                let seats = core.seats(addresses.into_iter().collect()).await?;
                let seats = seats.into_values();
                seats
                    .map(|seat| Row::listed(Place::new(seat.at, &seat.id), seat.expires))
                    .collect()
            }
            Wanted::Nothing => Vec::new(),
        };
        rows.retain(|row| (start..=end).contains(&row.place));
        rows.sort_unstable_by_key(|row| row.place);
        self.rows = rows.into();
        Ok(())
    }
}

impl Row {
    fn listed(place: Place, expires: Option<Timestamp>) -> Self {
        Self {
            place,
            kind: None,
            author: None,
            expires,
            origin: None,
            stored: None,
        }
    }

    fn of_event(stored: Stored) -> Self {
        let event = &stored.event;
        Self {
            place: Place::of(event),
            kind: Some(event.kind()),
            author: Some(*event.pubkey()),
            expires: crate::key::expires(event),
            origin: None,
            stored: Some(stored),
        }
    }
}
