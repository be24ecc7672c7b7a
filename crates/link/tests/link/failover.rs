//! Broken connections, matchers that go, gateways that are too slow.

use std::time::{Duration, Instant};

use heliograph_bus::{BusError, ConnectionId, Requests, Slot};
use heliograph_link::{ClientOptions, ServerOptions};
use heliograph_protocol::{PublicKey, Refusal};

use crate::bed::{Log, Served, Wire, gateway, gateway_with, note, open, start, until};

const ALL: &str = r#"{"kinds":[1]}"#;

fn commit(log: &Log, served: &[&Served], contents: impl Iterator<Item = u32>) {
    for number in contents {
        log.lock().push(note(&number.to_string()));
        served.iter().for_each(|served| served.matcher.catch_up());
    }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_subscriptions_go_on_at_another_matcher_without_a_gap() {
    let log = Log::default();
    let a = start("a", &log, ServerOptions::default()).await;
    let b = start("b", &log, ServerOptions::default()).await;
    let gateway = gateway("g", Some(&a.target));
    let key = PublicKey::new([7; 32]);
    gateway.client.authenticate(ConnectionId(2), key);
    for slot in [1, 2, 70_000] {
        gateway.live(slot, ALL).await;
    }
    commit(&log, &[&a, &b], 0..50);
    until(|| gateway.hub.contents(1).len() == 50).await;
    // The second matcher is behind when it takes over.
    commit(&log, &[&a], 50..60);
    gateway.target.send_replace(Some(b.target.clone()));
    until(|| !b.matcher.resumed_from.lock().is_empty()).await;
    assert!(b.matcher.resumed_from.lock()[0] <= 60);
    commit(&log, &[&a, &b], 60..100);
    for slot in [1, 2, 70_000] {
        until(|| gateway.hub.contents(slot).len() == 100).await;
        assert_eq!(gateway.hub.contents(slot), numbers(0..100));
    }
    until(|| a.matcher.open_slots() == 0).await;
    assert_eq!(
        (b.matcher.open_slots(), b.matcher.keys()),
        (3, vec![vec![key]])
    );
    assert!(gateway.hub.ended().is_empty());
    assert_eq!(gateway.metric("reconnects_total"), 1.0);
    gateway.client.close(Slot(2));
    until(|| gateway.hub.released(2) == 1 && b.matcher.open_slots() == 2).await;
}

/// Else the first event after it is lost, or all before it come twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_goes_on_from_the_number_up_to_which_it_has_everything() {
    let log = Log::default();
    let a = start("a", &log, ServerOptions::default()).await;
    let b = start("b", &log, ServerOptions::default()).await;
    let gateway = gateway("g", Some(&a.target));
    gateway.live(1, ALL).await;
    commit(&log, &[&a, &b], 0..10);
    until(|| gateway.hub.contents(1).len() == 10).await;
    // A session begins with its matcher's number, so that it is known soon.
    for served in [&b, &a].into_iter().cycle() {
        let before = served.matcher.resumed_from.lock().len();
        gateway.target.send_replace(Some(served.target.clone()));
        until(|| served.matcher.resumed_from.lock().len() > before).await;
        let from = served.matcher.resumed_from.lock()[before];
        assert!(from <= 10, "{from} of 10");
        if from == 10 {
            break;
        }
    }
    commit(&log, &[&a, &b], 10..20);
    until(|| gateway.hub.contents(1).len() >= 20).await;
    assert_eq!(gateway.hub.contents(1), numbers(0..20));
}

