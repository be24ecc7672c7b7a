//! Deletion requests (NIP-09), also for gift wraps (NIP-59).

use heliograph_protocol::Outcome::{Deleted, Duplicate, Stored, Superseded};

use super::fixture::{
    Backend, Bed, RELAY_URL, address_deletion, article, deletion, event, gift_wrap, key, note,
    profile, vanish,
};

/// R09-1, R09-5.
pub async fn a_request_removes_the_event_it_names<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (removed, kept) = (event(1, 10, 1, &[&["t", "x"]], ""), note(1, 11));
    let request = deletion(1, 20, &[&removed]);
    bed.store_all(&[&removed, &kept, &request]).await;
    bed.expect("{}", &[&kept, &request]).await;
    bed.gone(&[&removed]).await;
    bed.put(&[
        (&removed, Deleted),
        (&request, Duplicate),
        (&kept, Duplicate),
    ])
    .await;
    bed.gone(&[&removed]).await;
}

/// R09-5.
pub async fn a_request_refuses_the_event_that_comes_later<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let late = note(1, 10);
    let request = deletion(1, 20, &[&late]);
    bed.put(&[(&request, Stored)]).await;
    bed.put(&[(&late, Deleted)]).await;
    bed.put(&[(&late, Deleted)]).await;
    bed.expect("{}", &[&request]).await;
    bed.gone(&[&late]).await;
}

/// R09-1.
pub async fn one_request_removes_many_events<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let notes: Vec<_> = (0..300).map(|at| note(1, at)).collect();
    let notes: Vec<_> = notes.iter().collect();
    bed.store_all(&notes[..50]).await;
    let request = deletion(1, 20, &notes[10..]);
    bed.store_all(&[&request]).await;
    let late: Vec<_> = notes[50..].iter().map(|note| (*note, Deleted)).collect();
    bed.put(&late).await;
    let mut left = notes[..10].to_vec();
    left.push(&request);
    bed.expect("{}", &left).await;
}

/// R09-2, in both orders.
pub async fn other_authors_events_stay<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (early, late) = (note(1, 10), note(1, 11));
    let request = deletion(2, 20, &[&early, &late]);
    bed.store_all(&[&early, &request, &late]).await;
    bed.expect("{}", &[&early, &late, &request]).await;
}

/// R09-2.
pub async fn foreign_references_are_skipped_one_by_one<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (mine, foreign, my_late) = (note(1, 10), note(2, 11), note(1, 12));
    let request = deletion(1, 20, &[&foreign, &mine, &my_late]);
    bed.store_all(&[&mine, &foreign, &request]).await;
    bed.put(&[(&my_late, Deleted)]).await;
    bed.expect("{}", &[&foreign, &request]).await;
}

/// R09-9: also upper-case hex, which is no id (R01-1).
pub async fn malformed_references_are_skipped<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (mine, kept) = (note(1, 10), note(1, 11));
    let article = article(1, 10, "x");
    let tags: &[&[&str]] = &[
        &["e"],
        &["e", ""],
        &["e", "zz"],
        &["e", &kept.id().to_hex().to_uppercase()],
        &["e", "relay hint", &kept.id().to_hex()],
        &["E", &kept.id().to_hex()],
        &["a"],
        &["a", "30023"],
        &["a", &format!("30023:{}", key(1))],
        &["a", &format!("+30023:{}:x", key(1))],
        &["a", &format!("30023:{}:x", key(1).to_hex().to_uppercase())],
        &["a", &format!("70023:{}:x", key(1))],
        &["a", &format!("30023:{}:X", key(1))],
        &["k", "30023"],
        &["e", &mine.id().to_hex(), "relay hint"],
    ];
    let request = event(1, 20, 5, tags, "");
    bed.store_all(&[&mine, &kept, &article, &request]).await;
    bed.expect("{}", &[&kept, &article, &request]).await;
}

/// R09-3.
pub async fn deletion_by_id_ignores_the_time<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (early, late) = (note(1, 30), note(1, 31));
    let request = deletion(1, 20, &[&early, &late]);
    bed.store_all(&[&early, &request]).await;
    bed.put(&[(&late, Deleted)]).await;
    bed.expect("{}", &[&request]).await;
}

