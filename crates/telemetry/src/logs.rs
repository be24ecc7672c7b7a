//! Logs on the standard error stream, so that the output of tools stays clean.
//!
//! What always holds: no place in the source floods the log, whatever clients or servers do. After
//! [`LINES_AT_ONCE`] lines of one place there is one in [`LINE_SECS`] seconds, which says how many were
//! left out. Lines for developers, of level debug and below, are all written.

mod limit;
mod lines;

use std::{
    io::{IsTerminal, stderr},
    sync::OnceLock,
};

use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{
        format::{DefaultFields, JsonFields},
        layer,
    },
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

use lines::{JsonLines, TextLines};

pub use limit::{LINE_SECS, LINES_AT_ONCE};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// One readable line each, coloured on a terminal.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Logging can't start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The levels aren't `info` or `info,target=debug`.
    #[error("log level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody has set up logging before.
    #[error("logging is set up already")]
    Twice,
}

impl LogStyle {
    /// Text if the standard error stream is a terminal, JSON otherwise.
    #[must_use]
    pub fn detect() -> Self {
        if stderr().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

/// Starts logging for the whole process. `level` is the least that is logged, also by target:
/// `info,heliograph_gateway=debug`.
///
/// # Errors
///
/// [`LogError`]; nothing is changed then.
pub fn init_logs(style: LogStyle, level: &str) -> Result<(), LogError> {
    let levels = EnvFilter::try_new(level)?;
    let registry = Registry::default().with(levels);
    let started: Result<(), TryInitError> = match style {
        LogStyle::Text => registry
            .with(
                layer()
                    .with_writer(stderr)
                    .fmt_fields(DefaultFields::new())
                    .event_format(TextLines::new(stderr().is_terminal())),
            )
            .try_init(),
        LogStyle::Json => registry
            .with(
                layer()
                    .with_writer(stderr)
                    .fmt_fields(JsonFields::new())
                    .event_format(JsonLines::new()),
            )
            .try_init(),
    };
    started.map_err(|_already| LogError::Twice)
}

/// Who writes.
#[derive(Debug)]
struct Identity {
    role: String,
    instance: String,
}

/// Known once the configuration is read and the process has a name.
static IDENTITY: OnceLock<Identity> = OnceLock::new();

/// Has every JSON line from now on say who writes it: the fields `role` and `instance`. The first
/// names stay.
pub fn identify_logs(role: &str, instance: &str) {
    IDENTITY.get_or_init(|| Identity {
        role: role.to_owned(),
        instance: instance.to_owned(),
    });
}
