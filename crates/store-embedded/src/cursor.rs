//! Cursors over the database and their merge, newest first. Nothing here holds a transaction: each
//! cursor has a small buffer and seeks again from its last place.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_protocol::{Event, EventId, Filter, Timestamp};
use smallvec::SmallVec;

use crate::{
    error::Fault,
    layout::{Handle, Index, Key, NO_SEQ, Place, Row, read_rows},
    lookup::Snapshot,
    overlay::Position,
    plan::Merge,
    tables::{Table, Tables},
};

/// Rows that one refill of a cursor keeps at most.
const CHUNK_MAX: usize = 64;
/// Rows that one refill looks at, at most, before time is looked at again.
const LOOK_MAX: u64 = 256;
/// Events of a point look-up that are kept until they are returned; the others are read twice.
const KEPT_MAX: usize = 256;

/// When a slice has to stop.
#[derive(Debug)]
pub(crate) struct Clock {
    deadline: Instant,
    rows_left: u64,
    pub(crate) rows: u64,
    checks: u32,
    over: bool,
    gave_way: Instant,
}

/// How long a read holds its core before it lets others have it that wait for one. A scheduler may
/// let a thread run on for most of a millisecond, which a look-up would notice.
const GIVE_WAY_EVERY: Duration = Duration::from_micros(100);

/// Candidates of one place, or progress without any.
#[derive(Debug)]
pub(crate) struct Group {
    /// Everything up to here has been looked at.
    pub(crate) upto: Position,
    pub(crate) candidates: SmallVec<[Candidate; 1]>,
}

#[derive(Debug)]
pub(crate) enum Candidate {
    Seq(u64),
    Loaded { event: Arc<Event>, expires: bool },
}

/// The part of the order that is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Where to begin; what lies before it shares a place at most.
    pub(crate) start: Place,
    /// The complement of the oldest time wanted.
    pub(crate) last_inverse: u64,
}

/// A merge under way.
#[derive(Debug)]
pub(crate) struct MergeRun {
    merge: Merge,
    window: Window,
    /// Prefixes that have their cursors, and the kind to go on with at the next one.
    prepared: usize,
    next_kind: u32,
    chunk: usize,
    cursors: Vec<Cursor>,
    heap: BinaryHeap<Reverse<(Place, usize)>>,
}

#[derive(Debug)]
struct Cursor {
    prefix: Key,
    last: Option<Place>,
    buffer: VecDeque<Row>,
    chunk: usize,
    ended: bool,
}

/// A point look-up under way.
#[derive(Debug)]
pub(crate) struct PointRun {
    points: Points,
    window: Window,
    prepared: usize,
    found: Vec<Point>,
    sorted: bool,
}

#[derive(Debug)]
pub(crate) enum Points {
    Ids(Vec<EventId>),
    Seats(Vec<[u8; 16]>),
}

#[derive(Debug)]
struct Point {
    position: Position,
    candidate: Candidate,
}

impl Clock {
    pub(crate) fn new(deadline: Instant, rows_left: u64) -> Self {
        Self {
            deadline,
            rows_left,
            rows: 0,
            checks: 0,
            over: false,
            gave_way: Instant::now(),
        }
    }

    pub(crate) fn count(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Whether rows or time are used up. Looks at the time now and then.
    pub(crate) fn is_over(&mut self) -> bool {
        self.checks += 1;
        if self.checks.is_multiple_of(4) {
            let now = Instant::now();
            self.over |= now >= self.deadline;
            if now.duration_since(self.gave_way) >= GIVE_WAY_EVERY {
                std::thread::yield_now();
                self.gave_way = Instant::now();
            }
        }
        self.over || self.rows >= self.rows_left
    }
}

impl Window {
    pub(crate) fn new(filter: &Filter, after: Option<Position>) -> Self {
        let until = filter.until.map_or(0, |until| !until.as_secs());
        let mut start = Place {
            inverse: until,
            id8: 0,
        };
        if let Some((Reverse(time), id)) = after {
            start = start.max(Place::of(time, &id));
        }
        Self {
            start,
            last_inverse: !filter.since.map_or(0, Timestamp::as_secs),
        }
    }

    fn has(&self, place: Place) -> bool {
        place >= self.start && place.inverse <= self.last_inverse
    }
}

impl MergeRun {
    /// A merge of which `wanted` rows are expected to be used.
    pub(crate) fn new(merge: Merge, window: Window, wanted: usize) -> Self {
        let chunk = (2 * wanted / merge.prefixes.len().max(1)).clamp(2, CHUNK_MAX);
        Self {
            merge,
            window,
            prepared: 0,
            next_kind: 0,
            chunk,
            cursors: Vec::new(),
            heap: BinaryHeap::new(),
        }
    }

