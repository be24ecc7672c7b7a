//! The plan of a read: where its rows come from, the way with the least estimated work.
//!
//! Work is what a cursor costs to open (a row of its first bucket, a row of the directory), plus the
//! rows that are expected below its key and don't match. Nothing is measured: the numbers are how
//! busy keys of a sort are on relays, in rows a day.

use std::sync::Arc;

use heliograph_protocol::{Filter, Kind, KindClass};

use crate::{
    key::{AddressKey, IndexKey},
    walk::Start,
};

/// Work to open a cursor.
const CURSOR: u64 = 10;

/// Work to look up one id or address.
const LOOK_UP: u64 = 2;

/// Rows expected below an author.
const AUTHOR: u64 = 20;

/// Rows expected below an author and a kind.
const AUTHOR_KIND: u64 = 4;

/// Rows expected below the key of everything.
const TIME: u64 = 200_000;

/// Where to read the matches of `filter`, which can match something.
pub(crate) fn plan(filter: &Filter) -> Vec<Start> {
    let mut best = Way::time();
    for way in [ids(filter), authors(filter), kinds(filter)]
        .into_iter()
        .flatten()
    {
        best = best.cheaper(way);
    }
    for condition in &filter.tags {
        let each = CURSOR.saturating_add(busy_tag(condition.letter));
        best = best.cheaper(Way {
            work: each.saturating_mul(condition.values.len() as u64),
            starts: Box::new(|| {
                let key = |value| index(IndexKey::tag(condition.letter, value));
                condition.values.iter().map(|value| key(value)).collect()
            }),
        });
    }
    (best.starts)()
}

/// One way, built only if it is taken.
struct Way<'a> {
    work: u64,
    starts: Box<dyn FnOnce() -> Vec<Start> + 'a>,
}

impl Way<'_> {
    fn time() -> Self {
        Self {
            work: TIME,
            starts: Box::new(|| vec![index(IndexKey::time())]),
        }
    }

    fn cheaper(self, other: Self) -> Self {
        if other.work < self.work { other } else { self }
    }
}

fn index(key: IndexKey) -> Start {
    Start::Index(Arc::new(key))
}

fn ids(filter: &Filter) -> Option<Way<'_>> {
    let ids = filter.ids.as_ref()?;
    Some(Way {
        work: LOOK_UP.saturating_mul(ids.len() as u64).min(TIME - 1),
        starts: Box::new(|| vec![Start::Ids(ids.clone())]),
    })
}

/// By author, or by author and kind; kinds that have one version per author are looked up.
fn authors(filter: &Filter) -> Option<Way<'_>> {
    let authors = filter.authors.as_ref()?;
    let count = authors.len() as u64;
    let each = |work: u64| work.saturating_mul(count);
    let by_author = Way {
        work: each(CURSOR + AUTHOR),
        starts: Box::new(|| {
            authors
                .iter()
                .map(|key| index(IndexKey::author(key)))
                .collect()
        }),
    };
    let Some(kinds) = &filter.kinds else {
        return Some(by_author);
    };
    let d = filter
        .tag(b'd')
        .map(|condition| condition.values.as_slice());
    let work = kinds.iter().map(|kind| match ds(*kind, d) {
        Some(ds) => each(LOOK_UP).saturating_mul(ds.len() as u64),
        None => each(CURSOR + AUTHOR_KIND),
    });
    let work = work.fold(0, u64::saturating_add);
    if work > by_author.work {
        return Some(by_author);
    }
    Some(Way {
        work,
        starts: Box::new(move || {
            let mut starts = Vec::new();
            let mut addresses = Vec::new();
            for kind in kinds {
                for author in authors {
                    match ds(*kind, d) {
                        Some(ds) => addresses
                            .extend(ds.iter().map(|d| AddressKey::from_parts(*kind, author, d))),
                        None => starts.push(index(IndexKey::author_kind(author, *kind))),
                    }
                }
            }
            if !addresses.is_empty() {
                starts.push(Start::Addresses(addresses));
            }
            starts
        }),
    })
}

