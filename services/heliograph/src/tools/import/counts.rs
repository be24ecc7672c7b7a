//! What became of the lines of an import.

use heliograph_protocol::Outcome;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Stored(Outcome),
    /// Its expiration has passed (R40-1).
    Expired,
    /// Of an ephemeral kind (R01-46).
    Ephemeral,
    /// An authentication (kind 22242, R42-8).
    Authentication,
    /// Protected, and that wasn't asked for (R70-2).
    Protected,
    /// Not an event, or one that may not be stored.
    Bad,
}

/// How many lines got which answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts([u64; Answer::ALL.len()]);

impl Answer {
    const ALL: [Self; 10] = [
        Self::Stored(Outcome::Stored),
        Self::Stored(Outcome::Duplicate),
        Self::Stored(Outcome::Superseded),
        Self::Stored(Outcome::Deleted),
        Self::Stored(Outcome::Vanished),
        Self::Expired,
        Self::Ephemeral,
        Self::Authentication,
        Self::Protected,
        Self::Bad,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Stored(outcome) => outcome.as_str(),
            Self::Expired => "expired",
            Self::Ephemeral => "ephemeral",
            Self::Authentication => "authentication",
            Self::Protected => "protected",
            Self::Bad => "bad",
        }
    }
}

impl Counts {
    pub(super) fn add(&mut self, answer: Answer) {
        let place = Answer::ALL.iter().position(|other| *other == answer);
        self.0[place.expect("every answer is listed")] += 1;
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    pub(super) fn lines(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn rows(&self) -> Vec<(&'static str, u64)> {
        let answers = Answer::ALL
            .iter()
            .zip(self.0)
            .map(|(answer, count)| (answer.name(), count));
        std::iter::once(("lines", self.lines()))
            .chain(answers)
            .collect()
    }
}
