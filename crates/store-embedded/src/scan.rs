//! A scan: the database's candidates and the levels above it, merged in order, a slice at a time.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_policy::RelayUrls;
use heliograph_protocol::Event;
use heliograph_store::{End, Page, Scan, ScanCost, ScanRequest, StoreError};
use parking_lot::RwLockReadGuard;
use tokio::sync::oneshot;

use crate::{
    cursor::{Candidate, Clock, MergeRun, PointRun, Points, Window},
    environment::ReadTxn,
    error::Fault,
    lookup::Snapshot,
    overlay::{Level, Position, SharedLevel},
    plan::{Merge, Plan, plan},
    readers::{Pool, ScanJob},
};

/// Candidates that are read before they are merged with the levels.
const GATHER_MAX: usize = 64;
/// Rows of a trial walk before it is judged for the first time.
const TRIAL_ROWS_MIN: u64 = 128;

/// The levels and the database at one moment: what left a level is in the database.
pub(crate) struct View<'a> {
    pub(crate) txn: ReadTxn<'a>,
    pub(crate) levels: Vec<SharedLevel>,
    /// The second level is in the database if that has the log up to this segment.
    pub(crate) frozen_segment: Option<u64>,
}

/// Where views come from.
pub(crate) trait Viewable: Send + Sync + std::fmt::Debug {
    fn view(&self) -> Result<View<'_>, Fault>;
    fn relay_urls(&self) -> &RelayUrls;
    /// Counts a time slice: the index rows and events looked at, and how long it took.
    fn count_slice(&self, rows: u64, took: Duration);
}

/// A running read.
#[derive(Debug)]
pub struct EmbeddedScan {
    pool: Arc<Pool>,
    state: Option<Box<ScanState>>,
    pending: Option<oneshot::Receiver<Answer>>,
}

pub(crate) type Answer = Result<(Box<ScanState>, Page), StoreError>;

/// A scan between two slices. It holds no transaction.
#[derive(Debug)]
pub(crate) struct ScanState {
    request: ScanRequest,
    /// Made on a reader thread.
    plan: Option<Plan>,
    run: Option<Run>,
    /// The state of the database when the run began. What was flushed since is in the levels
    /// held for this page; for the next page the run begins anew.
    generation: (u64, usize),
    page_levels: Vec<SharedLevel>,
    page_began: bool,
    /// Everything up to here was returned or left out.
    after: Option<Position>,
    /// Everything in the database up to here was read; what wasn't returned yet is in `carry`.
    reached: Option<Position>,
    exhausted: bool,
    carry: Vec<Found>,
    /// Matches expected to be wanted, for estimates.
    wanted: usize,
    rows: u64,
    pub(crate) spent: Duration,
}

#[derive(Debug)]
enum Run {
    Points(PointRun),
    Merge(MergeRun),
    Trial(Trial),
}

#[derive(Debug)]
struct Trial {
    walk: MergeRun,
    merge: Merge,
    merge_rows: u64,
    rows: u64,
    hits: u64,
    judge_at: u64,
}

#[derive(Debug, Clone)]
struct Found {
    event: Arc<Event>,
    expires: bool,
}

impl EmbeddedScan {
    pub(crate) fn new(pool: Arc<Pool>, request: ScanRequest) -> Self {
        let state = Some(Box::new(ScanState::new(request)));
        Self {
            pool,
            state,
            pending: None,
        }
    }
}

impl Scan for EmbeddedScan {
    async fn next(&mut self, rows: usize) -> Result<Page, StoreError> {
        if let Some(mut state) = self.state.take() {
            if state.request.filter.matches_nothing() {
                return Ok(Page {
                    end: Some(End::Complete),
                    ..Page::default()
                });
            }
            state.page_began = false;
            let (reply, answer) = oneshot::channel();
            self.pool
                .scan(ScanJob {
                    state,
                    page: Page::default(),
                    rows: rows.max(1),
                    reply,
                })
                .await?;
            self.pending = Some(answer);
        }
        // Kept until it has come, so that a caller who gave up waiting may ask again.
        let Some(answer) = &mut self.pending else {
            return Err(StoreError::Closed);
        };
        let answer = answer.await;
        self.pending = None;
        let (state, page) = answer.map_err(|_stopped| StoreError::Closed)??;
        self.state = Some(state);
        Ok(page)
    }
}

impl ScanState {
    /// Whether it looks up ids.
    pub(crate) fn is_point(&self) -> bool {
        self.request.filter.ids.is_some()
    }

    pub(crate) fn new(request: ScanRequest) -> Self {
        Self {
            plan: None,
            run: None,
            generation: (0, 0),
            page_levels: Vec::new(),
            page_began: false,
            after: request.after.map(|(time, id)| (Reverse(time), id)),
            reached: None,
            exhausted: false,
            carry: Vec::new(),
            wanted: 0,
            rows: 0,
            spent: Duration::ZERO,
            request,
        }
    }

