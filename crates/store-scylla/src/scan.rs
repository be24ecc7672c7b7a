//! Scans: the matches of one filter, page by page.
//!
//! Rows are decided by what stands in the index before an event is fetched; events are fetched many
//! at a time; a version counts only if it holds the seat of its address.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use heliograph_protocol::{EventId, Filter, Timestamp};
use heliograph_store::{End, Page, Scan, ScanCost, ScanRequest, StoreError};
use tokio::time::Instant;

use crate::{
    core::{Core, GuardMap, Stored, all},
    key::{AddressKey, GuardKey, Place},
    plan,
    walk::{Row, Step, Walk},
};

/// How long after it was stored an event may not have been announced: an ingest worker may die
/// between storing and announcing, and the batch come again to another one. Includes what the
/// clocks of workers may differ.
pub const FRESH_WINDOW: Duration = Duration::from_secs(15 * 60);

/// Events fetched at a time, at least and at most: not one by one when few match, and never a
/// page's whole weight beyond what was asked for.
const CHUNK: std::ops::RangeInclusive<usize> = 16..=256;

/// Rows of events that are no more which one page cleans up, of each sort.
const CLEAN_UP_MAX: usize = 4;

/// A running read of a [`ScyllaStore`](crate::ScyllaStore).
#[derive(Debug)]
pub struct ScyllaScan {
    core: Arc<Core>,
    request: ScanRequest,
    walk: Option<Walk>,
    ready: VecDeque<Stored>,
    end: Option<End>,
    cost: ScanCost,
    spent: Duration,
    /// A call is under way; if a call finds this set, the one before failed or was dropped.
    reading: bool,
}

impl ScyllaScan {
    pub(crate) fn new(core: Arc<Core>, request: ScanRequest) -> Self {
        Self {
            core,
            request,
            walk: None,
            ready: VecDeque::new(),
            end: None,
            cost: ScanCost::default(),
            spent: Duration::ZERO,
            reading: false,
        }
    }

    async fn read(&mut self, rows: usize, began: Instant) -> Result<(), StoreError> {
        let left = self.request.budget.time.saturating_sub(self.spent);
        let deadline = began.checked_add(left);
        while self.ready.len() < rows && self.end.is_none() {
            let missing = rows - self.ready.len();
            let chunk = missing.clamp(*CHUNK.start(), *CHUNK.end());
            let candidates = self.gather(chunk, rows, deadline).await?;
            let kept = self.fetch(candidates).await?;
            self.ready.extend(kept);
        }
        Ok(())
    }