    /// Opens cursors until all are there; `false` if the clock stopped it before.
    pub(crate) fn prepare(
        &mut self,
        snapshot: &Snapshot<'_>,
        clock: &mut Clock,
    ) -> Result<bool, Fault> {
        while self.prepared < self.merge.prefixes.len() {
            if clock.is_over() {
                return Ok(false);
            }
            let prefix = self.merge.prefixes[self.prepared].clone();
            let prefix = if self.merge.expand {
                self.expand(prefix, snapshot, clock)?
            } else {
                self.prepared += 1;
                Some(prefix)
            };
            if let Some(prefix) = prefix {
                self.open(prefix, snapshot, clock)?;
            }
        }
        Ok(true)
    }

    /// Finds the next kind below `prefix` and returns both, or goes on to the next prefix.
    fn expand(
        &mut self,
        mut prefix: Key,
        snapshot: &Snapshot<'_>,
        clock: &mut Clock,
    ) -> Result<Option<Key>, Fault> {
        clock.count(1);
        let mut from = prefix.clone();
        let next_kind = u16::try_from(self.next_kind).ok();
        let found = match next_kind {
            None => None,
            Some(kind) => {
                from.extend_from_slice(&kind.to_be_bytes());
                let table = table(&snapshot.tables, self.merge.index);
                table.get_greater_than_or_equal_to(snapshot.txn, &from)?
            }
        };
        let kind = found.and_then(|(key, _value)| {
            let kind = key.strip_prefix(&prefix[..])?.first_chunk::<2>()?;
            Some(u16::from_be_bytes(*kind))
        });
        let Some(kind) = kind else {
            self.prepared += 1;
            self.next_kind = 0;
            return Ok(None);
        };
        let wanted = match &self.merge.kinds {
            None => Some(kind),
            // The next kind asked for, which may lie behind the one found.
            Some(kinds) => kinds
                .get(kinds.partition_point(|wanted| *wanted < kind))
                .copied(),
        };
        self.next_kind = match wanted {
            None => u32::from(u16::MAX) + 1,
            Some(wanted) if wanted == kind => u32::from(kind) + 1,
            Some(wanted) => u32::from(wanted),
        };
        prefix.extend_from_slice(&kind.to_be_bytes());
        Ok((wanted == Some(kind)).then_some(prefix))
    }

    fn open(
        &mut self,
        prefix: Key,
        snapshot: &Snapshot<'_>,
        clock: &mut Clock,
    ) -> Result<(), Fault> {
        let chunk = self.chunk;
        self.cursors.push(Cursor {
            prefix,
            last: None,
            buffer: VecDeque::new(),
            chunk,
            ended: false,
        });
        self.refill(self.cursors.len() - 1, snapshot, clock)
    }

    /// Makes sure that the cursor has a row, or has moved on, and puts it back into the heap.
    fn refill(
        &mut self,
        index: usize,
        snapshot: &Snapshot<'_>,
        clock: &mut Clock,
    ) -> Result<(), Fault> {
        let cursor = &mut self.cursors[index];
        if cursor.buffer.is_empty() && !cursor.ended {
            cursor.fill(&self.merge, &self.window, snapshot, clock)?;
        }
        let next = cursor.buffer.front().map(|row| row.place);
        if let Some(place) = next.or(cursor.last.filter(|_last| !cursor.ended)) {
            self.heap.push(Reverse((place, index)));
        }
        Ok(())
    }

    /// Rows that were looked at and not returned yet.
    pub(crate) fn buffered(&self) -> usize {
        self.cursors.iter().map(|cursor| cursor.buffer.len()).sum()
    }