/// R09-4: equal included.
pub async fn a_request_by_address_removes_up_to_its_time<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (older, equal, other) = (
        article(1, 19, "a"),
        article(1, 20, "b"),
        article(1, 10, "c"),
    );
    let requests = [
        address_deletion(1, 20, (30_023, 1, "a")),
        address_deletion(1, 20, (30_023, 1, "b")),
    ];
    bed.store_all(&[&older, &equal, &other, &requests[0], &requests[1]])
        .await;
    bed.expect("{}", &[&other, &requests[0], &requests[1]])
        .await;
    bed.gone(&[&older, &equal]).await;
}

/// R09-4.
pub async fn a_request_by_address_leaves_newer_versions<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let newer = article(1, 21, "a");
    let request = address_deletion(1, 20, (30_023, 1, "a"));
    bed.store_all(&[&newer, &request]).await;
    bed.expect("{}", &[&newer, &request]).await;
}

/// R09-6.
pub async fn a_request_by_address_refuses_older_versions_for_ever<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let versions = [19, 20, 21, 22].map(|at| article(1, at, "a"));
    let request = address_deletion(1, 20, (30_023, 1, "a"));
    bed.put(&[
        (&request, Stored),
        (&versions[0], Deleted),
        (&versions[1], Deleted),
    ])
    .await;
    bed.put(&[(&versions[3], Stored), (&versions[2], Superseded)])
        .await;
    bed.put(&[(&versions[0], Deleted), (&versions[1], Deleted)])
        .await;
    bed.expect("{}", &[&request, &versions[3]]).await;
}

/// R09-6: an older request doesn't weaken a newer one, in either order.
pub async fn the_newest_request_by_address_counts<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    for (d, first, second) in [("a", 20, 30), ("b", 30, 20)] {
        let requests = [first, second].map(|at| address_deletion(1, at, (30_023, 1, d)));
        bed.store_all(&[&requests[0], &requests[1]]).await;
        let (at, newer) = (article(1, 30, d), article(1, 31, d));
        bed.put(&[(&at, Deleted), (&newer, Stored)]).await;
        bed.expect(&format!(r##"{{"#d":["{d}"]}}"##), &[&newer])
            .await;
    }
}

/// R09-4: with an empty `d`; with another one it is malformed.
pub async fn a_request_by_address_reaches_replaceable_kinds<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (relays, profile) = (event(1, 10, 10_002, &[&["d", "x"]], ""), profile(1, 10));
    let request = address_deletion(1, 20, (10_002, 1, ""));
    let malformed = address_deletion(1, 20, (0, 1, "x"));
    bed.store_all(&[&relays, &profile, &request, &malformed])
        .await;
    bed.expect("{}", &[&profile, &request, &malformed]).await;
    bed.put(&[
        (&relays, Deleted),
        (&event(1, 20, 10_002, &[], ""), Deleted),
    ])
    .await;
}

/// R09-4: split on the first two only.
pub async fn a_d_value_may_contain_colons<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (named, other) = (article(1, 10, "a:b:c"), article(1, 10, "a"));
    let request = address_deletion(1, 20, (30_023, 1, "a:b:c"));
    bed.store_all(&[&named, &other, &request]).await;
    bed.expect("{}", &[&other, &request]).await;
}

/// R09-4: kinds without addresses have none to name.
pub async fn a_request_by_address_leaves_regular_kinds<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (note, tagged) = (note(1, 10), event(1, 10, 1, &[&["d", "x"]], ""));
    let requests = [
        address_deletion(1, 20, (1, 1, "")),
        address_deletion(1, 20, (1, 1, "x")),
    ];
    bed.store_all(&[&note, &requests[0], &requests[1], &tagged])
        .await;
    bed.expect("{}", &[&note, &requests[0], &requests[1], &tagged])
        .await;
}

/// R09-2, in both orders.
pub async fn other_authors_addresses_stay<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (early, late) = (article(1, 10, "a"), article(1, 10, "b"));
    let requests = [
        address_deletion(2, 20, (30_023, 1, "a")),
        address_deletion(2, 20, (30_023, 1, "b")),
    ];
    bed.store_all(&[&early, &requests[0], &requests[1], &late])
        .await;
    bed.expect("{}", &[&early, &late, &requests[0], &requests[1]])
        .await;
}

/// R09-8.
pub async fn deleting_the_newest_version_brings_none_back<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (old, new) = (profile(1, 10), profile(1, 11));
    let request = deletion(1, 20, &[&new]);
    bed.store_all(&[&old, &new, &request]).await;
    bed.expect("{}", &[&request]).await;
    bed.gone(&[&old, &new]).await;
}

