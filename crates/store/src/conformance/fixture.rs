//! What the cases are written in: stores to open, events to build, answers to expect.

use std::{fmt::Write as _, future::Future, ops::Deref, panic::Location, sync::Arc};

use heliograph_policy::RelayUrls;
use heliograph_protocol::{Event, Filter, Kind, Outcome, PublicKey, Signature, Timestamp};

use crate::{Budget, End, EventStore, Scan, ScanRequest};

/// The relay that every store under test is.
pub const RELAY_URL: &str = "wss://relay.example.com";

/// The signature of every event of the suite: a constant, since stores don't look at it.
pub const SIGNATURE: Signature = Signature::new([7; 64]);

/// When the scans of most cases happen: after every `created_at`, before every expiration that
/// isn't meant to have passed.
pub const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// Empty pages in a row after which a scan counts as stuck. Time slices give a few.
const IDLE_PAGES_MAX: u32 = 100_000;

/// A backend under test.
pub trait Backend {
    /// The store.
    type Store: EventStore;
    /// Keeps the store and what it lives on, for example a directory, until the case is over.
    type Handle: Deref<Target = Self::Store>;

    /// Opens an empty store that follows requests to vanish from [`relay_urls`].
    fn open(&self) -> impl Future<Output = Self::Handle>;

    /// How much of each scenario is tried, for a backend that needs time for every write.
    fn effort(&self) -> Effort {
        Effort::default()
    }
}

/// How many runs a scenario of the orders gets.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Orders at most where there are more than the 24 of four events; beyond that a sample.
    pub orders: usize,
    /// Ways in which each order is written, of six; other orders get the others.
    pub ways: usize,
}

impl Default for Effort {
    /// Every order of six events in every way.
    fn default() -> Self {
        Self {
            orders: 720,
            ways: 6,
        }
    }
}

/// The URLs of every store under test.
#[must_use]
pub fn relay_urls() -> RelayUrls {
    RelayUrls::parse(&[RELAY_URL]).expect("the suite's own URL is valid")
}

/// The public key number `n`. Keys of different numbers differ within the first four bytes.
#[must_use]
pub fn key(n: u32) -> PublicKey {
    let mut bytes = [0xab; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey::new(bytes)
}

/// Builds an event of [`key`] number `author` with [`SIGNATURE`].
#[must_use]
pub fn event(author: u32, at: u64, kind: u16, tags: &[&[&str]], content: &str) -> Arc<Event> {
    let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.to_vec()).collect();
    build(key(author), at, kind, &tags, content)
}

pub(crate) fn build<S: AsRef<str>>(
    author: PublicKey,
    at: u64,
    kind: u16,
    tags: &[Vec<S>],
    content: &str,
) -> Arc<Event> {
    let at = Timestamp::from_secs(at);
    Arc::new(Event::build(
        author,
        at,
        Kind::new(kind),
        tags,
        content,
        |_id| SIGNATURE,
    ))
}

/// A text note without tags.
pub(crate) fn note(author: u32, at: u64) -> Arc<Event> {
    event(author, at, 1, &[], "")
}

/// A version of the author's profile (kind 0).
pub(crate) fn profile(author: u32, at: u64) -> Arc<Event> {
    event(author, at, 0, &[], "")
}

/// A version of the author's article `d` (kind 30023).
pub(crate) fn article(author: u32, at: u64, d: &str) -> Arc<Event> {
    event(author, at, 30_023, &[&["d", d]], "")
}

/// A gift wrap for [`key`] number `to`.
pub(crate) fn gift_wrap(author: u32, at: u64, to: u32) -> Arc<Event> {
    event(author, at, 1059, &[&["p", &key(to).to_hex()]], "")
}

/// A deletion request for these events, by id.
pub(crate) fn deletion(author: u32, at: u64, targets: &[&Arc<Event>]) -> Arc<Event> {
    let ids: Vec<String> = targets.iter().map(|target| target.id().to_hex()).collect();
    let tags: Vec<Vec<&str>> = ids.iter().map(|id| vec!["e", id]).collect();
    build(key(author), at, 5, &tags, "")
}

/// A deletion request for an address, given as `kind`, `owner` and `d`.
pub(crate) fn address_deletion(author: u32, at: u64, address: (u16, u32, &str)) -> Arc<Event> {
    let (kind, owner, d) = address;
    event(
        author,
        at,
        5,
        &[&["a", &format!("{kind}:{}:{d}", key(owner))]],
        "",
    )
}

