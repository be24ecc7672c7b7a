//! A worker's side: batches from the stream that all workers share, receipts and acknowledgements
//! back.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use heliograph_bus::{BusError, IfStored, Intake, IntakeItem, Receipt};
use heliograph_protocol::Event;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout_at};

use super::server::{Answers, Delivered, Server};
use crate::{journal::short, process::Process};

/// Deliveries of a message before it is given up.
const DELIVERIES_MAX: u32 = 20;

/// The delay before a message that failed is delivered again; doubled up to the other.
const RETRY_DELAY: Duration = Duration::from_millis(250);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(4);

/// The pause after the stream couldn't be asked.
const PAUSE: Duration = Duration::from_millis(250);

/// One worker.
#[derive(Debug)]
pub struct SimIntake {
    server: Arc<Server>,
    process: Arc<Process>,
    backlog: VecDeque<SimItem>,
}

/// One event with the way back to its publisher.
#[derive(Debug)]
pub struct SimItem {
    event: Arc<Event>,
    index: usize,
    work: Arc<Work>,
    answered: bool,
}

/// A message that a worker has.
#[derive(Debug)]
struct Work {
    server: Arc<Server>,
    process: Arc<Process>,
    message: Delivered,
    answers: Mutex<Vec<Option<Result<Receipt, BusError>>>>,
}

impl SimIntake {
    pub(super) fn new(server: &Arc<Server>, process: &Arc<Process>) -> Self {
        Self {
            server: Arc::clone(server),
            process: Arc::clone(process),
            backlog: VecDeque::new(),
        }
    }

    async fn fetch(&self) -> Delivered {
        loop {
            let news = self.server.batches.notified();
            sleep(self.server.random.delay(self.server.faults.bus_delay)).await;
            if !self.server.reaches(&self.process) {
                sleep(PAUSE).await;
                continue;
            }
            match self.server.give(&self.process) {
                Ok(delivered) => {
                    let (server, faults) = (&self.server, &self.server.faults);
                    sleep(server.random.delay(faults.bus_delay)).await;
                    if !server.random.chance(faults.lost_messages) {
                        return delivered;
                    }
                }
                // Over when something came, and when something is due again.
                Err(later) => drop(timeout_at(later, news).await),
            }
        }
    }
}

impl Intake for SimIntake {
    type Item = SimItem;

    async fn next(&mut self, count_max: usize) -> Option<Vec<SimItem>> {
        if self.backlog.is_empty() {
            let message = self.fetch().await;
            let work = Arc::new(Work::new(&self.server, &self.process, message));
            self.backlog.extend(work.items());
        }
        let count = count_max.min(self.backlog.len());
        Some(self.backlog.drain(..count).collect())
    }
}

impl Work {
    fn new(server: &Arc<Server>, process: &Arc<Process>, message: Delivered) -> Self {
        let ids: Vec<String> = message
            .batch
            .events
            .iter()
            .map(|event| short(event.id()))
            .collect();
        let (sequence, delivered) = (message.sequence, message.delivered);
        server.journal.note(
            process.name(),
            format_args!("has batch {sequence} for the {delivered}. time: {ids:?}"),
        );
        Self {
            server: Arc::clone(server),
            process: Arc::clone(process),
            answers: Mutex::new(vec![None; message.batch.events.len()]),
            message,
        }
    }

    fn items(self: &Arc<Self>) -> Vec<SimItem> {
        let events = self.message.batch.events.iter().enumerate();
        let item = |(index, event): (usize, &Arc<Event>)| SimItem {
            event: Arc::clone(event),
            index,
            work: Arc::clone(self),
            answered: false,
        };
        events.map(item).collect()
    }

    fn answer(self: &Arc<Self>, index: usize, answer: Result<Receipt, BusError>) {
        let mut answers = self.answers.lock();
        answers[index] = Some(answer);
        let last = answers.iter().all(Option::is_some);
        drop(answers);
        if last {
            let work = Arc::clone(self);
            self.process.spawn("settle", async move {
                work.settle().await;
            });
        }
    }

    /// Receipts first, then the acknowledgement.
    async fn settle(&self) {
        let answers: Vec<_> = self.answers.lock().iter().flatten().cloned().collect();
        let events = self.message.batch.events.iter().map(|event| *event.id());
        let answers: Answers = events.zip(answers).collect();
        let failed = answers.iter().any(|(_, answer)| answer.is_err());
        let (server, faults) = (&self.server, &self.server.faults);
        let stored = answers.into_iter().filter(|(_, answer)| answer.is_ok());
        let stored: Answers = stored.collect();
        self.send_receipts(&stored);
        sleep(server.random.delay(faults.bus_delay)).await;
        if !server.reaches(&self.process) || server.random.chance(faults.lost_messages) {
            return;
        }
        let sequence = self.message.sequence;
        if !failed {
            server.acknowledge(sequence);
        } else if self.message.delivered >= DELIVERIES_MAX {
            server.bury(sequence);
        } else {
            let doublings = (self.message.delivered - 1).min(8);
            server.again(
                sequence,
                (RETRY_DELAY * (1 << doublings)).min(RETRY_DELAY_MAX),
            );
        }
    }

    fn send_receipts(&self, stored: &Answers) {
        let (server, faults) = (&self.server, &self.server.faults);
        if stored.is_empty() || !server.reaches(&self.process) {
            return;
        }
        let times = match server.random.range(0..1_000) {
            lost if lost < faults.lost_messages => 0,
            twice if twice < faults.lost_messages + faults.repeated_messages => 2,
            _ => 1,
        };
        for _ in 0..times {
            let (server, stored) = (Arc::clone(server), stored.clone());
            let gateway = self.message.batch.gateway.clone();
            self.process.spawn("send receipts", async move {
                sleep(server.random.delay(server.faults.bus_delay)).await;
                server.send_receipts(&gateway, stored);
            });
        }
    }
}

impl IntakeItem for SimItem {
    fn event(&self) -> &Arc<Event> {
        &self.event
    }

    fn if_stored(&self) -> IfStored {
        let message = &self.work.message;
        let unannounced_max = self.work.server.faults.fresh * 2 / 3;
        let is_old = message.batch.published.elapsed() >= unannounced_max;
        if message.delivered > 1 && is_old {
            IfStored::Unknown
        } else {
            IfStored::Elsewhere
        }
    }

    fn answer(mut self, receipt: Result<Receipt, BusError>) {
        self.answered = true;
        self.work.answer(self.index, receipt);
    }
}

impl Drop for SimItem {
    fn drop(&mut self) {
        if !self.answered {
            self.work.answer(self.index, Err(BusError::Closed));
        }
    }
}
