//! What a matcher wants to know of the bus beside its feed.

use heliograph_bus::{BoxFuture, Bus, BusError, CommitNumber, Committed};

/// Batches of the stream, in order.
pub type Batches = Vec<(CommitNumber, Vec<Committed>)>;

/// Answers a question about the stream.
type Ask<T> = BoxFuture<'static, Result<T, BusError>>;

/// How far the stream of commits has come, and what it still holds.
pub struct Progress {
    /// The newest commit ([`Bus::newest`]).
    pub newest: Box<dyn Fn() -> Ask<CommitNumber> + Send + Sync>,
    /// Up to which number commits may be visible in the store ([`Bus::horizon`]).
    pub horizon: Box<dyn Fn() -> Option<CommitNumber> + Send + Sync>,
    /// Batches after a number ([`Bus::history`]).
    pub history: Box<dyn Fn(CommitNumber) -> Ask<Batches> + Send + Sync>,
}

impl Progress {
    /// What a bus says.
    #[must_use]
    pub fn of<B: Bus>(bus: &B) -> Self {
        let (newest, horizon, history) = (bus.clone(), bus.clone(), bus.clone());
        Self {
            newest: Box::new(move || {
                let bus = newest.clone();
                Box::pin(async move { bus.newest().await })
            }),
            horizon: Box::new(move || horizon.horizon()),
            history: Box::new(move |after| {
                let bus = history.clone();
                Box::pin(async move { bus.history(after).await })
            }),
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}
