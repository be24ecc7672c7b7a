//! COUNT: the size of the union of the filters' visible matches (NIP-45).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_bus::{Count, Counted, too_dear};
use heliograph_policy::Visibility;
use heliograph_protocol::{Filter, Refusal};
use heliograph_store::{Budget, End, EventStore, Scan, ScanRequest};

use crate::Metrics;

/// Matches read at once.
const PAGE_ROWS: usize = 512;

/// Counts over both tiers; `limit` plays no part (R45-1). `budget` is for all filters together.
///
/// An event counts for the first filter that it matches, so nothing has to be remembered.
pub(crate) async fn count<S: EventStore>(
    store: &S,
    count: Count,
    budget: Budget,
    visibility: &Visibility,
    metrics: &Metrics,
) -> Result<Counted, Refusal> {
    let filters: Vec<Arc<Filter>> = count.filters.into_iter().map(Arc::new).collect();
    let (started, mut left) = (Instant::now(), budget);
    let mut comparing = Duration::ZERO;
    let mut total = 0;
    for (index, filter) in filters.iter().enumerate() {
        if filter.matches_nothing() {
            continue;
        }
        let mut scan = store.scan(ScanRequest {
            filter: Arc::clone(filter),
            after: None,
            now: count.now,
            budget: left,
        });
        let earlier = &filters[..index];
        loop {
            let page = scan.next(PAGE_ROWS).await.map_err(|error| {
                tracing::warn!(%error, "failed to count");
                Refusal::error(error.to_string())
            })?;
            let began = Instant::now();
            let new = page.events.iter().filter(|event| {
                count.reader.may_see(event, visibility)
                    && !earlier.iter().any(|filter| filter.matches(event))
            });
            total += new.count() as u64;
            comparing += began.elapsed();
            if page.end == Some(End::Budget) || comparing > budget.time {
                metrics.answers_over_budget.inc();
                return Err(too_dear("count"));
            }
            if page.end.is_some() {
                left = Budget {
                    rows: left.rows.saturating_sub(page.cost.rows),
                    time: budget.time.saturating_sub(started.elapsed()),
                };
                break;
            }
            // Pages from memory are there at once: without this a count would keep its thread.
            tokio::task::yield_now().await;
        }
    }
    Ok(Counted {
        count: total,
        approximate: false,
    })
}
