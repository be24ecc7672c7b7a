//! A collector that is away, slow, or refuses: everything else goes on.

use std::{
    fs,
    net::TcpListener,
    time::{Duration, Instant},
};

use heliograph_telemetry::trace::{self, Authorities, Error, Options, Span, SpanKind};
use tonic::Status;

use crate::{
    collector::{Answer, Collector, until},
    counted, options, turn, work,
};

/// A port that nobody listens on.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Resident memory in MiB.
fn memory_mib() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4 / 1_024
}

/// Ends spans that say as much as they may, and how long the slowest took.
fn flood(spans: usize) -> Duration {
    let text = "x".repeat(256);
    let mut slowest = Duration::ZERO;
    for _ in 0..spans {
        let mut span = Span::begin("deliver", SpanKind::Producer, trace::sample().unwrap());
        for _ in 0..16 {
            span.set("text", text.as_str());
        }
        let start = Instant::now();
        drop(span);
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_holds_nobody_up_and_takes_no_memory() {
    let _turn = turn().await;
    let before = counted();
    let guard = trace::start(Options {
        stop_timeout: Duration::from_millis(100),
        ..options(nobody())
    })
    .unwrap();
    flood(10_000);
    let full = memory_mib();
    let slowest = flood(100_000);
    let grown = memory_mib().saturating_sub(full);
    // 100,000 spans of more than 4 KiB each would be 400 MiB.
    assert!(grown < 64, "{grown} MiB");
    // Well below every pause and time-out of the exporter.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    guard.stop().await;
    assert_eq!(counted(), (before.0, before.1 + 110_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_nobody_up_either() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    collector.answer(vec![Answer::Hang; 1_000]);
    let before = counted();
    let stop_timeout = Duration::from_millis(300);
    let guard = trace::start(Options {
        queue_spans_max: 100,
        batch_spans_max: 10,
        timeout: Duration::from_secs(60),
        stop_timeout,
        ..options(collector.endpoint())
    })
    .unwrap();
    for _ in 0..10_000 {
        work("deliver");
    }
    until("request", || collector.requests() > 0).await;
    let start = Instant::now();
    guard.stop().await;
    let took = start.elapsed();
    // Not the minute that a request may take.
    assert!(
        (stop_timeout..Duration::from_secs(20)).contains(&took),
        "{took:?}"
    );
    assert_eq!(counted(), (before.0, before.1 + 10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_can_take_later_is_sent_again() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    let busy = Answer::Refuse(Status::unavailable("busy"));
    collector.answer([busy.clone(), busy]);
    let before = counted();
    let guard = trace::start(options(collector.endpoint())).unwrap();
    work("store");
    until("third attempt", || counted().0 > before.0).await;
    assert_eq!(collector.requests(), 3);
    assert_eq!(counted(), (before.0 + 1, before.1));
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_attempts_spans_are_dropped_and_later_ones_go_on() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    collector.answer(vec![Answer::Refuse(Status::unavailable("busy")); 3]);
    let before = counted();
    let guard = trace::start(options(collector.endpoint())).unwrap();
    work("store");
    until("drop", || counted().1 > before.1).await;
    let later = work("commit");
    until("export", || counted().0 > before.0).await;
    let last = collector.spans().pop().unwrap();
    assert_eq!((last.name.as_str(), collector.requests()), ("commit", 4));
    assert_eq!(last.span_id, later.span_id);
    guard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_refuses_for_good_is_sent_once() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    collector.answer([Answer::Refuse(Status::unauthenticated("who?"))]);
    let before = counted();
    let guard = trace::start(options(collector.endpoint())).unwrap();
    work("store");
    until("drop", || counted().1 > before.1).await;
    guard.stop().await;
    assert_eq!(collector.requests(), 1);
    assert_eq!(counted(), (before.0, before.1 + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_a_collector_leaves_out_count_as_dropped() {
    let _turn = turn().await;
    let collector = Collector::start().await;
    collector.answer([Answer::Partly(3)]);
    let before = counted();
    let guard = trace::start(Options {
        batch_delay: Duration::from_secs(60),
        batch_spans_max: 10,
        ..options(collector.endpoint())
    })
    .unwrap();
    for _ in 0..10 {
        work("store");
    }
    until("export", || counted() != before).await;
    guard.stop().await;
    assert_eq!(counted(), (before.0 + 7, before.1 + 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_proves_who_it_is() {
    let _turn = turn().await;
    let collector = Collector::start_tls().await;
    let before = counted();
    let over_tls = |authorities| Options {
        authorities,
        ..options(format!("https://{}", collector.address()))
    };
    let authority = include_bytes!("tls/authority.pem").to_vec();
    let guard = trace::start(over_tls(Authorities::Pem(authority))).unwrap();
    work("EVENT");
    collector.wait_for(1).await;
    guard.stop().await;
    assert_eq!(counted(), (before.0 + 1, before.1));

    // Nobody in the system knows the authority.
    let guard = trace::start(over_tls(Authorities::System)).unwrap();
    work("EVENT");
    until("drop", || counted().1 > before.1).await;
    guard.stop().await;
    assert_eq!(collector.spans().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_used_is_said_at_the_start() {
    let _turn = turn().await;
    let endpoint = trace::start(options("http://a b".to_owned()));
    assert!(
        matches!(endpoint, Err(Error::Endpoint { .. })),
        "{endpoint:?}"
    );
    let authorities = trace::start(Options {
        authorities: Authorities::Pem(b"-----BEGIN CERTIFICATE-----\n!\n".to_vec()),
        ..options("https://localhost:4317".to_owned())
    });
    assert!(
        matches!(authorities, Err(Error::Endpoint { .. })),
        "{authorities:?}"
    );
    let header = trace::start(Options {
        headers: vec![("token".to_owned(), "geheim\n".to_owned())],
        ..options(nobody())
    });
    let Err(error @ Error::Header(_)) = header else {
        panic!("{header:?}")
    };
    assert_eq!(error.to_string(), "header \"token\" can't be sent");
}
