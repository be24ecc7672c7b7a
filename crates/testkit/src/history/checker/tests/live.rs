//! Live events: each once, in turn, no loser after its winner.

use super::*;

#[test]
fn what_is_acknowledged_while_a_subscription_is_open_comes_on_it() {
    let (a, b) = (&note(1), &note(2));
    let mut log = plant();
    log.live(2).accept(&[a, b]);
    log.clone().events(2, "s", &[a, b]).check(&[]);
    log.clone().events(2, "s", &[a]).check(&[Rule::Missing]);
    log.events(2, "s", &[b]).check(&[Rule::Missing]);
}

#[test]
fn every_subscription_is_owed_it() {
    let event = &note(1);
    let mut log = plant();
    log.live(2)
        .live(12)
        .accept(&[event])
        .events(2, "s", &[event]);
    log.check(&[Rule::Missing]);
    log.events(12, "s", &[event]).check(&[]);
}

#[test]
fn what_does_not_match_is_not_owed() {
    let event = &note(1);
    let mut log = plant();
    log.req(2, "s", json!({"kinds": [7]}))
        .eose(2, "s")
        .accept(&[event]);
    log.check(&[]);
}

#[test]
fn what_is_unsure_may_come_or_not() {
    let event = &note(1);
    let mut log = plant();
    log.live(2).publish(1, event).cut(1).check(&[]);
    log.events(2, "s", &[event]).check(&[]);
}

#[test]
fn a_subscription_that_the_relay_ended_may_have_missed_something() {
    let (a, b) = (&note(1), &note(2));
    let mut log = plant();
    log.live(2).accept(&[a, b]).events(2, "s", &[b]);
    log.clone().check(&[Rule::Missing]);
    // Neither CLOSED nor a broken connection is an excuse for a gap before something that came.
    log.clone().closed(2, "s").check(&[Rule::Missing]);
    log.cut(2).check(&[Rule::Missing]);
    let mut log = plant();
    log.live(2).accept(&[a, b]).events(2, "s", &[a]);
    log.clone().closed(2, "s").check(&[]);
    log.cut(2).check(&[]);
}

#[test]
fn a_subscription_that_ended_is_not_owed_what_came_after() {
    let event = &note(1);
    for end in [Plant::cut, Plant::leave, |log: &mut Plant, connection| {
        log.close(connection, "s")
    }] as [fn(&mut Plant, u32) -> &mut Plant; 3]
    {
        let mut log = plant();
        end(log.live(2), 2);
        log.accept(&[event]).check(&[]);
    }
}

#[test]
fn nothing_comes_twice() {
    let event = &note(1);
    let mut log = plant();
    log.live(2).accept(&[event]).events(2, "s", &[event, event]);
    log.check(&[Rule::Repeated]);
    let mut log = plant();
    log.accept(&[event])
        .req(2, "s", json!({}))
        .events(2, "s", &[event]);
    log.eose(2, "s").check(&[]);
    log.events(2, "s", &[event]).check(&[Rule::Repeated]);
}

#[test]
fn two_subscriptions_get_it_each() {
    let event = &note(1);
    let mut log = plant();
    log.live(2)
        .req(2, "t", json!({"limit": 0}))
        .eose(2, "t")
        .accept(&[event]);
    log.events(2, "s", &[event])
        .events(2, "t", &[event])
        .check(&[]);
}

#[test]
fn an_ephemeral_event_comes_as_often_as_it_was_sent_and_may_be_lost_if_allowed() {
    let event = &Key::nth(0).sign(START, 20_001, &[], "");
    let mut log = plant();
    log.live(2).accept(&[event, event]);
    log.check(&[Rule::Missing]);
    log.check_with(&Expect::default(), &[]);
    log.events(2, "s", &[event, event]).check(&[]);
    log.events(2, "s", &[event]).check(&[Rule::Repeated]);
}

#[test]
fn what_was_under_way_around_eose_comes_in_one_of_the_two_parts() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event).req(2, "s", json!({}));
    log.clone()
        .events(2, "s", &[event])
        .eose(2, "s")
        .ok(1, event)
        .check(&[]);
    log.clone()
        .eose(2, "s")
        .ok(1, event)
        .events(2, "s", &[event])
        .check(&[]);
    log.eose(2, "s").ok(1, event).check(&[Rule::Missing]);
}

#[test]
fn what_was_under_way_may_be_cut_off_by_the_limit() {
    let event = &note(1);
    let mut log = plant();
    log.publish(1, event)
        .req(2, "s", json!({"limit": 0}))
        .eose(2, "s")
        .ok(1, event);
    log.check(&[]);
    log.events(2, "s", &[event]).check(&[]);
}

#[test]
fn a_version_that_lost_while_it_was_under_way_may_be_left_out() {
    let (old, new) = (&version(1), &version(2));
    let mut log = plant();
    log.live(2)
        .publish(1, old)
        .publish(1, new)
        .ok(1, old)
        .ok(1, new);
    log.clone().events(2, "s", &[new]).check(&[]);
    log.clone().events(2, "s", &[old, new]).check(&[]);
    log.events(2, "s", &[old]).check(&[Rule::Missing]);
}

#[test]
fn a_version_whose_turn_was_over_before_it_lost_may_not() {
    let (old, between, new) = (&version(1), &note(1), &version(2));
    let mut log = plant();
    log.live(2)
        .accept(&[old, between])
        .events(2, "s", &[between]);
    log.accept(&[new])
        .events(2, "s", &[new])
        .check(&[Rule::Missing]);
}

