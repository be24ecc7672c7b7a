//! Filters: what a client asks for, and the one definition of what matches (NIP-01).
//!
//! [`Filter::matches`] is the truth that every index is tested against.

use crate::{
    Event, EventId, Kind, PublicKey, Refusal, Timestamp,
    json::{JsonError, JsonStr, Scanner},
};

/// Bytes of a tag value that are indexed at most; a longer one is stored but can't be asked for
/// (R01-67).
pub const INDEXED_VALUE_BYTES_MAX: usize = 1024;

/// One condition set: conditions are AND-ed, values inside one list OR-ed (R01-60).
///
/// Lists are sorted and free of repetitions; an empty list matches nothing (R01-27).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    /// Ids, if asked for.
    pub ids: Option<Vec<EventId>>,
    /// Authors, if asked for.
    pub authors: Option<Vec<PublicKey>>,
    /// Kinds, if asked for.
    pub kinds: Option<Vec<Kind>>,
    /// Tag conditions, one per letter, sorted by letter.
    pub tags: Vec<TagCondition>,
    /// The oldest `created_at` wanted, inclusive.
    pub since: Option<Timestamp>,
    /// The newest `created_at` wanted, inclusive.
    pub until: Option<Timestamp>,
    /// How many stored events are wanted at most; without effect on live ones (R01-54).
    pub limit: Option<u64>,
}

/// `#x`: some tag named `x` has one of the values as its second element (R01-64).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TagCondition {
    /// The tag's name, an ASCII letter.
    pub letter: u8,
    /// The values, sorted, each of at most [`INDEXED_VALUE_BYTES_MAX`] bytes.
    pub values: Vec<Box<str>>,
}

impl Filter {
    /// Reads one filter object, which has to be the whole text.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] with `invalid:` or `unsupported:` (R01-61 to R01-67).
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut scanner = Scanner::new(text);
        let filter = Self::scan(&mut scanner, 0)?;
        scanner.end().map_err(invalid)?;
        Ok(filter)
    }

    pub(crate) fn scan(scanner: &mut Scanner<'_>, depth: u32) -> Result<Self, Refusal> {
        let mut filter = Self::default();
        let mut seen = Vec::new();
        scanner.open(b'{', "a filter object").map_err(invalid)?;
        if scanner.eat(b'}').map_err(invalid)? {
            return Ok(filter);
        }
        loop {
            let name = scanner.key().and_then(JsonStr::decode).map_err(invalid)?;
            if seen.contains(&name) {
                return Err(Refusal::invalid("a filter member occurs twice"));
            }
            filter.member(&name, scanner, depth)?;
            seen.push(name);
            if !scanner.more(b'}').map_err(invalid)? {
                break;
            }
        }
        filter
            .tags
            .sort_unstable_by_key(|condition| condition.letter);
        Ok(filter)
    }

    fn member(&mut self, name: &str, scanner: &mut Scanner<'_>, depth: u32) -> Result<(), Refusal> {
        match name {
            "ids" => self.ids = Some(hex_list(name, scanner, EventId::from_hex)?),
            "authors" => self.authors = Some(hex_list(name, scanner, PublicKey::from_hex)?),
            "kinds" => {
                self.kinds = Some(list(name, scanner, |scanner| {
                    let kind = scanner.integer().map_err(|error| named(name, error))?;
                    u16::try_from(kind)
                        .map(Kind::new)
                        .map_err(|_range| Refusal::invalid("kinds: kind out of range"))
                })?);
            }
            "since" => self.since = Some(Timestamp::from_secs(number(name, scanner)?)),
            "until" => self.until = Some(Timestamp::from_secs(number(name, scanner)?)),
            "limit" => self.limit = Some(number(name, scanner)?),
            _ => match name.as_bytes() {
                [b'#', letter] if letter.is_ascii_alphabetic() => {
                    let values = tag_values(name, *letter, scanner)?;
                    self.tags.push(TagCondition {
                        letter: *letter,
                        values,
                    });
                }
                _ => {
                    // Syntax errors come first: a broken message isn't an unsupported one.
                    scanner.skip(depth + 1).map_err(invalid)?;
                    let shown: String = name.chars().take(32).collect();
                    return Err(Refusal::unsupported(format!("filter member {shown:?}")));
                }
            },
        }
        Ok(())
    }

    /// Whether `event` matches; `limit` plays no part.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.created_at() >= since)
            && self.until.is_none_or(|until| event.created_at() <= until)
            && self
                .kinds
                .as_ref()
                .is_none_or(|kinds| kinds.binary_search(&event.kind()).is_ok())
            && contains(self.authors.as_deref(), event.pubkey())
            && contains(self.ids.as_deref(), event.id())
            && self.tags.iter().all(|condition| condition.matches(event))
    }

    /// Whether no event can ever match: an empty list, or bounds that cross (R01-27, R01-63).
    #[must_use]
    pub fn matches_nothing(&self) -> bool {
        self.ids.as_ref().is_some_and(Vec::is_empty)
            || self.authors.as_ref().is_some_and(Vec::is_empty)
            || self.kinds.as_ref().is_some_and(Vec::is_empty)
            || self
                .tags
                .iter()
                .any(|condition| condition.values.is_empty())
            || matches!((self.since, self.until), (Some(since), Some(until)) if since > until)
    }

    /// How many values all lists hold together (R01-68).
    #[must_use]
    pub fn value_count(&self) -> usize {
        self.ids.as_ref().map_or(0, Vec::len)
            + self.authors.as_ref().map_or(0, Vec::len)
            + self.kinds.as_ref().map_or(0, Vec::len)
            + self
                .tags
                .iter()
                .map(|condition| condition.values.len())
                .sum::<usize>()
    }

    /// The values asked for under `letter`, if it is asked for.
    #[must_use]
    pub fn tag(&self, letter: u8) -> Option<&TagCondition> {
        self.tags
            .iter()
            .find(|condition| condition.letter == letter)
    }
}

