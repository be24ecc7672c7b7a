//! Obeying the records: read all, follow what changes, prove again and again that nothing was
//! missed.
//!
//! The feed of changes makes it fast, a look at the bucket's last number every second makes it
//! certain: a feed that has gone silent, a bucket that was replaced and a lost connection all end in
//! everything being read anew, and compared with what is in force.

use std::{
    collections::HashSet,
    fmt,
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::kv::{Entry, Operation, Store, WatcherError};
use futures_util::StreamExt as _;
use heliograph_policy::{ControlRules, LiveControl};
use tokio::{
    sync::watch,
    time::{Instant as TokioInstant, sleep, sleep_until, timeout_at},
};

use crate::{ControlError, ControlStore, Metrics, records::Records, store::Snapshot};

/// How often the bucket is asked for its last number. With one miss that needs a second look it
/// leaves most of the 2 s for reading anew.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the feed may take to bring what the bucket already has.
const FEED_DELAY: Duration = Duration::from_millis(250);

/// How long changes are gathered before the rules are made anew: an import of many bans makes them
/// twenty times a second, not once a ban.
const GATHER: Duration = Duration::from_millis(50);

/// The time between two attempts to read everything.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How far the rules in force can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadState {
    /// The records have never been read: nobody knows who is banned.
    Unread,
    /// The rules were the newest when last looked, at most a second and a request ago.
    Current,
    /// The servers can't be asked since then; the last rules stay in force.
    Stale(Instant),
}

/// What a follower knows.
#[derive(Debug, Clone)]
pub struct ControlState {
    /// How far the rules can be trusted.
    pub read: ReadState,
    /// The rules in force.
    pub rules: Arc<ControlRules>,
}

/// Keeps the rules of one process as the records say. Made by [`ControlStore::follow`].
pub struct Follower {
    store: ControlStore,
    place: LiveControl,
    state: watch::Sender<ControlState>,
    metrics: Metrics,
    /// Whether a record was met that this version can't follow: said once.
    warned: bool,
}

/// The records while they are followed.
struct Session {
    bucket: Store,
    records: Records,
    /// Every key that the bucket has something to say of, be it that it is removed.
    keys: HashSet<String>,
    snapshot: Snapshot,
}

impl ControlStore {
    /// Follows the records: `place` holds their rules from then on, and the receiver tells of each
    /// change. Until they have been read `place` refuses writes. Run the follower as a task.
    #[must_use]
    pub fn follow(
        &self,
        place: LiveControl,
        metrics: Metrics,
    ) -> (Follower, watch::Receiver<ControlState>) {
        let rules = Arc::new(ControlRules::unread());
        place.store(Arc::clone(&rules));
        let (state, receiver) = watch::channel(ControlState {
            read: ReadState::Unread,
            rules,
        });
        let follower = Follower {
            store: self.clone(),
            place,
            state,
            metrics,
            warned: false,
        };
        (follower, receiver)
    }
}

impl Follower {
    /// Follows until `stop` completes, whatever happens to the servers.
    pub async fn run(mut self, stop: impl Future) {
        let mut stop = pin!(stop);
        loop {
            // Stopping first: whoever stops doesn't care for what is newer.
            let failed = tokio::select! {
                biased;
                _stopped = &mut stop => return,
                failed = self.session() => failed,
            };
            self.lose(&failed);
            tokio::select! {
                biased;
                _stopped = &mut stop => return,
                () = sleep(RETRY_PAUSE) => {}
            }
        }
    }

    /// Reads everything and follows it until that fails.
    async fn session(&mut self) -> ControlError {
        match self.start().await {
            Ok(mut session) => loop {
                if let Err(error) = self.step(&mut session).await {
                    return error;
                }
            },
            Err(error) => error,
        }
    }

    async fn start(&mut self) -> Result<Session, ControlError> {
        if !self.store.is_connected() {
            return Err(ControlError::Disconnected);
        }
        // A bucket that was there and isn't any more is no decision to lift every ban.
        let first = self.state.borrow().read == ReadState::Unread;
        let bucket = self.store.bucket(first).await?;
        let snapshot = self.store.load(&bucket).await?;
        let mut session = Session {
            bucket,
            records: Records::default(),
            keys: HashSet::new(),
            snapshot,
        };
        for entry in std::mem::take(&mut session.snapshot.entries) {
            session.take(&entry);
        }
        self.metrics.loads.inc();
        self.publish(&session.records);
        Ok(session)
    }

