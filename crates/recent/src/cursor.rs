//! One look at the index: a bounded number of entries, newest first, merged from the lists that the
//! filter selects.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::Arc,
    time::Instant,
};

use heliograph_protocol::{Event, EventId, Filter, Kind, PublicKey, Timestamp};

use crate::{
    entry::{Body, Entry, Position, Slot},
    index::Index,
    keys::TagKey,
    list::{List, Mark},
    seam::{Below, below},
    state::State,
    tables::{Author, Slots},
};

/// Matches without a text in one look at most: they are read from the archive at once.
const BARE_MAX: usize = 128;

/// How often the clock is looked at, in entries.
const CLOCK_EVERY: u64 = 256;

/// What one look is to find.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) filter: &'a Filter,
    /// The keys of the values of each tag condition, sorted.
    pub(crate) tag_keys: &'a [Vec<TagKey>],
    pub(crate) after: Option<Position>,
    pub(crate) now: Timestamp,
    /// Matches at most.
    pub(crate) rows: usize,
    /// Entries looked at, at most.
    pub(crate) looked_max: u64,
    pub(crate) deadline: Option<Instant>,
}

/// What one look found.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) found: Vec<Found>,
    /// Where to go on.
    pub(crate) after: Option<Position>,
    pub(crate) looked: u64,
    pub(crate) stop: Stop,
}

/// A match, or an entry without a text that may be one.
#[derive(Debug)]
pub(crate) enum Found {
    Text(Arc<Event>),
    Bare(EventId),
}

/// Why a look ended.
#[derive(Debug)]
pub(crate) enum Stop {
    /// As many matches as asked for, or as may be read at once.
    Rows,
    /// As many entries as allowed; there are others.
    Looked,
    /// The time is over; there are others.
    Time,
    /// Nothing is left above the floor.
    Floor(Below),
}

/// The part of every list that is still to be read.
#[derive(Debug, Clone, Copy)]
enum Bound {
    All,
    Until(Timestamp),
    After(Position),
}

/// A list to merge, and the newest time in it, if it is known without looking.
#[derive(Debug)]
struct Source<'a> {
    slots: Slots<'a>,
    newest: Option<Timestamp>,
}

/// Which condition gave the lists, so that it isn't checked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Time,
    Kinds,
    Ids,
    Tag,
    Authors,
}

/// The newest unread entry of one list. The greatest is the newest.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    time: Timestamp,
    id: EventId,
    /// `None` if only an upper bound of its time is known so far.
    slot: Option<Slot>,
    source: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        // A bound comes before the entries of its second, so that it is resolved first.
        let bound = |head: &Self| head.slot.is_none();
        (self.time.cmp(&other.time))
            .then_with(|| bound(self).cmp(&bound(other)))
            .then_with(|| other.id.cmp(&self.id))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Bound {
    fn new(filter: &Filter, after: Option<Position>) -> Self {
        match (filter.until, after) {
            (Some(until), Some((time, _id))) if until < time.0 => Self::Until(until),
            (_, Some(after)) => Self::After(after),
            (Some(until), None) => Self::Until(until),
            (None, None) => Self::All,
        }
    }

    fn contains(self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Until(until) => entry.created_at <= until,
            Self::After(after) => entry.position() > after,
        }
    }

    fn newest(self) -> Timestamp {
        match self {
            Self::All => Timestamp::from_secs(u64::MAX),
            Self::Until(until) => until,
            Self::After((time, _id)) => time.0,
        }
    }

    fn mark(self, list: &List, index: &Index) -> Mark {
        match self {
            Self::All => list.end(),
            bound => list.mark(index.entries(), |entry| bound.contains(entry)),
        }
    }
}

