//! What holds for a subscription as a whole, and for its live part.

use std::collections::BTreeMap;

use heliograph_protocol::{Event, EventId, Expiration};

use super::Facts;
use crate::{history::Subscription, journal::short};

impl Facts {
    pub(super) fn check_live(&self, subscription: &Subscription, wrong: &mut Vec<String>) {
        let mut seen: BTreeMap<EventId, u64> = BTreeMap::new();
        for (step, id, _) in subscription.events() {
            self.check_wanted(subscription, &id, wrong);
            if seen.insert(id, step).is_some() && !self.may_repeat(&id) {
                wrong.push(format!("{} came twice", short(&id)));
            }
            for winner in self.beaten_by(&id) {
                if seen.contains_key(winner) {
                    let (id, winner) = (short(&id), short(winner));
                    wrong.push(format!("{id} came after {winner}, to which it lost"));
                }
            }
        }
        let Some(since) = subscription.commits_at_eose else {
            return;
        };
        let Some(until) = self.followed(subscription) else {
            return;
        };
        let stored: Vec<EventId> = subscription
            .events()
            .filter(|(_, _, stored)| *stored)
            .map(|(_, id, _)| id)
            .collect();
        for (id, place) in &self.announced {
            let Some(event) = self.sent.get(id) else {
                continue;
            };
            let due = (subscription.commits..until).contains(place)
                && self.is_lasting(event)
                && subscription.filter.matches(event);
            let cut = *place < since && self.is_full_before(subscription, &stored, id);
            if due && !seen.contains_key(id) && !cut {
                wrong.push(format!("{} never came", short(id)));
            }
        }
    }

    /// Nothing knows of an ephemeral event but the matcher that delivered it: another one delivers it
    /// again if it comes again. Nor does anybody know that what was stored long ago is yet to be
    /// announced.
    fn may_repeat(&self, id: &EventId) -> bool {
        if self.late.contains(id) {
            return true;
        }
        self.sent
            .get(id)
            .is_some_and(|event| event.kind().is_ephemeral())
    }

    /// The place up to which a subscription has everything: all, if it is still open; else that of
    /// the last live event that came, since they come in order.
    fn followed(&self, subscription: &Subscription) -> Option<usize> {
        if subscription.is_open() {
            return Some(usize::MAX);
        }
        let live = subscription.events().filter(|(_, _, stored)| !*stored);
        let places = live.filter_map(|(_, id, _)| self.announced.get(&id).copied());
        places.max()
    }

    fn check_wanted(&self, subscription: &Subscription, id: &EventId, wrong: &mut Vec<String>) {
        match self.sent.get(id) {
            None => wrong.push(format!("{} was never sent", short(id))),
            Some(event) if !subscription.filter.matches(event) => {
                wrong.push(format!("{} doesn't match", short(id)));
            }
            Some(_) => {}
        }
    }

    /// Whether nothing that was sent removes an event, and it doesn't end by itself: then everybody
    /// who wants it has to get it.
    pub(super) fn is_lasting(&self, event: &Event) -> bool {
        Self::is_plain(event)
            && self.beaten_by(event.id()).is_empty()
            && event.expiration() == Expiration::Never
    }
}
