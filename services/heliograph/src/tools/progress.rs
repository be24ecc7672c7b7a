//! A progress bar on the standard error stream, on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a bar is drawn at most.
const DRAWS_PER_SEC: u8 = 8;

/// Progress of one tool. Off a terminal it shows nothing.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Counts up to `total`, if that is known; `template` is indicatif's.
    pub(crate) fn new(total: Option<u64>, template: &'static str) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SEC);
        let bar = ProgressBar::with_draw_target(total, target);
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_malformed| ProgressStyle::default_bar()));
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self(bar)
    }

    /// Shows nothing, anywhere.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    pub(crate) fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    pub(crate) fn say(&self, message: String) {
        if !self.0.is_hidden() {
            self.0.set_message(message);
        }
    }

    /// Writes a line above the bar.
    pub(crate) fn note(&self, line: &str) {
        self.0.suspend(|| super::output::note(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
