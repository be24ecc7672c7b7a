//! What is archived or copied: an embedded store or a cluster, everything and then what is new.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use heliograph_bus::{Bus as _, BusError, CommitNumber, Committed};
use heliograph_bus_nats::NatsBus;
use heliograph_control::{Command, ControlStore};
use heliograph_protocol::{Event, Filter, Timestamp};
use heliograph_store::{Budget, EventStore as _, Scan as _, ScanRequest};
use heliograph_store_embedded::{Changes, EmbeddedReader, FollowError, VacantSeat};
use heliograph_store_scylla::{ScyllaScan, ScyllaStore};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    archive::{Cursor, Scanned},
    cluster,
    store::Place,
};
use crate::settings;

/// Events read at once.
const ROWS: usize = 1_000;

/// Seats looked at in one go: a transaction of some milliseconds.
const SEATS: usize = 20_000;

/// How long a cluster may fail to answer before whoever reads it gives up.
const PATIENCE: Duration = Duration::from_mins(2);

const PAUSE: Duration = Duration::from_millis(500);

/// Where events come from.
pub(super) enum Source {
    Store(Box<StoreSource>),
    Cluster(Box<ClusterSource>),
}

/// What comes next.
pub(super) enum Next {
    Step(Step),
    Gap(Gap),
}

/// Why it doesn't go on where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// The stream of commits no longer keeps what comes next.
    Trimmed,
    /// This isn't the source that the place is of, or it was exchanged.
    Elsewhere,
}

/// Some events.
pub(super) struct Step {
    pub(super) events: Vec<Arc<Event>>,
    /// Where to go on behind them.
    pub(super) cursor: Cursor,
    /// Whether everything came that was stored when this was asked for.
    pub(super) caught_up: bool,
}

/// What isn't events.
pub(super) enum Beside<'a> {
    Seats(&'a StoreSource),
    Control(String),
}

impl Source {
    pub(super) async fn open(of_cluster: bool, place: &Place) -> anyhow::Result<Self> {
        if of_cluster {
            let source = Box::pin(ClusterSource::open(place)).await?;
            return Ok(Self::Cluster(Box::new(source)));
        }
        Ok(Self::Store(Box::new(StoreSource::open(place)?)))
    }

    /// Begins with everything.
    pub(super) async fn begin(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Store(source) => source.begin(),
            Self::Cluster(source) => source.begin().await,
        }
    }

    /// Goes on from a place, or says why it can't.
    pub(super) async fn go_on(&mut self, place: &Cursor) -> anyhow::Result<Result<(), Gap>> {
        match self {
            Self::Store(source) => Ok(source.go_on(place)?.then_some(()).ok_or(Gap::Elsewhere)),
            Self::Cluster(source) => source.go_on(place).await,
        }
    }

    /// What comes next; nothing, if there is nothing.
    pub(super) async fn next(&mut self) -> anyhow::Result<Next> {
        match self {
            Self::Store(source) => match source.next().await {
                Ok(step) => Ok(Next::Step(step)),
                Err(error) if error.is::<FollowError>() => Ok(Next::Gap(Gap::Elsewhere)),
                Err(error) => Err(error),
            },
            Self::Cluster(source) => source.next().await,
        }
    }

    /// What isn't events, as it is now.
    pub(super) async fn beside(&self) -> anyhow::Result<Beside<'_>> {
        match self {
            Self::Store(source) => Ok(Beside::Seats(source)),
            Self::Cluster(source) => Ok(Beside::Control(source.control().await?)),
        }
    }

    pub(super) async fn close(self) {
        if let Self::Cluster(source) = self {
            source.bus.close(cluster::LAST_WORDS).await;
        }
    }
}

/// An embedded store, also beside its relay.
pub(super) struct StoreSource {
    pub(super) reader: EmbeddedReader,
    changes: Option<Changes>,
}

