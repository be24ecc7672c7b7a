//! Every scenario in every order (CL-1): events that expire, alone and with what else removes them.
//!
//! What expires does so in the far future, and is looked at before and after; or it did long ago.

use std::sync::Arc;

use heliograph_protocol::Event;

use super::{
    fixture::{Backend, RELAY_URL, address_deletion, deletion, event, key, note, profile, vanish},
    permute::{FAR, Scenario, in_every_order},
};

/// When the events of the past expired.
const LONG_AGO: u64 = 1_000;

/// An event with these tags that expires at `end`.
fn expiring(author: u32, at: u64, kind: u16, end: u64, tags: &[&[&str]]) -> Arc<Event> {
    let end = end.to_string();
    let mut all = tags.to_vec();
    let expiration = ["expiration", &end];
    all.push(&expiration);
    event(author, at, kind, &all, "")
}

fn expiring_profile(author: u32, at: u64, end: u64) -> Arc<Event> {
    expiring(author, at, 0, end, &[])
}

/// R40-2.
pub async fn an_expiring_note_and_its_deletion<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [target, kept] = [10, 11].map(|at| expiring(me, at, 1, FAR, &[]));
        let request = deletion(me, 20, &[&target]);
        Scenario::new([&request], [&kept], [&target])
    })
    .await;
}

/// R40-3: nothing comes back, neither before nor after.
pub async fn an_expiring_version_and_older_ones<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second] = [10, 11].map(|at| profile(me, at));
        let newest = expiring_profile(me, 12, FAR);
        Scenario::new([], [&newest], [&first, &second])
    })
    .await;
}

/// R01-40: it is superseded like any other.
pub async fn an_expiring_version_and_a_newer_one<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let (old, newer) = (profile(me, 10), profile(me, 12));
        let between = expiring_profile(me, 11, FAR);
        Scenario::new([&newer], [], [&old, &between])
    })
    .await;
}

/// R40-3.
pub async fn a_version_that_is_over_and_older_ones<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second] = [10, 11].map(|at| profile(me, at));
        let over = expiring_profile(me, 12, LONG_AGO);
        Scenario::new([], [], [&first, &second, &over])
    })
    .await;
}

/// R01-40.
pub async fn a_version_that_is_over_and_a_newer_one<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let (old, newer) = (profile(me, 10), profile(me, 12));
        let over = expiring_profile(me, 11, LONG_AGO);
        Scenario::new([&newer], [], [&old, &over])
    })
    .await;
}

/// R01-42, R40-3: the lowest id holds the seat, whether it expires, is over, or neither.
pub async fn versions_of_one_second_that_expire<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let mut versions = [
            expiring(me, 10, 10_002, FAR, &[]),
            expiring(me, 10, 10_002, LONG_AGO, &[]),
            expiring(me, 10, 10_002, FAR, &[&["t", "x"]]),
            event(me, 10, 10_002, &[], ""),
        ];
        versions.sort_by_key(|version| *version.id());
        let [lowest, second, third, highest] = &versions;
        let losers = [second, third, highest];
        match lowest.expiration() {
            heliograph_protocol::Expiration::At(end) if end.as_secs() == FAR => {
                Scenario::new([], [lowest], losers)
            }
            heliograph_protocol::Expiration::At(_) => {
                Scenario::new([], [], [lowest, second, third, highest])
            }
            _ => Scenario::new([lowest], [], losers),
        }
    })
    .await;
}

/// R09-8, R40-3: what a deleted or expired version superseded stays away.
pub async fn an_expiring_version_and_its_deletion<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let old = profile(me, 10);
        let newest = expiring_profile(me, 12, FAR);
        let request = deletion(me, 20, &[&newest]);
        Scenario::new([&request], [], [&old, &newest])
    })
    .await;
}

/// R09-4, R40-3: deleted up to a time, expired above it.
pub async fn an_expiring_version_and_a_deletion_by_address<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second] = [10, 25].map(|at| event(me, at, 30_023, &[&["d", "a"]], ""));
        let newest = expiring(me, 30, 30_023, FAR, &[&["d", "a"]]);
        let request = address_deletion(me, 20, (30_023, me, "a"));
        Scenario::new([&request], [&newest], [&first, &second])
    })
    .await;
}

/// The guards of a request outlive it, whether it expires or was over when it came.
pub async fn deletions_that_expire<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, second] = [10, 11].map(|at| note(me, at));
        let [one, two] = [&first, &second].map(|target| target.id().to_hex());
        let ends = expiring(me, 20, 5, FAR, &[&["e", &one]]);
        let over = expiring(me, 21, 5, LONG_AGO, &[&["e", &two]]);
        Scenario::new([], [&ends], [&first, &second, &over])
    })
    .await;
}

/// The same for an address.
pub async fn a_deletion_by_address_that_is_over<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [first, newer] = [20, 21].map(|at| event(me, at, 30_023, &[&["d", "a"]], ""));
        let address = format!("30023:{}:a", key(me));
        let over = expiring(me, 20, 5, LONG_AGO, &[&["a", &address]]);
        Scenario::new([&newer], [], [&first, &over])
    })
    .await;
}

/// R62-4: nor does a request to vanish lose its force.
pub async fn requests_to_vanish_that_expire<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let relay: &[&str] = &["relay", RELAY_URL];
        let ends = expiring(me, 20, 62, FAR, &[relay]);
        let over = expiring(me, 15, 62, LONG_AGO, &[relay]);
        let (old, newer) = (note(me, 20), note(me, 21));
        Scenario::new([&newer], [&ends], [&old, &over])
    })
    .await;
}

/// R62-2, R40-2.
pub async fn expiring_events_and_a_request_to_vanish<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let [old, newer] = [20, 21].map(|at| expiring(me, at, 1, FAR, &[]));
        let version = expiring_profile(me, 19, FAR);
        let request = vanish(me, 20, RELAY_URL);
        Scenario::new([&request], [&newer], [&old, &version])
    })
    .await;
}

/// R62-3, R40-2.
pub async fn an_expiring_gift_wrap_and_its_recipient<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let to = key(me).to_hex();
        let wrap = |at| expiring(me + 9, at, 1059, FAR, &[&["p", &to]]);
        let [old, deleted, kept] = [20, 21, 22].map(wrap);
        let by_recipient = deletion(me, 30, &[&deleted]);
        let request = vanish(me, 20, RELAY_URL);
        Scenario::new([&request, &by_recipient], [&kept], [&old, &deleted])
    })
    .await;
}

/// All four at once: what is left of an address that expired, was deleted, replaced and left.
pub async fn everything_that_ends_a_version<B: Backend>(backend: &B) {
    in_every_order(backend, |me| {
        let article = |at| event(me, at, 30_023, &[&["d", "a"]], "");
        let (vanished, deleted, superseded) = (article(10), article(20), article(30));
        let newest = expiring(me, 40, 30_023, FAR, &[&["d", "a"]]);
        let request = vanish(me, 15, RELAY_URL);
        let by_address = address_deletion(me, 25, (30_023, me, "a"));
        Scenario::new(
            [&request, &by_address],
            [&newest],
            [&vanished, &deleted, &superseded],
        )
    })
    .await;
}
