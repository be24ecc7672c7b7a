//! What may not be returned: never sent, refused, replaced, deleted, vanished, expired.

use super::*;

fn all() -> Value {
    json!({"kinds": [0, 1, 5, 30_023]})
}

#[test]
fn what_nobody_had_sent_is_foreign_stored_or_live() {
    let event = &note(1);
    let mut log = plant();
    log.query(2, all(), &[event]);
    log.check(&[Rule::Foreign]);
    let mut log = plant();
    log.live(2).events(2, "s", &[event]);
    log.check(&[Rule::Foreign]);
}

#[test]
fn what_is_sent_only_afterwards_is_foreign() {
    let event = &note(1);
    let mut log = plant();
    log.query(2, all(), &[event]).accept(&[event]);
    log.check(&[Rule::Foreign]);
}

#[test]
fn what_is_sent_and_not_answered_yet_may_be_returned() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event).query(2, all(), &[event]);
    log.check(&[]);
}

#[test]
fn another_signature_than_the_one_that_was_sent_is_foreign() {
    let event = &note(1);
    let altered = event
        .as_str()
        .replace(&event.sig().to_hex(), &"0".repeat(128));
    let altered = &Event::parse(&altered).unwrap();
    let mut log = plant();
    log.accept(&[event]).query(2, all(), &[altered]);
    log.check(&[Rule::Foreign]);
}

#[test]
fn what_does_not_match_is_foreign() {
    let event = &note(1);
    let mut log = plant();
    log.accept(&[event])
        .query(2, json!({"kinds": [7]}), &[event]);
    log.check(&[Rule::Foreign]);
}

#[test]
fn what_was_refused_is_foreign() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event)
        .answer(1, event, false, "invalid: too old");
    log.query(2, all(), &[event])
        .live(3)
        .events(3, "s", &[event]);
    let expect = Expect {
        refusals_allowed: true,
        ..strict()
    };
    log.check_with(&expect, &[Rule::Foreign, Rule::Foreign]);
}

#[test]
fn what_was_refused_as_replaced_may_not_come_live() {
    let (old, new) = (&version(1), &version(2));
    let mut log = plant();
    log.live(2).publish(1, new).publish(1, old);
    log.answer(1, old, false, "duplicate: a newer version exists")
        .ok(1, new);
    let mut bad = log.clone();
    bad.events(2, "s", &[old, new]).check(&[Rule::Foreign]);
    log.events(2, "s", &[new]).check(&[]);
    // Announced by a worker that died before it answered.
    let mut log = plant();
    log.live(2).publish(1, old).events(2, "s", &[old]);
    log.accept(&[new]).events(2, "s", &[new]);
    log.answer(1, old, false, "duplicate: a newer version exists")
        .check(&[]);
}

#[test]
fn an_event_is_gone_once_its_deletion_is_acknowledged_before_the_question() {
    let event = &note(1);
    let deletion = &deletion(0, 2, &[event]);
    let mut log = plant();
    log.accept(&[event, deletion])
        .query(2, all(), &[deletion, event]);
    log.check(&[Rule::Gone]);
}

#[test]
fn an_event_whose_deletion_is_under_way_may_be_returned_or_not() {
    let event = &note(1);
    let deletion = &deletion(0, 2, &[event]);
    let mut log = plant();
    log.accept(&[event]).publish(1, deletion);
    let mut without = log.clone();
    log.query(2, all(), &[event]).ok(1, deletion).check(&[]);
    without
        .query(2, all(), &[deletion])
        .ok(1, deletion)
        .check(&[]);
}

#[test]
fn an_event_may_not_be_returned_after_the_request_that_deletes_it() {
    let event = &note(1);
    let deletion = &deletion(0, 2, &[event]);
    let mut log = plant();
    log.accept(&[event]).publish(1, deletion);
    log.clone()
        .query(2, all(), &[deletion, event])
        .check(&[Rule::Gone]);
    log.query(2, all(), &[deletion, event])
        .check_with(&Expect::default(), &[Rule::Gone]);
}

#[test]
fn an_event_may_be_returned_before_the_request_that_deletes_it() {
    let event = &note(3);
    let deletion = &deletion(0, 2, &[event]);
    let mut log = plant();
    log.accept(&[event]).publish(1, deletion);
    log.query(2, all(), &[event, deletion]).check(&[]);
}

#[test]
fn of_an_answer_in_parts_one_may_know_of_a_deletion_and_the_other_not() {
    let (event, newest) = (&note(1), &note(3));
    let deletion = &deletion(0, 2, &[event]);
    let mut log = plant();
    log.accept(&[event, newest]).publish(1, deletion);
    log.query(2, all(), &[deletion, event, newest]);
    log.check_with(&Expect::default(), &[]);
    log.check(&[Rule::Gone, Rule::Unsorted]);
}