    /// Rows that may match, in order, until there are enough, no more, or the budget is spent.
    async fn gather(
        &mut self,
        chunk: usize,
        wanted: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<Row>, StoreError> {
        let walk = self.walk.get_or_insert_with(|| begin(&self.request));
        let before = self.cost.rows;
        let mut candidates = Vec::new();
        while candidates.len() < chunk {
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late || self.cost.rows >= self.request.budget.rows {
                // The last row may have been the last of all, but nobody knows.
                self.end = Some(End::Budget);
                break;
            }
            match walk.next(&self.core, wanted, deadline).await? {
                Step::Row(row) => {
                    self.cost.rows += 1;
                    if may_match(&self.request, &row) {
                        candidates.push(*row);
                    }
                }
                Step::End => {
                    self.end = Some(End::Complete);
                    break;
                }
                Step::Late => {
                    self.end = Some(End::Budget);
                    break;
                }
            }
        }
        let rows = self.cost.rows - before;
        self.core.client.metrics().rows(rows);
        Ok(candidates)
    }

    /// The events of these rows that match and count, in order.
    async fn fetch(&self, mut rows: Vec<Row>) -> Result<Vec<Stored>, StoreError> {
        let absent = rows.iter().filter(|row| row.stored.is_none());
        let ids: Vec<EventId> = absent.map(|row| row.place.id()).collect();
        let mut found = self.core.shared_events(ids).await?;
        for row in &mut rows {
            if row.stored.is_none() {
                row.stored = found.remove(&row.place.id());
            }
        }
        let (mut matching, mut missing) = (Vec::new(), Vec::new());
        for mut row in rows {
            match row.stored.take() {
                None => missing.push(row),
                Some(stored) => {
                    let event = &stored.event;
                    if self.request.filter.matches(event) && !event.is_expired(self.request.now) {
                        matching.push(stored);
                    }
                }
            }
        }
        let (winners, losers) = self.core.winners(matching).await?;
        self.core.clean_up(&missing, losers).await?;
        Ok(winners)
    }
}

impl Scan for ScyllaScan {
    async fn next(&mut self, rows: usize) -> Result<Page, StoreError> {
        if self.reading {
            return Err(StoreError::Failed("a read was cut off before".to_owned()));
        }
        self.reading = true;
        self.cost.archive = true;
        let began = Instant::now();
        let read = Box::pin(self.read(rows, began)).await;
        self.spent += began.elapsed();
        read?;
        self.reading = false;
        let count = rows.min(self.ready.len());
        let taken: Vec<Stored> = self.ready.drain(..count).collect();
        let since = Timestamp::now().minus(self.core.fresh_window.as_secs());
        let fresh = taken.iter().filter(|stored| stored.stored_at >= since);
        Ok(Page {
            fresh: fresh.map(|stored| *stored.event.id()).collect(),
            end: self.end.filter(|_end| self.ready.is_empty()),
            events: taken.into_iter().map(|stored| stored.event).collect(),
            cost: self.cost,
        })
    }
}

fn begin(request: &ScanRequest) -> Walk {
    let filter = &request.filter;
    if filter.matches_nothing() {
        return Walk::new(Vec::new(), Place::FIRST, Place::LAST);
    }
    let until = filter.until.map_or(Place::FIRST, Place::first_of);
    let after = request.after;
    let after = after.map_or(Place::FIRST, |(at, id)| Place::new(at, &id).next());
    let end = filter.since.map_or(Place::LAST, Place::last_of);
    Walk::new(plan::plan(filter), until.max(after), end)
}

/// Whether a row may be a match, by what stands in it.
fn may_match(request: &ScanRequest, row: &Row) -> bool {
    let Filter {
        ids,
        authors,
        kinds,
        ..
    } = &*request.filter;
    let listed = |ids: &Vec<EventId>| ids.binary_search(&row.place.id()).is_ok();
    ids.as_ref().is_none_or(listed)
        && row.expires.is_none_or(|end| end > request.now)
        && may_be(authors.as_deref(), row.author.as_ref())
        && may_be(kinds.as_deref(), row.kind.as_ref())
}

fn may_be<T: Ord>(wanted: Option<&[T]>, value: Option<&T>) -> bool {
    match (wanted, value) {
        (Some(wanted), Some(value)) => wanted.binary_search(value).is_ok(),
        _ => true,
    }
}

impl Core {
    /// Those events that count, and those that never will again because their address has a better
    /// version. One that is being written is neither.
    pub(crate) async fn winners(
        &self,
        events: Vec<Stored>,
    ) -> Result<(Vec<Stored>, Vec<Stored>), StoreError> {
        let address = |stored: &Stored| AddressKey::of(&stored.event);
        let addresses: HashSet<AddressKey> = events.iter().filter_map(address).collect();
        let seats = self.seats(addresses).await?;
        let (mut winners, mut losers) = (Vec::with_capacity(events.len()), Vec::new());
        for stored in events {
            let Some(address) = address(&stored) else {
                winners.push(stored);
                continue;
            };
            match seats.get(&address) {
                Some(seat) if seat.id == *stored.event.id() => winners.push(stored),
                Some(seat) if seat.beats(&stored.event) => losers.push(stored),
                _ => {}
            }
        }
        Ok((winners, losers))
    }

    /// Removes a few rows that will never count again. A row without its event may be one that is
    /// just being written, so it goes only if a guard forbids the event for ever.
    async fn clean_up(&self, missing: &[Row], losers: Vec<Stored>) -> Result<(), StoreError> {
        let losers: Vec<_> = losers
            .into_iter()
            .take(CLEAN_UP_MAX)
            .map(Into::into)
            .collect();
        self.remove(losers).await?;
        let known = missing.iter().filter_map(|row| {
            let (key, bucket) = row.origin.as_ref()?;
            Some((row, row.author?, key, bucket))
        });
        let known: Vec<_> = known.take(CLEAN_UP_MAX).collect();
        let keys = known.iter().flat_map(|(row, author, ..)| {
            let id = row.place.id();
            [GuardKey::id(author, &id), GuardKey::vanish(author)]
        });
        let guards = self.guards(keys).await?;
        let dead = known
            .into_iter()
            .filter(|(row, author, ..)| is_dead(row, author, &guards));
        let removals = dead.map(|(row, _author, key, bucket)| {
            self.client.metrics().stale();
            self.remove_rows(Arc::clone(key), *bucket, vec![row.place])
        });
        all(removals.collect::<Vec<_>>()).await?;
        Ok(())
    }
}

/// Whether the event of a row is guarded, as far as the row tells.
fn is_dead(row: &Row, author: &heliograph_protocol::PublicKey, guards: &GuardMap) -> bool {
    let guards: &HashMap<GuardKey, Timestamp> = &guards.0;
    let deletable = row.kind.is_some_and(heliograph_store::rules::is_deletable);
    // A request to vanish of that very second may stay, so only older ones count as gone.
    let vanished = guards.get(&GuardKey::vanish(author));
    deletable && guards.contains_key(&GuardKey::id(author, &row.place.id()))
        || vanished.is_some_and(|until| row.place.at() < *until)
}
