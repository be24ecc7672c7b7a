//! A gateway's side: events in batches, one in flight at a time, and the receipts for them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use heliograph_bus::{BusError, CommitNumber, Receipt};
use heliograph_protocol::{Event, EventId, Outcome};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::server::{Answers, Batch, Server};
use crate::process::Process;

/// Events that wait to be published, and receipts that wait to be read.
const QUEUE: usize = 1_024;

/// Time for a receipt.
const RECEIPT_DEADLINE: Duration = Duration::from_secs(30);

type Answer = Result<Receipt, BusError>;

/// Publishes for one gateway.
#[derive(Debug)]
pub(super) struct Publisher {
    queue: mpsc::Sender<(Arc<Event>, u64)>,
    waiting: Arc<Waiting>,
    tickets: AtomicU64,
}

/// A ticket and where its answer goes.
type Waiter = (u64, oneshot::Sender<Answer>);

#[derive(Debug, Default)]
struct Waiting {
    by_id: Mutex<BTreeMap<EventId, Vec<Waiter>>>,
}

impl Publisher {
    pub(super) fn start(server: &Arc<Server>, process: &Arc<Process>) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let (receipts_in, receipts) = mpsc::channel(QUEUE);
        server.subscribe_receipts(process.name(), receipts_in);
        let waiting = Arc::new(Waiting::default());
        let (sender, reader) = (Arc::clone(&waiting), Arc::clone(&waiting));
        let send = send(Arc::clone(server), Arc::clone(process), queued, sender);
        process.spawn("publisher", send);
        process.spawn("receipts", read(receipts, reader));
        Self {
            queue,
            waiting,
            tickets: AtomicU64::new(0),
        }
    }

    pub(super) async fn publish(&self, event: Arc<Event>) -> Answer {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let id = *event.id();
        self.waiting
            .by_id
            .lock()
            .entry(id)
            .or_default()
            .push((ticket, sender));
        let queued = self.queue.send((event, ticket)).await;
        queued.map_err(|_gone| BusError::Closed)?;
        let answered = timeout(RECEIPT_DEADLINE, answer).await;
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(_gone)) => Err(BusError::Closed),
            Err(_elapsed) => Err(BusError::TimedOut),
        }
    }
}

impl Waiting {
    /// A receipt says what is stored, whoever published it.
    fn answer_all(&self, id: &EventId, answer: &Answer) {
        let waiting = self.by_id.lock().remove(id).unwrap_or_default();
        for (_, sender) in waiting {
            // It may have gone away.
            drop(sender.send(answer.clone()));
        }
    }

    fn answer_one(&self, id: &EventId, ticket: u64, answer: Answer) {
        let mut by_id = self.by_id.lock();
        let Some(waiting) = by_id.get_mut(id) else {
            return;
        };
        if let Some(at) = waiting.iter().position(|(other, _)| *other == ticket) {
            let (_, sender) = waiting.swap_remove(at);
            drop(sender.send(answer));
        }
    }
}

async fn send(
    server: Arc<Server>,
    process: Arc<Process>,
    mut queued: mpsc::Receiver<(Arc<Event>, u64)>,
    waiting: Arc<Waiting>,
) {
    let mut number = 0_u64;
    let mut together = Vec::new();
    while queued.recv_many(&mut together, QUEUE).await > 0 {
        number += 1;
        let id = format!("e{}-{number}", process.incarnation());
        let batch = Batch {
            gateway: process.name().to_owned(),
            events: together
                .iter()
                .map(|(event, _)| Arc::clone(event))
                .collect(),
            published: Instant::now(),
        };
        let taken = server
            .acked(&process, |server| server.take_batch(&id, &batch))
            .await;
        let quorum = Receipt {
            outcome: Outcome::Stored,
            commit: CommitNumber(0),
        };
        let answer = match taken {
            Ok(()) if server.faults.quorum => Some(Ok(quorum)),
            Ok(()) => None,
            Err(_no_answer) => Some(Err(BusError::Unavailable)),
        };
        for (event, ticket) in together.drain(..) {
            if let Some(answer) = &answer {
                waiting.answer_one(event.id(), ticket, answer.clone());
            }
        }
    }
}

async fn read(mut receipts: mpsc::Receiver<Answers>, waiting: Arc<Waiting>) {
    while let Some(answers) = receipts.recv().await {
        for (id, answer) in answers {
            waiting.answer_all(&id, &answer);
        }
    }
}
