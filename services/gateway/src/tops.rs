//! Who sends most and what costs most, in the last minutes: lists of bounded length for operators, on a
//! page of the admin listener. Keys and addresses are no labels, so these are no time series.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_bus::Bus;
use heliograph_protocol::{Event, PublicKey};
use heliograph_telemetry::{Query, TOP_CAPACITY, TOP_HALF_LIFE, Top, TopList};
use serde_json::{Map, Value, json};

use crate::{Gateway, addresses::AddressKey, shape::Shape};

/// Entries of a list that are shown if nobody says how many.
const ENTRIES_SHOWN: usize = 20;

/// The lists of a gateway.
#[derive(Debug)]
pub(crate) struct Tops {
    authors: TopList<PublicKey, 2>,
    addresses: TopList<AddressKey, 3>,
    filters: TopList<Shape, 2>,
}

impl Default for Tops {
    /// As many shards as there are threads with sessions.
    fn default() -> Self {
        let shards = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            authors: TopList::new(shards, TOP_CAPACITY),
            addresses: TopList::new(shards, TOP_CAPACITY),
            filters: TopList::new(shards, TOP_CAPACITY),
        }
    }
}

impl Tops {
    /// Notes an event that was taken. Others say nothing about their author: anybody can write any name.
    pub(crate) fn accepted(&self, event: &Event, now: Instant) {
        let bytes = event.json().len() as u64;
        self.authors.record(event.pubkey(), [1, bytes], now);
    }

    /// Notes what came from an address.
    fn read(&self, address: AddressKey, messages: u64, bytes: u64, now: Instant) {
        self.addresses.record(&address, [messages, 0, bytes], now);
    }

    /// Notes that an address was refused something.
    pub(crate) fn rejected(&self, address: AddressKey, now: Instant) {
        self.addresses.record(&address, [0, 1, 0], now);
    }

    /// Notes what the answer to a question was, and how long the matcher took for it.
    pub(crate) fn answered(&self, shape: &Shape, rows: u64, took: Duration, now: Instant) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.filters.record(shape, [rows, micros], now);
    }

    /// The lists as JSON: all of them, or the one that the query names.
    fn page(&self, query: Query<'_>) -> Result<String, String> {
        let entries_max = match query.get("n") {
            None => ENTRIES_SHOWN,
            Some(n) => n
                .parse()
                .map_err(|_no_number| format!("n: {n:?} is no number"))?,
        };
        let now = Instant::now();
        let mut lists = Map::new();
        let wanted = query.get("list");
        if wanted.is_none_or(|list| list == "authors") {
            let list = list(&self.authors, ["events", "bytes"], entries_max, now);
            lists.insert("authors".to_owned(), list);
        }
        if wanted.is_none_or(|list| list == "addresses") {
            let measures = ["messages", "rejected", "bytes"];
            let list = list(&self.addresses, measures, entries_max, now);
            lists.insert("addresses".to_owned(), list);
        }
        if wanted.is_none_or(|list| list == "filters") {
            let list = list(&self.filters, ["rows", "micros"], entries_max, now);
            lists.insert("filters".to_owned(), list);
        }
        if lists.is_empty() {
            return Err("list: one of authors, addresses, filters".to_owned());
        }
        let page = json!({
            "half_life_seconds": TOP_HALF_LIFE.as_secs(),
            "lists": lists,
        });
        Ok(format!("{page:#}\n"))
    }
}

impl<B: Bus> Gateway<B> {
    /// The page of the admin listener that shows who sends most and what costs most: in JSON, all lists
    /// or the one of `list=`, `n=` entries of each.
    pub fn top_page(&self) -> impl Fn(Query<'_>) -> Result<String, String> + Send + Sync + use<B> {
        let metrics = Arc::clone(&self.metrics);
        move |query| metrics.tops.page(query)
    }
}

fn list<K, const M: usize>(
    list: &TopList<K, M>,
    measures: [&str; M],
    entries_max: usize,
    now: Instant,
) -> Value
where
    K: fmt::Display + std::hash::Hash + Eq + Clone,
{
    let measured = measures.into_iter().enumerate().map(|(measure, name)| {
        let Top { total, entries } = list.top(measure, entries_max, now);
        let entries = entries.into_iter().map(|entry| {
            json!({
                "key": entry.key.to_string(),
                "count": entry.count,
                "error": entry.error,
            })
        });
        let entries: Vec<Value> = entries.collect();
        (
            name.to_owned(),
            json!({ "total": total, "entries": entries }),
        )
    });
    Value::Object(measured.collect())
}

