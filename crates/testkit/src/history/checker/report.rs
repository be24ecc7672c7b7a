//! How violations are shown.

use std::{error::Error, fmt, sync::Arc};

use super::{Rule, Violation};
use crate::history::Entry;

/// Violations shown at most.
const SHOWN_MAX: usize = 20;

/// Entries shown on each side of a violation, of the same connection or event.
const AROUND: usize = 4;

/// Marks of faults shown before a violation.
const FAULTS: usize = 3;

/// Every broken promise of a history, in the order of its entries.
#[derive(Clone)]
pub struct Violations {
    /// What is wrong.
    pub list: Vec<Violation>,
    /// The entries they speak of.
    pub(super) entries: Arc<[Entry]>,
}

impl Violations {
    /// The rules that are broken, each as often as it is.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        self.list.iter().map(|violation| violation.rule).collect()
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, violation: &Violation) -> fmt::Result {
        writeln!(
            f,
            "{:?} (entry {}): {}",
            violation.rule, violation.entry, violation.what
        )?;
        let Some(at) = self.entries.get(violation.entry) else {
            return Ok(());
        };
        let before = &self.entries[..violation.entry];
        let faults = before.iter().filter(|entry| entry.what.is_fault());
        let faults: Vec<&Entry> = faults.rev().take(FAULTS).collect();
        for entry in faults.iter().rev() {
            writeln!(f, "      {entry}")?;
        }
        let related = |entry: &&Entry| {
            entry.connection == at.connection
                || (at.what.id().is_some() && entry.what.id() == at.what.id())
        };
        let earlier: Vec<&Entry> = before.iter().rev().filter(related).take(AROUND).collect();
        for entry in earlier.iter().rev() {
            writeln!(f, "      {entry}")?;
        }
        writeln!(f, "   -> {at}")?;
        let after = &self.entries[violation.entry + 1..];
        for entry in after.iter().filter(related).take(AROUND) {
            writeln!(f, "      {entry}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} promises broken", self.list.len())?;
        for violation in self.list.iter().take(SHOWN_MAX) {
            self.show(f, violation)?;
        }
        match self.list.len().checked_sub(SHOWN_MAX) {
            Some(more) if more > 0 => writeln!(f, "and {more} more"),
            _ => Ok(()),
        }
    }
}

/// As shown: what a failed `expect` prints.
impl fmt::Debug for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Violations {}
