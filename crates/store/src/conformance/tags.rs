//! Tag conditions (R01-64, R01-67, R01-69).

use std::sync::Arc;

use heliograph_protocol::{Event, INDEXED_VALUE_BYTES_MAX};

use super::fixture::{
    Backend, Bed, NOW, address_deletion, article, collect, deletion, event, filter, key, lookups,
    note, profile,
};

fn tagged(at: u64, tags: &[&[&str]]) -> Arc<Event> {
    event(1, at, 1, tags, "")
}

/// R01-64.
pub async fn a_tag_is_found_by_its_value<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (target, author) = (note(2, 1), key(2).to_hex());
    let id = target.id().to_hex();
    let reply = tagged(
        10,
        &[&["e", &id, "wss://hint"], &["p", &author], &["t", "nostr"]],
    );
    let other = tagged(11, &[&["t", "other"]]);
    bed.store_all(&[&target, &reply, &other]).await;
    bed.expect(&format!(r##"{{"#e":["{id}"]}}"##), &[&reply])
        .await;
    bed.expect(&format!(r##"{{"#p":["{author}"]}}"##), &[&reply])
        .await;
    bed.expect(r##"{"#t":["nostr"]}"##, &[&reply]).await;
    bed.expect(&format!(r##"{{"#e":["{author}"]}}"##), &[])
        .await;
    bed.expect(r##"{"#t":["nostr"],"kinds":[1]}"##, &[&reply])
        .await;
    bed.expect(r##"{"#t":["nostr"],"kinds":[7]}"##, &[]).await;
}

/// R01-64.
pub async fn letters_are_case_sensitive<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (lower, upper) = (tagged(10, &[&["t", "x"]]), tagged(11, &[&["T", "x"]]));
    bed.store_all(&[&lower, &upper]).await;
    bed.expect(r##"{"#t":["x"]}"##, &[&lower]).await;
    bed.expect(r##"{"#T":["x"]}"##, &[&upper]).await;
    bed.expect(r##"{"#T":["x"],"#t":["x"]}"##, &[]).await;
}

/// R01-64.
pub async fn values_are_case_sensitive<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (lower, upper) = (tagged(10, &[&["t", "x"]]), tagged(11, &[&["t", "X"]]));
    bed.store_all(&[&lower, &upper]).await;
    bed.expect(r##"{"#t":["x"]}"##, &[&lower]).await;
    bed.expect(r##"{"#t":["X"]}"##, &[&upper]).await;
}

/// R01-60.
pub async fn conditions_on_several_letters_are_anded<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let both = tagged(10, &[&["t", "x"], &["r", "y"]]);
    let crossed = tagged(11, &[&["t", "y"], &["r", "x"]]);
    let one = tagged(12, &[&["t", "x"], &["t", "y"]]);
    bed.store_all(&[&both, &crossed, &one]).await;
    bed.expect(r##"{"#t":["x"],"#r":["y"]}"##, &[&both]).await;
    bed.expect(r##"{"#t":["x","y"],"#r":["x","y"]}"##, &[&both, &crossed])
        .await;
    bed.expect(r##"{"#t":["x"],"#r":["z"]}"##, &[]).await;
}

/// R01-60.
pub async fn values_of_one_letter_are_ored<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events = ["a", "b", "c"].map(|value| tagged(10, &[&["t", value]]));
    let more = tagged(11, &[&["t", "b"]]);
    bed.store_all(&[&events[0], &events[1], &events[2], &more])
        .await;
    bed.expect(
        r##"{"#t":["c","b","z"]}"##,
        &[&events[1], &events[2], &more],
    )
    .await;
}

/// However many of its tags match.
pub async fn an_event_with_two_matching_tags_comes_once<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let many = tagged(10, &[&["t", "a"], &["t", "b"], &["t", "a"], &["t", "c"]]);
    let one = tagged(10, &[&["t", "b"]]);
    bed.store_all(&[&many, &one]).await;
    bed.expect(r##"{"#t":["a","b","c"]}"##, &[&many, &one])
        .await;
    bed.expect(r##"{"#t":["a"]}"##, &[&many]).await;
}

/// R01-64.
pub async fn only_the_second_element_counts<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let note = tagged(10, &[&["t", "a", "b"], &["r", "c", "t", "d"]]);
    bed.store_all(&[&note]).await;
    bed.expect(r##"{"#t":["b","t","d","c"]}"##, &[]).await;
    bed.expect(r##"{"#t":["a"]}"##, &[&note]).await;
}

/// R01-44.
pub async fn a_tag_without_a_value_matches_nothing<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    bed.store_all(&[&tagged(10, &[&["t"]])]).await;
    bed.expect(r##"{"#t":["","t"]}"##, &[]).await;
}

/// R01-44.
pub async fn an_empty_value_is_a_value<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (empty, other) = (tagged(10, &[&["t", ""]]), tagged(11, &[&["t", "a"]]));
    bed.store_all(&[&empty, &other]).await;
    bed.expect(r##"{"#t":[""]}"##, &[&empty]).await;
    bed.expect(r##"{"#t":["","a"]}"##, &[&empty, &other]).await;
}

/// R01-64: one letter, no word, no digit.
pub async fn long_names_are_not_indexed<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let note = tagged(
        10,
        &[
            &["tt", "a"],
            &["", "a"],
            &["1", "a"],
            &["-", "a"],
            &["\u{e9}", "a"],
        ],
    );
    bed.store_all(&[&note]).await;
    bed.expect(r##"{"#t":["a"]}"##, &[]).await;
    bed.expect("{}", &[&note]).await;
}

/// Keys of indexes may hold only a part or a hash of the value.
pub async fn values_that_begin_alike_are_told_apart<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let long = "v".repeat(1_000);
    let values = [
        long.clone(),
        format!("{long}a"),
        format!("{long}b"),
        long[..999].to_owned(),
    ];
    let hex = ["00".repeat(31) + "00", "00".repeat(31) + "01"];
    let events: Vec<_> = values
        .iter()
        .chain(&hex)
        .map(|value| tagged(10, &[&["r", value]]))
        .collect();
    bed.store_all(&events.iter().collect::<Vec<_>>()).await;
    for (event, value) in events.iter().zip(values.iter().chain(&hex)) {
        bed.expect(&format!(r##"{{"#r":["{value}"]}}"##), &[event])
            .await;
    }
}

/// R01-67: in bytes, whatever the characters.
pub async fn values_of_1024_bytes_are_found<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let values = [
        "a".repeat(INDEXED_VALUE_BYTES_MAX),
        "\u{1f468}".repeat(256),
        "\"".repeat(1_024),
    ];
    for value in &values {
        assert_eq!(value.len(), INDEXED_VALUE_BYTES_MAX);
        let event = tagged(10, &[&["r", value], &["t", value]]);
        bed.store_all(&[&event]).await;
        for json in lookups(&event).iter().filter(|json| json.contains('#')) {
            bed.expect(json, &[&event]).await;
        }
    }
}

/// R01-67: and found by everything else.
pub async fn longer_values_are_stored<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let long = "a".repeat(INDEXED_VALUE_BYTES_MAX + 1);
    let huge = "b".repeat(100_000);
    let note = tagged(10, &[&["r", &long], &["t", "x"], &["t", &huge]]);
    bed.store_all(&[&note]).await;
    bed.expect(r##"{"#t":["x"]}"##, &[&note]).await;
    bed.expect(&format!(r##"{{"#r":["{}"]}}"##, &long[1..]), &[])
        .await;
    bed.expect("{}", &[&note]).await;
}

/// R01-8: no trimming, folding or normalisation; no separator can be forged.
pub async fn values_are_told_apart_byte_for_byte<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let values = [
        "x", "x ", " x", "x\u{0}", "\u{0}x", "\u{0}", "x\u{ff}", "\u{e9}", "e\u{301}", "\\", "\"",
    ];
    let events: Vec<_> = values
        .iter()
        .map(|value| tagged(10, &[&["t", value]]))
        .collect();
    bed.store_all(&events.iter().collect::<Vec<_>>()).await;
    for event in &events {
        for json in lookups(event).iter().filter(|json| json.contains('#')) {
            bed.expect(json, &[event]).await;
        }
    }
}

/// R01-69.
pub async fn address_values_are_plain_text<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let address = format!("30023:{}:a:b", key(2));
    let values = [address.as_str(), "not an address", ""];
    let events = values.map(|value| tagged(10, &[&["a", value]]));
    bed.store_all(&[&events[0], &events[1], &events[2]]).await;
    for (event, value) in events.iter().zip(values) {
        bed.expect(&format!(r##"{{"#a":["{value}"]}}"##), &[event])
            .await;
    }
}

/// R01-64: a–z and A–Z.
pub async fn every_letter_is_indexed<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let value = key(5).to_hex();
    let letters: Vec<_> = ('a'..='z').chain('A'..='Z').map(String::from).collect();
    let events: Vec<_> = letters
        .iter()
        .map(|letter| tagged(10, &[&[letter, &value]]))
        .collect();
    bed.store_all(&events.iter().collect::<Vec<_>>()).await;
    for (letter, event) in letters.iter().zip(&events) {
        bed.expect(&format!(r##"{{"#{letter}":["{value}"]}}"##), &[event])
            .await;
    }
    let tags: Vec<&[&str]> = Vec::new();
    let plain = event(2, 11, 1, &tags, "");
    bed.store_all(&[&plain]).await;
    assert_eq!(
        collect(bed.store(), &filter("{}"), NOW).await.len(),
        events.len() + 1
    );
}

/// Deleted, superseded: an index that kept a row would show it, or lose a place in a page.
pub async fn removed_events_leave_no_tag_behind<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let tag: &[&[&str]] = &[&["t", "x"]];
    let deleted = event(1, 10, 1, tag, "");
    let (old, new) = (event(1, 11, 0, tag, ""), profile(1, 12));
    let (by_address, newer) = (
        event(1, 13, 30_023, &[&["d", "a"], &["t", "x"]], ""),
        article(1, 30, "a"),
    );
    let kept = event(1, 9, 1, tag, "");
    let requests = [
        deletion(1, 20, &[&deleted]),
        address_deletion(1, 20, (30_023, 1, "a")),
    ];
    bed.store_all(&[
        &deleted,
        &old,
        &by_address,
        &kept,
        &new,
        &requests[0],
        &requests[1],
    ])
    .await;
    bed.expect(r##"{"#t":["x"]}"##, &[&kept]).await;
    bed.store_all(&[&newer]).await;
    bed.expect(r##"{"#t":["x"]}"##, &[&kept]).await;
    bed.expect(r##"{"#d":["a"]}"##, &[&newer]).await;
    bed.gone(&[&deleted, &old, &by_address]).await;
}
