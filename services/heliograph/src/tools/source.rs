//! What is archived or copied: an embedded store or a cluster, everything and then what is new.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use heliograph_bus::{Bus as _, BusError, CommitNumber, Committed};
use heliograph_bus_nats::NatsBus;
use heliograph_control::{Command, ControlStore};
use heliograph_protocol::{Event, Filter, Timestamp};
use heliograph_store::{Budget, EventStore as _, Scan as _, ScanRequest};
use heliograph_store_embedded::{Changes, EmbeddedReader, VacantSeat};
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
    /// What should come is no longer kept: to begin anew.
    Gap,
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
#[derive(Default)]
pub(super) struct Beside {
    pub(super) seats: Option<Vec<VacantSeat>>,
    pub(super) control: Option<String>,
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

    /// Goes on from a place; `false` if that is gone.
    pub(super) async fn go_on(&mut self, place: &Cursor) -> anyhow::Result<bool> {
        match self {
            Self::Store(source) => source.go_on(place),
            Self::Cluster(source) => source.go_on(place).await,
        }
    }

    /// What comes next; nothing, if there is nothing.
    pub(super) async fn next(&mut self) -> anyhow::Result<Next> {
        match self {
            Self::Store(source) => Ok(Next::Step(source.next().await?)),
            Self::Cluster(source) => source.next().await,
        }
    }

    /// What isn't events, as it is now.
    pub(super) async fn beside(&self) -> anyhow::Result<Beside> {
        match self {
            Self::Store(source) => Ok(Beside {
                seats: Some(source.reader.vacant_seats()?),
                control: None,
            }),
            Self::Cluster(source) => Ok(Beside {
                seats: None,
                control: Some(source.control().await?),
            }),
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
        let Cursor::Store(place) = place else {
            return Ok(false);
        };
        let place = place.parse().map_err(anyhow::Error::msg)?;
        self.changes = self.reader.changes(Some(&place))?;
        Ok(self.changes.is_some())
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Step> {
        let mut changes = self.changes.take().context("not begun")?;
        let (changes, read) = spawn_blocking(move || {
            let read = changes.next(ROWS);
            (changes, read)
        })
        .await
        .context("reading the store panicked")?;
        self.changes = Some(changes);
        let changed = read.context("can't read the store")?;
        Ok(Step {
            events: changed.events,
            cursor: Cursor::Store(changed.cursor.to_string()),
            caught_up: changed.caught_up,
        })
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

    async fn go_on(&mut self, place: &Cursor) -> anyhow::Result<bool> {
        let Cursor::Commits {
            stream,
            number,
            scan,
        } = place
        else {
            return Ok(false);
        };
        if *stream != self.stream {
            return Ok(false);
        }
        self.number = CommitNumber(*number);
        if let Some(scanned) = scan {
            self.scan_after(*scanned);
        }
        // Whether it is still kept.
        match self.bus.history(self.number).await {
            Ok(_kept) => Ok(true),
            Err(BusError::Closed) => Ok(false),
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
        let mut events = Vec::new();
        let target = self.bus.newest().await?;
        // Commits first: they are kept for minutes only, and reading the database takes longer.
        match self.commits(&mut events).await {
            Ok(()) => {}
            Err(BusError::Closed) => return Ok(Next::Gap),
            Err(error) => return Err(error.into()),
        }
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

    async fn commits(&mut self, events: &mut Vec<Arc<Event>>) -> Result<(), BusError> {
        for (number, changes) in self.bus.history(self.number).await? {
            self.number = number;
            events.extend(changes.into_iter().map(|change| match change {
                Committed::Winner(event) | Committed::Again(event) | Committed::Seat(event) => {
                    event
                }
            }));
        }
        Ok(())
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
