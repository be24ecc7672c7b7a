//! The bus of a cluster: NATS JetStream, core NATS and KV behind the [`Bus`] seam.
//!
//! ```text
//! gateway ──batches──▶ stream events ──▶ ingest ──batches──▶ stream committed ──▶ matcher
//!    ▲                                     │                                        ▲
//!    └───────── receipts (core) ◀──────────┘        ephemeral events (core) ────────┘
//! ```
//!
//! What always holds: an event whose publisher got a receipt was stored and committed, or with
//! [`Durability::Quorum`] is in the replicated stream of events; a message leaves that stream only
//! after receipts for all its events were sent, or as a dead letter; commits are numbered by their
//! stream, and whoever follows them sees each number or is told that one is missing. The link
//! between gateway and matcher isn't part of this crate: [`NatsBus::serve_requests`] plugs it in.
#![warn(missing_docs)]

mod acked;
mod clock;
mod codec;
mod committer;
mod connection;
mod core;
mod dead_letters;
mod error;
mod feed;
mod follow;
mod history;
mod intake;
mod latch;
mod membership;
mod metrics;
mod names;
mod newest;
mod options;
mod pending;
mod publisher;
mod streams;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use heliograph_bus::{Bus, BusError, CommitNumber, Committed, Receipt, Requests};
use heliograph_lifecycle::Tasks;
use heliograph_protocol::Event;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    committer::Committer, core::Core, feed::FeedState, intake::Workshop, membership::Roster,
    newest::Newest, publisher::Publisher,
};

pub use connection::LinkState;
pub use dead_letters::{DeadLetter, DeadLetters};
pub use error::NatsError;
pub use feed::{FeedError, NatsFeed};
pub use intake::{NatsIntake, NatsItem};
pub use membership::{Lease, Member, Members, Membership, Role};
pub use metrics::{Metrics, Side};
pub use options::{Durability, NatsAuth, NatsOptions, NatsTls, OptionsError, StreamStorage};

/// The bus of one process in a cluster. Cloning shares it.
#[derive(Clone)]
pub struct NatsBus {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    publisher: Publisher,
    committer: Committer,
    newest: Arc<Newest>,
    workshop: Arc<Workshop>,
    feed: Arc<FeedState>,
    roster: Arc<Roster>,
    matcher: OnceLock<Arc<dyn Requests>>,
}

impl std::fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBus")
            .field("cluster", &self.shared.core.options.cluster)
            .field("node", &self.shared.core.options.node)
            .finish_non_exhaustive()
    }
}

impl NatsBus {
    /// Connects and makes the streams, or changes them to fit the options. Tasks of the bus run on
    /// `tasks` until it is closed.
    ///
    /// # Errors
    ///
    /// [`NatsError`]: the options don't go together, or the servers can't be reached or can't make
    /// the streams within [`NatsOptions::connect_deadline`].
    pub async fn connect(
        options: NatsOptions,
        metrics: Arc<Metrics>,
        tasks: &Tasks,
    ) -> Result<Self, NatsError> {
        let deadline = Instant::now() + options.connect_deadline;
        let core = Core::connect(options, metrics, tasks.clone()).await?;
        let core = Arc::new(core);
        core.ensure_streams(deadline).await?;
        let publisher = Publisher::start(
            core.acked.clone(),
            &core.names,
            &core.incarnation,
            &core.options,
            &core.metrics,
            tasks,
        );
        let newest = Arc::new(Newest::new(Arc::clone(&core)));
        newest.start();
        let bus = Self {
            shared: Arc::new(Shared {
                publisher,
                committer: Committer::new(Arc::clone(&core)),
                newest,
                workshop: Arc::new(Workshop::new(Arc::clone(&core))),
                feed: Arc::new(FeedState::new()),
                roster: Arc::new(Roster::new(Arc::clone(&core))),
                matcher: OnceLock::new(),
                core,
            }),
        };
        bus.listen_for_receipts().await?;
        Ok(bus)
    }

    async fn listen_for_receipts(&self) -> Result<(), NatsError> {
        let (core, publisher) = (&self.shared.core, &self.shared.publisher);
        if core.options.durability == Durability::Quorum {
            return Ok(()); // Nobody waits for them.
        }
        let listening = publisher::listen(
            &core.client,
            core.names.receipts_subject(&core.options.node),
            Arc::clone(publisher.pending()),
            Arc::clone(&core.metrics),
            &core.tasks,
        );
        listening
            .await
            .map_err(NatsError::request("subscribe to receipts"))
    }

    /// Names the link to the matchers, for [`Bus::matcher`]. The first one stays.
    pub fn serve_requests(&self, matcher: Arc<dyn Requests>) {
        self.shared.matcher.get_or_init(|| matcher);
    }

