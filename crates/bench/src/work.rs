//! The events of a run and the questions about them, with the number of answers that is right.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::Path,
    thread,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use heliograph_corpus::{Corpus, Options as CorpusOptions, Summary};
use heliograph_protocol::{Address, Event, EventId, Filter, Kind, KindClass, PublicKey, Timestamp};
use serde_json::json;

use crate::options::Sizes;

/// Authors of a home feed.
const FEED_AUTHORS: usize = 500;

/// Rows of a home feed, as clients ask for them.
const FEED_LIMIT: usize = 200;

/// The kind of events that nobody asks for.
const FIRST_KIND: u16 = 7_777;

/// Authors that write live notes, in each live cell others.
pub(crate) const LIVE_AUTHORS: u32 = 20;

/// What clients ask a feed for, at least and at most.
const KINDS_2: [u16; 2] = [1, 6];
const KINDS_16: [u16; 16] = [
    1, 6, 16, 20, 21, 22, 30, 1_068, 1_111, 1_311, 6_969, 9_802, 30_023, 30_311, 30_402, 30_818,
];

/// What an inbox shows: answers, reposts, reactions, zaps.
const INBOX_KINDS: [u16; 5] = [1, 6, 7, 1_111, 9_735];

/// Everything that relays are given.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) corpus: Corpus,
    pub(crate) summary: Summary,
    text: Vec<u8>,
    lines: Vec<Range<usize>>,
    loaded: usize,
    pub(crate) questions: Vec<Questions>,
}

/// Questions of one kind.
#[derive(Debug)]
pub(crate) struct Questions {
    pub(crate) name: &'static str,
    /// Filters as JSON.
    pub(crate) filters: Vec<String>,
    /// How many events answer each, by NIP-01.
    pub(crate) expected: Vec<u64>,
}