/// Reads on in the index, from `ask.after` down to the floor.
pub(crate) fn look(state: &State, ask: &Ask<'_>) -> Slice {
    let stop = |stop| Slice {
        found: Vec::new(),
        after: ask.after,
        looked: 0,
        stop,
    };
    let whole = holds_all_ids(state, ask.filter);
    let bottom = if whole {
        Timestamp::default()
    } else {
        state.floor
    };
    let bottom = bottom.max(ask.filter.since.unwrap_or_default());
    let bound = Bound::new(ask.filter, ask.after);
    let nothing_above = !whole && !state.covers(bound.newest());
    let below = || {
        if whole {
            Below::Nothing
        } else {
            below(state, ask.filter)
        }
    };
    if nothing_above || bound.newest() < bottom {
        return stop(Stop::Floor(below()));
    }
    let (path, sources) = select(&state.index, ask.filter, ask.tag_keys);
    let mut merge = Merge::new(&state.index, &sources, bound, bottom);
    let mut slice = Slice {
        found: Vec::new(),
        after: ask.after,
        looked: 0,
        stop: Stop::Rows,
    };
    let check = Check {
        index: &state.index,
        ask,
        path,
    };
    let mut bare = 0;
    while slice.found.len() < ask.rows && bare < BARE_MAX {
        let Some(slot) = merge.next() else {
            slice.stop = Stop::Floor(below());
            return slice;
        };
        if slice.looked >= ask.looked_max {
            slice.stop = Stop::Looked;
            return slice;
        }
        if slice.looked.is_multiple_of(CLOCK_EVERY)
            && ask.deadline.is_some_and(|end| Instant::now() >= end)
        {
            slice.stop = Stop::Time;
            return slice;
        }
        slice.looked += 1;
        slice.after = Some(state.index.get(slot).position());
        let found = check.found(slot);
        bare += usize::from(matches!(found, Some(Found::Bare(_))));
        slice.found.extend(found);
    }
    slice
}

/// Whether every id asked for is in the index, so that the archive can't know more.
fn holds_all_ids(state: &State, filter: &Filter) -> bool {
    let Some(ids) = &filter.ids else { return false };
    ids.len() <= state.index.len() && ids.iter().all(|id| state.index.find(id).is_some())
}

/// The conditions that the choice of lists left open.
struct Check<'a> {
    index: &'a Index,
    ask: &'a Ask<'a>,
    path: Path,
}

impl Check<'_> {
    fn found(&self, slot: Slot) -> Option<Found> {
        let (entry, filter) = (self.index.get(slot), self.ask.filter);
        let kind = filter
            .kinds
            .as_ref()
            .is_none_or(|kinds| kinds.binary_search(&entry.kind).is_ok());
        let author =
            || self.path == Path::Authors || contains(&filter.authors, self.index.author(entry));
        let id = || self.path == Path::Ids || contains(&filter.ids, &entry.id);
        if !kind || !author() || !id() || self.index.is_expired(slot, self.ask.now) {
            return None;
        }
        match &entry.body {
            Body::Text(event) => {
                let tags = filter.tags.iter().all(|condition| condition.matches(event));
                tags.then(|| Found::Text(Arc::clone(event)))
            }
            Body::Keys(_) => {
                let tags = self.index.bare_tags(entry);
                let some =
                    |wanted: &Vec<TagKey>| tags.iter().any(|key| wanted.binary_search(key).is_ok());
                self.ask
                    .tag_keys
                    .iter()
                    .all(some)
                    .then_some(Found::Bare(entry.id))
            }
        }
    }
}

fn contains<T: Ord>(list: &Option<Vec<T>>, value: &T) -> bool {
    list.as_ref()
        .is_none_or(|list| list.binary_search(value).is_ok())
}

/// The lists with the fewest entries together that hold every match.
fn select<'a>(
    index: &'a Index,
    filter: &Filter,
    tag_keys: &[Vec<TagKey>],
) -> (Path, Vec<Source<'a>>) {
    let time = Source {
        slots: Slots::Many(index.time()),
        newest: None,
    };
    let mut best = (index.len(), Path::Time, vec![time]);
    let mut offer = |path, sources: Vec<Source<'a>>| {
        let len = sources.iter().map(|source| source.slots.len()).sum();
        if len < best.0 {
            best = (len, path, sources);
        }
        best.0
    };
    let mut least = usize::MAX;
    if let Some(ids) = &filter.ids {
        let slots = ids.iter().filter_map(|id| index.find(id));
        least = offer(
            Path::Ids,
            slots.map(|slot| source(Slots::One(slot))).collect(),
        );
    }
    for keys in tag_keys {
        if keys.len() >= least {
            continue;
        }
        let slots = keys.iter().filter_map(|key| index.tag(*key));
        least = offer(Path::Tag, slots.map(source).collect());
    }
    if let Some(kinds) = &filter.kinds {
        let lists = kinds.iter().filter_map(|kind| index.kind(*kind));
        least = offer(
            Path::Kinds,
            lists.map(|list| source(Slots::Many(list))).collect(),
        );
    }
    if let Some(authors) = filter
        .authors
        .as_ref()
        .filter(|authors| authors.len() / 4 <= least)
    {
        offer(
            Path::Authors,
            authored(index, authors, filter.kinds.as_deref()),
        );
    }
    (best.1, best.2)
}