/// The `d` values that give addresses of this kind, if they are known.
fn ds(kind: Kind, asked: Option<&[Box<str>]>) -> Option<Vec<&str>> {
    match kind.class() {
        KindClass::Replaceable => Some(vec![""]),
        // An empty value isn't the same as no `d` tag to a filter, but it is to an address
        // (R01-44); what comes is compared with the filter anyway.
        KindClass::Addressable => asked.map(|ds| ds.iter().map(|d| &**d).collect()),
        KindClass::Regular | KindClass::Ephemeral => None,
    }
}

fn kinds(filter: &Filter) -> Option<Way<'_>> {
    let kinds = filter.kinds.as_ref()?;
    let work = kinds
        .iter()
        .map(|kind| CURSOR.saturating_add(busy_kind(*kind)));
    Some(Way {
        work: work.fold(0, u64::saturating_add),
        starts: Box::new(|| {
            kinds
                .iter()
                .map(|kind| index(IndexKey::kind(*kind)))
                .collect()
        }),
    })
}

/// Rows a day below one value of a letter.
fn busy_tag(letter: u8) -> u64 {
    match letter {
        b'e' | b'a' | b'd' | b'q' | b'i' | b'E' | b'A' | b'I' => 5,
        b'p' | b'P' => 50,
        b't' | b'r' => 300,
        _ => 1_000,
    }
}

/// Rows a day below a kind.
fn busy_kind(kind: Kind) -> u64 {
    match kind.as_u16() {
        1 | 7 => 60_000,
        0 | 3 | 4 | 6 | 1059 | 9734 | 9735 => 20_000,
        _ => 2_000,
    }
}

#[cfg(test)]
mod tests {
    use heliograph_store::conformance::key;

    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let starts = plan(&Filter::parse(json).unwrap());
        let mut counts: Vec<(String, usize)> = Vec::new();
        for start in &starts {
            let (name, count) = match start {
                Start::Index(key) => (format!("{:?}", key.path), 1),
                Start::Ids(ids) => ("ids".to_owned(), ids.len()),
                Start::Addresses(addresses) => ("addresses".to_owned(), addresses.len()),
            };
            match counts.iter_mut().find(|(other, _count)| *other == name) {
                Some((_name, sum)) => *sum += count,
                None => counts.push((name, count)),
            }
        }
        let shown: Vec<_> = counts
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        assert_eq!(shown.join(", "), expected, "{json}");
    }

    fn keys(count: u32) -> String {
        let keys: Vec<_> = (0..count).map(|n| format!(r#""{}""#, key(n))).collect();
        keys.join(",")
    }

    #[test]
    fn the_way_with_the_least_work_is_taken() {
        let one = keys(1);
        check("{}", "1 Time");
        check(&format!(r#"{{"ids":[{one}],"kinds":[1]}}"#), "1 ids");
        check(&format!(r#"{{"authors":[{one}]}}"#), "1 Author");
        check(
            &format!(r#"{{"authors":[{one}],"kinds":[1,6]}}"#),
            "2 AuthorKind",
        );
        check(
            &format!(r#"{{"authors":[{one}],"kinds":[1,4,6,7,8,9]}}"#),
            "1 Author",
        );
        check(r#"{"kinds":[1]}"#, "1 Kind");
        check(r##"{"kinds":[1],"#t":["a","b"]}"##, "2 Tag");
        check(
            &format!(r##"{{"authors":[{one}],"#t":["a"]}}"##),
            "1 Author",
        );
        check(
            &format!(r##"{{"authors":[{}],"#p":[{one}]}}"##, keys(500)),
            "1 Tag",
        );
        check(
            &format!(r#"{{"authors":[{}],"kinds":[1]}}"#, keys(500)),
            "500 AuthorKind",
        );
        check(
            &format!(r#"{{"authors":[{}],"kinds":[1]}}"#, keys(6_000)),
            "1 Kind",
        );
    }

    #[test]
    fn what_has_one_version_is_looked_up_by_address() {
        let two = keys(2);
        check(
            &format!(r#"{{"authors":[{two}],"kinds":[0,3]}}"#),
            "4 addresses",
        );
        check(
            &format!(r#"{{"authors":[{two}],"kinds":[0,1]}}"#),
            "2 AuthorKind, 2 addresses",
        );
        check(
            &format!(r##"{{"authors":[{two}],"kinds":[30023],"#d":["a","b","c"]}}"##),
            "6 addresses",
        );
        check(
            &format!(r#"{{"authors":[{two}],"kinds":[30023]}}"#),
            "2 AuthorKind",
        );
    }
}
