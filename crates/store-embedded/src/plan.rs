//! Which index answers a filter with the least work.

use heliograph_protocol::{Address, Filter, Kind, KindClass, TagCondition};

use crate::layout::{
    Handle, Index, Key, address_key, author_prefix, handle, kind_prefix, tag_prefix,
};

/// Cursors from which on walking along time may be cheaper than merging them.
const TRIAL_CURSORS_MIN: u64 = 64;
/// Kinds that an author or a tag value occurs with, when the filter names none: a guess.
const KINDS_GUESS: u64 = 6;
/// Index rows that cost about as much as one seek of a cursor.
const ROWS_PER_SEEK: u64 = 2;

/// Prefixes that one plan lists at most: past that, kinds are found by seeking. Lists of authors and
/// kinds multiply, and their product must not fill the memory.
const PREFIXES_MAX: usize = 10_000;

/// How the database is read for one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Look up the filter's ids.
    Ids,
    /// Look up the holders of these addresses.
    Seats(Vec<[u8; 16]>),
    /// Merge cursors.
    Merge(Merge),
    /// Walk the first merge for a while and see; the second is sure to end. For filters with many
    /// authors: where they are active a walk along time finds enough of them soon, where they are
    /// dormant it would read everything.
    Trial {
        walk: Merge,
        merge: Merge,
        /// What the merge costs about, in rows.
        merge_rows: u64,
    },
}

/// Cursors to merge, and what their rows have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) index: Index,
    /// Where the cursors stand; empty for all of [`Index::Time`].
    pub(crate) prefixes: Vec<Key>,
    /// Whether each prefix lacks its kind, so that the kinds have to be found first.
    pub(crate) expand: bool,
    /// The authors allowed, sorted, if the index doesn't see to it.
    pub(crate) authors: Option<Vec<Handle>>,
    /// The kinds to expand to, sorted; all of them if absent.
    pub(crate) kinds: Option<Vec<u16>>,
}

/// Plans the read of a filter that can match something.
pub(crate) fn plan(filter: &Filter) -> Plan {
    if filter.ids.is_some() {
        return Plan::Ids;
    }
    if let Some(seats) = seats(filter) {
        return Plan::Seats(seats);
    }
    let tag = filter
        .tags
        .iter()
        .min_by_key(|condition| tag_work(condition));
    let author_work = filter
        .authors
        .as_ref()
        .map(|authors| authors.len() as u64 * 100);
    match (tag, author_work) {
        (Some(tag), work) if work.is_none_or(|work| tag_work(tag) <= work) => {
            Plan::Merge(tag_merge(filter, tag))
        }
        (_, Some(_)) => authors_plan(filter),
        _ => Plan::Merge(walk(filter)),
    }
}

/// Versions of a replaceable kind stand in one place.
fn seats(filter: &Filter) -> Option<Vec<[u8; 16]>> {
    let (authors, kinds) = (filter.authors.as_ref()?, filter.kinds.as_ref()?);
    let replaceable = kinds
        .iter()
        .all(|kind| kind.class() == KindClass::Replaceable);
    if !replaceable || authors.len() * kinds.len() > PREFIXES_MAX {
        return None;
    }
    let pairs = authors
        .iter()
        .flat_map(|author| kinds.iter().map(move |kind| (author, kind)));
    let key = |(author, kind): (&_, &_)| {
        address_key(&Address {
            kind: *kind,
            pubkey: *author,
            d: String::new(),
        })
    };
    Some(pairs.map(key).collect())
}

/// How many rows a condition's values are expected to have: ids and addresses few, keys more,
/// hashtags and names of lists that every client uses many.
fn tag_work(condition: &TagCondition) -> u64 {
    let each = match condition.letter {
        b'e' | b'a' | b'q' | b'i' | b'E' | b'A' | b'I' => 10,
        b't' | b'T' | b'l' | b'L' | b'k' | b'K' | b'd' => 1_000,
        _ => 90,
    };
    condition.values.len() as u64 * each
}

fn tag_merge(filter: &Filter, tag: &TagCondition) -> Merge {
    let values: Vec<&str> = tag.values.iter().map(|value| &**value).collect();
    let prefix = |value: &&str, kind| tag_prefix(tag.letter, value, kind);
    let (prefixes, expand) = prefixes(&values, filter.kinds.as_deref(), prefix);
    Merge {
        index: Index::Tag,
        prefixes,
        expand,
        authors: author_handles(filter),
        kinds: kind_numbers(filter, expand),
    }
}

/// One prefix for each value and kind, or for each value alone: then they have to be expanded.
fn prefixes<T>(
    values: &[T],
    kinds: Option<&[Kind]>,
    prefix: impl Fn(&T, Option<Kind>) -> Key,
) -> (Vec<Key>, bool) {
    match kinds.filter(|kinds| kinds.len() * values.len() <= PREFIXES_MAX) {
        None => (
            values.iter().map(|value| prefix(value, None)).collect(),
            true,
        ),
        Some(kinds) => {
            let pairs = values
                .iter()
                .flat_map(|value| kinds.iter().map(move |kind| (value, kind)));
            (
                pairs
                    .map(|(value, kind)| prefix(value, Some(*kind)))
                    .collect(),
                false,
            )
        }
    }
}

