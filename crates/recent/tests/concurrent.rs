//! Writers, the warm-up and readers in threads of their own: an event that is there all the time is
//! in every answer, once and in order.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use heliograph_protocol::{Event, EventId, Filter};
use heliograph_recent::{Recent, RecentOptions};
use heliograph_store::{
    EventStore, MemoryStore,
    conformance::{NOW, collect, event, relay_urls},
};

const TIMES: u64 = 200;

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers").block_on(future)
}

/// Notes that nobody removes, spread over all times.
fn stable() -> Vec<Arc<Event>> {
    let notes = (0..300).map(|n| event(n % 7, u64::from(n) * 7 % TIMES, 1, &[&["t", "x"]], ""));
    notes.collect()
}

/// Writes events of one author at all times, removes each a little later, and replaces a profile.
async fn churn(recent: &Recent<MemoryStore>, author: u32, rounds: u64) {
    for round in 0..rounds {
        let at = round * 37 % TIMES;
        let content = format!("{author} {round}");
        let note = event(author, at, 1, &[&["t", "x"]], &content);
        let profile = event(author, at, 0, &[], &content);
        let id = note.id().to_hex();
        let end = event(author, at, 5, &[&["e", &id]], &content);
        for batch in [vec![note], vec![profile, end]] {
            recent.write(batch).await.expect("memory doesn't fail");
        }
    }
}

async fn read(recent: &Recent<MemoryStore>, filter: &Filter, stable: &HashSet<EventId>) {
    let answer = collect(recent, filter, NOW).await;
    let got: HashSet<_> = answer.iter().map(|event| *event.id()).collect();
    assert_eq!(got.len(), answer.len(), "{filter:?}: each once");
    let missed = stable.difference(&got).count();
    assert_eq!(missed, 0, "{filter:?}: missed {missed} of {}", stable.len());
}

fn check(events_max: usize, text_bytes_max: usize) {
    let options = RecentOptions {
        events_max,
        text_bytes_max,
        remembered_max: 100_000,
    };
    let archive = MemoryStore::new(relay_urls());
    let stable = stable();
    block_on(archive.write(stable.clone())).expect("memory doesn't fail");
    let recent = Recent::new(archive, options, relay_urls());
    let writing = AtomicBool::new(true);
    let filters = [
        r#"{}"#,
        r#"{"kinds":[1]}"#,
        r##"{"#t":["x"]}"##,
        r#"{"since":40,"until":150}"#,
    ];
    thread::scope(|scope| {
        let writers = [100, 101].map(|author| {
            let recent = &recent;
            scope.spawn(move || block_on(churn(recent, author, 4_000)))
        });
        let warmer = scope.spawn(|| while !block_on(recent.warm_step(9)).expect("memory") {});
        let readers = filters.map(|text| {
            let filter = Filter::parse(text).expect("a filter");
            let matches = stable.iter().filter(|event| filter.matches(event));
            let ids: HashSet<_> = matches.map(|event| *event.id()).collect();
            let (recent, writing) = (&recent, &writing);
            scope.spawn(move || {
                while writing.load(Ordering::Relaxed) {
                    block_on(read(recent, &filter, &ids));
                }
                block_on(read(recent, &filter, &ids));
            })
        });
        for writer in writers {
            writer.join().expect("the writer ends");
        }
        warmer.join().expect("the warm-up ends");
        writing.store(false, Ordering::Relaxed);
        for reader in readers {
            reader
                .join()
                .expect("the reader sees every stable event once");
        }
    });
    let all = Filter::default();
    let expected = block_on(collect(recent.archive(), &all, NOW));
    let answer = block_on(collect(&recent, &all, NOW));
    let lacks = |events: &[Arc<Event>], others: &[Arc<Event>]| -> Vec<String> {
        let others: HashSet<_> = others.iter().map(|event| event.id()).collect();
        let lacking = events.iter().filter(|event| !others.contains(event.id()));
        lacking.map(|event| event.as_str().to_owned()).collect()
    };
    assert_eq!(lacks(&expected, &answer), [""; 0], "missing at rest");
    assert_eq!(lacks(&answer, &expected), [""; 0], "only in memory at rest");
    assert!(
        answer == expected,
        "the same order as the archive's at rest"
    );
}

#[test]
fn stable_events_are_seen_once_when_everything_fits() {
    check(usize::MAX, usize::MAX);
}

#[test]
fn stable_events_are_seen_once_while_the_floor_moves() {
    check(200, usize::MAX);
}

#[test]
fn stable_events_are_seen_once_while_texts_are_dropped() {
    check(400, 50_000);
}
