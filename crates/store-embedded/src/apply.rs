//! Writes a level into the database: one transaction, every table in the order of its keys.
//!
//! Everything is read first and written afterwards. Doing it twice changes nothing the second time.

use std::sync::Arc;

use hashbrown::HashMap;
use heed::{MdbError, PutFlags, RwTxn};
use heliograph_policy::RelayUrls;
use heliograph_protocol::{Event, Kind, Timestamp};
use smallvec::SmallVec;

use crate::{
    codec::{Codec, Encoder},
    error::Fault,
    layout::{
        Index, Key, NO_SEQ, Seat, address_key, deleted_id_key, expires_key, handle, index_rows,
        meta,
    },
    lineage,
    lookup::Snapshot,
    overlay::{Level, Position, expires},
    tables::{Table, Tables},
    vanish::Vanishing,
};

type Entry = SmallVec<[u8; 18]>;

/// Events that a request to vanish removes at once; of more, the rest is removed behind.
const VANISH_AT_ONCE: usize = if cfg!(test) { 4 } else { 1_000 };

/// Writes `level` and notes that the log is covered up to `segment`. Returns the requests to vanish
/// that hide more than was removed.
pub(crate) fn write_level(
    txn: &mut RwTxn<'_>,
    tables: &Tables,
    codec: &Codec,
    level: &Level,
    segment: u64,
    relay_urls: &RelayUrls,
) -> Result<Vec<Vanishing>, Fault> {
    let mut batch = Batch::new(txn, tables)?;
    batch.read_level(&mut snapshot(txn, tables, codec), level, relay_urls)?;
    write_guards(txn, tables, level)?;
    batch.write(txn, tables, &mut codec.encoder())?;
    for vanishing in &batch.vanishing {
        vanishing.note(txn, tables)?;
    }
    tables
        .meta
        .put(txn, meta::FLUSHED_SEGMENT, &segment.to_be_bytes())?;
    Ok(batch.vanishing)
}

/// Removes those of these events that `wanted` says; older versions of their addresses stay away.
pub(crate) fn remove_if(
    txn: &mut RwTxn<'_>,
    tables: &Tables,
    codec: &Codec,
    seqs: &[u64],
    wanted: impl Fn(&Event) -> bool,
) -> Result<(), Fault> {
    let mut batch = Batch::new(txn, tables)?;
    let mut reading = snapshot(txn, tables, codec);
    for seq in seqs {
        if let Some(found) = reading.load(*seq)?
            && wanted(&found.event)
        {
            batch.remove(&reading, *seq, found.event)?;
        }
    }
    batch.write(txn, tables, &mut codec.encoder())
}

/// Removes these events; `keep_seats` keeps older versions of their addresses away.
pub(crate) fn remove_events(
    txn: &mut RwTxn<'_>,
    tables: &Tables,
    codec: &Codec,
    seqs: &[u64],
    keep_seats: bool,
) -> Result<usize, Fault> {
    let mut batch = Batch::new(txn, tables)?;
    let mut reading = snapshot(txn, tables, codec);
    for seq in seqs {
        if let Some(found) = reading.load(*seq)? {
            batch.remove(&reading, *seq, found.event)?;
        }
    }
    let mut unseated = Vec::new();
    if !keep_seats {
        unseated.extend(batch.seats.drain().map(|(key, _seat)| key));
    }
    batch.write(txn, tables, &mut codec.encoder())?;
    for key in unseated {
        tables.seats.delete(txn, &key)?;
    }
    Ok(batch.removed.len())
}

/// Takes these seats without an event, those that nobody better has; versions that held them go.
/// Returns how many were taken.
pub(crate) fn take_seats(
    txn: &mut RwTxn<'_>,
    tables: &Tables,
    codec: &Codec,
    seats: &[([u8; 16], Position)],
) -> Result<usize, Fault> {
    let mut batch = Batch::new(txn, tables)?;
    let mut reading = snapshot(txn, tables, codec);
    for (key, position) in seats {
        let stored = reading.seat(key)?;
        let best = batch.seats.get(key).copied().or(stored);
        if best.is_some_and(|best| best.position <= *position) {
            continue;
        }
        if let Some(old) = stored
            && let Some(found) = reading.load(old.seq)?
        {
            batch.removed.insert(old.seq, found.event);
        }
        batch.seats.insert(
            *key,
            Seat {
                seq: NO_SEQ,
                position: *position,
            },
        );
    }
    let taken = batch.seats.len();
    batch.write(txn, tables, &mut codec.encoder())?;
    Ok(taken)
}

pub(crate) fn snapshot<'a>(txn: &'a RwTxn<'_>, tables: &Tables, codec: &'a Codec) -> Snapshot<'a> {
    Snapshot {
        txn,
        tables: *tables,
        decoder: codec.decoder(),
    }
}

