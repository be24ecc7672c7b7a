//! Seam 1: what crosses between gateway, ingest and matcher.
//!
//! In one process every arrow is a bounded channel or a function call ([`InProcess`]); in a
//! cluster it is NATS and gRPC. Services are generic over [`Bus`] and can't tell.
//!
//! ```text
//! gateway ──publish──▶ ingest ──commit──▶ matcher ──deliver──▶ gateway
//!    └──open, resume, count, close, authenticate──▶┘
//! ```
#![warn(missing_docs)]

pub mod conformance;
mod in_process;
mod too_dear;

use std::{future::Future, pin::Pin, sync::Arc};

use heliograph_policy::Reader;
use heliograph_protocol::{
    EoseHint, Event, EventId, Filter, Outcome, PublicKey, Refusal, Timestamp, TraceContext,
};

pub use in_process::{InProcess, InProcessFeed, InProcessIntake, InProcessOptions, Published};
pub use too_dear::{is_too_dear, too_dear};

/// A future behind a pointer, for the two traits that are called through one.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The place of a batch in the stream of committed events, from 1; 0 is before all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitNumber(pub u64);

/// The place of one event in the stream of committed events: its batch, then its place in the batch.
/// A subscription's live events come in this order, whichever matcher sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// The batch.
    pub number: CommitNumber,
    /// The event within the batch, from 0.
    pub index: u32,
}

impl Place {
    /// Behind every event of a batch.
    #[must_use]
    pub const fn end_of(number: CommitNumber) -> Self {
        Self {
            number,
            index: u32::MAX,
        }
    }
}

/// One client's socket, unique within its gateway for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One open subscription of a gateway. The gateway allots it and doesn't allot it again before the
/// matcher released it ([`Delivery::Released`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What became of a published event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// What the store made of it.
    pub outcome: Outcome,
    /// Once a matcher has applied this number, its answers reflect the event.
    pub commit: CommitNumber,
}

/// An event could not be passed on, or a question not be asked. Safe to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The other end is gone: the process is stopping.
    #[error("shutting down")]
    Closed,
    /// The store refused; its own words.
    #[error("{0}")]
    Store(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// No matcher can be reached.
    #[error("the relay can't be searched at the moment, try again")]
    NoMatcher,
    /// The matcher went away in the middle; another one may answer the same question.
    #[error("the answer broke off, try again")]
    Interrupted,
    /// The bus itself can't be reached.
    #[error("the relay can't take events at the moment, try again")]
    Unavailable,
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        Self::error(error.to_string())
    }
}

/// A REQ on its way to the matcher.
#[derive(Debug, Clone)]
pub struct Open {
    /// Where live events go. `None` for COUNT, which leaves nothing open.
    pub slot: Slot,
    /// Whose subscription it is.
    pub connection: ConnectionId,
    /// The filters, checked against the limits.
    pub filters: Vec<Filter>,
    /// Who asks: decides which private events the stored part holds (R42-9).
    pub reader: Arc<Reader>,
    /// Everything up to this number has to be in the stored part (R01-57).
    pub after: CommitNumber,
    /// The clock of the request, for expiry.
    pub now: Timestamp,
    /// The span that asks, if the question is sampled.
    pub trace: Option<TraceContext>,
}

/// A COUNT on its way to the matcher (NIP-45).
#[derive(Debug, Clone)]
pub struct Count {
    /// The filters, checked against the limits and R45-4.
    pub filters: Vec<Filter>,
    /// Who asks.
    pub reader: Arc<Reader>,
    /// Everything up to this number has to be counted (R01-57).
    pub after: CommitNumber,
    /// The clock of the request, for expiry.
    pub now: Timestamp,
    /// The span that asks, if the question is sampled.
    pub trace: Option<TraceContext>,
}

/// The answer to a COUNT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// How many visible events match.
    pub count: u64,
    /// Whether that is an estimate (R45-2).
    pub approximate: bool,
}

/// A part of the stored answer to a REQ, newest first.
#[derive(Debug, Clone, Default)]
pub struct AnswerPage {
    /// Events, each once, in order (R01-52, R01-53).
    pub events: Vec<Arc<Event>>,
    /// Set on the last page.
    pub end: Option<AnswerEnd>,
}

/// How the stored part of a REQ ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerEnd {
    /// EOSE; the subscription is live.
    Eose(Eose),
    /// CLOSED: the stored part is incomplete, and the subscription is not open.
    Closed(Refusal),
}

