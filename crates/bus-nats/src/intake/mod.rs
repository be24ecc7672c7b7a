//! The worker's side: events from the stream, receipts and acknowledgements back.
//!
//! Workers of all processes share one durable consumer. A worker fetches what is there when it asks,
//! and nothing ahead: what waits stays with the server, for whoever is free first. A message is
//! acknowledged after each of its events was answered and the receipts went out; until then, live
//! workers report progress, and a dead one's message comes to another.

mod backlog;
mod lag;
mod pull;
mod settle;
mod work;

use std::{collections::VecDeque, sync::Arc};

use heliograph_bus::{BusError, IfStored, Intake, IntakeItem, Receipt};
use heliograph_protocol::Event;

use self::{backlog::Backlog, pull::Puller, work::Work};

pub(crate) use self::work::{REPLAY_HEADER, Workshop};

/// Events waiting for an ingest worker. Each handle is one worker.
#[derive(Debug)]
pub struct NatsIntake {
    workshop: Arc<Workshop>,
    puller: Puller,
    backlog: Backlog,
}

/// One event with the way back to its publisher.
///
/// Answered with an error or dropped, its message is delivered again later, and its publisher gets
/// no answer for now: the next attempt may succeed in time.
#[derive(Debug)]
pub struct NatsItem {
    event: Arc<Event>,
    work: Arc<Work>,
    /// Its place in the message.
    index: usize,
    answered: bool,
}

impl NatsIntake {
    pub(crate) fn new(workshop: Arc<Workshop>) -> Self {
        workshop.join();
        Self {
            puller: Puller::new(Arc::clone(&workshop)),
            backlog: Backlog::default(),
            workshop,
        }
    }

    /// Takes over what a fetch brought; events are offered from the backlog.
    fn take_in(&mut self, fetched: &mut VecDeque<Arc<Work>>) {
        for work in fetched.drain(..) {
            self.backlog.add(&work);
        }
    }
}

impl Drop for NatsIntake {
    fn drop(&mut self) {
        self.workshop.leave();
    }
}

impl Intake for NatsIntake {
    type Item = NatsItem;

    /// Safe to cancel: what was fetched stays for the next call.
    async fn next(&mut self, count_max: usize) -> Option<Vec<NatsItem>> {
        loop {
            let mut fetched = std::mem::take(&mut self.puller.fetched);
            self.take_in(&mut fetched);
            if let Some(items) = self.backlog.take(count_max.max(1)) {
                return Some(items);
            }
            if !self.workshop.is_closed() {
                self.puller.fetch().await;
            } else if !self.puller.drain().await {
                return None;
            }
        }
    }
}

impl IntakeItem for NatsItem {
    fn event(&self) -> &Arc<Event> {
        &self.event
    }

    fn if_stored(&self) -> IfStored {
        self.work.if_stored()
    }

    fn answer(mut self, receipt: Result<Receipt, BusError>) {
        self.answered = true;
        self.work.answer(self.index, receipt);
    }
}

impl Drop for NatsItem {
    fn drop(&mut self) {
        if !self.answered {
            self.work.answer(self.index, Err(BusError::Closed));
        }
    }
}
