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
    ask().cut(2).check(&[]);
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
fn a_broken_protocol_is_a_broken_promise() {
    let why = "text not UTF-8".into();
    let mut log = plant();
    log.push(1, What::Illegal { why }).check(&[Rule::Protocol]);
}
