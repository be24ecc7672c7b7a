//! Keyspaces for tests: a few, made once, emptied before each use.

use std::{
    ops::Deref,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use heliograph_store::conformance::relay_urls;
use parking_lot::Mutex;
use scylla::client::session::Session;
use tokio::runtime::Runtime;

use crate::{
    BucketOptions, Consistency, Mode, Replication, ScyllaOptions, ScyllaStore, client, migrate,
    schema::TABLES,
};

/// Runs a future on the one runtime that all sessions live on.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    });
    runtime.block_on(future)
}

/// Options for the shared server.
pub(crate) fn options(keyspace: &str) -> ScyllaOptions {
    let nodes = heliograph_sandbox::cql::shared().unwrap();
    ScyllaOptions {
        consistency: Consistency::One,
        relay_urls: relay_urls(),
        // A small shared machine: nothing here is about being quick.
        connect_timeout: Duration::from_secs(20),
        write_timeout: Duration::from_secs(20),
        read_timeout: Duration::from_secs(20),
        speculative_delay: Duration::from_secs(5),
        ..ScyllaOptions::new(nodes, keyspace)
    }
}

/// A keyspace name that no other test and no other run has.
pub(crate) fn fresh_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("test_{}_{number}", std::process::id())
}

/// A store on an empty keyspace, which goes back to the pool when this is dropped.
pub(crate) struct Bed {
    store: ScyllaStore,
    keyspace: Option<Keyspace>,
}

/// A keyspace with the schema, and a session to empty it.
struct Keyspace {
    name: String,
    store: ScyllaStore,
    session: Session,
}

static POOL: Mutex<Vec<Keyspace>> = Mutex::new(Vec::new());

impl Deref for Bed {
    type Target = ScyllaStore;

    fn deref(&self) -> &ScyllaStore {
        &self.store
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        POOL.lock().extend(self.keyspace.take());
    }
}

impl Bed {
    pub(crate) async fn open() -> Self {
        let pooled = POOL.lock().pop();
        let keyspace = match pooled {
            Some(keyspace) => {
                keyspace.empty().await;
                keyspace
            }
            None => Keyspace::make().await,
        };
        Self {
            store: keyspace.store.clone(),
            keyspace: Some(keyspace),
        }
    }

    /// A second store on the same keyspace: another process.
    pub(crate) async fn another(&self) -> ScyllaStore {
        self.tuned(|_options| {}).await
    }

    /// A second store on the same keyspace with options of its own.
    pub(crate) async fn tuned(&self, tune: impl FnOnce(&mut ScyllaOptions)) -> ScyllaStore {
        let mut options = options(self.keyspace());
        tune(&mut options);
        ScyllaStore::connect(options).await.unwrap()
    }

    /// A store whose buckets hold `rows`, every one of which leaves a mark.
    pub(crate) async fn small_buckets(&self, rows: u32) -> ScyllaStore {
        let buckets = BucketOptions {
            rows,
            mark_every: 1,
        };
        self.tuned(|options| options.buckets = buckets).await
    }

    pub(crate) fn keyspace(&self) -> &str {
        &self.keyspace.as_ref().unwrap().name
    }

    /// Removes everything.
    pub(crate) async fn empty(&self) {
        self.keyspace.as_ref().unwrap().empty().await;
    }

    /// A session on the keyspace, for looking behind the store.
    pub(crate) fn session(&self) -> &Session {
        &self.keyspace.as_ref().unwrap().session
    }
}

impl Keyspace {
    async fn make() -> Self {
        let options = options(&fresh_name());
        let session = client::connect(&options, Duration::from_secs(60))
            .await
            .unwrap();
        let create = format!(
            "CREATE KEYSPACE {} WITH replication = \
             {{'class': 'SimpleStrategy', 'replication_factor': 1}} AND durable_writes = false",
            options.keyspace
        );
        session.query_unpaged(create, ()).await.unwrap();
        migrate(&options, &Replication::Simple(1), Mode::Apply)
            .await
            .unwrap();
        session
            .use_keyspace(&options.keyspace, false)
            .await
            .unwrap();
        let name = options.keyspace.clone();
        let store = ScyllaStore::connect(options).await.unwrap();
        Self {
            name,
            store,
            session,
        }
    }

    async fn empty(&self) {
        let truncations = TABLES.map(|table| {
            let truncate = format!("TRUNCATE {table}");
            self.session.query_unpaged(truncate, ())
        });
        for done in join_all(truncations).await {
            done.unwrap();
        }
    }
}
