//! The bucket: reading it whole, and changing one record.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{
    Client,
    connection::State,
    jetstream::{
        self, ErrorCode,
        context::GetStreamErrorKind,
        kv::{Config, Entry, Operation, Store, UpdateErrorKind, Watch},
        stream::{Info, StorageType},
    },
};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::{ControlError, Record, RecordKey, RecordValue, records};

/// Bytes of one record at most: a description of 1,000 characters and what other versions add.
const RECORD_BYTES_MAX: i32 = 16 * 1_024;

/// Bytes of the bucket at most, some 250,000 bans. When it is full the tool is refused.
const BUCKET_BYTES_MAX: i64 = 64 * 1_024 * 1_024;

/// How often a change is tried that others were faster with.
const ATTEMPTS: usize = 5;

/// The time between two such attempts: replicas that are read may be behind by so much.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// The time between two attempts to open the bucket.
const OPEN_PAUSE: Duration = Duration::from_millis(250);

/// Where the records are.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// The name of the cluster; the bucket is `<cluster>_control`.
    pub cluster: String,
    /// Copies of the bucket, read when it is made.
    pub replicas: usize,
    /// How long one request may take.
    pub timeout: Duration,
}

/// The control records of a cluster.
#[derive(Debug, Clone)]
pub struct ControlStore {
    pub(crate) client: Client,
    context: jetstream::Context,
    pub(crate) options: ControlOptions,
}

/// A record as listed, also one that this version can't follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its key in the bucket.
    pub key: String,
    /// Its value in the bucket: JSON, unless someone else wrote it.
    pub value: String,
    /// What it says; `None` if this version can't follow it.
    pub record: Option<Record>,
}

/// The whole bucket at one moment, with the feed of what comes after.
pub(crate) struct Snapshot {
    pub(crate) entries: Vec<Entry>,
    pub(crate) watch: Watch,
    /// When the bucket was made, to notice that it was replaced.
    pub(crate) made_at: String,
    /// The number of the last change that is in it.
    pub(crate) revision: u64,
}

