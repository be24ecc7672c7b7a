//! Filters and readers.

use bytes::Bytes;
use heliograph_policy::Reader;
use heliograph_protocol::{
    EventId, Filter, INDEXED_VALUE_BYTES_MAX, Kind, PublicKey, TagCondition, Timestamp,
};
use prost::Message;

use crate::{FormError, v1};

/// Bytes of an id and of a key.
const VALUE_BYTES: usize = 32;

/// Encodes the filters of one question: about half of their JSON.
#[must_use]
pub fn write_filters(filters: &[Filter]) -> Bytes {
    encode_filters(&v1::Filters::from(filters))
}

/// The same of filters in the form that crosses.
#[must_use]
pub fn encode_filters(filters: &v1::Filters) -> Bytes {
    filters.encode_to_vec().into()
}

/// Reads back what [`write_filters`] gave.
///
/// # Errors
///
/// A filter that the parser of client messages would not have let through, or garbage.
pub fn read_filters(encoded: Bytes) -> Result<Vec<Filter>, FormError> {
    let filters = v1::Filters::decode(encoded)?.filters;
    filters.into_iter().map(Filter::try_from).collect()
}

impl From<&[Filter]> for v1::Filters {
    fn from(filters: &[Filter]) -> Self {
        Self {
            filters: filters.iter().map(v1::Filter::from).collect(),
        }
    }
}

impl From<&Filter> for v1::Filter {
    fn from(filter: &Filter) -> Self {
        Self {
            ids: filter
                .ids
                .as_ref()
                .map(|ids| v1::Values::join(ids.iter().map(EventId::as_bytes))),
            authors: filter
                .authors
                .as_ref()
                .map(|keys| v1::Values::join(keys.iter().map(PublicKey::as_bytes))),
            kinds: filter.kinds.as_ref().map(|kinds| v1::Kinds {
                kinds: kinds.iter().map(|kind| kind.as_u16().into()).collect(),
            }),
            tags: filter.tags.iter().map(v1::TagCondition::from).collect(),
            since: filter.since.map(Timestamp::as_secs),
            until: filter.until.map(Timestamp::as_secs),
            limit: filter.limit,
        }
    }
}

impl TryFrom<v1::Filter> for Filter {
    type Error = FormError;

    fn try_from(filter: v1::Filter) -> Result<Self, FormError> {
        let mut tags = filter
            .tags
            .into_iter()
            .map(TagCondition::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        tags.sort_by_key(|condition| condition.letter);
        if let Some(pair) = tags
            .windows(2)
            .find(|pair| pair[0].letter == pair[1].letter)
        {
            return Err(FormError::range("second letter", pair[0].letter));
        }
        Ok(Self {
            ids: filter.ids.map(|ids| ids.split(EventId::new)).transpose()?,
            authors: filter
                .authors
                .map(|keys| keys.split(PublicKey::new))
                .transpose()?,
            kinds: filter.kinds.map(read_kinds).transpose()?,
            tags,
            since: filter.since.map(Timestamp::from_secs),
            until: filter.until.map(Timestamp::from_secs),
            limit: filter.limit,
        })
    }
}

impl From<&TagCondition> for v1::TagCondition {
    fn from(condition: &TagCondition) -> Self {
        Self {
            letter: condition.letter.into(),
            values: condition
                .values
                .iter()
                .map(|value| String::from(&**value))
                .collect(),
        }
    }
}

impl TryFrom<v1::TagCondition> for TagCondition {
    type Error = FormError;

    fn try_from(condition: v1::TagCondition) -> Result<Self, FormError> {
        let letter = u8::try_from(condition.letter)
            .ok()
            .filter(u8::is_ascii_alphabetic)
            .ok_or_else(|| FormError::range("letter", condition.letter))?;
        let long = |value: &&String| value.len() > INDEXED_VALUE_BYTES_MAX;
        if let Some(value) = condition.values.iter().find(long) {
            return Err(FormError::Length {
                field: "value",
                bytes: value.len(),
            });
        }
        let values = condition.values.into_iter().map(Box::from).collect();
        Ok(Self {
            letter,
            values: ordered(values),
        })
    }
}

fn read_kinds(kinds: v1::Kinds) -> Result<Vec<Kind>, FormError> {
    let kinds = kinds.kinds.into_iter().map(|kind| {
        u16::try_from(kind)
            .map(Kind::new)
            .map_err(|_range| FormError::range("kind", kind))
    });
    Ok(ordered(kinds.collect::<Result<_, _>>()?))
}

/// Lists of filters are sorted and free of repetitions, whoever sent them.
fn ordered<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    if !values.is_sorted_by(|a, b| a < b) {
        values.sort_unstable();
        values.dedup();
    }
    values
}

impl v1::Values {
    pub(crate) fn join<'a>(values: impl ExactSizeIterator<Item = &'a [u8; VALUE_BYTES]>) -> Self {
        let mut joined = Vec::with_capacity(values.len() * VALUE_BYTES);
        values.for_each(|value| joined.extend_from_slice(value));
        Self {
            joined: joined.into(),
        }
    }

    /// The values in their order.
    pub(crate) fn each<T>(
        &self,
        value: impl Fn([u8; VALUE_BYTES]) -> T,
    ) -> Result<Vec<T>, FormError> {
        let (values, rest) = self.joined.as_chunks();
        if !rest.is_empty() {
            return Err(FormError::Length {
                field: "values",
                bytes: self.joined.len(),
            });
        }
        Ok(values.iter().copied().map(value).collect())
    }

    fn split<T: Ord>(&self, value: impl Fn([u8; VALUE_BYTES]) -> T) -> Result<Vec<T>, FormError> {
        self.each(value).map(ordered)
    }
}

impl From<&Reader> for v1::Reader {
    fn from(reader: &Reader) -> Self {
        Self {
            keys: Some(v1::Values::join(
                reader.keys.iter().map(PublicKey::as_bytes),
            )),
        }
    }
}

impl TryFrom<v1::Reader> for Reader {
    type Error = FormError;

    fn try_from(reader: v1::Reader) -> Result<Self, FormError> {
        let keys = reader.keys.unwrap_or_default().each(PublicKey::new)?;
        Ok(Self { keys })
    }
}
