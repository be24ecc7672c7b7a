//! Every question has one answer, in time, and it is the right one (NIP-01, NIP-09, NIP-45).

use std::collections::HashSet;

use super::{
    Rule,
    log::Log,
    matches::Matches,
    model::{Fact, Standing},
    stored::{Found, is_possible},
};
use crate::history::What;

/// OKs: when, and whether the verdict can be right.
pub(super) fn check_oks(log: &mut Log<'_>) {
    let mut broken = Vec::new();
    for sending in &log.sendings {
        let entry = &log.entries[sending.entry];
        let fact = &log.model.facts[sending.fact];
        let who = format!("connection {}: {}", sending.connection, fact.event.id());
        // What broke or was given up isn't owed any longer; until then it was.
        let end = sending.ok.or_else(|| log.end_of(sending.connection));
        let end = log.at(end.unwrap_or(usize::MAX));
        let waited = log.waited(entry.gateway, entry.at, end);
        if waited > log.expect.ok_within {
            let came = sending.ok.map_or("never came", |_| "came");
            let what = format!("{who}: OK {came}, after {waited:.1?}");
            broken.push((Rule::Late, sending.entry, what));
        }
        let Some(ok) = sending.ok else { continue };
        // The answer to an earlier sending may have been late: then it was in order.
        let sent = if fact.acked < sending.entry {
            sending.entry
        } else {
            fact.sent
        };
        if let Some(why) = wrong_verdict(log, fact, sent, ok) {
            broken.push((Rule::Verdict, ok, format!("{who} {why}")));
        }
    }
    for (rule, entry, what) in broken {
        log.broken(rule, entry, what);
    }
}

fn wrong_verdict(log: &Log<'_>, fact: &Fact<'_>, sent: usize, ok: usize) -> Option<&'static str> {
    let What::Ok { accepted, text, .. } = &log.entries[ok].what else {
        return None;
    };
    let (version, deletion) = (fact.by_version, fact.by_deletion);
    let vanishing = fact.by_vanishing;
    let refused = Standing::of(*accepted, text) == Standing::Refused;
    match &**text {
        _ if refused && !may_be_refused(log, fact, ok) => {
            Some("was refused, and there is nothing wrong with it")
        }
        _ if fact.is_ephemeral() => None,
        _ if *accepted && log.is_known(deletion.acked, sent) => Some("was accepted though deleted"),
        _ if *accepted && log.is_known(vanishing.acked, sent) => {
            Some("was accepted though vanished")
        }
        _ if *accepted && log.is_known(version.acked, sent) => Some("was accepted though replaced"),
        text if text.starts_with("duplicate: ") && !accepted && version.sent > ok => {
            Some("was refused as replaced, and nothing replaces it")
        }
        "blocked: deleted by its author" if deletion.sent > ok => {
            Some("was refused as deleted, and nobody had asked for that")
        }
        "blocked: its author asked to vanish" if vanishing.sent > ok => {
            Some("was refused as vanished, and nobody had asked for that")
        }
        _ => None,
    }
}

/// Whether there is a reason to refuse an event for what it is: it was held up, or sent again, until
/// its time was over.
fn may_be_refused(log: &Log<'_>, fact: &Fact<'_>, ok: usize) -> bool {
    let age_max = log.expect.ephemeral_age_max.as_secs();
    let latest = log.clock(ok).plus(log.expect.clock_slack.as_secs() + 1);
    let is_old = fact.is_ephemeral() && fact.event.created_at().plus(age_max) < latest;
    log.expect.refusals_allowed || is_old || may_be_expired(log, fact, ok)
}

/// EOSE, CLOSED and COUNT come in time.
pub(super) fn check_ends(log: &mut Log<'_>) {
    let mut late = Vec::new();
    for sub in &log.subs {
        let answer = sub
            .eose
            .or(sub.closed)
            .or(sub.counted.map(|(entry, _)| entry));
        // What broke or was given up isn't owed any longer; until then it was.
        let over = sub.close.into_iter().chain(sub.cut).min();
        let end = answer.or(over).unwrap_or(usize::MAX);
        let waited = log.waited(sub.gateway, log.at(sub.req), log.at(end));
        if waited > log.expect.answer_within {
            let came = answer.map_or("never came", |_| "came");
            let who = format!("connection {} sub {}", sub.connection, sub.name);
            let what = format!("{who}: the end of the answer {came}, after {waited:.1?}");
            late.push((sub.req, what));
        }
    }
    for (entry, what) in late {
        log.broken(Rule::Late, entry, what);
    }
}

/// A COUNT is at least what surely was there, and at most what may have been.
pub(super) fn check_counts(log: &Log<'_>, matches: &Matches<'_, '_>) -> Vec<Found> {
    let mut broken = Vec::new();
    for sub in &log.subs {
        let (Some((end, count)), Some(filters)) = (sub.counted, &sub.filters) else {
            continue;
        };
        let (mut sure, mut possible) = (HashSet::new(), HashSet::new());
        for (text, filter) in sub.texts.iter().zip(filters) {
            for fact in matches.of(text, filter).iter() {
                if is_sure(log, &log.model.facts[*fact], sub.req, end) {
                    sure.insert(*fact);
                }
                if is_possible(log, &log.model.facts[*fact], sub.req, end) {
                    possible.insert(*fact);
                }
            }
        }
        if !(sure.len() as u64..=possible.len() as u64).contains(&count) {
            let who = format!("connection {} sub {}", sub.connection, sub.name);
            let (least, most) = (sure.len(), possible.len());
            let what = format!("{who}: {count} isn't in {least}..={most}");
            broken.push((Rule::Count, end, what));
        }
    }
    broken
}

/// Whether an event was there all the time from `req` to `end`.
pub(super) fn is_sure(log: &Log<'_>, fact: &Fact<'_>, req: usize, end: usize) -> bool {
    fact.is_public()
        && fact.standing == Standing::Acknowledged
        && log.is_known(fact.acked, req)
        && fact.removal().sent >= end
        && !may_be_expired(log, fact, end)
}

/// Whether it may have expired by this entry, clocks being what they are.
pub(super) fn may_be_expired(log: &Log<'_>, fact: &Fact<'_>, entry: usize) -> bool {
    let latest = log.clock(entry).plus(log.expect.clock_slack.as_secs() + 1);
    fact.expires.is_some_and(|end| end <= latest)
}
