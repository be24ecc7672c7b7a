//! `info` and `compact`.

use std::io::Write;

use heliograph_store_embedded::StoreInfo;
use serde_json::{Map, Value, json};

use super::{output::table, store::Place};

pub(crate) fn run(as_json: bool, place: &Place, out: &mut impl Write) -> anyhow::Result<()> {
    let info = place.read()?.info()?;
    if as_json {
        return Ok(writeln!(out, "{}", as_value(&info))?);
    }
    let mut rows = vec![
        ("events", info.events),
        ("bytes of events", info.payload_bytes),
        ("bytes of the database", info.file_bytes),
        ("bytes of the log", info.log_bytes),
        ("schema version", u64::from(info.schema)),
    ];
    rows.extend(
        info.oldest
            .map(|time| ("oldest created_at", time.as_secs())),
    );
    rows.extend(
        info.newest
            .map(|time| ("newest created_at", time.as_secs())),
    );
    table(out, &rows)?;
    let mut kinds: Vec<_> = info
        .per_kind
        .iter()
        .map(|(kind, count)| (kind.as_u16(), *count))
        .collect();
    kinds.sort_unstable_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    if !kinds.is_empty() {
        writeln!(out, "\nkind            events")?;
    }
    for (kind, count) in kinds {
        writeln!(out, "{kind:<5}  {count:>15}")?;
    }
    Ok(())
}

fn as_value(info: &StoreInfo) -> Value {
    let kinds = info.per_kind.iter();
    let kinds: Map<_, _> = kinds
        .map(|(kind, count)| (kind.as_u16().to_string(), Value::from(*count)))
        .collect();
    json!({
        "events": info.events,
        "payload_bytes": info.payload_bytes,
        "file_bytes": info.file_bytes,
        "log_bytes": info.log_bytes,
        "schema": info.schema,
        "oldest": info.oldest.map(|time| time.as_secs()),
        "newest": info.newest.map(|time| time.as_secs()),
        "kinds": kinds,
    })
}

pub(crate) fn compact(place: &Place, out: &mut impl Write) -> anyhow::Result<()> {
    let store = place.change()?;
    let (before, after) = store.compact()?;
    store.close();
    table(out, &[("bytes before", before), ("bytes after", after)])?;
    Ok(())
}
