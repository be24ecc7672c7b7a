//! What a store made of an event: the receipt's content.

use crate::{Prefix, Refusal};

/// The result of merging one event into a store (docs/architecture.md). Every outcome is final: the same
/// event sent again changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// New and visible: announced to subscriptions.
    Stored,
    /// This id is stored already (R01-30).
    Duplicate,
    /// A newer version of its address is stored (R01-41).
    Superseded,
    /// Its author, or the recipient of a gift wrap, deleted it (R09-5, R09-6, R59-3).
    Deleted,
    /// Its author, or the recipient of a gift wrap, asked to vanish (R62-4).
    Vanished,
}

impl Outcome {
    /// Every outcome, for metrics that want one series each.
    pub const ALL: [Self; 5] = [
        Self::Stored,
        Self::Duplicate,
        Self::Superseded,
        Self::Deleted,
        Self::Vanished,
    ];

    /// The name in metrics and on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Superseded => "superseded",
            Self::Deleted => "deleted",
            Self::Vanished => "vanished",
        }
    }

    /// The OK that a client gets: `Ok` with the text after `true`, or the refusal.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] for events that aren't kept: superseded, deleted or vanished ones.
    pub fn answer(self) -> Result<&'static str, Refusal> {
        match self {
            Self::Stored => Ok(""),
            Self::Duplicate => Ok("duplicate: already have this event"),
            Self::Superseded => Err(Refusal::new(Prefix::Duplicate, "a newer version exists")),
            Self::Deleted => Err(Refusal::blocked("deleted by its author")),
            Self::Vanished => Err(Refusal::blocked("its author asked to vanish")),
        }
    }
}
