//! The stored part: all that has to be there, nothing that may not, in order (R01-50 to R01-55).

use std::collections::HashSet;

use heliograph_protocol::Kind;

use super::{
    Rule,
    answers::{is_sure, may_be_expired},
    log::{Log, Sub},
    matches::Matches,
    model::{Fact, Removal, Standing},
};

/// A violation found: rule, entry, what is wrong.
pub(super) type Found = (Rule, usize, String);

pub(super) fn check_stored(log: &Log<'_>, matches: &Matches<'_, '_>) -> Vec<Found> {
    let mut found = Vec::new();
    for sub in log.subs.iter().filter(|sub| !sub.is_count) {
        let who = format!("connection {} sub {}", sub.connection, sub.name);
        let mut report =
            |rule, entry, what: String| found.push((rule, entry, format!("{who}: {what}")));
        check_gone(log, sub, &mut report);
        if !log.reading_back.contains(&sub.connection) {
            check_complete(log, sub, matches, &mut report);
        }
        if log.expect.whole_answers {
            check_sorted(log, sub, &mut report);
            check_limits(log, sub, matches, &mut report);
        }
    }
    found
}

/// Nothing that had been removed, or that is never stored, and nothing after what deletes it. An
/// event may come before the request that deletes it: the request may have been acknowledged between
/// the two.
fn check_gone(log: &Log<'_>, sub: &Sub, report: &mut impl FnMut(Rule, usize, String)) {
    // Of two answers in one, each may know of requests that the other doesn't.
    let is_one = log.expect.whole_answers || unsorted(log, sub).next().is_none();
    let mut deletions = HashSet::new();
    for (entry, number) in &sub.deliveries[..sub.stored()] {
        let fact = &log.model.facts[*number];
        if fact.event.kind() == Kind::DELETION {
            deletions.insert(*number);
        }
        let deleted = fact.requests.iter().any(|by| deletions.contains(by));
        let id = fact.event.id();
        if fact.standing == Standing::Refused {
            report(Rule::Foreign, *entry, format!("{id} had been refused"));
        } else if fact.is_ephemeral() {
            report(
                Rule::Gone,
                *entry,
                format!("{id} is ephemeral and was stored"),
            );
        } else if let Some(how) = gone(log, fact, sub.req) {
            report(Rule::Gone, *entry, format!("{id} {how}"));
        } else if is_one && deleted {
            let what = format!("{id} came after the request that deletes it");
            report(Rule::Gone, *entry, what);
        }
    }
}

/// How an event surely was gone when the REQ was sent.
pub(super) fn gone(log: &Log<'_>, fact: &Fact<'_>, req: usize) -> Option<&'static str> {
    let removed = |removal: Removal| log.is_known(removal.acked, req);
    if removed(fact.by_deletion) {
        Some("had been deleted before")
    } else if removed(fact.by_version) {
        Some("had been replaced before")
    } else if removed(fact.by_vanishing) {
        Some("had vanished before")
    } else if is_expired(log, fact, req) {
        Some("had expired before")
    } else {
        None
    }
}

/// Whether its time surely was up when the REQ was sent.
pub(super) fn is_expired(log: &Log<'_>, fact: &Fact<'_>, req: usize) -> bool {
    let slack = log.expect.clock_slack.as_secs();
    let now = log.clock(req).as_secs();
    fact.expires
        .is_some_and(|end| end.as_secs().saturating_add(slack) < now)
}

/// Whether an event may have been in an answer to a question asked at `req` and ended at `end`.
pub(super) fn is_possible(log: &Log<'_>, fact: &Fact<'_>, req: usize, end: usize) -> bool {
    !fact.is_ephemeral()
        && fact.standing > Standing::Refused
        && fact.sent < end
        && gone(log, fact, req).is_none()
}

