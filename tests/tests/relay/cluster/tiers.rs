//! Answers that need the archive: a matcher with a small recent tier over a database that holds
//! more, asked for what lies above its floor, below it, and on both sides.

use std::slice::from_ref;

use heliograph_protocol::Event;
use heliograph_sandbox::cluster::Role;
use heliograph_testkit::client::End;
use serde_json::{Value, json};

use super::bed::{Bed, own_key};
use crate::support::{accept_all, ids, notes, now};

/// The smallest recent tier that can be configured.
pub(super) const SMALL: [&str; 1] = ["recent.events_max=1000"];

const STORED: usize = 1_500;

/// How many answers each tier gave, over all matchers.
pub(super) fn answers(bed: &Bed) -> [f64; 2] {
    ["recent", "archive"].map(|tier| {
        let series = format!("heliograph_matcher_answers_total{{tier=\"{tier}\"}}");
        bed.sum(Role::Matcher, &series)
    })
}

/// Asks, and returns the answer with how many answers each tier gave for it.
#[track_caller]
fn ask(bed: &Bed, filter: &Value) -> (Vec<String>, Option<String>, [f64; 2]) {
    let before = answers(bed);
    let stored = bed.client().query(from_ref(filter));
    let after = answers(bed);
    let End::Eose(hint) = &stored.end else {
        panic!("{:?}", stored.end)
    };
    (
        stored.ids(),
        hint.clone(),
        [after[0] - before[0], after[1] - before[1]],
    )
}

const RECENT: [f64; 2] = [1.0, 0.0];
const ARCHIVE: [f64; 2] = [0.0, 1.0];

#[test]
fn an_answer_comes_from_the_recent_tier_from_the_archive_or_from_both_and_is_whole() {
    let settings = ["gateway.limit_max=2000", "gateway.limit_default=2000"];
    let Some(bed) = Bed::fresh(&[&SMALL[..], &settings].concat()) else {
        return;
    };
    let key = own_key();
    let start = now() - 10_000;
    let mut events = notes(&key, start, STORED);
    let [mut writer, mut other] = bed.both();
    accept_all(&mut writer, &events[..STORED / 2]);
    accept_all(&mut other, &events[STORED / 2..]);
    events.sort_by_key(Event::position);
    let all = ids(&events);
    let author = |more: Value| {
        let mut filter = json!({"authors": [key.hex()]});
        let members = more.as_object().expect("an object").clone();
        filter.as_object_mut().expect("an object").extend(members);
        filter
    };

    let (got, hint, tiers) = ask(&bed, &author(json!({"limit": 100})));
    assert_eq!((got, tiers), (all[..100].to_vec(), RECENT));
    assert_ne!(hint.as_deref(), Some("finish"), "its own limit cut it");

    let (got, hint, tiers) = ask(&bed, &author(json!({})));
    assert_eq!(
        (got, tiers),
        (all.clone(), ARCHIVE),
        "both sides of the floor"
    );
    assert_eq!(hint.as_deref(), Some("finish"));

    let (got, _, tiers) = ask(&bed, &author(json!({"limit": 1_400})));
    assert_eq!((got, tiers), (all[..1_400].to_vec(), ARCHIVE));

    let (got, _, tiers) = ask(&bed, &author(json!({"until": start + 99})));
    assert_eq!(
        (got, tiers),
        (all[STORED - 100..].to_vec(), ARCHIVE),
        "below the floor"
    );

    // What is accepted late lies below the floor, and is seen at once.
    let late = key.note(start - 50, "late");
    other.accept(&late);
    let (got, _, _) = ask(&bed, &author(json!({"until": start - 1})));
    assert_eq!(got, ids(from_ref(&late)));

    for mut client in bed.both() {
        let counted = |client: &mut _, filter: Value| count(client, &filter);
        assert_eq!(counted(&mut client, author(json!({}))), STORED as u64 + 1);
        assert_eq!(
            counted(&mut client, author(json!({"since": start + 1_400}))),
            100
        );
        assert_eq!(
            counted(&mut client, author(json!({"until": start + 9}))),
            11
        );
    }
}

#[track_caller]
fn count(client: &mut heliograph_testkit::client::Client, filter: &Value) -> u64 {
    client.count("c", from_ref(filter)).expect("a count")
}

#[test]
fn hints_of_a_cluster_are_those_of_one_process() {
    let settings = ["gateway.limit_max=10", "gateway.limit_default=10"];
    let Some(bed) = Bed::fresh(&[&SMALL[..], &settings].concat()) else {
        return;
    };
    let key = own_key();
    let events = notes(&key, 1_700_000_000, 11);
    let [mut writer, mut reader] = bed.both();
    accept_all(&mut writer, &events[..10]);
    let filter = json!({"authors": [key.hex()]});
    let mut ask = |filter: &Value| {
        let stored = reader.query(from_ref(filter));
        (stored.events.len(), stored.hint().map(str::to_owned))
    };
    assert_eq!(ask(&filter), (10, Some("finish".to_owned())));
    writer.accept(&events[10]);
    assert_eq!(ask(&filter), (10, Some("more".to_owned())));
    // Now nearly all of it is below the floor.
    accept_all(&mut writer, &notes(&own_key(), 1_750_000_000, 1_100));
    assert_eq!(ask(&filter), (10, Some("more".to_owned())));
    let cut = json!({"authors": [key.hex()], "limit": 5});
    let (got, hint) = ask(&cut);
    assert_eq!(got, 5);
    assert_ne!(hint.as_deref(), Some("finish"));
    let few = json!({"authors": [key.hex()], "since": 1_700_000_005});
    assert_eq!(ask(&few), (6, Some("finish".to_owned())));
}
