//! Roles take over from each other: a worker goes on where another died, at whichever step; a matcher
//! goes on with the subscriptions of another, from memory, from the stream, or not at all and says
//! so; and one that has just come never claims to know what it hasn't read.

use std::{
    collections::BTreeSet,
    os::unix::process::ExitStatusExt as _,
    slice::from_ref,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use heliograph_faults::{
    bed::{Bed, PATIENCE, hold, say, until},
    workload::{Options, Workload},
};
use heliograph_lifecycle::{FAILPOINT_VARIABLE, Failpoint};
use heliograph_protocol::Event;
use heliograph_sandbox::cluster::Role;
use heliograph_testkit::{
    client::{Client, End},
    history::Expect,
    keys::Key,
    random::Random,
    reply::Reply,
};
use serde_json::json;

use crate::outage::{accept_all, notes, now};

/// Events that get their OK between two faults.
const PROGRESS: usize = 40;

/// Where a worker dies on the way of a batch, and when it comes there for which time.
const STEPS: [(Failpoint, u32); 14] = [
    (Failpoint::Fetched, 1),
    (Failpoint::RowsWritten, 1),
    (Failpoint::EventsWritten, 1),
    (Failpoint::EventsWritten, 5),
    (Failpoint::SeatsWritten, 2),
    (Failpoint::Stored, 1),
    (Failpoint::Stored, 6),
    (Failpoint::PartAnnounced, 1),
    (Failpoint::Announced, 3),
    (Failpoint::Unanswered, 2),
    (Failpoint::ReceiptHanded, 1),
    (Failpoint::ReceiptsSent, 2),
    (Failpoint::Acknowledged, 1),
    (Failpoint::Acknowledged, 4),
];

/// Starts a member that is to die there.
fn arm(bed: &Bed, role: Role, number: usize, (point, count): (Failpoint, u32)) {
    let value = format!("{}:{count}", point.as_str());
    let started = bed.restart_with(role, number, &[(FAILPOINT_VARIABLE, &value)]);
    started.unwrap_or_else(|error| panic!("{error}"));
}

/// Waits until a member has died by its own hand.
#[track_caller]
fn died(bed: &Bed, role: Role, number: usize) {
    let status = bed.wait_for_end(role, number, PATIENCE);
    let status = status.unwrap_or_else(|error| panic!("{error}"));
    let said = bed.output(role, number);
    assert_eq!(status.signal(), Some(9), "{status}: {said}");
}

/// Starts it as it was.
#[track_caller]
fn come_back(bed: &Bed, role: Role, number: usize) {
    let started = heliograph_sandbox::cluster::Cluster::restart(bed, role, number);
    started.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_worker_that_dies_at_any_step_loses_nothing_and_nobody_gets_anything_twice() {
    let Some(bed) = Bed::fresh(&[]) else {
        return;
    };
    let load = Workload::start(41, bed.gateways(), bed.history().clone());
    load.progress(PROGRESS, PATIENCE);
    for (turn, step) in STEPS.into_iter().enumerate() {
        let (worker, started) = (turn % 2, Instant::now());
        let fault = format!("ingest {worker} dies at {}:{}", step.0.as_str(), step.1);
        bed.begin(&fault);
        arm(&bed, Role::Ingest, worker, step);
        died(&bed, Role::Ingest, worker);
        // Alone, the other one goes on with what this one has left.
        load.progress(PROGRESS, PATIENCE);
        say(&format!("{fault}: went on after {:?}", started.elapsed()));
        come_back(&bed, Role::Ingest, worker);
        bed.end(&fault);
    }
    let summary = load.finish(&Expect::default());
    assert!(summary.live > 1_000 && summary.closed == 0, "{summary}");
    say(&summary.to_string());
}

#[test]
fn a_matcher_that_dies_in_the_middle_of_a_question_or_a_resumption_leaves_no_gap() {
    let Some(bed) = Bed::fresh(&[]) else {
        return;
    };
    let load = Workload::start(42, bed.gateways(), bed.history().clone());
    // More than one page of them.
    load.progress(300, PATIENCE);
    let steps = [
        (Failpoint::Registered, 3),
        (Failpoint::PageGiven, 1),
        (Failpoint::PageGiven, 4),
        (Failpoint::Replayed, 1),
        (Failpoint::Replayed, 3),
    ];
    for (turn, step) in steps.into_iter().enumerate() {
        let (dying, other, started) = (turn % 2, 1 - turn % 2, Instant::now());
        let fault = format!("matcher {dying} dies at {}:{}", step.0.as_str(), step.1);
        bed.begin(&fault);
        arm(&bed, Role::Matcher, dying, step);
        until("a matcher that is ready, or dead already", || {
            let ready = bed.wait_ready(Role::Matcher, dying).is_ok();
            let ended = bed.wait_for_end(Role::Matcher, dying, Duration::ZERO);
            (ready || ended.is_ok()).then_some(())
        });
        // Whoever it serves comes to the one that is to die.
        heliograph_sandbox::cluster::Cluster::kill(&bed, Role::Matcher, other);
        died(&bed, Role::Matcher, dying);
        come_back(&bed, Role::Matcher, other);
        come_back(&bed, Role::Matcher, dying);
        bed.end(&fault);
        load.progress(PROGRESS, PATIENCE);
        say(&format!("{fault}: went on after {:?}", started.elapsed()));
    }
    let summary = load.finish(&Expect::default());
    assert!(summary.live > 1_000 && summary.kept >= 60, "{summary}");
    say(&summary.to_string());
}

#[test]
fn the_only_matcher_serves_until_it_closes_and_subscriptions_go_on_with_the_next() {
    let one = |options: &mut heliograph_sandbox::cluster::ClusterOptions| options.matchers = 1;
    let Some(bed) = Bed::with(one, &["shutdown.unready_secs=30", "shutdown.grace_secs=60"]) else {
        return;
    };
    let key = Key::nth(7);
    let mut subscriber = bed.at(0);
    subscriber.req("live", &[json!({"authors": [key.hex()], "limit": 0})]);
    let mut writer = bed.at(1);
    thread::scope(|scope| {
        let stopping = scope.spawn(|| bed.terminate(Role::Matcher, 0));
        until("a matcher that says that it stops", || {
            let admin = bed.member(Role::Matcher, 0).admin;
            let page = heliograph_sandbox::http::get(admin, "/readyz").ok()?;
            (page.status == 503).then_some(())
        });
        let during = key.note(now(), "while it stops");
        writer.accept(&during);
        assert_eq!(subscriber.next_event("live").id(), during.id());
        assert!(!stopping.is_finished(), "it answered in its time");
        assert_eq!(stopping.join().unwrap().code(), Some(0));
    });
    let away = key.note(now(), "while there is none");
    writer.accept(&away);
    bed.restart(Role::Matcher, 0);
    let after = key.note(now(), "with the next");
    writer.accept(&after);
    assert_eq!(subscriber.next_event("live").id(), away.id());
    assert_eq!(subscriber.next_event("live").id(), after.id());
}

/// Bytes of a large event's content, and how many are more than matchers keep for those who come
/// back: a megabyte at least.
const LARGE: usize = 20_000;
const MORE_THAN_MEMORY: usize = 90;

/// The least memory of delivered events.
const LITTLE_MEMORY: &str = "matcher.replay_bytes_max=1048576";

/// Stands gateway 0 still until no matcher has a session with it, and then while `meanwhile`.
fn stand_still<T>(bed: &Bed, meanwhile: impl FnOnce() -> T) -> T {
    let sessions = || bed.sum(Role::Matcher, "heliograph_link_sessions");
    until("two gateways that are served", || {
        (sessions() == 2.0).then_some(())
    });
    bed.pause(Role::Gateway, 0);
    until("the end of a session", || (sessions() == 1.0).then_some(()));
    let done = meanwhile();
    bed.resume(Role::Gateway, 0);
    done
}

/// Large events, published through gateway 1.
fn publish_large(bed: &Bed, key: &Key, count: usize) -> Vec<Event> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let large = |_| {
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        key.note(now(), &format!("{n} {}", "x".repeat(LARGE)))
    };
    let events: Vec<Event> = (0..count).map(large).collect();
    let mut writer = bed.at(1);
    for part in events.chunks(10) {
        accept_all(&mut writer, part);
    }
    events
}

/// What a subscription gets until it is closed, or has got all of `events`.
#[track_caller]
fn received(client: &mut Client, events: usize) -> (Vec<String>, Option<String>) {
    let mut ids = Vec::new();
    while ids.len() < events {
        match client.poll(PATIENCE) {
            Some(Reply::Event { event, .. }) => ids.push(event.id().to_hex()),
            Some(Reply::Closed { text, .. }) => return (ids, Some(text)),
            Some(other) => panic!("{other:?}"),
            None => panic!("{} of {events} came, then nothing", ids.len()),
        }
    }
    (ids, None)
}

#[test]
fn a_gateway_that_was_away_for_longer_than_memory_goes_back_gets_the_rest_from_the_stream() {
    let Some(bed) = Bed::fresh(&[LITTLE_MEMORY]) else {
        return;
    };
    let key = Key::nth(8);
    let mut subscribers = [bed.at(0), bed.at(0)];
    for subscriber in &mut subscribers {
        subscriber.req("live", &[json!({"authors": [key.hex()], "limit": 0})]);
    }
    let mut sent = publish_large(&bed, &key, 3);
    let away = stand_still(&bed, || publish_large(&bed, &key, MORE_THAN_MEMORY));
    let began = Instant::now();
    sent.extend(away);
    sent.extend(publish_large(&bed, &key, 3));
    for subscriber in &mut subscribers {
        let (got, closed) = received(subscriber, sent.len());
        assert_eq!(closed, None);
        let want: BTreeSet<String> = sent.iter().map(|event| event.id().to_hex()).collect();
        assert_eq!(got.iter().cloned().collect::<BTreeSet<_>>(), want);
        assert_eq!(got.len(), want.len(), "something came twice");
        // What else there may be comes before the answer to this.
        assert!(subscriber.fence().is_empty(), "something came twice");
    }
    say(&format!("all had come after {:?}", began.elapsed()));
}

#[test]
fn a_gateway_that_was_away_for_longer_than_the_stream_goes_back_tells_its_subscribers() {
    let age = Duration::from_secs(10);
    let settings = [LITTLE_MEMORY, "nats.committed_age_secs=10"];
    let Some(bed) = Bed::fresh(&settings) else {
        return;
    };
    let key = Key::nth(9);
    let filter = json!({"authors": [key.hex()]});
    let mut subscriber = bed.at(0);
    subscriber.req("live", &[json!({"authors": [key.hex()], "limit": 0})]);
    let before = publish_large(&bed, &key, 3);
    assert_eq!(received(&mut subscriber, before.len()).1, None);
    let away = stand_still(&bed, || {
        let away = publish_large(&bed, &key, MORE_THAN_MEMORY);
        // Longer than anything of it is kept, and the server looks for that once a second.
        hold(age + Duration::from_secs(5));
        away
    });
    let began = Instant::now();
    let (_some, closed) = received(&mut subscriber, away.len());
    let text = closed.expect("CLOSED, for some events can't be had any more");
    assert!(text.starts_with("error: "), "{text}");
    say(&format!("CLOSED after {:?}: {text}", began.elapsed()));
    // Asked again, it has everything.
    let stored = subscriber.req("again", from_ref(&filter));
    assert_eq!(stored.events.len(), before.len() + away.len());
    let live = key.note(now(), "live");
    bed.at(1).accept(&live);
    assert_eq!(subscriber.next_event("again").id(), live.id());
}

/// Stored events while matchers begin anew: several steps of filling a recent tier.
const ARCHIVE: usize = 4_500;

/// The oldest of them.
const LONG_AGO: u64 = 1_710_000_000;

/// The most that one answer has.
const ANSWER_MAX: usize = 300;

/// Asks for parts of the archive until `over`; every answer that ends in EOSE has to be whole. How
/// many were, and how many weren't answered.
fn ask_for_parts(bed: &Bed, gateway: usize, key: &Key, over: &AtomicBool) -> [usize; 2] {
    let mut client = bed.at(gateway);
    let mut random = Random::seeded(43 + gateway as u64);
    let mut answers = [0, 0];
    while !over.load(Ordering::Relaxed) {
        let first = random.below(ARCHIVE - 1);
        let last = first + random.below(ANSWER_MAX.min(ARCHIVE - first));
        let (since, until) = (LONG_AGO + first as u64, LONG_AGO + last as u64);
        let mut filter = json!({"since": since, "until": until, "limit": ANSWER_MAX});
        match random.below(3) {
            0 => filter["authors"] = json!([key.hex()]),
            1 => filter["kinds"] = json!([1]),
            _ => {
                filter["authors"] = json!([key.hex()]);
                filter["kinds"] = json!([1]);
            }
        }
        let answer = client.query(from_ref(&filter));
        match answer.end {
            End::Eose(_) => {
                let got = answer.contents();
                let want: Vec<String> = (first..=last).rev().map(|n| n.to_string()).collect();
                assert_eq!(got, want, "an EOSE that hides something: {filter}");
                answers[0] += 1;
            }
            End::Closed(text) => {
                assert!(text.starts_with("error: "), "{text}");
                answers[1] += 1;
            }
        }
    }
    answers
}

#[test]
fn answers_are_whole_while_matchers_fill_their_memory_anew() {
    let Some(bed) = Bed::fresh(&[]) else {
        return;
    };
    let key = Key::nth(10);
    let archive = notes(&key, LONG_AGO, ARCHIVE);
    thread::scope(|scope| {
        let halves = archive.chunks(ARCHIVE.div_ceil(2)).enumerate();
        for (gateway, half) in halves {
            let mut writer = bed.at(gateway);
            scope.spawn(move || accept_all(&mut writer, half));
        }
    });
    let options = Options {
        seed: 44,
        rate: 20,
        ..Options::default()
    };
    let load = Workload::with(options, bed.gateways(), bed.history().clone());
    let over = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        let ask = |gateway| ask_for_parts(&bed, gateway, &key, &over);
        let askers = [0, 1].map(|gateway| scope.spawn(move || ask(gateway)));
        let stop = Stop(&over);
        for matcher in [0, 1, 0, 1] {
            bed.kill(Role::Matcher, matcher);
            bed.restart(Role::Matcher, matcher);
            let began = Instant::now();
            until("a recent tier that is filled", || {
                let said = bed.output(Role::Matcher, matcher);
                said.contains("recent tier is warm").then_some(())
            });
            say(&format!(
                "matcher {matcher} was warm {:?} after it was ready",
                began.elapsed()
            ));
        }
        drop(stop);
        askers.map(|asker| asker.join().expect("somebody who asks"))
    });
    say(&format!("answers, whole and with an error: {answers:?}"));
    assert!(
        answers.iter().all(|[whole, _]| *whole > 0),
        "nobody could read"
    );
    let summary = load.finish(&Expect::default());
    say(&summary.to_string());
}

/// Ends what goes on beside, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