impl StoreSource {
    pub(super) fn open(place: &Place) -> anyhow::Result<Self> {
        Ok(Self {
            reader: place.read()?,
            changes: None,
        })
    }

    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        self.changes = self.reader.changes(None)?;
        Ok(())
    }

    pub(super) fn go_on(&mut self, place: &Cursor) -> anyhow::Result<bool> {
        self.changes = self.follow_from(place)?;
        Ok(self.changes.is_some())
    }

    /// Whether this is a place in the store as it is now.
    pub(super) fn holds(&self, place: &Cursor) -> anyhow::Result<bool> {
        Ok(self.follow_from(place)?.is_some())
    }

    fn follow_from(&self, place: &Cursor) -> anyhow::Result<Option<Changes>> {
        let Cursor::Store(place) = place else {
            return Ok(None);
        };
        let place = place.parse().map_err(anyhow::Error::msg)?;
        Ok(self.reader.changes(Some(&place))?)
    }

    /// # Errors
    ///
    /// [`FollowError::Exchanged`] as it is; whatever else keeps the store from being read.
    pub(super) async fn next(&mut self) -> anyhow::Result<Step> {
        let mut changes = self.changes.take().context("not begun")?;
        let (changes, read) = spawn_blocking(move || {
            let read = changes.next(ROWS);
            (changes, read)
        })
        .await
        .context("reading the store panicked")?;
        self.changes = Some(changes);
        let changed = match read {
            Ok(changed) => changed,
            Err(FollowError::Exchanged) => return Err(FollowError::Exchanged.into()),
            Err(FollowError::Store(error)) => return Err(error).context("can't read the store"),
        };
        Ok(Step {
            events: changed.events,
            cursor: Cursor::Store(changed.cursor.to_string()),
            caught_up: changed.caught_up,
        })
    }

    /// Passes on the vacant seats, in the order of their keys, some at a time.
    pub(super) async fn seats(
        &self,
        mut each: impl FnMut(VacantSeat) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut seats = self.reader.vacant_seats();
        loop {
            let read = spawn_blocking(move || {
                let read = seats.next(SEATS);
                (seats, read)
            });
            let (rest, read) = read.await.context("reading the seats panicked")?;
            let Some(vacant) = read.context("can't read the store")? else {
                return Ok(());
            };
            vacant.into_iter().try_for_each(&mut each)?;
            seats = rest;
        }
    }
}

/// A cluster: the database once, and the stream of commits from the moment on when that began.
pub(super) struct ClusterSource {
    bus: NatsBus,
    store: ScyllaStore,
    control: ControlStore,
    stream: String,
    /// The last commit that was read.
    number: CommitNumber,
    /// How far the database was read, until that is complete.
    scan: Option<(ScyllaScan, Scanned)>,
    failing: Option<Instant>,
}

impl ClusterSource {
    async fn open(place: &Place) -> anyhow::Result<Self> {
        let config = &place.config;
        let urls = settings::cluster::relay_urls(config)?;
        let bus = cluster::connect(config).await?;
        let metrics =
            heliograph_store_scylla::Metrics::register(&mut heliograph_telemetry::registry());
        let options = settings::cluster::archive(config, urls, metrics);
        let store = ScyllaStore::connect(options)
            .await
            .context("can't use the database")?;
        let stream = bus.commits_id().await?;
        Ok(Self {
            control: ControlStore::new(bus.client(), settings::cluster::control(config)),
            bus,
            store,
            stream,
            number: CommitNumber(0),
            scan: None,
            failing: None,
        })
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        self.stream = self.bus.commits_id().await?;
        // What was committed by now is in the database.
        self.number = self.bus.newest().await?;
        self.scan_after(Scanned::Nothing);
        Ok(())
    }