impl TagCondition {
    /// Whether some tag of `event` satisfies the condition.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        event
            .tags()
            .filter(|tag| tag.letter() == Some(self.letter))
            .filter_map(|tag| tag.value())
            .any(|value| self.contains(&value))
    }

    /// Whether `value` is one of those asked for.
    #[must_use]
    pub fn contains(&self, value: &str) -> bool {
        self.values
            .binary_search_by(|wanted| (**wanted).cmp(value))
            .is_ok()
    }
}

fn contains<T: Ord>(list: Option<&[T]>, value: &T) -> bool {
    list.is_none_or(|list| list.binary_search(value).is_ok())
}

fn invalid(error: JsonError) -> Refusal {
    Refusal::invalid(error.to_string())
}

fn named(name: &str, error: JsonError) -> Refusal {
    Refusal::invalid(format!("{name}: {error}"))
}

fn number(name: &str, scanner: &mut Scanner<'_>) -> Result<u64, Refusal> {
    scanner.integer().map_err(|error| named(name, error))
}

/// Reads a list, then sorts it and drops repetitions.
fn list<'a, T: Ord>(
    name: &str,
    scanner: &mut Scanner<'a>,
    mut element: impl FnMut(&mut Scanner<'a>) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let mut values = Vec::new();
    scanner
        .open(b'[', "an array")
        .map_err(|error| named(name, error))?;
    if !scanner.eat(b']').map_err(invalid)? {
        loop {
            values.push(element(scanner)?);
            if !scanner.more(b']').map_err(invalid)? {
                break;
            }
        }
    }
    values.sort_unstable();
    values.dedup();
    Ok(values)
}

fn hex_list<T: Ord>(
    name: &str,
    scanner: &mut Scanner<'_>,
    read: impl Fn(&[u8]) -> Result<T, crate::HexError>,
) -> Result<Vec<T>, Refusal> {
    list(name, scanner, |scanner| {
        let text = scanner.string("a string").and_then(JsonStr::decode);
        let text = text.map_err(|error| named(name, error))?;
        read(text.as_bytes()).map_err(|error| Refusal::invalid(format!("{name}: {error}")))
    })
}

fn tag_values(name: &str, letter: u8, scanner: &mut Scanner<'_>) -> Result<Vec<Box<str>>, Refusal> {
    list(name, scanner, |scanner| {
        let text = scanner.string("a string").and_then(JsonStr::decode);
        let text = text.map_err(|error| named(name, error))?;
        if matches!(letter, b'e' | b'p') {
            // NIP-01 gives these two the form of ids and keys (R01-61).
            EventId::from_hex(text.as_bytes())
                .map_err(|error| Refusal::invalid(format!("{name}: {error}")))?;
        }
        if text.len() > INDEXED_VALUE_BYTES_MAX {
            return Err(Refusal::unsupported(format!(
                "{name}: values over {INDEXED_VALUE_BYTES_MAX} bytes aren't indexed"
            )));
        }
        Ok(Box::from(text))
    })
}
