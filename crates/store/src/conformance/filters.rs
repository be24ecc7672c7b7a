//! Filters: ids, authors, kinds and their combinations (R01-60 to R01-68).

use std::{fmt::Display, sync::Arc};

use heliograph_protocol::{Event, PublicKey};

use super::fixture::{
    Backend, Bed, NOW, assert_same, build, collect, event, filter, key, note, profile, sort,
};

fn json_list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<_> = values
        .into_iter()
        .map(|value| format!(r#""{value}""#))
        .collect();
    format!("[{}]", values.join(","))
}

/// R01-27.
pub async fn an_empty_filter_matches_everything<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events = [
        note(1, 10),
        profile(2, 11),
        event(3, 12, 65_535, &[&["t", "x"]], ""),
    ];
    bed.store_all(&[&events[0], &events[1], &events[2]]).await;
    bed.expect("{}", &[&events[0], &events[1], &events[2]])
        .await;
}

/// R01-61.
pub async fn ids_are_exact<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let notes = [note(1, 10), note(1, 11), note(1, 12)];
    bed.store_all(&[&notes[0], &notes[1], &notes[2]]).await;
    bed.expect(&format!(r#"{{"ids":["{}"]}}"#, notes[1].id()), &[&notes[1]])
        .await;
    let mut near = *notes[1].id().as_bytes();
    near[31] ^= 1;
    let near = heliograph_protocol::EventId::new(near);
    bed.expect(&format!(r#"{{"ids":["{near}"]}}"#), &[]).await;
    let both = json_list([*notes[2].id(), near, *notes[0].id()]);
    bed.expect(&format!(r#"{{"ids":{both}}}"#), &[&notes[0], &notes[2]])
        .await;
}

/// R01-61.
pub async fn authors_are_exact<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let notes = [note(1, 10), note(2, 11), note(3, 12), note(1, 13)];
    bed.store_all(&[&notes[0], &notes[1], &notes[2], &notes[3]])
        .await;
    bed.expect(
        &format!(r#"{{"authors":["{}"]}}"#, key(1)),
        &[&notes[0], &notes[3]],
    )
    .await;
    let two = json_list([key(3), key(2), key(9)]);
    bed.expect(&format!(r#"{{"authors":{two}}}"#), &[&notes[1], &notes[2]])
        .await;
}

/// Keys of indexes are often cut short; two authors may share any prefix.
pub async fn authors_that_begin_alike_are_told_apart<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let twins: Vec<PublicKey> = [0, 1, 31]
        .into_iter()
        .map(|last| {
            let mut bytes = [0xcd; 32];
            bytes[31] = last;
            PublicKey::new(bytes)
        })
        .collect();
    let events: Vec<_> = twins
        .iter()
        .enumerate()
        .flat_map(|(n, twin)| {
            let tag = vec!["p".to_owned(), twins[(n + 1) % 3].to_hex()];
            [
                build(*twin, 10, 1, &[tag], ""),
                build::<&str>(*twin, 10, 0, &[], ""),
            ]
        })
        .collect();
    bed.store_all(&events.iter().collect::<Vec<_>>()).await;
    for (n, twin) in twins.iter().enumerate() {
        let (note, profile) = (&events[2 * n], &events[2 * n + 1]);
        bed.expect(&format!(r#"{{"authors":["{twin}"]}}"#), &[note, profile])
            .await;
        bed.expect(
            &format!(r#"{{"authors":["{twin}"],"kinds":[0]}}"#),
            &[profile],
        )
        .await;
        let named_by = &events[2 * ((n + 2) % 3)];
        bed.expect(&format!(r##"{{"#p":["{twin}"]}}"##), &[named_by])
            .await;
    }
}

/// R01-62: both ends of the range.
pub async fn kinds_are_exact<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events = [0, 1, 10, 256, 257, 65_535].map(|kind| event(1, 10, kind, &[], ""));
    bed.store_all(&events.iter().collect::<Vec<_>>()).await;
    for event in &events {
        bed.expect(&format!(r#"{{"kinds":[{}]}}"#, event.kind()), &[event])
            .await;
    }
    bed.expect(
        r#"{"kinds":[65535,1,2,0]}"#,
        &[&events[0], &events[1], &events[5]],
    )
    .await;
}

/// R01-60.
pub async fn conditions_are_anded<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let tags: &[&[&str]] = &[&["t", "x"]];
    let wanted = event(1, 11, 1, tags, "");
    let others = [
        event(2, 11, 1, tags, "other author"),
        event(1, 11, 7, tags, "other kind"),
        event(1, 11, 1, &[&["t", "y"]], "other tag"),
        event(1, 10, 1, tags, "too old"),
        event(1, 12, 1, tags, "too new"),
    ];
    bed.store_all(&[&wanted]).await;
    bed.store_all(&others.iter().collect::<Vec<_>>()).await;
    let rest = r##""kinds":[1],"#t":["x"],"since":11,"until":11"##;
    let author = key(1);
    bed.expect(&format!(r#"{{"authors":["{author}"],{rest}}}"#), &[&wanted])
        .await;
    let ids = json_list(others.iter().chain([&wanted]).map(|event| *event.id()));
    bed.expect(
        &format!(r#"{{"ids":{ids},"authors":["{author}"],{rest}}}"#),
        &[&wanted],
    )
    .await;
}

/// R01-27: whatever stands beside it.
pub async fn an_empty_list_matches_nothing<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let note = event(1, 10, 1, &[&["t", "x"]], "");
    bed.store_all(&[&note]).await;
    for empty in [
        r#""ids":[]"#,
        r#""authors":[]"#,
        r#""kinds":[]"#,
        r##""#t":[]"##,
        r##""#e":[]"##,
    ] {
        bed.expect(&format!("{{{empty}}}"), &[]).await;
        bed.expect(&format!(r#"{{{empty},"since":0}}"#), &[]).await;
    }
    bed.expect(r##"{"kinds":[1],"#t":[]}"##, &[]).await;
    bed.expect(r##"{"kinds":[],"#t":["x"]}"##, &[]).await;
}

/// As if nothing were stored.
pub async fn unknown_values_match_nothing<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let note = event(1, 10, 1, &[&["t", "x"]], "");
    bed.store_all(&[&note]).await;
    let unknown = key(9);
    for member in ["ids", "authors", "#e", "#p"] {
        bed.expect(&format!(r#"{{"{member}":["{unknown}"]}}"#), &[])
            .await;
    }
    bed.expect(r#"{"kinds":[2]}"#, &[]).await;
    bed.expect(r##"{"#t":["y"]}"##, &[]).await;
}

/// A home feed: hundreds of authors, most of them silent, ties among the rest.
pub async fn long_lists_of_authors_are_merged_in_order<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events: Vec<_> = (0..400_u32)
        .map(|n| {
            event(
                n % 40,
                u64::from(n % 13),
                [1, 6, 0][n as usize % 3],
                &[],
                &n.to_string(),
            )
        })
        .collect();
    bed.write(&events).await;
    let all = collect(bed.store(), &filter("{}"), NOW).await;
    for step in [1, 2, 5] {
        let authors = json_list((0..500).step_by(step).map(key));
        for rest in [
            "",
            r#","kinds":[1,6]"#,
            r#","kinds":[1],"since":3,"until":9"#,
        ] {
            let json = format!(r#"{{"authors":{authors}{rest}}}"#);
            let answer = collect(bed.store(), &filter(&json), NOW).await;
            let what = format!("every {step}. author {rest}");
            assert_same(&answer, &matching(&all, &json), &what);
        }
    }
}

/// Most of them unknown.
pub async fn long_lists_of_ids_are_merged_in_order<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events: Vec<_> = (0..300_u32).map(|n| note(n, u64::from(n % 7))).collect();
    let (stored, unknown) = events.split_at(150);
    bed.write(stored).await;
    let ids = json_list(unknown.iter().chain(&stored[50..]).map(|event| *event.id()));
    let mut expected = stored[50..].to_vec();
    sort(&mut expected);
    let answer = collect(bed.store(), &filter(&format!(r#"{{"ids":{ids}}}"#)), NOW).await;
    assert_same(&answer, &expected, "250 ids");
}

/// Two ways to one answer: the store and [`Filter::matches`](heliograph_protocol::Filter::matches),
/// for each subset of the conditions.
pub async fn every_combination_of_conditions_agrees_with_the_definition<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events: Vec<_> = (0..240_u32).map(corpus_event).collect();
    bed.write(&events).await;
    let all = collect(bed.store(), &filter("{}"), NOW).await;
    assert_eq!(
        all.len(),
        events.len(),
        "the corpus is all of regular kinds"
    );
    let conditions = [
        format!(
            r#""ids":{}"#,
            json_list(events.iter().step_by(2).map(|event| *event.id()))
        ),
        format!(r#""authors":{}"#, json_list([key(0), key(2), key(77)])),
        r#""kinds":[1,7]"#.to_owned(),
        r##""#t":["a","c"]"##.to_owned(),
        format!(r##""#p":{}"##, json_list([key(1), key(3)])),
        r#""since":4"#.to_owned(),
        r#""until":15"#.to_owned(),
    ];
    for subset in 0_u32..1 << conditions.len() {
        let chosen: Vec<_> = (0..conditions.len())
            .filter(|n| subset & 1 << n != 0)
            .map(|n| conditions[n].as_str())
            .collect();
        let json = format!("{{{}}}", chosen.join(","));
        let answer = collect(bed.store(), &filter(&json), NOW).await;
        assert_same(&answer, &matching(&all, &json), &json);
    }
}

fn corpus_event(n: u32) -> Arc<Event> {
    let letters = [["t", "a"], ["t", "b"], ["t", "c"], ["T", "a"]];
    let (first, second) = (letters[n as usize % 4], letters[n as usize / 3 % 4]);
    let named = key(n / 5 % 5).to_hex();
    let tags: [&[&str]; 3] = [&first, &second, &["p", &named]];
    let kind = [1, 6, 7, 1059][n as usize / 2 % 4];
    event(n % 4, u64::from(n % 19), kind, &tags, &n.to_string())
}

fn matching(events: &[Arc<Event>], json: &str) -> Vec<Arc<Event>> {
    let filter = filter(json);
    events
        .iter()
        .filter(|event| filter.matches(event))
        .cloned()
        .collect()
}