    /// The rows at the next place; `None` after the last.
    pub(crate) fn next(
        &mut self,
        snapshot: &Snapshot<'_>,
        clock: &mut Clock,
    ) -> Result<Option<Group>, Fault> {
        let Some(Reverse((place, _index))) = self.heap.peek().copied() else {
            return Ok(None);
        };
        let mut seqs: SmallVec<[u64; 2]> = SmallVec::new();
        while let Some(Reverse((at, index))) = self.heap.peek().copied() {
            if at != place {
                break;
            }
            self.heap.pop();
            let buffer = &mut self.cursors[index].buffer;
            while let Some(row) = buffer.front().filter(|row| row.place == place) {
                if !seqs.contains(&row.seq) {
                    seqs.push(row.seq);
                }
                buffer.pop_front();
            }
            self.refill(index, snapshot, clock)?;
        }
        let candidates = seqs.into_iter().map(Candidate::Seq).collect();
        Ok(Some(Group {
            upto: place.last_position(),
            candidates,
        }))
    }
}

impl Cursor {
    fn fill(
        &mut self,
        merge: &Merge,
        window: &Window,
        snapshot: &Snapshot<'_>,
        clock: &mut Clock,
    ) -> Result<(), Fault> {
        let key = |place: Place| {
            let mut key = self.prefix.clone();
            key.extend_from_slice(&place.bytes());
            key
        };
        let from = key(self.last.unwrap_or(window.start));
        let to = key(Place {
            inverse: window.last_inverse,
            id8: u64::MAX,
        });
        let from = match self.last {
            Some(_) => Bound::Excluded(&from[..]),
            None => Bound::Included(&from[..]),
        };
        let bounds = (from, Bound::Included(&to[..]));
        if matches!(bounds, (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b)) if a > b)
        {
            self.ended = true;
            return Ok(());
        }
        let mut looked = 0;
        let mut rows = table(&snapshot.tables, merge.index).range(snapshot.txn, &bounds)?;
        while self.buffer.len() < self.chunk && looked < LOOK_MAX {
            let Some(row) = rows.next() else {
                self.ended = true;
                break;
            };
            looked += 1;
            let (key, value) = row?;
            let entries = read_rows(merge.index, key, value);
            let entries = entries.ok_or(Fault::Corrupt("index row"))?;
            self.last = entries.first().map(|row| row.place).or(self.last);
            self.buffer
                .extend(entries.into_iter().filter(|row| allows(merge, &row.author)));
        }
        clock.count(looked.max(1));
        self.chunk = (self.chunk * 2).min(CHUNK_MAX);
        Ok(())
    }
}

fn allows(merge: &Merge, author: &Handle) -> bool {
    merge
        .authors
        .as_ref()
        .is_none_or(|authors| authors.binary_search(author).is_ok())
}

fn table(tables: &Tables, index: Index) -> Table {
    match index {
        Index::Author => tables.by_author,
        Index::Kind => tables.by_kind,
        Index::Time => tables.by_time,
        Index::Tag => tables.by_tag,
    }
}

impl PointRun {
    pub(crate) fn new(points: Points, window: Window) -> Self {
        Self {
            points,
            window,
            prepared: 0,
            found: Vec::new(),
            sorted: false,
        }
    }

    /// Looks points up until all are done; `false` if the clock stopped it before.
    pub(crate) fn prepare(
        &mut self,
        snapshot: &mut Snapshot<'_>,
        clock: &mut Clock,
    ) -> Result<bool, Fault> {
        let points = match &self.points {
            Points::Ids(ids) => ids.len(),
            Points::Seats(seats) => seats.len(),
        };
        while self.prepared < points {
            if clock.is_over() {
                return Ok(false);
            }
            clock.count(1);
            let found = match &self.points {
                Points::Ids(ids) => find_id(snapshot, &ids[self.prepared], self.found.len())?,
                Points::Seats(seats) => find_seat(snapshot, &seats[self.prepared])?,
            };
            let window = &self.window;
            self.found.extend(found.filter(|point| {
                let (Reverse(time), id) = &point.position;
                window.has(Place::of(*time, id))
            }));
            self.prepared += 1;
        }
        if !self.sorted {
            // Backwards, so that the next one is the last.
            self.found
                .sort_unstable_by_key(|point| Reverse(point.position));
            self.sorted = true;
        }
        Ok(true)
    }

    pub(crate) fn next(&mut self) -> Option<Group> {
        let point = self.found.pop()?;
        Some(Group {
            upto: point.position,
            candidates: [point.candidate].into_iter().collect(),
        })
    }
}

fn find_id(snapshot: &mut Snapshot<'_>, id: &EventId, kept: usize) -> Result<Option<Point>, Fault> {
    let Some((seq, found)) = snapshot.find(id)? else {
        return Ok(None);
    };
    let position = found.event.position();
    let candidate = if kept < KEPT_MAX {
        Candidate::Loaded {
            event: Arc::new(found.event),
            expires: found.expires,
        }
    } else {
        Candidate::Seq(seq)
    };
    Ok(Some(Point {
        position,
        candidate,
    }))
}

fn find_seat(snapshot: &Snapshot<'_>, key: &[u8; 16]) -> Result<Option<Point>, Fault> {
    let seat = snapshot.seat(key)?.filter(|seat| seat.seq != NO_SEQ);
    Ok(seat.map(|seat| Point {
        position: seat.position,
        candidate: Candidate::Seq(seat.seq),
    }))
}
