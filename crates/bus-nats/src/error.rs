//! What can go wrong outside of the calls of the seam.

use crate::OptionsError;

/// The bus couldn't be started, or a tool's request wasn't carried out. Safe to retry unless it is
/// about options.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// Options that don't go together.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A file for login or TLS can't be used.
    #[error("can't use {what}: {reason}")]
    File {
        /// Which one.
        what: String,
        /// Why.
        reason: String,
    },
    /// No server could be reached in time.
    #[error("can't reach NATS at {servers}: {reason}")]
    Connect {
        /// The servers tried.
        servers: String,
        /// The last reason.
        reason: String,
    },
    /// The server couldn't do something.
    #[error("NATS can't {what}: {reason}")]
    Request {
        /// What was asked.
        what: String,
        /// Why not.
        reason: String,
    },
    /// There is no such dead letter.
    #[error("there is no dead letter {0}")]
    NoSuchLetter(u64),
}

impl NatsError {
    /// For `map_err`: a request that failed.
    pub(crate) fn request<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Self {
        let what = what.to_owned();
        move |error| Self::Request {
            what,
            reason: error.to_string(),
        }
    }
}
