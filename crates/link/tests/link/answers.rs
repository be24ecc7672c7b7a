//! Stored answers: their end, their pace, and what comes in between.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::FutureExt;
use heliograph_bus::{BusError, ConnectionId, Requests, Slot};
use heliograph_link::{ClientOptions, ServerOptions};
use heliograph_protocol::PublicKey;
use tokio::time::timeout;

use crate::bed::{
    Gateway, Log, Served, Wire, gateway, gateway_with, note, open, read, start, until,
};

const ALL: &str = r#"{"kinds":[1]}"#;

async fn bed() -> (Log, Served, Wire, Gateway) {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let wire = Wire::to(&served.target).await;
    let gateway = gateway("g", Some(&wire.target));
    (log, served, wire, gateway)
}

/// Nothing comes, however long one waits: for a while at least.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    timeout(Duration::from_millis(200), future).await.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_comes_whole_and_in_order() {
    let (log, served, _wire, gateway) = bed().await;
    log.lock().extend(["a", "b", "c"].map(note));
    served.matcher.catch_up();
    assert_eq!(gateway.live(1, ALL).await, ["c", "b", "a"]);
    assert_eq!(served.metric("pages_total"), 4.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_page_comes_after_every_live_event_before_it() {
    let (log, served, wire, gateway) = bed().await;
    served.matcher.pages.forget_permits(usize::MAX);
    let mut pages = gateway.client.open(open(1, ALL)).await.unwrap();
    wire.hold(true);
    log.lock().push(note("live"));
    served.matcher.catch_up();
    served.matcher.pages.add_permits(1);
    let mut next = pages.next();
    until(|| served.metric("pages_total") > 0.0).await;
    assert!(is_pending(&mut next).await, "the live stream is held");
    assert!(gateway.hub.contents(1).is_empty());
    wire.hold(false);
    assert!(next.await.unwrap().end.is_some());
    assert_eq!(gateway.hub.contents(1), ["live"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_live_events_don_t_come_breaks_off() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let wire = Wire::to(&served.target).await;
    let options = ClientOptions {
        mark_wait: Duration::from_millis(100),
        ..ClientOptions::default()
    };
    let gateway = gateway_with("g", Some(&wire.target), options);
    served.matcher.pages.forget_permits(usize::MAX);
    let mut pages = gateway.client.open(open(1, ALL)).await.unwrap();
    wire.hold(true);
    served.matcher.pages.add_permits(10);
    assert_eq!(pages.next().await.unwrap_err(), BusError::Interrupted);
    wire.hold(false);
    assert_eq!(
        gateway.live(1, ALL).await.len(),
        0,
        "the same slot, asked again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_reads_is_not_read_ahead_and_holds_up_nobody() {
    let (log, served, _wire, gateway) = bed().await;
    let large = "x".repeat(60_000);
    log.lock()
        .extend((0..400).map(|n| note(&format!("{n}{large}"))));
    served.matcher.catch_up();
    let mut slow = Vec::new();
    for slot in 0..20 {
        slow.push(gateway.client.open(open(slot, ALL)).await.unwrap());
    }
    assert_eq!(gateway.live(50, ALL).await.len(), 400, "held up");
    let read_ahead = served.matcher.pages_read.load(Ordering::SeqCst) - 401;
    assert!(read_ahead < 20 * 40, "{read_ahead} pages read ahead");
    assert_eq!(read(&mut *slow[0]).await.len(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_closed_while_it_is_opened_leaves_nothing_behind() {
    let (log, served, _wire, gateway) = bed().await;
    gateway.connected().await;
    for round in 0..2 {
        served.matcher.opens.forget_permits(usize::MAX);
        let before = served.matcher.opens.available_permits();
        assert_eq!(before, 0);
        let mut opening = gateway.client.open(open(1, ALL));
        assert!(is_pending(&mut opening).await);
        // The client that asked hangs up, or it only closes and waits what comes of it.
        if round == 0 {
            drop(opening);
            gateway.client.close(Slot(1));
        } else {
            gateway.client.close(Slot(1));
            // Goes the same way, so the close has arrived when this has.
            let key = PublicKey::new([1; 32]);
            gateway.client.authenticate(ConnectionId(7), key);
            until(|| served.matcher.keys() == [vec![key]]).await;
            served.matcher.opens.add_permits(1);
            drop(opening.await);
        }
        until(|| gateway.hub.released(1) == round + 1).await;
        assert_eq!(served.matcher.open_slots(), 0);
    }
    served.matcher.opens.add_permits(100);
    gateway.live(1, ALL).await;
    log.lock().push(note("x"));
    served.matcher.catch_up();
    until(|| gateway.hub.contents(1) == ["x"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_closed_before_it_is_asked_is_released_at_once() {
    let gateway = gateway("g", None);
    let opening = gateway.client.open(open(1, ALL));
    gateway.client.close(Slot(1));
    assert_eq!(gateway.hub.released(1), 1);
    assert_eq!(opening.await.err(), Some(BusError::NoMatcher));
    gateway.client.close(Slot(2));
    assert_eq!(gateway.hub.released(2), 1, "never asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_are_opened_and_closed_in_a_hurry_stay_in_order() {
    let (log, served, _wire, gateway) = bed().await;
    log.lock().extend(["a", "b"].map(note));
    served.matcher.catch_up();
    gateway.connected().await;
    for round in 1..=300_usize {
        let mut opening = gateway.client.open(open(1, ALL));
        // More or less of it happens before the end.
        match round % 5 {
            0 => {}
            1 => drop((&mut opening).now_or_never()),
            2 => {
                tokio::task::yield_now().await;
                drop((&mut opening).now_or_never());
                tokio::task::yield_now().await;
            }
            3 => drop(opening.as_mut().await.unwrap()),
            _ => {
                let mut pages = opening.as_mut().await.unwrap();
                drop(pages.next().await.unwrap());
            }
        }
        drop(opening);
        gateway.client.close(Slot(1));
        until(|| gateway.hub.released(1) == round).await;
    }
    assert_eq!(gateway.live(1, ALL).await, ["b", "a"]);
    assert_eq!(served.matcher.open_slots(), 1);
    assert_eq!(gateway.metric("reconnects_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_interrupted_with_its_connection_and_asked_again_by_the_same_slot() {
    let (log, served, wire, gateway) = bed().await;
    log.lock().extend(["a", "b"].map(note));
    served.matcher.catch_up();
    served.matcher.pages.forget_permits(usize::MAX);
    served.matcher.pages.add_permits(1);
    let mut pages = gateway.client.open(open(1, ALL)).await.unwrap();
    assert_eq!(pages.next().await.unwrap().events.len(), 1);
    wire.cut();
    assert_eq!(pages.next().await.unwrap_err(), BusError::Interrupted);
    served.matcher.pages.add_permits(100);
    assert_eq!(gateway.live(1, ALL).await, ["b", "a"]);
    assert!(served.matcher.resumed_from.lock().is_empty(), "not live");
    until(|| served.matcher.open_slots() == 1).await;
}