/// The end of a complete stored part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eose {
    /// Whether there is more (NIP-67).
    pub hint: EoseHint,
    /// Every live event up to here has been handed to the gateway before this page.
    pub applied: CommitNumber,
    /// Events of the stored part that the stream may announce after `applied`: they are to be
    /// dropped when they come.
    pub fresh: Vec<EventId>,
    /// Live events handed to the gateway before the stored part was read, which something has beaten by
    /// then, such as a deletion: they are to be dropped, not sent after EOSE.
    pub gone: Vec<EventId>,
    /// Whether memory wasn't enough: the archive was asked too.
    pub archive: bool,
}

/// Subscriptions that were live at a matcher that is gone.
#[derive(Debug, Clone)]
pub struct Resume {
    /// Everything up to this number was delivered, to all of them.
    pub from: CommitNumber,
    /// What they ask for.
    pub subscriptions: Vec<Resumed>,
}

/// One subscription that goes on.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// Where its events go.
    pub slot: Slot,
    /// Whose it is.
    pub connection: ConnectionId,
    /// Its filters.
    pub filters: Vec<Filter>,
    /// The keys that count for it (R42-9).
    pub reader: Arc<Reader>,
}

/// The stored part of a REQ as a stream of pages. Dropping it ends the read, not the subscription.
pub trait Pages: Send {
    /// The next page, or the last one with [`AnswerPage::end`]. The caller asks when its socket
    /// has room, so that no read runs ahead of a slow client.
    fn next(&mut self) -> BoxFuture<'_, Result<AnswerPage, BusError>>;
}

/// The matcher's side of the link: what gateways ask of it.
pub trait Requests: Send + Sync {
    /// Registers the subscription, then prepares its stored part: from here on every matching
    /// commit is delivered to the slot, and every earlier one is in the pages.
    fn open(&self, open: Open) -> BoxFuture<'_, Result<Box<dyn Pages>, BusError>>;

    /// Registers subscriptions without a stored part, and delivers what was committed after
    /// [`Resume::from`] to each of them, in order and without a gap.
    ///
    /// # Errors
    ///
    /// A refusal for CLOSED: the stream no longer goes back that far, or could not be read. None of
    /// them is open then.
    fn resume(&self, resume: Resume) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Ends a subscription. The slot is released once nothing more can be delivered to it.
    fn close(&self, slot: Slot);

    /// Adds a key to those that count for a connection's live events (R42-5, R42-9).
    fn authenticate(&self, connection: ConnectionId, key: PublicKey);

    /// Forgets a connection. Its subscriptions are closed one by one before.
    fn disconnect(&self, connection: ConnectionId);

    /// Counts the union of the filters.
    fn count(&self, count: Count) -> BoxFuture<'_, Result<Counted, Refusal>>;
}

/// Something for a gateway, in the order in which the matcher decided it.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// A live event and the subscriptions that want it, each once.
    Event {
        /// The event, shared by all receivers.
        event: Arc<Event>,
        /// Where it stands in the stream; `None` for ephemeral events, which aren't in it. What
        /// isn't behind a subscription's last place has been delivered to it before.
        place: Option<Place>,
        /// Its receivers.
        slots: Vec<Slot>,
    },
    /// Nothing more comes for this slot: it may be allotted again.
    Released(Slot),
    /// The subscription can't go on and is no longer open; its client is told by CLOSED. The slot
    /// is still to be closed.
    Ended(Slot, Refusal),
}

/// The gateway's side of the link.
pub trait Deliver: Send + Sync {
    /// Takes deliveries without waiting: a slow client is the gateway's problem, not the matcher's.
    fn deliver(&self, delivery: Delivery);
}

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// A new visible event: to be delivered. The stream may repeat it; the first time is its place,
    /// at every matcher.
    Winner(Arc<Event>),
    /// An event that was stored so long ago that it was announced then, or is old to everybody who
    /// reads it: to be seen by whoever answers from memory, and not to be delivered.
    Again(Arc<Event>),
    /// A version of an address that was deleted before it came. It is not visible, but it
    /// supersedes the older versions all the same (R09-8).
    Seat(Arc<Event>),
}

/// Something for the matcher, in the order in which it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    /// The first item, where earlier commits are no longer kept: none up to this number is still to
    /// come.
    Begins(CommitNumber),
    /// What one write changed, in order.
    Committed {
        /// The place in the stream; consecutive.
        number: CommitNumber,
        /// The changes; none if the write brought nothing new or failed.
        events: Vec<Committed>,
    },
    /// An event that isn't stored (R01-46).
    Ephemeral(Arc<Event>),
}

