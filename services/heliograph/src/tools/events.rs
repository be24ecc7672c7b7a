//! Walking over the stored matches of a filter, newest first.

use std::{
    io::{self, Write},
    sync::Arc,
};

use heliograph_protocol::{Event, Filter, Timestamp};
use heliograph_store::{Budget, Scan as _, ScanRequest};
use heliograph_store_embedded::EmbeddedScan;

use super::progress::Progress;

/// Events read at once: large enough that handing over costs nothing, small enough that a page of
/// long events stays below some 50 MiB.
const PAGE_EVENTS: usize = 512;

/// A walk over the matches, honouring the filter's limit.
pub(crate) struct Walk {
    scan: EmbeddedScan,
    left: u64,
    over: bool,
}

impl Walk {
    /// Begins a walk; `scan` is that of a reader or of a store.
    pub(crate) fn new(scan: impl FnOnce(ScanRequest) -> EmbeddedScan, filter: Filter) -> Self {
        let left = filter.limit.unwrap_or(u64::MAX);
        let request = ScanRequest {
            filter: Arc::new(filter),
            after: None,
            now: Timestamp::now(),
            budget: Budget::UNLIMITED,
        };
        Self {
            scan: scan(request),
            left,
            over: left == 0,
        }
    }

    /// The next matches, in order; empty at the end.
    ///
    /// # Errors
    ///
    /// The store can't be read; what came so far isn't all.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Vec<Arc<Event>>> {
        while !self.over {
            let rows = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(PAGE_EVENTS);
            let page = self.scan.next(rows).await?;
            self.left = self.left.saturating_sub(page.events.len() as u64);
            self.over = page.end.is_some() || self.left == 0;
            if !page.events.is_empty() {
                return Ok(page.events);
            }
        }
        Ok(Vec::new())
    }

    /// Walks to the end, handing over each event. Returns how many there were; `progress` is told
    /// on the way.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), or what `each` says.
    pub(crate) async fn for_each(
        mut self,
        progress: &Progress,
        mut each: impl FnMut(&Event) -> io::Result<()>,
    ) -> anyhow::Result<u64> {
        let mut count = 0;
        loop {
            let events = self.next().await?;
            if events.is_empty() {
                return Ok(count);
            }
            for event in &events {
                each(event)?;
            }
            count += events.len() as u64;
            progress.set(count);
        }
    }
}

/// Writes an event as a line.
///
/// # Errors
///
/// The output failed.
pub(crate) fn write_line(event: &Event, out: &mut impl Write) -> io::Result<()> {
    out.write_all(event.json())?;
    out.write_all(b"\n")
}
