//! What the tests stand on: a store of records under a name of its own, and followers.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{Client, ConnectOptions, jetstream};
use heliograph_control::{ControlOptions, ControlState, ControlStore, Metrics, ReadState};
use heliograph_lifecycle::Tasks;
use heliograph_policy::{
    ControlRules, EventLimits, LiveControl, Reader, RelayUrls, Visibility, WriteRules, admit_event,
};
use heliograph_protocol::Timestamp;
use heliograph_testkit::keys::Key;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};

/// When the events of the tests were made.
pub(crate) const NOW: u64 = 1_767_225_600;

/// What is promised of a change.
pub(crate) const IN_FORCE: Duration = Duration::from_secs(2);

/// For what takes a server's time.
const PATIENCE: Duration = Duration::from_secs(20);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A name that nobody else has.
pub(crate) fn unique() -> String {
    format!("control-{:016x}", RandomState::new().hash_one(0))
}

/// A client that goes on trying, also the first time.
pub(crate) async fn connect(url: &str) -> Client {
    ConnectOptions::new()
        .retry_on_initial_connect()
        .reconnect_delay_callback(|_attempts| Duration::from_millis(100))
        .connect(url)
        .await
        .expect("it connects in the background")
}

/// The records of one cluster.
pub(crate) struct Bed {
    pub(crate) store: ControlStore,
    jetstream: jetstream::Context,
    bucket: String,
}

/// One process that obeys.
pub(crate) struct Followed {
    place: LiveControl,
    state: watch::Receiver<ControlState>,
    registry: Registry,
    tasks: Tasks,
    stop: Option<oneshot::Sender<()>>,
}

impl Bed {
    /// On the server that all tests share, under a name of its own.
    pub(crate) async fn shared() -> Self {
        let urls = heliograph_sandbox::nats::shared().expect("a NATS server");
        let client = connect(&urls[0]).await;
        client.flush().await.expect("a connection");
        Self::new(client, &unique())
    }

    pub(crate) fn new(client: Client, cluster: &str) -> Self {
        let options = ControlOptions {
            cluster: cluster.to_owned(),
            replicas: 1,
            timeout: REQUEST_TIMEOUT,
        };
        Self {
            jetstream: jetstream::new(client.clone()),
            store: ControlStore::new(client, options),
            bucket: format!("{cluster}_control"),
        }
    }

    pub(crate) fn follow(&self) -> Followed {
        let mut registry = Registry::default();
        let place = LiveControl::default();
        let metrics = Metrics::register(&mut registry);
        let (follower, state) = self.store.follow(place.clone(), metrics);
        let (tasks, (stop, stopped)) = (Tasks::new(), oneshot::channel());
        drop(tasks.spawn("control", follower.run(stopped)));
        Followed {
            place,
            state,
            registry,
            tasks,
            stop: Some(stop),
        }
    }

    /// Writes past the tool, as another version would.
    pub(crate) async fn put(&self, key: &str, value: &str) {
        self.store.open().await.expect("a bucket");
        let bucket = self
            .jetstream
            .get_key_value(&self.bucket)
            .await
            .expect("a bucket");
        bucket
            .put(key, value.to_owned().into())
            .await
            .expect("written");
    }

    pub(crate) async fn get(&self, key: &str) -> String {
        let bucket = self
            .jetstream
            .get_key_value(&self.bucket)
            .await
            .expect("a bucket");
        let value = bucket.get(key).await.expect("an answer").expect("a record");
        String::from_utf8(value.to_vec()).expect("text")
    }

    pub(crate) async fn delete_bucket(&self) {
        self.jetstream
            .delete_key_value(&self.bucket)
            .await
            .expect("deleted");
    }

    pub(crate) async fn wipe_stream(&self) {
        let stream = self
            .jetstream
            .get_stream(format!("KV_{}", self.bucket))
            .await;
        stream.expect("a stream").purge().await.expect("purged");
    }
}

impl Followed {
    pub(crate) fn read(&self) -> ReadState {
        self.state.borrow().read
    }

    pub(crate) fn rules(&self) -> Arc<ControlRules> {
        self.place.load_full()
    }

    pub(crate) fn visibility(&self) -> Visibility {
        Visibility {
            urls: urls(),
            control: self.place.clone(),
        }
    }

    /// Waits for a state, and that it holds in the place where everyone looks.
    #[track_caller]
    pub(crate) fn until(
        &mut self,
        within: Duration,
        holds: impl FnMut(&ControlState) -> bool,
    ) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let waited = timeout(within, self.state.wait_for(holds)).await;
            let state = waited.ok().and_then(Result::ok).map(|state| state.clone());
            let state = state.unwrap_or_else(|| {
                panic!(
                    "not so within {within:?}, at {caller}: {:?}",
                    self.place.load()
                )
            });
            assert_eq!(state.rules, self.place.load_full());
        }
    }

    pub(crate) async fn current(&mut self) {
        self.until(PATIENCE, |state| state.read == ReadState::Current)
            .await;
    }

    /// How a note of key `n` is answered now; empty if it is taken.
    pub(crate) fn admit(&self, n: usize) -> String {
        self.admit_at(n, now())
    }

    pub(crate) fn admit_at(&self, n: usize, now: Timestamp) -> String {
        let limits = EventLimits {
            write: WriteRules {
                control: self.place.clone(),
                ..WriteRules::default()
            },
            ..EventLimits::default()
        };
        let event = Key::nth(n).note(NOW, "hello");
        let answer = admit_event(&event, &limits, &urls(), &Reader::default(), now);
        answer
            .err()
            .map(|refusal| refusal.to_string())
            .unwrap_or_default()
    }

    /// The value of `control_<name>`.
    pub(crate) fn metric(&self, name: &str) -> i64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a page of metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("control_{name} ")));
        let value = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        value.parse().expect("a number")
    }

    pub(crate) async fn until_metric(&self, name: &str, least: i64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(name) < least {
            assert!(Instant::now() < deadline, "{name} stays below {least}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it, and says how many tasks are left.
    pub(crate) async fn stop(mut self) -> usize {
        drop(self.stop.take());
        self.tasks.wait(PATIENCE).await.count()
    }
}

fn urls() -> RelayUrls {
    RelayUrls::parse(&["wss://relay.example.com"]).expect("a relay URL")
}
