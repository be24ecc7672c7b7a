//! Who sees what, and which questions need authentication.

use heliograph_policy::{Reader, RelayUrls, Visibility, check_count_filters, check_filters};
use heliograph_protocol::{Event, Filter};
use heliograph_testkit::keys::Key;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

fn reader(keys: &[usize]) -> Reader {
    Reader {
        keys: keys.iter().map(|n| Key::nth(*n).public()).collect(),
    }
}

fn visibility() -> Visibility {
    let urls = RelayUrls::parse(&["wss://relay.example.com"]).expect("a relay URL");
    urls.into()
}

#[track_caller]
fn check_sees(event: &Event, who: &[usize], sees: bool) {
    assert_eq!(
        reader(who).may_see(event, &visibility()),
        sees,
        "{who:?} {}",
        event.as_str()
    );
    // The short cut says yes only where everyone may see.
    if visibility().is_public(event) {
        assert!(reader(&[]).may_see(event, &visibility()));
    }
}

/// An event of Alice's, tagged with Bob.
fn to_bob(kind: u16) -> Event {
    Key::nth(ALICE).sign(
        1,
        kind,
        &[&["p"], &["p", "junk"], &["p", &Key::nth(BOB).hex()]],
        "",
    )
}

#[test]
fn gift_wraps_are_seen_by_their_recipient_only() {
    for kind in [1059, 21_059] {
        check_sees(&to_bob(kind), &[], false);
        check_sees(&to_bob(kind), &[ALICE], false);
        check_sees(&to_bob(kind), &[CAROL], false);
        check_sees(&to_bob(kind), &[BOB], true);
        check_sees(&to_bob(kind), &[CAROL, BOB], true);
        check_sees(&Key::nth(ALICE).sign(1, kind, &[], ""), &[ALICE], false);
    }
}

#[test]
fn the_recipient_is_named_in_p_and_in_no_other_tag() {
    let bob = Key::nth(BOB).hex();
    let event = Key::nth(ALICE).sign(1, 1059, &[&["P", &bob], &["e", &bob], &["p", "", &bob]], "");
    check_sees(&event, &[BOB], false);
}

#[test]
fn direct_messages_are_seen_by_both_sides() {
    check_sees(&to_bob(4), &[], false);
    check_sees(&to_bob(4), &[ALICE], true);
    check_sees(&to_bob(4), &[BOB], true);
    check_sees(&to_bob(4), &[CAROL], false);
}

#[test]
fn everybody_sees_everything_else() {
    for kind in [0, 1, 13, 14, 20_000, 30_023] {
        check_sees(&to_bob(kind), &[], true);
    }
}

#[test]
fn nobody_sees_authentication() {
    check_sees(&to_bob(22_242), &[ALICE, BOB], false);
}

#[test]
fn a_request_to_vanish_in_force_is_seen_by_its_author_only() {
    let vanish = |relay: &str| Key::nth(ALICE).sign(1, 62, &[&["relay", relay]], "");
    for relay in ["wss://RELAY.example.com/", "ALL_RELAYS"] {
        check_sees(&vanish(relay), &[ALICE], true);
        check_sees(&vanish(relay), &[BOB], false);
        check_sees(&vanish(relay), &[], false);
    }
    for relay in ["wss://other.example.com", "all_relays", "ALL_RELAYS "] {
        check_sees(&vanish(relay), &[], true);
    }
}

/// `{alice}` and `{bob}` stand for their keys.
fn filter(text: &str) -> Filter {
    let text = text
        .replace("{alice}", &Key::nth(ALICE).hex())
        .replace("{bob}", &Key::nth(BOB).hex());
    Filter::parse(&text).expect("a filter")
}

/// `answer` is empty for "go on", else the refusal's prefix.
#[track_caller]
fn check_req(filters: &[&str], who: &[usize], answer: &str) {
    let parsed: Vec<Filter> = filters.iter().map(|text| filter(text)).collect();
    let refused = check_filters(&parsed, &reader(who)).err();
    assert_eq!(
        refused.map_or("", |refusal| refusal.prefix.as_str()),
        answer,
        "{filters:?}"
    );
}

#[track_caller]
fn check_count(filters: &[&str], who: &[usize], answer: &str) {
    let parsed: Vec<Filter> = filters.iter().map(|text| filter(text)).collect();
    let refused = check_count_filters(&parsed, &reader(who)).err();
    assert_eq!(
        refused.map_or("", |refusal| refusal.prefix.as_str()),
        answer,
        "{filters:?}"
    );
}

#[test]
fn a_filter_of_restricted_kinds_only_needs_authentication() {
    for text in [
        r#"{"kinds":[4]}"#,
        r#"{"kinds":[1059]}"#,
        r#"{"kinds":[4,1059,21059]}"#,
    ] {
        check_req(&[text], &[], "auth-required");
        check_req(&["{}", text], &[], "auth-required");
        check_req(&[text], &[CAROL], "");
    }
}

#[test]
fn mixed_and_kindless_filters_need_none() {
    check_req(
        &[
            "{}",
            r#"{"kinds":[1]}"#,
            r#"{"kinds":[1,4]}"#,
            r#"{"kinds":[]}"#,
        ],
        &[],
        "",
    );
}

#[test]
fn counting_restricted_kinds_needs_authentication_even_beside_others() {
    check_count(&[r#"{"kinds":[1,4]}"#], &[], "auth-required");
    check_count(
        &[r##"{"kinds":[1059],"#p":["{bob}"]}"##],
        &[],
        "auth-required",
    );
    check_count(&["{}", r#"{"kinds":[1]}"#], &[], "");
}

#[test]
fn one_may_count_ones_own_private_messages() {
    for text in [
        r##"{"kinds":[1059],"#p":["{bob}"]}"##,
        r##"{"kinds":[4,1059,1],"#p":["{bob}"]}"##,
        r#"{"kinds":[4],"authors":["{bob}"]}"#,
    ] {
        check_count(&[text], &[BOB], "");
        check_count(&[text], &[ALICE], "restricted");
    }
    check_count(
        &[r##"{"kinds":[4],"#p":["{alice}","{bob}"]}"##],
        &[ALICE, BOB],
        "",
    );
}

#[test]
fn a_count_that_reaches_beyond_ones_own_messages_is_restricted() {
    for text in [
        r#"{"kinds":[4]}"#,
        r##"{"kinds":[4],"#p":["{alice}","{bob}"]}"##,
        r#"{"kinds":[4],"authors":["{alice}","{bob}"]}"#,
        r##"{"kinds":[1,1059],"#e":["{bob}"]}"##,
        // A gift wrap isn't shown to its author, so being its author gives no right to count it.
        r#"{"kinds":[1059],"authors":["{bob}"]}"#,
    ] {
        check_count(&[text], &[BOB], "restricted");
        check_count(&["{}", text], &[BOB], "restricted");
    }
}
