//! The book over time: every test says what happens when, in seconds since the start.

use heliograph_protocol::Kind;
use heliograph_telemetry::Registry;
use prometheus_client::encoding::text::encode;

use super::*;
use crate::signer::Signer;

const TIMING: Timing = Timing {
    interval: Duration::from_secs(1),
    deadline: Duration::from_secs(5),
    audit_after: Duration::from_secs(60),
    expiration: Duration::from_secs(600),
};

/// A book for two readers.
struct Bed {
    book: Book,
    registry: Registry,
    signer: Signer,
    start: Instant,
    probes: u64,
}

impl Bed {
    fn new() -> Self {
        Self::patient(0.0)
    }

    fn patient(seconds: f64) -> Self {
        let mut registry = heliograph_telemetry::registry();
        let metrics = Arc::new(Metrics::register(&mut registry, 2));
        Self {
            book: Book::new(metrics, Duration::from_secs_f64(seconds)),
            registry,
            signer: Signer::random().unwrap(),
            start: Instant::now(),
            probes: 0,
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn made(&mut self, seconds: f64) -> Event {
        self.probes += 1;
        let (at, text) = (Timestamp::from_secs(1_000), self.probes.to_string());
        let event = self.signer.sign(at, Kind::new(1166), &[], &text);
        let now = self.at(seconds);
        self.book.add(event.clone(), now, TIMING.expiration);
        event
    }

    fn sent(&mut self, seconds: f64) -> Event {
        let event = self.made(seconds);
        self.book.sent(event.id(), self.at(seconds));
        event
    }

    fn ok(&mut self, event: &Event, seconds: f64) {
        let now = self.at(seconds);
        self.book.answered(event.id(), true, "", now);
    }

    fn comes(&mut self, via: usize, event: &Event, seconds: f64) {
        let at = self.at(seconds);
        self.book.received(via, event, at, TIMING.deadline);
    }

    fn judge(&mut self, seconds: f64) {
        let now = self.at(seconds);
        self.book.judge(now, &TIMING);
    }

    /// A probe that was sent at the start, acknowledged, and came to both readers.
    fn delivered(&mut self) -> Event {
        let event = self.sent(0.0);
        self.ok(&event, 0.1);
        self.comes(0, &event, 0.2);
        self.comes(1, &event, 0.2);
        event
    }

    fn audit(&mut self, via: usize, found: &[&Event], seconds: f64) -> usize {
        let now = self.at(seconds);
        let due = self.book.due(via, now, TIMING.audit_after, 100);
        let found = found.iter().map(|event| *event.id()).collect();
        let after = TIMING.audit_after;
        self.book.audited(via, &due, &found, now, after);
        due.len()
    }

    fn value(&self, series: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let start = format!("heliograph_canary_{series} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("no {series} in {text}"));
        line.parse().unwrap()
    }

    #[track_caller]
    fn check(&self, expected: &[(&str, f64)]) {
        for (series, value) in expected {
            let found = self.value(series);
            assert!((found - value).abs() < 1e-9, "{series}: {found}");
        }
    }
}

const MISSING: [&str; 2] = [r#"missing_total{via="0"}"#, r#"missing_total{via="1"}"#];
const COUNT: [&str; 2] = [
    r#"delivery_seconds_count{via="0"}"#,
    r#"delivery_seconds_count{via="1"}"#,
];
const ACCEPTED: &str = r#"published_total{result="accepted"}"#;
const REFUSED: &str = r#"published_total{result="refused"}"#;
const ERROR: &str = r#"published_total{result="error"}"#;

#[test]
fn delivery_is_measured_from_sending_to_receipt_by_reader() {
    let mut bed = Bed::new();
    let event = bed.sent(1.0);
    bed.comes(0, &event, 1.25);
    bed.ok(&event, 1.5);
    bed.comes(1, &event, 3.0);
    bed.comes(1, &event, 3.5); // again, from what is stored
    bed.judge(10.0);
    bed.check(&[
        (COUNT[0], 1.0),
        (COUNT[1], 1.0),
        (r#"delivery_seconds_sum{via="0"}"#, 0.25),
        (r#"delivery_seconds_sum{via="1"}"#, 2.0),
        ("publish_seconds_sum", 0.5),
        (ACCEPTED, 1.0),
        (MISSING[0], 0.0),
        (MISSING[1], 0.0),
        ("last_success_timestamp_seconds", 1_000.0),
    ]);
    assert_eq!(bed.book.slowest, Duration::from_secs(2));
}

#[test]
fn a_probe_that_does_not_come_in_time_is_missing_once_for_that_reader() {
    let mut bed = Bed::new();
    let event = bed.sent(0.0);
    bed.ok(&event, 0.1);
    bed.comes(1, &event, 0.2);
    bed.judge(5.0);
    bed.check(&[(MISSING[0], 0.0)]);
    bed.judge(5.1);
    bed.judge(6.0);
    bed.comes(0, &event, 6.5);
    bed.judge(7.0);
    bed.check(&[
        (MISSING[0], 1.0),
        (MISSING[1], 0.0),
        (COUNT[0], 0.0),
        ("last_success_timestamp_seconds", 0.0),
    ]);
}

#[test]
fn a_probe_that_comes_late_is_missing_even_if_nobody_looked_in_between() {
    let mut bed = Bed::new();
    let event = bed.sent(0.0);
    bed.ok(&event, 0.1);
    bed.comes(0, &event, 5.5);
    bed.judge(6.0);
    bed.check(&[(MISSING[0], 1.0), (COUNT[0], 0.0)]);
}

#[test]
fn readers_are_not_blamed_for_what_was_not_accepted() {
    let mut bed = Bed::new();
    let refused = bed.sent(0.0);
    let (id, now) = (*refused.id(), bed.at(0.1));
    bed.book.answered(&id, false, "rate-limited: slow", now);
    let failed = bed.sent(0.0);
    let id = *failed.id();
    bed.book.answered(&id, false, "error: no", now);
    let unanswered = bed.sent(0.0);
    bed.judge(5.1);
    bed.judge(20.0);
    bed.comes(0, &unanswered, 21.0);
    bed.check(&[
        (REFUSED, 1.0),
        (ERROR, 2.0),
        (ACCEPTED, 0.0),
        (MISSING[0], 0.0),
        (MISSING[1], 0.0),
        (COUNT[0], 0.0),
    ]);
    assert!(bed.book.is_settled());
}

#[test]
fn what_was_not_answered_is_sent_again_and_counts_from_the_first_time() {
    let mut bed = Bed::new();
    let event = bed.sent(0.0);
    assert_eq!(bed.book.unanswered(), std::slice::from_ref(&event));
    bed.book.sent(event.id(), bed.at(2.0));
    bed.ok(&event, 3.0);
    assert!(bed.book.unanswered().is_empty());
    bed.check(&[("publish_seconds_sum", 3.0), (ACCEPTED, 1.0)]);
}

#[test]
fn a_probe_that_could_not_be_sent_in_time_is_an_error_and_sent_no_more() {
    let mut bed = Bed::new();
    let event = bed.made(0.0);
    bed.judge(4.9);
    assert_eq!(bed.book.unanswered(), [event]);
    bed.judge(5.1);
    assert!(bed.book.unanswered().is_empty());
    assert_eq!(
        bed.book.refusal.as_deref(),
        Some("no connection to publish through")
    );
    bed.check(&[(ERROR, 1.0)]);
}

#[test]
fn a_reader_that_comes_back_asks_for_what_it_waits_for() {
    let mut bed = Bed::new();
    let now = Timestamp::from_secs(1_003);
    assert_eq!(bed.book.since(0, now), now.minus(SINCE_MARGIN_SECS));
    let event = bed.sent(0.0);
    bed.ok(&event, 0.1);
    bed.comes(0, &event, 0.2);
    let first = Timestamp::from_secs(1_000).minus(SINCE_MARGIN_SECS);
    assert_eq!(bed.book.since(0, now), now.minus(SINCE_MARGIN_SECS));
    assert_eq!(bed.book.since(1, now), first);
}

#[test]
fn what_was_acknowledged_is_read_again_by_every_reader_once() {
    let mut bed = Bed::new();
    let event = bed.delivered();
    assert_eq!(bed.audit(0, &[&event], 60.0), 0, "not yet");
    assert_eq!(bed.audit(0, &[&event], 60.2), 1);
    assert_eq!(bed.audit(0, &[&event], 62.0), 0);
    assert!(!bed.book.is_settled());
    assert_eq!(bed.audit(1, &[&event], 62.0), 1);
    assert!(bed.book.is_settled() && !bed.book.holds(&event));
    bed.check(&[
        ("audited_total", 2.0),
        ("lost_total", 0.0),
        ("audit_skipped_total", 0.0),
    ]);
}

#[test]
fn a_probe_that_is_not_found_is_lost_once() {
    let mut bed = Bed::new();
    bed.delivered();
    bed.audit(0, &[], 61.0);
    bed.audit(1, &[], 61.0);
    bed.check(&[("audited_total", 2.0), ("lost_total", 1.0)]);
}

#[test]
fn where_patience_is_asked_for_a_loss_is_believed_later() {
    let mut bed = Bed::patient(5.0);
    let event = bed.delivered();
    assert_eq!(bed.audit(0, &[], 61.0), 1);
    bed.check(&[("audited_total", 0.0), ("lost_total", 0.0)]);
    assert_eq!(bed.audit(0, &[], 65.5), 1);
    bed.check(&[("audited_total", 1.0), ("lost_total", 1.0)]);
    assert_eq!(bed.audit(1, &[&event], 61.0), 1);
    bed.check(&[("audited_total", 2.0), ("lost_total", 1.0)]);
}

#[test]
fn a_probe_that_is_about_to_expire_is_neither_looked_for_nor_lost() {
    let mut bed = Bed::new();
    let event = bed.delivered();
    let now = bed.at(500.0);
    let due = bed.book.due(0, now, TIMING.audit_after, 100);
    // The answer takes until 30 s before the end.
    let (late, none) = (bed.at(570.0), HashSet::new());
    let after = TIMING.audit_after;
    bed.book.audited(0, &due, &none, late, after);
    assert_eq!(bed.audit(1, &[], 571.0), 0);
    bed.judge(571.0);
    assert!(!bed.book.holds(&event));
    bed.check(&[
        ("audited_total", 0.0),
        ("audit_skipped_total", 2.0),
        ("lost_total", 0.0),
    ]);
}

#[test]
fn an_ok_that_comes_late_is_no_success_and_has_to_hold_all_the_same() {
    let mut bed = Bed::new();
    let event = bed.sent(0.0);
    bed.judge(5.1);
    bed.ok(&event, 7.0);
    bed.judge(20.0);
    bed.check(&[(ERROR, 1.0), (ACCEPTED, 0.0), (MISSING[0], 0.0)]);
    assert_eq!(bed.audit(0, &[], 70.0), 1);
    bed.check(&[("lost_total", 1.0)]);
}

#[test]
fn a_canary_that_stood_still_blames_nobody_and_still_reads_again() {
    let mut bed = Bed::new();
    let accepted = bed.sent(0.0);
    bed.ok(&accepted, 0.1);
    let unanswered = bed.sent(0.0);
    bed.book.excuse();
    bed.judge(30.0);
    bed.comes(0, &unanswered, 30.0);
    bed.check(&[(MISSING[0], 0.0), (ERROR, 0.0), (COUNT[0], 0.0)]);
    assert_eq!(bed.audit(0, &[&accepted], 90.0), 1);
}

#[test]
fn an_event_with_the_id_of_a_probe_and_another_signature_is_none() {
    let mut bed = Bed::new();
    let event = bed.sent(0.0);
    bed.ok(&event, 0.1);
    let other = bed.sent(0.0);
    let (good, bad) = (event.sig().to_hex(), other.sig().to_hex());
    let forged = Event::parse(&event.as_str().replace(&good, &bad)).unwrap();
    bed.comes(0, &forged, 0.2);
    assert!(!bed.book.holds(&forged) && bed.book.holds(&event));
    bed.check(&[(COUNT[0], 0.0)]);
}

#[test]
fn the_oldest_is_skipped_when_there_are_too_many() {
    let mut bed = Bed::new();
    let event = bed.delivered();
    for number in 0..PROBES_MAX {
        let copy = bed.signer.sign(
            Timestamp::from_secs(number as u64),
            Kind::new(1166),
            &[],
            "",
        );
        let now = bed.at(1.0);
        bed.book.add(copy, now, TIMING.expiration);
    }
    assert!(!bed.book.holds(&event));
    bed.check(&[("audit_skipped_total", 2.0)]);
}
