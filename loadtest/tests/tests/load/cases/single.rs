//! Scenarios of one connection at a time: connecting, publishing, asking.

use std::time::Duration;

use super::{
    Behind, Case,
    edits::{
        accept, close, foreign, is_accepted, is_duplicate, is_invalid, is_new, is_refused,
        neg_empty, neg_error, one_more, refuse,
    },
};
use crate::proxy::{
    messages::What,
    rules::{Act, Rule, Way},
};

pub(super) fn cases() -> Vec<Case> {
    [
        connect_storm(),
        publish(),
        req_mix(),
        auth(),
        count(),
        negentropy(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn connect_storm() -> Vec<Case> {
    let of = |metric, broken| Case::of(("connect_storm", metric), broken);
    vec![
        of("connect_ms", |late| {
            vec![Rule::upgrade_is(Way::Wait(late)).one_in(10)]
        })
        .with(&[("LATENCY_FACTOR", "1")]),
        of("connect_failed", |_| {
            vec![Rule::upgrade_is(Way::Refuse).one_in(10)]
        }),
        of("connect_storm_done", |_| {
            vec![Rule::upgrade_is(Way::Refuse)]
        })
        .also(&["connect_failed"]),
    ]
}

fn publish() -> Vec<Case> {
    let of = |metric, broken| Case::of(("publish", metric), broken);
    vec![
        of("publish_ok_ms", |late| {
            vec![Rule::only(What::Ok, is_new, Act::Delay(late)).one_in(10)]
        }),
        of("publish_failed", |_| {
            vec![Rule::only(What::Ok, is_new, Act::Edit(refuse)).one_in(20)]
        }),
        of("publish_unanswered", |_| {
            vec![Rule::only(What::Ok, is_new, Act::Drop).one_in(20)]
        }),
        of("publish_invalid_accepted", |_| {
            vec![Rule::only(What::Ok, is_invalid, Act::Edit(accept)).one_in(2)]
        })
        .with(MORE_EVENTS),
        of("publish_invalid_refused", |_| {
            vec![Rule::only(What::Ok, is_invalid, Act::Drop)]
        })
        .also(&["publish_unanswered"]),
        of("publish_duplicates", |_| {
            vec![Rule::only(What::Ok, is_duplicate, Act::Drop)]
        })
        .also(&["publish_unanswered"]),
        of("publish_duplicate_wrong", |_| {
            vec![Rule::only(What::Ok, is_duplicate, Act::Edit(refuse))]
        }),
        of("publish_done", |_| {
            vec![Rule::only(What::Ok, is_new, Act::Edit(refuse))]
        })
        .also(&["publish_failed", "publish_duplicates"]),
    ]
}

/// One event of a hundred is forged.
const MORE_EVENTS: &[(&str, &str)] = &[("RATE_FACTOR", "4")];

fn req_mix() -> Vec<Case> {
    let of = |metric, broken| Case::of(("req_mix", metric), broken);
    vec![
        of("req_eose_ms", |late| {
            vec![Rule::on(What::Eose, Act::Delay(late)).one_in(10)]
        }),
        of("req_first_event_ms", |late| {
            let behind = late + Duration::from_millis(200);
            vec![
                Rule::on(What::Stored, Act::Delay(late)),
                Rule::on(What::Eose, Act::Delay(behind)),
            ]
        })
        .also(&["req_eose_ms"]),
        of("req_failed", |_| {
            vec![Rule::on(What::Eose, Act::Edit(close)).one_in(20)]
        }),
        of("req_wrong_events", |_| {
            vec![Rule::on(What::Eose, Act::Precede(foreign)).one_in(5)]
        }),
        of("req_events", |_| vec![Rule::on(What::Stored, Act::Drop)]),
        of("req_mix_done", |_| {
            vec![Rule::on(What::Eose, Act::Edit(close))]
        })
        .also(&["req_failed"]),
    ]
}

fn auth() -> Vec<Case> {
    let of = |metric, broken| Case::of(("auth", metric), broken);
    vec![
        of("auth_ms", |late| {
            vec![Rule::only(What::AuthOk, is_accepted, Act::Delay(late)).one_in(4)]
        }),
        of("auth_failed", |_| {
            vec![Rule::only(What::AuthOk, is_accepted, Act::Edit(refuse)).one_in(4)]
        }),
        of("auth_wrong_accepted", |_| {
            vec![Rule::only(What::AuthOk, is_refused, Act::Edit(accept)).one_in(4)]
        }),
        of("auth_done", |_| {
            vec![Rule::only(What::AuthOk, is_accepted, Act::Edit(refuse))]
        })
        .also(&["auth_failed"]),
    ]
}

fn count() -> Vec<Case> {
    let of = |metric, broken| Case::of(("count", metric), broken);
    vec![
        of("count_ms", |late| {
            vec![Rule::on(What::Count, Act::Delay(late)).one_in(10)]
        }),
        of("count_failed", |_| {
            vec![Rule::on(What::Count, Act::Edit(close)).one_in(10)]
        }),
        of("count_wrong", |_| {
            vec![Rule::on(What::Count, Act::Edit(one_more)).one_in(10)]
        }),
        of("count_done", |_| {
            vec![Rule::on(What::Count, Act::Edit(close))]
        })
        .also(&["count_failed"]),
    ]
}

fn negentropy() -> Vec<Case> {
    let of = |metric, broken| Case::of(("negentropy", metric), broken).behind(Behind::Peer);
    vec![
        of("neg_ms", |late| {
            vec![Rule::on(What::Neg, Act::Delay(late)).one_in(4)]
        }),
        of("neg_failed", |_| {
            vec![Rule::on(What::Neg, Act::Edit(neg_error)).one_in(4)]
        }),
        of("neg_wrong", |_| {
            vec![Rule::on(What::Neg, Act::Edit(neg_empty)).one_in(4)]
        }),
        of("negentropy_done", |_| {
            vec![Rule::on(What::Neg, Act::Edit(neg_error))]
        })
        .also(&["neg_failed"]),
    ]
}