    async fn go_on(&mut self, place: &Cursor) -> anyhow::Result<Result<(), Gap>> {
        let Cursor::Commits {
            stream,
            number,
            scan,
        } = place
        else {
            return Ok(Err(Gap::Elsewhere));
        };
        if *stream != self.stream {
            return Ok(Err(Gap::Elsewhere));
        }
        self.number = CommitNumber(*number);
        if let Some(scanned) = scan {
            self.scan_after(*scanned);
        }
        // Whether it is still kept.
        match self.bus.history(self.number).await {
            Ok(_kept) => Ok(Ok(())),
            Err(BusError::Closed) => Ok(Err(Gap::Trimmed)),
            Err(error) => Err(error.into()),
        }
    }

    fn scan_after(&mut self, scanned: Scanned) {
        let scan = self.store.scan(ScanRequest {
            filter: Arc::new(Filter::default()),
            after: scanned.after(),
            now: Timestamp::now(),
            budget: Budget::UNLIMITED,
        });
        self.scan = Some((scan, scanned));
    }

    async fn next(&mut self) -> anyhow::Result<Next> {
        loop {
            let trouble = match self.try_next().await {
                Ok(next) => {
                    self.failing = None;
                    return Ok(next);
                }
                Err(error) => error,
            };
            let since = *self.failing.get_or_insert_with(Instant::now);
            if since.elapsed() >= PATIENCE {
                return Err(trouble);
            }
            // A scan that failed is over.
            if let Some((_failed, scanned)) = self.scan.take() {
                self.scan_after(scanned);
            }
            sleep(PAUSE).await;
        }
    }

    async fn try_next(&mut self) -> anyhow::Result<Next> {
        let target = self.bus.newest().await?;
        // Commits first: they are kept for minutes only, and reading the database takes longer.
        let read = self.commits().await;
        // Behind what was read: if it is the same stream now, it was then.
        if self.bus.commits_id().await? != self.stream {
            return Ok(Next::Gap(Gap::Elsewhere));
        }
        let mut events = match read {
            Ok((events, number)) => {
                self.number = number;
                events
            }
            Err(BusError::Closed) => return Ok(Next::Gap(Gap::Trimmed)),
            Err(error) => return Err(error.into()),
        };
        if let Some((scan, scanned)) = &mut self.scan {
            match scan.next(ROWS).await {
                Ok(page) => {
                    if let Some(last) = page.events.last() {
                        *scanned = Scanned::Event {
                            at: last.created_at().as_secs(),
                            id: *last.id(),
                        };
                    }
                    events.extend(page.events);
                    if page.end.is_some() {
                        self.scan = None;
                    }
                }
                // What the stream said is told all the same; the scan is tried again.
                Err(error) if events.is_empty() => {
                    return Err(error).context("can't read the database");
                }
                Err(_again) => {
                    let scanned = *scanned;
                    self.scan_after(scanned);
                }
            }
        }
        let caught_up = self.scan.is_none() && self.number >= target;
        Ok(Next::Step(Step {
            events,
            cursor: self.cursor(),
            caught_up,
        }))
    }

    /// What was committed next, and the number of the last of it.
    async fn commits(&self) -> Result<(Vec<Arc<Event>>, CommitNumber), BusError> {
        let (mut events, mut last) = (Vec::new(), self.number);
        for (number, changes) in self.bus.history(self.number).await? {
            last = number;
            events.extend(changes.into_iter().map(|change| match change {
                Committed::Winner(event) | Committed::Again(event) | Committed::Seat(event) => {
                    event
                }
            }));
        }
        Ok((events, last))
    }

    fn cursor(&self) -> Cursor {
        Cursor::Commits {
            stream: self.stream.clone(),
            number: self.number.0,
            scan: self.scan.as_ref().map(|(_scan, scanned)| *scanned),
        }
    }

    /// What operators have decided, as `control list` prints it.
    async fn control(&self) -> anyhow::Result<String> {
        if let Err(error) = self.control.open().await {
            bail!("can't read the control records: {error}");
        }
        let lines = Command::List.run(&self.control, Timestamp::now()).await?;
        Ok(lines.into_iter().map(|line| line + "\n").collect())
    }
}
