//! The tables of the database, and the version of their layout.

use heed::{Database, Env, RoTxn, RwTxn, WithoutTls, types::Bytes};

use crate::{
    error::{Fault, OpenError},
    layout::{SCHEMA, meta, number},
    lineage::Mark,
};

pub(crate) type Table = Database<Bytes, Bytes>;

/// The tables of [`crate::layout`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    pub(crate) payload: Table,
    pub(crate) by_id: Table,
    pub(crate) by_author: Table,
    pub(crate) by_kind: Table,
    pub(crate) by_time: Table,
    pub(crate) by_tag: Table,
    pub(crate) seats: Table,
    pub(crate) deleted_ids: Table,
    pub(crate) deleted_addresses: Table,
    pub(crate) vanished: Table,
    pub(crate) expires: Table,
    pub(crate) kinds: Table,
    pub(crate) meta: Table,
    /// Of this opening: see [`crate::lineage`].
    pub(crate) mark: Mark,
}

/// Makes sure that this program knows the layout.
///
/// # Errors
///
/// [`OpenError::NewerSchema`], or the database can't be read.
pub(crate) fn check_schema<T>(env: &Env<WithoutTls>, txn: &RoTxn<'_, T>) -> Result<(), OpenError>
where
    for<'a> RoTxn<'a, T>: std::ops::Deref<Target = RoTxn<'a>>,
{
    let database = |error: heed::Error| OpenError::from(Fault::from(error));
    let table: Option<Table> = env.open_database(txn, Some("meta")).map_err(database)?;
    let Some(table) = table else { return Ok(()) };
    let Some(value) = table.get(txn, meta::SCHEMA).map_err(database)? else {
        return Ok(());
    };
    let found = value.try_into().map_or(u32::MAX, u32::from_be_bytes);
    if found > SCHEMA {
        return Err(OpenError::NewerSchema {
            found,
            known: SCHEMA,
        });
    }
    Ok(())
}

impl Tables {
    /// Makes those that are absent.
    pub(crate) fn create(env: &Env<WithoutTls>, txn: &mut RwTxn<'_>) -> heed::Result<Self> {
        let mut table = |name| env.create_database(txn, Some(name));
        let tables = Self {
            payload: table("payload")?,
            by_id: table("by_id")?,
            by_author: table("by_author")?,
            by_kind: table("by_kind")?,
            by_time: table("by_time")?,
            by_tag: table("by_tag")?,
            seats: table("seats")?,
            deleted_ids: table("deleted_ids")?,
            deleted_addresses: table("deleted_addresses")?,
            vanished: table("vanished")?,
            expires: table("expires")?,
            kinds: table("kinds")?,
            meta: table("meta")?,
            mark: Mark::draw(),
        };
        tables.meta.put(txn, meta::SCHEMA, &SCHEMA.to_be_bytes())?;
        Ok(tables)
    }

    /// Opens them; `None` if one is absent.
    pub(crate) fn open(env: &Env<WithoutTls>, txn: &RoTxn<'_>) -> heed::Result<Option<Self>> {
        let table = |name| env.open_database(txn, Some(name));
        let open = || -> heed::Result<Option<Self>> {
            let (Some(payload), Some(by_id), Some(by_author), Some(by_kind), Some(by_time)) = (
                table("payload")?,
                table("by_id")?,
                table("by_author")?,
                table("by_kind")?,
                table("by_time")?,
            ) else {
                return Ok(None);
            };
            let (Some(by_tag), Some(seats), Some(deleted_ids), Some(deleted_addresses)) = (
                table("by_tag")?,
                table("seats")?,
                table("deleted_ids")?,
                table("deleted_addresses")?,
            ) else {
                return Ok(None);
            };
            let (Some(vanished), Some(expires), Some(kinds), Some(meta)) = (
                table("vanished")?,
                table("expires")?,
                table("kinds")?,
                table("meta")?,
            ) else {
                return Ok(None);
            };
            Ok(Some(Self {
                payload,
                by_id,
                by_author,
                by_kind,
                by_time,
                by_tag,
                seats,
                deleted_ids,
                deleted_addresses,
                vanished,
                expires,
                kinds,
                meta,
                mark: Mark::draw(),
            }))
        };
        open()
    }

    /// A number in `meta`, 0 if it was never written.
    pub(crate) fn number(&self, txn: &RoTxn<'_>, name: &[u8]) -> Result<u64, Fault> {
        Ok(self.meta.get(txn, name)?.and_then(number).unwrap_or(0))
    }
}
