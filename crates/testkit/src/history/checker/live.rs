//! The live part: everything once, nothing out of turn (R01-51, CL-2, CL-3).

use std::collections::{HashMap, HashSet};

use heliograph_protocol::Address;

use super::{
    Rule,
    log::{Log, Sub},
    matches::Matches,
    model::{Fact, NEVER, Standing},
    stored::{Found, gone, is_excused, is_expired, within_limits},
};

pub(super) fn check_live(log: &Log<'_>, matches: &Matches<'_, '_>) -> Vec<Found> {
    let mut found = Vec::new();
    for sub in log.subs.iter().filter(|sub| !sub.is_count) {
        let who = format!("connection {} sub {}", sub.connection, sub.name);
        let mut report =
            |rule, entry, what: String| found.push((rule, entry, format!("{who}: {what}")));
        check_repeated(log, sub, &mut report);
        check_losers(log, sub, &mut report);
        if let Some(eose) = sub.eose {
            let live = Live::of(log, sub);
            live.check_turns(&mut report);
            live.check_gaps(eose, matches, &mut report);
        }
    }
    found
}

/// Everything comes once; what isn't stored comes at most as often as it was sent.
fn check_repeated(log: &Log<'_>, sub: &Sub, report: &mut impl FnMut(Rule, usize, String)) {
    let mut times: HashMap<usize, usize> = HashMap::new();
    for (entry, number) in &sub.deliveries {
        let (fact, times) = (&log.model.facts[*number], times.entry(*number).or_default());
        *times += 1;
        let most = if fact.is_ephemeral() { fact.times } else { 1 };
        if *times > most {
            let id = fact.event.id();
            report(Rule::Repeated, *entry, format!("{id} came again"));
        }
    }
}

/// No version of an address after one that beats it.
fn check_losers(log: &Log<'_>, sub: &Sub, report: &mut impl FnMut(Rule, usize, String)) {
    let mut best: HashMap<Address, usize> = HashMap::new();
    for (entry, number) in &sub.deliveries {
        let event = log.model.facts[*number].event;
        let Some(address) = event.address() else {
            continue;
        };
        let seen = best.entry(address).or_insert(*number);
        let winner = log.model.facts[*seen].event;
        if winner.supersedes(event) {
            let what = format!("{} after {}, which beats it", event.id(), winner.id());
            report(Rule::Loser, *entry, what);
        } else {
            *seen = *number;
        }
    }
}

/// What came after EOSE.
struct Live<'l, 'a> {
    log: &'l Log<'a>,
    sub: &'l Sub,
    deliveries: &'l [(usize, usize)],
    /// For each delivery, the latest moment at which one of the events up to it was first sent: what
    /// had been acknowledged by then has its turn before. Ephemeral events have a way of their own.
    latest: Vec<usize>,
}

impl<'l, 'a> Live<'l, 'a> {
    fn of(log: &'l Log<'a>, sub: &'l Sub) -> Self {
        let deliveries = &sub.deliveries[sub.stored()..];
        let mut latest = Vec::with_capacity(deliveries.len());
        let mut so_far = 0;
        for (_, number) in deliveries {
            let fact = &log.model.facts[*number];
            if !fact.is_ephemeral() {
                so_far = so_far.max(fact.sent);
            }
            latest.push(so_far);
        }
        Self {
            log,
            sub,
            deliveries,
            latest,
        }
    }

    fn fact(&self, number: usize) -> &'l Fact<'a> {
        &self.log.model.facts[number]
    }

