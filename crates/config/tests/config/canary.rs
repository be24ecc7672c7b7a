//! The keys of the canary.

use heliograph_config::Loaded;
use heliograph_protocol::Kind;

use crate::try_load;

#[track_caller]
fn check_wrong(key: &str, value: &str, part: &str) {
    let errors = try_load("", &[], &[(key, value)])
        .expect_err("this is wrong")
        .to_string();
    assert!(
        errors.lines().count() == 1 && errors.contains(part),
        "{part} in {errors}"
    );
}

#[track_caller]
fn flags(flags: &[(&str, &str)]) -> Loaded {
    try_load("", &[], flags).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn nothing_has_to_be_told_to_a_program_that_is_no_canary() {
    let canary = flags(&[]).config.canary;
    assert_eq!((canary.publish, canary.read), (None, Vec::new()));
    assert_eq!(canary.kind, Kind::new(1166));
    assert!(canary.secret_key.is_none());
}

#[test]
fn relays_to_publish_to_and_to_read_from_are_read() {
    let canary = flags(&[
        ("canary.publish", "wss://relay.example.com/nostr"),
        ("canary.read", "ws://10.0.0.1:7777,wss://relay.example.com"),
    ])
    .config
    .canary;
    assert_eq!(
        canary.publish.as_deref(),
        Some("wss://relay.example.com/nostr")
    );
    assert_eq!(
        canary.read,
        ["ws://10.0.0.1:7777", "wss://relay.example.com"]
    );
}

#[test]
fn what_is_malformed_is_named() {
    let readers = vec!["ws://a"; 17].join(",");
    for (key, value, part) in [
        ("canary.publish", "https://a", "another scheme"),
        ("canary.publish", "ws://me@a", "names a user"),
        ("canary.read", "ws://a,ws://:1", "no valid host"),
        ("canary.read", "ws://a/?token=1", "a query"),
        ("canary.read", &readers, "17 entries"),
        ("canary.interval_ms", "99", "out of range"),
        ("canary.audit_after_secs", "301", "twice"),
    ] {
        check_wrong(key, value, part);
    }
}

#[test]
fn a_kind_that_is_not_kept_or_not_shown_can_not_be_a_probe() {
    for kind in [0, 3, 4, 5, 62, 1059, 10_002, 20_001, 30_023, 40_000] {
        check_wrong("canary.kind", &kind.to_string(), "is another");
    }
    assert_eq!(
        flags(&[("canary.kind", "1")]).config.canary.kind,
        Kind::new(1)
    );
}

#[test]
fn a_secret_key_is_64_digits_and_no_error_repeats_another() {
    for wrong in ["abcdef0123", &"g".repeat(64), &"A".repeat(64)] {
        let errors = try_load("", &[], &[("canary.secret_key", wrong)])
            .unwrap_err()
            .to_string();
        assert!(!errors.contains(wrong), "{errors}");
    }
    let key = "01".repeat(32);
    let canary = flags(&[("canary.secret_key", &key)]).config.canary;
    assert_eq!(canary.secret_key.unwrap().expose(), key);
}
