//! The refusal of a question that needs more work than anybody may ask for.
//!
//! It has the prefix `error:`, as NIP-01 knows no better one, and crosses to the gateway as text. It is
//! the asker's doing, so a gateway must be able to tell it from a fault.

use heliograph_protocol::{Prefix, Refusal};

const TOO_DEAR: &str = "too much to ";

/// Refuses a question whose answer would exceed its budget; `verb` says what was too much: `search`,
/// `count`.
#[must_use]
pub fn too_dear(verb: &str) -> Refusal {
    Refusal::error(format!(
        "{TOO_DEAR}{verb}: add kinds, authors, tags or a time range"
    ))
}

/// Whether it is a refusal of [`too_dear`].
#[must_use]
pub fn is_too_dear(refusal: &Refusal) -> bool {
    refusal.prefix == Prefix::Error && refusal.message.starts_with(TOO_DEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_dear_is_told_from_faults() {
        assert!(is_too_dear(&too_dear("search")));
        assert!(!is_too_dear(&Refusal::error("too many open files")));
        assert!(!is_too_dear(&Refusal::invalid("too much to read")));
    }
}
