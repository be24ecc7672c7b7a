//! A read over both tiers: above the floor from memory, below it from the archive.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use heliograph_protocol::{Event, EventId, Filter, TraceContext};
use heliograph_store::{Budget, End, EventStore, Page, Scan, ScanCost, ScanRequest, StoreError};
use heliograph_telemetry::trace::{Span, SpanKind, Value};

use crate::{
    Shared,
    cursor::{Ask, Found, Slice, Stop, look},
    entry::Position,
    keys::TagKey,
    seam::Below,
};

/// Entries looked at under one hold of the lock: about a tenth of a millisecond.
const SLICE_ENTRIES: u64 = 1_024;

/// Events read from the archive at once: what memory gives is there already, these are copies.
const ARCHIVE_ROWS_MAX: usize = 128;

/// Texts fetched from the archive at once.
const FETCH_EVENTS_MAX: usize = 256;

/// Spans of one read of a sampled question at most.
const SPANS_MAX: u32 = 32;

/// A running read of a [`Recent`](crate::Recent).
///
/// It keeps its place by position, so nothing is missed or repeated while events come and go, and
/// the step down to the archive is made under the same lock as the last look at memory: an event
/// that is evicted before that is found below the floor, one that is evicted later was returned.
#[derive(Debug)]
pub struct RecentScan<S: EventStore> {
    shared: Arc<Shared<S>>,
    request: ScanRequest,
    tag_keys: Option<Vec<Vec<TagKey>>>,
    after: Option<Position>,
    archive: Option<S::Scan>,
    /// What memory and fetches cost.
    cost: ScanCost,
    spent: Duration,
    /// The span that asks, if the question is sampled, and how many are below it.
    trace: Option<TraceContext>,
    spans: u32,
}

/// Texts brought back, and whether the budget ended before the last.
struct Fetched {
    events: Vec<Arc<Event>>,
    cut: bool,
}

impl<S: EventStore> RecentScan<S> {
    pub(crate) fn new(shared: Arc<Shared<S>>, request: ScanRequest) -> Self {
        Self {
            after: request
                .after
                .map(|(time, id)| (std::cmp::Reverse(time), id)),
            shared,
            request,
            tag_keys: None,
            archive: None,
            cost: ScanCost::default(),
            spent: Duration::ZERO,
            trace: None,
            spans: 0,
        }
    }

    /// Looks at memory once, with the lock held for at most [`SLICE_ENTRIES`].
    fn look(&mut self, rows: usize) -> Slice {
        let began = Instant::now();
        let span = self.span("recent");
        let left = self.left();
        let shared = Arc::clone(&self.shared);
        let state = shared.state.read();
        let filter = &*self.request.filter;
        let tag_keys = self.tag_keys.get_or_insert_with(|| {
            let hashes = state.index.hashes();
            let keys = filter.tags.iter().map(|condition| {
                let values = condition.values.iter();
                let mut keys: Vec<_> = values.map(|v| hashes.tag(condition.letter, v)).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            });
            keys.collect()
        });
        let slice = look(
            &state,
            &Ask {
                filter,
                tag_keys,
                after: self.after,
                now: self.request.now,
                rows,
                looked_max: left.rows.min(SLICE_ENTRIES),
                deadline: began.checked_add(left.time),
            },
        );
        drop(state);
        self.after = slice.after;
        self.cost.rows += slice.looked;
        self.spent += began.elapsed();
        end_span(span, slice.looked);
        slice
    }

    /// A span for one look at a tier, if the question is sampled.
    fn span(&mut self, tier: &'static str) -> Option<Span> {
        let parent = self.trace.filter(|_| self.spans < SPANS_MAX)?;
        self.spans += 1;
        let mut span = Span::begin("page", SpanKind::Internal, parent);
        span.set("tier", Value::Text(tier.to_owned()));
        Some(span)
    }

    /// What is left of the budget.
    fn left(&self) -> Budget {
        let budget = self.request.budget;
        Budget {
            rows: budget.rows.saturating_sub(self.cost.rows),
            time: budget.time.saturating_sub(self.spent),
        }
    }

