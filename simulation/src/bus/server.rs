//! The servers of the bus: a stream of batches that workers share, a numbered stream of commits, and
//! messages without a stream. Modelled on JetStream: what is acknowledged to a publisher is kept, what
//! isn't may be kept all the same, and whoever has a message may lose it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use heliograph_bus::{BusError, Committed, Receipt};
use heliograph_protocol::{Event, EventId};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};

use crate::{Faults, Journal, journal::short, process::Process, random::Random, traffic::Counter};

/// A message that is kept for a worker, which it then is to acknowledge.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) gateway: String,
    pub(super) events: Vec<Arc<Event>>,
    pub(super) published: Instant,
}

/// Where a message of the stream of events stands.
#[derive(Debug)]
struct Message {
    batch: Batch,
    delivered: u32,
    /// When it may be delivered, for the first time or again.
    ready: Instant,
    /// Who has it.
    holder: Option<Holder>,
}

/// A worker that has a message, and whether it still works on it.
#[derive(Debug)]
struct Holder {
    process: Arc<Process>,
    working: Arc<()>,
}

/// A message on its way to a worker.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) sequence: u64,
    pub(super) batch: Batch,
    pub(super) delivered: u32,
    /// Dropped when the worker is done with it: then no progress is reported any more.
    pub(super) _working: Arc<()>,
}

/// What became of each event of a batch.
pub(super) type Answers = Vec<(EventId, Result<Receipt, BusError>)>;

/// A commit with its number.
pub(super) type Numbered = (u64, Vec<Committed>);

/// All servers together. One for each run.
#[derive(Debug)]
pub struct Server {
    state: Mutex<State>,
    pub(super) batches: Notify,
    pub(super) commits: Notify,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) journal: Journal,
    counter: Counter,
}

#[derive(Debug, Default)]
struct State {
    events: BTreeMap<u64, Message>,
    events_last: u64,
    /// Messages that were taken, by the ids that their publishers gave them.
    taken: BTreeMap<String, u64>,
    commits: VecDeque<(Instant, Numbered)>,
    commits_last: u64,
    /// Every commit that there ever was, for the checker.
    history: Vec<(Instant, Vec<Committed>)>,
    receipts: BTreeMap<String, mpsc::Sender<Answers>>,
    ephemeral: Vec<(Arc<Process>, mpsc::Sender<Arc<Event>>)>,
    down_until: Option<Instant>,
    dead_letters: usize,
}

/// A request had no answer: it may have been carried out.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoAnswer;

