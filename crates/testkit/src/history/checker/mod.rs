//! Decides from a history whether the relay kept its promises.
//!
//! An oracle of its own: it knows NIP-01, NIP-09, NIP-40 and NIP-62 in the simplest form and shares
//! no code with the store. What a client can't know is allowed either way: an event whose answer was
//! `error:` or never came may be stored or not, and so may what such an event would remove.

mod answers;
mod live;
mod log;
mod lost;
mod matches;
mod model;
mod report;
mod stored;
mod summary;
#[cfg(test)]
mod tests;

use std::time::Duration;

use heliograph_protocol::Timestamp;

use super::{Entry, History};
use crate::RELAY_URL;

pub use report::Violations;
pub use summary::Summary;

use self::{log::Log, matches::Matches};

/// What the checker demands. [`Expect::default`] is what a relay under faults promises; the times
/// are generous, so that a busy machine isn't taken for a fault.
#[derive(Debug, Clone)]
pub struct Expect {
    /// Every OK comes by then; time in which its gateway was frozen doesn't count. A relay answers
    /// `error:` after 4 s.
    pub ok_within: Duration,
    /// Every stored part ends in EOSE or CLOSED by then, frozen time not counted.
    pub answer_within: Duration,
    /// How many gateways had to be read back; 0 for those that were.
    pub gateways: usize,
    /// What was acknowledged less than this before a REQ was sent need not be in its answer, and
    /// what was removed less than this before may still be.
    pub lag: Duration,
    /// Whether ephemeral events may get lost. They are never stored and never come twice.
    pub ephemeral_may_be_lost: bool,
    /// Whether an event may be refused for what it is or for who sends how much (`invalid:`,
    /// `restricted:`, `rate-limited:` and the like), and not only as outdone or by `error:`. What
    /// may have expired, or be too old for an ephemeral event, may be refused anyway.
    pub refusals_allowed: bool,
    /// From which age on an ephemeral event may be refused.
    pub ephemeral_age_max: Duration,
    /// Whether live events have to come in an order that all clients can agree on: what was
    /// acknowledged before another was sent comes first.
    pub in_order: bool,
    /// Whether stored parts are as if asked once. A question that is asked again at another matcher
    /// when the first dies may be answered in parts, each newest first, together above the limit.
    pub whole_answers: bool,
    /// How many stored events a filter without `limit` gets.
    pub limit_default: usize,
    /// How many stored events any filter gets.
    pub limit_max: usize,
    /// The relay's URL, for requests to vanish.
    pub relay_url: String,
    /// How far clocks of clients and relay may be apart, for what expires.
    pub clock_slack: Duration,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            ok_within: Duration::from_secs(20),
            answer_within: Duration::from_secs(60),
            gateways: 0,
            lag: Duration::ZERO,
            ephemeral_may_be_lost: true,
            refusals_allowed: false,
            ephemeral_age_max: Duration::from_secs(60),
            in_order: true,
            whole_answers: false,
            limit_default: 500,
            limit_max: 500,
            relay_url: RELAY_URL.to_owned(),
            clock_slack: Duration::from_secs(2),
        }
    }
}

/// Which promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An acknowledged event isn't returned by id from every gateway at the end.
    Lost,
    /// A live subscription that stayed open missed an event, or has a gap before a later one.
    Missing,
    /// A subscription got an event twice.
    Repeated,
    /// Something was returned that nobody had sent, that the relay had refused, that isn't what was
    /// sent, or that nobody had asked for.
    Foreign,
    /// Something was returned that had been deleted, replaced or vanished, or that had expired.
    Gone,
    /// EOSE hid something that was stored, or more came than the limit allows.
    Incomplete,
    /// A stored part isn't newest first.
    Unsorted,
    /// A live event came after one that was sent only when the first had been acknowledged.
    Order,
    /// A version of an address came after one that beats it.
    Loser,
    /// An OK, EOSE or CLOSED came late or not at all.
    Late,
    /// An OK, EOSE or CLOSED that nothing had asked for, or one too many.
    Answer,
    /// An event was refused or accepted against the rules of deletion and replacement, or refused as
    /// if something were wrong with it.
    Verdict,
    /// A COUNT that can't be right.
    Count,
    /// The relay broke the protocol.
    Protocol,
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// The number of the entry that shows it.
    pub entry: usize,
    /// What is wrong, with connection, subscription and id.
    pub what: String,
}

/// Checks a history as far as it goes: subscriptions that are open are so at its end.
///
/// # Errors
///
/// The [`Violations`], with the lines around each.
pub fn check(history: &History, expect: &Expect) -> Result<Summary, Violations> {
    check_entries(history.started(), &history.entries(), expect)
}

/// Checks the entries of a history that began at `started`.
///
/// # Errors
///
/// The [`Violations`], with the lines around each.
pub fn check_entries(
    started: Timestamp,
    entries: &[Entry],
    expect: &Expect,
) -> Result<Summary, Violations> {
    let mut log = Log::read(started, entries, expect);
    answers::check_oks(&mut log);
    answers::check_ends(&mut log);
    let matches = Matches::new(&log.model);
    let mut found = stored::check_stored(&log, &matches);
    found.extend(live::check_live(&log, &matches));
    found.extend(lost::check_lost(&log));
    found.extend(answers::check_counts(&log, &matches));
    let summary = summary::summarize(&log);
    let found = found.into_iter();
    let mut list = log.violations;
    list.extend(found.map(|(rule, entry, what)| Violation { rule, entry, what }));
    if list.is_empty() {
        return Ok(summary);
    }
    list.sort_by_key(|violation| (violation.entry, violation.rule));
    Err(Violations {
        list,
        entries: entries.into(),
    })
}
