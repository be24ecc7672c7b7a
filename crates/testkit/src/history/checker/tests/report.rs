//! What a reader of a failed run gets.

use super::*;

#[test]
fn a_violation_shows_the_fault_and_the_lines_around_it() {
    let (event, phantom) = (&note(1), &note(2));
    let name = |text: &str| Arc::<str>::from(text);
    let mut log = plant();
    log.accept(&[event]).push(
        0,
        What::Begin {
            name: name("kill ingest 0"),
        },
    );
    log.req(2, "q", json!({"kinds": [1]}))
        .events(2, "q", &[phantom]);
    log.live(3).eose(2, "q");
    let report = log.result(&strict()).unwrap_err().to_string();
    let id = phantom.id();
    assert!(
        report.contains("Foreign (entry 4): connection 2 sub q: nobody had sent"),
        "{report}"
    );
    assert!(report.contains("FAULT begins: kill ingest 0"), "{report}");
    assert!(report.contains("> REQ q {\"kinds\":[1]}"), "{report}");
    assert!(
        report.contains("-> ") && report.contains(&id.to_hex()),
        "{report}"
    );
    assert!(!report.contains("connection 3"), "{report}");
}

#[test]
fn twenty_violations_are_shown_and_the_others_counted() {
    let mut log = plant();
    for _ in 0..25 {
        log.eose(2, "s");
    }
    let violations = log.result(&strict()).unwrap_err();
    assert_eq!(violations.list.len(), 25);
    let report = violations.to_string();
    assert_eq!(report.matches("nobody asked").count(), 20);
    assert!(report.ends_with("and 5 more\n"), "{report}");
}

#[test]
fn the_summary_counts_what_happened() {
    let (a, b, c, d) = (&note(1), &note(2), &note(3), &version(1));
    let mut log = plant();
    log.live(2)
        .live(3)
        .live(4)
        .live(5)
        .req(6, "q", json!({}))
        .closed(6, "q");
    log.intended = Some(Duration::ZERO);
    log.publish(1, a).wait(Duration::from_secs(2)).ok(1, a);
    log.events(2, "s", &[a])
        .events(3, "s", &[a])
        .closed(3, "s")
        .cut(4)
        .close(5, "s");
    log.publish(1, b).answer(1, b, false, "error: no receipt");
    log.publish(1, d)
        .answer(1, d, false, "rate-limited: slow down");
    log.publish(1, c)
        .cut(1)
        .query(2, json!({"kinds": [1], "until": START + 1}), &[a]);
    let expect = Expect {
        refusals_allowed: true,
        ..strict()
    };
    let summary = log.result(&expect).unwrap();
    let expected = Summary {
        published: 4,
        acknowledged: 1,
        errors: 1,
        refused: 1,
        unanswered: 1,
        deliveries: 3,
        live: 2,
        kept: 1,
        closed: 1,
        disconnected: 1,
        whole: 5,
        failed: 1,
        // From when it was due.
        longest_ok: Duration::from_secs(2) + STEP * 12,
        longest_gap: Duration::from_secs(2) + STEP,
    };
    assert_eq!(summary, expected);
}
