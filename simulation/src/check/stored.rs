//! What holds for the stored part of an answer.

use std::collections::BTreeSet;

use heliograph_protocol::{EventId, Timestamp};

use super::Facts;
use crate::{history::Subscription, journal::short};

impl Facts {
    pub(super) fn check_stored(&self, subscription: &Subscription, wrong: &mut Vec<String>) {
        let stored = subscription.events().filter(|(_, _, stored)| *stored);
        let stored: Vec<EventId> = stored.map(|(_, id, _)| id).collect();
        self.check_order(&stored, wrong);
        for id in &stored {
            self.check_shown(subscription, id, wrong);
        }
        if subscription.commits_at_eose.is_some() {
            self.check_complete(subscription, &stored, wrong);
        }
    }

    /// Newest first, and lowest id first within one second.
    fn check_order(&self, stored: &[EventId], wrong: &mut Vec<String>) {
        let known = stored.iter().filter_map(|id| self.sent.get(id));
        let positions: Vec<_> = known.map(|event| event.position()).collect();
        if !positions.is_sorted() {
            wrong.push("the stored part isn't in order".to_owned());
        }
    }

    /// Nothing that had ended or was known to be beaten before the question.
    fn check_shown(&self, subscription: &Subscription, id: &EventId, wrong: &mut Vec<String>) {
        let Some(event) = self.sent.get(id) else {
            return;
        };
        if event.is_expired(Timestamp::from_secs(subscription.now)) {
            wrong.push(format!("{} had expired before the question", short(id)));
        }
        for winner in self.beaten_by(id) {
            let place = self.announced.get(winner);
            if place.is_some_and(|place| *place < subscription.commits) {
                let (id, winner) = (short(id), short(winner));
                wrong.push(format!("{id} had lost to {winner} before the question"));
            }
        }
    }

    /// Everything that was committed before the question, as far as the limit goes.
    fn check_complete(
        &self,
        subscription: &Subscription,
        stored: &[EventId],
        wrong: &mut Vec<String>,
    ) {
        let has: BTreeSet<&EventId> = stored.iter().collect();
        for (id, place) in &self.announced {
            let Some(event) = self.sent.get(id) else {
                continue;
            };
            let due = *place < subscription.commits
                && self.is_lasting(event)
                && subscription.filter.matches(event);
            if due && !has.contains(id) && !self.is_full_before(subscription, stored, id) {
                wrong.push(format!("the stored part lacks {}", short(id)));
            }
        }
    }

    /// Whether the limit of a question was reached before its answer came to this event.
    pub(super) fn is_full_before(
        &self,
        subscription: &Subscription,
        stored: &[EventId],
        id: &EventId,
    ) -> bool {
        let Some(limit) = subscription.filter.limit else {
            return false;
        };
        let Some(position) = self.sent.get(id).map(|event| event.position()) else {
            return false;
        };
        let before = stored.iter().filter(|other| {
            let other = self.sent.get(*other);
            other.is_some_and(|other| other.position() < position)
        });
        before.count() as u64 >= limit
    }
}
