//! A corpus of signed events for benchmarks: the same seed gives the same bytes, on every machine
//! and with any number of threads.
//!
//! Kinds, sizes, tags and writers are fitted to events collected from public relays (see `tables`);
//! threads and inboxes exist, since events refer to earlier ones of the corpus. What always holds:
//! only integers decide (no floating point, no order of a hash map), the auxiliary randomness of
//! signatures is fixed, no two events are equal, a writer's later event is the newer one, and memory
//! grows with the number of authors but not with the number of events.

mod authors;
mod maker;
mod random;
mod tables;
mod targets;
mod text;
mod write;

use heliograph_protocol::{Event, Kind, Signature, Timestamp};

use self::{authors::Authors, maker::Maker};

pub use write::Summary;

/// The oldest event of a corpus by default: 1 January 2026, so that relays that refuse what is
/// older than three years take it.
pub const TIME_START: u64 = 1_767_225_600;

/// Over how long events are spread by default, in seconds: thirty days.
pub const TIME_SPAN: u64 = 30 * 24 * 3_600;

/// Authors at most; each takes some 250 bytes of memory while the corpus is made.
pub const AUTHORS_MAX: u32 = 1_000_000;

/// Events for each author by default. The sample has 3.2, most of them one each of authors who
/// would have written more on a relay that keeps everything.
const EVENTS_PER_AUTHOR: u64 = 4;

/// What decides every byte of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Other seeds have other authors and other events.
    pub seed: u64,
    /// How many events.
    pub events: u64,
    /// How many authors write and are referred to, `1..=AUTHORS_MAX`.
    pub authors: u32,
    /// The oldest `created_at`, in Unix seconds.
    pub time_start: u64,
    /// Over how many seconds events are spread. A writer of more events than seconds goes past it.
    pub time_span: u64,
}

/// Options out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// No authors, or too many.
    #[error("authors: expected 1 to {AUTHORS_MAX}")]
    Authors,
    /// `created_at` would leave the range of the protocol.
    #[error("time: beyond what created_at can hold")]
    Time,
}

/// The authors of a corpus, and the recipe of its events.
#[derive(Debug)]
pub struct Corpus {
    options: Options,
    authors: Authors,
}

impl Options {
    /// A corpus of this many events with everything else by default: one author for four events,
    /// 100 to 100,000 of them.
    #[must_use]
    pub fn new(seed: u64, events: u64) -> Self {
        let authors = (events / EVENTS_PER_AUTHOR).clamp(100, 100_000);
        Self {
            seed,
            events,
            authors: u32::try_from(authors).expect("at most 100,000"),
            time_start: TIME_START,
            time_span: TIME_SPAN,
        }
    }

    fn check(&self) -> Result<(), OptionsError> {
        if !(1..=AUTHORS_MAX).contains(&self.authors) {
            return Err(OptionsError::Authors);
        }
        // Each event moves its writer by a second at most.
        let last = self.time_start.checked_add(self.time_span);
        let last = last.and_then(|time| time.checked_add(self.events));
        match last {
            Some(last) if Timestamp::from_secs(last) <= Timestamp::MAX => Ok(()),
            _ => Err(OptionsError::Time),
        }
    }
}

impl Corpus {
    /// Derives the keys of all authors, on `threads` threads: about 20 µs each.
    ///
    /// # Errors
    ///
    /// Options out of range.
    pub fn new(options: Options, threads: usize) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            options,
            authors: Authors::derive(options.seed, options.authors, threads.max(1)),
        })
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The public key of author `nth % authors` in hex. Author 0 writes most.
    #[must_use]
    pub fn author(&self, nth: u32) -> &str {
        self.authors.hex(nth % self.options.authors)
    }

    /// Signs one more event by author `nth % authors`, for what a benchmark publishes itself.
    #[must_use]
    pub fn sign(
        &self,
        nth: u32,
        created_at: u64,
        kind: u16,
        tags: &[Vec<String>],
        content: &str,
    ) -> Event {
        let nth = nth % self.options.authors;
        let (author, at) = (self.authors.public(nth), Timestamp::from_secs(created_at));
        Event::build(author, at, Kind::new(kind), tags, content, |id| {
            Signature::new(self.authors.sign(nth, id))
        })
    }

    fn maker(&self) -> Maker<'_> {
        Maker::new(&self.options, &self.authors)
    }
}