/// A request to vanish from `relay`.
pub(crate) fn vanish(author: u32, at: u64, relay: &str) -> Arc<Event> {
    event(author, at, 62, &[&["relay", relay]], "")
}

/// `count` events of one author, kind and second, which only their content tells apart, lowest id
/// first.
pub(crate) fn tied(author: u32, at: u64, kind: u16, count: usize) -> Vec<Arc<Event>> {
    let events = (0..count).map(|n| event(author, at, kind, &[], &n.to_string()));
    let mut events: Vec<_> = events.collect();
    events.sort_by_key(|event| *event.id());
    events
}

/// Sorts into the order of every answer (R01-53).
pub(crate) fn sort(events: &mut [Arc<Event>]) {
    events.sort_by_key(|event| event.position());
}

/// Reads a filter that the suite itself wrote.
pub(crate) fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|refusal| panic!("filter {text} of the suite: {refusal}"))
}

/// Reads every match of `filter` at `now`, in order, without a budget.
///
/// # Panics
///
/// If the store fails or the answer isn't in order: for tests.
pub async fn collect<S: EventStore>(store: &S, filter: &Filter, now: Timestamp) -> Vec<Arc<Event>> {
    let request = request(filter, now);
    let (events, end) = collect_pages(store, request, 100).await;
    assert_eq!(end, End::Complete, "a scan without a budget ends complete");
    events
}

/// A scan of everything that matches, from the newest, without a budget.
pub(crate) fn request(filter: &Filter, now: Timestamp) -> ScanRequest {
    ScanRequest {
        filter: Arc::new(filter.clone()),
        after: None,
        now,
        budget: Budget::UNLIMITED,
    }
}

/// Reads a scan to its end in pages of at most `rows`, and says how it ended.
///
/// # Panics
///
/// If the store fails, a page is too long, the order is wrong, or the cost shrinks: for tests.
pub async fn collect_pages<S: EventStore>(
    store: &S,
    request: ScanRequest,
    rows: usize,
) -> (Vec<Arc<Event>>, End) {
    let mut scan = store.scan(request);
    let mut events: Vec<Arc<Event>> = Vec::new();
    let mut cost = 0;
    let mut idle = 0;
    loop {
        let page = scan.next(rows).await.expect("the store under test reads");
        assert!(
            page.events.len() <= rows,
            "a page of {} for {rows} rows",
            page.events.len()
        );
        assert!(
            page.cost.rows >= cost,
            "the cost shrank from {cost} to {}",
            page.cost.rows
        );
        cost = page.cost.rows;
        idle = if page.events.is_empty() { idle + 1 } else { 0 };
        assert!(
            idle < IDLE_PAGES_MAX,
            "{idle} empty pages, one after the other"
        );
        for event in page.events {
            let ordered = events
                .last()
                .is_none_or(|last| last.position() < event.position());
            events.push(event);
            assert!(
                ordered,
                "newest first, lowest id first, each once:\n{}",
                list(&events)
            );
        }
        if let Some(end) = page.end {
            return (events, end);
        }
    }
}

/// An open store with assertions. A failure names the line of the case that asked.
#[derive(Debug)]
pub struct Bed<H> {
    store: H,
}

impl<S: EventStore, H: Deref<Target = S>> Bed<H> {
    /// Opens an empty store.
    pub async fn open<B: Backend<Store = S, Handle = H>>(backend: &B) -> Self {
        Self {
            store: backend.open().await,
        }
    }

    /// The store itself.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Writes one batch.
    ///
    /// # Panics
    ///
    /// Unless there is one outcome for each event.
    #[track_caller]
    pub fn write(&self, events: &[Arc<Event>]) -> impl Future<Output = Vec<Outcome>> {
        let at = Location::caller();
        async move {
            let outcomes = self.store.write(events.to_vec()).await;
            let outcomes = outcomes.unwrap_or_else(|error| panic!("{at}: write failed: {error}"));
            assert_eq!(
                outcomes.len(),
                events.len(),
                "{at}: one outcome for each event"
            );
            outcomes
        }
    }

    /// Writes one batch and expects these outcomes.
    ///
    /// # Panics
    ///
    /// If an outcome differs.
    #[track_caller]
    pub fn put(&self, events: &[(&Arc<Event>, Outcome)]) -> impl Future<Output = ()> {
        let at = Location::caller();
        async move {
            let batch: Vec<_> = events.iter().map(|(event, _)| Arc::clone(event)).collect();
            let outcomes = self.write(&batch).await;
            for (got, (event, expected)) in outcomes.iter().zip(events) {
                assert_eq!(got, expected, "{at}: outcome of {}", event.as_str());
            }
        }
    }

