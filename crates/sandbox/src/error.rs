//! What can go wrong with a server or a role.

use std::{io, path::Path, time::Duration};

/// Why a tool can't be had, or a process doesn't do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that has to be installed by hand.
    #[error("{program} is missing: {hint}")]
    Missing {
        /// The program, or what it is for.
        program: String,
        /// What to install.
        hint: String,
    },
    /// An installation that went wrong.
    #[error("can't install {what}: {why}")]
    Install {
        /// What was to be installed.
        what: String,
        /// What its installer said.
        why: String,
    },
    /// A process that ended although it should run.
    #[error("{name} ended ({status}); its log ends with:\n{log}")]
    Ended {
        /// Which one.
        name: String,
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// A process that isn't in the wanted state in time.
    #[error("{name}: no {state} after {} s; its log ends with:\n{log}", after.as_secs())]
    Timeout {
        /// Which one.
        name: String,
        /// What was waited for.
        state: String,
        /// For how long.
        after: Duration,
        /// The last lines that it wrote.
        log: String,
    },
    /// A process that has been killed or terminated before.
    #[error("{name} is not running")]
    NotRunning {
        /// Which one.
        name: String,
    },
    /// A wish that can't be met, such as two nodes where one or three are possible.
    #[error("{0}")]
    Options(String),
    /// The operating system refuses something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: what was tried, in front of the system's reason.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: as [`io`](Self::io), with the path that was touched.
    pub(crate) fn path(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{what} {}", path.display()))
    }
}
