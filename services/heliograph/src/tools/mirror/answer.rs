//! What a relay gives for one question, and what follows from it.
//!
//! Nothing that came is believed: every EVENT counts, only what was asked for is kept, and an answer
//! without end is given up.

use heliograph_protocol::{Event, Filter};
use serde_json::{Map, Value, json};

/// Events asked for at once: most relays give as many.
const PAGE: u64 = 500;

/// An answer of fewer events wasn't cut: no relay gives less at once.
pub(super) const ANSWER_MIN: usize = 20;

/// Events that one answer may have: ten times what is asked for.
const EVENTS_MAX: usize = 5_000;

/// Bytes that one answer may have: they are in memory until the new relay has them.
const BYTES_MAX: usize = 64 << 20;

/// What is mirrored, without bounds of time.
#[derive(Debug, Clone)]
pub(super) struct BaseFilter {
    members: Map<String, Value>,
    filter: Filter,
}

/// A part of it that is asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Question {
    /// In Unix seconds, inclusive.
    pub(super) since: Option<u64>,
    /// In Unix seconds, inclusive.
    pub(super) until: Option<u64>,
    /// All that the filter wants if absent.
    pub(super) kinds: Option<Vec<u16>>,
}

impl BaseFilter {
    /// Takes a filter that is one.
    pub(super) fn new(filter: &str) -> anyhow::Result<Self> {
        let mut members: Map<String, Value> = serde_json::from_str(filter)?;
        for bound in ["since", "until", "limit"] {
            members.remove(bound);
        }
        let text = Value::Object(members.clone()).to_string();
        let filter = Filter::parse(&text).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        Ok(Self { members, filter })
    }

    pub(super) fn text(&self) -> String {
        Value::Object(self.members.clone()).to_string()
    }

    /// The filter of what comes from a moment on.
    pub(super) fn live(&self, since: u64) -> Value {
        let mut members = self.members.clone();
        members.insert("since".to_owned(), since.into());
        Value::Object(members)
    }

    pub(super) fn page(&self, question: &Question) -> Value {
        let mut members = self.members.clone();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                members.insert(name.to_owned(), value);
            }
        };
        put("since", question.since.map(Into::into));
        put("until", question.until.map(Into::into));
        put("kinds", question.kinds.as_ref().map(|kinds| json!(kinds)));
        put("limit", Some(PAGE.into()));
        Value::Object(members)
    }

    /// Whether an event is to be mirrored.
    pub(super) fn wants(&self, event: &Event) -> bool {
        self.filter.matches(event)
    }

    /// The kinds that can be asked for one by one.
    pub(super) fn kinds(&self) -> Vec<u16> {
        match &self.filter.kinds {
            Some(kinds) => kinds.iter().map(|kind| kind.as_u16()).collect(),
            // Ephemeral ones aren't stored.
            None => (0..20_000).chain(30_000..=u16::MAX).collect(),
        }
    }
}

impl Question {
    fn has(&self, at: u64) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
    }

    fn wants(&self, event: &Event) -> bool {
        let kind = event.kind().as_u16();
        self.has(event.created_at().as_secs())
            && self
                .kinds
                .as_ref()
                .is_none_or(|kinds| kinds.contains(&kind))
    }
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Those that were asked for.
    pub(super) events: Vec<Event>,
    /// How many came, whatever they are.
    pub(super) count: usize,
    bytes: usize,
    /// The seconds of all that are within the bounds, also of those that aren't kept.
    times: Vec<u64>,
}

/// Where to go on behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// From this second on, which may have more.
    Back(u64),
    /// This second may have more than fits into one answer.
    Within(u64),
}

impl Answer {
    /// Takes an event, and keeps it if it was asked for.
    ///
    /// # Errors
    ///
    /// The answer is too long.
    pub(super) fn take(
        &mut self,
        event: Event,
        filter: &BaseFilter,
        question: &Question,
    ) -> Result<(), String> {
        let at = event.created_at().as_secs();
        self.count(Some(at), event.as_str().len(), question)?;
        if filter.wants(&event) && question.wants(&event) {
            self.events.push(event);
        }
        Ok(())
    }

