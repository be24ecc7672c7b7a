//! Scans: order, pages, bounds in time, budgets.

use std::{sync::Arc, time::Duration};

use heliograph_protocol::{Event, EventId, Filter, Timestamp};

use super::fixture::{
    Backend, Bed, NOW, assert_same, collect, collect_pages, deletion, filter, list, note, request,
    sort, tied,
};
use crate::{Budget, End, EventStore as _, Scan as _, ScanRequest};

/// Three seconds with several events each, by several authors, in the order of every answer.
fn crowded() -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    for at in [10, 11, 12] {
        for author in [1, 2, 3] {
            events.extend(tied(author, at, 1, 3));
        }
    }
    sort(&mut events);
    events
}

/// R01-53, whatever the order of arrival.
pub async fn newest_come_first_and_lowest_id_within_a_second<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events = crowded();
    let mut arriving = events.clone();
    arriving.sort_by_key(|event| event.id().as_bytes()[31]);
    bed.write(&arriving).await;
    let filters = [
        "{}",
        r#"{"kinds":[1]}"#,
        &authors(&[1, 2, 3]),
        r#"{"since":10,"until":12}"#,
    ];
    for json in filters {
        let answer = collect(bed.store(), &filter(json), NOW).await;
        assert_same(&answer, &events, json);
    }
}

/// No page boundary loses or repeats an event.
pub async fn every_page_size_gives_the_same_answer<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events = crowded();
    bed.write(&events).await;
    for json in ["{}", &authors(&[1, 3]), r#"{"kinds":[1],"until":11}"#] {
        let expected = matching(&events, json);
        for rows in 1..=events.len() + 1 {
            let (answer, end) = collect_pages(bed.store(), request(&filter(json), NOW), rows).await;
            assert_eq!(end, End::Complete);
            assert_same(&answer, &expected, &format!("{json} in pages of {rows}"));
        }
    }
}

/// The rest of an answer, from any of its events on.
pub async fn a_scan_starts_after_any_place<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events = crowded();
    bed.write(&events).await;
    for json in ["{}", &authors(&[1, 3]), r#"{"kinds":[1],"until":11}"#] {
        let expected = matching(&events, json);
        for (index, event) in expected.iter().enumerate() {
            let place = (event.created_at(), *event.id());
            expect_after(&bed, json, place, &expected[index + 1..]).await;
        }
    }
}

/// Every event after it in the order comes, the place itself and those before don't.
pub async fn the_place_to_start_after_need_not_exist<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events = crowded();
    bed.write(&events).await;
    let (lowest, highest) = (EventId::new([0; 32]), EventId::new([255; 32]));
    for json in ["{}", &authors(&[1, 2, 3]), r#"{"kinds":[1]}"#] {
        for at in [0, 9, 10, 11, 12, 13, Timestamp::MAX.as_secs()] {
            let at = Timestamp::from_secs(at);
            let upto = events
                .iter()
                .filter(|event| event.created_at() <= at)
                .cloned();
            expect_after(&bed, json, (at, lowest), &upto.collect::<Vec<_>>()).await;
            let below = events
                .iter()
                .filter(|event| event.created_at() < at)
                .cloned();
            expect_after(&bed, json, (at, highest), &below.collect::<Vec<_>>()).await;
        }
    }
}