    /// Puts the texts in: those that memory dropped come from the archive, by id. An event that has
    /// gone meanwhile is left out.
    async fn fetch(&mut self, found: Vec<Found>) -> Result<Fetched, StoreError> {
        let bare: Vec<EventId> = found
            .iter()
            .filter_map(|found| match found {
                Found::Text(_) => None,
                Found::Bare(id) => Some(*id),
            })
            .collect();
        let mut texts = HashMap::with_capacity(bare.len());
        // The newest come first, so what is missing when the budget ends is the rest of a batch.
        let mut unread = None;
        for ids in bare.chunks(FETCH_EVENTS_MAX) {
            if !self.fetch_batch(ids, &mut texts).await? {
                unread = ids.iter().find(|id| !texts.contains_key(id)).copied();
                break;
            }
        }
        let mut fetched = Fetched {
            events: Vec::with_capacity(found.len()),
            cut: unread.is_some(),
        };
        for found in found {
            match found {
                Found::Text(event) => fetched.events.push(event),
                Found::Bare(id) if Some(id) == unread => break,
                Found::Bare(id) => {
                    // It may only have seemed to match: tag keys collide.
                    let event = texts.remove(&id);
                    fetched
                        .events
                        .extend(event.filter(|event| self.request.filter.matches(event)));
                }
            }
        }
        Ok(fetched)
    }

    /// Reads some events by id. Whether the budget sufficed.
    async fn fetch_batch(
        &mut self,
        ids: &[EventId],
        texts: &mut HashMap<EventId, Arc<Event>>,
    ) -> Result<bool, StoreError> {
        let began = Instant::now();
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        let filter = Arc::new(Filter {
            ids: Some(sorted),
            ..Filter::default()
        });
        let (now, budget) = (self.request.now, self.left());
        let request = ScanRequest {
            filter,
            after: None,
            now,
            budget,
        };
        let span = self.span("archive");
        let mut scan = self.shared.archive.scan(request);
        self.cost.archive = true;
        let (end, rows) = loop {
            let page = scan.next(ids.len()).await?;
            texts.extend(page.events.into_iter().map(|event| (*event.id(), event)));
            if let Some(end) = page.end {
                break (end, page.cost.rows);
            }
        };
        self.cost.rows += rows;
        self.spent += began.elapsed();
        end_span(span, rows);
        Ok(end == End::Complete)
    }

    fn page(&self, events: Vec<Arc<Event>>, end: Option<End>) -> Page {
        let fresh = self.shared.state.read().fresh(&events);
        Page {
            events,
            fresh,
            end,
            cost: self.cost,
        }
    }

    /// Goes on below the floor.
    async fn descend(
        &mut self,
        filter: Arc<Filter>,
        rows: usize,
        mut events: Vec<Arc<Event>>,
    ) -> Result<Page, StoreError> {
        let request = ScanRequest {
            filter,
            after: self.after.map(|(time, id)| (time.0, id)),
            now: self.request.now,
            budget: self.left(),
        };
        self.archive = Some(self.shared.archive.scan(request));
        if events.len() >= rows {
            return Ok(self.page(events, None));
        }
        let mut fresh = self.shared.state.read().fresh(&events);
        let below = self.read_archive(rows - events.len()).await?;
        events.extend(below.events);
        fresh.extend(below.fresh);
        Ok(Page {
            events,
            fresh,
            ..below
        })
    }

    async fn read_archive(&mut self, rows: usize) -> Result<Page, StoreError> {
        let span = self.span("archive");
        let Some(archive) = &mut self.archive else {
            return Ok(self.page(Vec::new(), None));
        };
        let page = archive.next(rows.min(ARCHIVE_ROWS_MAX)).await?;
        end_span(span, page.cost.rows);
        let cost = ScanCost {
            rows: self.cost.rows + page.cost.rows,
            archive: true,
        };
        Ok(Page { cost, ..page })
    }
}

fn end_span(span: Option<Span>, rows: u64) {
    if let Some(mut span) = span {
        span.set("rows", Value::Int(i64::try_from(rows).unwrap_or(i64::MAX)));
    }
}

impl<S: EventStore> Scan for RecentScan<S> {
    fn trace(&mut self, parent: TraceContext) {
        self.trace = Some(parent);
    }

    async fn next(&mut self, rows: usize) -> Result<Page, StoreError> {
        let rows = rows.max(1);
        if self.archive.is_some() {
            return self.read_archive(rows).await;
        }
        loop {
            let slice = self.look(rows);
            let fetched = self.fetch(slice.found).await?;
            let events = fetched.events;
            if fetched.cut {
                return Ok(self.page(events, Some(End::Budget)));
            }
            match slice.stop {
                Stop::Rows => return Ok(self.page(events, None)),
                Stop::Time => return Ok(self.page(events, Some(End::Budget))),
                Stop::Looked if self.left().rows == 0 => {
                    return Ok(self.page(events, Some(End::Budget)));
                }
                Stop::Looked if !events.is_empty() => return Ok(self.page(events, None)),
                Stop::Looked => give_way().await,
                Stop::Floor(Below::Nothing) => return Ok(self.page(events, Some(End::Complete))),
                Stop::Floor(Below::Some(filter)) => {
                    return self.descend(filter, rows, events).await;
                }
            }
        }
    }
}

/// Lets the other tasks of this thread run once.
async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
