//! Logs on the standard error stream, so that the output of tools stays clean.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt};

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
    let filter = EnvFilter::try_new(level)?;
    let builder = fmt().with_env_filter(filter).with_writer(stderr);
    let started = match style {
        LogStyle::Text => builder
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .try_init(),
        LogStyle::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|_already| LogError::Twice)
}
