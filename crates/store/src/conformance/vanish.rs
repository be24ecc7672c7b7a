//! Requests to vanish (NIP-62).

use heliograph_protocol::Outcome::{Deleted, Duplicate, Stored, Vanished};

use super::fixture::{
    Backend, Bed, RELAY_URL, article, deletion, event, gift_wrap, key, note, profile, tied, vanish,
};

const ALL_RELAYS: &str = "ALL_RELAYS";
const ELSEWHERE: &str = "wss://other.example.com";

/// R62-2: equal included; other authors stay.
pub async fn everything_of_the_author_up_to_then_is_removed<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let removed = [
        note(1, 0),
        event(1, 20, 1, &[&["t", "x"]], ""),
        profile(1, 15),
        article(1, 16, "a"),
        event(1, 17, 4, &[&["p", &key(2).to_hex()]], ""),
    ];
    let removed: Vec<_> = removed.iter().collect();
    let (kept, foreign) = (note(1, 21), note(2, 10));
    bed.store_all(&removed).await;
    let request = vanish(1, 20, RELAY_URL);
    bed.store_all(&[&kept, &foreign, &request]).await;
    bed.expect("{}", &[&kept, &foreign, &request]).await;
    bed.gone(&removed).await;
}

/// R62-4: what was there and what never was.
pub async fn what_vanished_is_refused_for_ever<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (known, unknown, equal) = (note(1, 10), note(1, 19), note(1, 20));
    let request = vanish(1, 20, RELAY_URL);
    bed.store_all(&[&known, &request]).await;
    for _again in 0..2 {
        bed.put(&[(&known, Vanished), (&unknown, Vanished), (&equal, Vanished)])
            .await;
        bed.put(&[(&profile(1, 5), Vanished), (&article(1, 6, "a"), Vanished)])
            .await;
    }
    bed.expect("{}", &[&request]).await;
}

/// R62-4.
pub async fn newer_events_are_welcome<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (request, newer, profile) = (vanish(1, 20, RELAY_URL), note(1, 21), profile(1, 22));
    bed.store_all(&[&request, &newer, &profile]).await;
    bed.expect("{}", &[&request, &newer, &profile]).await;
}

/// R62-2.
pub async fn deletion_requests_vanish_too<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let old = deletion(1, 10, &[&note(1, 5)]);
    let request = vanish(1, 20, RELAY_URL);
    bed.store_all(&[&old, &request]).await;
    bed.expect("{}", &[&request]).await;
    bed.put(&[(&old, Vanished)]).await;
}

/// What was deleted before its author vanished doesn't come back.
pub async fn guards_outlive_the_request_that_made_them<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    // Dated after both requests, so that only the guard by id can refuse them.
    let (target, late) = (note(1, 30), note(1, 31));
    let delete = deletion(1, 10, &[&target, &late]);
    let request = vanish(1, 20, RELAY_URL);
    bed.store_all(&[&target, &delete, &request]).await;
    bed.put(&[(&target, Deleted), (&late, Deleted)]).await;
    bed.expect("{}", &[&request]).await;
}

/// A refused request has no effect.
pub async fn a_vanished_deletion_request_makes_no_guards<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (early, late) = (note(1, 30), note(1, 31));
    let delete = deletion(1, 10, &[&early, &late]);
    let request = vanish(1, 20, RELAY_URL);
    bed.store_all(&[&early, &request]).await;
    bed.put(&[(&delete, Vanished), (&late, Stored)]).await;
    bed.expect("{}", &[&early, &late, &request]).await;
}

/// R62-3: with the same bound in time, before and after.
pub async fn gift_wraps_to_the_author_vanish<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let wraps = [19, 20, 21].map(|at| gift_wrap(9, at, 1));
    let foreign = gift_wrap(9, 10, 2);
    let request = vanish(1, 20, RELAY_URL);
    bed.store_all(&[&wraps[0], &wraps[1], &wraps[2], &foreign, &request])
        .await;
    bed.expect("{}", &[&wraps[2], &foreign, &request]).await;
    bed.put(&[
        (&wraps[0], Vanished),
        (&wraps[1], Vanished),
        (&gift_wrap(8, 5, 1), Vanished),
    ])
    .await;
    bed.put(&[(&gift_wrap(8, 22, 1), Stored)]).await;
}

/// R62-3.
pub async fn gift_wraps_to_several_vanish_with_any_of_them<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let tags: &[&[&str]] = &[&["p", &key(1).to_hex()], &["p"], &["p", &key(2).to_hex()]];
    let (early, late) = (event(9, 10, 1059, tags, ""), event(9, 11, 1059, tags, ""));
    let request = vanish(2, 20, RELAY_URL);
    bed.store_all(&[&early, &request]).await;
    bed.put(&[(&early, Vanished), (&late, Vanished)]).await;
    bed.expect("{}", &[&request]).await;
}