fn authors_plan(filter: &Filter) -> Plan {
    let authors = filter.authors.as_deref().unwrap_or_default();
    let (prefixes, expand) = prefixes(authors, filter.kinds.as_deref(), author_prefix);
    let kinds = kind_numbers(filter, expand);
    let merge = Merge {
        index: Index::Author,
        prefixes,
        expand,
        authors: None,
        kinds,
    };
    let cursors = merge.prefixes.len() as u64 * if merge.expand { KINDS_GUESS } else { 1 };
    // A tag condition makes matches rare; the walk would go on for long.
    if cursors < TRIAL_CURSORS_MIN || !filter.tags.is_empty() {
        return Plan::Merge(merge);
    }
    Plan::Trial {
        walk: walk(filter),
        merge,
        merge_rows: cursors * ROWS_PER_SEEK,
    }
}

/// Along time, over the filter's kinds or everything.
fn walk(filter: &Filter) -> Merge {
    let authors = author_handles(filter);
    match &filter.kinds {
        Some(kinds) => Merge {
            index: Index::Kind,
            prefixes: kinds.iter().copied().map(kind_prefix).collect(),
            expand: false,
            authors,
            kinds: None,
        },
        None => Merge {
            index: Index::Time,
            prefixes: vec![Key::new()],
            expand: false,
            authors,
            kinds: None,
        },
    }
}

fn kind_numbers(filter: &Filter, expand: bool) -> Option<Vec<u16>> {
    let kinds = filter.kinds.as_ref().filter(|_kinds| expand)?;
    Some(kinds.iter().map(|kind| kind.as_u16()).collect())
}

fn author_handles(filter: &Filter) -> Option<Vec<Handle>> {
    let authors = filter.authors.as_ref()?;
    Some(
        authors
            .iter()
            .map(|author| handle(author.as_bytes()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: &str, index: Index, prefixes: usize, expand: bool) {
        let plan = plan(&Filter::parse(filter).unwrap());
        let Plan::Merge(merge) = plan else {
            panic!("{plan:?}")
        };
        assert_eq!(
            (merge.index, merge.prefixes.len(), merge.expand),
            (index, prefixes, expand)
        );
    }

    fn hex(n: u8) -> String {
        format!("{n:02x}").repeat(32)
    }

    fn list(count: u8) -> String {
        let keys: Vec<String> = (0..count).map(|n| format!("\"{}\"", hex(n))).collect();
        keys.join(",")
    }

    #[test]
    fn ids_are_looked_up() {
        let filter = format!(r#"{{"ids":["{}"],"kinds":[1]}}"#, hex(1));
        assert_eq!(plan(&Filter::parse(&filter).unwrap()), Plan::Ids);
    }

    #[test]
    fn replaceable_kinds_of_authors_are_looked_up() {
        let filter = format!(r#"{{"authors":[{}],"kinds":[0,3,10002]}}"#, list(4));
        let Plan::Seats(seats) = plan(&Filter::parse(&filter).unwrap()) else {
            panic!()
        };
        assert_eq!(seats.len(), 12);
    }

    #[test]
    fn the_rarest_condition_is_read() {
        check("{}", Index::Time, 1, false);
        check(r#"{"kinds":[1,7]}"#, Index::Kind, 2, false);
        check(r##"{"#t":["a","b"],"kinds":[1,7]}"##, Index::Tag, 4, false);
        check(
            &format!(r#"{{"authors":["{}"]}}"#, hex(1)),
            Index::Author,
            1,
            true,
        );
        let (me, event) = (hex(1), hex(2));
        check(
            &format!(r##"{{"authors":["{me}"],"#e":["{event}"]}}"##),
            Index::Tag,
            1,
            true,
        );
        check(
            &format!(r##"{{"#e":["{event}"],"#p":["{me}"]}}"##),
            Index::Tag,
            1,
            true,
        );
        check(
            &format!(r##"{{"authors":["{me}"],"kinds":[30000],"#d":["mute"]}}"##),
            Index::Author,
            1,
            false,
        );
    }

    #[test]
    fn many_authors_are_tried_along_time_first() {
        let filter = format!(r#"{{"authors":[{}],"kinds":[1,6]}}"#, list(100));
        let Plan::Trial {
            walk,
            merge,
            merge_rows,
        } = plan(&Filter::parse(&filter).unwrap())
        else {
            panic!()
        };
        assert_eq!((walk.index, walk.prefixes.len()), (Index::Kind, 2));
        assert_eq!(
            (merge.index, merge.prefixes.len(), merge_rows),
            (Index::Author, 200, 400)
        );
    }
}
