//! What becomes of probes: delivered, missing, refused, lost, found again.

use std::time::Duration;

use heliograph_canary::Timing;
use heliograph_lifecycle::Tasks;
use heliograph_protocol::Timestamp;

use crate::{
    bed::{Bed, PATIENT, STRICT},
    fake::{Fake, Memory},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_come_through_every_reader_and_are_found_again() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let one = Fake::start(&memory, &tasks).await;
    let two = Fake::start(&memory, &tasks).await;
    let bed = Bed::start(&[&one.url, &one.url, &two.url], PATIENT);
    for via in 0..2 {
        bed.until("deliveries", || bed.delivered(via) >= 5.0).await;
    }
    bed.until("audits", || bed.value("audited_total") >= 4.0)
        .await;
    bed.until("a success", || {
        bed.value("last_success_timestamp_seconds") > 0.0
    })
    .await;
    assert!(bed.published("accepted") >= 5.0);
    assert!(bed.value("publish_seconds_count") >= 5.0);
    for series in [
        "missing_total{via=\"0\"}",
        "missing_total{via=\"1\"}",
        "lost_total",
        "audit_skipped_total",
        "published_total{result=\"refused\"}",
        "published_total{result=\"error\"}",
    ] {
        assert_eq!(bed.value(series), 0.0, "{series}");
    }
    assert_eq!(bed.value("connected{via=\"1\"}"), 1.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_events_of_their_own_that_expire() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    let bed = Bed::start(&[&relay.url, &relay.url], PATIENT);
    bed.until("events", || memory.events().len() >= 3).await;
    let events = memory.events().clone();
    let now = Timestamp::now();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event.kind().as_u16(), 1166);
        let expires = event.created_at().plus(600).to_string();
        assert!(event.values("expiration").any(|at| at == expires));
        assert!(event.created_at() <= now && event.created_at() >= now.minus(60));
        assert!(
            event.content().starts_with("canary "),
            "{}",
            event.content()
        );
        assert!(!events[..number].contains(event), "twice");
    }
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_acknowledges_and_forgets_loses_probes() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    relay.now(|manners| manners.remembers = false);
    let bed = Bed::start(&[&relay.url, &relay.url], PATIENT);
    bed.until("losses", || bed.value("lost_total") >= 3.0).await;
    assert!(bed.delivered(0) >= 3.0, "they came before they were lost");
    assert_eq!(bed.missing(0), 0.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_comes_late_is_missing() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    relay.now(|manners| manners.delay = 2 * STRICT.deadline);
    let bed = Bed::start(&[&relay.url, &relay.url], STRICT);
    bed.until("missing probes", || bed.missing(0) >= 3.0).await;
    assert_eq!(bed.delivered(0), 0.0);
    assert_eq!(bed.value("last_success_timestamp_seconds"), 0.0);
    relay.now(|manners| manners.delay = Duration::ZERO);
    bed.more_delivered(0, 3.0).await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_relay_does_not_want_is_refused_and_what_it_can_not_take_is_an_error() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    relay.now(|manners| manners.refuses = Some("rate-limited: slow down"));
    let bed = Bed::start(&[&relay.url, &relay.url], PATIENT);
    bed.until("refusals", || bed.published("refused") >= 3.0)
        .await;
    assert_eq!(bed.published("error"), 0.0);
    relay.now(|manners| manners.refuses = Some("error: no disk"));
    bed.until("errors", || bed.published("error") >= 3.0).await;
    relay.now(|manners| manners.refuses = None);
    bed.more_delivered(0, 3.0).await;
    assert_eq!(bed.missing(0), 0.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_by_id_that_fail_are_tried_again_and_are_no_loss() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    relay.now(|manners| manners.closes = Some("error: the archive is away"));
    let bed = Bed::start(&[&relay.url, &relay.url], PATIENT);
    bed.until("deliveries", || bed.delivered(0) >= 20.0).await;
    assert_eq!(bed.value("audited_total"), 0.0);
    relay.now(|manners| manners.closes = None);
    bed.until("audits", || bed.value("audited_total") >= 20.0)
        .await;
    assert_eq!(bed.value("lost_total"), 0.0);
    assert_eq!(bed.value("audit_skipped_total"), 0.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_that_can_not_be_read_again_before_they_expire_are_skipped() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    relay.now(|manners| manners.closes = Some("error: the archive is away"));
    let timing = Timing {
        expiration: Duration::from_secs(2),
        ..PATIENT
    };
    let bed = Bed::start(&[&relay.url, &relay.url], timing);
    bed.until("skipped reads", || bed.value("audit_skipped_total") >= 3.0)
        .await;
    assert_eq!(bed.value("audited_total"), 0.0);
    assert_eq!(bed.value("lost_total"), 0.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timing_changes_while_it_runs() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    let slow = Timing {
        interval: Duration::from_secs(3_600),
        ..PATIENT
    };
    let bed = Bed::start(&[&relay.url, &relay.url], slow);
    bed.until("the first probe", || bed.delivered(0) >= 1.0)
        .await;
    bed.timing.send_replace(PATIENT);
    bed.until("more", || bed.delivered(0) >= 5.0).await;
    bed.stop().await;
}
