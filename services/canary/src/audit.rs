//! Reading again what was acknowledged, through one reader: one question at a time.

use std::{collections::HashSet, time::Duration};

use heliograph_protocol::EventId;
use serde_json::json;
use tokio::time::Instant;

/// Ids in one REQ: well below what relays take.
pub(crate) const IDS_MAX: usize = 100;

/// Pause between two questions, and after one that wasn't answered.
const PAUSE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(5);

/// What a reader looks for.
#[derive(Debug)]
pub(crate) struct Audit {
    number: u64,
    under_way: Option<Question>,
    next: Instant,
}

/// A REQ by ids that hasn't ended.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) asked: Vec<EventId>,
    pub(crate) found: HashSet<EventId>,
    since: Instant,
}

impl Audit {
    /// Nothing was asked yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            number: 0,
            under_way: None,
            next: now,
        }
    }

    /// Whether the next question may be asked.
    pub(crate) fn is_free(&self, now: Instant) -> bool {
        self.under_way.is_none() && now >= self.next
    }

    /// Asks for these, in a text for the relay.
    pub(crate) fn ask(&mut self, asked: Vec<EventId>, now: Instant) -> String {
        self.number += 1;
        let ids: Vec<String> = asked.iter().map(EventId::to_hex).collect();
        self.under_way = Some(Question {
            asked,
            found: HashSet::new(),
            since: now,
        });
        json!(["REQ", self.sub(), {"ids": ids}]).to_string()
    }

    /// Whether a message for `sub` belongs to the question under way.
    pub(crate) fn is_about(&self, sub: &str) -> bool {
        self.under_way.is_some() && sub == self.sub()
    }

    /// One of the events came.
    pub(crate) fn find(&mut self, id: EventId) {
        if let Some(question) = &mut self.under_way {
            question.found.insert(id);
        }
    }

    /// All there are came.
    pub(crate) fn end(&mut self, now: Instant) -> Option<Question> {
        self.next = now + PAUSE;
        self.under_way.take()
    }

    /// Gives up a question that has been under way for too long; the text that tells the relay.
    pub(crate) fn give_up(&mut self, now: Instant, deadline: Duration) -> Option<String> {
        let question = self.under_way.as_ref()?;
        (now >= question.since + deadline).then(|| {
            let close = self.close();
            self.put_off(now);
            close
        })
    }

    /// Forgets the question under way; what it asked for is asked for again.
    pub(crate) fn put_off(&mut self, now: Instant) {
        self.under_way = None;
        self.next = now + RETRY;
    }

    /// There is a new connection: nothing to wait for.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    /// Ends the subscription of the last question.
    pub(crate) fn close(&self) -> String {
        json!(["CLOSE", self.sub()]).to_string()
    }

    fn sub(&self) -> String {
        format!("audit-{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: EventId = EventId::new([7; 32]);
    const DEADLINE: Duration = Duration::from_secs(2);

    #[test]
    fn one_question_at_a_time_with_a_pause() {
        let now = Instant::now();
        let mut audit = Audit::new(now);
        assert!(audit.is_free(now));
        let req = audit.ask(vec![ID], now);
        assert_eq!(req, format!(r#"["REQ","audit-1",{{"ids":["{ID}"]}}]"#));
        assert!(!audit.is_free(now) && audit.is_about("audit-1") && !audit.is_about("live"));
        audit.find(ID);
        let question = audit.end(now).unwrap();
        assert!(question.found.contains(&ID));
        assert!(!audit.is_about("audit-1"), "it has ended");
        assert!(!audit.is_free(now) && audit.is_free(now + PAUSE));
    }

    #[test]
    fn a_question_without_an_answer_is_given_up() {
        let now = Instant::now();
        let mut audit = Audit::new(now);
        audit.ask(vec![ID], now);
        assert_eq!(audit.give_up(now, DEADLINE), None);
        let close = audit.give_up(now + DEADLINE, DEADLINE);
        assert_eq!(close.as_deref(), Some(r#"["CLOSE","audit-1"]"#));
        assert!(!audit.is_free(now + DEADLINE + PAUSE));
        audit.resume(now + DEADLINE);
        assert!(audit.is_free(now + DEADLINE));
    }
}