/// R09-8, R01-48: what was superseded stays so; a newer one is welcome.
pub async fn an_older_version_after_a_deletion_stays_refused<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (old, new, newest) = (profile(1, 10), profile(1, 11), profile(1, 12));
    let request = deletion(1, 20, &[&new]);
    bed.store_all(&[&new, &request]).await;
    bed.put(&[(&old, Superseded), (&new, Deleted)]).await;
    bed.expect("{}", &[&request]).await;
    bed.put(&[(&newest, Stored), (&old, Superseded)]).await;
    bed.expect("{}", &[&newest, &request]).await;
}

/// CL-1: what would have been superseded, had the deletion come last, is.
pub async fn a_version_deleted_before_it_came_still_supersedes<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (old, new) = (article(1, 10, "a"), article(1, 11, "a"));
    let request = deletion(1, 20, &[&new]);
    bed.store_all(&[&old, &request]).await;
    bed.put(&[(&new, Deleted)]).await;
    bed.expect("{}", &[&request]).await;
    bed.put(&[(&old, Superseded)]).await;
    bed.gone(&[&old, &new]).await;
}

/// R09-1: the version that counts is untouched.
pub async fn a_deleted_older_version_changes_nothing<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (old, new) = (profile(1, 10), profile(1, 11));
    let request = deletion(1, 20, &[&old]);
    bed.store_all(&[&old, &new, &request]).await;
    bed.put(&[(&old, Deleted)]).await;
    bed.expect("{}", &[&new, &request]).await;
}

/// R09-7.
pub async fn deletion_requests_can_not_be_deleted<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let target = note(1, 10);
    let (first, late) = (deletion(1, 20, &[&target]), deletion(1, 21, &[&target]));
    let second = deletion(1, 30, &[&first, &late]);
    bed.store_all(&[&target, &first, &second, &late]).await;
    bed.expect("{}", &[&first, &second, &late]).await;
    bed.put(&[(&target, Deleted), (&first, Duplicate)]).await;
}

/// R59-3.
pub async fn the_recipient_deletes_a_gift_wrap<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let two: &[&[&str]] = &[
        &["p", &key(2).to_hex()],
        &["p", "malformed"],
        &["p", &key(3).to_hex()],
    ];
    let (first, second) = (gift_wrap(9, 10, 2), event(9, 11, 1059, two, ""));
    let request = deletion(2, 5, &[&first]);
    let other = deletion(3, 5, &[&second]);
    bed.store_all(&[&first, &second, &request]).await;
    bed.expect("{}", &[&second, &request]).await;
    bed.store_all(&[&other]).await;
    bed.expect("{}", &[&other, &request]).await;
    bed.put(&[(&first, Deleted), (&second, Deleted)]).await;
}

/// R59-3: also if the request came first; its author may delete it as well.
pub async fn the_recipient_refuses_a_gift_wrap_that_comes_later<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (to_2, to_3) = (gift_wrap(9, 10, 2), gift_wrap(9, 10, 3));
    let (request, by_author) = (deletion(2, 20, &[&to_2]), deletion(9, 20, &[&to_3]));
    bed.store_all(&[&request, &by_author]).await;
    bed.put(&[(&to_2, Deleted), (&to_3, Deleted)]).await;
    bed.expect("{}", &[&request, &by_author]).await;
}

/// R59-3.
pub async fn strangers_delete_no_gift_wrap<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (early, late) = (gift_wrap(9, 10, 2), gift_wrap(9, 11, 2));
    let request = deletion(3, 20, &[&early, &late]);
    bed.store_all(&[&early, &request, &late]).await;
    bed.expect("{}", &[&early, &late, &request]).await;
}

/// R09-2: only gift wraps belong to those they name.
pub async fn a_p_tag_gives_no_right_over_other_kinds<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let tags: &[&[&str]] = &[&["p", &key(2).to_hex()]];
    let (mention, message) = (event(1, 10, 1, tags, ""), event(1, 10, 4, tags, ""));
    let request = deletion(2, 20, &[&mention, &message]);
    let vanish = vanish(2, 30, RELAY_URL);
    bed.store_all(&[&mention, &request, &message, &vanish])
        .await;
    bed.expect("{}", &[&mention, &message, &vanish]).await;
}