impl ControlStore {
    /// Speaks to the servers of `client`; nothing is asked yet.
    #[must_use]
    pub fn new(client: Client, options: ControlOptions) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(options.timeout);
        Self {
            client,
            context,
            options,
        }
    }

    /// Makes sure that the bucket is there.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if the servers can't be reached or refuse.
    pub async fn open(&self) -> Result<(), ControlError> {
        self.bucket(true).await.map(drop)
    }

    /// As [`open`](Self::open), again and again: servers that start, or lost one of them, have no leader
    /// for a while.
    ///
    /// # Errors
    ///
    /// The last one, once `patience` is over.
    pub async fn open_within(&self, patience: Duration) -> Result<(), ControlError> {
        let deadline = Instant::now() + patience;
        loop {
            match self.open().await {
                Err(error) if Instant::now() + OPEN_PAUSE < deadline => {
                    tracing::info!(%error, "NATS can't open the control records yet");
                    sleep(OPEN_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }

    /// Writes a record, over an older one of the same key. Members of the older one that this
    /// version doesn't know are kept.
    ///
    /// # Errors
    ///
    /// [`ControlError::Invalid`] for what a record may not say, otherwise as the servers answer;
    /// then the record may have been written or not.
    pub async fn set(&self, record: &Record) -> Result<(), ControlError> {
        record.check().map_err(ControlError::Invalid)?;
        let bucket = self.bucket(true).await?;
        let key = record.key.to_string();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(ATTEMPT_PAUSE).await;
            }
            let found = self.entry(&bucket, &key).await?;
            let mut value = record.value.clone();
            if let Some(old) = found.as_ref().and_then(old_value) {
                for (name, member) in old.rest {
                    value.rest.entry(name).or_insert(member);
                }
            }
            let revision = found.map_or(0, |entry| entry.revision);
            let update = bucket.update(&key, value.to_bytes().into(), revision);
            match self.in_time(update).await? {
                Ok(_revision) => return Ok(()),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(ControlError::refused("write the record")(error)),
            }
        }
        Err(ControlError::Conflict)
    }

    /// Removes a record; `false` if there was none.
    ///
    /// # Errors
    ///
    /// As the servers answer; then the record may have been removed or not.
    pub async fn remove(&self, key: &RecordKey) -> Result<bool, ControlError> {
        let bucket = self.bucket(true).await?;
        let key = key.to_string();
        let found = self.entry(&bucket, &key).await?;
        if found.is_none_or(|entry| entry.operation != Operation::Put) {
            return Ok(false);
        }
        let removed = self.in_time(bucket.purge(&key)).await?;
        removed.map_err(ControlError::refused("remove the record"))?;
        Ok(true)
    }

    /// All records, in the order of their keys.
    ///
    /// # Errors
    ///
    /// As the servers answer.
    pub async fn list(&self) -> Result<Vec<Listed>, ControlError> {
        let bucket = self.bucket(true).await?;
        let snapshot = self.load(&bucket).await?;
        let mut listed = BTreeMap::new();
        // A change during the read comes after what it changed.
        for entry in snapshot.entries {
            match self::listed(&entry) {
                Some(record) => drop(listed.insert(entry.key, record)),
                None => drop(listed.remove(&entry.key)),
            }
        }
        Ok(listed.into_values().collect())
    }

    /// Whether there is a connection at this moment.
    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The bucket, made if it isn't there and `make` says so.
    pub(crate) async fn bucket(&self, make: bool) -> Result<Store, ControlError> {
        let name = format!("{}_control", self.options.cluster);
        let made = match self.exists(&name).await? {
            true => Ok(()),
            false if make => self.make(&name).await,
            false => Err(ControlError::Lost("the bucket is gone")),
        };
        // If making it failed, another process may have been faster.
        match self.in_time(self.context.get_key_value(&name)).await? {
            Ok(bucket) => Ok(bucket),
            Err(error) => {
                made?;
                Err(ControlError::refused("open the bucket")(error))
            }
        }
    }

    async fn exists(&self, name: &str) -> Result<bool, ControlError> {
        let stream = self.context.get_stream(format!("KV_{name}"));
        let Err(error) = self.in_time(stream).await? else {
            return Ok(true);
        };
        match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(false)
            }
            _ => Err(ControlError::refused("find the bucket")(error)),
        }
    }

    async fn make(&self, name: &str) -> Result<(), ControlError> {
        let config = Config {
            bucket: name.to_owned(),
            description: "what operators decide while the cluster runs".to_owned(),
            history: 1,
            max_value_size: RECORD_BYTES_MAX,
            max_bytes: BUCKET_BYTES_MAX,
            storage: StorageType::File,
            num_replicas: self.options.replicas,
            ..Config::default()
        };
        let made = self.in_time(self.context.create_key_value(config)).await?;
        made.map_err(ControlError::refused("make the bucket"))?;
        tracing::info!(bucket = name, "made the bucket of control records");
        Ok(())
    }

    /// What the servers say of the bucket at this moment.
    pub(crate) async fn info(&self, bucket: &Store) -> Result<Info, ControlError> {
        let info = self.in_time(bucket.stream.get_info()).await?;
        info.map_err(ControlError::refused("ask for the state of the bucket"))
    }

    /// Reads everything, and keeps on listening.
    pub(crate) async fn load(&self, bucket: &Store) -> Result<Snapshot, ControlError> {
        let info = self.info(bucket).await?;
        let watch = self.in_time(bucket.watch_with_history(">")).await?;
        let mut watch = watch.map_err(ControlError::refused("read the bucket"))?;
        let mut entries = Vec::new();
        // An empty bucket sends nothing, not even that it is empty.
        let mut complete = info.state.messages == 0;
        while !complete {
            let entry = self.in_time(watch.next()).await?;
            let entry = entry.ok_or(ControlError::Lost("the feed ended"))?;
            let entry = entry.map_err(ControlError::refused("read the bucket"))?;
            complete = entry.seen_current;
            entries.push(entry);
        }
        let read = entries.iter().map(|entry| entry.revision).max();
        Ok(Snapshot {
            entries,
            watch,
            made_at: info.created.to_string(),
            revision: read.unwrap_or(0).max(info.state.last_sequence),
        })
    }

    async fn entry(&self, bucket: &Store, key: &str) -> Result<Option<Entry>, ControlError> {
        let entry = self.in_time(bucket.entry(key)).await?;
        entry.map_err(ControlError::refused("read the record"))
    }

    /// Gives up where the client would wait for longer.
    pub(crate) async fn in_time<T>(
        &self,
        asked: impl IntoFuture<Output = T, IntoFuture: Send>,
    ) -> Result<T, ControlError> {
        let limit = self.options.timeout;
        let answered = timeout(limit, asked.into_future());
        answered.await.map_err(|_elapsed| {
            if self.is_connected() {
                ControlError::TimedOut(limit)
            } else {
                ControlError::Disconnected
            }
        })
    }
}

/// What a record said before it is written over.
fn old_value(entry: &Entry) -> Option<RecordValue> {
    let put = entry.operation == Operation::Put;
    RecordValue::from_bytes(&entry.value).ok().filter(|_| put)
}

fn listed(entry: &Entry) -> Option<Listed> {
    if entry.operation != Operation::Put {
        return None;
    }
    let key = RecordKey::parse(&entry.key);
    Some(Listed {
        key: entry.key.clone(),
        value: String::from_utf8_lossy(&entry.value).into_owned(),
        record: key.and_then(|key| records::read(key, &entry.value)),
    })
}
