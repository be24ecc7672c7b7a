//! Every scenario in every order (CL-1): what several rules remove together.

use super::{
    fixture::{
        Backend, RELAY_URL, address_deletion, article, deletion, event, gift_wrap, key, note,
        profile, tied, vanish,
    },
    permute::{Scenario, in_every_order},
};

/// R01-42, R09-8: the lowest id is deleted and keeps its seat.
pub async fn the_winner_of_a_tie_deleted<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let versions = tied(me, 10, 0, 3);
        let request = deletion(me, 20, &[&versions[0]]);
        Scenario::new([&request], [], [&versions[0], &versions[1], &versions[2]])
    })
    .await;
}

/// R01-42, R09-1.
pub async fn a_loser_of_a_tie_deleted<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let versions = tied(me, 10, 10_002, 3);
        let request = deletion(me, 20, &[&versions[1]]);
        Scenario::new([&versions[0], &request], [], [&versions[1], &versions[2]])
    })
    .await;
}

/// R01-42, R09-4: the second of the request is deleted, the one after isn't.
pub async fn ties_and_deletions_by_address<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let (old, new) = (tied(me, 20, 10_002, 2), tied(me, 21, 10_002, 2));
        let request = address_deletion(me, 20, (10_002, me, ""));
        Scenario::new([&request, &new[0]], [], [&new[1], &old[0], &old[1]])
    })
    .await;
}

/// R01-42, R62-4: the same for a request to vanish.
pub async fn ties_and_a_request_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let (old, new) = (tied(me, 20, 10_002, 2), tied(me, 21, 10_002, 2));
        let request = vanish(me, 20, RELAY_URL);
        Scenario::new([&request, &new[0]], [], [&new[1], &old[0], &old[1]])
    })
    .await;
}

/// R09-4, R62-2: the deletion vanishes with what it deleted.
pub async fn a_deletion_by_address_and_a_later_request_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second, newest] = [10, 20, 30].map(|at| article(me, at, "a"));
        let by_address = address_deletion(me, 15, (30_023, me, "a"));
        let request = vanish(me, 20, RELAY_URL);
        Scenario::new([&request, &newest], [], [&first, &second, &by_address])
    })
    .await;
}

/// R09-4, R62-2: the deletion reaches what came back.
pub async fn a_deletion_by_address_after_a_request_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second, newest] = [10, 30, 40].map(|at| article(me, at, "a"));
        let by_address = address_deletion(me, 35, (30_023, me, "a"));
        let request = vanish(me, 20, RELAY_URL);
        Scenario::new([&request, &by_address, &newest], [], [&first, &second])
    })
    .await;
}

/// R09-8, R62-2: below a deleted version, above a request to vanish.
pub async fn a_deleted_version_between_older_ones_and_a_request_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second, newest] = [10, 20, 30].map(|at| profile(me, at));
        let by_id = deletion(me, 40, &[&newest]);
        let request = vanish(me, 15, RELAY_URL);
        Scenario::new([&request, &by_id], [], [&first, &second, &newest])
    })
    .await;
}

/// R01-40, R62-4: two requests, versions before, between and after.
pub async fn versions_and_two_requests_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second, third, newest] = [10, 25, 35, 36].map(|at| profile(me, at));
        let [early, late] = [20, 30].map(|at| vanish(me, at, RELAY_URL));
        Scenario::new([&late, &newest], [], [&early, &first, &second, &third])
    })
    .await;
}

/// R09-1, R09-4: one request names an event, a version and an address.
pub async fn a_deletion_of_several_things<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let (target, kept) = (note(me, 10), note(me, 11));
        let [version, newer] = [10, 20].map(|at| article(me, at, "a"));
        let profile = profile(me, 10);
        let (one, two) = (target.id().to_hex(), profile.id().to_hex());
        let address = format!("30023:{}:a", key(me));
        let tags: &[&[&str]] = &[&["e", &one], &["a", &address], &["e", &two]];
        let request = event(me, 15, 5, tags, "");
        Scenario::new([&request, &kept, &newer], [], [&target, &version, &profile])
    })
    .await;
}

/// R09-5: requests that name the same events.
pub async fn deletions_that_overlap<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second, third] = [10, 11, 12].map(|at| note(me, at));
        let one = deletion(me, 20, &[&first, &second]);
        let two = deletion(me, 21, &[&second, &third]);
        Scenario::new([&one, &two], [], [&first, &second, &third])
    })
    .await;
}

/// R09-7: a request that names the first of a chain revives nothing.
pub async fn deletions_of_deletions_by_id_and_versions<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [old, new] = [10, 11].map(|at| profile(me, at));
        let first = deletion(me, 20, &[&new]);
        let second = deletion(me, 30, &[&first]);
        let third = deletion(me, 40, &[&second, &old]);
        Scenario::new([&first, &second, &third], [], [&old, &new])
    })
    .await;
}

/// R59-3, R62-3: by whom a gift wrap may be taken away.
pub async fn a_gift_wrap_and_everyone_who_may_remove_it<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let wraps = [10, 20, 30, 40].map(|at| gift_wrap(me + 9, at, me));
        let by_author = deletion(me + 9, 50, &[&wraps[1]]);
        let by_recipient = deletion(me, 50, &[&wraps[2]]);
        let request = vanish(me, 10, RELAY_URL);
        let [vanished, second, third, kept] = &wraps;
        Scenario::new(
            [&by_author, &by_recipient, &request, kept],
            [],
            [vanished, second, third],
        )
    })
    .await;
}

/// R62-2: others' requests and deletions reach nobody else.
pub async fn two_authors_who_leave<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let (mine, theirs) = (note(me, 10), note(me + 1, 25));
        let [first, second] = [(me, 20), (me + 1, 20)].map(|(who, at)| vanish(who, at, RELAY_URL));
        let foreign = deletion(me, 30, &[&theirs]);
        Scenario::new([&first, &second, &theirs, &foreign], [], [&mine])
    })
    .await;
}

/// Addresses of one author that differ in one part only.
pub async fn addresses_side_by_side<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [old, new] = [10, 20].map(|at| article(me, at, "a"));
        let (other_d, other_kind) = (
            article(me, 10, "b"),
            event(me, 10, 30_024, &[&["d", "a"]], ""),
        );
        let other_author = article(me + 1, 10, "a");
        let request = address_deletion(me, 30, (30_023, me, "a"));
        Scenario::new(
            [&other_d, &other_kind, &other_author, &request],
            [],
            [&old, &new],
        )
    })
    .await;
}
