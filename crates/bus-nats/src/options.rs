//! How to reach NATS, and the sizes and times of everything on it.

use std::{path::PathBuf, time::Duration};

use async_nats::jetstream::stream::StorageType;

use crate::names::Names;

/// When an event counts as durable, so that its publisher gets a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The store took it and it was committed.
    #[default]
    Stored,
    /// The stream of events acknowledged it: sooner, but reads lag behind. The receipt says
    /// `Stored` and carries commit number 0, since nothing is known yet.
    Quorum,
}

/// Where the streams of events and of commits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamStorage {
    /// On disk.
    #[default]
    File,
    /// In memory: lost if all replicas restart at once.
    Memory,
}

impl From<StreamStorage> for StorageType {
    fn from(storage: StreamStorage) -> Self {
        match storage {
            StreamStorage::File => Self::File,
            StreamStorage::Memory => Self::Memory,
        }
    }
}

/// How to log in.
#[derive(Clone, Default)]
pub enum NatsAuth {
    /// Not at all.
    #[default]
    Anonymous,
    /// With name and password.
    User {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// With a token.
    Token(String),
    /// With a credentials file: JWT and seed.
    CredentialsFile(PathBuf),
    /// With the seed of an nkey.
    Nkey(String),
}

impl std::fmt::Debug for NatsAuth {
    /// Names the way, never a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::User { .. } => "User",
            Self::Token(_) => "Token",
            Self::CredentialsFile(_) => "CredentialsFile",
            Self::Nkey(_) => "Nkey",
        })
    }
}

/// Files for TLS, all PEM.
#[derive(Debug, Clone, Default)]
pub struct NatsTls {
    /// Refuses a connection without TLS.
    pub required: bool,
    /// Authorities beside those of the system.
    pub authorities: Option<PathBuf>,
    /// Our certificate and its key, where servers verify clients.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Everything about the bus of one process.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// `nats://host:port` of one or more servers; the others are discovered.
    pub servers: Vec<String>,
    /// How to log in.
    pub auth: NatsAuth,
    /// Transport security.
    pub tls: NatsTls,
    /// The cluster's name on the server: every stream, subject and bucket begins with it. 1 to 64
    /// of `A-Z a-z 0-9 - _`.
    pub cluster: String,
    /// This process, unique in the cluster: receipts find it by this name.
    pub node: String,
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Subjects of the stream of events. Gateways are spread over them by name.
    pub partitions: u16,
    /// When a publisher gets its receipt.
    pub durability: Durability,
    /// Lets [`Durability::Quorum`] pass with fewer than three replicas, where the loss of one
    /// server loses acknowledged events.
    pub quorum_with_few_replicas: bool,
    /// Where events are kept: in memory for tests only.
    pub storage: StreamStorage,
    /// Where commits are kept: they announce what is stored, so their loss ends subscriptions and
    /// loses no event.
    pub committed_storage: StreamStorage,

    /// Bytes of events in one batch at most. Batches grow while one is in flight.
    pub batch_bytes_max: usize,
    /// Events in one batch at most.
    pub batch_events_max: usize,
    /// Bytes of events between a publisher and the stream; past it publishers wait.
    pub publish_bytes_max: u32,
    /// Publishers that wait for a receipt; past it further ones wait for their turn.
    pub pending_max: u32,
    /// Time for the stream to acknowledge one attempt.
    pub ack_timeout: Duration,
    /// Time over which a publish is tried again, past a change of leader.
    pub publish_deadline: Duration,
    /// Time after which a publisher without a receipt gets [`TimedOut`]. Callers usually give up
    /// before.
    ///
    /// [`TimedOut`]: heliograph_bus::BusError::TimedOut
    pub receipt_deadline: Duration,

