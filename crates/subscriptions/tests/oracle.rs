//! The index against `Filter::matches` asked of every filter.
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of a test are small"
)]

mod common;

use std::collections::BTreeMap;

use common::{Mix, NOW, note};
use heliograph_protocol::{Event, EventId, Filter, Kind, PublicKey, TagCondition, Timestamp};
use heliograph_subscriptions::{Index, Matches, Slot};
use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    prop_assert_eq, proptest,
    sample::select,
    test_runner::TestCaseError,
};
use roaring::RoaringBitmap;

/// Letters of tags, case-different ones included, and names that are no letter.
const NAMES: [&str; 9] = ["e", "E", "p", "P", "t", "T", "d", "tt", "-"];
const LETTERS: &[u8] = b"eEpPtTd";
/// Two values that differ in nothing but the case of their hex, and text that JSON escapes.
const VALUES: [&str; 10] = [
    "abababababababababababababababababababababababababababababababab",
    "ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB",
    "",
    "a\"b",
    "a\\b",
    "a/b",
    "line\nbreak",
    "nul\u{0}",
    "é😀",
    "plain",
];

fn author(number: u8) -> PublicKey {
    PublicKey::new([number; 32])
}

fn event() -> impl Strategy<Value = Event> {
    // A tag may lack its value, or have elements past it.
    let tag = (select(&NAMES[..]), vec(select(&VALUES[..]), 0..3)).prop_map(|(name, values)| {
        [name]
            .into_iter()
            .chain(values)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    (0..6_u8, 0..6_u64, 0..5_u16, vec(tag, 0..5)).prop_map(|(key, time, kind, tags)| {
        note(
            author(key),
            Timestamp::from_secs(time),
            Kind::new(kind),
            &tags,
        )
    })
}

fn list<T: Ord + std::fmt::Debug>(
    value: impl Strategy<Value = T>,
    max: usize,
) -> impl Strategy<Value = Vec<T>> {
    btree_set(value, 0..=max).prop_map(|set| set.into_iter().collect())
}

/// `None` three times of four, a list that is rarely empty otherwise.
fn maybe<T: Ord + std::fmt::Debug>(
    value: impl Strategy<Value = T>,
    max: usize,
) -> impl Strategy<Value = Option<Vec<T>>> {
    option::weighted(0.25, list(value, max))
}

fn filter(ids: Vec<EventId>) -> impl Strategy<Value = Filter> {
    let condition = list(select(&VALUES[..]).prop_map(Box::from), 4);
    let tags = proptest::collection::btree_map(select(LETTERS), condition, 0..3);
    let parts = (
        maybe(select(ids), 4),
        maybe((0..6_u8).prop_map(author), 5),
        maybe((0..5_u16).prop_map(Kind::new), 4),
        option::weighted(0.5, tags),
        option::weighted(0.2, 0..6_u64),
        option::weighted(0.2, 0..6_u64),
        any::<Option<u64>>(),
    );
    parts.prop_map(|(ids, authors, kinds, tags, since, until, limit)| Filter {
        ids,
        authors,
        kinds,
        tags: tags
            .unwrap_or_default()
            .into_iter()
            .map(|(letter, values)| TagCondition { letter, values })
            .collect(),
        since: since.map(Timestamp::from_secs),
        until: until.map(Timestamp::from_secs),
        limit,
    })
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u32, Vec<Filter>),
    /// Opens a slot with the filters of another, if that is open.
    Copy(u32, u32),
    Remove(u32),
    Purge(usize),
    Match(usize),
}

/// Some events, and steps that ask for their ids.
fn scenario() -> impl Strategy<Value = (Vec<Event>, Vec<Step>)> {
    vec(event(), 1..12).prop_flat_map(|events| {
        let ids = events.iter().map(|event| *event.id()).collect();
        // Slots far apart as well as neighbours.
        let slot = prop_oneof![0..6_u32, 70_000..70_003_u32];
        let step = prop_oneof![
            4 => (slot.clone(), vec(filter(ids), 0..4)).prop_map(|(s, f)| Step::Insert(s, f)),
            2 => (slot.clone(), slot.clone()).prop_map(|(to, from)| Step::Copy(to, from)),
            2 => slot.prop_map(Step::Remove),
            2 => (0..12_usize).prop_map(Step::Purge),
            6 => (0..events.len()).prop_map(Step::Match),
        ];
        (Just(events), vec(step, 1..60))
    })
}

/// Every open subscription, asked one by one.
#[derive(Default)]
struct Oracle(BTreeMap<u32, Vec<Filter>>);

impl Oracle {
    fn matches(&self, event: &Event) -> Vec<u32> {
        let wants = |filters: &Vec<Filter>| filters.iter().any(|filter| filter.matches(event));
        self.0
            .iter()
            .filter(|(_, filters)| wants(filters))
            .map(|(slot, _)| *slot)
            .collect()
    }
}

fn listed(index: &mut Index, event: &Event) -> Vec<u32> {
    let mut out = Matches {
        slots: vec![Slot(9), Slot(9)],
    };
    index.matches(event, &mut out);
    let mut slots: Vec<u32> = out.slots.iter().map(|slot| slot.0).collect();
    slots.sort_unstable();
    slots
}

fn mapped(index: &mut Index, event: &Event) -> Vec<u32> {
    let mut out = RoaringBitmap::from_iter([9]);
    index.matches_bitmap(event, &mut out);
    out.iter().collect()
}

fn step(index: &mut Index, oracle: &mut Oracle, events: &[Event], step: Step) {
    match step {
        Step::Insert(slot, filters) => {
            index.insert(Slot(slot), &filters);
            oracle.0.insert(slot, filters);
        }
        Step::Copy(to, from) => {
            if let Some(filters) = oracle.0.get(&from).cloned() {
                index.insert(Slot(to), &filters);
                oracle.0.insert(to, filters);
            }
        }
        Step::Remove(slot) => {
            assert_eq!(index.remove(Slot(slot)), oracle.0.remove(&slot).is_some());
        }
        Step::Purge(budget) => {
            assert_eq!(index.purge(budget), index.stats().purges > 0);
        }
        Step::Match(at) => {
            let expected = oracle.matches(&events[at]);
            assert_eq!(listed(index, &events[at]), expected);
            assert_eq!(mapped(index, &events[at]), expected);
        }
    }
}

fn is_empty(index: &Index) -> Result<(), TestCaseError> {
    let stats = index.stats();
    prop_assert_eq!(stats, heliograph_subscriptions::Stats::default());
    Ok(())
}

proptest! {
    #[test]
    fn any_order_of_opening_closing_and_purging_leaves_the_answers_right(
        (events, steps) in scenario(),
    ) {
        let (mut index, mut oracle) = (Index::new(), Oracle::default());
        for next in steps {
            step(&mut index, &mut oracle, &events, next);
        }
        for event in &events {
            prop_assert_eq!(listed(&mut index, event), oracle.matches(event));
        }
        prop_assert_eq!(index.stats().subscriptions, oracle.0.len());
        for slot in oracle.0.keys() {
            prop_assert_eq!(index.remove(Slot(*slot)), true);
        }
        while index.purge(1) {}
        is_empty(&index)?;
    }
}

#[test]
fn a_slot_used_again_at_once_never_gets_what_its_old_filters_match() {
    let [first, second] =
        [1, 2].map(|key| note(author(key), Timestamp::from_secs(1), Kind::new(1), &[]));
    let by = |key| {
        [Filter {
            authors: Some(vec![author(key)]),
            ..Filter::default()
        }]
    };
    let mut index = Index::new();
    for _ in 0..3 {
        index.insert(Slot(0), &by(1));
        index.insert(Slot(0), &by(2));
        assert_eq!(listed(&mut index, &first), []);
        assert_eq!(listed(&mut index, &second), [0]);
        index.purge(1);
    }
}

#[test]
fn equal_filters_are_held_once_whatever_their_limit() {
    let mut index = Index::new();
    let mut feed = Mix::new(3).home_feed();
    let mut one = 0;
    for slot in 0..1000 {
        feed.limit = Some(u64::from(slot));
        index.insert(Slot(slot), &[feed.clone(), feed.clone()]);
        if slot == 0 {
            one = index.stats().postings;
        }
    }
    let stats = index.stats();
    assert_eq!((stats.filters, stats.postings), (1, one));
    assert_eq!(one, feed.authors.as_ref().unwrap().len());
    let author = feed.authors.unwrap()[0];
    let event = note(author, Timestamp::from_secs(NOW), Kind::new(1), &[]);
    let all: Vec<u32> = (0..1000).collect();
    assert_eq!(
        (listed(&mut index, &event), mapped(&mut index, &event)),
        (all.clone(), all)
    );
}

#[test]
fn a_filter_opened_again_before_its_purge_stays() {
    let feed = [Mix::new(4).home_feed()];
    let mut index = Index::new();
    index.insert(Slot(0), &feed);
    let before = index.stats();
    index.remove(Slot(0));
    index.insert(Slot(5), &feed);
    index.remove(Slot(5));
    index.insert(Slot(0), &feed);
    while index.purge(10) {}
    assert_eq!(index.stats(), before);
}

#[test]
fn lists_that_are_equal_are_shared_by_filters_that_differ() {
    let mut index = Index::new();
    let mut feed = Filter {
        since: None,
        ..Mix::new(5).home_feed()
    };
    let authors = feed.authors.as_ref().unwrap().len();
    index.insert(Slot(0), &[feed.clone()]);
    let first = index.stats().bytes;
    feed.since = Some(Timestamp::from_secs(NOW));
    index.insert(Slot(1), &[feed]);
    // Its postings only: a group each, as they have other tests than the first.
    let more = index.stats().bytes - first;
    assert!(
        more < authors * 33 + 300,
        "{more} bytes for {authors} authors"
    );
}

#[test]
fn a_filter_with_authors_and_one_mention_is_one_entry() {
    let feed = Mix::new(6).home_feed();
    let values = vec!["ab".repeat(32).into()];
    let tags = vec![TagCondition {
        letter: b'p',
        values,
    }];
    let mut index = Index::new();
    index.insert(Slot(0), &[Filter { tags, ..feed }]);
    assert_eq!(index.stats().postings, 1);
}

#[test]
fn filters_that_match_nothing_cost_nothing() {
    let mut index = Index::new();
    let nothing = [
        Filter {
            ids: Some(Vec::new()),
            ..Filter::default()
        },
        Filter {
            kinds: Some(Vec::new()),
            ..Mix::new(7).home_feed()
        },
        Filter {
            since: Some(Timestamp::from_secs(2)),
            until: Some(Timestamp::from_secs(1)),
            ..Filter::default()
        },
    ];
    index.insert(Slot(3), &nothing);
    let stats = index.stats();
    assert_eq!(
        (stats.subscriptions, stats.filters, stats.postings),
        (1, 0, 0)
    );
    let event = note(author(1), Timestamp::from_secs(1), Kind::new(1), &[]);
    assert_eq!(listed(&mut index, &event), []);
}

#[test]
fn a_list_of_nearly_everybody_is_tested_instead_of_filed() {
    let many: Vec<PublicKey> = (0..60_000_u32)
        .map(|number| {
            let mut bytes = [7; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            PublicKey::new(bytes)
        })
        .collect();
    let (inside, outside) = (many[40_000], author(1));
    let mut index = Index::new();
    let kinds = Some(vec![Kind::new(1)]);
    index.insert(
        Slot(0),
        &[Filter {
            authors: Some(many),
            kinds,
            ..Filter::default()
        }],
    );
    assert_eq!(index.stats().postings, 1);
    let by = |key, kind| note(key, Timestamp::from_secs(1), Kind::new(kind), &[]);
    assert_eq!(listed(&mut index, &by(inside, 1)), [0]);
    assert_eq!(listed(&mut index, &by(inside, 2)), []);
    assert_eq!(listed(&mut index, &by(outside, 1)), []);
}

#[test]
fn a_topic_seen_all_the_time_is_not_what_a_filter_is_filed_under() {
    let topic = |name: &str| {
        vec![TagCondition {
            letter: b't',
            values: vec![name.into()],
        }]
    };
    let mut index = Index::new();
    index.insert(
        Slot(0),
        &[Filter {
            tags: topic("hot"),
            ..Filter::default()
        }],
    );
    let tags = [vec!["t".to_owned(), "hot".to_owned()]];
    let hot = note(author(1), Timestamp::from_secs(1), Kind::new(1), &tags);
    for _ in 0..2000 {
        assert_eq!(listed(&mut index, &hot), [0]);
    }
    let feed = Mix::new(8).home_feed();
    let authors = feed.authors.as_ref().unwrap().len();
    index.insert(
        Slot(1),
        &[Filter {
            tags: topic("hot"),
            ..feed.clone()
        }],
    );
    assert_eq!(index.stats().postings, 1 + authors);
    index.insert(
        Slot(2),
        &[Filter {
            tags: topic("cold"),
            ..feed
        }],
    );
    assert_eq!(index.stats().postings, 1 + authors + 1);
}

#[test]
fn a_purge_does_no_more_than_its_budget_and_a_block() {
    let mut index = Index::new();
    index.insert(Slot(0), &[Mix::new(9).home_feed()]);
    index.remove(Slot(0));
    let mut postings = index.stats().postings;
    while index.purge(40) {
        let left = index.stats().postings;
        assert!(postings - left <= 40 + 31, "{postings} to {left}");
        postings = left;
    }
    assert_eq!(index.stats(), heliograph_subscriptions::Stats::default());
}

#[test]
fn ten_thousand_mixed_subscriptions_answer_like_a_scan() {
    let mut mix = Mix::new(2);
    let (mut index, mut oracle) = (Index::new(), Oracle::default());
    for slot in 0..10_000 {
        let filters = mix.subscription();
        index.insert(Slot(slot), &filters);
        oracle.0.insert(slot, filters);
    }
    let check = |index: &mut Index, oracle: &Oracle, mix: &mut Mix| {
        let mut found = 0;
        for _ in 0..20 {
            let event = mix.event();
            let expected = oracle.matches(&event);
            found += expected.len();
            assert_eq!(listed(index, &event), expected);
            assert_eq!(mapped(index, &event), expected);
        }
        assert!(found > 100, "the mix matches something: {found}");
    };
    check(&mut index, &oracle, &mut mix);
    // Every third closes, half of these open again with others' filters while the purge runs.
    for slot in (0..10_000).step_by(3) {
        index.remove(Slot(slot));
        oracle.0.remove(&slot);
        if slot % 2 == 0 {
            let filters = mix.subscription();
            index.insert(Slot(slot), &filters);
            oracle.0.insert(slot, filters);
        }
        index.purge(200);
    }
    check(&mut index, &oracle, &mut mix);
    for slot in 0..10_000 {
        index.remove(Slot(slot));
    }
    while index.purge(1 << 20) {}
    assert_eq!(index.stats(), heliograph_subscriptions::Stats::default());
}
