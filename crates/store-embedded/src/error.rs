//! What can go wrong, inside and at open.

use std::{io, path::PathBuf};

use heliograph_store::StoreError;

/// The store can't be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("the data directory is in use by process {pid}")]
    Locked {
        /// Its process id, 0 if it couldn't be read.
        pid: u32,
    },
    /// The data was written by a newer version of this program.
    #[error(
        "the data has schema version {found}, this program knows up to {known}: use a newer one"
    )]
    NewerSchema {
        /// The version in the data.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// There is no store in the directory.
    #[error("no store in {0}")]
    Absent(PathBuf),
    /// The log says that there was a database; what stands in its place is new.
    #[error("the database {path} is missing: the log goes on from its segment {segment}")]
    Lost {
        /// Where it should be.
        path: PathBuf,
        /// The oldest segment of the log.
        segment: u64,
    },
    /// The write-ahead log is damaged in a place that a crash can't damage.
    #[error("the log is damaged: {path}, byte {offset}: {reason}")]
    Log {
        /// The segment.
        path: PathBuf,
        /// Where the bad record begins.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A segment of the log is missing: a newer one is there, the database doesn't have it.
    #[error("the log's segment {path} is missing, though {follows} is there")]
    Missing {
        /// Where the segment should be.
        path: PathBuf,
        /// The segment that is there.
        follows: PathBuf,
    },
    /// The database is damaged or can't be used.
    #[error("database: {0}")]
    Database(String),
    /// A file can't be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        Self::Database(fault.to_string())
    }
}

/// Why a read or write of the database failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Database(#[from] heed::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("damaged data: {0}")]
    Corrupt(&'static str),
    #[error("the store is closed")]
    Closed,
}

impl Fault {
    /// Whether the device is full.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Database(heed::Error::Io(error)) | Self::Io(error) => is_full(error),
            _ => false,
        }
    }

    pub(crate) fn is_map_full(&self) -> bool {
        matches!(
            self,
            Self::Database(heed::Error::Mdb(heed::MdbError::MapFull))
        )
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Closed => Self::Closed,
            fault if fault.is_full() => Self::Full,
            fault => Self::Failed(fault.to_string()),
        }
    }
}

/// Whether the device, the quota or the file-size limit is used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
