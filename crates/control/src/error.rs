//! What can go wrong with control records.

use std::{error::Error as StdError, time::Duration};

/// Why control records could not be read or written. Everything but [`Self::Invalid`] is safe to
/// try again.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no connection to a NATS server.
    #[error("not connected to NATS")]
    Disconnected,
    /// The servers took longer than the time-out. A write may have happened or not.
    #[error("NATS did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The servers refused: no JetStream, no bucket, no room, no permission.
    #[error("failed to {action}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// What the client says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Others changed the record again and again at the same time.
    #[error("the record was changed by others at the same time")]
    Conflict,
    /// The feed of changes ended, or the bucket was replaced.
    #[error("lost track of the control records: {0}")]
    Lost(&'static str),
    /// The record says something that it may not say.
    #[error("{0}")]
    Invalid(String),
}

impl ControlError {
    /// An error of the client while it did `action`.
    pub(crate) fn refused<E>(action: &'static str) -> impl FnOnce(E) -> Self
    where
        E: StdError + Send + Sync + 'static,
    {
        move |source| Self::Refused {
            action,
            source: Box::new(source),
        }
    }
}
