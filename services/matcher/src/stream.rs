//! The visible matches of one filter, newest first, cut at its limit.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashSet;
use heliograph_policy::{FilterLimits, Reader, Visibility};
use heliograph_protocol::{Event, EventId, Filter, Timestamp, TraceContext};
use heliograph_store::{End, Scan, ScanCost, StoreError};

/// Matches asked of the store at once, for all filters of a REQ together. A look at the recent tier
/// merges its lists anew, so one should do for a usual limit; of the archive it reads fewer at once.
const PAGE_ROWS_MAX: usize = 512;

/// Matches asked of the store at once for one filter at least.
const PAGE_ROWS_MIN: usize = 8;

/// How a filter's part of the answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It didn't: every visible match was given.
    Complete,
    /// At the client's own limit; whether others exist isn't known (R67-2).
    ByClient,
    /// At the relay's limit; others exist (R67-3).
    ByRelay,
    /// The budget was spent.
    Budget,
}

/// One filter's matches on their way into the union.
pub(crate) struct Stream<S> {
    scan: S,
    buffer: VecDeque<Arc<Event>>,
    /// Of what was read, the events that may still be announced.
    fresh: HashSet<EventId>,
    ended: Option<End>,
    cut: Option<Cut>,
    taken: usize,
    limit: usize,
    page_rows_max: usize,
    /// Whether `limit` is the relay's, not the client's.
    relays_limit: bool,
    /// The second in which the relay's limit was reached: its events are all given (R67-3).
    boundary: Option<Timestamp>,
    pub(crate) cost: ScanCost,
    pub(crate) hidden: u64,
}

impl<S: Scan> Stream<S> {
    /// The matches of `filter`, one of `filters` in its REQ.
    pub(crate) fn new(scan: S, filter: &Filter, filters: usize, limits: &FilterLimits) -> Self {
        let limit = limits.limit(filter);
        let relays_limit = filter
            .limit
            .is_none_or(|asked| usize::try_from(asked).is_ok_and(|asked| asked > limit));
        let cut = match limit {
            0 => Some(Cut::ByClient),
            _ => filter.matches_nothing().then_some(Cut::Complete),
        };
        Self {
            scan,
            buffer: VecDeque::new(),
            fresh: HashSet::new(),
            ended: None,
            cut,
            taken: 0,
            limit,
            page_rows_max: (PAGE_ROWS_MAX / filters.max(1)).max(PAGE_ROWS_MIN),
            relays_limit,
            boundary: None,
            cost: ScanCost::default(),
            hidden: 0,
        }
    }

    /// Belongs to a sampled question.
    pub(crate) fn trace(&mut self, parent: TraceContext) {
        self.scan.trace(parent);
    }

    /// The next match, left in place; `None` once the filter's part is over ([`Self::cut`]).
    pub(crate) async fn peek(
        &mut self,
        reader: &Reader,
        visibility: &Visibility,
    ) -> Result<Option<&Arc<Event>>, StoreError> {
        while self.cut.is_none() && self.buffer.is_empty() {
            if let Some(end) = self.ended {
                self.cut = Some(match end {
                    End::Complete => Cut::Complete,
                    End::Budget => Cut::Budget,
                });
                break;
            }
            self.read(reader, visibility).await?;
            if self.buffer.is_empty() {
                // Whole pages of hidden events come from memory at once: let others run.
                tokio::task::yield_now().await;
            }
        }
        if self.cut.is_none() {
            self.hold_against_limit();
        }
        Ok(if self.cut.is_none() {
            self.buffer.front()
        } else {
            None
        })
    }

    /// Reads one more page, leaving out what the reader may not see (R59-1).
    async fn read(&mut self, reader: &Reader, visibility: &Visibility) -> Result<(), StoreError> {
        // One more than the limit, so that "others exist" is known and not guessed.
        let wanted = (self.limit + 1)
            .saturating_sub(self.taken)
            .clamp(1, self.page_rows_max);
        let page = self.scan.next(wanted).await?;
        self.cost = page.cost;
        self.ended = page.end;
        self.fresh.extend(page.fresh);
        let before = page.events.len();
        self.buffer.extend(
            page.events
                .into_iter()
                .filter(|event| reader.may_see(event, visibility)),
        );
        self.hidden += (before - self.buffer.len()) as u64;
        Ok(())
    }

    /// Decides whether the match at the front is still within the limit.
    fn hold_against_limit(&mut self) {
        let Some(next) = self.buffer.front() else {
            return;
        };
        if self.taken < self.limit {
            return;
        }
        if !self.relays_limit {
            self.cut = Some(Cut::ByClient);
        } else if self.boundary != Some(next.created_at()) || self.taken >= 2 * self.limit {
            self.cut = Some(Cut::ByRelay);
        }
    }

    /// Takes the match that [`Self::peek`] showed.
    pub(crate) fn take(&mut self) -> Option<Arc<Event>> {
        let event = self.buffer.pop_front()?;
        self.taken += 1;
        if self.taken == self.limit {
            self.boundary = Some(event.created_at());
        }
        Some(event)
    }

    /// Whether an event that was read may still be announced.
    pub(crate) fn is_fresh(&self, id: &EventId) -> bool {
        self.fresh.contains(id)
    }

    /// The match that stood at the limit and wasn't given.
    pub(crate) fn left_out(&self) -> Option<&Arc<Event>> {
        self.buffer.front()
    }

    pub(crate) fn cut(&self) -> Option<Cut> {
        self.cut
    }
}