impl Work {
    /// Makes the corpus and the questions about what is loaded of it.
    ///
    /// # Errors
    ///
    /// Options out of range.
    pub(crate) fn make(seed: u64, authors: Option<u32>, sizes: &Sizes) -> Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let defaults = CorpusOptions::new(seed, sizes.events + sizes.published());
        let options = CorpusOptions {
            authors: authors.unwrap_or(defaults.authors.max(2_000)),
            ..defaults
        };
        let corpus = Corpus::new(options, threads)?;
        let mut text = Vec::new();
        let summary = corpus.write(threads, &mut text)?;
        let mut lines = Vec::new();
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', &text) {
            lines.push(from..end);
            from = end + 1;
        }
        let mut work = Self {
            corpus,
            summary,
            text,
            lines,
            loaded: usize::try_from(sizes.events)?,
            questions: Vec::new(),
        };
        work.questions = work.ask(sizes.questions)?;
        Ok(work)
    }

    /// The events that are loaded, as JSON.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = &[u8]> {
        self.lines[..self.loaded]
            .iter()
            .map(|line| &self.text[line.clone()])
    }

    /// `count` of the events that are published, after the first `skip`.
    pub(crate) fn published(&self, skip: u64, count: u64) -> impl Iterator<Item = &[u8]> {
        let numbers = (usize::try_from(skip).ok(), usize::try_from(count).ok());
        let (skip, count) = (
            numbers.0.unwrap_or(usize::MAX),
            numbers.1.unwrap_or(usize::MAX),
        );
        let lines = self.lines[self.loaded..].iter().skip(skip).take(count);
        lines.map(|line| &self.text[line.clone()])
    }

    /// Bytes of the loaded events as JSONL.
    pub(crate) fn loaded_bytes(&self) -> u64 {
        let end = self
            .loaded
            .checked_sub(1)
            .map_or(0, |last| self.lines[last].end + 1);
        end as u64
    }

    /// Writes the loaded events to a file, for imports.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub(crate) fn write_loaded(&self, path: &Path) -> Result<()> {
        let end = usize::try_from(self.loaded_bytes())?;
        fs::write(path, &self.text[..end]).with_context(|| path.display().to_string())
    }

    /// Newer than every event of the corpus: when live notes begin.
    pub(crate) fn live_start(&self) -> u64 {
        let options = self.corpus.options();
        options.time_start + options.time_span + options.events
    }

    /// The authors of the live notes of a cell, who are no other cell's.
    pub(crate) fn live_authors(&self, cell: u32) -> Vec<&str> {
        let first = cell * LIVE_AUTHORS;
        (first..first + LIVE_AUTHORS)
            .map(|nth| self.corpus.author(nth))
            .collect()
    }

    /// Signs the live notes of a cell.
    pub(crate) fn live_notes(&self, cell: u32, count: u64) -> Vec<Event> {
        self.long_notes(cell, count, 0)
    }

    /// The same, with what notes of the corpus say.
    pub(crate) fn worded_notes(&self, cell: u32, count: u64) -> Vec<Event> {
        let loaded = self.loaded().filter_map(|line| {
            let event = Event::parse(str::from_utf8(line).ok()?).ok()?;
            (event.kind().as_u16() == 1).then(|| event.content().into_owned())
        });
        let texts: Vec<String> = loaded.take(1_000).collect();
        let note = |(nth, text): (u64, &String)| {
            let author = cell * LIVE_AUTHORS + u32::try_from(nth % 20).unwrap_or(0);
            let at = self.live_start() + nth;
            self.corpus.sign(author, at, 1, &[], text)
        };
        (0..count).zip(texts.iter().cycle()).map(note).collect()
    }

    /// Signs events that no question asks for, to begin with.
    pub(crate) fn first_events(&self, skip: u64, count: u64) -> Vec<Event> {
        let events = (skip..skip + count).map(|nth| {
            self.corpus
                .sign(0, self.live_start() + nth, FIRST_KIND, &[], "")
        });
        events.collect()
    }

    /// The same, with so many bytes more in each.
    pub(crate) fn long_notes(&self, cell: u32, count: u64, more: usize) -> Vec<Event> {
        let more = "x".repeat(more);
        let note = |nth: u64| {
            let author = cell * LIVE_AUTHORS + u32::try_from(nth % 20).unwrap_or(0);
            let text = format!(
                "live note {nth}, of about as many bytes as a note usually has in it{more}"
            );
            self.corpus
                .sign(author, self.live_start() + nth, 1, &[], &text)
        };
        (0..count).map(note).collect()
    }

    fn ask(&self, count: usize) -> Result<Vec<Questions>> {
        let mut stored = Stored::default();
        for line in self.loaded() {
            // Written by our own corpus, in canonical form.
            let event = Event::from_wire(Bytes::copy_from_slice(line)).context("a wire form")?;
            stored.add(event);
        }
        let events = stored.winners();
        let asker = Asker::new(&self.corpus, &events, count);
        let mut questions = Vec::new();
        for (name, filters) in asker.questions() {
            let count = |text: &String| {
                let filter = Filter::parse(text).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
                Ok(answers(&filter, &events))
            };
            let expected = filters.iter().map(count).collect::<Result<Vec<u64>>>()?;
            questions.push(Questions {
                name,
                filters,
                expected,
            });
        }
        Ok(questions)
    }
}

/// How many rows answer a filter.
fn answers(filter: &Filter, events: &[&Event]) -> u64 {
    let limit = filter.limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let matching = events.iter().filter(|event| filter.matches(event));
    matching.take(limit).count() as u64
}

/// What is left of events by the rules of replacement and deletion (NIP-01, NIP-09), in whatever order
/// they come.
#[derive(Debug, Default)]
struct Stored {
    events: BTreeMap<EventId, Event>,
    addresses: BTreeMap<Address, EventId>,
    deleted: BTreeSet<(EventId, PublicKey)>,
}

impl Stored {
    fn add(&mut self, event: Event) {
        if event.kind().as_u16() == 5 {
            for id in event.values("e") {
                if let Ok(id) = EventId::from_hex(id.as_bytes()) {
                    self.deleted.insert((id, *event.pubkey()));
                }
            }
        }
        if let Some(address) = event.address() {
            if let Some(current) = self.addresses.get(&address) {
                if !event.supersedes(&self.events[current]) {
                    return;
                }
                self.events.remove(current);
            }
            self.addresses.insert(address, *event.id());
        }
        if event.kind().class() != KindClass::Ephemeral {
            self.events.insert(*event.id(), event);
        }
    }

