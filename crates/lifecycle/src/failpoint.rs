//! Places where a process can be made to end at once, as by SIGKILL, so that tests see what a crash
//! between two steps leaves behind.
//!
//! Only in builds with debug assertions, and only if the variable [`VARIABLE`] names one. The one global
//! of the program: who passes a place knows nothing of it.

use std::{
    num::NonZero,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::{Signal, getpid, kill_process};

/// `name` or `name:count`: the process ends when it comes to that place, or comes to it for the
/// `count`-th time.
pub const VARIABLE: &str = "HELIOGRAPH_TEST_FAILPOINT";

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// A worker has a batch and has done nothing yet.
    Fetched,
    /// Index rows and guards are in the database, no event of the batch is.
    RowsWritten,
    /// Events are in the database, their addresses don't show them yet.
    EventsWritten,
    /// Everything is in the database, and the guards that came meanwhile weren't read.
    SeatsWritten,
    /// The batch is merged and not announced.
    Stored,
    /// A part of the batch is announced, as far as it takes more than one message.
    PartAnnounced,
    /// The batch is announced and nobody is answered.
    Announced,
    /// All events of a message are answered, no receipt is sent.
    Unanswered,
    /// The receipts of one message are handed to the connection, others wait.
    ReceiptHanded,
    /// Receipts are sent, nothing is acknowledged.
    ReceiptsSent,
    /// An acknowledgement is handed to the connection.
    Acknowledged,
    /// A matcher has filed a subscription and read nothing.
    Registered,
    /// A matcher has given out the first page of an answer.
    PageGiven,
    /// A matcher has delivered one of the events that a gateway missed.
    Replayed,
}

impl Failpoint {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Fetched,
        Self::RowsWritten,
        Self::EventsWritten,
        Self::SeatsWritten,
        Self::Stored,
        Self::PartAnnounced,
        Self::Announced,
        Self::Unanswered,
        Self::ReceiptHanded,
        Self::ReceiptsSent,
        Self::Acknowledged,
        Self::Registered,
        Self::PageGiven,
        Self::Replayed,
    ];

    /// Its name in the variable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::RowsWritten => "rows-written",
            Self::EventsWritten => "events-written",
            Self::SeatsWritten => "seats-written",
            Self::Stored => "stored",
            Self::PartAnnounced => "part-announced",
            Self::Announced => "announced",
            Self::Unanswered => "unanswered",
            Self::ReceiptHanded => "receipt-handed",
            Self::ReceiptsSent => "receipts-sent",
            Self::Acknowledged => "acknowledged",
            Self::Registered => "registered",
            Self::PageGiven => "page-given",
            Self::Replayed => "replayed",
        }
    }

    /// The process ends here, if it is to.
    #[inline]
    pub fn reached(self) {
        if cfg!(debug_assertions)
            && let Some(armed) = ARMED.get()
            && armed.is_due(self)
        {
            end();
        }
    }
}

/// The variable doesn't say where to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailpointError(String);

impl std::fmt::Display for FailpointError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{VARIABLE}: no place is called {:?}", self.0)
    }
}

impl std::error::Error for FailpointError {}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Where to end, and after how many times.
#[derive(Debug)]
struct Armed {
    point: Failpoint,
    left: AtomicU64,
}

/// Has this process end where one of these variables says. To be called once, at the start; what an
/// optimised build is told is ignored.
///
/// # Errors
///
/// [`FailpointError`]: there is no such place.
pub fn arm(variables: impl Iterator<Item = (String, String)>) -> Result<(), FailpointError> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let mut variables = variables.filter(|(name, _)| name == VARIABLE);
    if let Some((_, value)) = variables.next() {
        let armed = Armed::parse(&value).ok_or(FailpointError(value))?;
        ARMED.get_or_init(|| armed);
    }
    Ok(())
}

impl Armed {
    fn parse(text: &str) -> Option<Self> {
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        let mut points = Failpoint::ALL.into_iter();
        let point = points.find(|point| point.as_str() == name)?;
        let count: NonZero<u64> = count.parse().ok()?;
        Some(Self {
            point,
            left: AtomicU64::new(count.get()),
        })
    }

    fn is_due(&self, point: Failpoint) -> bool {
        self.point == point && self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// No destructor, no flush, no last word.
fn end() {
    if let Err(error) = kill_process(getpid(), Signal::KILL) {
        tracing::error!(%error, "a process can't end itself");
    }
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_a_name_of_its_own() {
        for point in Failpoint::ALL {
            let found = Armed::parse(point.as_str()).map(|armed| armed.point);
            assert_eq!(found, Some(point));
        }
    }

    #[test]
    fn the_count_says_at_which_time() {
        let armed = Armed::parse("stored:3").unwrap();
        assert!(!armed.is_due(Failpoint::Stored));
        assert!(!armed.is_due(Failpoint::Announced));
        assert!(!armed.is_due(Failpoint::Stored));
        assert!(armed.is_due(Failpoint::Stored));
        assert!(!armed.is_due(Failpoint::Stored), "once");
    }

    #[test]
    fn what_is_no_place_is_an_error() {
        for text in ["", "nowhere", "stored:", "stored:0", "stored:x"] {
            assert!(Armed::parse(text).is_none(), "{text}");
        }
        let variable = |name: &str| std::iter::once((name.to_owned(), "nowhere".to_owned()));
        assert!(arm(variable(VARIABLE)).is_err());
        assert_eq!(arm(variable("HELIOGRAPH_TEST_SEED")), Ok(()));
    }
}