/// The stream that a matcher follows.
pub trait Feed: Send {
    /// The next item; `None` when the bus is closed and drained.
    fn next(&mut self) -> impl Future<Output = Option<FeedItem>> + Send;
}

/// Events waiting for an ingest worker.
pub trait Intake: Send {
    /// One event with the way back to its publisher.
    type Item: IntakeItem;

    /// Waits for events, then takes what is there, up to `count_max`; `None` when closed and
    /// drained.
    fn next(&mut self, count_max: usize) -> impl Future<Output = Option<Vec<Self::Item>>> + Send;
}

/// What it means that an event to be written is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfStored {
    /// It was announced: there is one writer, which announces before it takes the next batch.
    Announced,
    /// Another worker stored it, lately or long ago, and may not have announced it yet. The store knows
    /// which of its events are fresh.
    Elsewhere,
    /// A worker took this very batch and went away, perhaps between store and announcement, and so long
    /// ago that the store no longer calls fresh what it wrote. To announce it twice is better than never.
    Unknown,
}

/// One event with the way back to its publisher. Dropped without a receipt, the publisher gets
/// an error and may send again.
pub trait IntakeItem: Send {
    /// The event, verified.
    fn event(&self) -> &Arc<Event>;

    /// What it means if the store has this event already.
    fn if_stored(&self) -> IfStored;

    /// Answers the publisher.
    fn answer(self, receipt: Result<Receipt, BusError>);
}

/// What connects the services.
///
/// # Guarantees
///
/// - [`publish`](Self::publish) returns a receipt only once the event is durable; on an error it may
///   or may not be, and publishing it again is harmless.
/// - The feed keeps the order of commits, loses none while the matcher lives, and numbers them
///   without gaps. An event may be announced more than once; one that was acknowledged is announced
///   at least once.
/// - Every queue is bounded: a full one makes the caller wait.
pub trait Bus: Clone + Send + Sync + 'static {
    /// Where ingest takes events from.
    type Intake: Intake;
    /// What the matcher follows.
    type Feed: Feed;

    /// Passes a verified event on and waits for its receipt.
    fn publish(&self, event: Arc<Event>) -> impl Future<Output = Result<Receipt, BusError>> + Send;

    /// Passes an ephemeral event to the matcher; nothing is stored (R01-46).
    fn publish_ephemeral(
        &self,
        event: Arc<Event>,
    ) -> impl Future<Output = Result<(), BusError>> + Send;

    /// The matcher that serves this gateway.
    ///
    /// # Errors
    ///
    /// [`BusError::Closed`] while there is none.
    fn matcher(&self) -> Result<&dyn Requests, BusError>;

    /// Takes the ingest end. In one process one worker at a time.
    fn intake(&self) -> Self::Intake;

    /// Says that a write begins whose events may be visible in the store before they are
    /// committed. [`commit`](Self::commit) ends it, with no events if it failed.
    fn begin_write(&self);

    /// The newest commit: a question that waits for it sees every event that was acknowledged
    /// before it came, through whichever gateway.
    ///
    /// # Errors
    ///
    /// The bus can't say: an answer could miss what was acknowledged.
    fn newest(&self) -> impl Future<Output = Result<CommitNumber, BusError>> + Send;

    /// The number up to which commits may be visible in the store at this moment, applied or not.
    /// A matcher that has applied it has delivered whatever a read that ended before can hold.
    /// `None` if nobody can know, as between machines: there the store says which of its events are
    /// fresh.
    fn horizon(&self) -> Option<CommitNumber>;

    /// Batches after `after`, consecutive from the next number on, as many as are convenient at
    /// once; none if there are no newer ones.
    ///
    /// # Errors
    ///
    /// [`BusError::Closed`] if the next number is no longer kept; others are safe to retry.
    fn history(
        &self,
        after: CommitNumber,
    ) -> impl Future<Output = Result<Vec<(CommitNumber, Vec<Committed>)>, BusError>> + Send;

    /// Announces what a write changed, in order, and returns its number. Where nothing changed it
    /// may return 0.
    fn commit(
        &self,
        events: Vec<Committed>,
    ) -> impl Future<Output = Result<CommitNumber, BusError>> + Send;

    /// Takes the matcher end.
    fn feed(&self) -> Self::Feed;
}
