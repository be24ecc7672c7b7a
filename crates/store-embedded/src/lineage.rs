//! Who has given out which numbers of `payload`, so that a place in one store is never taken for one in
//! another that was copied from it.
//!
//! Numbers only grow and are never given out twice, also after removals and compaction. But a store that
//! was brought back from a copy gives out the numbers behind the copy once more. So every opening draws
//! a mark and notes it, with the first number that it gives out, together with its first events. A place
//! is a mark and a number: good if the store knows the mark and no later mark begins before that number.

use std::{fmt, str::FromStr};

use heed::{RoTxn, RwTxn};
use heliograph_protocol::decode_hex;

use crate::{
    error::Fault,
    layout::{meta, number},
    tables::Tables,
};

/// Marks that a store remembers. One is added each time that it is opened and written to; places that
/// are older than that many openings are good no more.
const MARKS_MAX: usize = 128;

/// Bytes of one entry: the first number, the mark.
const ENTRY: usize = 24;

/// Of one opening of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark([u8; 16]);

impl Mark {
    /// What stands for none.
    const NONE: Self = Self([0; 16]);

    /// A new one. Without random numbers it is none: then every place in the store is bad, which costs
    /// whoever follows it a pass over everything.
    pub(crate) fn draw() -> Self {
        let mut bytes = [0; 16];
        match getrandom::fill(&mut bytes) {
            Ok(()) => Self(bytes),
            Err(_none) => Self::NONE,
        }
    }
}

/// A place in the order in which a store took its events: everything before it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    mark: Mark,
    /// The first number that isn't known.
    pub(crate) seq: u64,
}

impl Cursor {
    /// Before everything.
    pub(crate) const START: Self = Self {
        mark: Mark::NONE,
        seq: 0,
    };
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.mark.0 {
            write!(f, "{byte:02x}")?;
        }
        write!(f, ":{}", self.seq)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "not a place in a store";
        let (mark, seq) = text.split_once(':').ok_or(wrong)?;
        Ok(Self {
            mark: Mark(decode_hex(mark.as_bytes()).ok_or(wrong)?),
            seq: seq.parse().map_err(|_digit| wrong)?,
        })
    }
}

/// Notes that this opening gives out numbers from `first` on, unless it has noted that already.
pub(crate) fn note(txn: &mut RwTxn<'_>, tables: &Tables, first: u64) -> Result<(), Fault> {
    let mut value = tables
        .meta
        .get(txn, meta::LINEAGE)?
        .unwrap_or_default()
        .to_vec();
    if entries(&value).last().map(|(_first, mark)| mark) == Some(tables.mark) {
        return Ok(());
    }
    value.extend_from_slice(&first.to_be_bytes());
    value.extend_from_slice(&tables.mark.0);
    let surplus = value.len().saturating_sub(MARKS_MAX * ENTRY);
    Ok(tables.meta.put(txn, meta::LINEAGE, &value[surplus..])?)
}

/// Whether a place is one in this store.
pub(crate) fn holds(txn: &RoTxn<'_>, tables: &Tables, place: &Cursor) -> Result<bool, Fault> {
    if place.mark == Mark::NONE {
        return Ok(place.seq == 0);
    }
    let value = tables.meta.get(txn, meta::LINEAGE)?.unwrap_or_default();
    let mut entries = entries(value).skip_while(|(_first, mark)| *mark != place.mark);
    let Some((first, _mark)) = entries.next() else {
        return Ok(false);
    };
    let end = match entries.next() {
        Some((next, _mark)) => next,
        None => tables.number(txn, meta::NEXT_SEQ)?,
    };
    Ok((first..=end).contains(&place.seq))
}

/// The place before `seq`.
pub(crate) fn place(txn: &RoTxn<'_>, tables: &Tables, seq: u64) -> Result<Cursor, Fault> {
    let value = tables.meta.get(txn, meta::LINEAGE)?.unwrap_or_default();
    // By whoever gave out the number before, so that it is good in a copy made at that moment, too.
    let before = entries(value).take_while(|(first, _mark)| *first < seq);
    let mark = before.last().map_or(Mark::NONE, |(_first, mark)| mark);
    Ok(Cursor { mark, seq })
}

fn entries(value: &[u8]) -> impl Iterator<Item = (u64, Mark)> {
    value.chunks_exact(ENTRY).filter_map(|entry| {
        let (first, mark) = entry.split_at(8);
        Some((number(first)?, Mark(mark.try_into().ok()?)))
    })
}