    /// Bytes of the stream of events. Full, it refuses: publishers get an error, nothing is
    /// dropped.
    pub events_bytes_max: u64,
    /// Age up to which events wait to be stored; then they are dropped.
    pub events_age_max: Duration,
    /// Bytes of the stream of commits. Full, the oldest go.
    pub committed_bytes_max: u64,
    /// Age up to which commits are kept.
    pub committed_age_max: Duration,
    /// How long after its publication a message that comes again holds nothing but what the workers'
    /// store still calls fresh, if an earlier delivery stored it ([`IfStored::Elsewhere`]).
    ///
    /// [`IfStored::Elsewhere`]: heliograph_bus::IfStored::Elsewhere
    pub fresh_max: Duration,
    /// Bytes of the dead-letter stream. Full, it refuses, and letters stay in the stream of events.
    pub dead_letters_bytes_max: u64,
    /// Age up to which dead letters are kept.
    pub dead_letters_age_max: Duration,
    /// Time over which the streams know message ids, so that a batch sent again isn't kept twice.
    /// Longer than [`publish_deadline`](Self::publish_deadline).
    pub duplicate_window: Duration,

    /// Messages that one worker fetches at once.
    pub fetch_messages_max: usize,
    /// Messages with workers that aren't acknowledged yet, in the whole cluster.
    pub ack_pending_max: u32,
    /// Messages of this process that aren't acknowledged yet; past it workers wait.
    pub working_messages_max: usize,
    /// Time after which a message whose worker is silent goes to another. Live workers report every
    /// third of it.
    pub ack_wait: Duration,
    /// Deliveries of a message before it becomes a dead letter. With the delays between them the
    /// default covers twelve minutes without a store.
    pub deliveries_max: u32,
    /// The delay after the first failure; it doubles up to `retry_delay_max`.
    pub retry_delay: Duration,
    /// The longest delay between deliveries.
    pub retry_delay_max: Duration,

    /// Time for an answer about the newest commit.
    pub newest_deadline: Duration,
    /// Commits waiting for the matcher; past it the reader waits.
    pub feed_items_max: usize,
    /// Ephemeral events waiting for the matcher; past it further ones are dropped and counted.
    pub feed_ephemeral_max: usize,
    /// Bytes of commits that one call of history returns, about.
    pub history_bytes_max: usize,

    /// Time after which a member that doesn't renew its lease is gone.
    pub lease_ttl: Duration,
    /// Time to reach the servers and to make the streams at the start.
    pub connect_deadline: Duration,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            auth: NatsAuth::Anonymous,
            tls: NatsTls::default(),
            cluster: "heliograph".to_owned(),
            node: "heliograph".to_owned(),
            replicas: 1,
            partitions: 16,
            durability: Durability::Stored,
            quorum_with_few_replicas: false,
            storage: StreamStorage::File,
            committed_storage: StreamStorage::File,
            batch_bytes_max: 448 << 10,
            batch_events_max: 1_024,
            publish_bytes_max: 32 << 20,
            pending_max: 65_536,
            ack_timeout: Duration::from_secs(2),
            publish_deadline: Duration::from_secs(8),
            receipt_deadline: Duration::from_secs(30),
            events_bytes_max: 4 << 30,
            events_age_max: Duration::from_secs(7 * 24 * 3_600),
            committed_bytes_max: 4 << 30,
            committed_age_max: Duration::from_secs(15 * 60),
            fresh_max: Duration::from_secs(225),
            dead_letters_bytes_max: 1 << 30,
            dead_letters_age_max: Duration::from_secs(30 * 24 * 3_600),
            duplicate_window: Duration::from_secs(120),
            fetch_messages_max: 32,
            ack_pending_max: 4_096,
            working_messages_max: 256,
            ack_wait: Duration::from_millis(2_500),
            deliveries_max: 20,
            retry_delay: Duration::from_millis(250),
            retry_delay_max: Duration::from_secs(60),
            newest_deadline: Duration::from_secs(2),
            feed_items_max: 1_024,
            feed_ephemeral_max: 16_384,
            history_bytes_max: 4 << 20,
            lease_ttl: Duration::from_secs(6),
            connect_deadline: Duration::from_secs(30),
        }
    }
}

