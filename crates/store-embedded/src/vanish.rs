//! Requests to vanish that hide more events than one transaction should remove.
//!
//! The request itself is in force at once: its guard is in the database, and as long as events that it
//! hides are there too, a level above the database hides them. They are removed behind, some at a time;
//! what is left to do stands in the database, so that a crash only interrupts it.

use std::ops::Bound;

use heed::{RoTxn, RwTxn};
use heliograph_policy::RelayUrls;
use heliograph_protocol::{Kind, PublicKey, Timestamp};

use crate::{
    apply::{remove_if, snapshot},
    codec::Codec,
    error::Fault,
    layout::{Index, Key, author_prefix, meta, number, read_rows, tag_prefix},
    lookup::Snapshot,
    overlay::Level,
    tables::Tables,
};

/// Index rows that are looked at in one transaction.
const ROWS_MAX: usize = if cfg!(test) { 4 } else { 1_000 };

/// One request, and how far its work is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vanishing {
    pub(crate) owner: PublicKey,
    pub(crate) until: Timestamp,
    /// The owner's own events, then gift wraps to it, then nothing (R62-2, R62-3).
    part: usize,
    /// The last row that was looked at in this part.
    after: Option<Key>,
}

impl Vanishing {
    pub(crate) fn new(owner: PublicKey, until: Timestamp) -> Self {
        Self {
            owner,
            until,
            part: 0,
            after: None,
        }
    }

    /// Whether every row was looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.place().is_none()
    }

    fn place(&self) -> Option<(Index, Key)> {
        match self.part {
            0 => Some((Index::Author, author_prefix(&self.owner, None))),
            1 => {
                let wraps = tag_prefix(b'p', &self.owner.to_hex(), Some(Kind::GIFT_WRAP));
                Some((Index::Tag, wraps))
            }
            _ => None,
        }
    }

    /// Looks at `max` more rows and collects the events that the request may hide.
    pub(crate) fn read(
        &mut self,
        snapshot: &Snapshot<'_>,
        max: usize,
        seqs: &mut Vec<u64>,
    ) -> Result<(), Fault> {
        let mut left = max;
        while let Some((index, prefix)) = self.place() {
            let table = match index {
                Index::Author => snapshot.tables.by_author,
                _ => snapshot.tables.by_tag,
            };
            let from = match &self.after {
                Some(after) => Bound::Excluded(&after[..]),
                None => Bound::Included(&prefix[..]),
            };
            let mut last = None;
            for row in table.range(snapshot.txn, &(from, Bound::Unbounded))? {
                let (key, value) = row?;
                if !key.starts_with(&prefix) {
                    break;
                }
                if left == 0 {
                    self.after = last.or(self.after.take());
                    return Ok(());
                }
                left -= 1;
                last = Some(Key::from_slice(key));
                let rows = read_rows(index, key, value).ok_or(Fault::Corrupt("index row"))?;
                let old = rows
                    .into_iter()
                    .filter(|row| row.place.inverse >= !self.until.as_secs());
                seqs.extend(old.map(|row| row.seq));
            }
            self.part += 1;
            self.after = None;
        }
        Ok(())
    }

    /// Notes in the database that there is work left.
    pub(crate) fn note(&self, txn: &mut RwTxn<'_>, tables: &Tables) -> Result<(), Fault> {
        let until = self.until.as_secs().to_be_bytes();
        Ok(tables.meta.put(txn, &self.name(), &until)?)
    }

    fn name(&self) -> Vec<u8> {
        [meta::VANISHING, self.owner.as_bytes()].concat()
    }

    /// Removes some more events, in one transaction. Returns how far it is then.
    pub(crate) fn step(
        &self,
        txn: &mut RwTxn<'_>,
        tables: &Tables,
        codec: &Codec,
        relay_urls: &RelayUrls,
    ) -> Result<Self, Fault> {
        let (mut next, mut seqs) = (self.clone(), Vec::new());
        next.read(&snapshot(txn, tables, codec), ROWS_MAX, &mut seqs)?;
        seqs.sort_unstable();
        seqs.dedup();
        let level = hiding(std::slice::from_ref(self));
        remove_if(txn, tables, codec, &seqs, |event| {
            level.guards.outcome(event, relay_urls).is_some()
        })?;
        if next.is_done() {
            tables.meta.delete(txn, &self.name())?;
        }
        Ok(next)
    }
}

/// What is left to do, as the database says.
pub(crate) fn noted(txn: &RoTxn<'_>, tables: &Tables) -> Result<Vec<Vanishing>, Fault> {
    let mut noted = Vec::new();
    for row in tables.meta.prefix_iter(txn, meta::VANISHING)? {
        let (name, until) = row?;
        let owner = name[meta::VANISHING.len()..]
            .try_into()
            .map_err(|_len| Fault::Corrupt("vanishing author"))?;
        let until = number(until).ok_or(Fault::Corrupt("vanishing time"))?;
        noted.push(Vanishing::new(
            PublicKey::new(owner),
            Timestamp::from_secs(until),
        ));
    }
    Ok(noted)
}

/// A level that hides what these requests hide.
pub(crate) fn hiding(vanishing: &[Vanishing]) -> Level {
    let mut level = Level::default();
    for one in vanishing {
        let until = level.guards.owners.entry(one.owner).or_default();
        *until = one.until.max(*until);
    }
    level
}