    /// Reads on for about `slice`; whether the page is done.
    pub(crate) fn slice(
        &mut self,
        store: &dyn Viewable,
        page: &mut Page,
        rows: usize,
        slice: Duration,
    ) -> Result<bool, StoreError> {
        let began = Instant::now();
        if self.is_spent() {
            return Ok(self.end_page(page, rows));
        }
        let budget = self.request.budget;
        let time = slice.min(budget.time.saturating_sub(self.spent));
        let view = store.view()?;
        // From here on, so that each slice gets on, whatever the view took.
        let deadline = Instant::now() + time;
        let mut clock = Clock::new(deadline, budget.rows.saturating_sub(self.rows));
        self.begin_page(&view, rows);
        let levels = self.levels(&view);
        let mut snapshot = Snapshot {
            txn: &view.txn,
            tables: view.txn.tables,
            decoder: view.txn.codec.decoder(),
        };
        loop {
            let over = clock.is_over();
            if !over {
                self.gather(&mut snapshot, &mut clock, rows - page.events.len())?;
            }
            let drained = self.merge(&levels, store.relay_urls(), &mut clock, page, rows);
            if drained {
                page.end = Some(End::Complete);
            }
            if over || drained || page.events.len() >= rows {
                break;
            }
        }
        self.rows += clock.rows;
        let took = began.elapsed();
        store.count_slice(clock.rows, took);
        self.spent += took;
        Ok(self.end_page(page, rows))
    }

    fn is_spent(&self) -> bool {
        let budget = self.request.budget;
        self.rows >= budget.rows || self.spent >= budget.time
    }

    /// Whether the page is done after a slice: full, at the end of everything or of the budget.
    fn end_page(&mut self, page: &mut Page, rows: usize) -> bool {
        let full = page.events.len() >= rows;
        if page.end.is_none() && self.is_spent() && !full {
            page.end = Some(End::Budget);
        }
        page.cost = ScanCost {
            rows: self.rows,
            archive: true,
        };
        // What was found so far is answered, and a caller may take its time with it: the next page
        // takes its own levels.
        if page.end.is_some() || !page.events.is_empty() {
            self.page_levels.clear();
        }
        page.end.is_some() || full
    }

    fn begin_page(&mut self, view: &View<'_>, rows: usize) {
        if self.page_began {
            return;
        }
        self.page_began = true;
        self.page_levels.clone_from(&view.levels);
        let limit = self
            .request
            .filter
            .limit
            .and_then(|limit| usize::try_from(limit).ok());
        self.wanted = rows.min(limit.unwrap_or(usize::MAX)).max(1);
        if let Some(Run::Trial(trial)) = &mut self.run {
            trial.restart();
        }
        if self.generation != view.txn.generation() || self.run.is_none() {
            self.generation = view.txn.generation();
            self.run = None;
            self.reached = None;
            self.exhausted = false;
            self.carry.clear();
        }
    }

    /// The levels of this page's beginning and those of now: an event that was flushed meanwhile is
    /// found in the former, even if the run has passed its place in the database.
    fn levels(&self, view: &View<'_>) -> Vec<SharedLevel> {
        let mut levels = view.levels.clone();
        for level in &self.page_levels {
            if !levels.iter().any(|other| Arc::ptr_eq(other, level)) {
                levels.push(Arc::clone(level));
            }
        }
        levels
    }

    /// Reads candidates from the database.
    fn gather(
        &mut self,
        snapshot: &mut Snapshot<'_>,
        clock: &mut Clock,
        room: usize,
    ) -> Result<(), Fault> {
        let room = room.min(GATHER_MAX);
        while self.carry.len() < room && !self.exhausted && !clock.is_over() {
            let mut run = self.run.take().unwrap_or_else(|| self.start());
            let before = clock.rows;
            let ready = run.prepare(snapshot, clock)?;
            let group = if ready {
                run.next(snapshot, clock)?
            } else {
                None
            };
            let mut hits = 0;
            match group {
                None => self.exhausted = ready,
                Some(group) => {
                    self.reached = Some(group.upto);
                    for candidate in group.candidates {
                        hits += u64::from(self.load(snapshot, candidate)?);
                    }
                }
            }
            self.run = Some(run);
            self.judge(clock.rows - before, hits);
        }
        Ok(())
    }

    fn start(&mut self) -> Run {
        let window = Window::new(&self.request.filter, self.after);
        let filter = &self.request.filter;
        match self.plan.get_or_insert_with(|| plan(filter)) {
            Plan::Ids => {
                let ids = self.request.filter.ids.clone().unwrap_or_default();
                Run::Points(PointRun::new(Points::Ids(ids), window))
            }
            Plan::Seats(seats) => Run::Points(PointRun::new(Points::Seats(seats.clone()), window)),
            Plan::Merge(merge) => Run::Merge(MergeRun::new(merge.clone(), window, self.wanted)),
            Plan::Trial {
                walk,
                merge,
                merge_rows,
            } => Run::Trial(Trial {
                walk: MergeRun::new(walk.clone(), window, self.wanted.max(GATHER_MAX)),
                merge: merge.clone(),
                merge_rows: *merge_rows,
                rows: 0,
                hits: 0,
                judge_at: Trial::first_judged_at(*merge_rows),
            }),
        }
    }

