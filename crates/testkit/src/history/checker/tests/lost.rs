//! What was acknowledged and is read back, or isn't.

use super::*;

#[track_caller]
fn check(plant: &Plant, rules: &[Rule]) {
    let expect = Expect {
        gateways: 2,
        ..strict()
    };
    plant.check_with(&expect, rules);
}

#[test]
fn what_every_gateway_returns_is_not_lost() {
    let event = &note(1);
    let mut log = plant();
    log.accept(&[event]);
    log.read_back(0, &[event], &[event])
        .read_back(1, &[event], &[event]);
    check(&log, &[]);
}

#[test]
fn what_one_gateway_does_not_return_is_lost() {
    let event = &note(1);
    let mut log = plant();
    log.accept(&[event]);
    log.read_back(0, &[event], &[event])
        .read_back(1, &[event], &[]);
    check(&log, &[Rule::Lost]);
}

#[test]
fn a_gateway_that_was_not_read_back_has_lost_everything() {
    let event = &note(1);
    let mut log = plant();
    log.accept(&[event]).read_back(0, &[event], &[event]);
    check(&log, &[Rule::Lost]);
}

#[test]
fn an_answer_that_ends_with_closed_reads_nothing_back() {
    let event = &note(1);
    let mut log = plant();
    log.accept(&[event]).read_back(0, &[event], &[event]);
    log.push(19, What::ReadBack);
    log.req(19, "q", json!({"ids": [event.id().to_hex()]}));
    log.events(19, "q", &[event]).closed(19, "q");
    check(&log, &[Rule::Lost]);
}

#[test]
fn what_comes_only_after_eose_is_not_read_back() {
    let event = &note(1);
    let mut log = plant();
    log.accept(&[event]).read_back(0, &[event], &[event]);
    log.push(19, What::ReadBack);
    log.req(19, "q", json!({"ids": [event.id().to_hex()]}));
    let mut stored = log.clone();
    log.eose(19, "q").events(19, "q", &[event]).close(19, "q");
    check(&log, &[Rule::Lost]);
    stored
        .events(19, "q", &[event])
        .eose(19, "q")
        .close(19, "q");
    check(&stored, &[]);
}

#[test]
fn what_the_relay_is_not_sure_of_may_be_there_or_not() {
    let (refused, unanswered) = (&note(1), &note(2));
    let mut log = plant();
    log.publish(1, refused)
        .answer(1, refused, false, "error: no receipt");
    log.publish(1, unanswered).cut(1);
    let all = &[unanswered, refused];
    log.read_back(0, all, all).read_back(1, all, &[]);
    check(&log, &[]);
}

#[test]
fn what_was_unsure_first_and_acknowledged_later_may_not_be_lost() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event).cut(1).publish(2, event);
    log.answer(2, event, true, "duplicate: already have this event");
    log.read_back(0, &[event], &[])
        .read_back(1, &[event], &[event]);
    check(&log, &[Rule::Lost]);
}

#[test]
fn ephemeral_events_are_not_missed_at_the_end() {
    let event = &Key::nth(0).sign(START, 20_001, &[], "");
    let mut log = plant();
    log.accept(&[event])
        .read_back(0, &[event], &[])
        .read_back(1, &[event], &[]);
    check(&log, &[]);
}

#[test]
fn a_replaced_version_may_be_gone_and_its_winner_may_not() {
    let (old, new) = (&version(1), &version(2));
    let mut log = plant();
    log.accept(&[old, new]);
    let mut lost = log.clone();
    log.read_back(0, &[old, new], &[new])
        .read_back(1, &[old, new], &[new]);
    check(&log, &[]);
    lost.read_back(0, &[old, new], &[new])
        .read_back(1, &[old, new], &[]);
    check(&lost, &[Rule::Lost]);
}

#[test]
fn a_version_that_an_unsure_one_may_have_replaced_is_there_or_the_other_is() {
    let (old, new) = (&version(1), &version(2));
    let mut log = plant();
    log.accept(&[old]).publish(1, new).cut(1);
    let mut lost = log.clone();
    log.read_back(0, &[old, new], &[new])
        .read_back(1, &[old, new], &[old]);
    check(&log, &[]);
    lost.read_back(0, &[old, new], &[old])
        .read_back(1, &[old, new], &[]);
    check(&lost, &[Rule::Lost]);
}

#[test]
fn a_version_that_lost_to_a_deleted_one_is_gone_with_it() {
    let (old, new) = (&version(1), &version(2));
    let deletion = &deletion(0, 3, &[new]);
    let mut log = plant();
    log.accept(&[old, new, deletion]);
    let all = &[old, new, deletion];
    log.read_back(0, all, &[deletion])
        .read_back(1, all, &[deletion]);
    check(&log, &[]);
}

#[test]
fn deleted_by_an_unsure_request_or_not_is_all_the_same() {
    let event = &note(1);
    let deletion = &deletion(0, 2, &[event]);
    let mut log = plant();
    log.accept(&[event]).publish(1, deletion).cut(1);
    let all = &[event, deletion];
    log.read_back(0, all, &[deletion])
        .read_back(1, all, &[event]);
    check(&log, &[]);
}

#[test]
fn a_deletion_by_somebody_else_is_no_reason_to_be_gone() {
    let event = &note(1);
    let deletion = &deletion(1, 2, &[event]);
    let mut log = plant();
    log.accept(&[event, deletion]);
    let all = &[event, deletion];
    log.read_back(0, all, &[deletion])
        .read_back(1, all, &[deletion, event]);
    check(&log, &[Rule::Lost]);
}

#[test]
fn what_has_expired_may_be_gone_and_what_will_may_not() {
    let expiring = |end: u64| {
        let end = (START + end).to_string();
        Key::nth(0).sign(START, 1, &[&["expiration", &end]], "")
    };
    let (soon, late) = (&expiring(5), &expiring(1_000));
    let mut log = plant();
    log.accept(&[soon, late]).wait(Duration::from_secs(6));
    let mut lost = log.clone();
    log.read_back(0, &[soon, late], &[late])
        .read_back(1, &[soon, late], &[late]);
    check(&log, &[]);
    lost.read_back(0, &[soon, late], &[late])
        .read_back(1, &[soon, late], &[]);
    check(&lost, &[Rule::Lost]);
}
