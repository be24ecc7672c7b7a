//! Expiration (NIP-40): what a store hides, whether it has purged it or not.
//!
//! A backend may purge by the wall clock, so what must still be seen expires in the far future and
//! what has to be gone expired long ago.

use std::sync::Arc;

use heliograph_protocol::{
    Event,
    Outcome::{Stored, Superseded},
    Timestamp,
};

use super::fixture::{Backend, Bed, event, note, profile};

/// An expiration that no clock has reached: in 2096.
const FAR: u64 = 4_000_000_000;

fn expiring(author: u32, at: u64, kind: u16, end: u64) -> Arc<Event> {
    event(author, at, kind, &[&["expiration", &end.to_string()]], "")
}

/// R40-1, R40-2.
pub async fn an_event_is_hidden_from_the_second_it_expires<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (ends, later, never) = (
        expiring(1, 10, 1, FAR),
        expiring(1, 11, 1, FAR + 1),
        note(1, 12),
    );
    bed.store_all(&[&ends, &later, &never]).await;
    let by_id = format!(r#"{{"ids":["{}"]}}"#, ends.id());
    let by_author = format!(r#"{{"authors":["{}"],"kinds":[1]}}"#, ends.pubkey());
    let at = Timestamp::from_secs;
    for json in ["{}", &by_author] {
        bed.expect_at(at(FAR - 1), json, &[&ends, &later, &never])
            .await;
        bed.expect_at(at(FAR), json, &[&later, &never]).await;
        bed.expect_at(at(FAR + 1), json, &[&never]).await;
    }
    bed.expect_at(at(FAR - 1), &by_id, &[&ends]).await;
    bed.expect_at(at(FAR), &by_id, &[]).await;
}

/// R40-3.
pub async fn an_expired_version_brings_no_older_one_back<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (old, new) = (profile(1, 10), expiring(1, 11, 0, FAR));
    bed.store_all(&[&old, &new]).await;
    let at = Timestamp::from_secs;
    bed.expect_at(at(FAR - 1), "{}", &[&new]).await;
    bed.expect_at(at(FAR), "{}", &[]).await;
    bed.put(&[(&old, Superseded)]).await;
    bed.expect_at(at(FAR), "{}", &[]).await;
}

/// R40-2, R40-3: purged or only hidden, nobody can tell.
pub async fn an_event_that_expired_long_ago_is_not_seen<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (gone, kept) = (expiring(1, 10, 1, 1_000), note(1, 11));
    let (old, expired) = (profile(2, 10), expiring(2, 11, 0, 1_000));
    bed.store_all(&[&gone, &kept, &old, &expired]).await;
    bed.expect("{}", &[&kept]).await;
    bed.put(&[(&old, Superseded)]).await;
    bed.expect("{}", &[&kept]).await;
}

/// R01-40: expired or not.
pub async fn an_expired_version_is_superseded_by_a_newer_one<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (expired, new) = (expiring(1, 10, 0, FAR), profile(1, 11));
    bed.put(&[(&expired, Stored), (&new, Stored), (&expired, Superseded)])
        .await;
    bed.expect_at(Timestamp::from_secs(FAR), "{}", &[&new])
        .await;
}

/// R40-1.
pub async fn only_the_first_expiration_tag_counts<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (early, late) = (FAR.to_string(), (FAR + 10).to_string());
    let first_early = event(
        1,
        10,
        1,
        &[&["expiration", &early], &["expiration", &late]],
        "",
    );
    let first_late = event(
        1,
        11,
        1,
        &[&["expiration", &late], &["expiration", &early]],
        "",
    );
    bed.store_all(&[&first_early, &first_late]).await;
    bed.expect_at(Timestamp::from_secs(FAR + 5), "{}", &[&first_late])
        .await;
}

/// Nothing else ends.
pub async fn the_far_future_does_not_hide_events_without_expiration<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (note, profile, end) = (note(1, 10), profile(1, 10), expiring(1, 10, 1, FAR));
    bed.store_all(&[&note, &profile, &end]).await;
    bed.expect_at(Timestamp::MAX, "{}", &[&note, &profile])
        .await;
}