#[test]
fn no_loser_after_its_winner() {
    let (old, new) = (&version(1), &version(2));
    let mut log = plant();
    log.live(2)
        .publish(1, old)
        .publish(1, new)
        .ok(1, old)
        .ok(1, new);
    log.events(2, "s", &[new, old]).check(&[Rule::Loser]);
    // Other authors have addresses of their own.
    let other = &Key::nth(1).sign(START, 30_023, &[&["d", "x"]], "");
    let mut log = plant();
    log.live(2)
        .publish(1, other)
        .publish(1, new)
        .ok(1, other)
        .ok(1, new);
    log.events(2, "s", &[new, other]).check(&[]);
}

#[test]
fn a_stored_winner_is_a_winner_too() {
    let (old, new) = (&version(1), &version(2));
    let mut log = plant();
    log.publish(1, old)
        .accept(&[new])
        .req(2, "s", json!({}))
        .events(2, "s", &[new]);
    log.eose(2, "s")
        .events(2, "s", &[old])
        .ok(1, old)
        .check(&[Rule::Loser]);
}

#[test]
fn what_was_acknowledged_before_another_was_sent_comes_first() {
    let (a, b) = (&note(1), &note(2));
    let mut log = plant();
    log.live(2).accept(&[a, b]).events(2, "s", &[b, a]);
    log.check(&[Rule::Order]);
    let any = Expect {
        in_order: false,
        ..strict()
    };
    log.check_with(&any, &[]);
    let mut log = plant();
    log.live(2).publish(1, a).publish(1, b).ok(1, a).ok(1, b);
    log.events(2, "s", &[b, a]).check(&[]);
}

#[test]
fn nothing_deleted_comes_after_its_deletion() {
    let event = &note(1);
    let deletion = &deletion(0, 2, &[event]);
    let mut log = plant();
    log.live(2).publish(1, event).publish(1, deletion);
    log.clone()
        .events(2, "s", &[deletion, event])
        .check(&[Rule::Gone]);
    log.events(2, "s", &[event, deletion]).check(&[]);
}

#[test]
fn nothing_deleted_comes_back_with_an_old_stream() {
    let (event, later) = (&note(1), &note(3));
    let deletion = &deletion(0, 2, &[event]);
    let mut log = plant();
    log.accept(&[event, deletion])
        .req(2, "s", json!({"kinds": [1], "limit": 0}))
        .eose(2, "s");
    log.accept(&[later]).events(2, "s", &[later, event]);
    log.check(&[Rule::Gone]);
}

#[test]
fn nothing_deleted_comes_after_its_deletion_was_in_the_stored_part() {
    let (event, deletion) = (&note(1), &deletion(0, 2, &[&note(1)]));
    let ask = |deletion: &Event| {
        let mut log = plant();
        log.publish(1, event)
            .publish(1, deletion)
            .req(2, "s", json!({"limit": 1}));
        log.events(2, "s", &[deletion]).eose(2, "s");
        log.events(2, "s", &[event]).clone()
    };
    ask(deletion).check(&[Rule::Gone]);
    let other = &Key::nth(1).sign(START + 2, 5, &[&["e", &event.id().to_hex()]], "");
    ask(other).check(&[]);
}

#[test]
fn nothing_comes_live_that_was_gone_before_the_question() {
    let (event, vanish) = (
        &note(1),
        &Key::nth(0).sign(START + 5, 62, &[&["relay", "ALL_RELAYS"]], ""),
    );
    for removal in [&deletion(0, 2, &[event]), vanish] {
        let mut log = plant();
        log.accept(&[event]).publish(1, removal);
        let mut unsure = log.clone();
        log.ok(1, removal).live(2).events(2, "s", &[event]);
        log.check(&[Rule::Gone]);
        unsure.live(2).events(2, "s", &[event]).ok(1, removal);
        unsure.check(&[]);
    }
}

#[test]
fn no_version_comes_live_that_was_replaced_before_the_question() {
    let (old, new) = (&version(1), &version(2));
    let mut log = plant();
    log.publish(1, old).publish(1, new);
    let mut unsure = log.clone();
    log.ok(1, new).live(2).events(2, "s", &[old]).ok(1, old);
    log.check(&[Rule::Gone]);
    unsure.live(2).events(2, "s", &[old]).ok(1, new).ok(1, old);
    // The better one is still owed, and comes after it.
    unsure.events(2, "s", &[new]).check(&[]);
}

#[test]
fn nothing_comes_live_that_had_expired_before_the_question() {
    let end = (START + 5).to_string();
    for kind in [1, 20_001] {
        let event = &Key::nth(0).sign(START, kind, &[&["expiration", &end]], "");
        for (secs, rules) in [(6, &[][..]), (9, &[Rule::Gone][..])] {
            let mut log = plant();
            log.publish(1, event).wait(Duration::from_secs(secs));
            log.live(2).events(2, "s", &[event]).ok(1, event);
            log.check(rules);
        }
        // What expires while the subscription is open may have been on its way.
        let mut log = plant();
        log.live(2).accept(&[event]).wait(Duration::from_secs(9));
        log.events(2, "s", &[event]).check(&[]);
    }
}