#[test]
fn a_request_by_somebody_else_may_be_returned_with_what_it_names() {
    let event = &note(1);
    let deletion = &deletion(1, 2, &[event]);
    let mut log = plant();
    log.accept(&[event]).publish(1, deletion);
    log.query(2, all(), &[deletion, event]).check(&[]);
}

#[test]
fn an_event_that_somebody_else_wants_deleted_stays() {
    let event = &note(1);
    let deletion = &deletion(1, 2, &[event]);
    let mut log = plant();
    log.accept(&[event, deletion])
        .query(2, all(), &[deletion, event]);
    log.check(&[]);
}

#[test]
fn a_deletion_by_address_takes_versions_up_to_its_own_second() {
    let address = format!("30023:{}:x", Key::nth(0).hex());
    let deletion = &Key::nth(0).sign(START + 5, 5, &[&["a", &address]], "");
    let (old, new) = (&version(5), &version(6));
    let mut both = [old, deletion];
    both.sort_by_key(|event| event.position());
    let mut log = plant();
    log.accept(&[old, deletion]).query(2, all(), &both);
    log.check(&[Rule::Gone]);
    let mut log = plant();
    log.accept(&[new, deletion])
        .query(2, all(), &[new, deletion]);
    log.check(&[]);
}

#[test]
fn deletions_can_not_be_deleted() {
    let first = &deletion(0, 1, &[&note(1)]);
    let second = &deletion(0, 2, &[first]);
    let mut log = plant();
    log.accept(&[first, second])
        .query(2, all(), &[second, first]);
    log.check(&[]);
}

#[test]
fn a_version_is_gone_once_a_better_one_is_acknowledged() {
    let (old, new) = (&version(1), &version(2));
    let mut log = plant();
    log.accept(&[old, new]).query(2, all(), &[new, old]);
    log.check(&[Rule::Gone, Rule::Loser]);
}

#[test]
fn of_one_second_the_lowest_id_is_better() {
    let sign = |content: &str| Key::nth(0).sign(START, 30_023, &[&["d", "x"]], content);
    let mut versions = [sign("a"), sign("b")];
    versions.sort_by_key(|event| *event.id());
    let [low, high] = &versions;
    let mut log = plant();
    log.accept(&[high, low]).query(2, all(), &[high]);
    log.check(&[Rule::Gone, Rule::Incomplete]);
    let mut log = plant();
    log.accept(&[high, low]).query(2, all(), &[low]).check(&[]);
}

#[test]
fn what_vanished_is_gone_and_what_came_later_is_not() {
    let vanish = |relay: &str| Key::nth(0).sign(START + 5, 62, &[&["relay", relay]], "");
    let (old, new, other) = (&note(5), &note(6), &Key::nth(1).note(START, "other"));
    for relay in ["ALL_RELAYS", "wss://relay.example.com/"] {
        let mut log = plant();
        log.accept(&[old, new, other, &vanish(relay)]);
        let mut bad = log.clone();
        log.query(2, all(), &[new, other]).check(&[]);
        bad.query(2, all(), &[new, old, other]).check(&[Rule::Gone]);
    }
    let mut log = plant();
    log.accept(&[old, &vanish("wss://elsewhere.example.com")]);
    log.query(2, all(), &[old]).check(&[]);
}

#[test]
fn what_expired_is_gone_within_what_clocks_may_differ() {
    let end = (START + 5).to_string();
    let event = &Key::nth(0).sign(START, 1, &[&["expiration", &end]], "");
    for (secs, rules) in [(6, &[][..]), (9, &[Rule::Gone][..])] {
        let mut log = plant();
        log.accept(&[event]).wait(Duration::from_secs(secs));
        log.query(2, all(), &[event]).check(rules);
    }
}

#[test]
fn ephemeral_events_are_never_stored() {
    let event = &Key::nth(0).sign(START, 20_001, &[], "");
    let mut log = plant();
    log.accept(&[event]).query(2, json!({}), &[event]);
    log.check(&[Rule::Gone]);
}

#[test]
fn within_the_lag_that_is_allowed_nothing_is_demanded() {
    let event = &note(1);
    let request = &deletion(0, 2, &[event]);
    let lag = |millis| Expect {
        lag: Duration::from_millis(millis),
        ..strict()
    };
    let mut log = plant();
    log.accept(&[event, request]).query(2, all(), &[event]);
    log.check_with(&lag(500), &[]);
    log.check_with(&lag(1), &[Rule::Gone, Rule::Incomplete]);
}
