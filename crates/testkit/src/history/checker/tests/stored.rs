//! EOSE hides nothing; limits and order.

use super::*;

fn notes() -> Value {
    json!({"kinds": [1]})
}

fn limited(limit: u64) -> Value {
    json!({"kinds": [1], "limit": limit})
}

#[test]
fn what_was_acknowledged_before_the_question_is_in_the_answer() {
    let (a, b) = (&note(1), &note(2));
    let mut log = plant();
    log.accept(&[a, b]).query(2, notes(), &[b, a]).check(&[]);
    let mut log = plant();
    log.accept(&[a, b])
        .query(2, notes(), &[b])
        .check(&[Rule::Incomplete]);
}

#[test]
fn what_was_not_acknowledged_yet_need_not_be() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event).query(2, notes(), &[]).ok(1, event);
    log.check(&[]);
}

#[test]
fn an_answer_that_ends_with_closed_may_hide_something() {
    let event = &note(1);
    let mut log = plant();
    log.accept(&[event]).req(2, "q", notes()).closed(2, "q");
    log.check(&[]);
}

#[test]
fn the_limit_cuts_the_oldest_and_nothing_else() {
    let (a, b, c) = (&note(1), &note(2), &note(3));
    let ask = |events: &[&Event]| {
        let mut log = plant();
        log.accept(&[a, b, c]).query(2, limited(2), events).clone()
    };
    ask(&[c, b]).check(&[]);
    ask(&[c, a]).check(&[Rule::Incomplete, Rule::Incomplete]);
    ask(&[c]).check(&[Rule::Incomplete]);
    ask(&[c, b, a]).check(&[Rule::Incomplete]);
}

#[test]
fn an_answer_in_parts_may_be_longer_than_the_limit_and_out_of_order() {
    let (a, b, c) = (&note(1), &note(2), &note(3));
    let mut log = plant();
    log.accept(&[a, b, c]).query(2, limited(2), &[b, a, c]);
    log.check(&[Rule::Incomplete, Rule::Unsorted]);
    log.check_with(&Expect::default(), &[]);
}

#[test]
fn what_may_have_come_first_takes_room_within_the_limit() {
    let (a, b) = (&note(1), &note(2));
    let mut log = plant();
    log.accept(&[a]).publish(1, b);
    for events in [&[a][..], &[b][..]] {
        log.clone().query(2, limited(1), events).check(&[]);
    }
}

#[test]
fn what_is_gone_takes_no_room_within_the_limit() {
    let (a, b) = (&note(1), &note(2));
    let mut log = plant();
    log.accept(&[a, b, &deletion(0, 3, &[b])]);
    log.clone().query(2, limited(1), &[a]).check(&[]);
    log.query(2, limited(1), &[]).check(&[Rule::Incomplete]);
}

#[test]
fn a_filter_without_limit_and_one_beyond_all_measure_have_the_relays() {
    let (a, b) = (&note(1), &note(2));
    let expect = Expect {
        limit_default: 1,
        limit_max: 2,
        ..strict()
    };
    let mut log = plant();
    log.accept(&[a, b])
        .query(2, notes(), &[b])
        .query(3, limited(9), &[b]);
    log.check_with(&expect, &[Rule::Incomplete]);
}

#[test]
fn each_filter_has_its_own_limit() {
    let (a, b) = (&note(1), &note(2));
    let filters: Arc<[Value]> = [json!({"ids": [a.id().to_hex()]}), limited(1)].into();
    let ask = |events: &[&Event]| {
        let (sub, filters) = ("q".into(), Arc::clone(&filters));
        let mut log = plant();
        log.accept(&[a, b]).push(2, What::Req { sub, filters });
        log.events(2, "q", events).eose(2, "q").clone()
    };
    ask(&[b, a]).check(&[]);
    ask(&[b]).check(&[Rule::Incomplete]);
}

#[test]
fn finish_says_that_the_limit_cut_nothing_off() {
    let (a, b) = (&note(1), &note(2));
    let mut log = plant();
    log.accept(&[a, b])
        .req(2, "q", limited(1))
        .events(2, "q", &[b]);
    log.clone().eose(2, "q").check(&[]);
    log.finish(2, "q").check(&[Rule::Incomplete]);
}

#[test]
fn newest_first_then_lowest_id() {
    let (a, b) = (&note(1), &note(2));
    let mut log = plant();
    log.accept(&[a, b]).query(2, notes(), &[a, b]);
    log.check(&[Rule::Unsorted]);
    let mut tie = [note(1), Key::nth(1).note(START + 1, "")];
    tie.sort_by_key(|event| *event.id());
    let [low, high] = &tie;
    let mut log = plant();
    log.accept(&[low, high])
        .query(2, notes(), &[low, high])
        .check(&[]);
    let mut log = plant();
    log.accept(&[low, high])
        .query(2, notes(), &[high, low])
        .check(&[Rule::Unsorted]);
}

#[test]
fn a_count_lies_between_what_was_and_what_may_have_been_there() {
    let (a, b) = (&note(1), &note(2));
    for (count, rules) in [
        (0, &[Rule::Count][..]),
        (1, &[]),
        (2, &[]),
        (3, &[Rule::Count]),
    ] {
        let (sub, filters): (Arc<str>, _) = ("c".into(), Arc::from([limited(1)]));
        let mut log = plant();
        log.accept(&[a]).publish(1, b);
        log.push(
            2,
            What::Count {
                sub: Arc::clone(&sub),
                filters,
            },
        );
        log.push(2, What::Counted { sub, count }).check(rules);
    }
}