/// What a connection has sent and nobody noted yet: the lists are locked now and then, not for each read.
#[derive(Debug, Default)]
pub(crate) struct Unnoted {
    messages: u64,
    bytes: u64,
    noted: Option<Instant>,
}

/// How long, and how much, a connection sends before that is noted with its next message: little, beside a
/// list of the heaviest that halves in a minute.
const NOTED_EVERY: Duration = Duration::from_secs(1);
const UNNOTED_MESSAGES_MAX: u64 = 16;
const UNNOTED_BYTES_MAX: u64 = 16_384;

impl Unnoted {
    /// Adds what was read, and notes all there is if it is much or nothing was noted lately.
    pub(crate) fn add(
        &mut self,
        tops: &Tops,
        address: AddressKey,
        messages: u64,
        bytes: u64,
        now: Instant,
    ) {
        self.messages += messages;
        self.bytes += bytes;
        let noted_lately = self
            .noted
            .is_some_and(|noted| now.saturating_duration_since(noted) < NOTED_EVERY);
        let much = self.messages >= UNNOTED_MESSAGES_MAX || self.bytes >= UNNOTED_BYTES_MAX;
        if much || !noted_lately {
            self.noted = Some(now);
            self.note(tops, address, now);
        }
    }

    /// Notes what is left.
    pub(crate) fn note(&mut self, tops: &Tops, address: AddressKey, now: Instant) {
        let (messages, bytes) = (
            std::mem::take(&mut self.messages),
            std::mem::take(&mut self.bytes),
        );
        if bytes > 0 {
            tops.read(address, messages, bytes, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use heliograph_testkit::keys::Key;

    use super::*;

    #[test]
    fn the_page_has_every_list_or_the_one_that_is_asked_for() {
        let tops = Tops::default();
        let now = Instant::now();
        for (author, events) in [(0, 3), (1, 1)] {
            for n in 0..events {
                tops.accepted(&Key::nth(author).note(n, "x"), now);
            }
        }
        let address = |text: &str| AddressKey::new(text.parse().unwrap());
        tops.read(address("2001:db8::1"), 2, 700, now);
        tops.read(address("2001:db8::2"), 1, 100, now);
        tops.rejected(address("192.0.2.1"), now);
        let page = |query| -> Value {
            let page = tops.page(Query::new(query)).unwrap();
            serde_json::from_str(&page).unwrap()
        };
        let all = page("");
        let authors = &all["lists"]["authors"]["events"];
        assert_eq!(authors["total"], 4);
        assert_eq!(authors["entries"][0]["key"], Key::nth(0).hex());
        assert_eq!(authors["entries"][0]["count"], 3);
        let addresses = &all["lists"]["addresses"];
        assert_eq!(addresses["bytes"]["entries"][0]["key"], "2001:db8::/64");
        assert_eq!(addresses["bytes"]["entries"][0]["count"], 800);
        assert_eq!(addresses["rejected"]["entries"][0]["key"], "192.0.2.1");
        let one = page("list=authors&n=1");
        assert_eq!(one["lists"].as_object().unwrap().len(), 1);
        assert_eq!(
            one["lists"]["authors"]["events"]["entries"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        for wrong in ["list=others", "n=many"] {
            assert!(tops.page(Query::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_connection_sends_is_noted_now_and_then_and_at_its_end() {
        let (tops, now) = (Tops::default(), Instant::now());
        let address = AddressKey::new("192.0.2.1".parse().unwrap());
        let noted = || {
            let by = |measure| tops.addresses.top(measure, 1, now).total;
            (by(0), by(2))
        };
        let mut unnoted = Unnoted::default();
        let mut add = |messages, bytes, at| unnoted.add(&tops, address, messages, bytes, at);
        add(1, 100, now);
        assert_eq!(noted(), (1, 100));
        let soon = now + NOTED_EVERY - Duration::from_millis(1);
        (1..UNNOTED_MESSAGES_MAX).for_each(|_| add(1, 50, soon));
        assert_eq!(noted(), (1, 100), "one lock for many reads");
        add(1, 50, soon);
        assert_eq!(noted(), (17, 900));
        add(1, UNNOTED_BYTES_MAX, soon);
        assert_eq!(noted(), (18, 17_284));
        add(1, 1, soon);
        assert_eq!(noted(), (18, 17_284));
        add(0, 1, soon + NOTED_EVERY);
        assert_eq!(noted(), (19, 17_286), "nothing was noted for a while");
        add(2, 3, soon + NOTED_EVERY);
        unnoted.note(&tops, address, soon);
        unnoted.note(&tops, address, soon);
        assert_eq!(noted(), (21, 17_289), "its end");
    }
}
