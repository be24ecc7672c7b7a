//! Signed events for a run, by `heliograph corpus`.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use heliograph_protocol::Timestamp;
use heliograph_sandbox::process::hide_variables;

/// Over how long the events of a run are spread: they end when it begins. No author writes two in one second, and the
/// busiest one writes some 11,500 of a million, so a shorter span would end in the future.
pub const TIME_SPAN: Duration = Duration::from_secs(24 * 3_600);

/// What a corpus consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corpus {
    /// Another seed gives other events.
    pub seed: u64,
    /// How many events.
    pub events: u64,
    /// When the newest may have been written, in Unix seconds.
    pub end: u64,
}

/// The wall clock in Unix seconds, for [`Corpus::end`].
#[must_use]
pub fn now() -> u64 {
    Timestamp::now().as_secs()
}

impl Corpus {
    /// Writes it to a file, with the program `heliograph`.
    ///
    /// # Errors
    ///
    /// The program isn't there or refuses it.
    pub fn write(&self, binary: &Path, file: &Path) -> Result<()> {
        let mut command = Command::new(binary);
        hide_variables(&mut command, "HELIOGRAPH_");
        let start = self.end.saturating_sub(TIME_SPAN.as_secs());
        command
            .arg("corpus")
            .args(["--seed", &self.seed.to_string()])
            .args(["--events", &self.events.to_string()])
            .args(["--time-start", &start.to_string()])
            .args(["--time-span", &TIME_SPAN.as_secs().to_string()])
            .arg("--output")
            .arg(file)
            .stdin(Stdio::null());
        let output = command
            .output()
            .with_context(|| format!("can't start {}", binary.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "heliograph corpus: {said}");
        Ok(())
    }
}
