//! What the stream of committed events makes of the index, case by case: who is delivered, what
//! stays out, and when the archive is left alone.

use std::{future::Future, sync::Arc};

use heliograph_protocol::{Event, Filter, Outcome, Timestamp};
use heliograph_recent::{Applied, Recent, RecentOptions};
use heliograph_store::{
    Budget, End, EventStore, MemoryStore, Page, Scan, ScanRequest,
    conformance::{NOW, RELAY_URL, collect, event, key, relay_urls},
};

const ROOMY: RecentOptions = RecentOptions {
    events_max: 1_000,
    text_bytes_max: 1 << 20,
    remembered_max: 1_000,
};

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers").block_on(future)
}

fn open(options: RecentOptions) -> Recent<MemoryStore> {
    Recent::new(MemoryStore::new(relay_urls()), options, relay_urls())
}

/// An index filled from its archive, which holds these events.
fn filled(options: RecentOptions, events: &[Arc<Event>]) -> Recent<MemoryStore> {
    let recent = open(options);
    block_on(recent.archive().write(events.to_vec())).expect("memory doesn't fail");
    while !block_on(recent.warm_step(100)).expect("memory doesn't fail") {}
    recent
}

fn commit(recent: &Recent<MemoryStore>, event: &Arc<Event>) -> Outcome {
    block_on(recent.archive().write(vec![Arc::clone(event)])).expect("memory doesn't fail")[0]
}

fn apply(recent: &Recent<MemoryStore>, event: &Arc<Event>) -> Applied {
    recent.apply(&[Arc::clone(event)])[0]
}

fn note(author: u32, at: u64) -> Arc<Event> {
    event(author, at, 1, &[], "")
}

fn profile(author: u32, at: u64) -> Arc<Event> {
    event(author, at, 0, &[], "")
}

fn deletion(author: u32, at: u64, target: &Arc<Event>) -> Arc<Event> {
    event(author, at, 5, &[&["e", &target.id().to_hex()]], "")
}

#[track_caller]
fn check_same(recent: &Recent<MemoryStore>) {
    let all = Filter::default();
    let expected = block_on(collect(recent.archive(), &all, NOW));
    assert_eq!(block_on(collect(recent, &all, NOW)), expected);
}

/// The first page of at most `rows` for a filter.
fn page(recent: &Recent<MemoryStore>, filter: &str, rows: usize) -> Page {
    let mut scan = recent.scan(ScanRequest {
        filter: Arc::new(Filter::parse(filter).expect("a filter")),
        after: None,
        now: NOW,
        budget: Budget::UNLIMITED,
    });
    block_on(scan.next(rows)).expect("memory doesn't fail")
}

#[test]
fn a_winner_is_new_and_known_when_repeated() {
    let recent = filled(ROOMY, &[]);
    let note = note(1, 10);
    commit(&recent, &note);
    assert_eq!(apply(&recent, &note), Applied::New);
    assert_eq!(apply(&recent, &note), Applied::Known);
}

#[test]
fn an_evicted_event_is_known_when_repeated() {
    let recent = filled(
        RecentOptions {
            events_max: 1,
            ..ROOMY
        },
        &[],
    );
    let (old, new) = (note(1, 10), note(1, 20));
    assert_eq!(
        recent.apply(&[Arc::clone(&old), new]),
        [Applied::New, Applied::New]
    );
    assert!(!recent.known(old.id()));
    assert_eq!(apply(&recent, &old), Applied::Known);
}

#[test]
fn an_event_below_the_floor_is_new_once() {
    let recent = filled(
        RecentOptions {
            events_max: 1,
            ..ROOMY
        },
        &[note(1, 20), note(1, 21)],
    );
    let old = note(1, 10);
    assert_eq!(apply(&recent, &old), Applied::New);
    assert_eq!(apply(&recent, &old), Applied::Known);
}

#[test]
fn an_older_version_after_the_newer_one_is_lost() {
    let recent = filled(ROOMY, &[]);
    let versions = [profile(1, 20), profile(1, 10)];
    assert_eq!(recent.apply(&versions), [Applied::New, Applied::Lost]);
    assert!(!recent.known(versions[1].id()));
}