    /// Follows the feed until the next look at the bucket, and looks.
    async fn step(&mut self, session: &mut Session) -> Result<(), ControlError> {
        let look = TokioInstant::now() + CHECK_INTERVAL;
        self.feed(session, look).await?;
        if self.is_behind(session).await? {
            self.feed(session, TokioInstant::now() + FEED_DELAY).await?;
            if self.is_behind(session).await? {
                return Err(ControlError::Lost("the feed brings no changes"));
            }
        }
        Ok(())
    }

    /// Takes what the feed brings until a moment.
    async fn feed(
        &mut self,
        session: &mut Session,
        until: TokioInstant,
    ) -> Result<(), ControlError> {
        loop {
            // The look first: a feed that never rests must not keep it off.
            let entry = tokio::select! {
                biased;
                () = sleep_until(until) => return Ok(()),
                entry = session.snapshot.watch.next() => entry,
            };
            session.take(&entry_of(entry)?);
            let mut changes = 1;
            let gathered = TokioInstant::now() + GATHER;
            while let Ok(entry) = timeout_at(gathered, session.snapshot.watch.next()).await {
                session.take(&entry_of(entry)?);
                changes += 1;
            }
            self.metrics.changes.inc_by(changes);
            self.publish(&session.records);
        }
    }

    /// Whether the bucket has more than the feed brought.
    async fn is_behind(&self, session: &mut Session) -> Result<bool, ControlError> {
        if !self.store.is_connected() {
            return Err(ControlError::Disconnected);
        }
        let info = self.store.info(&session.bucket).await?;
        let Snapshot {
            made_at, revision, ..
        } = &session.snapshot;
        if info.created.to_string() != *made_at || info.state.last_sequence < *revision {
            return Err(ControlError::Lost("the bucket was replaced"));
        }
        let behind = info.state.last_sequence > *revision;
        // Wiping the stream below the bucket is no change that the feed would bring.
        if !behind && info.state.subjects_count != session.keys.len() as u64 {
            return Err(ControlError::Lost("records went without a trace"));
        }
        Ok(behind)
    }

    /// Puts the rules of these records in force.
    fn publish(&mut self, records: &Records) {
        self.warn(records);
        let rules = records.rules();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.records.set(gauge(records.len()));
        self.metrics.ignored.set(gauge(records.ignored().len()));
        self.metrics.read.set(1);
        self.metrics.current.set(1);
        let place = &self.place;
        self.state.send_if_modified(|state| {
            let was = std::mem::replace(&mut state.read, ReadState::Current);
            let changed = *state.rules != rules;
            if changed {
                state.rules = Arc::new(rules);
                place.store(Arc::clone(&state.rules));
            }
            if was != ReadState::Current {
                tracing::info!(records = records.len(), ?was, "read the control records");
            }
            changed || was != ReadState::Current
        });
    }

    fn warn(&mut self, records: &Records) {
        let Some(key) = records.ignored().first().filter(|_| !self.warned) else {
            return;
        };
        self.warned = true;
        let count = records.ignored().len();
        tracing::warn!(key, count, "ignored control records of another version");
    }

    /// Notes that the records can't be followed at this moment.
    fn lose(&self, error: &ControlError) {
        self.metrics.failures.inc();
        self.metrics.current.set(0);
        self.state.send_if_modified(|state| {
            let current = state.read == ReadState::Current;
            if current {
                state.read = ReadState::Stale(Instant::now());
                tracing::warn!(error = %Chain(error), "lost the control records, keeping the last");
            } else {
                tracing::debug!(error = %Chain(error), "failed to read the control records");
            }
            current
        });
    }
}

impl Session {
    fn take(&mut self, entry: &Entry) {
        let value = (entry.operation == Operation::Put).then_some(&*entry.value);
        self.records.apply(&entry.key, value);
        if !self.keys.contains(&entry.key) {
            self.keys.insert(entry.key.clone());
        }
        self.snapshot.revision = self.snapshot.revision.max(entry.revision);
    }
}

fn entry_of(entry: Option<Result<Entry, WatcherError>>) -> Result<Entry, ControlError> {
    let entry = entry.ok_or(ControlError::Lost("the feed ended"))?;
    entry.map_err(ControlError::refused("follow the bucket"))
}

/// An error with its causes.
struct Chain<'a>(&'a ControlError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("options", &self.store.options)
            .finish_non_exhaustive()
    }
}
