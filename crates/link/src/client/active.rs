//! One session at one matcher.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use heliograph_proto::v1::{self, gateway_message::Message, matcher_client::MatcherClient};
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;

use crate::queue::Queue;

/// What questions need of the session.
#[derive(Debug)]
pub(crate) struct Active {
    /// The session's number at the matcher.
    pub(crate) session: u64,
    /// Pages of answers have a connection of their own: what slow clients leave unread there doesn't
    /// hold up live events.
    pub(crate) pages: MatcherClient<Channel>,
    /// Everything else.
    pub(crate) control: MatcherClient<Channel>,
    queue: Arc<Queue<v1::GatewayMessage>>,
    requests: AtomicU64,
    broken: Notify,
    over: watch::Sender<bool>,
}

impl Active {
    pub(crate) fn new(
        session: u64,
        pages: MatcherClient<Channel>,
        control: MatcherClient<Channel>,
        queue: Arc<Queue<v1::GatewayMessage>>,
    ) -> Self {
        Self {
            session,
            pages,
            control,
            queue,
            requests: AtomicU64::new(0),
            broken: Notify::new(),
            over: watch::Sender::new(false),
        }
    }

    /// A number above all before.
    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Queues a message; a matcher that doesn't take them breaks the session.
    pub(crate) fn send(&self, message: Message) {
        let message = v1::GatewayMessage {
            message: Some(message),
        };
        if self.queue.push(message, 32).is_err() {
            tracing::warn!("the matcher takes nothing, session given up");
            self.break_off();
        }
    }

    /// Asks for the end of the session, whose task sees to it.
    pub(crate) fn break_off(&self) {
        self.broken.notify_one();
    }

    /// Waits until somebody asked for the end.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }

    /// Says that the session is over: nothing comes from it any more.
    pub(crate) fn finish(&self) {
        self.queue.end();
        self.over.send_replace(true);
    }

    /// Waits for that.
    pub(crate) async fn over(&self) {
        // The sender lives in `self`.
        drop(self.over.subscribe().wait_for(|over| *over).await);
    }
}