impl Server {
    /// Nothing in any stream.
    #[must_use]
    pub fn start(random: Random, faults: Faults, journal: Journal) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            batches: Notify::new(),
            commits: Notify::new(),
            random,
            faults,
            journal,
            counter: Counter::default(),
        })
    }

    /// What crosses the bus, if it is switched on.
    pub fn counter(&self) -> &Counter {
        &self.counter
    }

    /// No answers for this time.
    pub fn go_down(&self, time: Duration) {
        self.state.lock().down_until = Some(Instant::now() + time);
    }

    /// Everything that was ever committed, in order, and when; the first has number 1.
    pub fn history(&self) -> Vec<(Instant, Vec<Committed>)> {
        self.state.lock().history.clone()
    }

    /// How many commits there were so far.
    pub fn commits_count(&self) -> usize {
        self.state.lock().history.len()
    }

    /// Messages that weren't stored in as many attempts as there are.
    pub fn dead_letters(&self) -> usize {
        self.state.lock().dead_letters
    }

    /// Whether all that was published has been worked off.
    pub fn is_idle(&self) -> bool {
        self.state.lock().events.is_empty()
    }

    pub(super) fn is_down(&self) -> bool {
        let until = self.state.lock().down_until;
        until.is_some_and(|until| until > Instant::now())
    }

    pub(super) fn reaches(&self, process: &Process) -> bool {
        process.is_connected() && !self.is_down()
    }

    /// One request and its answer.
    pub(super) async fn request<T>(
        &self,
        process: &Process,
        carry_out: impl FnOnce(&Self) -> T,
    ) -> Result<T, NoAnswer> {
        sleep(self.random.delay(self.faults.bus_delay)).await;
        if !self.reaches(process) || self.random.chance(self.faults.lost_requests) {
            return Err(NoAnswer);
        }
        let done = carry_out(self);
        sleep(self.random.delay(self.faults.bus_delay)).await;
        if !self.reaches(process) || self.random.chance(self.faults.lost_requests) {
            return Err(NoAnswer);
        }
        Ok(done)
    }

    /// Takes a batch, once for each id.
    pub(super) fn take_batch(&self, id: &str, batch: &Batch) {
        let mut state = self.state.lock();
        if state.taken.contains_key(id) {
            return;
        }
        state.events_last += 1;
        let sequence = state.events_last;
        state.taken.insert(id.to_owned(), sequence);
        let message = Message {
            batch: batch.clone(),
            delivered: 0,
            ready: Instant::now(),
            holder: None,
        };
        state.events.insert(sequence, message);
        drop(state);
        self.counter.count(|traffic| {
            traffic.messages.published += 1;
            traffic.bus_bytes += bytes(&batch.events);
        });
        self.batches.notify_waiters();
    }

    /// Gives a worker a message that nobody works on, or tells when to ask again.
    pub(super) fn give(&self, process: &Arc<Process>) -> Result<Delivered, Instant> {
        let now = Instant::now();
        let ack_wait = self.faults.ack_wait;
        let mut state = self.state.lock();
        let mut later = now + ack_wait;
        let mut ready = Vec::new();
        for (sequence, message) in &mut state.events {
            if message.ready <= now && message.is_worked_on() && !self.random.chance(10) {
                // Its worker has reported progress.
                message.ready = now + ack_wait;
            }
            if message.ready <= now {
                ready.push(*sequence);
            } else {
                later = later.min(message.ready);
            }
        }
        let some = &ready[..ready.len().min(4)];
        let Some(sequence) = self.random.pick(some).copied() else {
            return Err(later);
        };
        let Some(message) = state.events.get_mut(&sequence) else {
            return Err(later);
        };
        let working = Arc::new(());
        self.counter.count(|traffic| {
            traffic.messages.fetched += 1;
            traffic.bus_bytes += bytes(&message.batch.events);
        });
        message.delivered += 1;
        message.ready = now + ack_wait;
        message.holder = Some(Holder {
            process: Arc::clone(process),
            working: Arc::clone(&working),
        });
        Ok(Delivered {
            sequence,
            batch: message.batch.clone(),
            delivered: message.delivered,
            _working: working,
        })
    }

    /// A message is done with.
    pub(super) fn acknowledge(&self, sequence: u64) {
        self.counter
            .count(|traffic| traffic.messages.acknowledged += 1);
        self.state.lock().events.remove(&sequence);
    }

    /// A message is to be delivered again, later.
    pub(super) fn again(&self, sequence: u64, wait: Duration) {
        if let Some(message) = self.state.lock().events.get_mut(&sequence) {
            message.ready = Instant::now() + wait;
            message.holder = None;
        }
    }

    /// A message is given up.
    pub(super) fn bury(&self, sequence: u64) {
        let mut state = self.state.lock();
        state.events.remove(&sequence);
        state.dead_letters += 1;
    }

    /// Takes a commit, once for each id; its number.
    pub(super) fn take_commit(&self, id: &str, events: &[Committed]) -> u64 {
        let mut state = self.state.lock();
        if let Some(number) = state.taken.get(id) {
            return *number;
        }
        state.commits_last += 1;
        let number = state.commits_last;
        state.taken.insert(id.to_owned(), number);
        let now = Instant::now();
        state.commits.push_back((now, (number, events.to_vec())));
        state.history.push((Instant::now(), events.to_vec()));
        let changes = events.iter().map(|change| match change {
            Committed::Winner(event) => format!("+{}", short(event.id())),
            Committed::Again(event) => format!("={}", short(event.id())),
            Committed::Seat(event) => format!("-{}", short(event.id())),
        });
        let changes: Vec<String> = changes.collect();
        self.journal.note(
            "bus",
            format_args!("commit {number}: {}", changes.join(" ")),
        );
        drop(state);
        self.counter.count(|traffic| {
            traffic.messages.committed += 1;
            traffic.bus_bytes += changed_bytes(events);
        });
        self.commits.notify_waiters();
        number
    }

    /// The oldest number that is kept, or the next one if none is, and the newest.
    pub(super) fn ends(&self) -> (u64, u64) {
        let mut state = self.state.lock();
        let kept = |(taken, _): &(Instant, Numbered)| taken.elapsed() < self.faults.commits_kept;
        while state.commits.front().is_some_and(|commit| !kept(commit)) {
            state.commits.pop_front();
        }
        let first = state.commits.front().map(|(_, (number, _))| *number);
        (first.unwrap_or(state.commits_last + 1), state.commits_last)
    }

    /// Commits from `next` on, `count` at most.
    pub(super) fn read(&self, next: u64, count: usize) -> Vec<Numbered> {
        let state = self.state.lock();
        let kept = state.commits.iter().map(|(_, numbered)| numbered);
        let from = kept.skip_while(|(number, _)| *number < next);
        from.take(count).cloned().collect()
    }

    /// The next commit for a matcher that follows the stream.
    pub(super) fn follow(&self, next: u64) -> Option<Numbered> {
        let commit = self.read(next, 1).pop()?;
        self.counter.count(|traffic| {
            traffic.messages.followed += 1;
            traffic.bus_bytes += changed_bytes(&commit.1);
        });
        Some(commit)
    }

    /// From now on receipts for a gateway go there.
    pub(super) fn subscribe_receipts(&self, gateway: &str, sender: mpsc::Sender<Answers>) {
        self.state
            .lock()
            .receipts
            .insert(gateway.to_owned(), sender);
    }

    /// Sends receipts, which nobody keeps.
    pub(super) fn send_receipts(&self, gateway: &str, answers: Answers) {
        self.counter.count(|traffic| traffic.messages.receipts += 1);
        let sender = self.state.lock().receipts.get(gateway).cloned();
        if let Some(sender) = sender {
            // A gateway that is behind, or gone, loses them.
            drop(sender.try_send(answers));
        }
    }

    /// From now on ephemeral events go there.
    pub(super) fn subscribe_ephemeral(
        &self,
        process: &Arc<Process>,
        sender: mpsc::Sender<Arc<Event>>,
    ) {
        let mut state = self.state.lock();
        state.ephemeral.retain(|(process, _)| !process.is_dead());
        state.ephemeral.push((Arc::clone(process), sender));
    }

    /// Sends an ephemeral event, which nobody keeps.
    pub(super) fn send_ephemeral(&self, event: &Arc<Event>) {
        let state = self.state.lock();
        for (process, sender) in &state.ephemeral {
            if process.is_well() && !self.random.chance(self.faults.lost_messages) {
                drop(sender.try_send(Arc::clone(event)));
            }
        }
    }
}

impl Message {
    fn is_worked_on(&self) -> bool {
        let holder = self.holder.as_ref();
        holder.is_some_and(|holder| {
            holder.process.is_well() && Arc::strong_count(&holder.working) > 1
        })
    }
}

fn bytes(events: &[Arc<Event>]) -> u64 {
    events.iter().map(|event| event.as_str().len() as u64).sum()
}

fn changed_bytes(changes: &[Committed]) -> u64 {
    let events = changes.iter().map(|change| match change {
        Committed::Winner(event) | Committed::Again(event) | Committed::Seat(event) => event,
    });
    events.map(|event| event.as_str().len() as u64).sum()
}
