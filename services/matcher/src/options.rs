//! What an operator decides about answers, checked.

use std::time::Duration;

use heliograph_policy::{FilterLimits, RelayUrls};
use heliograph_store::Budget;

/// Everything that a matcher needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The URLs that name this relay: decide which requests to vanish are in force (R62-1).
    pub urls: RelayUrls,
    /// How much a filter gets (R01-54).
    pub filters: FilterLimits,
    /// What one filter of a REQ may cost; past it what is right so far and CLOSED.
    pub req_budget: Budget,
    /// What one filter of a COUNT may cost; past it CLOSED.
    pub count_budget: Budget,
    /// How long a question waits for the commits that it has to see (R01-57).
    pub commit_wait: Duration,
}
