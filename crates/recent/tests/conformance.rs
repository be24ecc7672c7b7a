//! The conformance suite over [`Recent`] with the memory store behind it: bounds so small that
//! every answer crosses the floor, no texts at all, and with the warm-up at every stage.

use std::{future::Future, sync::Arc};

use heliograph_protocol::{Event, EventId, Outcome};
use heliograph_recent::{Recent, RecentOptions, RecentScan};
use heliograph_store::{
    EventStore, MemoryStore, Page, Scan, ScanRequest, StoreError,
    conformance::{Backend, Effort, relay_urls},
};

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers").block_on(future)
}

/// When the index is filled from the archive.
#[derive(Debug, Clone, Copy)]
enum Warm {
    Never,
    /// At once, when the archive is still empty.
    First,
    /// By so many rows before every read of a page and after every write.
    Slowly(usize),
}

#[derive(Debug)]
struct Small {
    events_max: usize,
    text_bytes_max: usize,
    warm: Warm,
}

/// A [`Recent`] that takes warm-up steps between what it is asked to do.
#[derive(Debug)]
struct Warming {
    recent: Recent<MemoryStore>,
    warm: Warm,
}

#[derive(Debug)]
struct WarmingScan {
    recent: Recent<MemoryStore>,
    warm: Warm,
    scan: RecentScan<MemoryStore>,
}

async fn step(recent: &Recent<MemoryStore>, warm: Warm) {
    if let Warm::Slowly(rows) = warm {
        recent.warm_step(rows).await.expect("memory doesn't fail");
    }
}

impl EventStore for Warming {
    type Scan = WarmingScan;

    async fn write(&self, events: Vec<Arc<Event>>) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = self.recent.write(events).await;
        step(&self.recent, self.warm).await;
        outcomes
    }

    fn scan(&self, request: ScanRequest) -> WarmingScan {
        let scan = self.recent.scan(request);
        WarmingScan {
            recent: self.recent.clone(),
            warm: self.warm,
            scan,
        }
    }

    async fn contains(&self, id: &EventId) -> Result<bool, StoreError> {
        self.recent.contains(id).await
    }
}

impl Scan for WarmingScan {
    async fn next(&mut self, rows: usize) -> Result<Page, StoreError> {
        step(&self.recent, self.warm).await;
        self.scan.next(rows).await
    }
}

impl Backend for Small {
    type Store = Warming;
    type Handle = Box<Warming>;

    /// There are many of these suites.
    fn effort(&self) -> Effort {
        Effort {
            orders: 40,
            ..Effort::default()
        }
    }

    async fn open(&self) -> Box<Warming> {
        let options = RecentOptions {
            events_max: self.events_max,
            text_bytes_max: self.text_bytes_max,
            remembered_max: 10_000,
        };
        let archive = MemoryStore::new(relay_urls());
        let recent = Recent::new(archive, options, relay_urls());
        if let Warm::First = self.warm {
            assert!(recent.warm_step(1).await.expect("memory doesn't fail"));
        }
        Box::new(Warming {
            recent,
            warm: self.warm,
        })
    }
}

macro_rules! suites {
    ($($name:ident: $events:expr, $bytes:expr, $warm:expr;)*) => {
        $(mod $name {
            use super::*;
            heliograph_store::conformance_tests!(
                block_on,
                Small { events_max: $events, text_bytes_max: $bytes, warm: $warm }
            );
        })*
    };
}

const ALL: usize = usize::MAX;

suites! {
    everything_in_memory: ALL, ALL, Warm::First;
    never_warmed: ALL, ALL, Warm::Never;
    warmed_row_by_row: ALL, ALL, Warm::Slowly(1);
    warmed_in_pages: ALL, ALL, Warm::Slowly(7);
    no_texts: ALL, 0, Warm::First;
    no_texts_warmed_in_pages: ALL, 0, Warm::Slowly(7);
    few_texts: ALL, 5_000, Warm::First;
    no_events: 0, ALL, Warm::First;
    one_event: 1, ALL, Warm::First;
    three_events: 3, ALL, Warm::First;
    ten_events: 10, ALL, Warm::First;
    ten_events_without_texts: 10, 0, Warm::First;
    ten_events_warmed_in_pages: 10, 2_000, Warm::Slowly(3);
    hundred_events_few_texts: 100, 20_000, Warm::Slowly(5);
}