const fn source(slots: Slots<'_>) -> Source<'_> {
    Source {
        slots,
        newest: None,
    }
}

fn authored<'a>(
    index: &'a Index,
    authors: &[PublicKey],
    kinds: Option<&[Kind]>,
) -> Vec<Source<'a>> {
    let mut sources =
        Vec::with_capacity(authors.len() * kinds.map_or(1, |kinds| kinds.len().min(4)));
    // First all authors, then all their rows: short loops, in which the memory is waited for once and
    // not once for each author.
    let found: Vec<&Author> = authors
        .iter()
        .filter_map(|author| index.find_author(author))
        .collect();
    for author in found {
        let wanted = |kind: &Kind| kinds.is_none_or(|kinds| kinds.binary_search(kind).is_ok());
        for row in author.rows.iter().filter(|row| wanted(&row.kind)) {
            sources.push(Source {
                slots: Slots::Many(&row.list),
                newest: Some(row.newest),
            });
        }
    }
    sources
}

/// Walks several lists as one, newest first, each entry once.
struct Merge<'a> {
    index: &'a Index,
    sources: &'a [Source<'a>],
    marks: Vec<Mark>,
    heads: BinaryHeap<Head>,
    bound: Bound,
    bottom: Timestamp,
    last: Option<Slot>,
}

impl<'a> Merge<'a> {
    fn new(index: &'a Index, sources: &'a [Source<'a>], bound: Bound, bottom: Timestamp) -> Self {
        let mut merge = Self {
            index,
            sources,
            marks: vec![List::start(); sources.len()],
            heads: BinaryHeap::new(),
            bound,
            bottom,
            last: None,
        };
        let heads = sources
            .iter()
            .enumerate()
            .filter_map(|(at, source)| merge.open(at, source));
        merge.heads = heads.collect::<Vec<_>>().into();
        merge
    }

    /// The head of a list, without looking into it: most lists of a feed are never looked at.
    fn open(&self, at: usize, source: &Source<'_>) -> Option<Head> {
        let (time, slot, id) = match (source.slots, source.newest) {
            (Slots::One(slot), _) => {
                let entry = self.index.get(slot);
                if !self.bound.contains(entry) {
                    return None;
                }
                (entry.created_at, Some(slot), entry.id)
            }
            (Slots::Many(_), newest) => {
                let newest = newest
                    .unwrap_or(self.bound.newest())
                    .min(self.bound.newest());
                (newest, None, EventId::new([0; 32]))
            }
        };
        (time >= self.bottom).then_some(Head {
            time,
            id,
            slot,
            source: at,
        })
    }

    fn next(&mut self) -> Option<Slot> {
        while let Some(mut head) = self.heads.peek_mut() {
            if head.time < self.bottom {
                return None;
            }
            let (slot, at) = (head.slot, head.source);
            let next = match self.sources[at].slots {
                Slots::One(_) => None,
                Slots::Many(list) => {
                    if slot.is_none() {
                        self.marks[at] = self.bound.mark(list, self.index);
                    }
                    list.next_older(&mut self.marks[at])
                }
            };
            match next {
                Some(next) => {
                    let entry = self.index.get(next);
                    head.time = entry.created_at;
                    head.id = entry.id;
                    head.slot = Some(next);
                }
                None => drop(PeekMut::pop(head)),
            }
            if slot.is_some() && slot != self.last {
                self.last = slot;
                return slot;
            }
        }
        None
    }
}
