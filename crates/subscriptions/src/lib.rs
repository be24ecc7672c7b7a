//! The index of live subscriptions: from an event to who wants it.
//!
//! Its place in the path: store → **match** → deliver. Cost follows matches, not subscriptions:
//! each filter is filed under the values of the one list that is expected to see the fewest
//! events, next to others of the same kinds, so that an event looks up its own few values and
//! finds groups that match as a whole (docs/architecture.md).
//!
//! What always holds: the answer is that of `Filter::matches` asked of every filter; nothing is
//! read from a clock or the network, and no input makes it panic.
//!
//! | part | holds |
//! |---|---|
//! | `keys` | per value: groups of filters filed under it, and how often it is seen |
//! | `lists` | sets of values, packed, shared by all filters that name them |
//! | `classes` | sets of kinds, and what is left to test of a group's filters |
//! | `filters` | distinct filters and the slots behind each |
//! | `index` | filing, purging and matching |

mod classes;
mod filters;
mod found;
mod index;
mod key;
mod key_list;
mod keys;
mod lists;
mod postings;
mod slab;

pub use index::Index;

/// One subscription. The caller gives the numbers out; blocks of 65,536 for each gateway make
/// [`Index::matches_bitmap`] give one delivery list a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Who wants an event. Kept by the caller from event to event, so that its room is used again.
#[derive(Debug, Clone, Default)]
pub struct Matches {
    /// Each slot once, in no particular order.
    pub slots: Vec<Slot>,
}

/// How much an [`Index`] holds, for metrics. Cheap to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Open subscriptions.
    pub subscriptions: usize,
    /// Distinct filters, those that wait for a purge included.
    pub filters: usize,
    /// Distinct lists of values that these name, those that wait for a purge included.
    pub lists: usize,
    /// Groups of filters over all values.
    pub groups: usize,
    /// Entries over all groups: a filter has one for each value that it is filed under.
    pub postings: usize,
    /// Filters and lists of values that wait for [`Index::purge`].
    pub purges: usize,
    /// Bytes in use, estimated. Room that is kept for later use isn't counted.
    pub bytes: usize,
}