/// What one transaction changes.
struct Batch {
    next_seq: u64,
    payload_bytes: u64,
    added: Vec<(u64, Arc<Event>)>,
    removed: HashMap<u64, Event>,
    seats: HashMap<[u8; 16], Seat>,
    vanishing: Vec<Vanishing>,
}

/// A change of one entry in a table of lists.
struct Op {
    key: Key,
    entry: Entry,
    add: bool,
}

#[derive(Default)]
struct Ops {
    id: Vec<Op>,
    author: Vec<Op>,
    kind: Vec<Op>,
    time: Vec<Op>,
    tag: Vec<Op>,
    kinds: HashMap<Kind, i64>,
}

impl Batch {
    fn new(txn: &RwTxn<'_>, tables: &Tables) -> Result<Self, Fault> {
        Ok(Self {
            next_seq: tables.number(txn, meta::NEXT_SEQ)?,
            payload_bytes: tables.number(txn, meta::PAYLOAD_BYTES)?,
            added: Vec::new(),
            removed: HashMap::new(),
            seats: HashMap::new(),
            vanishing: Vec::new(),
        })
    }

    fn read_level(
        &mut self,
        snapshot: &mut Snapshot<'_>,
        level: &Level,
        relay_urls: &RelayUrls,
    ) -> Result<(), Fault> {
        for entry in level.events.values() {
            let event = &entry.event;
            if !level.hides(event, relay_urls) && snapshot.find(event.id())?.is_none() {
                self.added.push((self.next_seq, Arc::clone(event)));
                self.next_seq += 1;
            }
        }
        self.read_guards(snapshot, level, relay_urls)?;
        self.read_seats(snapshot, level)
    }

    /// Finds the stored events that the level's guards remove.
    fn read_guards(
        &mut self,
        snapshot: &mut Snapshot<'_>,
        level: &Level,
        relay_urls: &RelayUrls,
    ) -> Result<(), Fault> {
        let mut suspects = Vec::new();
        for (_owner, id) in &level.guards.ids {
            suspects.extend(snapshot.find(id)?.map(|(seq, _found)| seq));
        }
        for address in level.guards.addresses.keys() {
            suspects.extend(snapshot.seat(&address_key(address))?.map(|seat| seat.seq));
        }
        for (owner, until) in &level.guards.owners {
            let mut vanishing = Vanishing::new(*owner, *until);
            vanishing.read(snapshot, VANISH_AT_ONCE, &mut suspects)?;
            if !vanishing.is_done() {
                self.vanishing.push(vanishing);
            }
        }
        suspects.sort_unstable();
        suspects.dedup();
        for seq in suspects {
            let Some(found) = snapshot.load(seq)? else {
                continue;
            };
            if level.guards.outcome(&found.event, relay_urls).is_some() {
                self.remove(snapshot, seq, found.event)?;
            }
        }
        Ok(())
    }

    /// Finds the versions that lose their seat.
    fn read_seats(&mut self, snapshot: &mut Snapshot<'_>, level: &Level) -> Result<(), Fault> {
        let added: HashMap<_, _> = self
            .added
            .iter()
            .filter(|(_seq, event)| event.kind().has_address())
            .map(|(seq, event)| (*event.id(), *seq))
            .collect();
        for (address, position) in &level.seats {
            let key = address_key(address);
            let old = snapshot.seat(&key)?;
            if old.is_some_and(|old| old.position <= *position) {
                continue;
            }
            if let Some(old) = old
                && let Some(found) = snapshot.load(old.seq)?
            {
                self.removed.insert(old.seq, found.event);
            }
            let seq = added.get(&position.1).copied().unwrap_or(NO_SEQ);
            self.seats.insert(
                key,
                Seat {
                    seq,
                    position: *position,
                },
            );
        }
        Ok(())
    }

    fn remove(&mut self, snapshot: &Snapshot<'_>, seq: u64, event: Event) -> Result<(), Fault> {
        if let Some(address) = event.address() {
            let key = address_key(&address);
            if let Some(seat) = snapshot.seat(&key)?.filter(|seat| seat.seq == seq) {
                self.seats.insert(
                    key,
                    Seat {
                        seq: NO_SEQ,
                        ..seat
                    },
                );
            }
        }
        self.removed.insert(seq, event);
        Ok(())
    }

