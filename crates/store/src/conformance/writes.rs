//! Writing regular events: outcomes, batches, texts.

use std::sync::Arc;

use heliograph_protocol::{Filter, Outcome};

use super::fixture::{Backend, Bed, NOW, assert_same, collect, event, note, profile, sort};
use crate::EventStore as _;

/// What was stored is seen by the next scan, by every kind of look-up (R01-57).
pub async fn a_new_event_is_stored_and_found<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let found = event(
        1,
        10,
        1,
        &[&["t", "nostr"], &["p", &super::key(2).to_hex()]],
        "hello",
    );
    bed.gone(&[&found]).await;
    bed.put(&[(&found, Outcome::Stored)]).await;
    for json in super::fixture::lookups(&found) {
        bed.expect(&json, &[&found]).await;
    }
}

/// R01-30.
pub async fn an_event_sent_again_is_a_duplicate<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (note, profile) = (note(1, 10), profile(1, 10));
    bed.store_all(&[&note, &profile]).await;
    bed.put(&[(&note, Outcome::Duplicate), (&profile, Outcome::Duplicate)])
        .await;
    bed.expect("{}", &[&note, &profile]).await;
}

/// One batch is the same as its events one by one.
pub async fn a_batch_is_merged_in_order<B: Backend>(backend: &B) {
    use Outcome::{Deleted, Duplicate, Stored, Superseded, Vanished};
    let bed = Bed::open(backend).await;
    let (old, new, newest) = (profile(1, 10), profile(1, 20), profile(1, 30));
    let (kept, removed) = (note(2, 5), note(2, 6));
    let deletion = super::fixture::deletion(2, 7, &[&removed]);
    let vanish = super::fixture::vanish(1, 25, super::RELAY_URL);
    bed.put(&[
        (&old, Stored),
        (&old, Duplicate),
        (&new, Stored),
        (&old, Superseded),
        (&removed, Stored),
        (&kept, Stored),
        (&deletion, Stored),
        (&removed, Deleted),
        (&vanish, Stored),
        (&new, Vanished),
        (&newest, Stored),
        (&deletion, Duplicate),
    ])
    .await;
    bed.expect("{}", &[&newest, &vanish, &deletion, &kept])
        .await;
    bed.gone(&[&old, &new, &removed]).await;
}

/// Nothing in, nothing out.
pub async fn an_empty_batch_has_no_outcomes<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    assert_eq!(bed.write(&[]).await, []);
    bed.expect("{}", &[]).await;
}

/// Two thousand events in one batch, out of order.
pub async fn a_large_batch_is_stored_whole<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let mut events: Vec<_> = (0..2_000_u32)
        .map(|n| {
            event(
                n % 7,
                u64::from(n.wrapping_mul(7_919) % 500),
                1,
                &[],
                &n.to_string(),
            )
        })
        .collect();
    let outcomes = bed.write(&events).await;
    assert!(
        outcomes.iter().all(|outcome| *outcome == Outcome::Stored),
        "every note is new"
    );
    sort(&mut events);
    let answer = collect(bed.store(), &Filter::default(), NOW).await;
    assert_same(&answer, &events, "all notes");
}

/// A store gives back exactly the bytes it was given (R01-5, R01-7, R01-8).
pub async fn texts_come_back_byte_for_byte<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let long = "0123456789abcdef".repeat(20_000);
    let texts = [
        "",
        "\u{0}\u{1}\u{1f}\u{7f}\u{80}\u{2028}\u{feff}\u{ffff}\u{10ffff}",
        "quote \" backslash \\ slash / lines \n\r\t\u{8}\u{c}",
        "e\u{301} \u{e9} \u{1f468}\u{200d}\u{1f469}",
        r#"],"content":"","sig":""}"#,
        &long,
    ];
    let events: Vec<_> = texts
        .iter()
        .map(|text| {
            event(
                1,
                10,
                1,
                &[&["x", text], &["alt", text, "", text], &["t"]],
                text,
            )
        })
        .collect();
    bed.store_all(&events.iter().collect::<Vec<_>>()).await;
    bed.expect("{}", &events.iter().collect::<Vec<_>>()).await;
    for event in &events {
        bed.expect(&format!(r#"{{"ids":["{}"]}}"#, event.id()), &[event])
            .await;
        assert_eq!(bed.write(&[Arc::clone(event)]).await, [Outcome::Duplicate]);
    }
}

/// Kinds in no range of NIP-01 are regular too (R01-45): nothing is replaced.
pub async fn regular_kinds_are_all_kept<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let kinds = [
        1, 2, 4, 6, 7, 8, 40, 41, 44, 45, 999, 1000, 1059, 9999, 40_000, 65_535,
    ];
    let events: Vec<_> = kinds
        .iter()
        .flat_map(|kind| [10, 20].map(|at| event(1, at, *kind, &[&["d", "same"]], "")))
        .collect();
    bed.store_all(&events.iter().collect::<Vec<_>>()).await;
    bed.expect("{}", &events.iter().collect::<Vec<_>>()).await;
    assert_eq!(
        bed.store().contains(events[0].id()).await,
        Ok(true),
        "soon after, all is known"
    );
}
