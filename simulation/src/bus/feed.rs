//! A matcher's side: commits in order from the oldest that is kept, and ephemeral events.

use std::sync::Arc;

use heliograph_bus::{CommitNumber, Feed, FeedItem};
use heliograph_protocol::Event;
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, sleep, timeout},
};

use super::server::Server;
use crate::process::Process;

/// Ephemeral events that wait; further ones are lost.
const EPHEMERAL_MAX: usize = 64;

/// How often is looked for commits that nobody told of.
const LOOK: Duration = Duration::from_millis(500);

/// The pause while the servers can't be reached.
const PAUSE: Duration = Duration::from_millis(100);

/// The stream that a matcher follows. It ends when commits are missing.
#[derive(Debug)]
pub struct SimFeed {
    server: Arc<Server>,
    process: Arc<Process>,
    /// The next number; 0 before the first item.
    next: u64,
    /// What there was when it began.
    target: u64,
    caught_up: watch::Sender<bool>,
    ephemeral: mpsc::Receiver<Arc<Event>>,
}

impl SimFeed {
    pub(super) fn new(
        server: &Arc<Server>,
        process: &Arc<Process>,
        caught_up: watch::Sender<bool>,
    ) -> Self {
        let (sender, ephemeral) = mpsc::channel(EPHEMERAL_MAX);
        server.subscribe_ephemeral(process, sender);
        Self {
            server: Arc::clone(server),
            process: Arc::clone(process),
            next: 0,
            target: 0,
            caught_up,
            ephemeral,
        }
    }

    /// Waits until the servers can be asked.
    async fn reach(&self) {
        sleep(self.server.random.delay(self.server.faults.feed_delay)).await;
        while !self.server.reaches(&self.process) {
            sleep(PAUSE).await;
        }
    }

    fn note_applied(&self) {
        if self.next > self.target {
            self.caught_up.send_if_modified(|caught_up| {
                let first = !*caught_up;
                *caught_up = true;
                first
            });
        }
    }
}

impl Feed for SimFeed {
    async fn next(&mut self) -> Option<FeedItem> {
        if self.next == 0 {
            self.reach().await;
            let (first, last) = self.server.ends();
            (self.next, self.target) = (first, last);
            if first > 1 {
                return Some(FeedItem::Begins(CommitNumber(first - 1)));
            }
        }
        loop {
            // Whoever asks has applied what came before.
            self.note_applied();
            if self.server.random.chance(300)
                && let Ok(event) = self.ephemeral.try_recv()
            {
                return Some(FeedItem::Ephemeral(event));
            }
            let server = Arc::clone(&self.server);
            let news = server.commits.notified();
            let (first, last) = server.ends();
            if self.next <= last {
                self.reach().await;
                if self.next < first.max(server.ends().0) {
                    return None;
                }
                let (number, events) = server.follow(self.next)?;
                self.next = number + 1;
                return Some(FeedItem::Committed {
                    number: CommitNumber(number),
                    events,
                });
            }
            // Commits first, which others wait for.
            tokio::select! {
                biased;
                _ = timeout(LOOK, news) => {}
                Some(event) = self.ephemeral.recv() => return Some(FeedItem::Ephemeral(event)),
            }
        }
    }
}