/// R01-63.
pub async fn since_and_until_are_inclusive<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let notes = [10, 11, 12].map(|at| note(1, at));
    let [ten, eleven, twelve] = &notes;
    bed.store_all(&[ten, eleven, twelve]).await;
    for more in [
        "",
        r#","kinds":[1]"#,
        &format!(r#","authors":["{}"]"#, ten.pubkey()),
    ] {
        bed.expect(&format!(r#"{{"since":11{more}}}"#), &[eleven, twelve])
            .await;
        bed.expect(&format!(r#"{{"until":11{more}}}"#), &[ten, eleven])
            .await;
        bed.expect(&format!(r#"{{"since":11,"until":11{more}}}"#), &[eleven])
            .await;
        bed.expect(&format!(r#"{{"since":13{more}}}"#), &[]).await;
        bed.expect(&format!(r#"{{"until":9{more}}}"#), &[]).await;
    }
}

/// R01-63: not "absent".
pub async fn zero_is_a_bound<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (first, second) = (note(1, 0), note(1, 1));
    bed.store_all(&[&first, &second]).await;
    bed.expect(r#"{"until":0}"#, &[&first]).await;
    bed.expect(r#"{"since":0}"#, &[&first, &second]).await;
    bed.expect(r#"{"since":0,"until":0,"kinds":[1]}"#, &[&first])
        .await;
    let place = (Timestamp::from_secs(0), *first.id());
    expect_after(&bed, "{}", place, &[]).await;
}

/// R01-63: 2^53 - 1.
pub async fn the_end_of_time_is_a_bound<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let (far, note) = (note(1, 1 << 32), note(1, 10));
    bed.store_all(&[&far, &note]).await;
    let end = Timestamp::MAX;
    bed.expect(&format!(r#"{{"until":{end}}}"#), &[&far, &note])
        .await;
    bed.expect(&format!(r#"{{"since":{}}}"#, 1_u64 << 32), &[&far])
        .await;
    bed.expect(&format!(r#"{{"since":{end}}}"#), &[]).await;
}

/// R01-63: legal, and empty.
pub async fn crossed_bounds_match_nothing<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let note = note(1, 11);
    bed.store_all(&[&note]).await;
    bed.expect(r#"{"since":12,"until":10}"#, &[]).await;
    bed.expect(
        &format!(r#"{{"since":12,"until":11,"ids":["{}"]}}"#, note.id()),
        &[],
    )
    .await;
}

/// The caller stops when it has enough.
pub async fn the_limit_plays_no_part<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let notes = [note(1, 10), note(1, 11)];
    bed.store_all(&[&notes[0], &notes[1]]).await;
    bed.expect(r#"{"limit":1}"#, &[&notes[0], &notes[1]]).await;
    bed.expect(r#"{"limit":0,"kinds":[1]}"#, &[&notes[0], &notes[1]])
        .await;
}

/// What came is right as far as it goes, and the end says that others may exist.
pub async fn a_spent_budget_ends_the_scan<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let mut events: Vec<_> = (0..1_000).map(|at| note(1, at)).collect();
    bed.write(&events).await;
    sort(&mut events);
    for json in ["{}", &authors(&[1]), r#"{"kinds":[1]}"#] {
        let budget = Budget {
            rows: 10,
            time: Duration::MAX,
        };
        let request = ScanRequest {
            budget,
            ..request(&filter(json), NOW)
        };
        let (answer, end) = collect_pages(bed.store(), request, 5).await;
        assert_eq!(end, End::Budget, "{json} after {} events", answer.len());
        assert!(
            answer.len() < events.len(),
            "{json} cost a thousand rows, not ten"
        );
        assert_same(&answer, &events[..answer.len()], json);
    }
}

/// As for rows.
pub async fn a_spent_time_budget_ends_the_scan<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let mut events: Vec<_> = (0..1_000).map(|at| note(1, at)).collect();
    bed.write(&events).await;
    sort(&mut events);
    let budget = Budget {
        rows: u64::MAX,
        time: Duration::ZERO,
    };
    let request = ScanRequest {
        budget,
        ..request(&Filter::default(), NOW)
    };
    let (answer, end) = collect_pages(bed.store(), request, 5).await;
    assert_eq!(end, End::Budget, "after {} events", answer.len());
    assert_same(&answer, &events[..answer.len()], "what came in no time");
}

/// Events that are there all the time come exactly once.
pub async fn events_that_stay_are_seen_once_while_others_come_and_go<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let stay: Vec<_> = (0..60).map(|n| note(1, n * 2)).collect();
    let go: Vec<_> = (0..60).map(|n| note(2, n * 2)).collect();
    let come: Vec<_> = (0..60).map(|n| note(3, n * 2 + 1)).collect();
    bed.write(&stay).await;
    bed.write(&go).await;
    let mut scan = bed.store().scan(request(&Filter::default(), NOW));
    let mut answer = Vec::new();
    let mut round = 0;
    loop {
        let page = scan.next(7).await.expect("the store under test reads");
        answer.extend(page.events);
        assert!(
            answer.len() <= 180,
            "more than all events:\n{}",
            list(&answer)
        );
        if page.end.is_some() {
            break;
        }
        if let (Some(gone), Some(new)) = (go.get(round), come.get(59 - round.min(59))) {
            bed.write(&[deletion(2, 500, &[gone]), Arc::clone(new)])
                .await;
        }
        round += 1;
    }
    let ordered = answer
        .windows(2)
        .all(|pair| pair[0].position() < pair[1].position());
    assert!(ordered, "newest first, each once:\n{}", list(&answer));
    answer.retain(|event| event.pubkey() == stay[0].pubkey());
    let mut expected = stay;
    sort(&mut expected);
    assert_same(&answer, &expected, "the events that stayed");
}

/// Each has its own place; dropping one early disturbs none.
pub async fn scans_run_beside_each_other<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    let events = crowded();
    bed.write(&events).await;
    let mut scans: Vec<_> = ["{}", &authors(&[1]), r#"{"kinds":[1]}"#, "{}"]
        .map(|json| {
            (
                json.to_owned(),
                bed.store().scan(request(&filter(json), NOW)),
                Vec::new(),
            )
        })
        .into();
    let dropped = scans.pop();
    drop(dropped);
    let mut open = scans.len();
    let mut ended = vec![false; scans.len()];
    while open > 0 {
        for ((_json, scan, answer), ended) in scans.iter_mut().zip(&mut ended) {
            if *ended {
                continue;
            }
            let page = scan.next(2).await.expect("the store under test reads");
            answer.extend(page.events);
            assert!(
                answer.len() <= events.len(),
                "more than all events:\n{}",
                list(answer)
            );
            if page.end.is_some() {
                *ended = true;
                open -= 1;
            }
        }
    }
    for (json, _scan, answer) in &scans {
        assert_same(answer, &matching(&events, json), json);
    }
}

/// Complete, not spent.
pub async fn an_empty_store_answers_at_once<B: Backend>(backend: &B) {
    let bed = Bed::open(backend).await;
    for json in ["{}", r#"{"kinds":[1]}"#, r#"{"ids":[]}"#, &authors(&[1, 2])] {
        let (answer, end) = collect_pages(bed.store(), request(&filter(json), NOW), 10).await;
        assert_eq!((answer.len(), end), (0, End::Complete), "{json}");
    }
}

async fn expect_after<S, H>(
    bed: &Bed<H>,
    json: &str,
    after: (Timestamp, EventId),
    expected: &[Arc<Event>],
) where
    S: crate::EventStore,
    H: std::ops::Deref<Target = S>,
{
    let request = ScanRequest {
        after: Some(after),
        ..request(&filter(json), NOW)
    };
    let (answer, end) = collect_pages(bed.store(), request, 4).await;
    assert_eq!(end, End::Complete);
    assert_same(
        &answer,
        expected,
        &format!("{json} after {} {}", after.0, after.1),
    );
}

fn matching(events: &[Arc<Event>], json: &str) -> Vec<Arc<Event>> {
    let filter = filter(json);
    events
        .iter()
        .filter(|event| filter.matches(event))
        .cloned()
        .collect()
}

fn authors(numbers: &[u32]) -> String {
    let keys: Vec<_> = numbers
        .iter()
        .map(|n| format!(r#""{}""#, super::key(*n)))
        .collect();
    format!(r#"{{"authors":[{}]}}"#, keys.join(","))
}