/// Options that don't go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// No server.
    #[error("no NATS server is named")]
    Servers,
    /// A cluster name that can't stand in a subject.
    #[error("cluster name {0:?} isn't 1 to 64 of A-Z a-z 0-9 - _")]
    Prefix(String),
    /// No partition.
    #[error("there must be at least one partition")]
    Partitions,
    /// A number of replicas that NATS doesn't know.
    #[error("{0} replicas: NATS takes 1 to 5")]
    Replicas(usize),
    /// Durability by quorum without a quorum that survives a loss.
    #[error("durability \"quorum\" needs 3 replicas, not {0}: one lost server would lose events")]
    Quorum(usize),
    /// A size or time that has to be greater than zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// A batch that no message can carry.
    #[error("a batch of {0} bytes doesn't fit in a message")]
    Batch(usize),
}

/// The largest batch: half of the smallest message limit in use, so that several fit in one fetch.
const BATCH_BYTES_MAX: usize = 512 << 10;

impl NatsOptions {
    /// # Errors
    ///
    /// What doesn't go together.
    pub(crate) fn names(&self) -> Result<Names, OptionsError> {
        if self.servers.is_empty() {
            return Err(OptionsError::Servers);
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(OptionsError::Replicas(self.replicas));
        }
        let quorum = self.durability == Durability::Quorum && !self.quorum_with_few_replicas;
        if quorum && self.replicas < 3 {
            return Err(OptionsError::Quorum(self.replicas));
        }
        if self.batch_bytes_max > BATCH_BYTES_MAX {
            return Err(OptionsError::Batch(self.batch_bytes_max));
        }
        self.refuse_zeros()?;
        Names::new(&self.cluster, self.partitions)
    }

    fn refuse_zeros(&self) -> Result<(), OptionsError> {
        let sizes = [
            ("batch_events_max", self.batch_events_max),
            ("publish_bytes_max", self.publish_bytes_max as usize),
            ("pending_max", self.pending_max as usize),
            ("fetch_messages_max", self.fetch_messages_max),
            ("ack_pending_max", self.ack_pending_max as usize),
            ("working_messages_max", self.working_messages_max),
            ("deliveries_max", self.deliveries_max as usize),
            ("feed_items_max", self.feed_items_max),
            ("feed_ephemeral_max", self.feed_ephemeral_max),
            ("history_bytes_max", self.history_bytes_max),
        ];
        let times = [
            ("ack_timeout", self.ack_timeout),
            ("ack_wait", self.ack_wait),
            ("events_age_max", self.events_age_max),
            ("lease_ttl", self.lease_ttl),
            ("committed_age_max", self.committed_age_max),
        ];
        let zero_size = sizes.iter().find(|(_, size)| *size == 0);
        let zero_time = times.iter().find(|(_, time)| time.is_zero());
        let zero = zero_size.map(|(name, _)| name);
        match zero.or_else(|| zero_time.map(|(name, _)| name)) {
            Some(name) => Err(OptionsError::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut NatsOptions), error: &OptionsError) {
        let mut options = NatsOptions::default();
        change(&mut options);
        assert_eq!(options.names().err().as_ref(), Some(error));
    }

    #[test]
    fn the_defaults_go_together() {
        assert!(NatsOptions::default().names().is_ok());
    }

    #[test]
    fn quorum_needs_three_replicas_unless_overridden() {
        refused(
            |options| options.durability = Durability::Quorum,
            &OptionsError::Quorum(1),
        );
        let overridden = NatsOptions {
            durability: Durability::Quorum,
            quorum_with_few_replicas: true,
            ..NatsOptions::default()
        };
        assert!(overridden.names().is_ok());
    }

    #[test]
    fn what_can_not_work_is_refused() {
        refused(|options| options.servers.clear(), &OptionsError::Servers);
        refused(|options| options.replicas = 6, &OptionsError::Replicas(6));
        refused(
            |options| options.batch_bytes_max = 1 << 20,
            &OptionsError::Batch(1 << 20),
        );
        refused(
            |options| options.ack_wait = Duration::ZERO,
            &OptionsError::Zero("ack_wait"),
        );
    }

    #[test]
    fn a_secret_is_not_printed() {
        let auth = NatsAuth::Token("s3cret".to_owned());
        assert_eq!(format!("{auth:?}"), "Token");
    }
}
