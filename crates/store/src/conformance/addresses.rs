//! Replaceable and addressable events: one version of each address (NIP-01).

use heliograph_protocol::Outcome::{Duplicate, Stored, Superseded};

use super::fixture::{Backend, Bed, article, event, profile, tied};

/// R01-41.
pub async fn an_older_version_is_superseded<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (old, new) = (profile(1, 10), profile(1, 11));
    bed.put(&[(&new, Stored)]).await;
    bed.put(&[(&old, Superseded)]).await;
    bed.put(&[(&old, Superseded), (&new, Duplicate)]).await;
    bed.expect("{}", &[&new]).await;
    bed.gone(&[&old]).await;
}

/// R01-40, R01-48.
pub async fn a_newer_version_removes_the_older_one<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (old, new, newest) = (profile(1, 10), profile(1, 11), profile(1, 12));
    bed.store_all(&[&old, &new]).await;
    bed.put(&[(&old, Superseded)]).await;
    bed.store_all(&[&newest]).await;
    bed.put(&[(&old, Superseded), (&new, Superseded)]).await;
    bed.expect("{}", &[&newest]).await;
    bed.gone(&[&old, &new]).await;
}

/// R01-42, whichever comes first.
pub async fn on_equal_times_the_lowest_id_wins<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let rising = tied(1, 10, 0, 4);
    bed.put(&[
        (&rising[0], Stored),
        (&rising[1], Superseded),
        (&rising[3], Superseded),
    ])
    .await;
    let falling = tied(2, 10, 30_023, 4);
    bed.put(&[
        (&falling[3], Stored),
        (&falling[1], Stored),
        (&falling[2], Superseded),
    ])
    .await;
    bed.put(&[(&falling[0], Stored)]).await;
    bed.expect("{}", &[&rising[0], &falling[0]]).await;
}

/// R01-40: both ends of every range.
pub async fn every_replaceable_kind_keeps_one_version<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    for kind in [0, 3, 10_000, 19_999, 30_000, 39_999] {
        let (old, new) = (event(1, 10, kind, &[], ""), event(1, 11, kind, &[], ""));
        bed.put(&[(&old, Stored), (&new, Stored), (&old, Superseded)])
            .await;
        bed.expect(&format!(r#"{{"kinds":[{kind}]}}"#), &[&new])
            .await;
    }
}

/// R01-40: only addressable kinds look at `d`.
pub async fn replaceable_kinds_ignore_the_d_tag<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (a, b) = (
        event(1, 10, 10_002, &[&["d", "a"]], ""),
        event(1, 11, 10_002, &[&["d", "b"]], ""),
    );
    bed.store_all(&[&a, &b]).await;
    bed.expect("{}", &[&b]).await;
    bed.expect(r##"{"#d":["a"]}"##, &[]).await;
}

/// R01-40, R01-43.
pub async fn authors_and_kinds_have_addresses_of_their_own<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events = [
        profile(1, 10),
        profile(2, 11),
        event(1, 12, 3, &[], ""),
        event(1, 13, 10_002, &[], ""),
        event(1, 14, 30_023, &[&["d", "x"]], ""),
        event(1, 15, 30_024, &[&["d", "x"]], ""),
        event(2, 16, 30_023, &[&["d", "x"]], ""),
    ];
    let events: Vec<_> = events.iter().collect();
    bed.store_all(&events).await;
    bed.expect("{}", &events).await;
}

/// R01-43.
pub async fn addressable_events_are_told_apart_by_d<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (a1, a2) = (article(1, 10, "a"), article(1, 12, "a"));
    let (b1, b2) = (article(1, 11, "b"), article(1, 9, "b"));
    bed.put(&[
        (&a1, Stored),
        (&b1, Stored),
        (&a2, Stored),
        (&b2, Superseded),
    ])
    .await;
    bed.expect("{}", &[&a2, &b1]).await;
    bed.expect(r##"{"#d":["a"]}"##, &[&a2]).await;
}

/// R01-43: case, white space, control characters, colons and normal forms all count.
pub async fn d_values_are_compared_byte_for_byte<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let values = [
        "", "x", "X", "x ", " x", "x\u{0}", "\u{0}", "x:y", ":", "\u{e9}", "e\u{301}", "\"", "\\",
    ];
    let events: Vec<_> = values.iter().map(|d| article(1, 10, d)).collect();
    let events: Vec<_> = events.iter().collect();
    bed.store_all(&events).await;
    bed.expect("{}", &events).await;
}

/// R01-44.
pub async fn no_d_tag_and_an_empty_one_are_the_same_address<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let none = event(1, 10, 30_000, &[], "");
    let bare = event(1, 11, 30_000, &[&["d"]], "");
    let empty = event(1, 12, 30_000, &[&["d", ""]], "");
    bed.store_all(&[&none]).await;
    bed.expect(r##"{"#d":[""]}"##, &[]).await;
    bed.store_all(&[&bare]).await;
    bed.expect(r##"{"#d":[""]}"##, &[]).await;
    bed.store_all(&[&empty]).await;
    bed.expect(r##"{"#d":[""]}"##, &[&empty]).await;
    bed.expect("{}", &[&empty]).await;
    bed.put(&[(&none, Superseded), (&bare, Superseded)]).await;
}

/// R01-44: also if it has no value; other `d` tags are plain tags.
pub async fn the_first_d_tag_counts<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let a = event(1, 10, 30_000, &[&["d", "a"], &["d", "b"]], "");
    let b = event(1, 11, 30_000, &[&["d", "b"], &["d", "a"]], "");
    let bare = event(1, 12, 30_000, &[&["d"], &["d", "a"]], "");
    bed.store_all(&[&a, &b, &bare]).await;
    bed.expect("{}", &[&a, &b, &bare]).await;
    bed.expect(r##"{"#d":["a"]}"##, &[&a, &b, &bare]).await;
    let newer = event(1, 13, 30_000, &[&["t", "x"], &["d", "a"]], "");
    bed.store_all(&[&newer]).await;
    bed.expect("{}", &[&newer, &b, &bare]).await;
}

/// Keys of databases are short; addresses aren't.
pub async fn long_d_values_are_told_apart<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let long = "d".repeat(4_000);
    let values = [
        long.clone(),
        format!("{long}a"),
        format!("{long}b"),
        long[1..].to_owned(),
    ];
    let events: Vec<_> = values.iter().map(|d| article(1, 10, d)).collect();
    bed.store_all(&events.iter().collect::<Vec<_>>()).await;
    bed.expect("{}", &events.iter().collect::<Vec<_>>()).await;
    let newer = article(1, 11, &values[1]);
    bed.put(&[(&newer, Stored), (&events[1], Superseded)]).await;
    bed.expect("{}", &[&newer, &events[0], &events[2], &events[3]])
        .await;
}
