//! Members are killed, stand still and are told to stop under load: nothing that got its OK is lost,
//! no subscription that stays open misses anything or gets it twice, and all recovers by itself,
//! but for those who are dead, whom a supervisor starts again.

use std::time::Duration;

use heliograph_faults::{
    bed::{Bed, until},
    schedule::{Fault, Schedule},
};
use heliograph_sandbox::{cluster::Role, http};
use serde_json::Value;

/// How long one who is dead stays away.
const AWAY: Duration = Duration::from_secs(2);

/// How long one who hangs does.
const PAUSED: Duration = Duration::from_secs(10);

/// Lets faults happen under load, one after another, and checks what clients saw of them all.
#[track_caller]
fn check(bed: &mut Bed, seed: u64, faults: impl IntoIterator<Item = (Fault, Duration)>) {
    Schedule::of(seed, faults).check(bed);
}

/// One that serves gateways, and so their subscribers.
#[track_caller]
fn serving_matcher(bed: &Bed) -> usize {
    until("matcher with subscriptions", || {
        (0..bed.members(Role::Matcher).len()).find(|number| {
            let page = bed.metrics(Role::Matcher, *number).unwrap_or_default();
            let mut lines = page.lines();
            let series = "heliograph_matcher_subscriptions ";
            let value = lines.find_map(|line| line.strip_prefix(series));
            value.is_some_and(|value| value.trim() != "0")
        })
    })
}

#[test]
fn nothing_is_lost_when_a_gateway_a_worker_or_a_matcher_is_killed() {
    let Some(mut bed) = Bed::fresh(&[]) else {
        return;
    };
    let matcher = serving_matcher_after_start(&bed);
    let killed = [
        (Role::Matcher, matcher),
        (Role::Matcher, 1 - matcher),
        (Role::Ingest, 0),
        (Role::Ingest, 1),
        (Role::Gateway, 0),
    ];
    check(
        &mut bed,
        1,
        killed.map(|(role, n)| (Fault::Kill(role, n), AWAY)),
    );
    // Of the gateways: they count on when a matcher dies.
    let moved = bed.sum(Role::Gateway, "heliograph_link_resume_seconds_count");
    assert!(moved > 0.0, "no subscription had to move");
}

#[test]
fn nothing_is_lost_when_a_gateway_a_worker_or_a_matcher_stands_still() {
    let Some(mut bed) = Bed::fresh(&[]) else {
        return;
    };
    let matcher = serving_matcher_after_start(&bed);
    let paused = [
        (Role::Matcher, matcher),
        (Role::Ingest, 0),
        (Role::Gateway, 1),
    ];
    check(
        &mut bed,
        2,
        paused.map(|(role, n)| (Fault::Pause(role, n), PAUSED)),
    );
}

#[test]
fn nothing_is_lost_when_members_are_told_to_stop() {
    let Some(mut bed) = Bed::fresh(&["shutdown.drain_secs=1"]) else {
        return;
    };
    let stopped = Role::ALL.map(|role| (Fault::Stop(role, 0), AWAY));
    check(&mut bed, 3, stopped);
}

#[test]
fn nothing_is_lost_when_one_of_three_nats_servers_is_killed_or_stands_still() {
    let Some(mut bed) = Bed::on_three_nats(&[]) else {
        return;
    };
    let first = leader(&bed);
    let follower = (first + 1) % 3;
    check(
        &mut bed,
        4,
        [
            (Fault::KillNats(first), AWAY),
            (Fault::KillNats(follower), AWAY),
        ],
    );
    let leader = leader(&bed);
    check(&mut bed, 5, [(Fault::PauseNats(leader), PAUSED)]);
}

/// A matcher that a client's subscription is at.
#[track_caller]
fn serving_matcher_after_start(bed: &Bed) -> usize {
    let mut client = bed.at(0);
    client.req("served", &[serde_json::json!({"kinds": [1], "limit": 0})]);
    serving_matcher(bed)
}

/// The server that leads the stream of events.
#[track_caller]
fn leader(bed: &Bed) -> usize {
    let nats = bed.own_nats();
    until("leader of the stream of events", || {
        let page = http::get(nats.monitor(0), "/jsz?streams=true").ok()?;
        let page: Value = serde_json::from_str(&page.body).ok()?;
        let accounts = page["account_details"].as_array()?;
        let mut streams = accounts
            .iter()
            .filter_map(|account| account["stream_detail"].as_array())
            .flatten();
        let is_events = |stream: &&Value| {
            let name = stream["name"].as_str().unwrap_or_default();
            name.to_lowercase().contains("event")
        };
        let stream = streams.find(is_events)?;
        // Servers are called n1, n2, n3.
        let name = stream["cluster"]["leader"].as_str()?;
        name.strip_prefix('n')?
            .parse::<usize>()
            .ok()?
            .checked_sub(1)
    })
}
