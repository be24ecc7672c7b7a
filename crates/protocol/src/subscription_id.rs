//! The name a client gives a subscription.

use std::{fmt, sync::Arc};

/// Characters in a subscription id at most, counted in Unicode scalar values (R01-24).
pub const SUBSCRIPTION_ID_CHARS_MAX: usize = 64;

/// A subscription id as received: a non-empty string of at most 64 characters, unless it is only
/// held to be echoed in a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(Arc<str>);

impl SubscriptionId {
    /// Wraps the decoded text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// Whether a subscription may have this id (NIP-01: non-empty, at most 64 characters).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.0.is_empty() && self.0.chars().count() <= SUBSCRIPTION_ID_CHARS_MAX
    }

    /// The decoded text, exactly as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
