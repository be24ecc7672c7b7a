//! Runs the k6 suite of `loadtest/`: relays to run it against, a corpus, k6 itself, its result.
//!
//! What always holds: every process ends with the value that started it; nothing of a run depends on
//! the directory that it is started in; runs at a time don't get in each other's way.

mod corpus;
mod relay;
mod run;
mod summary;
mod thresholds;

use std::path::{Path, PathBuf};

pub use corpus::{Corpus, TIME_SPAN, now};
pub use relay::{Single, config};
pub use run::{BREACH, Ended, Run, Running};
pub use summary::{About, Metric, Scenario, Summary, Verdict};
pub use thresholds::{Threshold, thresholds};

/// The root of the workspace.
#[must_use]
pub fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("loadtest/tests lies in the root")
}

/// The suite itself.
#[must_use]
pub fn suite() -> PathBuf {
    root().join("loadtest")
}

/// The Go module of both k6.
#[must_use]
pub fn module() -> PathBuf {
    suite().join("k6")
}