    fn winners(&self) -> Vec<&Event> {
        let kept = |event: &&Event| !self.deleted.contains(&(*event.id(), *event.pubkey()));
        self.events.values().filter(kept).collect()
    }
}

/// Chooses what is asked: everything by number, so that each run asks the same.
struct Asker<'a> {
    count: usize,
    events: &'a [&'a Event],
    /// Those who have notes or reposts, most first.
    authors: Vec<String>,
    /// Notes by how many refer to them, most first.
    threads: Vec<String>,
    end: Timestamp,
}

impl<'a> Asker<'a> {
    fn new(corpus: &Corpus, events: &'a [&'a Event], count: usize) -> Self {
        let options = corpus.options();
        let mut notes: BTreeMap<String, u64> = BTreeMap::new();
        let mut threads: BTreeMap<String, u64> = BTreeMap::new();
        for event in events {
            if KINDS_2.contains(&event.kind().as_u16()) {
                *notes.entry(event.pubkey().to_hex()).or_default() += 1;
            }
            for id in event.values("e") {
                *threads.entry(id.into_owned()).or_default() += 1;
            }
        }
        Self {
            count,
            events,
            authors: by_count(notes),
            threads: by_count(threads),
            end: Timestamp::from_secs(options.time_start + options.time_span),
        }
    }

    fn questions(&self) -> Vec<(&'static str, Vec<String>)> {
        let author = |nth: usize| self.authors.get(nth * 7 % self.authors.len().max(1));
        let each = |make: &dyn Fn(usize) -> serde_json::Value| -> Vec<String> {
            (0..self.count).map(|nth| make(nth).to_string()).collect()
        };
        // Private messages are answered to nobody, or only to those concerned, as a relay sees fit.
        let open =
            |event: &&&Event| ![Kind::DIRECT_MESSAGE, Kind::GIFT_WRAP].contains(&event.kind());
        let open: Vec<&&Event> = self.events.iter().filter(open).collect();
        let step = (open.len() / self.count.max(1)).max(1);
        let id = |nth: usize| open.get(nth * step).map(|event| event.id().to_hex());
        let thread = |nth: usize| self.threads.get(nth * 3 % self.threads.len().max(1));
        let until = self.end.as_secs();
        vec![
            ("by id", each(&|nth| json!({"ids": [id(nth)]}))),
            (
                "author and kind",
                each(&|nth| json!({"authors": [author(nth)], "kinds": [1], "limit": 20})),
            ),
            (
                "feed, active × 2 kinds",
                each(&|nth| self.feed(nth, false, &KINDS_2)),
            ),
            (
                "feed, active × 16 kinds",
                each(&|nth| self.feed(nth, false, &KINDS_16)),
            ),
            (
                "feed, sparse × 2 kinds",
                each(&|nth| self.feed(nth, true, &KINDS_2)),
            ),
            (
                "feed, sparse × 16 kinds",
                each(&|nth| self.feed(nth, true, &KINDS_16)),
            ),
            (
                "thread",
                each(&|nth| json!({"#e": [thread(nth)], "kinds": [1, 6, 7, 9_735], "limit": 500})),
            ),
            (
                "inbox",
                each(&|nth| json!({"#p": [author(nth)], "kinds": INBOX_KINDS, "limit": 200})),
            ),
            (
                "kind 1, limit 500",
                vec![json!({"kinds": [1], "limit": 500, "until": until}).to_string()],
            ),
            (
                "limit 0",
                vec![json!({"kinds": [1], "limit": 0}).to_string()],
            ),
        ]
    }

    /// The feed of reader `nth`: 500 of the 1,000 who write most, or of the third of
    /// writers that writes least.
    fn feed(&self, nth: usize, sparse: bool, kinds: &[u16]) -> serde_json::Value {
        let count = self.authors.len();
        let pool = if sparse {
            &self.authors[count - (count / 3).max(FEED_AUTHORS.min(count))..]
        } else {
            &self.authors[..count.min(2 * FEED_AUTHORS)]
        };
        // A step that has no divisor in common with the sizes of pools meets everybody once.
        let authors =
            (0..FEED_AUTHORS.min(pool.len())).map(|at| &pool[(nth * 31 + at * 7_919) % pool.len()]);
        let authors: BTreeSet<&String> = authors.collect();
        json!({"authors": authors, "kinds": kinds, "limit": FEED_LIMIT})
    }
}

