//! Which bound of an event is exceeded, for those who count refusals.

use heliograph_policy::{EventLimit, EventLimits, exceeded_limit};
use heliograph_protocol::{Event, Timestamp};
use heliograph_testkit::keys::Key;

const NOW: u64 = 1_767_225_600;
const DAY: u64 = 86_400;

fn me() -> Key {
    Key::nth(0)
}

fn defaults() -> EventLimits {
    EventLimits::default()
}

fn tagged(kind: u16, tags: &[&[&str]]) -> Event {
    me().sign(NOW, kind, tags, "")
}

#[test]
fn the_bound_that_an_event_exceeds_has_a_name() {
    let limits = EventLimits {
        event_bytes_max: 600,
        event_tags_max: 2,
        content_chars_max: Some(3),
        created_at_lower_limit_secs: Some(DAY),
        pow_bits_min: 200,
        ..defaults()
    };
    let exceeded = |event: &Event| exceeded_limit(event, &limits, Timestamp::from_secs(NOW));
    let many: [&[&str]; 3] = [&["t", "a"], &["t", "b"], &["t", "c"]];
    for (event, limit) in [
        (me().note(NOW, &"x".repeat(600)), EventLimit::Bytes),
        (me().note(NOW + 901, ""), EventLimit::Future),
        (me().note(NOW - DAY - 1, ""), EventLimit::Past),
        (
            me().sign(NOW - 61, 20_001, &[], ""),
            EventLimit::EphemeralAge,
        ),
        (tagged(1, &many), EventLimit::Tags),
        (me().note(NOW, "four"), EventLimit::Content),
        (me().note(NOW, ""), EventLimit::ProofOfWork),
    ] {
        assert_eq!(exceeded(&event), Some(limit), "{}", event.as_str());
    }
    let expired = tagged(1, &[&["expiration", "5"]]);
    assert_eq!(exceeded(&expired), None, "refused, but by no bound");
    let note = me().note(NOW, "");
    assert_eq!(
        exceeded_limit(&note, &defaults(), Timestamp::from_secs(NOW)),
        None
    );
}

#[test]
fn tags_of_one_letter_are_bounded_where_events_pile_up() {
    let limits = EventLimits {
        indexed_tags_max: Some(2),
        ..defaults()
    };
    let exceeded = |event: &Event| exceeded_limit(event, &limits, Timestamp::from_secs(NOW));
    let three: [&[&str]; 3] = [&["t", "a"], &["T", "a"], &["e", "b", "", "root"]];
    for kind in [1, 9_735, 20_001] {
        assert_eq!(exceeded(&tagged(kind, &three[..2])), None);
        assert_eq!(exceeded(&tagged(kind, &three)), Some(EventLimit::Tags));
    }
    // Lists of which one version lives, and requests to delete.
    for kind in [3, 5, 10_000, 30_000] {
        assert_eq!(exceeded(&tagged(kind, &three)), None);
    }
    let long_names: [&[&str]; 3] = [&["imeta", "a"], &["emoji", "a"], &["", "b"]];
    assert_eq!(exceeded(&tagged(1, &long_names)), None);
    let open = EventLimits {
        indexed_tags_max: None,
        ..defaults()
    };
    let open = exceeded_limit(&tagged(1, &three), &open, Timestamp::from_secs(NOW));
    assert_eq!(open, None);
}
