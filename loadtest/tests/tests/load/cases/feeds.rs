//! Scenarios of a publisher and those who listen.

use std::time::Duration;

use super::{
    Behind, Case,
    edits::{accept, is_feed, is_invalid, is_new, is_return, refuse},
};
use crate::proxy::{
    messages::What,
    rules::{Act, Rule, Way},
};

pub(super) fn cases() -> Vec<Case> {
    [
        soak(),
        reconnect_storm(),
        slow_readers(),
        hostile(),
        fan_out(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Connections of the slow readers' scenario before the one that stalls: a publisher and its ten readers.
const HEALTHY: usize = 11;

/// Deliveries before readers stall: ten events to ten readers, and some more.
const SLOW_BASELINE: usize = 110;

/// Connections of the hostile scenario before attackers come: a publisher and its five readers.
const LEGITIMATE: usize = 6;

/// Deliveries before attackers come: ten events to five readers, and some more.
const HOSTILE_BASELINE: usize = 55;

/// The first events of this profile are many, and its limits on time are those of real machines.
const SOAK: &[(&str, &str)] = &[
    ("PROFILE", "soak"),
    ("SECONDS", "6"),
    ("LATENCY_FACTOR", "20"),
    ("SCENARIOS", "publish"),
];

fn soak() -> Vec<Case> {
    let of = |metric, broken| Case::of(("generator", metric), broken);
    vec![
        of("relay_rss_percent_per_hour", |_| Vec::new())
            .with(SOAK)
            .behind(Behind::Growing),
    ]
}

fn hostile() -> Vec<Case> {
    let of = |metric, broken| Case::of(("hostile", metric), broken);
    vec![
        // What is late at all is later than before.
        of("hostile_legit_ms", |late| {
            vec![
                Rule::only(What::Live, is_feed, Act::Delay(late))
                    .after(HOSTILE_BASELINE)
                    .one_in(20),
            ]
        })
        .also(&["hostile_excess_ms"]),
        // Still within the limit on the time itself.
        of("hostile_excess_ms", |late| {
            vec![
                Rule::only(What::Live, is_feed, Act::Delay(2 * late))
                    .after(HOSTILE_BASELINE)
                    .one_in(5),
            ]
        }),
        of("hostile_unanswered", |_| {
            vec![Rule::only(What::Ok, is_new, Act::Edit(refuse)).one_in(5)]
        }),
        of("hostile_missing", |_| {
            vec![Rule::only(What::Live, is_feed, Act::Drop).one_in(20)]
        }),
        of("hostile_accepted", |_| {
            vec![Rule::only(What::Ok, is_invalid, Act::Edit(accept))]
        }),
        of("hostile_attacks", |_| {
            vec![Rule::upgrade_is(Way::Refuse).after(LEGITIMATE)]
        }),
        of("hostile_done", |_| {
            vec![Rule::only(What::Live, is_feed, Act::Drop)]
        })
        .also(&["hostile_missing", "hostile_excess_ms"]),
    ]
}

fn reconnect_storm() -> Vec<Case> {
    let of = |metric, broken| Case::of(("reconnect_storm", metric), broken);
    vec![
        of("reconnect_failed", |_| {
            vec![Rule::only(What::Eose, is_return, Act::Drop)]
        }),
        of("reconnect_unacked", |_| {
            vec![Rule::on(What::Ok, Act::Edit(refuse)).one_in(5)]
        }),
        of("reconnect_ms", |late| {
            vec![Rule::only(What::Eose, is_return, Act::Delay(late)).one_in(4)]
        })
        .with(&[("LATENCY_FACTOR", "0.1")]),
        of("reconnect_gap", |_| {
            // Nobody misses anything who comes back at once.
            let away = Duration::from_secs(1);
            vec![
                Rule::upgrade_is(Way::Wait(away)),
                Rule::only(What::Stored, is_return, Act::Drop),
            ]
        }),
        of("reconnect_duplicate", |_| {
            vec![Rule::on(What::Live, Act::Repeat).one_in(50)]
        }),
        // Whoever should break connections doesn't.
        of("reconnect_lost", |_| Vec::new()).with(&[("KILL", "other")]),
        of("reconnect_storm_done", |_| {
            vec![
                Rule::on(What::Live, Act::Drop),
                Rule::on(What::Stored, Act::Drop),
            ]
        })
        .also(&["reconnect_gap"]),
    ]
}

fn slow_readers() -> Vec<Case> {
    let of = |metric, broken| Case::of(("slow_readers", metric), broken);
    vec![
        // What is late at all is later than before.
        of("slow_healthy_ms", |late| {
            vec![
                Rule::on(What::Live, Act::Delay(late))
                    .after(SLOW_BASELINE)
                    .one_in(20),
            ]
        })
        .also(&["slow_excess_ms"]),
        // Still within the limit on the time itself.
        of("slow_excess_ms", |late| {
            vec![
                Rule::on(What::Live, Act::Delay(2 * late))
                    .after(SLOW_BASELINE)
                    .one_in(5),
            ]
        }),
        of("slow_unacked", |_| {
            vec![Rule::on(What::Ok, Act::Edit(refuse)).one_in(5)]
        }),
        of("slow_missing", |_| {
            vec![Rule::on(What::Live, Act::Drop).one_in(50)]
        }),
        of("slow_duplicate", |_| {
            vec![Rule::on(What::Live, Act::Repeat).one_in(50)]
        }),
        of("slow_stalled", |_| {
            vec![Rule::upgrade_is(Way::Refuse).after(HEALTHY)]
        }),
        of("slow_readers_done", |_| {
            vec![Rule::on(What::Live, Act::Drop)]
        })
        .also(&["slow_missing", "slow_excess_ms"]),
    ]
}

fn fan_out() -> Vec<Case> {
    let of = |metric, broken| Case::of(("fan_out", metric), broken);
    vec![
        of("delivery_ms", |late| {
            vec![Rule::on(What::Live, Act::Delay(late)).one_in(20)]
        }),
        of("delivery_unacked", |_| {
            vec![Rule::on(What::Ok, Act::Edit(refuse)).one_in(5)]
        }),
        of("delivery_missing", |_| {
            vec![Rule::on(What::Live, Act::Drop).one_in(50)]
        }),
        of("delivery_duplicate", |_| {
            vec![Rule::on(What::Live, Act::Repeat).one_in(50)]
        }),
        of("fan_out_done", |_| vec![Rule::on(What::Live, Act::Drop)]).also(&["delivery_missing"]),
    ]
}