/// Names by count, most first, then by name.
fn by_count(counts: BTreeMap<String, u64>) -> Vec<String> {
    let mut counts: Vec<(u64, String)> = counts
        .into_iter()
        .map(|(name, count)| (count, name))
        .collect();
    counts.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    counts.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use heliograph_testkit::keys::Key;

    use super::*;

    #[test]
    fn what_is_stored_is_what_the_rules_leave() {
        let (alice, bob) = (Key::nth(0), Key::nth(1));
        let note = alice.note(10, "note");
        let id = note.id().to_hex();
        let kept = bob.note(11, "kept");
        let kept_id = kept.id().to_hex();
        let mut stored = Stored::default();
        let events = [
            // Deleted before it comes; not by a stranger.
            alice.sign(20, 5, &[&["e", &id], &["e", &kept_id]], ""),
            note,
            kept,
            alice.sign(12, 0, &[], "new"),
            alice.sign(11, 0, &[], "old"),
            alice.sign(12, 30_023, &[&["d", "a"]], "a"),
            alice.sign(13, 30_023, &[&["d", "a"]], "a again"),
            alice.sign(13, 30_023, &[&["d", "b"]], "b"),
            alice.sign(13, 20_001, &[], "gone"),
        ];
        for event in events {
            stored.add(event);
        }
        let mut left: Vec<String> = stored
            .winners()
            .iter()
            .map(|event| event.content().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["", "a again", "b", "kept", "new"]);
    }

    #[test]
    fn a_limit_bounds_what_is_expected() {
        let key = Key::nth(0);
        let events: Vec<Event> = (0..5).map(|at| key.note(at, "")).collect();
        let events: Vec<&Event> = events.iter().collect();
        let count = |filter: &str| answers(&Filter::parse(filter).unwrap(), &events);
        assert_eq!(count(r#"{"kinds":[1]}"#), 5);
        assert_eq!(count(r#"{"kinds":[1],"limit":3}"#), 3);
        assert_eq!(count(r#"{"kinds":[1],"limit":0}"#), 0);
        assert_eq!(count(r#"{"since":3}"#), 2);
    }

    #[test]
    fn questions_have_answers_and_feeds_their_authors() {
        let work = Work::make(1, None, &Sizes::small()).unwrap();
        assert_eq!(work.loaded().count(), 3_000);
        assert_eq!(work.published(20, 200).count(), 200);
        assert_eq!(work.questions.len(), 10);
        for questions in &work.questions {
            assert_eq!(questions.filters.len(), questions.expected.len());
            let answers: u64 = questions.expected.iter().sum();
            assert_eq!(
                answers == 0,
                questions.name == "limit 0",
                "{}: {answers}",
                questions.name
            );
        }
        let authors = |nth: usize| {
            let feed = Filter::parse(&work.questions[nth].filters[3]).unwrap();
            feed.authors.unwrap()
        };
        let (active, sparse) = (authors(2), authors(4));
        assert_eq!((active.len(), sparse.len()), (500, 500));
        let notes = |authors: &[PublicKey]| {
            let by = |line: &&[u8]| {
                let event = Event::parse(str::from_utf8(line).unwrap()).unwrap();
                event.kind().as_u16() == 1 && authors.contains(event.pubkey())
            };
            work.loaded().filter(by).count()
        };
        assert!(notes(&active) > notes(&sparse));
    }

    #[test]
    fn live_notes_are_newer_than_the_corpus_and_no_other_cells() {
        let work = Work::make(1, None, &Sizes::small()).unwrap();
        let newest = work
            .loaded()
            .map(|line| Event::parse(str::from_utf8(line).unwrap()).unwrap());
        let newest = newest
            .map(|event| event.created_at().as_secs())
            .max()
            .unwrap();
        let notes = work.live_notes(2, 30);
        assert!(
            notes
                .iter()
                .all(|note| note.created_at().as_secs() > newest)
        );
        let authors = work.live_authors(2);
        assert!(
            notes
                .iter()
                .all(|note| authors.contains(&note.pubkey().to_hex().as_str()))
        );
        assert!(
            work.live_authors(1)
                .iter()
                .all(|author| !authors.contains(author))
        );
    }
}
