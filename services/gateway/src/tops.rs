//! Who sends most and what costs most, in the last minutes: lists of bounded length for operators, on a
//! page of the admin listener. Keys and addresses are no labels, so these are no time series.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_bus::Bus;
use heliograph_protocol::{Event, Filter, PublicKey};
use heliograph_telemetry::{Query, TOP_CAPACITY, TOP_HALF_LIFE, Top, TopList};
use serde_json::{Map, Value, json};

use crate::{Gateway, addresses::AddressKey};

/// Entries of a list that are shown if nobody says how many.
const ENTRIES_SHOWN: usize = 20;

/// Bytes of a filter's shape at most.
const SHAPE_BYTES_MAX: usize = 160;

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
    pub(crate) fn read(&self, address: AddressKey, messages: u64, bytes: u64, now: Instant) {
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

/// What a question asks by, without what it asks for: the members of each filter with the number of
/// their values, `authors:300+,kinds:2,limit`. Numbers above nine are cut to their first digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shape(Box<str>);

impl Shape {
    pub(crate) fn of_req(filters: &[Filter]) -> Self {
        Self::of("", filters)
    }

    pub(crate) fn of_count(filters: &[Filter]) -> Self {
        Self::of("COUNT ", filters)
    }

    fn of(verb: &str, filters: &[Filter]) -> Self {
        let mut text = String::with_capacity(64);
        text.push_str(verb);
        for (number, filter) in filters.iter().enumerate() {
            if number > 0 {
                text.push_str(" | ");
            }
            if text.len() > SHAPE_BYTES_MAX {
                text.push('…');
                break;
            }
            describe(filter, &mut text);
        }
        Self(text.into_boxed_str())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn describe(filter: &Filter, text: &mut String) {
    let start = text.len();
    let mut member = |name: &str, letter: Option<u8>, values: Option<usize>| {
        if text.len() > start {
            text.push(',');
        }
        text.push_str(name);
        text.extend(letter.map(char::from));
        if let Some(values) = values {
            text.push(':');
            push_rounded(values, text);
        }
    };
    let Filter {
        ids,
        authors,
        kinds,
        tags,
        since,
        until,
        limit,
    } = filter;
    for condition in tags {
        member("#", Some(condition.letter), Some(condition.values.len()));
    }
    for (name, values) in [
        ("authors", authors.as_ref().map(Vec::len)),
        ("ids", ids.as_ref().map(Vec::len)),
        ("kinds", kinds.as_ref().map(Vec::len)),
    ] {
        if values.is_some() {
            member(name, None, values);
        }
    }
    for (name, given) in [
        ("limit", limit.is_some()),
        ("since", since.is_some()),
        ("until", until.is_some()),
    ] {
        if given {
            member(name, None, None);
        }
    }
    if text.len() == start {
        text.push_str("{}");
    }
}

/// Appends a number, above nine as its first digit, zeros and `+`.
fn push_rounded(number: usize, text: &mut String) {
    let mut first = number;
    let mut zeros = 0;
    while first > 9 {
        first /= 10;
        zeros += 1;
    }
    let digit = u8::try_from(first).unwrap_or_default();
    text.push(char::from(b'0' + digit));
    text.extend(std::iter::repeat_n('0', zeros));
    if zeros > 0 {
        text.push('+');
    }
}

#[cfg(test)]
mod tests {
    use heliograph_testkit::keys::Key;

    use super::*;

    #[track_caller]
    fn check(filters: &[&str], shape: &str) {
        let filters: Vec<Filter> = filters
            .iter()
            .map(|filter| Filter::parse(filter).unwrap())
            .collect();
        assert_eq!(Shape::of_req(&filters).to_string(), shape);
    }

    #[test]
    fn a_shape_names_members_and_how_many_values_they_have() {
        check(&["{}"], "{}");
        check(&[r#"{"limit":5,"kinds":[1,7]}"#], "kinds:2,limit");
        check(
            &[r##"{"#t":["x"],"#d":["a","b"],"since":1,"until":2}"##],
            "#d:2,#t:1,since,until",
        );
        check(&[r#"{"kinds":[1]}"#, r#"{"ids":[]}"#], "kinds:1 | ids:0");
        let kinds: Vec<String> = (0..312).map(|kind| kind.to_string()).collect();
        check(
            &[&format!(r#"{{"kinds":[{}]}}"#, kinds.join(","))],
            "kinds:300+",
        );
    }

    #[test]
    fn a_shape_is_cut() {
        let filters = vec![Filter::parse(r#"{"kinds":[1],"limit":1}"#).unwrap(); 1_000];
        let shape = Shape::of_count(&filters).to_string();
        assert!(
            shape.starts_with("COUNT kinds:1,limit | kinds:1,limit | "),
            "{shape}"
        );
        assert!(
            shape.ends_with(" | …") && shape.len() < 2 * SHAPE_BYTES_MAX,
            "{shape}"
        );
    }

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
}