    /// Counts an event that can't be kept: at the second that it names, if it names one.
    ///
    /// # Errors
    ///
    /// The answer is too long.
    pub(super) fn count(
        &mut self,
        at: Option<u64>,
        bytes: usize,
        question: &Question,
    ) -> Result<(), String> {
        self.count += 1;
        self.bytes += bytes;
        if self.count > EVENTS_MAX || self.bytes > BYTES_MAX {
            return Err(format!(
                "the answer to one question has more than {EVENTS_MAX} events or {} MiB",
                BYTES_MAX >> 20
            ));
        }
        self.times.extend(at.filter(|at| question.has(*at)));
        Ok(())
    }

    /// Where to go on. `None` if nothing of it was asked for.
    pub(super) fn step(&self, until: Option<u64>) -> Option<Step> {
        let mut times = self.times.clone();
        times.sort_unstable_by(|one, other| other.cmp(one));
        let oldest = *times.last()?;
        let reached = if self.count < ANSWER_MIN {
            oldest
        } else {
            bulk_end(&times).unwrap_or(oldest)
        };
        Some(if until == Some(reached) {
            Step::Within(reached)
        } else {
            Step::Back(reached)
        })
    }
}

/// The oldest second without those that lie far below the rest, newest first: a relay that answers
/// for several others, or adds to what was asked for, leaves out what is between.
fn bulk_end(times: &[u64]) -> Option<u64> {
    const DAY_SECS: u64 = 24 * 60 * 60;
    let (newest, oldest) = (times.first()?, times.last()?);
    let bulk = times.get((times.len() - 1) * 3 / 4)?;
    let is_far = bulk - oldest > (newest - bulk).saturating_mul(10).saturating_add(DAY_SECS);
    Some(if is_far { *bulk } else { *oldest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(times: impl IntoIterator<Item = u64>, question: &Question) -> Answer {
        let mut answer = Answer::default();
        for at in times {
            answer.count(Some(at), 100, question).unwrap();
        }
        answer
    }

    #[track_caller]
    fn check(times: impl IntoIterator<Item = u64>, until: Option<u64>, step: Option<Step>) {
        let question = Question {
            until,
            ..Question::default()
        };
        assert_eq!(answer(times, &question).step(until), step);
    }

    #[test]
    fn the_next_page_begins_with_the_oldest_second() {
        check(1_000..1_100, None, Some(Step::Back(1_000)));
        check(1_000..1_100, Some(1_099), Some(Step::Back(1_000)));
        check([1_000, 1_010], Some(1_010), Some(Step::Back(1_000)));
    }

    #[test]
    fn an_answer_of_one_second_is_looked_at_closer() {
        check([1_000; 30], Some(1_000), Some(Step::Within(1_000)));
    }

    #[test]
    fn what_lies_far_below_the_rest_is_no_place_to_go_on_from() {
        let now = 1_700_000_000;
        check(
            (now - 30..now).chain([0, 0]),
            None,
            Some(Step::Back(now - 24)),
        );
        let one_second = [now; 30].into_iter().chain([0]);
        check(one_second, Some(now), Some(Step::Within(now)));
    }

    #[test]
    fn what_is_newer_than_was_asked_for_is_no_place_to_go_on_from() {
        check([10, 20], Some(10), Some(Step::Within(10)));
        check([20, 30], Some(10), None);
    }

    #[test]
    fn an_answer_is_bounded_in_bytes_and_events() {
        let question = Question::default();
        let mut long = answer(std::iter::repeat_n(1, EVENTS_MAX), &question);
        assert!(long.count(Some(1), 1, &question).is_err());
        let mut wide = Answer::default();
        assert_eq!(wide.count(None, BYTES_MAX, &question), Ok(()));
        assert!(wide.count(None, 1, &question).is_err());
    }
}
