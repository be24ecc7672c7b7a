//! A bus between simulated processes, with what goes wrong between machines: requests without an
//! answer, batches delivered again and to others, receipts that are lost or come twice.

mod feed;
mod intake;
mod publisher;
mod server;

use std::{
    future::pending,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use heliograph_bus::{Bus, BusError, CommitNumber, Committed, Receipt, Requests};
use heliograph_protocol::Event;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::process::Process;

pub use feed::SimFeed;
pub use intake::{SimIntake, SimItem};
pub use server::Server;

use publisher::Publisher;

/// Time over which a publish is tried again.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(8);

/// Time for an answer to one attempt.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// Pauses between attempts.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Batches of one call of history at most: few, so that there are many calls.
const HISTORY_BATCHES_MAX: u64 = 8;

/// The bus as one process sees it. Cloning shares it.
#[derive(Clone)]
pub struct SimBus {
    shared: Arc<Shared>,
}

struct Shared {
    server: Arc<Server>,
    process: Arc<Process>,
    publisher: Publisher,
    matcher: OnceLock<Arc<dyn Requests>>,
    commits: AtomicU64,
    caught_up: watch::Sender<bool>,
}

impl std::fmt::Debug for SimBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimBus")
            .field("process", &self.shared.process.name())
            .finish_non_exhaustive()
    }
}

impl SimBus {
    /// Connects a process.
    #[must_use]
    pub fn connect(server: &Arc<Server>, process: &Arc<Process>) -> Self {
        Self {
            shared: Arc::new(Shared {
                publisher: Publisher::start(server, process),
                server: Arc::clone(server),
                process: Arc::clone(process),
                matcher: OnceLock::new(),
                commits: AtomicU64::new(0),
                caught_up: watch::Sender::new(false),
            }),
        }
    }

    /// Names the link to the matchers. The first one stays.
    pub fn serve_requests(&self, matcher: Arc<dyn Requests>) {
        self.shared.matcher.get_or_init(|| matcher);
    }

    /// Whether the matcher has applied what was committed when its feed began.
    #[must_use]
    pub fn caught_up(&self) -> watch::Receiver<bool> {
        self.shared.caught_up.subscribe()
    }
}

impl Shared {
    /// A dead process does nothing more.
    async fn alive(&self) {
        if self.process.is_dead() {
            pending::<()>().await;
        }
    }
}

impl Server {
    /// Repeats a request that may be carried out several times, until it is answered.
    async fn acked<T>(
        &self,
        process: &Process,
        mut carry_out: impl FnMut(&Self) -> T,
    ) -> Result<T, server::NoAnswer> {
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        let mut pause = PAUSE;
        loop {
            let began = Instant::now();
            let attempt = timeout(ACK_TIMEOUT, self.request(process, &mut carry_out)).await;
            if let Ok(Ok(done)) = attempt {
                return Ok(done);
            }
            sleep(ACK_TIMEOUT.saturating_sub(began.elapsed())).await;
            if Instant::now() + pause >= deadline {
                return Err(server::NoAnswer);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Bus for SimBus {
    type Intake = SimIntake;
    type Feed = SimFeed;

    async fn publish(&self, event: Arc<Event>) -> Result<Receipt, BusError> {
        self.shared.alive().await;
        self.shared.publisher.publish(event).await
    }

    async fn publish_ephemeral(&self, event: Arc<Event>) -> Result<(), BusError> {
        let shared = &self.shared;
        shared.alive().await;
        if !shared.server.reaches(&shared.process) {
            return Err(BusError::Unavailable);
        }
        let server = Arc::clone(&shared.server);
        let twice = server.random.chance(server.faults.repeated_messages);
        for _ in 0..=u8::from(twice) {
            let (server, event) = (Arc::clone(&server), Arc::clone(&event));
            shared.process.spawn("ephemeral", async move {
                sleep(server.random.delay(server.faults.bus_delay)).await;
                server.send_ephemeral(&event);
            });
        }
        Ok(())
    }

    fn matcher(&self) -> Result<&dyn Requests, BusError> {
        let matcher = self.shared.matcher.get();
        matcher.map(AsRef::as_ref).ok_or(BusError::NoMatcher)
    }

    fn intake(&self) -> SimIntake {
        SimIntake::new(&self.shared.server, &self.shared.process)
    }

    fn begin_write(&self) {}

    async fn newest(&self) -> Result<CommitNumber, BusError> {
        self.shared.alive().await;
        let (server, process) = (&self.shared.server, &self.shared.process);
        let asked = server.request(process, |server| server.ends().1).await;
        match asked {
            Ok(last) => Ok(CommitNumber(last)),
            Err(server::NoAnswer) => {
                sleep(ACK_TIMEOUT).await;
                Err(BusError::Unavailable)
            }
        }
    }

    fn horizon(&self) -> Option<CommitNumber> {
        None
    }

    async fn history(
        &self,
        after: CommitNumber,
    ) -> Result<Vec<(CommitNumber, Vec<Committed>)>, BusError> {
        self.shared.alive().await;
        let (server, process) = (&self.shared.server, &self.shared.process);
        let count = usize::try_from(server.random.range(1..HISTORY_BATCHES_MAX)).unwrap_or(1);
        let next = after.0 + 1;
        let asked = server.request(process, |server| (server.ends(), server.read(next, count)));
        let Ok(((first, last), found)) = asked.await else {
            sleep(ACK_TIMEOUT).await;
            return Err(BusError::Unavailable);
        };
        if after.0 > last || (next <= last && next < first) {
            return Err(BusError::Closed);
        }
        let numbered = found.into_iter();
        let numbered = numbered.map(|(number, events)| (CommitNumber(number), events));
        Ok(numbered.collect())
    }

    async fn commit(&self, events: Vec<Committed>) -> Result<CommitNumber, BusError> {
        let shared = &self.shared;
        shared.alive().await;
        if events.is_empty() {
            return Ok(CommitNumber(0));
        }
        let number = shared.commits.fetch_add(1, Ordering::Relaxed);
        let id = format!("c{}-{number}", shared.process.incarnation());
        let take = |server: &Server| server.take_commit(&id, &events);
        let taken = shared.server.acked(&shared.process, take).await;
        taken
            .map(CommitNumber)
            .map_err(|server::NoAnswer| BusError::Unavailable)
    }

    fn feed(&self) -> SimFeed {
        let shared = &self.shared;
        SimFeed::new(&shared.server, &shared.process, shared.caught_up.clone())
    }
}
