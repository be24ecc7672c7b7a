//! The protocol's vectors over a cluster (CL-7): what each row expects is what it expects of one
//! process, with the connection of each step moved to the next gateway.

use heliograph_protocol::Event;
use heliograph_testkit::vectors;
use serde_json::Value;

use super::{bed::Bed, groups::groups};
use crate::{
    scenarios::{Step, permutable, replay, replay_in_order, scenarios},
    support::{accept_all, array, event, seeded},
    vectors::{check_answers, check_frames, check_order, check_texts},
};

#[test]
fn every_scenario_ends_as_written_with_each_step_on_another_gateway() {
    let scenarios = scenarios();
    for group in groups(&scenarios) {
        let Some(bed) = Bed::fresh(&[]) else { return };
        for scenario in group {
            replay(&|| bed.client(), scenario, Step::Elsewhere);
        }
    }
}

/// Replays what can be sent in any order, in one that `choose` makes of the order as written.
#[track_caller]
fn check_other_order(mut choose: impl FnMut(&mut Vec<Value>)) {
    let scenarios = scenarios();
    let rows = scenarios.iter().filter(|row| permutable(row).is_some());
    for group in groups(rows) {
        let Some(bed) = Bed::fresh(&[]) else { return };
        for scenario in group {
            let (sends, reqs) = permutable(scenario).expect("filtered");
            let mut order = sends.to_vec();
            choose(&mut order);
            replay_in_order(&|| bed.client(), scenario, &order, reqs, Step::Elsewhere);
        }
    }
}

#[test]
fn every_scenario_ends_the_same_on_many_gateways_when_its_events_come_backwards() {
    check_other_order(|order| order.reverse());
}

#[test]
fn every_scenario_ends_the_same_on_many_gateways_in_a_random_order() {
    let mut random = seeded();
    check_other_order(|order| random.shuffle(order));
}

#[test]
fn every_frame_and_every_event_gets_the_answer_of_its_row_from_any_gateway() {
    let Some(bed) = Bed::fresh(&[]) else { return };
    check_frames(&|| bed.client());
    drop(bed);
    let Some(bed) = Bed::fresh(&[]) else { return };
    check_answers(&|| bed.client());
    check_texts(&|| bed.client());
}

#[test]
fn every_gateway_gives_stored_events_in_the_order_of_the_vectors() {
    let Some(bed) = Bed::fresh(&[]) else { return };
    let vector: Value = vectors::json("ordering.json");
    let mut events: Vec<Event> = array(&vector["events"]).iter().map(event).collect();
    seeded().shuffle(&mut events);
    let half = events.len() / 2;
    accept_all(&mut bed.at(0), &events[..half]);
    accept_all(&mut bed.at(1), &events[half..]);
    for mut client in bed.both() {
        check_order(&mut client, &vector);
    }
}
