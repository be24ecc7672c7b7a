//! Clients that publish, subscribe and ask while faults happen, all of it recorded.
//!
//! At each gateway: two publishers, two connections of live subscriptions, one client that asks.
//! They do what clients do: connect again when a connection breaks, publish again what wasn't
//! answered or got `error:`, subscribe again after CLOSED. [`Workload::finish`] decides.

mod asker;
mod events;
#[cfg(test)]
mod oracle;
mod publisher;
mod subscriber;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use heliograph_protocol::{Event, Timestamp};
use heliograph_testkit::{
    history::{Expect, History, Recorded, Rule, Summary, Violations, What, check, read_back},
    keys::Key,
    process::option,
    random::Random,
};

use self::{asker::Asker, publisher::Publisher, subscriber::Subscriber};

/// Publishers and subscribing connections at each gateway.
const PER_GATEWAY: usize = 2;

/// The environment variable that names a directory for histories: of failed runs, which go to the
/// directory of temporary files otherwise, and of those that passed.
const HISTORIES: &str = "HELIOGRAPH_HISTORIES";

/// Events that were acknowledged lately, for deletions and questions.
const LATELY_MAX: usize = 200;

/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(200);

/// Between two looks whether something is missing.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

/// How long subscribers may take to get what they miss, and gateways to be read back.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much goes on.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is drawn, is drawn from it.
    pub seed: u64,
    /// Events a second of all publishers together. What couldn't go out in time goes out later.
    pub rate: u32,
    /// Events of one publisher on their way at once.
    pub window: usize,
    /// Between two questions of one asker.
    pub ask_every: Duration,
    /// How often each subscribing connection closes one subscription and opens it anew.
    pub churn_every: Duration,
}

impl Default for Options {
    /// Gentle: two slow cores run the whole cluster and its clients as debug builds.
    fn default() -> Self {
        Self {
            seed: 0,
            rate: 100,
            window: 16,
            ask_every: Duration::from_millis(300),
            churn_every: Duration::from_secs(2),
        }
    }
}

/// Where the workload stands; it only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    /// Everybody works.
    Running,
    /// No new events, no questions; what is unsure is settled, subscribers read on.
    Settling,
    /// Everybody leaves.
    Over,
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    history: History,
    options: Options,
    gateways: Vec<Mutex<SocketAddr>>,
    phase: AtomicU8,
    /// The authors. The first writes at every gateway, like a person with several devices.
    keys: Vec<Key>,
    lately: Mutex<VecDeque<Event>>,
}

impl Shared {
    fn reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }

    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    fn address(&self, gateway: usize) -> SocketAddr {
        *lock(&self.gateways[gateway])
    }

    fn client(&self, gateway: usize) -> Recorded {
        Recorded::new(&self.history, gateway, self.address(gateway))
    }

    /// Sees that the client is connected, or waits a moment and says no.
    fn is_connected(&self, client: &mut Recorded, gateway: usize) -> bool {
        if client.is_connected() {
            return true;
        }
        client.relocate(self.address(gateway));
        if client.reconnect().is_err() {
            thread::park_timeout(RETRY);
        }
        client.is_connected()
    }

    /// Remembers what was acknowledged.
    fn acknowledged(&self, event: Event) {
        let mut lately = lock(&self.lately);
        if lately.len() == LATELY_MAX {
            lately.pop_front();
        }
        lately.push_back(event);
    }

    /// Some of what was acknowledged lately.
    fn lately(&self, random: &mut Random, most: usize) -> Vec<Event> {
        let lately = lock(&self.lately);
        let count = most.min(lately.len());
        let one = |_| lately[random.below(lately.len())].clone();
        (0..count).map(one).collect()
    }

    /// All authors in hex.
    fn authors(&self) -> Vec<String> {
        self.keys.iter().map(Key::hex).collect()
    }
}

