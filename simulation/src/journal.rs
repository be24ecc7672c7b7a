//! What happens in a run, in order, with the time of the simulation: for people, and to compare two
//! runs of the same seed.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use heliograph_protocol::{EventId, Timestamp};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// The time at which every run begins.
pub const BEGINNING: u64 = 1_800_000_000;

/// The clock and the log of a run. Clones share them.
#[derive(Debug, Clone)]
pub struct Journal {
    began: Instant,
    text: Arc<Mutex<String>>,
}

impl Journal {
    /// An empty log that begins now.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            text: Arc::default(),
        }
    }

    /// Time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The true time, by which no process goes exactly.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_secs(BEGINNING + self.elapsed().as_secs())
    }

    /// Notes a line.
    pub fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        let at = self.elapsed();
        let mut text = self.text.lock();
        let (secs, millis) = (at.as_secs(), at.subsec_millis());
        writeln!(text, "{secs:>3}.{millis:03} {who:<12} {what}").expect("a String takes all");
    }

    /// Everything noted so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.text.lock().clone()
    }
}

/// The first characters of an id.
#[must_use]
pub(crate) fn short(id: &EventId) -> String {
    id.to_hex()[..8].to_owned()
}