    /// Whether the servers can be reached.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.shared.core.link.state()
    }

    /// The connection, for what else is kept on the same servers.
    #[must_use]
    pub fn client(&self) -> async_nats::Client {
        self.shared.core.client.clone()
    }

    /// The JetStream context of the connection.
    #[must_use]
    pub fn context(&self) -> async_nats::jetstream::Context {
        self.shared.core.context.clone()
    }

    /// The unique name of this process among all that ever ran.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        &self.shared.core.incarnation
    }

    /// At least so much has been committed, as far as this process has seen; costs no request.
    #[must_use]
    pub fn known(&self) -> CommitNumber {
        self.shared.newest.known()
    }

    /// Whether the matcher has applied everything that was committed when its feed began. True for
    /// good once it has.
    #[must_use]
    pub fn feed_caught_up(&self) -> watch::Receiver<bool> {
        self.shared.feed.caught_up.subscribe()
    }

    /// Which stream of commits this is: one that is made anew has the same numbers and another name
    /// here.
    ///
    /// # Errors
    ///
    /// [`BusError::Unavailable`] if the server doesn't say.
    pub async fn commits_id(&self) -> Result<String, BusError> {
        let core = &self.shared.core;
        let info = core.stream_info(core.names.committed_stream()).await;
        let info = info.map_err(|error| {
            tracing::debug!(error, "can't learn which stream of commits this is");
            BusError::Unavailable
        })?;
        Ok(format!(
            "{}-{}",
            core.names.committed_stream(),
            info.created.unix_timestamp_nanos()
        ))
    }

    /// Why the feed ended, if it wasn't closed: the matcher's state is to be built anew.
    #[must_use]
    pub fn feed_error(&self) -> Option<FeedError> {
        self.shared.feed.error.lock().clone()
    }

    /// Takes a lease, and keeps it until the handle is dropped.
    ///
    /// # Errors
    ///
    /// The server can't be told.
    pub async fn join(&self, lease: Lease) -> Result<Membership, NatsError> {
        Membership::join(&self.shared.core, lease).await
    }

    /// The live members of a role, from now on. Who was there before comes at once after; to wait
    /// for that, use [`members_known`](Self::members_known).
    #[must_use]
    pub fn members(&self, role: Role) -> Members {
        self.shared.roster.members(role)
    }

    /// Waits until those are known who were members when [`members`](Self::members) was first
    /// called.
    pub async fn members_known(&self) {
        self.shared.roster.read().await;
    }

    /// The events that could not be stored.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(Arc::clone(&self.shared.core))
    }

    /// Takes no more events from gateways of this process; what is queued is still published.
    pub fn close_publish(&self) {
        self.shared.publisher.close();
    }

    /// Fetches no more events; workers drain what they have, then end.
    pub fn close_intake(&self) {
        self.shared.workshop.close();
    }

    /// Reads no more commits; the matcher drains what was read, then ends.
    pub fn close_feed(&self) {
        self.shared.feed.closed.set();
    }

    /// Closes everything, gives what is on its way `patience` to be done with, then disconnects and
    /// ends the tasks of the bus. Leases are to be given up before.
    pub async fn close(&self, patience: Duration) {
        self.close_publish();
        self.close_intake();
        self.close_feed();
        let client = &self.shared.core.client;
        let done = async {
            self.shared.publisher.sent().await;
            self.shared.workshop.over().await;
            client.flush().await
        };
        if !matches!(timeout(patience, done).await, Ok(Ok(()))) {
            tracing::warn!("closed with messages under way; they are delivered again");
        }
        self.shared.core.close();
        if let Err(error) = client.drain().await {
            tracing::debug!(%error, "the connection is closed already");
        }
    }
}

impl Bus for NatsBus {
    type Intake = NatsIntake;
    type Feed = NatsFeed;

    async fn publish(&self, event: Arc<Event>) -> Result<Receipt, BusError> {
        let receipt = self.shared.publisher.publish(event).await?;
        self.shared.newest.saw(receipt.commit);
        Ok(receipt)
    }

    async fn publish_ephemeral(&self, event: Arc<Event>) -> Result<(), BusError> {
        let core = &self.shared.core;
        if !core.link.is_up() {
            // Kept until the connection is back, it would come when nobody expects it.
            return Err(BusError::Unavailable);
        }
        let payload = codec::write_ephemeral(&event);
        let subject = core.names.ephemeral_subject();
        let published = core.client.publish(subject, payload).await;
        published.map_err(|error| {
            tracing::debug!(%error, "failed to publish an ephemeral event");
            BusError::Unavailable
        })
    }

    fn matcher(&self) -> Result<&dyn Requests, BusError> {
        self.shared
            .matcher
            .get()
            .map(AsRef::as_ref)
            .ok_or(BusError::NoMatcher)
    }

    fn intake(&self) -> NatsIntake {
        NatsIntake::new(Arc::clone(&self.shared.workshop))
    }

    /// Nothing: no one knows of writes on other machines.
    fn begin_write(&self) {}

    async fn newest(&self) -> Result<CommitNumber, BusError> {
        let ends = self.shared.newest.ends().await?;
        Ok(CommitNumber(ends.last))
    }

    fn horizon(&self) -> Option<CommitNumber> {
        None
    }

    async fn history(
        &self,
        after: CommitNumber,
    ) -> Result<Vec<(CommitNumber, Vec<Committed>)>, BusError> {
        let ends = self.shared.newest.ends().await?;
        history::read(&self.shared.core, after, ends).await
    }

    async fn commit(&self, events: Vec<Committed>) -> Result<CommitNumber, BusError> {
        let number = self.shared.committer.commit(&events).await?;
        self.shared.newest.saw(number);
        Ok(number)
    }

    fn feed(&self) -> NatsFeed {
        NatsFeed::start(&self.shared.core, &self.shared.feed, &self.shared.newest)
    }
}