/// R62-3: of what others wrote only gift wraps go.
pub async fn mentions_by_others_stay<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let tags: &[&[&str]] = &[&["p", &key(1).to_hex()]];
    let mentions = [1, 4, 7, 13, 1058, 1060, 30_023].map(|kind| event(2, 10, kind, tags, ""));
    let request = vanish(1, 20, RELAY_URL);
    let mut expected: Vec<_> = mentions.iter().collect();
    bed.store_all(&expected).await;
    bed.store_all(&[&request]).await;
    expected.push(&request);
    bed.expect("{}", &expected).await;
}

/// R62-1.
pub async fn a_request_for_all_relays_is_in_force<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (old, request) = (note(1, 10), vanish(1, 20, ALL_RELAYS));
    bed.store_all(&[&old, &request]).await;
    bed.expect("{}", &[&request]).await;
    bed.put(&[(&old, Vanished)]).await;
}

/// R62-1: stored, and without effect. The text for all relays is compared exactly.
pub async fn a_request_for_another_relay_is_a_plain_event<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let old = note(1, 10);
    let relays = [
        ELSEWHERE,
        "all_relays",
        " ALL_RELAYS",
        "wss://relay.example.com.evil.org",
        "",
    ];
    let requests = relays.map(|relay| vanish(1, 20, relay));
    let mut expected = vec![&old];
    expected.extend(&requests);
    bed.store_all(&expected).await;
    bed.expect("{}", &expected).await;
    bed.put(&[(&note(1, 11), Stored), (&old, Duplicate)]).await;
}

/// R62-1: not only the first; compared as R42-4 says.
pub async fn any_relay_tag_may_name_us<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let tags: &[&[&str]] = &[
        &["relay"],
        &["relay", ELSEWHERE],
        &["relay", "wss://RELAY.example.com:443/"],
    ];
    let (old, request) = (note(1, 10), event(1, 20, 62, tags, ""));
    bed.store_all(&[&old, &request]).await;
    bed.expect("{}", &[&request]).await;
}

/// R62-5, R62-2: an older request goes with all else.
pub async fn the_newest_request_stays<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (first, between, second) = (
        vanish(1, 20, RELAY_URL),
        note(1, 25),
        vanish(1, 30, ALL_RELAYS),
    );
    bed.store_all(&[&first, &between, &second]).await;
    bed.expect("{}", &[&second]).await;
    bed.put(&[
        (&first, Vanished),
        (&between, Vanished),
        (&second, Duplicate),
    ])
    .await;
}

/// R62-4: and weakens nothing.
pub async fn an_older_request_is_refused<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (newer, older, between) = (
        vanish(1, 30, RELAY_URL),
        vanish(1, 20, RELAY_URL),
        note(1, 25),
    );
    bed.put(&[(&newer, Stored), (&older, Vanished), (&between, Vanished)])
        .await;
    bed.expect("{}", &[&newer]).await;
}

/// Neither is newer, so that order doesn't matter (CL-1).
pub async fn requests_of_one_second_all_stay<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (one, all) = (vanish(1, 20, RELAY_URL), vanish(1, 20, ALL_RELAYS));
    bed.store_all(&[&one, &all]).await;
    bed.put(&[(&one, Duplicate), (&all, Duplicate)]).await;
    bed.expect("{}", &[&one, &all]).await;
}

/// R62-5, R09-7: in force or not.
pub async fn a_request_can_not_be_deleted<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (here, elsewhere) = (vanish(1, 20, RELAY_URL), vanish(2, 20, ELSEWHERE));
    let (by_1, by_2) = (deletion(1, 30, &[&here]), deletion(2, 30, &[&elsewhere]));
    bed.store_all(&[&here, &by_1, &by_2, &elsewhere]).await;
    bed.expect("{}", &[&here, &elsewhere, &by_1, &by_2]).await;
    bed.put(&[(&note(1, 20), Vanished)]).await;
}

/// R62-1: one that isn't in force here is like any other event, on the very second too.
pub async fn a_plain_request_vanishes_with_the_rest<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let plain = [19, 20, 21].map(|at| vanish(1, at, ELSEWHERE));
    let request = vanish(1, 20, RELAY_URL);
    bed.store_all(&[&plain[0], &plain[1], &plain[2], &request])
        .await;
    bed.expect("{}", &[&plain[2], &request]).await;
    bed.put(&[(&plain[0], Vanished), (&plain[1], Vanished)])
        .await;
}

/// Where two guards meet, the answer is the same in every backend.
pub async fn deleted_comes_before_vanished<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let notes = tied(1, 10, 1, 2);
    let delete = deletion(1, 15, &[&notes[0]]);
    bed.store_all(&[&delete, &vanish(1, 20, RELAY_URL)]).await;
    bed.put(&[(&notes[0], Deleted), (&notes[1], Vanished)])
        .await;
}
