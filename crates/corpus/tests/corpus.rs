//! A corpus as those see it who use it: its bytes, its validity, its shape.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use heliograph_corpus::{Corpus, Options, OptionsError, Summary};
use heliograph_protocol::{Event, EventId};
use secp256k1::{XOnlyPublicKey, schnorr};

fn write(options: Options, threads: usize) -> (Summary, String) {
    let mut bytes = Vec::new();
    let corpus = Corpus::new(options, threads).expect("options in range");
    let summary = corpus.write(threads, &mut bytes).expect("memory takes it");
    assert_eq!(summary.bytes, bytes.len() as u64);
    (summary, String::from_utf8(bytes).expect("JSON is UTF-8"))
}

fn events(seed: u64, count: u64) -> Vec<Event> {
    let (_, text) = write(Options::new(seed, count), 2);
    let parse = |line: &str| Event::parse(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

/// Events of a kind, as thousandths of all.
fn permille(events: &[Event], holds: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| holds(event)).count() * 1_000 / events.len()
}

fn is_kind(kind: u16) -> impl Fn(&Event) -> bool {
    move |event| event.kind().as_u16() == kind
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_every_machine() {
    let (summary, _) = write(Options::new(1, 1_000), 2);
    // Changes with any change of what events look like: then figures before and after it can't be
    // compared.
    assert_eq!(
        summary.fingerprint,
        "013976c55abebf1dce74b2192558fc4793e8a20784f873c28d252b7d08f0ee44"
    );
    assert_eq!(summary.events, 1_000);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let options = Options::new(2, 1_300);
    let one = write(options, 1);
    assert_eq!(one, write(options, 3));
    assert_eq!(one, write(options, 8));
}

#[test]
fn another_seed_gives_other_events_by_other_authors() {
    let (a, b) = (events(1, 50), events(2, 50));
    let ids: BTreeSet<&EventId> = a.iter().chain(&b).map(Event::id).collect();
    assert_eq!(ids.len(), 100);
    let authors: BTreeSet<_> = a.iter().map(Event::pubkey).collect();
    assert!(b.iter().all(|event| !authors.contains(event.pubkey())));
}

#[test]
fn a_corpus_begins_as_a_longer_one_of_the_same_authors_and_pace() {
    let long = Options {
        time_span: 2_000,
        ..Options::new(1, 400)
    };
    let short = Options {
        events: 200,
        time_span: 1_000,
        ..long
    };
    let (long, short) = (write(long, 2).1, write(short, 2).1);
    assert!(long.starts_with(&short));
}

#[test]
fn every_event_is_valid() {
    for event in events(3, 1_500) {
        // Parsing has computed the id.
        let key = XOnlyPublicKey::from_byte_array(*event.pubkey().as_bytes()).unwrap();
        let signature = schnorr::Signature::from_byte_array(*event.sig().as_bytes());
        schnorr::verify(&signature, event.id().as_bytes(), &key).unwrap();
    }
}

#[test]
fn a_line_is_the_canonical_wire_form() {
    let (_, text) = write(Options::new(4, 300), 2);
    for line in text.lines() {
        assert_eq!(Event::parse(line).unwrap().as_str(), line);
    }
}

#[test]
fn a_further_event_is_valid_too() {
    let corpus = Corpus::new(Options::new(1, 10), 1).unwrap();
    let event = corpus.sign(3, 1_770_000_000, 1, &[], "live");
    assert_eq!(event.pubkey().to_hex(), corpus.author(3));
    assert_eq!(corpus.author(3), corpus.author(103));
    let key = XOnlyPublicKey::from_byte_array(*event.pubkey().as_bytes()).unwrap();
    let signature = schnorr::Signature::from_byte_array(*event.sig().as_bytes());
    schnorr::verify(&signature, event.id().as_bytes(), &key).unwrap();
}

#[test]
fn no_two_events_are_equal_and_the_later_one_of_an_author_is_newer() {
    let options = Options {
        authors: 3,
        time_span: 10,
        ..Options::new(5, 2_000)
    };
    let mut newest = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for line in write(options, 2).1.lines() {
        let event = Event::parse(line).unwrap();
        assert!(ids.insert(*event.id()));
        let before = newest.insert(*event.pubkey(), event.created_at());
        assert!(before < Some(event.created_at()));
    }
}

#[test]
fn kinds_have_the_shares_of_the_sample() {
    let events = events(6, 20_000);
    // Of the 6,337 events that tables hold.
    for (kind, sample) in [
        (1, 2_035),
        (0, 1_349),
        (7, 906),
        (30_000, 594),
        (4, 449),
        (3, 64),
    ] {
        let (share, expected) = (permille(&events, is_kind(kind)), sample * 1_000 / 6_337);
        let deviation = 3 + expected / 20;
        assert!(
            share.abs_diff(expected) <= deviation,
            "{kind}: {share} ‰, not {expected} ‰"
        );
    }
    assert_eq!(permille(&events, |event| event.kind().is_ephemeral()), 0);
}

#[test]
fn sizes_and_tags_are_those_of_the_sample() {
    let events = events(7, 20_000);
    let mut sizes: Vec<usize> = events.iter().map(|event| event.json().len()).collect();
    sizes.sort_unstable();
    let at = |permille: usize| sizes[sizes.len() * permille / 1_000];
    // The sample: 550, 1,037 and 8,898 bytes.
    assert!((480..620).contains(&at(500)), "{}", at(500));
    assert!((930..1_300).contains(&at(900)), "{}", at(900));
    assert!((5_000..13_000).contains(&at(990)), "{}", at(990));
    assert!(*sizes.last().unwrap() < 65_536, "{:?}", sizes.last());
    let notes: Vec<&Event> = events.iter().filter(|event| is_kind(1)(event)).collect();
    let answers = notes
        .iter()
        .filter(|note| note.first_tag("e").is_some())
        .count();
    // The sample: 69 %.
    assert!((60..75).contains(&(answers * 100 / notes.len())));
    let most = events
        .iter()
        .map(|event| event.tags().count())
        .max()
        .unwrap();
    assert!((500..=900).contains(&most), "{most}");
}

#[test]
fn threads_and_inboxes_exist() {
    let events = events(8, 10_000);
    let mut known = BTreeSet::new();
    let authors: BTreeSet<String> = events.iter().map(|event| event.pubkey().to_hex()).collect();
    let (mut inside, mut all, mut mentions) = (0, 0, 0);
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for event in &events {
        for id in event.values("e") {
            all += 1;
            inside += usize::from(known.contains(id.as_ref()));
            *answers.entry(id.into_owned()).or_default() += 1;
        }
        mentions += event
            .values("p")
            .filter(|key| authors.contains(key.as_ref()))
            .count();
        known.insert(event.id().to_hex());
    }
    assert!(
        inside * 100 / all > 70,
        "{inside} of {all} name an earlier event"
    );
    assert!(mentions > events.len(), "{mentions}");
    let longest = answers.values().max().unwrap();
    assert!(*longest > 50, "{longest} answers to the most popular note");
}

#[test]
fn deletions_name_notes_of_their_authors() {
    let events = events(9, 10_000);
    let authors: BTreeMap<String, _> = events
        .iter()
        .map(|event| (event.id().to_hex(), *event.pubkey()))
        .collect();
    let deletions = events.iter().filter(|event| is_kind(5)(event));
    let (mut own, mut all) = (0, 0);
    for deletion in deletions {
        for id in deletion.values("e") {
            all += 1;
            own += usize::from(authors.get(id.as_ref()) == Some(deletion.pubkey()));
        }
    }
    assert!(all > 50 && own * 100 / all > 95, "{own} of {all}");
}

#[test]
fn some_authors_write_much_more_than_others() {
    let events = events(10, 20_000);
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| is_kind(1)(event)) {
        *counts.entry(event.pubkey()).or_default() += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
    let (first, all) = (
        counts.iter().take(100).sum::<usize>(),
        counts.iter().sum::<usize>(),
    );
    // The sample: the hundred most active of 2,067 wrote 34 % without the first of them.
    assert!((25..50).contains(&(first * 100 / all)), "{first} of {all}");
    assert!(counts.len() > 1_000, "{} authors of notes", counts.len());
}

#[test]
fn a_failing_output_ends_the_work() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let corpus = Corpus::new(Options::new(1, 1 << 40), 2).unwrap();
    let error = corpus.write(2, &mut Full(500_000)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn options_out_of_range_are_refused() {
    let options = Options::new(1, 10);
    let check = |options, error| assert_eq!(Corpus::new(options, 1).unwrap_err(), error);
    check(
        Options {
            authors: 0,
            ..options
        },
        OptionsError::Authors,
    );
    check(
        Options {
            authors: 1_000_001,
            ..options
        },
        OptionsError::Authors,
    );
    check(
        Options {
            time_start: u64::MAX,
            ..options
        },
        OptionsError::Time,
    );
}
