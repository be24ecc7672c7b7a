//! What was acknowledged is there at the end, at every gateway.

use std::collections::{BTreeMap, HashSet};

use super::{
    Rule,
    answers::may_be_expired,
    log::{Log, Sub},
    model::{NEVER, Standing},
    stored::Found,
};

/// What reading back one gateway brought.
#[derive(Default)]
struct Returned {
    /// Facts that came.
    came: HashSet<usize>,
    /// Facts that were asked for, with the EOSE of the answer.
    asked: BTreeMap<usize, usize>,
}

pub(super) fn check_lost(log: &Log<'_>) -> Vec<Found> {
    let none = |gateway| (gateway, Returned::default());
    let mut gateways: BTreeMap<usize, Returned> = (0..log.expect.gateways).map(none).collect();
    for sub in &log.subs {
        if log.reading_back.contains(&sub.connection) {
            let returned = gateways.entry(sub.gateway).or_default();
            returned.take(log, sub);
        }
    }
    let mut found = Vec::new();
    for (gateway, returned) in &gateways {
        returned.check(log, *gateway, &mut found);
    }
    found
}

impl Returned {
    fn take(&mut self, log: &Log<'_>, sub: &Sub) {
        let Some(eose) = sub.eose else {
            return;
        };
        // What comes only after EOSE was announced, and nobody knows whether it is stored.
        let stored = &sub.deliveries[..sub.stored()];
        self.came.extend(stored.iter().map(|(_, fact)| *fact));
        let ids = sub
            .filters
            .iter()
            .flatten()
            .filter_map(|filter| filter.ids.as_ref());
        for id in ids.flatten() {
            if let Some(fact) = log.model.by_id.get(id) {
                self.asked.insert(*fact, eose);
            }
        }
    }

    fn check(&self, log: &Log<'_>, gateway: usize, found: &mut Vec<Found>) {
        let mut unanswered = 0;
        for (number, fact) in log.model.facts.iter().enumerate() {
            if !fact.is_acked() || !fact.is_public() || self.is_accounted_for(log, number) {
                continue;
            }
            let id = fact.event.id();
            match self.asked.get(&number) {
                Some(eose) => {
                    let what = format!("gateway {gateway}: {id} was acknowledged and is lost");
                    found.push((Rule::Lost, *eose, what));
                }
                None => unanswered += 1,
            }
        }
        if unanswered > 0 {
            let what =
                format!("gateway {gateway}: {unanswered} acknowledged events couldn't be read");
            found.push((Rule::Lost, log.entries.len().saturating_sub(1), what));
        }
    }

    /// Whether it came, or may be gone for good reason: deleted, expired, or replaced by a version
    /// that is there, may itself be gone, or is asked after on its own account.
    fn is_accounted_for(&self, log: &Log<'_>, number: usize) -> bool {
        let facts = &log.model.facts;
        let is_there = |number: usize| self.came.contains(&number);
        let may_be_gone = |number: usize| {
            let fact = &facts[number];
            let removed = fact.by_deletion.sent.min(fact.by_vanishing.sent) != NEVER;
            removed || may_be_expired(log, fact, NEVER)
        };
        if is_there(number) || may_be_gone(number) {
            return true;
        }
        let Some(address) = facts[number].event.address() else {
            return false;
        };
        let versions = log.model.addresses.get(&address).into_iter().flatten();
        versions
            .take_while(|version| **version != number)
            .filter(|version| facts[**version].standing > Standing::Refused)
            .any(|version| {
                facts[*version].is_acked() || is_there(*version) || may_be_gone(*version)
            })
    }
}