/// Clients at work. Dropped, they stop without a judgement.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    publishing: Vec<JoinHandle<()>>,
    reading: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Starts clients at each gateway, with keys of their own that no other workload has.
    /// `gateways` are numbered as the history will do.
    ///
    /// # Panics
    ///
    /// If a thread can't be started.
    #[must_use]
    pub fn start(seed: u64, gateways: Vec<SocketAddr>, history: History) -> Self {
        let options = Options {
            seed,
            ..Options::default()
        };
        Self::with(options, gateways, history)
    }

    /// Starts with other options.
    ///
    /// # Panics
    ///
    /// If a thread can't be started.
    #[must_use]
    pub fn with(options: Options, gateways: Vec<SocketAddr>, history: History) -> Self {
        let count = gateways.len() * PER_GATEWAY;
        let shared = Arc::new(Shared {
            history,
            gateways: gateways.into_iter().map(Mutex::new).collect(),
            phase: AtomicU8::new(Phase::Running as u8),
            keys: fresh_keys(options.seed, count + 1),
            lately: Mutex::default(),
            options,
        });
        let (mut publishing, mut reading) = (Vec::new(), Vec::new());
        for gateway in 0..shared.gateways.len() {
            for n in 0..PER_GATEWAY {
                let number = gateway * PER_GATEWAY + n;
                let subscriber = Subscriber::new(&shared, gateway, number);
                reading.push(spawn("subscriber", move || subscriber.run()));
                let publisher = Publisher::new(&shared, gateway, number);
                publishing.push(spawn("publisher", move || publisher.run()));
            }
            let asker = Asker::new(&shared, gateway);
            publishing.push(spawn("asker", move || asker.run()));
        }
        Self {
            shared,
            publishing,
            reading,
        }
    }

    /// What is written down, for marks of faults.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    /// From now on this gateway is reached there.
    pub fn relocate(&self, gateway: usize, address: SocketAddr) {
        *lock(&self.shared.gateways[gateway]) = address;
    }

    /// Waits until `events` more got their OK true, at any gateway.
    ///
    /// # Panics
    ///
    /// If that takes longer than `patience`.
    #[track_caller]
    pub fn progress(&self, events: usize, patience: Duration) {
        self.wait_for_oks(events, patience, None);
    }

    /// Waits until `events` more got their OK true at this gateway.
    ///
    /// # Panics
    ///
    /// If that takes longer than `patience`.
    #[track_caller]
    pub fn progress_at(&self, gateway: usize, events: usize, patience: Duration) {
        self.wait_for_oks(events, patience, Some(gateway));
    }

    #[track_caller]
    fn wait_for_oks(&self, events: usize, patience: Duration, gateway: Option<usize>) {
        let history = &self.shared.history;
        let mut left = events;
        let done = history.wait(history.len(), Instant::now() + patience, |entry| {
            let accepted = matches!(entry.what, What::Ok { accepted: true, .. });
            if accepted && gateway.is_none_or(|gateway| entry.gateway == gateway) {
                left = left.saturating_sub(1);
            }
            (left == 0).then_some(())
        });
        if done.is_none() {
            let (at, path) = (
                gateway.map_or(String::new(), |n| format!(" at gateway {n}")),
                self.save(),
            );
            panic!("{left} of {events} events{at} got no OK true within {patience:?}: {path}");
        }
    }

    /// Ends publishing and asking: waits until what is unsure has its answer, as far as it gets one.
    ///
    /// # Panics
    ///
    /// If one of the clients did.
    pub fn stop(&mut self) {
        self.shared.enter(Phase::Settling);
        for thread in self.publishing.drain(..) {
            thread.join().expect("a client failed");
        }
    }

    /// Stops, waits until subscribers have what they are owed, reads everything back from every
    /// gateway, and checks it all.
    ///
    /// # Panics
    ///
    /// If the relay broke a promise; the message says which, and where the history is.
    #[track_caller]
    pub fn finish(mut self, expect: &Expect) -> Summary {
        self.stop();
        let gateways: Vec<SocketAddr> = self.shared.gateways.iter().map(|at| *lock(at)).collect();
        let settled = self.settle(expect);
        if settled.is_ok() {
            read_back(&self.shared.history, &gateways, PATIENCE);
        }
        self.leave();
        let expect = Expect {
            gateways: gateways.len(),
            ..expect.clone()
        };
        match settled.and_then(|()| check(&self.shared.history, &expect)) {
            Ok(summary) => {
                if option(HISTORIES).is_some() {
                    self.save();
                }
                summary
            }
            Err(violations) => panic!("{violations}\nthe history: {}", self.save()),
        }
    }

    /// Waits until nothing is missing that may still come. Returns what can't be mended by waiting.
    fn settle(&self, expect: &Expect) -> Result<(), Violations> {
        let deadline = Instant::now() + PATIENCE;
        let expect = Expect {
            gateways: 0,
            ..expect.clone()
        };
        loop {
            let Err(violations) = check(&self.shared.history, &expect) else {
                return Ok(());
            };
            let may_come = |rule: &Rule| matches!(rule, Rule::Missing);
            if !violations.rules().iter().all(may_come) || Instant::now() > deadline {
                return Err(violations);
            }
            thread::park_timeout(SETTLE_EVERY);
        }
    }

    fn leave(&mut self) {
        self.shared.enter(Phase::Over);
        for thread in self.publishing.drain(..).chain(self.reading.drain(..)) {
            // A client that failed has said so.
            let _failed = thread.join();
        }
    }

    /// Writes the history to a file that stays, and says where.
    fn save(&self) -> String {
        let name = format!("heliograph-{}-{:x}.jsonl", std::process::id(), unique());
        let directory = option(HISTORIES).map_or_else(std::env::temp_dir, PathBuf::from);
        let path = directory.join(name);
        match self.shared.history.write(&path) {
            Ok(()) => path.display().to_string(),
            Err(error) => format!("not written to {}: {error}", path.display()),
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Keys that no other workload has: relays may be shared, and a seed be used twice.
fn fresh_keys(seed: u64, count: usize) -> Vec<Key> {
    let mut random = Random::seeded(seed ^ unique());
    let number = |random: &mut Random| random.below(usize::MAX);
    (0..count).map(|_| Key::nth(number(&mut random))).collect()
}

/// A number that differs from process to process and call to call.
fn unique() -> u64 {
    static CALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    let place = (u64::from(std::process::id()) << 20) ^ calls;
    Timestamp::now().as_secs().rotate_left(32) ^ place
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.expect("a thread more")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use heliograph_testkit::process::Relay;

    use super::*;

    /// How long progress may take: a debug build among others.
    const PROGRESS: Duration = Duration::from_secs(60);

    #[test]
    fn a_relay_without_faults_keeps_every_promise() {
        let relay = Relay::start();
        let work = Workload::start(1, vec![relay.address()], History::new());
        work.progress(500, PROGRESS);
        let expect = Expect {
            ephemeral_may_be_lost: false,
            whole_answers: true,
            ..Expect::default()
        };
        let summary = work.finish(&expect);
        println!("{summary}");
        assert!(
            summary.acknowledged >= 500 && summary.live > 1_000,
            "{summary}"
        );
        assert_eq!((summary.errors, summary.unanswered), (0, 0));
        assert_eq!(
            (summary.closed, summary.disconnected, summary.failed),
            (0, 0, 0)
        );
        assert!(summary.kept >= 40, "{summary}");
    }

    #[test]
    fn a_relay_that_is_killed_loses_nothing_that_it_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let mut relay = Relay::on(directory.path(), &[]);
        let work = Workload::start(2, vec![relay.address()], History::new());
        for _ in 0..3 {
            work.progress(200, PROGRESS);
            work.history().mark("kill the relay");
            relay.kill();
            relay = Relay::on(directory.path(), &[]);
            work.relocate(0, relay.address());
            work.history().mark("the relay is back");
            work.progress(100, PROGRESS);
        }
        let summary = work.finish(&Expect::default());
        println!("{summary}");
        assert!(summary.disconnected >= 3 * 20, "{summary}");
    }

    /// A publisher once read no more when it stopped with events on their way, and called them
    /// unanswered.
    #[test]
    fn what_is_on_its_way_when_the_work_stops_gets_its_answer() {
        let relay = Relay::start();
        let mut work = Workload::start(3, vec![relay.address()], History::new());
        work.progress(50, PROGRESS);
        let (shared, history) = (Arc::clone(&work.shared), work.history().clone());
        relay.pause();
        history.freeze(0);
        let mut sent = 0;
        let under_way = history.wait(history.len(), Instant::now() + PROGRESS, |entry| {
            sent += usize::from(matches!(entry.what, What::Publish { .. }));
            (sent >= 10).then_some(())
        });
        assert!(
            under_way.is_some(),
            "{sent} events sent to a relay that stands still"
        );
        thread::scope(|scope| {
            scope.spawn(|| work.stop());
            while !shared.reached(Phase::Settling) {
                thread::yield_now();
            }
            history.thaw(0);
            relay.resume();
        });
        let summary = work.finish(&Expect::default());
        assert_eq!((summary.errors, summary.unanswered), (0, 0), "{summary}");
    }
}
