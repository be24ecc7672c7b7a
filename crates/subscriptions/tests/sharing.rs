//! What subscriptions share: equal filters are held once, and so are equal lists of values and each value
//! of lists that differ.

use heliograph_protocol::{Event, Filter, Kind, PublicKey, Signature, Timestamp};
use heliograph_subscriptions::{Index, Matches, Slot, Stats};

/// Subscriptions that are compared with one.
const MANY: u32 = 1_000;

/// Authors of a home feed.
const AUTHORS: u32 = 500;

/// Authors that there are.
const POPULATION: u32 = 5_000;

/// Bytes that a home feed may take where others ask for the same authors in other lists.
const FEED_BYTES_MAX: usize = 10 * 1_024;

fn author(number: u32) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    PublicKey::new(bytes)
}

/// The notes of 500 authors; another 500 for each number.
fn feed(number: u32) -> Filter {
    // Steps without a divisor in common with the number of authors meet each once.
    let picked = (0..AUTHORS).map(|nth| author((number * 31 + nth * 7_919) % POPULATION));
    let mut authors: Vec<PublicKey> = picked.collect();
    authors.sort_unstable();
    Filter {
        authors: Some(authors),
        kinds: Some(vec![Kind::new(1), Kind::new(6)]),
        limit: Some(200),
        ..Filter::default()
    }
}

/// What one subscription takes, and what all of them do.
fn opened(filter: impl Fn(u32) -> Filter) -> (Index, Stats, Stats) {
    let mut index = Index::new();
    index.insert(Slot(0), &[filter(0)]);
    let one = index.stats();
    for slot in 1..MANY {
        index.insert(Slot(slot), &[filter(slot)]);
    }
    let all = index.stats();
    (index, one, all)
}

/// Bytes of each further one.
fn bytes_more(one: Stats, all: Stats) -> usize {
    (all.bytes - one.bytes) / (MANY as usize - 1)
}

fn receivers(index: &mut Index, author: PublicKey, at: u64) -> usize {
    let no_tags: [Vec<&str>; 0] = [];
    let sign = |_: &_| Signature::new([0; 64]);
    let at = Timestamp::from_secs(at);
    let event = Event::build(author, at, Kind::new(1), &no_tags, "", sign);
    let mut found = Matches::default();
    index.matches(&event, &mut found);
    found.slots.len()
}

#[test]
fn a_thousand_equal_subscriptions_of_500_authors_are_one_filter_with_one_list() {
    let (mut index, one, all) = opened(|_| feed(0));
    assert_eq!(
        (all.filters, all.lists, all.postings),
        (one.filters, one.lists, one.postings)
    );
    assert_eq!((all.filters, all.lists), (1, 1));
    let each = bytes_more(one, all);
    assert!(each <= 64, "{each} bytes for each that is equal");
    assert_eq!(receivers(&mut index, author(0), 1), MANY as usize);
}

#[test]
fn filters_that_differ_in_nothing_but_their_time_share_one_list_of_authors() {
    let since = |slot| Filter {
        since: Some(Timestamp::from_secs(1_000 + u64::from(slot))),
        ..feed(0)
    };
    let (mut index, one, all) = opened(since);
    assert_eq!((all.filters, all.lists), (MANY as usize, one.lists));
    // An entry under each author, and no author a second time.
    let each = bytes_more(one, all);
    assert!(each <= 5 * AUTHORS as usize, "{each} bytes for each");
    assert_eq!(receivers(&mut index, author(0), 1_099), 100);
}

#[test]
fn equal_authors_in_filters_of_other_kinds_are_one_list() {
    let kind = |slot| Filter {
        kinds: Some(vec![Kind::new(u16::try_from(slot).expect("few"))]),
        ..feed(0)
    };
    let (_, one, all) = opened(kind);
    assert_eq!((all.filters, all.lists), (MANY as usize, one.lists));
}

#[test]
fn a_feed_of_500_authors_whom_others_name_too_takes_less_than_10_kib() {
    let (_, one, all) = opened(feed);
    assert_eq!((all.filters, all.lists), (MANY as usize, MANY as usize));
    let each = bytes_more(one, all);
    assert!(each <= FEED_BYTES_MAX, "{each} bytes a feed");
}

#[test]
fn what_equal_subscriptions_share_stays_until_the_last_of_them_is_closed() {
    let (mut index, one, _) = opened(|_| feed(0));
    for slot in 1..MANY {
        assert!(index.remove(Slot(slot)));
    }
    while index.purge(1 << 20) {}
    assert_eq!(index.stats(), one);
    assert_eq!(receivers(&mut index, author(0), 1), 1);
    assert!(index.remove(Slot(0)));
    while index.purge(1 << 20) {}
    assert_eq!(index.stats(), Stats::default());
}
