//! The limits that are enforced, in one place: the same values fill the information document, so
//! that what is advertised is what holds (R11-4).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use heliograph_protocol::{Filter, Kind, PublicKey};

use crate::LiveControl;

/// Seconds that gift wraps may be dated back: senders blur their time by up to two days (NIP-59).
pub const GIFT_WRAP_BACKDATING_SECS: u64 = 172_800;

/// What an event may be. The defaults are those of the program; `None` is "no limit".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLimits {
    /// Bytes of the wire form at most. Longer: `invalid:` (R01-36).
    pub event_bytes_max: usize,
    /// Other byte limits for some kinds: contact lists, relay lists and articles are long by
    /// nature, and a relay of short notes may want to keep them.
    pub event_bytes_max_by_kind: BTreeMap<Kind, usize>,
    /// Tags at most. More: `invalid:` (R01-36).
    pub event_tags_max: usize,
    /// Tags of one letter at most, each of which is a row of an index, in an event that stays beside
    /// others of its author: its kind has no address, and it is no request to delete, which names
    /// what it deletes in such tags. More: `invalid:` (R01-36).
    pub indexed_tags_max: Option<usize>,
    /// Characters of content at most, counted in Unicode scalar values as NIP-11 asks, not bytes.
    /// More: `invalid:` (R01-36).
    pub content_chars_max: Option<usize>,
    /// Seconds that `created_at` may be ahead of now, inclusive. Later: `invalid:` (R01-35).
    pub created_at_upper_limit_secs: Option<u64>,
    /// Seconds that `created_at` may be behind now, inclusive. Earlier: `invalid:` (R01-35). Below
    /// [`GIFT_WRAP_BACKDATING_SECS`] it doesn't apply to gift wraps.
    pub created_at_lower_limit_secs: Option<u64>,
    /// Seconds that an ephemeral event may be behind now, inclusive. Older: `invalid:` (R01-47).
    /// For ephemeral gift wraps it is at least [`GIFT_WRAP_BACKDATING_SECS`].
    pub ephemeral_age_max_secs: Option<u64>,
    /// Leading zero bits that an id needs, `0..=256`; 0 is "no proof of work". Fewer: `pow:`
    /// (R13-1).
    pub pow_bits_min: u32,
    /// Whether proof of work counts only if a `nonce` tag commits to its target (R13-2).
    pub pow_commitment_required: bool,
    /// Who may write what.
    pub write: WriteRules,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            event_bytes_max: 65_536,
            event_bytes_max_by_kind: BTreeMap::new(),
            event_tags_max: 2_000,
            indexed_tags_max: Some(200),
            content_chars_max: None,
            created_at_upper_limit_secs: Some(900),
            created_at_lower_limit_secs: None,
            ephemeral_age_max_secs: Some(60),
            pow_bits_min: 0,
            pow_commitment_required: false,
            write: WriteRules::default(),
        }
    }
}

impl EventLimits {
    /// Bytes of the wire form at most for this kind.
    #[must_use]
    pub fn event_bytes_max(&self, kind: Kind) -> usize {
        if self.event_bytes_max_by_kind.is_empty() {
            return self.event_bytes_max;
        }
        self.event_bytes_max_by_kind
            .get(&kind)
            .copied()
            .unwrap_or(self.event_bytes_max)
    }
}

/// Who may write what. By default everyone may write everything. A request to vanish that is in
/// force passes all of it: NIP-62 binds relays "regardless of the user's status".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteRules {
    /// Whether someone must have authenticated before anything is taken. Else: `auth-required:`.
    pub auth_required: bool,
    /// Whether someone must have authenticated before a gift wrap is taken; anyone will do
    /// (R59-6).
    pub gift_wraps_require_auth: bool,
    /// The only kinds taken, if given. Others: `blocked:` (R01-36).
    pub kinds_allowed: Option<BTreeSet<Kind>>,
    /// Kinds never taken: `blocked:` (R01-36).
    pub kinds_blocked: BTreeSet<Kind>,
    /// The only keys that may write, if given: as an event's author, or as the key that
    /// authenticated, so that a member may send gift wraps. Others: `auth-required:`, and
    /// `restricted:` once they have authenticated (R42-6).
    pub pubkeys_allowed: Option<HashSet<PublicKey>>,
    /// Keys that may not write, as author or as the key that authenticated: `blocked:` (R01-36).
    pub pubkeys_blocked: HashSet<PublicKey>,
    /// Whether relay lists (kind 10002) are taken from keys outside `pubkeys_allowed` (NIP-65).
    pub relay_lists_open: bool,
    /// What operators decided since the start. Its bans and blocks win over every list here, its
    /// lists of what is allowed add to those here.
    pub control: LiveControl,
}

impl WriteRules {
    /// Whether not everyone may write: `restricted_writes` of the information document.
    #[must_use]
    pub fn are_restricted(&self) -> bool {
        self.auth_required
            || self.kinds_allowed.is_some()
            || self.pubkeys_allowed.is_some()
            || self.control.load().restrict_writes()
    }
}

/// What a REQ or COUNT may ask for, and how much it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterLimits {
    /// Filters in one REQ or COUNT at most. More: `blocked:` (R01-68).
    pub filters_max: usize,
    /// Values in all lists of one filter together at most, repetitions not counted. More:
    /// `blocked:` (R01-68).
    pub values_max: usize,
    /// Names of tags in one filter at most. More: `blocked:` (R01-68).
    pub tags_max: usize,
    /// Combinations at most that the lists of one filter leave open: each of its authors with each of
    /// its kinds and each of its values of every tag. More: `blocked:` (R01-68).
    pub combinations_max: Option<u64>,
    /// Stored events that one filter yields at most; a larger `limit` is clamped silently
    /// (R01-54).
    pub limit_max: usize,
    /// Stored events that a filter without `limit` yields at most (R01-54).
    pub limit_default: usize,
    /// Open subscriptions of one connection at most. One more: `blocked:` (R01-59).
    pub subscriptions_max: usize,
}

impl Default for FilterLimits {
    fn default() -> Self {
        Self {
            filters_max: 20,
            values_max: 5_000,
            tags_max: 3,
            combinations_max: Some(50_000),
            limit_max: 500,
            limit_default: 500,
            subscriptions_max: 64,
        }
    }
}

impl FilterLimits {
    /// How many stored events `filter` yields at most, its own `limit` considered (R01-54).
    #[must_use]
    pub fn limit(&self, filter: &Filter) -> usize {
        let asked = filter.limit.map_or(self.limit_default, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        asked.min(self.limit_max)
    }
}