#[test]
fn a_winner_below_the_floor_is_remembered() {
    let recent = filled(
        RecentOptions {
            events_max: 1,
            ..ROOMY
        },
        &[note(1, 50), note(1, 51)],
    );
    let versions = [profile(1, 20), profile(1, 10)];
    assert_eq!(recent.apply(&versions), [Applied::New, Applied::Lost]);
}

#[test]
fn an_evicted_winner_is_remembered() {
    let recent = filled(
        RecentOptions {
            events_max: 1,
            ..ROOMY
        },
        &[],
    );
    let events = [profile(1, 20), note(1, 30), profile(1, 10)];
    assert_eq!(
        recent.apply(&events),
        [Applied::New, Applied::New, Applied::Lost]
    );
}

#[test]
fn an_event_after_its_deletion_is_lost() {
    let recent = filled(ROOMY, &[]);
    let note = note(1, 10);
    let events = [deletion(1, 20, &note), note];
    assert_eq!(recent.apply(&events), [Applied::New, Applied::Lost]);
}

/// Seed 20 of the model: the guards of a request pushed each other out before its targets went.
#[test]
fn a_request_that_names_more_than_is_remembered_removes_it_all() {
    let options = RecentOptions {
        remembered_max: 1,
        ..ROOMY
    };
    let recent = filled(options, &[]);
    let notes: Vec<_> = (0..5).map(|at| note(1, at)).collect();
    let ids: Vec<_> = notes.iter().map(|note| note.id().to_hex()).collect();
    let tags: Vec<_> = ids.iter().map(|id| ["e", id.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(<[&str; 2]>::as_slice).collect();
    recent.apply(&notes);
    apply(&recent, &event(1, 20, 5, &tags, ""));
    assert_eq!(recent.stats().events, 1, "the request alone");
}

#[test]
fn a_foreign_deletion_loses_nothing() {
    let recent = filled(ROOMY, &[]);
    let note = note(1, 10);
    let events = [deletion(2, 20, &note), note];
    assert_eq!(recent.apply(&events), [Applied::New, Applied::New]);
}

#[test]
fn an_event_that_vanished_is_lost() {
    let recent = filled(ROOMY, &[]);
    let vanish = event(1, 20, 62, &[&["relay", RELAY_URL]], "");
    let events = [vanish, note(1, 20), note(1, 21)];
    assert_eq!(
        recent.apply(&events),
        [Applied::New, Applied::Lost, Applied::New]
    );
}

#[test]
fn thousands_of_events_vanish_at_once() {
    let notes: Vec<_> = (0..9_000).map(|at| note(1, at)).collect();
    let recent = filled(
        RecentOptions {
            events_max: 20_000,
            ..ROOMY
        },
        &notes,
    );
    apply(&recent, &event(1, 8_990, 62, &[&["relay", RELAY_URL]], ""));
    assert_eq!(
        recent.stats().events,
        9 + 1,
        "those after the request, and the request"
    );
}

/// A request that vanished after it was committed took effect all the same.
#[test]
fn a_vanished_deletion_request_that_comes_late_still_deletes() {
    let recent = filled(ROOMY, &[]);
    let note = note(1, 50);
    let deletion = deletion(1, 5, &note);
    let vanish = event(1, 10, 62, &[&["relay", RELAY_URL]], "");
    for event in [&note, &deletion, &vanish] {
        assert_eq!(commit(&recent, event), Outcome::Stored);
    }
    let events = [note, vanish, deletion];
    assert_eq!(
        recent.apply(&events),
        [Applied::New, Applied::New, Applied::Lost]
    );
    check_same(&recent);
}

#[test]
fn an_event_that_the_warm_up_brought_is_new_on_the_stream() {
    let note = note(1, 10);
    let recent = filled(ROOMY, &[Arc::clone(&note)]);
    assert!(recent.known(note.id()));
    assert_eq!(apply(&recent, &note), Applied::New);
    assert_eq!(apply(&recent, &note), Applied::Known);
}

/// Workers announce what was stored long before as such, and the archive may have shown a request
/// before what it removes came by the stream.
#[test]
fn a_request_that_the_warm_up_brought_removes_what_came_before_it_was_heard_of() {
    let target = note(1, 50);
    let vanish = event(1, 60, 62, &[&["relay", RELAY_URL]], "");
    for request in [deletion(1, 60, &target), vanish] {
        let recent = filled(ROOMY, &[Arc::clone(&request)]);
        assert_eq!(apply(&recent, &target), Applied::New);
        recent.take_again(&request);
        assert!(page(&recent, r#"{"kinds":[1]}"#, 10).events.is_empty());
        assert!(recent.beats(&target));
    }
}

#[test]
fn an_event_that_was_written_here_is_new_on_the_stream() {
    let recent = filled(
        RecentOptions {
            events_max: 2,
            ..ROOMY
        },
        &[],
    );
    let events = vec![note(1, 30), profile(1, 20), note(1, 10)];
    block_on(recent.write(events.clone())).expect("memory doesn't fail");
    assert_eq!(
        recent.apply(&events),
        [Applied::New; 3],
        "in the index, evicted or below the floor"
    );
    assert_eq!(recent.apply(&events), [Applied::Known; 3]);
}

#[test]
fn a_version_that_was_deleted_before_it_came_takes_its_seat() {
    let (old, new) = (profile(1, 10), profile(1, 20));
    let recent = filled(ROOMY, &[deletion(1, 30, &new), Arc::clone(&old)]);
    assert_eq!(commit(&recent, &new), Outcome::Deleted);
    recent.take_seat(&new);
    assert!(!recent.known(old.id()));
    check_same(&recent);
}

#[test]
fn a_write_that_is_repeated_is_indexed() {
    let recent = filled(ROOMY, &[]);
    let note = note(1, 10);
    // As a write leaves it that failed after the archive had stored a part.
    commit(&recent, &note);
    block_on(recent.write(vec![Arc::clone(&note)])).expect("memory doesn't fail");
    assert!(recent.known(note.id()));
}

#[test]
fn what_an_operator_removed_is_gone() {
    let note = note(1, 10);
    let recent = filled(ROOMY, &[Arc::clone(&note)]);
    assert_eq!(recent.remove(&[*note.id()]), 1);
    assert!(!recent.known(note.id()));
    assert_eq!(recent.stats().events, 0);
}

#[test]
fn the_floor_says_what_is_covered() {
    let recent = open(RecentOptions {
        events_max: 2,
        ..ROOMY
    });
    assert_eq!(recent.floor(), None);
    let notes = [note(1, 10), note(1, 20), note(1, 30)];
    block_on(recent.archive().write(notes.to_vec())).expect("memory doesn't fail");
    assert_eq!(block_on(recent.warm_step(1)), Ok(false));
    assert_eq!(
        recent.floor(),
        Some(Timestamp::from_secs(31)),
        "more of that second may follow"
    );
    while !block_on(recent.warm_step(1)).expect("memory doesn't fail") {}
    assert_eq!(recent.floor(), Some(Timestamp::from_secs(11)));
    recent.apply(&[note(1, 40)]);
    assert_eq!(recent.floor(), Some(Timestamp::from_secs(21)));
    assert_eq!(recent.stats().evictions, 2);
}

#[test]
fn everything_is_covered_when_everything_fits() {
    assert_eq!(
        filled(ROOMY, &[note(1, 10)]).floor(),
        Some(Timestamp::from_secs(0))
    );
}

/// Two newest events in memory, an older one below.
fn three_notes() -> Recent<MemoryStore> {
    let notes = [note(1, 10), note(2, 20), note(3, 30)];
    filled(
        RecentOptions {
            events_max: 2,
            ..ROOMY
        },
        &notes,
    )
}

#[track_caller]
fn check_archive(recent: &Recent<MemoryStore>, filter: &str, rows: usize, archive: bool) {
    assert_eq!(
        page(recent, filter, rows).cost.archive,
        archive,
        "{filter} of {rows}"
    );
}

#[test]
fn a_full_answer_leaves_the_archive_alone() {
    check_archive(&three_notes(), "{}", 2, false);
    check_archive(&three_notes(), "{}", 3, true);
}

#[test]
fn a_filter_that_ends_above_the_floor_leaves_the_archive_alone() {
    check_archive(&three_notes(), r#"{"since":11}"#, 10, false);
    check_archive(&three_notes(), r#"{"since":10}"#, 10, true);
}

#[test]
fn ids_that_are_all_found_leave_the_archive_alone() {
    let ids = |at: &[(u32, u64)]| {
        let ids = at
            .iter()
            .map(|(author, at)| format!("\"{}\"", note(*author, *at).id()));
        format!(r#"{{"ids":[{}]}}"#, ids.collect::<Vec<_>>().join(","))
    };
    check_archive(&three_notes(), &ids(&[(2, 20), (3, 30)]), 10, false);
    check_archive(&three_notes(), &ids(&[(1, 10), (3, 30)]), 10, true);
}

#[test]
fn profiles_that_are_all_found_leave_the_archive_alone() {
    let events = [profile(1, 10), profile(2, 20), profile(3, 30)];
    let recent = filled(
        RecentOptions {
            events_max: 2,
            ..ROOMY
        },
        &events,
    );
    let profiles =
        |a: u32, b: u32| format!(r#"{{"kinds":[0],"authors":["{}","{}"]}}"#, key(a), key(b));
    check_archive(&recent, &profiles(2, 3), 10, false);
    check_archive(&recent, &profiles(1, 3), 10, true);
    assert_eq!(page(&recent, &profiles(1, 3), 10).events.len(), 2);
}

#[test]
fn a_found_profile_does_not_hide_an_older_contact_list() {
    let contacts = event(1, 10, 3, &[], "");
    let events = [Arc::clone(&contacts), note(2, 20), profile(1, 30)];
    let recent = filled(
        RecentOptions {
            events_max: 2,
            ..ROOMY
        },
        &events,
    );
    let filter = format!(r#"{{"kinds":[0,3],"authors":["{}"]}}"#, key(1));
    assert_eq!(
        page(&recent, &filter, 10).events,
        [Arc::clone(&events[2]), contacts]
    );
}

#[test]
fn a_budget_that_ends_while_texts_are_fetched_cuts_the_answer() {
    let mut notes: Vec<_> = (0..10).map(|at| note(1, at)).collect();
    let recent = filled(
        RecentOptions {
            text_bytes_max: 0,
            ..ROOMY
        },
        &notes,
    );
    let mut scan = recent.scan(ScanRequest {
        filter: Arc::new(Filter::default()),
        after: None,
        now: NOW,
        budget: Budget {
            rows: 12,
            ..Budget::UNLIMITED
        },
    });
    let page = block_on(scan.next(10)).expect("memory doesn't fail");
    notes.reverse();
    assert_eq!(page.end, Some(End::Budget));
    assert_eq!(page.events, notes[..2], "ten entries and two texts");
    assert!(page.cost.archive);
}

/// A write is visible in the archive before it is merged here, and the warm-up may read it there.
/// Found by the threads of `concurrent.rs`.
#[test]
fn a_request_that_the_warm_up_brought_takes_effect_when_its_write_arrives() {
    let vanish = |at| event(2, at, 62, &[&["relay", RELAY_URL]], "");
    for (target, request) in [
        (note(1, 10), deletion(1, 20, &note(1, 10))),
        (note(2, 10), vanish(20)),
    ] {
        let recent = open(ROOMY);
        block_on(recent.write(vec![Arc::clone(&target)])).expect("memory doesn't fail");
        assert_eq!(commit(&recent, &request), Outcome::Stored);
        while !block_on(recent.warm_step(100)).expect("memory doesn't fail") {}
        block_on(recent.write(vec![Arc::clone(&request)])).expect("memory doesn't fail");
        assert!(!recent.known(target.id()));
        check_same(&recent);
    }
}
