//! `delete`: removes events for the operator, after a look or a question.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use anyhow::bail;
use heliograph_protocol::Filter;
use heliograph_store::EventStore as _;
use heliograph_store_embedded::EmbeddedStore;

use super::{
    events::{Walk, write_line},
    output::{note, table},
    progress::Progress,
    store::Place,
};
use crate::cli::Delete;

/// Events removed in one transaction: the store takes no writes meanwhile, and all of them are in
/// memory.
const BATCH_EVENTS: u64 = 5_000;

pub(crate) async fn run(
    arguments: Delete,
    place: &Place,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Delete {
        filter,
        dry_run,
        yes,
    } = arguments;
    if dry_run {
        return show(filter, place, out).await;
    }
    if !yes && !io::stdin().is_terminal() {
        bail!("nothing was removed: add --yes, or --dry-run to see what would go");
    }
    let store = place.change()?;
    if !yes && !confirm(count(&store, filter.clone()).await?)? {
        bail!("nothing was removed");
    }
    let removed = remove(&store, &filter).await?;
    store.close();
    table(out, &[("removed", removed)])?;
    Ok(())
}

/// Prints what would go.
async fn show(filter: Filter, place: &Place, out: &mut impl Write) -> anyhow::Result<()> {
    let reader = place.read()?;
    let walk = Walk::new(|request| reader.scan(request), filter);
    let progress = Progress::new(None, "{spinner} {human_pos} events found, {elapsed}");
    let count = walk
        .for_each(&progress, |event| write_line(event, out))
        .await?;
    drop(progress);
    out.flush()?;
    note(&format!("{count} events would be removed"));
    Ok(())
}

async fn count(store: &EmbeddedStore, filter: Filter) -> anyhow::Result<u64> {
    let progress = Progress::new(None, "{spinner} {human_pos} events found, {elapsed}");
    let walk = Walk::new(|request| store.scan(request), filter);
    walk.for_each(&progress, |_event| Ok(())).await
}

/// Removes every match, batch by batch, and returns how many.
async fn remove(store: &EmbeddedStore, filter: &Filter) -> anyhow::Result<u64> {
    let progress = Progress::new(None, "{spinner} {human_pos} events removed, {elapsed}");
    let mut left = filter.limit.unwrap_or(u64::MAX);
    let mut removed = 0;
    loop {
        // Always the newest matches: those before are gone.
        let next = Filter {
            limit: Some(left.min(BATCH_EVENTS)),
            ..filter.clone()
        };
        let mut ids = Vec::new();
        Walk::new(|request| store.scan(request), next)
            .for_each(&Progress::hidden(), |event| {
                ids.push(*event.id());
                Ok(())
            })
            .await?;
        if ids.is_empty() {
            return Ok(removed);
        }
        let gone = store.remove(ids)? as u64;
        if gone == 0 {
            bail!("the store doesn't let go of events that it shows");
        }
        left = left.saturating_sub(gone);
        removed += gone;
        progress.set(removed);
    }
}

/// Asks on the terminal.
fn confirm(count: u64) -> io::Result<bool> {
    if count == 0 {
        note("no stored event matches");
        return Ok(true);
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "remove {count} events for good? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
