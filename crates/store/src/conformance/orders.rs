//! Every scenario in every order (CL-1): versions, deletions, requests to vanish.

use super::{
    fixture::{
        Backend, RELAY_URL, address_deletion, article, deletion, event, gift_wrap, key, note,
        profile, tied, vanish,
    },
    permute::in_every_order,
};

const ELSEWHERE: &str = "wss://other.example.com";

/// R09-1, R09-5.
pub async fn a_note_and_its_deletion<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let (target, kept) = (note(me, 10), note(me, 11));
        let requests = [deletion(me, 20, &[&target]), deletion(me, 5, &[&target])];
        let [late, early] = requests;
        (vec![kept, late, early, target], 3)
    })
    .await;
}

/// R09-2.
pub async fn a_note_and_a_foreign_deletion<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let (target, article) = (note(me, 10), article(me, 10, "a"));
        let by_id = deletion(me + 1, 20, &[&target, &article]);
        let by_address = address_deletion(me + 1, 21, (30_023, me, "a"));
        (vec![target, article, by_id, by_address], 4)
    })
    .await;
}

/// R01-40.
pub async fn three_versions<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        (vec![profile(me, 12), profile(me, 11), profile(me, 10)], 1)
    })
    .await;
}

/// R01-42.
pub async fn versions_of_one_second<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let mut versions = tied(me, 10, 10_002, 4);
        versions.push(event(me, 9, 10_002, &[], ""));
        (versions, 1)
    })
    .await;
}

/// R09-8: with and without what it superseded, nothing comes back.
pub async fn the_newest_version_deleted<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let versions = [10, 11, 12].map(|at| profile(me, at));
        let request = deletion(me, 20, &[&versions[2]]);
        let [first, second, third] = versions;
        (vec![request, first, second, third], 1)
    })
    .await;
}

/// R09-1.
pub async fn an_older_version_deleted<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let versions = [10, 11, 12].map(|at| article(me, at, "a"));
        let request = deletion(me, 20, &[&versions[0], &versions[1]]);
        let [first, second, third] = versions;
        (vec![request, third, second, first], 2)
    })
    .await;
}

/// R09-4, R09-6.
pub async fn a_deletion_by_address_between_versions<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, equal, newer] = [19, 20, 21].map(|at| article(me, at, "a"));
        let requests = [20, 15].map(|at| address_deletion(me, at, (30_023, me, "a")));
        let [late, early] = requests;
        (vec![newer, late, early, equal, first], 3)
    })
    .await;
}

/// R09-8: what is deleted by id above what is deleted by address.
pub async fn deletions_by_address_and_id<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second, third] = [10, 20, 30].map(|at| article(me, at, "a"));
        let by_id = deletion(me, 5, &[&third]);
        let by_address = address_deletion(me, 15, (30_023, me, "a"));
        (vec![by_id, by_address, first, second, third], 2)
    })
    .await;
}

/// R09-7.
pub async fn a_deletion_and_its_deletion<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let target = note(me, 10);
        let first = deletion(me, 20, &[&target]);
        let second = deletion(me, 30, &[&first]);
        let third = deletion(me, 1, &[&second]);
        (vec![first, second, third, target], 3)
    })
    .await;
}

/// R62-2, R62-4.
pub async fn notes_and_a_request_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [old, equal, newer] = [19, 20, 21].map(|at| note(me, at));
        (
            vec![
                vanish(me, 20, RELAY_URL),
                newer,
                note(me + 1, 10),
                equal,
                old,
            ],
            3,
        )
    })
    .await;
}

/// R62-4.
pub async fn two_requests_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second] = [20, 30].map(|at| vanish(me, at, RELAY_URL));
        let [old, between, newer] = [10, 25, 31].map(|at| note(me, at));
        (vec![second, newer, first, old, between], 2)
    })
    .await;
}

/// The newest stays, and equal ones all do.
pub async fn requests_to_vanish_of_one_second<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let requests = [RELAY_URL, "ALL_RELAYS"].map(|relay| vanish(me, 20, relay));
        let [one, all] = requests;
        (vec![one, all, vanish(me, 19, RELAY_URL), note(me, 20)], 2)
    })
    .await;
}

/// R62-5.
pub async fn a_request_to_vanish_and_its_deletion<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let request = vanish(me, 20, RELAY_URL);
        let deletion = deletion(me, 30, &[&request]);
        (vec![request, deletion, note(me, 10)], 2)
    })
    .await;
}

/// R62-1.
pub async fn a_request_to_vanish_elsewhere<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [older, equal, newer] = [9, 10, 11].map(|at| vanish(me, at, ELSEWHERE));
        (vec![newer, vanish(me, 10, RELAY_URL), older, equal], 2)
    })
    .await;
}

/// R62-2, R01-40.
pub async fn versions_and_a_request_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second, third] = [10, 20, 30].map(|at| profile(me, at));
        (vec![vanish(me, 20, RELAY_URL), third, second, first], 2)
    })
    .await;
}

/// R62-2, R09-1: the deletion goes with what it deleted, a later one stays.
pub async fn a_deletion_and_a_request_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let (old, new) = (note(me, 10), note(me, 21));
        let early = deletion(me, 15, &[&old]);
        let late = deletion(me, 25, &[&old, &new]);
        (vec![vanish(me, 20, RELAY_URL), late, early, old, new], 2)
    })
    .await;
}

/// R59-3: by recipient, author and a stranger.
pub async fn a_gift_wrap_and_its_recipients_deletion<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [wrap, kept] = [10, 11].map(|at| gift_wrap(me + 9, at, me));
        let by_recipient = deletion(me, 20, &[&wrap]);
        let by_stranger = deletion(me + 1, 20, &[&wrap, &kept]);
        (vec![kept, by_recipient, by_stranger, wrap], 3)
    })
    .await;
}

/// R62-3.
pub async fn gift_wraps_and_a_request_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [old, newer] = [20, 21].map(|at| gift_wrap(me + 9, at, me));
        let tags: &[&[&str]] = &[&["p", &key(me + 1).to_hex()], &["p", &key(me).to_hex()]];
        let to_both = event(me + 9, 10, 1059, tags, "");
        let foreign = gift_wrap(me + 9, 10, me + 1);
        (
            vec![vanish(me, 20, RELAY_URL), newer, foreign, old, to_both],
            3,
        )
    })
    .await;
}

/// R01-44, R09-4: three spellings of one address.
pub async fn d_values_and_a_deletion<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let none = event(me, 10, 30_000, &[], "");
        let bare = event(me, 11, 30_000, &[&["d"]], "");
        let empty = event(me, 30, 30_000, &[&["d", ""]], "");
        let request = address_deletion(me, 20, (30_000, me, ""));
        (vec![request, empty, bare, none], 2)
    })
    .await;
}