/// Else what it has is asked for again, and the stream may no longer hold it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_matcher_that_knows_nothing_yet_does_not_throw_a_gateway_back() {
    let log = Log::default();
    let a = start("a", &log, ServerOptions::default()).await;
    let b = start("b", &log, ServerOptions::default()).await;
    b.matcher.resumes.forget_permits(usize::MAX);
    let gateway = gateway("g", Some(&a.target));
    gateway.live(1, ALL).await;
    commit(&log, &[&a], 0..10);
    until(|| gateway.hub.contents(1).len() == 10).await;
    // A session begins with its matcher's number, so that it is known in the second round.
    for round in 0..2 {
        gateway.target.send_replace(Some(b.target.clone()));
        until(|| b.matcher.resumed_from.lock().len() > round).await;
        gateway.target.send_replace(Some(a.target.clone()));
        until(|| a.matcher.resumed_from.lock().len() > round).await;
    }
    let from = [&a, &b].map(|served| served.matcher.resumed_from.lock()[1]);
    assert_eq!(from, [10, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_under_load_loses_and_doubles_nothing() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let wire = Wire::to(&served.target).await;
    let gateway = gateway("g", Some(&wire.target));
    for slot in 0..20 {
        gateway.live(slot, ALL).await;
    }
    let mut next = 0;
    for round in 0..8 {
        commit(&log, &[&served], next..next + 50);
        wire.cut();
        commit(&log, &[&served], next + 50..next + 80);
        next += 80;
        if round % 2 == 0 {
            until(|| gateway.hub.contents(3).len() == next as usize).await;
        }
    }
    for slot in 0..20 {
        until(|| gateway.hub.contents(slot).len() >= next as usize).await;
        assert_eq!(gateway.hub.contents(slot), numbers(0..next));
    }
    until(|| served.matcher.open_slots() == 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_breaks_while_it_resumes_goes_on_from_where_that_began() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let wire = Wire::to(&served.target).await;
    let gateway = gateway("g", Some(&wire.target));
    gateway.live(1, ALL).await;
    commit(&log, &[&served], 0..10);
    until(|| gateway.hub.contents(1).len() == 10).await;
    served.matcher.resumes.forget_permits(usize::MAX);
    wire.cut();
    commit(&log, &[&served], 10..20);
    until(|| served.matcher.resumed_from.lock().len() == 1).await;
    // Opened while the others wait; positions go on meanwhile.
    gateway.live(2, ALL).await;
    commit(&log, &[&served], 20..30);
    until(|| gateway.hub.contents(2).len() == 10).await;
    wire.cut();
    served.matcher.resumes.add_permits(100);
    commit(&log, &[&served], 30..40);
    until(|| gateway.hub.contents(1).len() == 40 && gateway.hub.contents(2).len() == 20).await;
    assert_eq!(gateway.hub.contents(1), numbers(0..40));
    assert_eq!(gateway.hub.contents(2), numbers(20..40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumption_may_take_its_time_as_long_as_the_matcher_gets_on() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let wire = Wire::to(&served.target).await;
    let options = ClientOptions {
        resume_wait: Duration::from_secs(3),
        ..ClientOptions::default()
    };
    let patience = options.resume_wait;
    let gateway = gateway_with("g", Some(&wire.target), options);
    gateway.live(1, ALL).await;
    served.matcher.resumes.forget_permits(usize::MAX);
    wire.cut();
    until(|| served.matcher.resumed_from.lock().len() == 1).await;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < patience * 2 {
        commit(&log, &[&served], count..count + 1);
        count += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    served.matcher.resumes.add_permits(1);
    until(|| gateway.hub.contents(1).len() == count as usize).await;
    assert_eq!(gateway.hub.contents(1), numbers(0..count));
    assert_eq!(gateway.metric("reconnects_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumption_that_gets_nowhere_is_tried_in_another_session() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let wire = Wire::to(&served.target).await;
    let options = ClientOptions {
        resume_wait: Duration::from_millis(300),
        ..ClientOptions::default()
    };
    let gateway = gateway_with("g", Some(&wire.target), options);
    gateway.live(1, ALL).await;
    served.matcher.resumes.forget_permits(usize::MAX);
    wire.cut();
    until(|| served.matcher.resumed_from.lock().len() >= 2).await;
    served.matcher.resumes.add_permits(100);
    commit(&log, &[&served], 0..5);
    until(|| gateway.hub.contents(1).len() == 5).await;
    assert_eq!(gateway.hub.contents(1), numbers(0..5));
    assert!(gateway.hub.ended().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_during_a_resumption_leaves_nothing_behind() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let wire = Wire::to(&served.target).await;
    let gateway = gateway("g", Some(&wire.target));
    gateway.live(1, ALL).await;
    gateway.live(2, ALL).await;
    served.matcher.resumes.forget_permits(usize::MAX);
    wire.cut();
    until(|| served.matcher.resumed_from.lock().len() == 1).await;
    gateway.client.close(Slot(1));
    served.matcher.resumes.add_permits(1);
    until(|| gateway.hub.released(1) == 1).await;
    until(|| served.matcher.open_slots() == 1).await;
    commit(&log, &[&served], 0..1);
    until(|| gateway.hub.contents(2) == ["0"]).await;
    assert!(gateway.hub.contents(1).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_too_slow_is_cut_off_and_goes_on() {
    let log = Log::default();
    let options = ServerOptions {
        queue_bytes_max: 100_000,
        ..ServerOptions::default()
    };
    let served = start("m", &log, options).await;
    let wire = Wire::to(&served.target).await;
    let gateway = gateway("g", Some(&wire.target));
    gateway.live(1, ALL).await;
    wire.hold(true);
    let large = "x".repeat(60_000);
    let mut count = 0;
    while served.metric("sessions_cut_off_total") == 0.0 {
        assert!(count < 2_000, "the queue has no end");
        log.lock().push(note(&format!("{count} {large}")));
        served.matcher.catch_up();
        count += 1;
        tokio::task::yield_now().await;
    }
    assert_eq!(served.metric("sessions_cut_off_total"), 1.0);
    until(|| served.matcher.open_slots() == 0).await;
    wire.hold(false);
    // From here on there is room: a resumption that doesn't fit would be cut off as well.
    until(|| {
        gateway.hub.contents(1).len() == count || !served.matcher.resumed_from.lock().is_empty()
    })
    .await;
    let from = served.matcher.resumed_from.lock()[0];
    assert!(from < count as u64, "{from} of {count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_comes_with_the_next_session() {
    let log = Log::default();
    let options = ServerOptions {
        queue_bytes_max: 8 << 20,
        ..ServerOptions::default()
    };
    let served = start("m", &log, options).await;
    let wire = Wire::to(&served.target).await;
    let gateway = gateway("g", Some(&wire.target));
    gateway.live(1, ALL).await;
    wire.hold(true);
    let large = "x".repeat(200_000);
    let mut count = 0_usize;
    while served.metric("sessions_cut_off_total") == 0.0 {
        assert!(count < 500, "the queue has no end");
        log.lock().push(note(&format!("{count} {large}")));
        served.matcher.catch_up();
        count += 1;
    }
    wire.hold(false);
    // What was sent before the cut has come; the rest fits into the queue, or comes in the session
    // after.
    until(|| gateway.hub.contents(1).len() >= count).await;
    let numbers: Vec<usize> = gateway
        .hub
        .contents(1)
        .iter()
        .map(|content| content.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_that_can_t_be_resumed_end() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let wire = Wire::to(&served.target).await;
    let gateway = gateway("g", Some(&wire.target));
    gateway.live(1, ALL).await;
    *served.matcher.refuse_resume.lock() = Some(Refusal::error("too old"));
    wire.cut();
    until(|| gateway.hub.ended() == [1]).await;
    assert_eq!(gateway.metric("subscriptions_ended_total"), 1.0);
    gateway.client.close(Slot(1));
    until(|| gateway.hub.released(1) == 1).await;
    gateway.live(1, ALL).await;
    assert_eq!(served.matcher.open_slots(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_matcher_questions_fail_and_subscriptions_end_in_time() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let wire = Wire::to(&served.target).await;
    let options = ClientOptions {
        give_up: Duration::from_millis(300),
        session_wait: Duration::from_millis(100),
        ..ClientOptions::default()
    };
    let gateway = gateway_with("g", Some(&wire.target), options);
    gateway.live(1, ALL).await;
    gateway.live(2, ALL).await;
    wire.refuse(true);
    wire.cut();
    until(|| !gateway.client.is_connected()).await;
    gateway.client.close(Slot(2));
    assert_eq!(gateway.hub.released(2), 1, "at once");
    let asked = gateway.client.open(open(3, ALL)).await;
    assert_eq!(asked.err(), Some(BusError::NoMatcher));
    until(|| gateway.hub.ended() == [1]).await;
    gateway.client.close(Slot(1));
    assert_eq!(gateway.hub.released(1), 1);
    wire.refuse(false);
    gateway.connected().await;
    gateway.live(1, ALL).await;
    assert!(served.matcher.resumed_from.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_matcher_that_stops_lets_its_gateways_go() {
    let log = Log::default();
    let a = start("a", &log, ServerOptions::default()).await;
    let b = start("b", &log, ServerOptions::default()).await;
    let gateway = gateway("g", Some(&a.target));
    gateway.live(1, ALL).await;
    a.stop();
    until(|| a.sessions.count() == 0 && a.matcher.open_slots() == 0).await;
    gateway.target.send_replace(Some(b.target.clone()));
    until(|| b.matcher.open_slots() == 1).await;
    assert!(gateway.hub.ended().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_client_asks_nothing_and_leaves_nothing_open() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let gateway = gateway("g", Some(&served.target));
    gateway.live(1, ALL).await;
    gateway.client.stop();
    until(|| served.matcher.open_slots() == 0 && served.sessions.count() == 0).await;
    until(|| gateway.hub.ended() == [1]).await;
    let asked = gateway.client.open(open(2, ALL)).await;
    assert_eq!(asked.err(), Some(BusError::Closed));
}