/// Everything that had been acknowledged and is surely within a limit.
fn check_complete(
    log: &Log<'_>,
    sub: &Sub,
    matches: &Matches<'_, '_>,
    report: &mut impl FnMut(Rule, usize, String),
) {
    let (Some(eose), Some(_)) = (sub.eose, &sub.filters) else {
        return;
    };
    let came = &sub.deliveries[..sub.stored()];
    let came: HashSet<usize> = came.iter().map(|(_, fact)| *fact).collect();
    let within = within_limits(log, sub, matches);
    for fact in within.iter().filter(|fact| !came.contains(fact)) {
        let fact = &log.model.facts[*fact];
        if is_sure(log, fact, sub.req, eose) {
            let id = fact.event.id();
            report(Rule::Incomplete, eose, format!("EOSE without {id}"));
        }
    }
}

/// What matches and surely is within the limit of one of the filters, should it be stored: so few
/// events can come before it.
pub(super) fn within_limits(log: &Log<'_>, sub: &Sub, matches: &Matches<'_, '_>) -> Vec<usize> {
    let end = sub.eose.unwrap_or(usize::MAX);
    let mut within = Vec::new();
    for (text, filter) in sub.texts.iter().zip(sub.filters.iter().flatten()) {
        let mut room = if sub.finished {
            usize::MAX
        } else {
            limit(log, filter.limit)
        };
        for fact in matches.of(text, filter).iter() {
            if room == 0 {
                break;
            }
            within.push(*fact);
            if is_possible(log, &log.model.facts[*fact], sub.req, end) {
                room -= 1;
            }
        }
    }
    within.sort_unstable();
    within.dedup();
    within
}

fn limit(log: &Log<'_>, limit: Option<u64>) -> usize {
    let limit = limit.map_or(log.expect.limit_default, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    limit.min(log.expect.limit_max)
}

/// Newest first, then lowest id, over all filters (R01-53).
fn check_sorted(log: &Log<'_>, sub: &Sub, report: &mut impl FnMut(Rule, usize, String)) {
    for (entry, fact) in unsorted(log, sub) {
        let id = log.model.facts[fact].event.id();
        report(
            Rule::Unsorted,
            entry,
            format!("{id} comes after an older one"),
        );
    }
}

/// What comes in the stored part right after something that it should come before.
fn unsorted(log: &Log<'_>, sub: &Sub) -> impl Iterator<Item = (usize, usize)> {
    let position = |fact: usize| log.model.facts[fact].event.position();
    let pairs = sub.deliveries[..sub.stored()].windows(2);
    let wrong = pairs.filter(move |pair| position(pair[1].1) < position(pair[0].1));
    wrong.map(|pair| pair[1])
}

/// Nothing that surely is beyond the limit of each filter that it matches.
fn check_limits(
    log: &Log<'_>,
    sub: &Sub,
    matches: &Matches<'_, '_>,
    report: &mut impl FnMut(Rule, usize, String),
) {
    let (Some(eose), Some(filters)) = (sub.eose, &sub.filters) else {
        return;
    };
    let mut allowed = HashSet::new();
    for (text, filter) in sub.texts.iter().zip(filters) {
        let mut room = limit(log, filter.limit);
        for fact in matches.of(text, filter).iter() {
            if room == 0 {
                break;
            }
            allowed.insert(*fact);
            if is_sure(log, &log.model.facts[*fact], sub.req, eose) {
                room -= 1;
            }
        }
    }
    for (entry, fact) in &sub.deliveries[..sub.stored()] {
        let event = log.model.facts[*fact].event;
        // What doesn't match at all is another matter.
        if !allowed.contains(fact) && filters.iter().any(|filter| filter.matches(event)) {
            let id = event.id();
            report(
                Rule::Incomplete,
                *entry,
                format!("{id} is beyond the limit"),
            );
        }
    }
}

/// Whether a live subscription may do without an event: something that removes it was sent, or its
/// time was up, before `moment`.
pub(super) fn is_excused(log: &Log<'_>, fact: &Fact<'_>, moment: usize) -> bool {
    fact.removal().sent < moment || may_be_expired(log, fact, moment)
}
