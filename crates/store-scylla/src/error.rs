//! What can go wrong before a store is open. Later failures are `StoreError`s.

use std::path::PathBuf;

/// The store can't be opened, or its schema not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// An option makes no sense.
    #[error("{0}")]
    Option(String),
    /// A certificate or key can't be read.
    #[error("TLS file {path}: {reason}")]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS can't be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// No contact point answers, or the login fails. Worth trying again.
    #[error("can't connect to the database: {0}")]
    Connect(String),
    /// A statement failed. Worth trying again.
    #[error("{doing}: {reason}")]
    Statement {
        /// What was being done.
        doing: String,
        /// What the database said.
        reason: String,
    },
    /// The keyspace isn't there or has no schema.
    #[error("keyspace {keyspace} has no schema yet: run `heliograph migrate`")]
    NoSchema {
        /// The keyspace.
        keyspace: String,
    },
    /// The schema is older than this program.
    #[error(
        "the schema of keyspace {keyspace} has version {found}, this program needs {known}: run \
         `heliograph migrate`"
    )]
    SchemaOlder {
        /// The keyspace.
        keyspace: String,
        /// The version found.
        found: u32,
        /// The version that this program knows.
        known: u32,
    },
    /// The schema is newer than this program.
    #[error(
        "the schema of keyspace {keyspace} has version {found}, this program knows only {known}: \
         run a newer program, `heliograph migrate` doesn't go back"
    )]
    SchemaNewer {
        /// The keyspace.
        keyspace: String,
        /// The version found.
        found: u32,
        /// The version that this program knows.
        known: u32,
    },
    /// Another migration holds the lock.
    #[error("another migration is under way; its lock ends by itself after two minutes")]
    Locked,
}

impl ConnectError {
    /// Whether the same may work in a moment.
    pub(crate) const fn passes(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Statement { .. })
    }

    pub(crate) fn statement(
        doing: impl Into<String>,
    ) -> impl FnOnce(scylla::errors::ExecutionError) -> Self {
        let doing = doing.into();
        move |error| Self::Statement {
            doing,
            reason: error.to_string(),
        }
    }
}
