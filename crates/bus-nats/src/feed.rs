//! The matcher's side: every commit that is kept, in order, then live; and ephemeral events.

use std::sync::Arc;

use futures_util::StreamExt as _;
use heliograph_bus::{CommitNumber, Feed, FeedItem};
use heliograph_protocol::Event;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use crate::{
    codec,
    core::Core,
    follow::{Followed, Follower, From, Step},
    latch::Latch,
    newest::Newest,
};

/// Pause before the subscription to ephemeral events is tried again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// Why a feed ended before it was closed. The role has to begin anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Commits were removed before they could be read: the matcher was too slow for the retention,
    /// or the stream was purged or made anew.
    #[error("commits are missing: {expected} is next, the stream has {found}")]
    Gap {
        /// What should have come.
        expected: u64,
        /// What there is instead.
        found: u64,
    },
    /// A commit can't be read: another version wrote it.
    #[error("commit {number} can't be read: {reason}")]
    Unreadable {
        /// Which one.
        number: u64,
        /// Why.
        reason: String,
    },
}

/// What is known of the feed from outside.
#[derive(Debug)]
pub(crate) struct FeedState {
    pub(crate) closed: Latch,
    pub(crate) caught_up: Latch,
    pub(crate) error: Mutex<Option<FeedError>>,
}

/// The stream that a matcher follows. It begins with the oldest commit that is kept, so that a new
/// matcher knows what was announced lately.
///
/// It ends, beside being closed, when a commit is missing; [`NatsBus::feed_error`] then says which.
///
/// [`NatsBus::feed_error`]: crate::NatsBus::feed_error
#[derive(Debug)]
pub struct NatsFeed {
    commits: mpsc::Receiver<FeedItem>,
    ephemeral: mpsc::Receiver<Arc<Event>>,
    /// What the stream had when the feed began, once known.
    target: watch::Receiver<Option<CommitNumber>>,
    /// The last commit handed out.
    given: CommitNumber,
    /// Whether it's the turn of ephemeral events, so that neither kind starves the other.
    ephemeral_first: bool,
    state: Arc<FeedState>,
}

impl FeedState {
    pub(crate) fn new() -> Self {
        Self {
            closed: Latch::default(),
            caught_up: Latch::default(),
            error: Mutex::new(None),
        }
    }

    fn fail(&self, error: FeedError) {
        tracing::error!(%error, "the feed of commits ends");
        *self.error.lock() = Some(error);
    }
}

impl NatsFeed {
    /// Starts the tasks that read ahead, by a bounded number of items.
    pub(crate) fn start(core: &Arc<Core>, state: &Arc<FeedState>, newest: &Arc<Newest>) -> Self {
        let (commits_in, commits) = mpsc::channel(core.options.feed_items_max);
        let (ephemeral_in, ephemeral) = mpsc::channel(core.options.feed_ephemeral_max);
        let (target_in, target) = watch::channel(None);
        let reader = Reader {
            core: Arc::clone(core),
            state: Arc::clone(state),
            newest: Arc::clone(newest),
            commits: commits_in,
            target: target_in,
            begun: false,
        };
        core.tasks.spawn("bus feed", reader.run());
        let listening = listen(Arc::clone(core), Arc::clone(state), ephemeral_in);
        core.tasks.spawn("bus ephemeral", listening);
        Self {
            commits,
            ephemeral,
            target,
            given: CommitNumber(0),
            ephemeral_first: false,
            state: Arc::clone(state),
        }
    }

    /// Whoever asks for the next item has applied the last.
    fn note_applied(&self) {
        let target = *self.target.borrow();
        if target.is_some_and(|target| self.given >= target) {
            self.state.caught_up.set();
        }
    }

    async fn take(&mut self) -> Option<FeedItem> {
        let (commits, ephemeral) = (&mut self.commits, &mut self.ephemeral);
        // By turns. Ephemeral events alone don't keep a feed going: it ends with the commits.
        if self.ephemeral_first {
            tokio::select! {
                biased;
                Some(event) = ephemeral.recv() => Some(FeedItem::Ephemeral(event)),
                committed = commits.recv() => committed,
            }
        } else {
            tokio::select! {
                biased;
                committed = commits.recv() => committed,
                Some(event) = ephemeral.recv() => Some(FeedItem::Ephemeral(event)),
            }
        }
    }
}