    /// Writes events one by one and expects each to be stored.
    ///
    /// # Panics
    ///
    /// If one isn't.
    #[track_caller]
    pub fn store_all(&self, events: &[&Arc<Event>]) -> impl Future<Output = ()> {
        let at = Location::caller();
        async move {
            for event in events {
                let outcomes = self.write(&[Arc::clone(event)]).await;
                assert_eq!(
                    outcomes,
                    [Outcome::Stored],
                    "{at}: outcome of {}",
                    event.as_str()
                );
            }
        }
    }

    /// Expects a filter, given as JSON, to be answered at [`NOW`] by exactly these events; the order
    /// of the answer is checked too, the order of `expected` plays no part.
    ///
    /// # Panics
    ///
    /// If the answer differs, in a single byte of an event too.
    #[track_caller]
    pub fn expect(&self, json: &str, expected: &[&Arc<Event>]) -> impl Future<Output = ()> {
        self.expect_at(NOW, json, expected)
    }

    /// As [`Bed::expect`], at any time.
    ///
    /// # Panics
    ///
    /// As [`Bed::expect`].
    #[track_caller]
    pub fn expect_at(
        &self,
        now: Timestamp,
        json: &str,
        expected: &[&Arc<Event>],
    ) -> impl Future<Output = ()> {
        let at = Location::caller();
        async move {
            let mut expected: Vec<_> = expected.iter().map(|event| Arc::clone(event)).collect();
            sort(&mut expected);
            let answer = collect(self.store(), &filter(json), now).await;
            assert_same(
                &answer,
                &expected,
                &format!("{at}: answer to {json} at {now}"),
            );
        }
    }

    /// Expects these events to be unknown to every kind of look-up.
    ///
    /// # Panics
    ///
    /// If one is found.
    #[track_caller]
    pub fn gone(&self, events: &[&Arc<Event>]) -> impl Future<Output = ()> {
        let at = Location::caller();
        async move {
            for event in events {
                let contains = self.store.contains(event.id()).await;
                assert_eq!(contains, Ok(false), "{at}: contains {}", event.as_str());
                for json in lookups(event) {
                    let answer = collect(self.store(), &filter(&json), NOW).await;
                    let found = answer.iter().any(|other| other.id() == event.id());
                    assert!(!found, "{at}: {json} found {}", event.as_str());
                }
            }
        }
    }
}

/// Filters that find `event`, one for each way that an index may go.
pub(crate) fn lookups(event: &Event) -> Vec<String> {
    let (id, author, kind) = (event.id(), event.pubkey(), event.kind());
    let at = event.created_at();
    let mut filters = vec![
        "{}".to_owned(),
        format!(r#"{{"ids":["{id}"]}}"#),
        format!(r#"{{"authors":["{author}"]}}"#),
        format!(r#"{{"kinds":[{kind}]}}"#),
        format!(r#"{{"authors":["{author}"],"kinds":[{kind}]}}"#),
        format!(r#"{{"since":{at},"until":{at}}}"#),
    ];
    for (letter, value) in event.indexed_tags() {
        let mut text = Vec::new();
        heliograph_protocol::write_json_string(&value, &mut text);
        let text = String::from_utf8_lossy(&text);
        let letter = char::from(letter);
        filters.push(format!(r##"{{"#{letter}":[{text}]}}"##));
        filters.push(format!(r##"{{"#{letter}":[{text}],"kinds":[{kind}]}}"##));
    }
    // Malformed `e` and `p` values are stored, but no filter may ask for them.
    filters.retain(|json| Filter::parse(json).is_ok());
    filters
}

/// Compares two answers, text by text.
pub(crate) fn assert_same(answer: &[Arc<Event>], expected: &[Arc<Event>], what: &str) {
    let texts = |events: &[Arc<Event>]| -> Vec<_> {
        events.iter().map(|event| event.json().clone()).collect()
    };
    assert!(
        texts(answer) == texts(expected),
        "{what}\nexpected:\n{}got:\n{}",
        list(expected),
        list(answer)
    );
}

pub(crate) fn list(events: &[Arc<Event>]) -> String {
    events.iter().fold(String::new(), |mut text, event| {
        let short: String = event.as_str().chars().take(400).collect();
        writeln!(text, "  {short}").expect("writing to a string can't fail");
        text
    })
}
