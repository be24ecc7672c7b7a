//! Answers: one each, in time, the right one.

use super::*;

const LATE: Duration = Duration::from_secs(30);
const NEVER: Duration = Duration::from_secs(90);

#[test]
fn an_ok_in_time_is_well_and_a_late_one_is_not() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event)
        .wait(Duration::from_secs(19))
        .ok(1, event)
        .check(&[]);
    let mut log = plant();
    log.publish(1, event)
        .wait(LATE)
        .ok(1, event)
        .check(&[Rule::Late]);
}

#[test]
fn no_ok_at_all_is_late_once_its_time_is_over() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event).check(&[]);
    log.clone().cut(1).wait(LATE).live(2).check(&[]);
    log.clone().leave(1).wait(LATE).live(2).check(&[]);
    log.wait(LATE).live(2).check(&[Rule::Late]);
    log.leave(1).check(&[Rule::Late]);
}

#[test]
fn what_broke_was_owed_until_then() {
    let event = &note(1);
    for (time, rules) in [(19, &[][..]), (30, &[Rule::Late][..])] {
        let mut log = plant();
        log.publish(1, event).wait(Duration::from_secs(time));
        log.clone().cut(1).wait(NEVER).live(2).check(rules);
        log.push(1, What::Frozen).wait(NEVER).cut(1).check(rules);
    }
    for (time, rules) in [(50, &[][..]), (90, &[Rule::Late][..])] {
        let mut log = plant();
        log.req(2, "s", json!({})).wait(Duration::from_secs(time));
        log.clone().cut(2).wait(NEVER).live(3).check(rules);
        log.push(2, What::Frozen).wait(NEVER).cut(2).check(rules);
    }
}

#[test]
fn a_frozen_gateway_has_its_time_afterwards() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event).push(1, What::Frozen).wait(LATE);
    log.push(1, What::Thawed).ok(1, event).check(&[]);
    let mut other = plant();
    other.publish(1, event).push(11, What::Frozen).wait(LATE);
    other
        .push(11, What::Thawed)
        .ok(1, event)
        .check(&[Rule::Late]);
}

#[test]
fn the_end_of_an_answer_has_a_deadline_too() {
    let ask = || plant().req(2, "s", json!({})).wait(NEVER).clone();
    ask().eose(2, "s").check(&[Rule::Late]);
    ask().closed(2, "s").check(&[Rule::Late]);
    ask().close(2, "s").check(&[Rule::Late]);
    ask().live(3).check(&[Rule::Late]);
    ask().cut(2).check(&[Rule::Late]);
    let mut log = plant();
    log.req(2, "s", json!({}))
        .wait(LATE)
        .eose(2, "s")
        .wait(NEVER)
        .live(3)
        .check(&[]);
}

#[test]
fn one_ok_for_each_event() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event)
        .ok(1, event)
        .ok(1, event)
        .check(&[Rule::Answer]);
    let mut log = plant();
    log.publish(1, event).ok(2, event).check(&[Rule::Answer]);
    let mut log = plant();
    log.publish(1, event)
        .publish(1, event)
        .ok(1, event)
        .ok(1, event)
        .check(&[]);
}

#[test]
fn one_eose_for_each_question() {
    let mut log = plant();
    log.live(2).eose(2, "s").check(&[Rule::Answer]);
    let mut log = plant();
    log.eose(2, "s").check(&[Rule::Answer]);
}

#[test]
fn nothing_after_closed_and_something_after_close() {
    let event = &note(1);
    let mut log = plant();
    log.live(2).closed(2, "s").accept(&[event]);
    log.events(2, "s", &[event]).check(&[Rule::Answer]);
    let mut log = plant();
    log.live(2)
        .publish(1, event)
        .close(2, "s")
        .events(2, "s", &[event]);
    log.ok(1, event).check(&[]);
}

#[test]
fn what_is_gone_may_not_be_accepted_again() {
    let (event, old, new) = (&note(1), &version(1), &version(2));
    let deletion = &deletion(0, 2, &[event]);
    let mut log = plant();
    log.accept(&[event, deletion, event])
        .check(&[Rule::Verdict]);
    let mut log = plant();
    log.accept(&[new, old]).check(&[Rule::Verdict]);
    // The first sending was taken and its answer was late.
    let mut log = plant();
    log.publish(1, old)
        .answer(1, old, false, "error: no answer in time");
    log.accept(&[new]).publish(1, old).ok(1, old).check(&[]);
    let mut log = plant();
    log.accept(&[event, deletion]).publish(1, event);
    log.answer(1, event, false, "blocked: deleted by its author")
        .check(&[]);
}

#[test]
fn what_is_accepted_while_something_removes_it_may_be() {
    let (old, new) = (&version(1), &version(2));
    let mut log = plant();
    log.publish(1, new)
        .publish(1, old)
        .ok(1, new)
        .ok(1, old)
        .check(&[]);
}

#[test]
fn a_refusal_has_a_reason() {
    let (old, new) = (&version(1), &version(2));
    let replaced = "duplicate: a newer version exists";
    let mut log = plant();
    log.publish(1, old)
        .answer(1, old, false, replaced)
        .check(&[Rule::Verdict]);
    let mut log = plant();
    log.publish(1, new).publish(1, old);
    log.answer(1, old, false, replaced).ok(1, new).check(&[]);
    let event = &note(1);
    for text in [
        "blocked: deleted by its author",
        "blocked: its author asked to vanish",
    ] {
        let mut log = plant();
        log.publish(1, event)
            .answer(1, event, false, text)
            .check(&[Rule::Verdict]);
    }
    let mut log = plant();
    log.publish(1, event)
        .answer(1, event, false, "blocked: not welcome")
        .check(&[]);
}

#[test]
fn a_refusal_for_what_an_event_is_has_to_be_allowed() {
    let event = &note(1);
    let allowed = Expect {
        refusals_allowed: true,
        ..strict()
    };
    for text in [
        "invalid: too old",
        "restricted: no",
        "rate-limited: slow",
        "",
    ] {
        let mut log = plant();
        log.publish(1, event).answer(1, event, false, text);
        log.check(&[Rule::Verdict]);
        log.check_with(&allowed, &[]);
    }
    let mut log = plant();
    log.publish(1, event)
        .answer(1, event, false, "error: later");
    log.check(&[]);
}

#[test]
fn what_has_expired_on_its_way_may_be_refused() {
    let end = (START + 5).to_string();
    let event = &Key::nth(0).sign(START, 1, &[&["expiration", &end]], "");
    for (time, rules) in [(1, &[Rule::Verdict][..]), (6, &[][..])] {
        let mut log = plant();
        log.wait(Duration::from_secs(time)).publish(1, event);
        log.answer(1, event, false, "invalid: expired").check(rules);
    }
}

#[test]
fn an_ephemeral_event_that_is_too_old_by_now_may_be_refused() {
    let text = "invalid: ephemeral event is too old";
    for (kind, time, rules) in [
        (20_001, 50, &[Rule::Verdict][..]),
        (20_001, 70, &[]),
        (1, 70, &[Rule::Verdict]),
    ] {
        let event = &Key::nth(0).sign(START, kind, &[], "");
        let mut log = plant();
        log.wait(Duration::from_secs(time)).publish(1, event);
        log.answer(1, event, false, text).check(rules);
    }
}

#[test]
fn a_broken_protocol_is_a_broken_promise() {
    let why = "text not UTF-8".into();
    let mut log = plant();
    log.push(1, What::Illegal { why }).check(&[Rule::Protocol]);
}