    fn write(
        &mut self,
        txn: &mut RwTxn<'_>,
        tables: &Tables,
        encoder: &mut Encoder<'_>,
    ) -> Result<(), Fault> {
        let mut ops = Ops::default();
        for (seq, event) in &self.removed {
            ops.push(event, *seq, false);
            self.payload_bytes = self.payload_bytes.saturating_sub(event.json().len() as u64);
            tables.payload.delete(txn, &seq.to_be_bytes())?;
            if let Some(end) = expires(event) {
                tables.expires.delete(txn, &expires_key(end, *seq))?;
            }
        }
        for (seq, event) in &self.added {
            ops.push(event, *seq, true);
            self.payload_bytes += event.json().len() as u64;
            let value = encoder.encode(event);
            tables
                .payload
                .put_with_flags(txn, PutFlags::APPEND, &seq.to_be_bytes(), &value)?;
            if let Some(end) = expires(event) {
                tables.expires.put(txn, &expires_key(end, *seq), &[])?;
            }
        }
        if let Some((first, _event)) = self.added.first() {
            lineage::note(txn, tables, *first)?;
        }
        ops.write(txn, tables)?;
        let mut seats: Vec<_> = self.seats.iter().collect();
        seats.sort_unstable_by_key(|(key, _seat)| **key);
        for (key, seat) in seats {
            tables.seats.put(txn, key, &seat.encode())?;
        }
        tables
            .meta
            .put(txn, meta::NEXT_SEQ, &self.next_seq.to_be_bytes())?;
        tables
            .meta
            .put(txn, meta::PAYLOAD_BYTES, &self.payload_bytes.to_be_bytes())?;
        Ok(())
    }
}

fn write_guards(txn: &mut RwTxn<'_>, tables: &Tables, level: &Level) -> Result<(), Fault> {
    let mut ids: Vec<_> = level
        .guards
        .ids
        .iter()
        .map(|(owner, id)| deleted_id_key(owner, id))
        .collect();
    ids.sort_unstable();
    for key in ids {
        tables.deleted_ids.put(txn, &key, &[])?;
    }
    for (address, until) in &level.guards.addresses {
        raise(txn, tables.deleted_addresses, &address_key(address), *until)?;
    }
    for (owner, until) in &level.guards.owners {
        raise(txn, tables.vanished, owner.as_bytes(), *until)?;
    }
    Ok(())
}

fn raise(txn: &mut RwTxn<'_>, table: Table, key: &[u8], until: Timestamp) -> Result<(), Fault> {
    let value = until.as_secs().to_be_bytes();
    // Big-endian: the order of bytes is the order of times.
    if table.get(txn, key)?.is_none_or(|old| old < &value[..]) {
        table.put(txn, key, &value)?;
    }
    Ok(())
}

impl Ops {
    fn push(&mut self, event: &Event, seq: u64, add: bool) {
        let key = Key::from_slice(&handle(event.id().as_bytes()));
        self.id.push(Op {
            key,
            entry: Entry::from_slice(&seq.to_be_bytes()),
            add,
        });
        index_rows(event, seq, |index, key, entry| {
            let ops = match index {
                Index::Author => &mut self.author,
                Index::Kind => &mut self.kind,
                Index::Time => &mut self.time,
                Index::Tag => &mut self.tag,
            };
            ops.push(Op {
                key,
                entry: Entry::from_slice(entry),
                add,
            });
        });
        *self.kinds.entry(event.kind()).or_default() += if add { 1 } else { -1 };
    }

    fn write(self, txn: &mut RwTxn<'_>, tables: &Tables) -> Result<(), Fault> {
        for (table, mut ops) in [
            (tables.by_id, self.id),
            (tables.by_author, self.author),
            (tables.by_kind, self.kind),
            (tables.by_time, self.time),
            (tables.by_tag, self.tag),
        ] {
            ops.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            for op in ops {
                op.write(txn, table)?;
            }
        }
        for (kind, change) in self.kinds {
            let key = kind.as_u16().to_be_bytes();
            let old = tables
                .kinds
                .get(txn, &key)?
                .and_then(crate::layout::number)
                .unwrap_or(0);
            let new = old.saturating_add_signed(change);
            tables.kinds.put(txn, &key, &new.to_be_bytes())?;
        }
        Ok(())
    }
}

impl Op {
    fn write(&self, txn: &mut RwTxn<'_>, table: Table) -> Result<(), Fault> {
        if self.add {
            match table.put_with_flags(txn, PutFlags::NO_OVERWRITE, &self.key, &self.entry) {
                Err(heed::Error::Mdb(MdbError::KeyExist)) => {}
                result => return Ok(result?),
            }
        }
        // Rare when adding: two ids share 64 bits, or a deletion of the same key went before.
        let Some(old) = table.get(txn, &self.key)? else {
            return Ok(());
        };
        let others = old
            .chunks_exact(self.entry.len())
            .filter(|entry| *entry != &self.entry[..]);
        let mut list: Vec<u8> = others.flatten().copied().collect();
        if self.add {
            list.extend_from_slice(&self.entry);
        }
        if list.is_empty() {
            table.delete(txn, &self.key)?;
        } else {
            table.put(txn, &self.key, &list)?;
        }
        Ok(())
    }
}
