//! Every event of the vector files: what the parser and the signature check say together.

use heliograph_protocol::{Event, decode_hex};
use heliograph_testkit::vectors;
use heliograph_verify::{KEYS_MAX, KeyCache, VerifyError, verify_many, verify_one};

#[derive(serde::Deserialize)]
struct Row {
    name: String,
    expect: String,
    reason: Option<String>,
    raw: Option<String>,
}

fn rows() -> Vec<Row> {
    vectors::lines("events.jsonl")
}

/// `None`: the row isn't text, or not an event.
fn parse(row: &Row) -> Option<Event> {
    Event::parse(row.raw.as_deref()?).ok()
}

#[test]
fn rows_are_valid_exactly_if_they_parse_and_their_signature_is_good() {
    let mut valid = 0;
    for row in rows() {
        let is_valid = parse(&row).is_some_and(|event| verify_one(&event).is_ok());
        assert_eq!(is_valid, row.expect == "valid", "{}", row.name);
        valid += usize::from(is_valid);
    }
    assert_eq!(valid, 53);
}

#[test]
fn signatures_and_keys_fail_for_the_reason_given() {
    let mut checked = 0;
    for row in rows() {
        let Some(error) = parse(&row).and_then(|event| verify_one(&event).err()) else {
            continue;
        };
        let reason = row.reason.as_deref().expect("an invalid row has a reason");
        let expected = if reason.starts_with("pubkey") {
            VerifyError::BadKey
        } else {
            VerifyError::BadSignature
        };
        assert_eq!(error, expected, "{}: {reason}", row.name);
        checked += 1;
    }
    assert_eq!(checked, 10);
}

#[test]
fn many_events_are_answered_in_their_order() {
    let events: Vec<Event> = rows().iter().filter_map(parse).collect();
    let one_by_one: Vec<_> = events.iter().map(verify_one).collect();
    let keys = KeyCache::new(KEYS_MAX);
    assert_eq!(verify_many(&events, &keys), one_by_one);
    assert_eq!(verify_many(&events, &keys), one_by_one, "keys are known");
    assert!(one_by_one.iter().any(Result::is_err) && one_by_one.iter().any(Result::is_ok));
}

#[test]
fn the_order_of_the_curve_and_the_field_are_out_of_range() {
    // R01-13, from BIP-340: r = p and s = n; and the same one less, which are merely wrong.
    let p = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f";
    let n = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let note = heliograph_testkit::keys::Key::nth(0).note(1, "x");
    let text = note.as_str();
    let (head, sig) = (&text[..text.len() - 130], note.sig().to_hex());
    for forged in [format!("{p}{}", &sig[64..]), format!("{}{n}", &sig[..64])] {
        assert!(decode_hex::<64>(forged.as_bytes()).is_some());
        let event = Event::parse(&format!("{head}{forged}\"}}")).expect("well formed");
        assert_eq!(verify_one(&event), Err(VerifyError::BadSignature));
    }
}
