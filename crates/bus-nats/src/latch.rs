//! Something that becomes true once and stays so.

use tokio::sync::watch;

/// Set by one, waited for by many.
#[derive(Debug, Default)]
pub(crate) struct Latch(watch::Sender<bool>);

impl Latch {
    /// Makes it true; those who wait are told if it wasn't.
    pub(crate) fn set(&self) {
        self.0.send_if_modified(|set| !std::mem::replace(set, true));
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// For those outside who follow it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Waits until it is true. Safe to cancel.
    pub(crate) async fn wait(&self) {
        let set = self.0.subscribe().wait_for(|set| *set).await.is_ok();
        debug_assert!(set, "the sender lives in self");
    }
}