    /// Nothing comes that was refused or was gone before the REQ, nothing after what removes it,
    /// stored or live, and nothing after what was sent only when it had been acknowledged or removed.
    fn check_turns(&self, report: &mut impl FnMut(Rule, usize, String)) {
        let stored = &self.sub.deliveries[..self.sub.stored()];
        let mut seen: HashSet<usize> = stored.iter().map(|(_, fact)| *fact).collect();
        let mut before = 0;
        for ((entry, number), latest) in self.deliveries.iter().zip(&self.latest) {
            let fact = self.fact(*number);
            let id = fact.event.id();
            if fact.standing <= Standing::Outdone && self.log.was_refused(*number, *entry) {
                report(Rule::Foreign, *entry, format!("{id} had been refused"));
            }
            if fact.is_ephemeral() {
                if is_expired(self.log, fact, self.sub.req) {
                    report(Rule::Gone, *entry, format!("{id} had expired before"));
                }
            } else {
                let requested = fact.requests.iter().any(|request| seen.contains(request));
                if requested || fact.removal().acked < before {
                    let what = format!("{id} came back, after what removed it");
                    report(Rule::Gone, *entry, what);
                } else if let Some(how) = self.gone_before(*number, &seen) {
                    report(Rule::Gone, *entry, format!("{id} {how}"));
                } else if self.log.expect.in_order && fact.acked < before {
                    let what = format!("{id} after what was sent when it had been acknowledged");
                    report(Rule::Order, *entry, what);
                }
            }
            seen.insert(*number);
            before = *latest;
        }
    }

    /// How an event surely was gone when the REQ was sent. A version that comes after a better one
    /// is a loser, and that is said once.
    fn gone_before(&self, number: usize, seen: &HashSet<usize>) -> Option<&'static str> {
        let fact = self.fact(number);
        let how = gone(self.log, fact, self.sub.req)?;
        let address = fact.event.address();
        let versions = address.and_then(|address| self.log.model.addresses.get(&address));
        let better = versions.into_iter().flatten();
        let mut better = better.take_while(|version| **version != number);
        let is_loser = better.any(|version| seen.contains(version));
        (!is_loser).then_some(how)
    }

    /// Everything acknowledged that matches is there, up to the last that came; up to the end, if
    /// the subscription was open then: CLOSED says that something may be missing from there on.
    fn check_gaps(
        &self,
        eose: usize,
        matches: &Matches<'_, '_>,
        report: &mut impl FnMut(Rule, usize, String),
    ) {
        let Some(filters) = &self.sub.filters else {
            return;
        };
        if self.deliveries.is_empty() && !self.sub.is_open() {
            return;
        }
        let came: HashSet<usize> = self.sub.deliveries.iter().map(|(_, fact)| *fact).collect();
        let within: HashSet<usize> = within_limits(self.log, self.sub, matches)
            .into_iter()
            .collect();
        let mut missing = HashSet::new();
        for (text, filter) in self.sub.texts.iter().zip(filters) {
            for number in matches.of(text, filter).iter() {
                if !came.contains(number) && self.is_owed(*number, eose, &within) {
                    missing.insert(*number);
                }
            }
        }
        let mut missing: Vec<usize> = missing.into_iter().collect();
        missing.sort_unstable();
        for number in missing {
            let fact = self.fact(number);
            let what = format!("{} never came", fact.event.id());
            report(Rule::Missing, fact.sent, what);
        }
    }

    fn is_owed(&self, number: usize, eose: usize, within: &HashSet<usize>) -> bool {
        let fact = self.fact(number);
        if !fact.is_acked() || fact.is_private() {
            return false;
        }
        if fact.is_ephemeral() {
            let lossless = !self.log.expect.ephemeral_may_be_lost;
            return lossless && fact.sent > eose && self.sub.is_open();
        }
        // When its turn was over: something came that was sent later.
        let after = self.latest.partition_point(|latest| *latest <= fact.acked);
        let turn = self
            .deliveries
            .get(after)
            .map_or(NEVER, |(entry, _)| *entry);
        if (turn == NEVER && !self.sub.is_open()) || is_excused(self.log, fact, turn) {
            return false;
        }
        // What was acknowledged before the REQ is owed by the stored part; what was under way
        // meanwhile by one of the two, unless the limit cut it off.
        let before = self.log.is_known(fact.acked, self.sub.req);
        fact.sent > eose || (!before && within.contains(&number))
    }
}
