//! What an operator decides about answers, checked.

use std::time::Duration;

use heliograph_policy::{FilterLimits, Visibility};
use heliograph_store::Budget;

/// Everything that a matcher needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who may see what: the URLs that name this relay (R62-1) and what operators banned.
    pub visibility: Visibility,
    /// How much a filter gets (R01-54).
    pub filters: FilterLimits,
    /// What one filter of a REQ may cost; past it what is right so far and CLOSED.
    pub req_budget: Budget,
    /// What one filter of a COUNT may cost; past it CLOSED.
    pub count_budget: Budget,
    /// How long a question waits for the commits that it has to see (R01-57).
    pub commit_wait: Duration,
    /// Bytes of delivered events kept for gateways that lost their matcher; more is read from the
    /// stream of commits. 0 where there is but one matcher. Read at start.
    pub replay_bytes_max: usize,
}