impl Feed for NatsFeed {
    /// Safe to cancel.
    async fn next(&mut self) -> Option<FeedItem> {
        loop {
            self.note_applied();
            let mut target = self.target.clone();
            let known = target.borrow_and_update().is_some();
            // First the items. The target matters only while nothing comes, and once.
            let taken = tokio::select! {
                biased;
                taken = self.take() => taken,
                Ok(()) = target.changed(), if !known => continue,
            };
            let of_stream = match &taken {
                Some(FeedItem::Committed { number, .. } | FeedItem::Begins(number)) => {
                    Some(*number)
                }
                Some(FeedItem::Ephemeral(_)) | None => None,
            };
            self.given = of_stream.unwrap_or(self.given);
            self.ephemeral_first = of_stream.is_some();
            return taken;
        }
    }
}

/// Reads commits ahead of the matcher.
struct Reader {
    core: Arc<Core>,
    state: Arc<FeedState>,
    newest: Arc<Newest>,
    commits: mpsc::Sender<FeedItem>,
    target: watch::Sender<Option<CommitNumber>>,
    /// Whether it is known where the feed begins.
    begun: bool,
}

impl Reader {
    async fn run(mut self) {
        let stream = self.core.names.committed_stream();
        let mut follower = Follower::new(Arc::clone(&self.core), stream, From::Oldest);
        loop {
            // Closing first: what was read stays to be taken.
            let step = tokio::select! {
                biased;
                () = self.state.closed.wait() => return,
                () = self.commits.closed() => return,
                step = follower.next() => step,
            };
            if let Err(error) = self.take(step).await {
                if let Some(error) = error {
                    self.core.metrics.feed_gaps.inc();
                    self.state.fail(error);
                }
                return;
            }
        }
    }

    /// # Errors
    ///
    /// What ends the feed: nothing if nobody takes items any more.
    async fn take(&mut self, step: Step) -> Result<(), Option<FeedError>> {
        match step {
            Step::Started { last, behind } => {
                self.started(last);
                match behind {
                    0 => self.begin_after(last).await,
                    _ => Ok(()),
                }
            }
            Step::Gap { expected, found } => Err(Some(FeedError::Gap { expected, found })),
            Step::Message(followed) => {
                let lag = i64::try_from(followed.behind).unwrap_or(i64::MAX);
                self.core.metrics.feed_lag_messages.set(lag);
                let number = followed.number;
                self.begin_after(number.saturating_sub(1)).await?;
                let committed = read(followed)?;
                self.newest.saw(CommitNumber(number));
                self.give(committed).await
            }
        }
    }

    fn started(&self, last: u64) {
        if self.target.borrow().is_some() {
            self.core.metrics.feed_restarts.inc();
        } else {
            self.target.send_replace(Some(CommitNumber(last)));
        }
    }

    /// Says where the feed begins, once, unless it is the beginning of the stream.
    async fn begin_after(&mut self, number: u64) -> Result<(), Option<FeedError>> {
        if std::mem::replace(&mut self.begun, true) || number == 0 {
            return Ok(());
        }
        self.give(FeedItem::Begins(CommitNumber(number))).await
    }

    async fn give(&self, item: FeedItem) -> Result<(), Option<FeedError>> {
        // First the item; a feed that is closed meanwhile needs no room.
        tokio::select! {
            biased;
            sent = self.commits.send(item) => sent.map_err(|_gone| None),
            () = self.state.closed.wait() => Err(None),
        }
    }
}

fn read(followed: Followed) -> Result<FeedItem, FeedError> {
    let number = followed.number;
    match codec::read_committed(followed.payload) {
        Ok(events) => Ok(FeedItem::Committed {
            number: CommitNumber(number),
            events,
        }),
        Err(error) => Err(FeedError::Unreadable {
            number,
            reason: error.to_string(),
        }),
    }
}

/// Takes ephemeral events as they come. What doesn't fit is dropped and counted: nobody may rely on
/// them (R01-46).
async fn listen(core: Arc<Core>, state: Arc<FeedState>, events: mpsc::Sender<Arc<Event>>) {
    loop {
        let mut messages = match core.client.subscribe(core.names.ephemeral_subject()).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::debug!(%error, "can't subscribe to ephemeral events");
                sleep(PAUSE).await;
                if events.is_closed() || state.closed.is_set() {
                    return;
                }
                continue;
            }
        };
        loop {
            // Closing first: nothing of this is waited for.
            let message = tokio::select! {
                biased;
                () = state.closed.wait() => return,
                () = events.closed() => return,
                message = messages.next() => message,
            };
            let Some(message) = message else {
                return; // The connection was drained.
            };
            match codec::read_ephemeral(message.payload) {
                Ok(event) => {
                    if events.try_send(event).is_err() {
                        core.metrics.ephemeral_dropped.inc();
                    }
                }
                Err(error) => {
                    core.metrics.ephemeral_unreadable.inc();
                    tracing::debug!(%error, "received an ephemeral event that can't be read");
                }
            }
        }
    }
}