    /// Loads a candidate and keeps it if it matches.
    fn load(&mut self, snapshot: &mut Snapshot<'_>, candidate: Candidate) -> Result<bool, Fault> {
        let found = match candidate {
            Candidate::Loaded { event, expires } => Found { event, expires },
            Candidate::Seq(seq) => match snapshot.load(seq)? {
                None => return Ok(false),
                Some(found) => Found {
                    event: Arc::new(found.event),
                    expires: found.expires,
                },
            },
        };
        let ended = found.expires && found.event.is_expired(self.request.now);
        let new = self
            .after
            .is_none_or(|after| found.event.position() > after);
        let hit = new && !ended && self.request.filter.matches(&found.event);
        if hit {
            self.carry.push(found);
        }
        Ok(hit)
    }

    /// Leaves a trial walk for the merge once that is expected to take less.
    fn judge(&mut self, rows: u64, hits: u64) {
        let Some(Run::Trial(trial)) = &mut self.run else {
            return;
        };
        trial.rows += rows;
        trial.hits += hits;
        let wanted = self.wanted as u64;
        if trial.rows < trial.judge_at {
            return;
        }
        // Rows count when they are looked at, hits when they are used: some wait in between.
        let hits = trial.hits + trial.walk.buffered() as u64;
        trial.judge_at = trial.rows * 2;
        let merge_rows = trial.merge_rows + wanted;
        let left = trial.rows * wanted.saturating_sub(hits) / hits.max(1);
        if left > merge_rows || (hits < wanted && trial.rows > 4 * merge_rows) {
            let merge = trial.merge.clone();
            let from = self.reached.max(self.after);
            let window = Window::new(&self.request.filter, from);
            self.run = Some(Run::Merge(MergeRun::new(
                merge.clone(),
                window,
                self.wanted,
            )));
            self.plan = Some(Plan::Merge(merge));
        }
    }

    /// Moves what is decided into the page: candidates and events of the levels up to the place that
    /// the database has been read to. Whether nothing is left at all.
    fn merge(
        &mut self,
        levels: &[SharedLevel],
        relay_urls: &RelayUrls,
        clock: &mut Clock,
        page: &mut Page,
        rows: usize,
    ) -> bool {
        let upto = if self.exhausted { None } else { self.reached };
        if !self.exhausted && (upto.is_none() || upto <= self.after) {
            return false;
        }
        let room = rows - page.events.len();
        let levels: Vec<RwLockReadGuard<'_, Level>> = levels.iter().map(|l| l.read()).collect();
        let is_hidden = |event: &Event| levels.iter().any(|level| level.hides(event, relay_urls));
        let now = self.request.now;
        let mut merged: Vec<Arc<Event>> = Vec::new();
        for level in &levels {
            let mut looked = 0;
            let matches = level.matches(
                &self.request.filter,
                self.after,
                upto,
                room + 1,
                &mut looked,
                |e| e.expires.is_none_or(|end| end > now) && !is_hidden(&e.event),
            );
            merged.extend(matches.into_iter().map(|entry| Arc::clone(&entry.event)));
            clock.count(looked);
        }
        let carried = self.carry.iter().map(|found| &found.event);
        let carried = carried.filter(|e| self.after.is_none_or(|after| e.position() > after));
        merged.extend(carried.filter(|event| !is_hidden(event)).map(Arc::clone));
        drop(levels);
        merged.sort_unstable_by_key(|event| event.position());
        merged.dedup_by_key(|event| *event.id());
        let more = merged.len() > room;
        merged.truncate(room);
        if more {
            self.after = merged.last().map(|event| event.position()).or(self.after);
            let after = self.after;
            self.carry
                .retain(|found| after.is_none_or(|after| found.event.position() > after));
        } else {
            self.after = upto.or(self.after);
            self.carry.clear();
        }
        page.events.append(&mut merged);
        !more && self.exhausted
    }
}

impl Trial {
    fn first_judged_at(merge_rows: u64) -> u64 {
        TRIAL_ROWS_MIN.max(merge_rows / 4)
    }

    /// Judges each page by itself.
    fn restart(&mut self) {
        self.rows = 0;
        self.hits = 0;
        self.judge_at = Self::first_judged_at(self.merge_rows);
    }
}

impl Run {
    fn prepare(&mut self, snapshot: &mut Snapshot<'_>, clock: &mut Clock) -> Result<bool, Fault> {
        match self {
            Self::Points(points) => points.prepare(snapshot, clock),
            Self::Merge(merge) => merge.prepare(snapshot, clock),
            Self::Trial(trial) => trial.walk.prepare(snapshot, clock),
        }
    }

    fn next(
        &mut self,
        snapshot: &Snapshot<'_>,
        clock: &mut Clock,
    ) -> Result<Option<crate::cursor::Group>, Fault> {
        match self {
            Self::Points(points) => Ok(points.next()),
            Self::Merge(merge) => merge.next(snapshot, clock),
            Self::Trial(trial) => trial.walk.next(snapshot, clock),
        }
    }
}
